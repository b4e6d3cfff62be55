"""Pixels against lenstronomy on a grid many times finer, and flux against what was put in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util.param_util import phi_q2_ellipticity
from numpy.typing import NDArray
from scipy.special import gammaincinv
from torch import Tensor

from mlensing.simulate.camera.instrument import Instrument, convolve, draw_observation
from mlensing.simulate.draws import Draws
from mlensing.simulate.render.arcs import render_arcs
from mlensing.simulate.render.light import render_light
from mlensing.simulate.render.profiles import peak, shape, shape_terms
from mlensing.simulate.render.rays import Deflector, offsets, ray_terms
from mlensing.simulate.scene import Components, components
from mlensing.survey import Survey

Image = NDArray[np.float64]
SIZE, SPACING = 48, 0.2


@pytest.fixture(scope="module")
def transfer() -> Tensor:
    """Fourier transform of an LSST PSF on a padded frame."""
    table = Instrument.of([Survey.load("lsst")], [["g"]], torch.device("cpu"))
    seen = draw_observation(Draws(0, torch.arange(1)), table)
    return torch.fft.rfft2(seen.psf(size=2 * SIZE, spacing=torch.tensor([SPACING])))


def galaxy(**fields: float) -> Components:
    values = {"x": 0.11, "y": -0.37, "radius": 0.8, "n": 1.0, "q": 0.6, "phi": 0.7} | fields
    return components(torch.tensor([[1000.0]]), **{name: torch.tensor([value]) for name, value in values.items()})


def lens(**fields: float) -> Deflector:
    values = {"x": 0.13, "y": -0.08, "theta_E": 1.4, "q": 0.7, "phi": 0.4, "gamma1": 0.05, "gamma2": -0.03} | fields
    return Deflector(**{name: torch.tensor([value]) for name, value in values.items()})


def their_galaxy(c: Components) -> dict[str, Any]:
    """lenstronomy's arguments; its b_n is a straight line in n, which radius and amplitude make up for."""
    n, radius, q = float(c.n), float(c.radius), float(c.q)
    theirs, exact = 1.9992 * n - 0.3271, gammaincinv(2 * n, 0.5)
    gamma = np.exp(exact - 2 * n * np.log(exact)) * torch.exp(torch.lgamma(torch.tensor(2.0 * n))).item()
    amplitude = float(c.flux) / (2 * np.pi * n * radius**2 * gamma) * np.exp(exact - theirs)
    e1, e2 = phi_q2_ellipticity(float(c.phi), q)
    return {
        "amp": amplitude,
        "R_sersic": radius * (theirs / exact) ** n,
        "n_sersic": n,
        "e1": e1,
        "e2": e2,
        "center_x": float(c.x),
        "center_y": float(c.y),
    }


def fine_grid(samples: int) -> tuple[Image, Image]:
    line = (np.arange(SIZE * samples) - (SIZE * samples - 1) / 2) * SPACING / samples
    x, y = np.meshgrid(line, line)
    return x.ravel(), y.ravel()


def pixels(brightness: Image, samples: int) -> Tensor:
    mean = brightness.reshape(SIZE, samples, SIZE, samples).mean((1, 3))
    return torch.from_numpy(mean * SPACING**2).float()[None, None]


def assert_within_a_percent_of_the_peak(ours: Tensor, theirs: Tensor, transfer: Tensor) -> None:
    blurred, expected = convolve(ours, transfer), convolve(theirs, transfer)
    assert (blurred - expected).abs().max() < 0.01 * expected.max()


