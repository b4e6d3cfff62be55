"""Schedules: pure functions of the step or of the epoch.

The learning rate follows the step, as a factor of the base rate, and so does the momentum of an average of weights. A
mean teacher (``training.semi``) follows the epoch: how many unlabelled images there are beside the labelled ones, and
how sure a pseudo-label must be.
"""

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


def averaging_decay(updates: int, *, decay: float) -> float:
    """What an average of weights keeps of itself in its next update: ``min(decay, (1 + n) / (10 + n))``.

    It rises to ``decay`` from below, so that no average remembers the random beginning: with 0.999 from the first step,
    a third of the weights would still be that after 1,000.

    Arguments:
        updates: n, those before this one.
        decay: in (0, 1).

    Example:
        >>> [averaging_decay(n, decay=0.999) for n in (0, 90, 100_000)]
        [0.1, 0.91, 0.999]
    """
    return min(decay, (1 + updates) / (10 + updates))


LARGEST_RATIO = 0.30
"""Where ``unlabelled_ratio`` ends."""


def unlabelled_ratio(epoch: int, *, warmup: int) -> float:
    """Share of unlabelled images in a batch: 0 for ``warmup`` epochs, then 0.10, and 0.05 more every other epoch.

    It ends at 0.30.

    Example:
        >>> [unlabelled_ratio(epoch, warmup=2) for epoch in (1, 2, 3, 4, 10, 99)]
        [0.0, 0.1, 0.1, 0.15, 0.3, 0.3]
    """
    return 0.0 if epoch < warmup else min(LARGEST_RATIO, (10 + 5 * ((epoch - warmup) // 2)) / 100)


def pseudo_threshold(epoch: int, *, warmup: int) -> float:
    """Probability that a pseudo-label needs: 0.95 for ``warmup`` epochs, then 0.01 less each epoch, down to 0.85.

    Example:
        >>> [pseudo_threshold(epoch, warmup=2) for epoch in (1, 2, 3, 12, 99)]
        [0.95, 0.95, 0.94, 0.85, 0.85]
    """
    return max(85, 95 - max(epoch - warmup, 0)) / 100


def unlabelled_count(labelled: int, ratio: float) -> int:
    """Unlabelled images beside so many labelled ones, of which they are then this share of all.

    Example:
        >>> [unlabelled_count(64, ratio) for ratio in (0.0, 0.1, 0.3)]
        [0, 7, 27]
    """
    return round(labelled * ratio / (1 - ratio))
