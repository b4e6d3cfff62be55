"""Random numbers that depend on (seed, index, name) alone.

A counter-based generator (splitmix64; Steele, Lea & Flood 2014, OOPSLA) hashes a counter instead of stepping a
state, so every number is the same whatever the batch size, the worker count, the order or the device, and a new
draw never shifts the others.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def splitmix64(x: Tensor) -> Tensor:
    """Hash of int64 counters, any shape (finaliser of splitmix64).

    Example:
        >>> splitmix64(torch.tensor([0, 1])).tolist()
        [0, 6238072747940578789]
    """
    x = (x ^ _logical_shift(x, 30)) * _MIX_1
    x = (x ^ _logical_shift(x, 27)) * _MIX_2
    return x ^ _logical_shift(x, 31)


def _logical_shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


class Draws:
    """Random tensors for a batch of sample indices.

    Arguments:
        seed: of the whole simulation.
        index: [B] int64, the samples' numbers.
        prefix: put before every name, for a second try of the same draws.

    Every method takes the name of the draw and the trailing shape and returns ``[B, *shape]`` float32.

    Example:
        >>> both, one = Draws(1, torch.tensor([4, 7])), Draws(1, torch.tensor([7]))
        >>> bool((both.uniform("q", 3)[1] == one.uniform("q", 3)[0]).all())
        True
    """

    def __init__(self, seed: int, index: Tensor, prefix: str = "") -> None:
        self.seed, self.index, self.prefix = seed, index.to(torch.int64), prefix
        self._keys = splitmix64(self.index * _GOLDEN + _signed(seed))

    def __len__(self) -> int:
        return len(self.index)

    def bits(self, name: str, *shape: int) -> Tensor:
        """Random int64 of all 64 bits."""
        counters = _counters(self.prefix + name, math.prod(shape), self.index.device)
        return splitmix64(self._keys[:, None] + counters).view(len(self), *shape)

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in (low, high)."""
        bits = _logical_shift(self.bits(name, *shape), 40)
        return low + (high - low) * (bits.float() + 0.5) * 2.0**-24

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal, two from each 64 bits (Box & Muller 1958)."""
        count = math.prod(shape)
        bits = self.bits(name, (count + 1) // 2)
        radius = torch.sqrt(-2.0 * torch.log((_logical_shift(bits, 40).float() + 0.5) * 2.0**-24))
        angle = (bits & 0xFFFFFF).float() * (2.0 * math.pi * 2.0**-24)
        pair = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], 1)
        return pair[:, :count].reshape(len(self), *shape)

    def choice(self, name: str, weights: Tensor, *shape: int) -> Tensor:
        """Index into ``weights`` [n], drawn in proportion to them; int64."""
        cumulative = torch.cumsum(weights.double(), 0).to(self.index.device)
        u = self.uniform(name, *shape).double() * cumulative[-1]
        return torch.searchsorted(cumulative, u).clamp(max=len(weights) - 1)

    def chance(self, name: str, probability: float | Tensor, *shape: int) -> Tensor:
        """True with this probability; bool."""
        return self.uniform(name, *shape) < probability


@lru_cache(maxsize=1024)
def _counters(name: str, count: int, device: torch.device) -> Tensor:
    """Counters of one named draw: steps of the golden ratio from a start that the name decides."""
    start = splitmix64(torch.tensor([zlib.crc32(name.encode())]))
    return (start + torch.arange(1, count + 1) * _GOLDEN).to(device)


def _signed(seed: int) -> int:
    value = seed & (2**64 - 1)
    return value - 2**64 if value >= 2**63 else value