@pytest.mark.parametrize("n", [1.0, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("radius", [0.3, 1.2])
def test_light_against_lenstronomy(n: float, radius: float, transfer: Tensor) -> None:
    body = galaxy(n=n, radius=radius)
    samples = 24  # the cusp of n = 4 needs that many
    expected = LightModel(["SERSIC_ELLIPSE"]).surface_brightness(*fine_grid(samples), [their_galaxy(body)])
    ours = render_light(body, size=SIZE, spacing=torch.tensor([SPACING]))
    assert_within_a_percent_of_the_peak(ours, pixels(expected, samples), transfer)


@pytest.mark.parametrize("radius", [0.12, 0.3])
@pytest.mark.parametrize("place", [(0.05, 0.02), (0.4, -0.3), (-0.2, 0.6)])
def test_arcs_against_lenstronomy(place: tuple[float, float], radius: float, transfer: Tensor) -> None:
    source, mass = galaxy(x=place[0], y=place[1], radius=radius), lens()
    e1, e2 = phi_q2_ellipticity(float(mass.phi), float(mass.q))
    centre = {"center_x": float(mass.x), "center_y": float(mass.y)}
    sie = {"theta_E": float(mass.theta_E), "e1": e1, "e2": e2} | centre
    shear = {"gamma1": float(mass.gamma1), "gamma2": float(mass.gamma2)}
    x, y = fine_grid(8)
    about = {"ra_0": centre["center_x"], "dec_0": centre["center_y"]}
    beta = LensModel(["SIE", "SHEAR"]).ray_shooting(x, y, [sie, shear | about])
    relative = beta[0] - centre["center_x"], beta[1] - centre["center_y"]
    expected = LightModel(["SERSIC_ELLIPSE"]).surface_brightness(*relative, [their_galaxy(source)])
    ours = render_arcs(source, mass, size=SIZE, spacing=torch.tensor([SPACING]), fine=1)
    assert_within_a_percent_of_the_peak(ours, pixels(expected, 8), transfer)


@pytest.mark.parametrize(("n", "radius"), [(0.5, 0.03), (0.5, 0.5), (1.0, 0.3), (2.0, 0.1)])
def test_flux_is_conserved(n: float, radius: float, transfer: Tensor) -> None:
    image = render_light(galaxy(n=n, radius=radius), size=SIZE, spacing=torch.tensor([SPACING]))
    assert image.sum().item() == pytest.approx(1000.0, rel=5e-3)
    blurred = convolve(torch.nn.functional.pad(image, (0, SIZE, 0, SIZE)), transfer)  # with all that runs out of frame
    assert blurred.sum().item() == pytest.approx(1000.0, rel=5e-3)


def test_a_lens_without_mass_shows_the_source_itself() -> None:
    source, none = galaxy(n=1.5), lens(theta_E=0.0, gamma1=0.0, gamma2=0.0, x=0.0, y=0.0)
    spacing = torch.tensor([SPACING])
    seen = render_arcs(source, none, size=SIZE, spacing=spacing, fine=1)
    direct = render_light(source, size=SIZE, spacing=spacing)
    assert (seen - direct).abs().max() < 0.02 * direct.max()
    assert seen.sum().item() == pytest.approx(direct.sum().item(), rel=0.01)


def test_a_magnified_source_is_brighter_by_the_known_factor() -> None:
    """A small source at beta behind an isothermal sphere is magnified by 2 theta_E / beta."""
    sphere = lens(q=1.0, gamma1=0.0, gamma2=0.0, x=0.0, y=0.0)
    source = galaxy(x=0.3, y=0.0, radius=0.05, n=0.7, q=1.0)
    image = render_arcs(source, sphere, size=SIZE, spacing=torch.tensor([SPACING]), fine=1)
    assert image.sum().item() / 1000.0 == pytest.approx(2 * 1.4 / 0.3, rel=0.02)


def test_a_finer_grid_shows_the_same_sky() -> None:
    for fine in (2, 3):
        coarse = render_light(galaxy(n=2.0), size=SIZE, spacing=torch.tensor([SPACING]))
        sharp = render_light(galaxy(n=2.0), size=SIZE * fine, spacing=torch.tensor([SPACING / fine]))
        summed = torch.nn.functional.avg_pool2d(sharp, fine) * fine**2
        assert (coarse - summed).abs().max() < 0.01 * coarse.max()


def test_components_go_to_their_owners_and_bands() -> None:
    flux = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 0.0]])
    body = components(flux, x=torch.tensor([0.0, 1.0, -1.0]), radius=0.3)
    image = render_light(body, size=SIZE, spacing=torch.full((3,), SPACING))
    torch.testing.assert_close(image.sum((2, 3)), flux, rtol=5e-3, atol=0)
    assert image[2, 0].argmax() % SIZE < SIZE / 2, "x is the column"


def test_many_components_are_the_sum_of_each() -> None:
    draws, count = Draws(4, torch.arange(130)), 130  # more than one chunk
    fields = {name: draws.uniform(name, low=-5.0, high=5.0) for name in ("x", "y")}
    fields |= {"radius": draws.uniform("r", low=0.03, high=3.0), "q": draws.uniform("q", low=0.1)}
    fields |= {"ring": 0.2 * draws.chance("ring", 0.3), "arms": 2.0 * draws.chance("arms", 0.3)}
    fields |= {"phi": draws.uniform("phi", high=3.0), "n": draws.uniform("n", low=0.5, high=5.0)}
    body = components(torch.ones(count, 1), contrast=torch.full((count,), 0.7), **fields)
    spacing = torch.full((count,), SPACING)
    together = render_light(body, size=32, spacing=spacing)
    assert torch.isfinite(together).all() and (together >= 0).all()
    for row in range(0, count, 17):
        one = body[torch.tensor([row])]
        one.owner = torch.zeros(1, dtype=torch.int64)
        torch.testing.assert_close(render_light(one, size=32, spacing=spacing[:1])[0], together[row])


