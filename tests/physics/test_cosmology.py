"""Distances and what follows from them, against lenstronomy and caustics."""

import numpy as np
import pytest
import torch
from caustics import func
from lenstronomy.Cosmo.lens_cosmo import LensCosmo

from mlensing.errors import ConfigError
from mlensing.physics import COSMOLOGY, distances, einstein_radius, nfw_scale, sigma_crit


def test_the_universe():
    assert (COSMOLOGY.H0.value, COSMOLOGY.Om0) == (70.0, 0.3)


def test_sigma_crit_of_the_contract():
    assert sigma_crit(0.5, 2.0) == pytest.approx(2079, abs=0.5)


@pytest.mark.parametrize(("z_l", "z_s"), [(0.2, 0.6), (0.5, 2.0), (1.1, 3.5)])
def test_agreement_with_lenstronomy(z_l, z_s):
    reference, found = LensCosmo(z_l, z_s, cosmo=COSMOLOGY), distances(z_l, z_s)
    np.testing.assert_allclose(found, [reference.dd, reference.ds, reference.dds], rtol=1e-9)
    per_pc2 = reference.sigma_crit / 1e12
    assert sigma_crit(z_l, z_s) == pytest.approx(per_pc2, rel=4e-4)  # its G differs by 2.8e-4
    assert einstein_radius(250.0, z_l, z_s) == pytest.approx(reference.sis_sigma_v2theta_E(250.0), rel=1e-6)


def test_agreement_with_caustics():
    _, source, between = distances(0.5, 2.0)
    expected = func.sigma_v_to_rein_sie(torch.tensor(220.0), float(between), float(source)).item()
    assert einstein_radius(220.0, 0.5, 2.0) == pytest.approx(expected, rel=1e-6)


def test_arrays_go_through():
    z_l, z_s = np.array([0.2, 0.5]), np.array([1.0, 2.0])
    radii = einstein_radius(np.array([200.0, 250.0]), z_l, z_s)
    assert radii.shape == (2,)
    assert radii[1] == pytest.approx(einstein_radius(250.0, 0.5, 2.0))
    assert nfw_scale(1e14, 5.0, z_l, z_s)[0].shape == (2,)


@pytest.mark.parametrize(("z_l", "z_s"), [(0.5, 0.5), (2.0, 0.5), (0.0, 1.0), (float("nan"), 1.0)])
def test_redshifts_out_of_order_are_refused(z_l, z_s):
    with pytest.raises(ConfigError, match="redshifts"):
        sigma_crit(z_l, z_s)
