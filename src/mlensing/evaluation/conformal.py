"""Thresholds that hold whatever the scores are like: conformal prediction from a set of known non-lenses.

If the non-lenses to come are exchangeable with the known ones (drawn alike: same survey, same selection), then at most
a share a of them passes a threshold from `conformal_threshold`, on average over reference sets, without any assumption
on the finder (Vovk, Gammerman & Shafer 2005; Bates+2023, arXiv:2104.08279).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mlensing.evaluation.curves import Array


def p_values(scores: ArrayLike, reference: ArrayLike) -> Array:
    """Conformal p-value [N] of each score against the scores [n] of known non-lenses.

    ``(1 + number of reference scores >= score) / (n + 1)``: of non-lenses, a share of at most a has p <= a. NaN where
    there is no score; reference scores that are NaN are left out.

    Raises:
        ValueError: no reference score.

    Example:
        >>> p_values([5.0, 0.5], [0.0, 1.0, 2.0]).tolist()
        [0.25, 0.75]
    """
    known = np.asarray(reference, float)
    known = np.sort(known[np.isfinite(known)])
    if not known.size:
        raise ValueError("no reference score")
    z = np.asarray(scores, float)
    above = known.size - np.searchsorted(known, z, side="left")
    return np.asarray(np.where(np.isnan(z), np.nan, (1 + above) / (known.size + 1)))


def conformal_threshold(reference: ArrayLike, share: float) -> float:
    """Smallest score of the reference [n] above which at most a share of non-lenses lies; infinity if n is too small.

    The ceil((n + 1)(1 - share))-th smallest: scores strictly above it have a p-value of at most ``share``.

    Example:
        >>> conformal_threshold(range(99), 0.05), conformal_threshold(range(9), 0.05)
        (94.0, inf)
    """
    known = np.asarray(reference, float)
    known = np.sort(known[np.isfinite(known)])
    place = int(np.ceil((known.size + 1) * (1 - share) - 1e-9))
    return float(known[place - 1]) if 0 < place <= known.size else float("inf")