@pytest.mark.parametrize(("width", "tolerance"), [(0.1, 0.03), (0.28, 0.05)])
def test_a_ring_holds_its_flux(width: float, tolerance: float) -> None:
    body = components(torch.tensor([[50.0]]), radius=torch.tensor([1.5]), ring=width, q=0.7)
    image = render_light(body, size=SIZE, spacing=torch.tensor([SPACING]))
    assert image.sum().item() == pytest.approx(50.0, rel=tolerance)
    assert image[0, 0, SIZE // 2, SIZE // 2] < 0.1 * image.max()


def test_the_same_scene_as_lenstronomys_to_a_hundred_thousandth_of_the_peak(transfer: Tensor) -> None:
    """Light and arcs evaluated at the same points: profiles, rays and PSF are the same, sampling left aside."""
    light, source, mass = galaxy(n=3.0, radius=0.9), galaxy(x=0.25, y=-0.1, radius=0.3, n=1.4), lens()
    x, y = fine_grid(1)
    e1, e2 = phi_q2_ellipticity(float(mass.phi), float(mass.q))
    centre = {"center_x": float(mass.x), "center_y": float(mass.y)}
    sie = {"theta_E": float(mass.theta_E), "e1": e1, "e2": e2} | centre
    about = {"ra_0": centre["center_x"], "dec_0": centre["center_y"]}
    shear = {"gamma1": float(mass.gamma1), "gamma2": float(mass.gamma2)} | about
    beta = LensModel(["SIE", "SHEAR"]).ray_shooting(x, y, [sie, shear])
    model = LightModel(["SERSIC_ELLIPSE"])
    expected = model.surface_brightness(x, y, [their_galaxy(light)])
    behind = beta[0] - centre["center_x"], beta[1] - centre["center_y"]
    expected = pixels(expected + model.surface_brightness(*behind, [their_galaxy(source)]), 1)

    def points(c: Components, dx: Tensor, dy: Tensor, turn: float) -> Tensor:
        brightness = peak(c)[:, None, None] * shape(c, shape_terms(c, turn=turn), dx[None], dy[None])
        return float(c.flux) * SPACING**2 * brightness[None]

    grid_x, grid_y = (torch.from_numpy(v.reshape(SIZE, SIZE)).float() for v in (x, y))
    turn = float(mass.phi)
    cos, sin = np.cos(turn), np.sin(turn)
    dx, dy = grid_x - float(mass.x), grid_y - float(mass.y)
    rays = offsets(ray_terms(source, mass), (dx * cos + dy * sin)[None], (dy * cos - dx * sin)[None])
    ours = points(light, grid_x - float(light.x), grid_y - float(light.y), 0.0)
    ours = ours + points(source, rays[0][0], rays[1][0], turn)
    blurred, theirs = convolve(ours, transfer), convolve(expected, transfer)
    assert (blurred - theirs).abs().max() < 1e-5 * theirs.max()


@pytest.mark.parametrize(("n", "radius"), [(1.0, 0.3), (4.0, 0.3), (6.0, 0.25), (0.5, 0.03)])
def test_the_psf_moves_flux_and_loses_none(n: float, radius: float) -> None:
    """Light and PSF on a frame that holds both whole, before and after; points and cusps included."""
    size = 3 * SIZE
    table = Instrument.of([Survey.load("lsst")], [["g", "r", "i"]], torch.device("cpu"))
    psf = draw_observation(Draws(1, torch.arange(1)), table).psf(size=2 * size, spacing=torch.tensor([SPACING]))
    body = components(torch.tensor([[1000.0, 10.0, 0.1]]), radius=torch.tensor([radius]), n=n, x=0.03, y=0.05)
    image = render_light(body, size=size, spacing=torch.tensor([SPACING]))
    whole = torch.nn.functional.pad(image, (0, size, 0, size))  # a period of the transform: nothing leaves it
    spread = torch.fft.irfft2(torch.fft.rfft2(whole) * torch.fft.rfft2(psf), s=whole.shape[-2:])
    torch.testing.assert_close(spread.sum((2, 3)), image.sum((2, 3)), rtol=1e-5, atol=0)
    inside = convolve(image, torch.fft.rfft2(psf))  # what is cut off is what left the frame
    torch.testing.assert_close(inside, spread[..., :size, :size], rtol=0, atol=1e-5 * float(inside.max()))
    torch.testing.assert_close(image.sum((2, 3)), body.flux, rtol=0.005 if n < 4 else 0.03, atol=0)
