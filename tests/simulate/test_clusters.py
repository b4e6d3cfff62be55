"""Cluster fields: mass against analytic solutions, deflection against the potential, images and the lens equation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.Util.param_util import phi_q2_ellipticity
from scipy.optimize import brentq

from mlensing.errors import ConfigError
from mlensing.physics import gradient, interior_mask, laplacian, pixel_grid
from mlensing.simulate.clusters import ClusterField, ClusterMass, ClusterSimulator
from mlensing.simulate.clusters.images import images_of
from mlensing.simulate.clusters.light import cluster_light
from mlensing.simulate.clusters.mass import efficiency
from mlensing.simulate.clusters.population import draw_cluster
from mlensing.simulate.clusters.rays import RayGrid, render_background
from mlensing.simulate.draws import Draws
from mlensing.simulate.scene import components

NOTHING = torch.zeros(0, 6, dtype=torch.float64)
HALO = {"x": 0.0, "y": 0.0, "scale_radius": 60.0, "kappa_s": 0.22}
MEMBERS = torch.tensor(
    [[0.0, 0.0, 0.8, 0.3, 1.9, 18.0], [9.0, -6.0, 0.7, 1.2, 0.6, 6.0], [-14.0, 11.0, 0.9, 2.0, 0.4, 5.0]],
    dtype=torch.float64,
)
MASS = ClusterMass(**HALO, gamma1=0.06, gamma2=-0.04, members=MEMBERS)


@pytest.fixture(scope="module")
def simulator() -> ClusterSimulator:
    return ClusterSimulator("des", size=160, seed=5, lens_share=1.0)


@pytest.fixture(scope="module")
def field(simulator: ClusterSimulator) -> ClusterField:
    return simulator.field(0)


def test_einstein_radius_of_halo_and_round_members_is_the_analytic_one() -> None:
    """Mean kappa inside r: 4 kappa_s h(x) / x^2 of a halo, theta_E (r + a - sqrt(r^2 + a^2)) / r^2 of a member."""
    theta_E, cut = np.array([1.9, 0.5]), np.array([18.0, 4.0])
    members = torch.tensor([[0, 0, 1, 0, t, a] for t, a in zip(theta_E, cut, strict=True)], dtype=torch.float64)
    mass = ClusterMass(**HALO, gamma1=0.1, gamma2=0.05, members=members)

    def excess(r: float) -> float:
        x = r / HALO["scale_radius"]
        h = math.log(x / 2) + math.acosh(1 / x) / math.sqrt(1 - x**2)
        halo = 4 * HALO["kappa_s"] * h / x**2
        return float(halo + (theta_E * (r + cut - np.hypot(r, cut)) / r**2).sum() - 1)

    assert mass.einstein_radius() == pytest.approx(brentq(excess, 1.0, 55.0), rel=1e-5)


def test_einstein_radius_counts_what_lies_within_wherever_it_lies() -> None:
    inside, outside = MEMBERS.clone(), MEMBERS.clone()
    outside[1:, :2] = torch.tensor([70.0, 70.0])
    with_all, with_few = (
        ClusterMass(**HALO, gamma1=0, gamma2=0, members=m).einstein_radius() for m in (inside, outside)
    )
    assert with_all > with_few + 0.1
    x, y = pixel_grid(400, 400, dx=0.1, dy=0.1, dtype=torch.float64)
    kappa = MASS.convergence(x, y, spacing=0.1)
    assert kappa[torch.hypot(x, y) < MASS.einstein_radius()].mean().item() == pytest.approx(1.0, abs=4e-3)


def test_deflection_is_the_gradient_and_kappa_half_the_laplacian_of_psi() -> None:
    d = 0.1
    x, y = pixel_grid(260, 260, dx=d, dy=d, dtype=torch.float64)
    psi, kappa, alpha = MASS.potential(x, y), MASS.convergence(x, y, spacing=d), MASS.deflection(x, y)
    use = interior_mask(260, 260, dx=d, dy=d, core=10.0)  # r > 1"
    for member in MEMBERS[1:]:
        use &= interior_mask(260, 260, dx=d, dy=d, x0=member[0], y0=member[1], core=10.0)
    assert (laplacian(psi, dx=d, dy=d) - 2 * kappa)[use].abs().mean() < 1e-4  # the contract's 8.1e-5 for an SIE
    for ours, theirs in zip(alpha, gradient(psi, dx=d, dy=d), strict=True):
        assert (ours - theirs)[use].abs().mean() < 2e-4


def test_deflection_agrees_with_lenstronomy() -> None:
    x, y = pixel_grid(24, 24, dx=2.1, dy=1.9, dtype=torch.float64)
    alpha_rs = 4 * HALO["kappa_s"] * HALO["scale_radius"] * (1 - math.log(2))
    kinds, values = ["NFW", "SHEAR"], [{"Rs": 60.0, "alpha_Rs": alpha_rs}, {"gamma1": 0.06, "gamma2": -0.04}]
    for x0, y0, q, phi, theta_E, cut in MEMBERS.tolist():
        e1, e2 = phi_q2_ellipticity(phi, q)
        shape = {"theta_E": theta_E, "e1": e1, "e2": e2, "center_x": x0, "center_y": y0}
        kinds += ["NIE", "NIE"]
        values += [shape | {"s_scale": 1e-7}, shape | {"s_scale": cut * math.sqrt(q), "theta_E": -theta_E}]
    theirs = LensModel(kinds).alpha(x.numpy().ravel(), y.numpy().ravel(), values)
    for ours, reference in zip(MASS.deflection(x, y), theirs, strict=True):
        np.testing.assert_allclose(ours.numpy().ravel(), reference, rtol=0, atol=1e-5)


def test_many_positions_and_few_deflect_alike() -> None:
    x, y = pixel_grid(300, 300, dx=0.2, dy=0.2, dtype=torch.float64)
    whole = MASS.deflection(x, y)
    for axis in (0, 1):
        torch.testing.assert_close(
            MASS.deflection(x[0, :9], y[0, :9])[axis], whole[axis][0, :9], rtol=1e-13, atol=1e-12
        )


def test_images_of_one_source_lie_where_beta_agrees() -> None:
    rays = RayGrid.of(MASS, size=420, spacing=0.2)
    for share, (x, y) in ((1.0, (0.3, -0.2)), (0.8, (0.2, 0.1))):
        found = images_of(MASS, rays, x, y, share)
        assert len(found) == 4
        ax, ay = MASS.deflection(found[:, 0], found[:, 1])
        np.testing.assert_allclose(found[:, 0] - share * ax, x, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found[:, 1] - share * ay, y, rtol=0, atol=1e-5)
    assert len(images_of(MASS, rays, 20.0, 18.0, 1.0)) == 1


def test_rendered_arcs_lie_where_rays_meet_the_source_and_hold_its_magnified_flux() -> None:
    rays = RayGrid.of(MASS, size=420, spacing=0.2)
    one = torch.ones(1, 1)
    source = components(torch.ones(1, 1, 1), x=0.3 * one, y=-0.2 * one, radius=0.05 * one, n=1.0)
    image = render_background(source, torch.ones(1, dtype=torch.float64), rays)[0]
    lit = image > 0.2 * image.max()
    ax, ay = rays.alpha
    miss = torch.hypot(rays.x - ax - 0.3, rays.y - ay + 0.2)[lit]
    assert miss.max() < 0.2
    found = images_of(MASS, rays, 0.3, -0.2, 1.0)
    for x, y, _ in found.tolist():
        assert torch.hypot(rays.x - x, rays.y - y)[lit].min() < 0.2
    assert image.sum().item() == pytest.approx(found[:, 2].abs().sum().item(), rel=0.05)


def test_without_mass_sources_keep_place_and_flux() -> None:
    rays = RayGrid.of(ClusterMass(0.0, 0.0, 1.0, 0.0, 0.0, 0.0, NOTHING), size=120, spacing=0.2)
    x, y = torch.tensor([[3.0, -6.0]]), torch.tensor([[-2.0, 4.5]])
    source = components(
        torch.tensor([[[5.0], [2.0]]]), x=x, y=y, radius=torch.tensor([[0.3, 0.5]]), q=torch.tensor([[0.6, 1.0]])
    )
    image = render_background(source, torch.ones(2, dtype=torch.float64), rays)[0].double()
    assert image.sum().item() == pytest.approx(7.0, rel=0.01)
    assert (image * rays.x).sum().item() / 7.0 == pytest.approx((5 * 3.0 - 2 * 6.0) / 7.0, abs=0.02)


def test_a_source_in_front_is_not_lensed_and_farther_ones_more() -> None:
    share = efficiency(0.4, np.array([0.1, 0.4, 0.6, 2.0, 5.0]), 2.0)
    assert share[:2].tolist() == [0.0, 0.0] and share[3] == pytest.approx(1.0)
    assert (np.diff(share[1:]) > 0).all()


def test_the_field_and_its_maps(field: ClusterField, simulator: ClusterSimulator) -> None:
    assert field.image.shape == (3, 160, 160) and field.image.dtype == torch.float32
    scale, (x0, y0) = simulator.survey.pixel_scale, field.centre
    psi, kappa, alpha = (field.maps[name] for name in ("psi", "kappa", "alpha"))
    assert psi.dtype == torch.float64
    smooth = (kappa < 1.5) & interior_mask(160, 160, dx=scale, dy=scale, x0=x0, y0=y0, core=8.0)
    for ours, theirs in zip(alpha, gradient(psi, dx=scale, dy=scale), strict=True):
        assert (ours - theirs)[smooth].abs().median() < 1e-3
    assert (laplacian(psi, dx=scale, dy=scale) - 2 * kappa)[smooth].abs().median() < 2e-3
    # the maps, not the model, hold the Einstein radius that the truth states
    x, y = pixel_grid(160, 160, dx=scale, dy=scale, dtype=torch.float64)
    within = kappa[torch.hypot(x - x0, y - y0) < field.truth["theta_E"]]
    assert within.mean().item() == pytest.approx(1.0, abs=0.02)
    assert 10.0 <= field.truth["theta_E"] <= 0.6 * 80 * scale + 0.5 and field.truth["arcs"] >= 1


def test_the_same_seed_gives_the_same_bytes(field: ClusterField) -> None:
    again = ClusterSimulator("des", size=160, seed=5, lens_share=1.0).field(0)
    other = ClusterSimulator("des", size=160, seed=6, lens_share=1.0).field(0, maps=False)
    assert torch.equal(field.image, again.image) and torch.equal(field.maps["psi"], again.maps["psi"])
    assert not torch.equal(field.image, other.image)


def test_clusters_without_mass_have_the_same_galaxies() -> None:
    draws = Draws(3, torch.tensor([7]))
    with_mass, without = (
        draw_cluster(draws, theta_E=(10.0, 20.0), half_width=40.0, lensing=on) for on in (True, False)
    )
    assert torch.equal(with_mass.magnitude, without.magnitude) and without.mass.einstein_radius() == 0.0
    assert 9.9 < with_mass.mass.einstein_radius() < 20.1


@pytest.mark.parametrize("index", range(3))
def test_members_lie_on_a_red_sequence(index: int, simulator: ClusterSimulator) -> None:
    draws = Draws(11, torch.tensor([index]))
    cluster = draw_cluster(draws, theta_E=(20.0, 50.0), half_width=60.0, lensing=True)
    light = cluster_light(draws, cluster, simulator.view, size=400)[: len(cluster.x)]
    g_r = -2.5 * torch.log10(light.flux[:, 0] / light.flux[:, 1])
    slope, level = np.polyfit(cluster.magnitude.numpy(), g_r.numpy(), 1)
    assert -0.08 < slope < 0.0
    assert np.std(g_r.numpy() - slope * cluster.magnitude.numpy() - level) < 0.12
    assert cluster.magnitude[0] < cluster.magnitude[1:].min() + 0.5  # the BCG


def test_impossible_frames_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"hold no Einstein radius of 10 arcsec\. Take 127 or more"):
        ClusterSimulator("des", size=64)
