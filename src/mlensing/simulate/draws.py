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
    return _mixed(x.clone())


def _mixed(x: Tensor) -> Tensor:
    x.bitwise_xor_(_logical_shift(x, 30)).mul_(_scalar(_MIX_1, x.device))
    x.bitwise_xor_(_logical_shift(x, 27)).mul_(_scalar(_MIX_2, x.device))
    return x.bitwise_xor_(_logical_shift(x, 31))


def _logical_shift(x: Tensor, bits: int) -> Tensor:
    return (x >> _scalar(bits, x.device)).bitwise_and_(_scalar((1 << (64 - bits)) - 1, x.device))


@lru_cache(maxsize=256)
def _scalar(value: float, device: torch.device) -> Tensor:
    """A number as a tensor: torch would make one anew in every operation, at the cost of the operation itself."""
    return torch.tensor(value, device=device)


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
        return _mixed(self._keys[:, None] + counters).view(len(self), *shape)

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in (low, high]."""
        u = self._unit(self.bits(name, *shape))
        return u if (low, high) == (0.0, 1.0) else u.mul_(high - low).add_(low)

    def _unit(self, bits: Tensor) -> Tensor:
        high = _logical_shift(bits, 40).float()
        return high.add_(_scalar(0.5, bits.device)).mul_(_scalar(2.0**-24, bits.device))

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal, two from each 64 bits (Box & Muller 1958)."""
        count = math.prod(shape)
        bits = self.bits(name, (count + 1) // 2)
        radius = self._unit(bits).log_().mul_(_scalar(-2.0, bits.device)).sqrt_()
        angle = (bits & _scalar(0xFFFFFF, bits.device)).float().mul_(_scalar(2.0 * math.pi * 2.0**-24, bits.device))
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
