"""Light Transformer: a convolutional stem, then attention that knows where the galaxy is.

Arcs lie along circles about the galaxy, so how much one token should look at another depends on whether they are apart
along the tangent or along the radius. A small perceptron turns this polar geometry into a bias of the attention.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mlensing.contract import ModelContract
from mlensing.errors import ConfigError
from mlensing.models.attention import Block

STRIDE = 8
"""Pixels a token: 8 x 8 tokens at 64 pixels."""
REACH = 16.0
"""Unit of lengths in the geometry [px]: a typical arc's distance from the galaxy."""
PAIR, PLACE = 5, 4
"""Numbers that describe a pair of tokens, and a token."""


@lru_cache(maxsize=8)
def polar_geometry(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where tokens stand about the middle of the image, and how pairs of them lie to each other.

    Token (i, j) looks around pixel ``STRIDE`` (i, j): strided convolutions of three pixels start at the first one.
    In numpy, because it is kept: tensors made in inference mode, or by a tracing export, serve nothing else afterwards.

    Arguments:
        height, width: of the image [px].

    Returns:
        [N, PLACE]: x, y, radius, and a Gaussian of the radius; [N, N, PAIR]: separation along the radius and along the
        tangent (mean radius times angle), cosine of the angle, and both radii; lengths in ``REACH``.

    Example:
        >>> place, pair = polar_geometry(64, 64)
        >>> place.shape, pair.shape
        ((64, 4), (64, 64, 5))
    """
    y, x = ((np.arange(0, n, STRIDE) - (n - 1) / 2) / REACH for n in (height, width))
    y, x = (grid.ravel() for grid in np.meshgrid(y, x, indexing="ij"))
    radius = np.hypot(x, y)
    cosine = (x[:, None] * x + y[:, None] * y) / np.maximum(radius[:, None] * radius, 1e-6)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    one, other = np.broadcast_arrays(radius[:, None], radius)
    pair = np.stack([np.abs(one - other), 0.5 * (one + other) * angle, cosine, one, other], -1)
    return np.stack([x, y, radius, np.exp(-(radius**2))], -1).astype(np.float32), pair.astype(np.float32)


class LightTransformer(nn.Module):
    """A stem of three strided convolutions, ``depth`` transformer blocks, the mean of the tokens, one logit.

    Arguments:
        bands: input channels.
        dim, depth, heads: of the transformer.
        arc_bias: bias the attention by polar geometry; False leaves plain attention.
        inner_dropout: inside the blocks.
        dropout: probability with which a feature is dropped before the linear head; both in training mode only.

    Example:
        >>> net = LightTransformer(3, dim=16, depth=1, heads=2, arc_bias=True, inner_dropout=0.0, dropout=0.1)
        >>> net(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(
        self, bands: int, *, dim: int, depth: int, heads: int, arc_bias: bool, inner_dropout: float, dropout: float
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(_down(bands, dim // 4), _down(dim // 4, dim // 2), _down(dim // 2, dim))
        self.place = nn.Linear(PLACE, dim)
        self.bias = (
            nn.Sequential(nn.Linear(PAIR, 32), nn.GELU(), nn.Linear(32, heads, bias=False)) if arc_bias else None
        )
        self.blocks = nn.ModuleList(Block(dim, heads=heads, dropout=inner_dropout) for _ in range(depth))
        self.norm, self.dropout, self.fc = nn.LayerNorm(dim), dropout, nn.Linear(dim, 1)
        self.channels = dim

    @property
    def head(self) -> nn.Linear:
        """The linear map from features to the logit."""
        return self.fc

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Image [B, bands, H, W] -> mean token [B, dim], and the tokens [B, dim, h, w]."""
        grid = self.stem(x)
        place, pair = (torch.from_numpy(part).to(grid) for part in polar_geometry(*x.shape[-2:]))
        tokens = grid.flatten(2).transpose(1, 2) + self.place(place)
        bias = None if self.bias is None else self.bias(pair).permute(2, 0, 1)
        for block in self.blocks:
            tokens = block(tokens, bias)
        tokens = self.norm(tokens)
        return tokens.mean(1), tokens.transpose(1, 2).unflatten(2, grid.shape[-2:])

    def features(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> mean token [B, dim]."""
        return self.encode(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> logit [B]."""
        features = nn.functional.dropout(self.features(x), self.dropout, self.training)
        return self.fc(features).squeeze(1)  # type: ignore[no-any-return]


def _down(inputs: int, outputs: int) -> nn.Sequential:
    """Half the size: a strided 3x3 convolution, a norm, a rectifier."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def light_transformer(
    contract: ModelContract,
    *,
    dim: int = 192,
    depth: int = 6,
    heads: int = 6,
    arc_bias: bool = True,
    inner_dropout: float = 0.1,
    dropout: float = 0.1,
) -> nn.Module:
    """Light Transformer: 2.9 million parameters at its defaults.

    Arguments:
        contract: gives the bands.
        dim, depth, heads: channels of a token, blocks, heads of the attention; ``dim`` is a multiple of 4 and of heads.
        arc_bias: bias the attention by polar geometry about the middle of the image.
        inner_dropout: inside the blocks.
        dropout: before the linear head.

    Raises:
        ConfigError: an option out of range.
    """
    if min(dim, depth, heads) < 1 or dim % 4 or dim % heads:
        problem = f"impossible dim={dim}, depth={depth} or heads={heads}"
        raise ConfigError(f"model {contract.name}", problem, "Take dim a multiple of 4 and heads: 192, 6.")
    if not (0 <= dropout < 1 and 0 <= inner_dropout < 1):
        problem = f"impossible dropout={dropout} or inner_dropout={inner_dropout}"
        raise ConfigError(f"model {contract.name}", problem, "Take probabilities in [0, 1).")
    return LightTransformer(
        len(contract.bands), dim=dim, depth=depth, heads=heads, arc_bias=arc_bias, inner_dropout=inner_dropout,
        dropout=dropout,
    )  # fmt: skip
