"""Vision Transformers (Dosovitskiy+2021, arXiv:2010.11929) for small images of any number of bands.

Parameters carry timm's names (``patch_embed.proj``, ``cls_token``, ``pos_embed``, ``blocks.0.attn.qkv``, ... ``norm``,
``head``), so its public weights load; position embeddings and patches of another size are resampled on the way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, interpolate, pad

from mlensing.contract import ModelContract
from mlensing.errors import ConfigError
from mlensing.models.attention import Block


class PatchEmbed(nn.Module):
    """Patches [B, bands, H, W] -> tokens [B, N, dim]: a convolution whose kernel is its stride."""

    def __init__(self, bands: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(bands, dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens, row by row."""
        return self.proj(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class VisionTransformer(nn.Module):
    """Patches and a class token through ``depth`` blocks; the class token gives one logit.

    Sides that patches do not divide are padded with zeros (the mean of normalised pixels) on both sides.

    Arguments:
        bands: input channels.
        size: pixels a side that ``pos_embed`` is made for; at other sizes it is resampled.
        dim, depth, heads: of the transformer.
        patch: pixels a token.
        inner_dropout: inside the blocks.
        dropout: probability with which a feature is dropped before the linear head; both in training mode only.

    Example:
        >>> net = VisionTransformer(3, 64, dim=16, depth=1, heads=2, patch=16, inner_dropout=0.0, dropout=0.1)
        >>> net(torch.zeros(2, 3, 64, 64)).shape, net.pos_embed.shape
        (torch.Size([2]), torch.Size([1, 17, 16]))
    """

    def __init__(
        self, bands: int, size: int, *, dim: int, depth: int, heads: int, patch: int, inner_dropout: float,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch_embed, self.patch = PatchEmbed(bands, dim, patch), patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + math.ceil(size / patch) ** 2, dim))
        self.blocks = nn.ModuleList(Block(dim, heads=heads, dropout=inner_dropout) for _ in range(depth))
        self.norm, self.dropout, self.head = nn.LayerNorm(dim, eps=1e-6), dropout, nn.Linear(dim, 1)
        self.channels = dim
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        self.apply(_initialise)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Image [B, bands, H, W] -> class token [B, dim], and the tokens of the patches [B, dim, h, w]."""
        tokens = self.patch_embed(_padded(x, self.patch))
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], dim=1)
        rows, columns = (math.ceil(side / self.patch) for side in x.shape[-2:])
        tokens = tokens + resampled_positions(self.pos_embed, rows, columns)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return tokens[:, 0], tokens[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))

    def features(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> class token [B, dim]."""
        return self.encode(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> logit [B]."""
        features = dropout(self.features(x), self.dropout, self.training)
        return self.head(features).squeeze(1)  # type: ignore[no-any-return]

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the same transformer for other image or patch sizes, resampled to those of this one."""
        positions, kernel = state.get("pos_embed"), state.get("patch_embed.proj.weight")
        adapted = dict(state)
        if positions is not None and _square(positions):
            side = math.isqrt(self.pos_embed.shape[1] - 1)
            adapted["pos_embed"] = resampled_positions(positions.float(), side, side)
        if kernel is not None and kernel.ndim == 4 and kernel.shape[-1] != self.patch:
            adapted["patch_embed.proj.weight"] = resampled_kernel(kernel, self.patch)
        return adapted


def _square(positions: Tensor) -> bool:
    """Whether these are embeddings of a class token and a square grid."""
    count = positions.shape[1] - 1 if positions.ndim == 3 else 0
    return count > 0 and math.isqrt(count) ** 2 == count


def _padded(x: Tensor, patch: int) -> Tensor:
    """The image in the middle of the next whole number of patches."""
    rows, columns = (-side % patch for side in x.shape[-2:])
    if not rows and not columns:
        return x
    return pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


def resampled_positions(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Position embeddings [1, 1 + n n, dim] of a square grid, bicubic on another: [1, 1 + rows columns, dim].

    The first is the class token's, which has no place and stays.

    Example:
        >>> resampled_positions(torch.ones(1, 1 + 14 * 14, 8), 4, 4).shape
        torch.Size([1, 17, 8])
    """
    side = math.isqrt(positions.shape[1] - 1)
    if (rows, columns) == (side, side):
        return positions
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def resampled_kernel(kernel: Tensor, patch: int) -> Tensor:
    """Kernel [dim, bands, p, p] -> [dim, bands, patch, patch]: it says of a patch what it said of the patch enlarged.

    Towards larger patches, the pseudo-inverse of enlarging, as in FlexiViT (Beyer+2023, arXiv:2212.08013).

    Example:
        >>> kernel, image = torch.randn(4, 3, 8, 8), torch.randn(1, 3, 8, 8)
        >>> large = interpolate(image, size=16, mode="bilinear", align_corners=False)
        >>> twice = resampled_kernel(kernel, 16)
        >>> torch.allclose((twice * large).sum((1, 2, 3)), (kernel * image).sum((1, 2, 3)), atol=1e-3)
        True
    """
    old = kernel.shape[-1]
    small, large = sorted((old, patch))
    basis = torch.eye(small * small, dtype=torch.float64).reshape(small * small, 1, small, small)
    enlarge = interpolate(basis, size=large, mode="bilinear", align_corners=False).flatten(1)  # [small^2, large^2]
    found = kernel.double().flatten(2) @ (enlarge if patch < old else torch.linalg.pinv(enlarge)).T
    return found.reshape(*kernel.shape[:2], patch, patch).to(kernel.dtype)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _vit(
    contract: ModelContract, dim: int, depth: int, heads: int, patch: int, inner_dropout: float, dropout: float
) -> nn.Module:
    if min(dim, depth, heads) < 1 or dim % heads or not 2 <= patch <= contract.input_size:
        problem = f"impossible dim={dim}, depth={depth}, heads={heads} or patch={patch}"
        remedy = f"Take dim a multiple of heads, and patches of 2 to {contract.input_size} pixels: 384, 12, 6, 16."
        raise ConfigError(f"model {contract.name}", problem, remedy)
    if not (0 <= dropout < 1 and 0 <= inner_dropout < 1):
        problem = f"impossible dropout={dropout} or inner_dropout={inner_dropout}"
        raise ConfigError(f"model {contract.name}", problem, "Take probabilities in [0, 1).")
    return VisionTransformer(
        len(contract.bands), contract.input_size, dim=dim, depth=depth, heads=heads, patch=patch,
        inner_dropout=inner_dropout, dropout=dropout,
    )  # fmt: skip


def vit_s16(
    contract: ModelContract,
    *,
    dim: int = 384,
    depth: int = 12,
    heads: int = 6,
    patch: int = 16,
    inner_dropout: float = 0.0,
    dropout: float = 0.1,
) -> nn.Module:
    """ViT-S/16: 21.6 million parameters.

    Arguments:
        contract: gives the bands and the input size.
        dim, depth, heads: channels of a token, blocks, heads of the attention; ``dim`` is a multiple of heads.
        patch: pixels a token; 8 gives four times as many tokens, at about four times the cost.
        inner_dropout: inside the blocks.
        dropout: before the linear head.

    Raises:
        ConfigError: an option out of range.
    """
    return _vit(contract, dim, depth, heads, patch, inner_dropout, dropout)


def vit_b16(
    contract: ModelContract,
    *,
    dim: int = 768,
    depth: int = 12,
    heads: int = 12,
    patch: int = 16,
    inner_dropout: float = 0.0,
    dropout: float = 0.1,
) -> nn.Module:
    """ViT-B/16: 85.7 million parameters; options as ``vit_s16``."""
    return _vit(contract, dim, depth, heads, patch, inner_dropout, dropout)
