"""Transformer blocks, with the parameter names of timm: self-attention, then a two-layer perceptron, both residual."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention


class Attention(nn.Module):
    """Multi-head self-attention of tokens [B, N, dim], optionally biased by ``bias`` [heads, N, N]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Tokens that have looked at each other."""
        batch, tokens, dim = x.shape
        split = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))  # type: ignore[no-any-return]


class Perceptron(nn.Module):
    """``fc2(gelu(fc1(x)))`` on each token."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, N, dim] -> [B, N, dim]."""
        return self.fc2(gelu(self.fc1(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A transformer block with norms first (Dosovitskiy+2021, arXiv:2010.11929).

    Arguments:
        dim: channels of a token.
        heads: of the attention; they share the channels.
        dropout: of both branches, in training mode only.

    Example:
        >>> import torch
        >>> Block(16, heads=2, dropout=0.0)(torch.zeros(1, 5, 16)).shape
        torch.Size([1, 5, 16])
    """

    def __init__(self, dim: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp, self.drop = Attention(dim, heads), Perceptron(dim, 4 * dim), nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Tokens [B, N, dim] -> [B, N, dim]; ``bias`` [heads, N, N] is added to the attention's logits."""
        x = x + self.drop(self.attn(self.norm1(x), bias))
        return x + self.drop(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]
