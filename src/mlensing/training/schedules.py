"""Schedules: pure functions of the step, of the learning rate as factors of the base rate."""

from __future__ import annotations

import math


def warmup_cosine(step: int, *, total: int, warmup: float = 0.1) -> float:
    """Factor of the learning rate: linear warm-up over a share of the steps, then half a cosine to 0.

    The cosine is that of Loshchilov & Hutter 2017 (arXiv:1608.03983) without restarts; the warm-up starts at
    one step's worth, so that the first step already learns.

    Arguments:
        step: optimiser steps taken.
        total: optimiser steps of the whole training.
        warmup: share of them in [0, 1].

    Example:
        >>> [round(warmup_cosine(s, total=10, warmup=0.2), 3) for s in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    rise = round(warmup * total)
    if step < rise:
        return (step + 1) / rise
    done = min((step - rise) / max(total - rise, 1), 1.0)
    return 0.5 * (1.0 + math.cos(math.pi * done))


def rising_momentum(step: int, *, total: int, start: float = 0.99) -> float:
    """Momentum of an average of weights: from ``start`` by half a cosine to 1, where the average stands still.

    As in BYOL (Grill+2020, arXiv:2006.07733) and MoCo v3 (Chen+2021, arXiv:2104.02057, section 3).

    Arguments:
        step: optimiser steps taken.
        total: optimiser steps of the whole training.
        start: momentum of the first step.

    Example:
        >>> [rising_momentum(s, total=10, start=0.99) for s in (0, 5, 10)]
        [0.99, 0.995, 1.0]
    """
    done = min(step / max(total, 1), 1.0)
    return 1.0 - (1.0 - start) * 0.5 * (1.0 + math.cos(math.pi * done))
