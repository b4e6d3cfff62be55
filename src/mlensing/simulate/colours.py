"""Colours of galaxies against redshift: magnitude of any band relative to r.

Broad-band approximations of the Coleman, Wu & Weedman (1980) templates and, for the star-forming type, of blue
compact galaxies; AB. They set where classes lie in colour space, with a scatter per object that hides the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mlensing.errors import SurveyError
from mlensing.simulate.tables import interpolate

WAVELENGTH = {
    "u": 0.365, "g": 0.48, "r": 0.62, "i": 0.76, "z": 0.90, "y": 0.97, "Y": 1.02, "J": 1.25, "H": 1.63,
    "VIS": 0.715, "F814W": 0.80,
}  # fmt: skip
"""Effective wavelength of each band [micron]."""

_ANCHORS = (0.365, 0.48, 0.62, 0.76, 0.90, 1.02, 1.25, 1.63)
# Rows: redshift; columns: u-g, g-r, r-i, i-z, z-Y, Y-J, J-H.
_TEMPLATES = {
    "early": [
        (0.05, 1.75, 0.80, 0.38, 0.30, 0.20, 0.20, 0.25),
        (0.2, 1.80, 1.20, 0.47, 0.35, 0.22, 0.22, 0.28),
        (0.4, 1.60, 1.70, 0.68, 0.41, 0.28, 0.28, 0.30),
        (0.6, 1.40, 1.60, 1.05, 0.50, 0.32, 0.35, 0.35),
        (0.8, 1.20, 1.45, 1.15, 0.85, 0.40, 0.45, 0.40),
        (1.0, 1.00, 1.35, 1.10, 1.10, 0.60, 0.55, 0.45),
        (1.3, 0.80, 1.10, 1.05, 1.15, 0.90, 0.75, 0.55),
    ],
    "disc": [
        (0.05, 1.15, 0.50, 0.27, 0.18, 0.12, 0.12, 0.18),
        (0.2, 1.10, 0.70, 0.32, 0.25, 0.15, 0.15, 0.20),
        (0.4, 0.80, 0.95, 0.50, 0.30, 0.20, 0.20, 0.22),
        (0.6, 0.60, 0.90, 0.70, 0.38, 0.25, 0.25, 0.28),
        (0.8, 0.45, 0.75, 0.75, 0.55, 0.30, 0.30, 0.32),
        (1.0, 0.35, 0.60, 0.70, 0.65, 0.40, 0.35, 0.35),
        (1.3, 0.25, 0.40, 0.60, 0.65, 0.55, 0.45, 0.40),
    ],
    "star_forming": [
        (0.05, 0.80, 0.25, 0.12, 0.05, 0.05, 0.05, 0.10),
        (0.4, 0.45, 0.40, 0.25, 0.12, 0.08, 0.08, 0.12),
        (0.8, 0.25, 0.28, 0.30, 0.25, 0.10, 0.10, 0.15),
        (1.2, 0.25, 0.15, 0.20, 0.30, 0.20, 0.15, 0.18),
        (1.6, 0.25, 0.12, 0.12, 0.15, 0.20, 0.22, 0.20),
        (2.2, 0.60, 0.15, 0.10, 0.10, 0.10, 0.18, 0.25),
        (3.0, 2.00, 0.45, 0.12, 0.08, 0.08, 0.10, 0.20),
        (4.0, 3.00, 1.40, 0.20, 0.10, 0.06, 0.08, 0.12),
    ],
}


def band_numbers(names: Sequence[str]) -> list[int]:
    """Positions of bands in ``WAVELENGTH``, as ``relative_magnitude`` takes them.

    Raises:
        SurveyError: a band whose wavelength is not known.

    Example:
        >>> band_numbers(["g", "i"])
        [1, 3]
    """
    known = list(WAVELENGTH)
    for name in names:
        if name not in WAVELENGTH:
            raise SurveyError(f"band {name!r}", "its wavelength is not known", f"Known: {', '.join(known)}.")
    return [known.index(name) for name in names]


def relative_magnitude(kind: str, redshift: Tensor, bands: Tensor) -> Tensor:
    """Magnitude in each band minus that in r.

    Arguments:
        kind: ``early``, ``disc`` or ``star_forming``.
        redshift: [B] or [B, K]; held at the ends of the table.
        bands: [B, bands] int64, from ``band_numbers``.

    Returns:
        [B, (K,) bands], AB magnitudes.

    Example:
        >>> gri = torch.tensor([band_numbers(["g", "r", "i"])])
        >>> offset = relative_magnitude("early", torch.tensor([0.4]), gri)
        >>> [round(v, 2) for v in offset[0].tolist()]
        [1.7, 0.0, -0.68]
    """
    table = torch.tensor(_TEMPLATES[kind], device=redshift.device)
    colours = interpolate(redshift, table[:, 0].contiguous(), table[:, 1:])
    zero = torch.zeros_like(colours[..., :1])
    anchors = torch.cat([zero, -torch.cumsum(colours, -1)], -1)
    every = (anchors - anchors[..., 2:3]) @ _weights().to(redshift.device)
    bands = bands if redshift.dim() == 1 else bands[:, None].expand(*redshift.shape, -1)
    return every.gather(-1, bands)


@lru_cache(maxsize=1)
def _weights() -> Tensor:
    """Linear interpolation in log wavelength as a matrix [anchors, bands of ``WAVELENGTH``]."""
    place = np.log(_ANCHORS)
    rows = [np.interp(np.log(list(WAVELENGTH.values())), place, unit) for unit in np.eye(len(place))]
    return torch.tensor(np.array(rows), dtype=torch.float32)
