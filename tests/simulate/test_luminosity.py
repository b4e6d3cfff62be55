"""The luminosity function of sources against what surveys count, and its cuts against sums over itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlensing.physics import distances
from mlensing.simulate.luminosity import counts, magnitude, radius

Z = np.linspace(0.1, 4.0, 400)


def number(limit: float) -> np.ndarray:
    """Galaxies per unit of redshift brighter than a limit, in units of their own."""
    comoving = np.asarray(distances(Z, Z + 1.0).lens) * (1 + Z)
    return comoving**2 / np.sqrt(0.3 * (1 + Z) ** 3 + 0.7) * counts(Z, limit)


@pytest.mark.parametrize(("limit", "median"), [(23.0, 0.63), (24.0, 0.83), (25.0, 1.06)])
def test_median_redshifts_are_those_of_deep_surveys(limit: float, median: float) -> None:
    """Coil+2004 and Ilbert+2006: about 0.6, 0.8 and 1.0 for r below 23, 24 and 25."""
    cumulative = np.cumsum(number(limit))
    assert np.interp(0.5, cumulative / cumulative[-1], Z) == pytest.approx(median, abs=0.12)


def test_counts_rise_as_galaxies_do() -> None:
    """d log10 N / dm of 0.3 to 0.5 between r = 23 and 25 (Metcalfe+2001)."""
    slope = np.log10(number(25.0).sum() / number(23.0).sum()) / 2
    assert 0.3 < slope < 0.5


@pytest.mark.parametrize("z", [0.6, 2.0])
def test_magnitudes_follow_the_function_cut_at_the_limit(z: float) -> None:
    quantile = (torch.arange(20_000) + 0.5) / 20_000
    drawn = magnitude(quantile, redshift=torch.full_like(quantile, z), faintest=torch.full_like(quantile, 25.0))
    assert drawn.max() <= 25.0 and (drawn.diff() >= 0).all()
    one = np.array([z])
    for brighter in (23.5, 24.3):
        share = float(counts(one, brighter)[0] / counts(one, 25.0)[0])
        assert (drawn < brighter).float().mean().item() == pytest.approx(share, abs=0.01)


def test_a_limit_no_galaxy_reaches_is_the_magnitude() -> None:
    one = torch.ones(3)
    drawn = magnitude(torch.tensor([0.1, 0.5, 0.9]), redshift=2 * one, faintest=15 * one)
    assert drawn.tolist() == [15.0] * 3


def test_faint_and_far_galaxies_are_small() -> None:
    z, m = torch.tensor([0.5, 0.5, 2.0]), torch.tensor([22.0, 25.0, 25.0])
    bright, faint, far = radius(z, m).tolist()
    assert 0.8 > bright > faint > 0.2
    assert 0.15 < far < faint
