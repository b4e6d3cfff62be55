"""How bright, how far and how large the galaxies behind lenses are: a luminosity function of star-forming galaxies.

A Schechter function in the rest-frame ultraviolet, whose knee brightens with redshift (Arnouts+2005, table 1; Reddy &
Steidel 2009 beyond z = 2), seen in r: the brightness of a source, its redshift and its size are drawn from one law.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlensing.physics import cosmology
from mlensing.simulate.tables import interpolate

FAINT_END = -1.5
REFERENCE_LIMIT = 24.8
"""r magnitude that a typical lensed source reaches before it is magnified; it sets the redshift distribution."""

KNEE_KPC = 3.0
"""Half-light radius [kpc] of a galaxy at the knee at z = 1 (van der Wel+2014, late types)."""

_KNEE_Z = (0.1, 0.3, 0.5, 0.7, 1.0, 2.0, 3.0, 4.0)
_KNEE_M = (-18.0, -18.4, -19.5, -19.8, -20.1, -20.6, -21.0, -21.0)
_REDNESS = (1.9, 1.6, 1.2, 1.0, 0.7, 0.2, 0.0, 0.0)  # magnitudes from 1500 A to where r samples the galaxy
_BELOW_KNEE = np.linspace(-2.5, 9.0, 461)
_GRID = np.linspace(0.1, 4.0, 118)


@lru_cache(maxsize=1)
def _law() -> dict[str, NDArray[np.float64]]:
    """Knee [r mag] and distance [Mpc] against redshift; counts brighter than a magnitude below the knee."""
    distance = np.asarray(cosmology.distances(_GRID, _GRID + 1.0).lens)
    modulus = 5 * np.log10(distance * (1 + _GRID) ** 2) + 25
    in_r = np.subtract(_KNEE_M, _REDNESS)
    knee = np.interp(_GRID, _KNEE_Z, in_r) + modulus - 2.5 * np.log10(1 + _GRID)
    density = 10 ** (-0.4 * (FAINT_END + 1) * _BELOW_KNEE) * np.exp(-(10 ** (-0.4 * _BELOW_KNEE)))
    return {"knee": knee, "distance": distance, "counts": np.cumsum(density)}


def counts(redshift: NDArray[np.float64], faintest: float = REFERENCE_LIMIT) -> NDArray[np.float64]:
    """Galaxies brighter than r = ``faintest`` per comoving volume at each redshift, in units of their own.

    Example:
        >>> near, far = counts(np.array([0.5, 3.0]))
        >>> bool(near > 3 * far)
        True
    """
    law = _law()
    return np.interp(faintest - np.interp(redshift, _GRID, law["knee"]), _BELOW_KNEE, law["counts"], left=0.0)


def magnitude(quantile: Tensor, *, redshift: Tensor, faintest: Tensor) -> Tensor:
    """r magnitudes from the luminosity function cut at ``faintest``.

    Arguments:
        quantile: uniform in 0..1; 1 is the faintest.
        redshift, faintest: [r mag], all of one shape. Where not even the brightest galaxies reach it: ``faintest``.

    Example:
        >>> one = torch.ones(1)
        >>> magnitude(one, redshift=one, faintest=25 * one).item()
        25.0
    """
    law = {name: torch.from_numpy(values).to(redshift) for name, values in _law().items()}
    below = torch.linspace(-2.5, 9.0, len(_BELOW_KNEE), device=redshift.device)
    knee = interpolate(redshift, torch.from_numpy(_GRID).to(redshift), law["knee"])
    reached = interpolate(faintest - knee, below, law["counts"])
    found = knee + interpolate(quantile * reached, law["counts"], below)
    return torch.minimum(found, faintest)


def radius(redshift: Tensor, magnitude_r: Tensor) -> Tensor:
    """Median half-light radius [arcsec]: L^0.2 (1 + z)^-0.8 (van der Wel+2014).

    Example:
        >>> radius(torch.tensor([1.0]), torch.tensor([24.0])).item() < 0.5
        True
    """
    grid = torch.from_numpy(_GRID).to(redshift)
    knee, distance = (
        interpolate(redshift, grid, torch.from_numpy(_law()[k]).to(redshift)) for k in ("knee", "distance")
    )
    kpc = KNEE_KPC * 10 ** (-0.08 * (magnitude_r - knee)) * ((1 + redshift) / 2) ** -0.8
    return kpc / (distance * 1000.0) * 206264.8
