"""Learning-rate schedules: pure functions of the step, as factors of the base rate."""

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
