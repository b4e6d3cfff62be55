"""Pixels of the simulator against brute force: 16 x 16 samples a pixel, and exact integrals where light is a cusp.

200 systems as ``configs/paper_synthetic.yaml`` draws them, all their light and arcs, after the PSF, before the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv
from torch import Tensor

from mlensing.simulate import Mixture, Simulator, sky
from mlensing.simulate.camera.instrument import MARGIN, Observation, convolve
from mlensing.simulate.render.rays import Deflector, offsets, ray_terms
from mlensing.simulate.scene import Components
from mlensing.simulate.sources import REFERENCE_MAGNITUDE

CONFIG = Path(__file__).parents[1] / "configs" / "paper_synthetic.yaml"
SYSTEMS = 200
FINE = 16
CUSP = 4  # pixels to each side of a centre that are integrated exactly
NEAR = 8  # pixels to each side of a centre that get FINE x FINE samples; smooth light beyond gets 4 x 4

Array = NDArray[np.float64]
Brightness = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Rendered:
    """What one portion of a block was made of: arguments of the renderer, and the image before the noise."""

    sky: sky.Sky
    image: Tensor
    truth: dict[str, Tensor]
    light: Components
    source: Components | None = None
    lens: Deflector | None = None
    quasars: Components | None = None


def rendered(simulator: Simulator, number: int) -> list[Rendered]:
    """The portions of a block, as the simulator handed them to its renderer."""
    made: list[Rendered] = []
    light, arcs, expose, observe = sky.render_light, sky.render_arcs, Observation.expose, sky.Sky.observe

    def keep_light(c: Components, **options: Any) -> Tensor:
        if made[-1].source is None:
            made[-1].light = c
        else:
            made[-1].quasars = c
        return light(c, **options)

    def keep_arcs(source: Components, lens: Deflector, **options: Any) -> Tensor:
        made[-1].source, made[-1].lens = source, lens
        return arcs(source, lens, **options)

    def keep_image(self: Observation, flux: Tensor, *args: Any) -> Tensor:
        made[-1].image = flux.double()
        return expose(self, flux, *args)

    def keep_sky(self: sky.Sky, **options: Any) -> dict[str, Tensor]:
        made.append(Rendered(self, torch.empty(0), {}, self.shining))
        made[-1].truth = observe(self, **options)
        return made[-1].truth

    changes = (
        (sky, "render_light", keep_light),
        (sky, "render_arcs", keep_arcs),
        (sky.Sky, "observe", keep_sky),
        (Observation, "expose", keep_image),
    )
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(patch.object(*change))
        simulator.block(number)
    return made


def profile(c: Components, i: int) -> Brightness:
    """Surface brightness of unit flux of one component, at offsets from its centre, in double precision."""
    v = {name: float(getattr(c, name)[i]) for name in ("radius", "n", "q", "phi", "ring", "arms", "wind", "contrast")}
    phase, n, q, radius = float(c.phase[i]), v["n"], v["q"], v["radius"]
    b = float(gammaincinv(2 * n, 0.5))
    peak = b ** (2 * n) / (2 * math.pi * n * radius**2 * math.gamma(2 * n))
    if v["ring"] > 0:
        peak = 1 / ((2 * math.pi) ** 1.5 * v["ring"] * radius**2)

    def brightness(dx: Tensor, dy: Tensor) -> Tensor:
        along = dx * math.cos(v["phi"]) + dy * math.sin(v["phi"])
        across = (dy * math.cos(v["phi"]) - dx * math.sin(v["phi"])) / q
        r = torch.hypot(along, across) * (math.sqrt(q) / radius)
        out = torch.exp(-0.5 * ((r - 1) / v["ring"]) ** 2) if v["ring"] > 0 else torch.exp(-b * r ** (1 / n))
        if v["arms"] > 0:
            winding = torch.log((torch.hypot(along, across) / radius).clamp(min=0.05))
            azimuth = torch.atan2(across, along) - v["wind"] * winding
            out = out * (1 + v["contrast"] * torch.cos(v["arms"] * azimuth - phase))
        return peak * out

    return brightness


def means(of: Brightness, column: Tensor, row: Tensor, size: int, step: float, samples: int) -> Tensor:
    """Flux in the pixels ``column`` x ``row`` from ``samples`` x ``samples`` each; [rows, columns]."""
    inner = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples - 0.5 - (size - 1) / 2
    x, y = (((line[:, None] + inner) * step).flatten() for line in (column, row))
    flux = of(x[None, :], y[:, None]).view(len(row), samples, len(column), samples)
    return flux.mean((1, 3)) * step**2


def exact(c: Components, i: int, column: Array, row: Array, size: int, step: float) -> Array:
    """Flux of a Sersic profile in pixels by Green's theorem: around each, the flux within a radius over 2 pi, by angle.

    Points on each edge crowd towards the one next to the centre.
    """
    n, q, phi, radius = (float(getattr(c, name)[i]) for name in ("n", "q", "phi", "radius"))
    b, cos, sin = float(gammaincinv(2 * n, 0.5)), math.cos(phi), math.sin(phi)
    x, y = ((v - size / 2) * step - float(centre[i]) for v, centre in ((column, c.x), (row, c.y)))
    x, y = np.stack([x, x + step, x + step, x, x]), np.stack([y, y, y + step, y + step, y])
    x, y = (x * cos + y * sin) * math.sqrt(q) / radius, (y * cos - x * sin) / math.sqrt(q) / radius
    s, w = np.polynomial.legendre.leggauss(24)
    s, w = (s + 1) / 2, w / 2
    dx, dy = np.diff(x, axis=0)[..., None], np.diff(y, axis=0)[..., None]
    x, y = x[:-1, :, None], y[:-1, :, None]
    nearest = np.clip(-(x * dx + y * dy) / (dx**2 + dy**2), 0, 1)
    total = np.zeros(len(column))
    for end in (0.0, 1.0):
        t = nearest + (end - nearest) * s**4
        square = (x + t * dx) ** 2 + (y + t * dy) ** 2
        within = gammainc(2 * n, b * square ** (1 / (2 * n))) / (2 * math.pi * np.maximum(square, 1e-300))
        total += (within * np.abs(end - nearest) * 4 * s**3 * w * (x * dy - y * dx)).sum((0, 2))
    return total


def light_image(c: Components, i: int, size: int, step: float) -> Tensor:
    """Unit flux of one component on the frame."""
    x0, y0, of = float(c.x[i]), float(c.y[i]), profile(c, i)

    def moved(x: Tensor, y: Tensor) -> Tensor:
        return of(x - x0, y - y0)

    every = torch.arange(size, dtype=torch.float64)
    image = means(moved, every, every, size, step, 4)
    column, row = (every[(every - (size - 1) / 2 - v / step).abs() <= NEAR] for v in (x0, y0))
    if len(column) and len(row):
        fine = means(moved, column, row, size, step, FINE)
        image[int(row[0]) : int(row[-1]) + 1, int(column[0]) : int(column[-1]) + 1] = fine
    if c.ring[i] == 0 and c.arms[i] == 0:
        column, row = (every[(every - (size - 1) / 2 - v / step).abs() <= CUSP] for v in (x0, y0))
        x, y = (v.flatten() for v in np.meshgrid(column.numpy(), row.numpy()))
        image[y.astype(int), x.astype(int)] = torch.from_numpy(exact(c, i, x, y, size, step))
    return image


def arc_image(c: Components, i: int, lens: Deflector, row: int, size: int, step: float) -> Tensor:
    """Lensed image of unit flux: 4 x 4 rays everywhere, FINE x FINE near the source, thrice that where it is small."""
    one = Components(*(v[i : i + 1].double() if v.is_floating_point() else v[i : i + 1] for v in vars(c).values()))
    behind = lens[torch.tensor([row])]
    behind = Deflector(**{k: v.double() for k, v in vars(behind).items() if v is not None})
    terms, of = ray_terms(one, behind), profile(c, i)
    cos, sin = math.cos(float(behind.phi)), math.sin(float(behind.phi))

    def rays(column: Tensor, line: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        inner = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples - 0.5 - (size - 1) / 2
        x = ((column[:, None] + inner) * step - behind.x)[:, None, :]
        y = ((line[:, None] + inner) * step - behind.y)[:, :, None]
        dx, dy = offsets(terms, (x * cos + y * sin)[None], (y * cos - x * sin)[None])
        return dx[0] * cos - dy[0] * sin, dx[0] * sin + dy[0] * cos

    every = torch.arange(size, dtype=torch.float64)
    line, column = (v.flatten() for v in torch.meshgrid(every, every, indexing="ij"))
    dx, dy = rays(column, line, 4)
    image = of(dx, dy).mean((1, 2))
    reach = 6 * float(one.radius) / math.sqrt(float(one.q)) + 0.5 * step
    near = torch.hypot(dx, dy).amin((1, 2)) < reach
    samples = FINE if float(one.radius) > 0.15 else 3 * FINE
    for some in torch.split(near.nonzero()[:, 0], 64):  # fits the caches
        image[some] = of(*rays(column[some], line[some], samples)).mean((1, 2))
    return image.view(size, size) * step**2


def expected(made: Rendered, row: int) -> Tensor:
    """The image that the simulator should have made of one sample; [bands, y, x]."""
    view, size, step = made.sky, made.sky.frame, float(made.sky.spacing[row])
    image = torch.zeros(made.light.flux.shape[1], size, size, dtype=torch.float64)
    for i in (made.light.owner == row).nonzero()[:, 0].tolist():
        image += made.light.flux[i].double()[:, None, None] * light_image(made.light, i, size, step)
    if not made.truth["source_magnitude"][row].isnan():
        scale = 10 ** (0.4 * (REFERENCE_MAGNITUDE - float(made.truth["source_magnitude"][row])))
        lensed = int((~made.truth["source_magnitude"][:row].isnan()).sum())
        assert made.source is not None and made.lens is not None
        for i in (made.source.owner == lensed).nonzero()[:, 0].tolist():
            arc = arc_image(made.source, i, made.lens, lensed, size, step)
            image += scale * made.source.flux[i].double()[:, None, None] * arc
        points = made.quasars
        for i in [] if points is None else (points.owner == lensed).nonzero()[:, 0].tolist():
            image += scale * points.flux[i].double()[:, None, None] * light_image(points, i, size, step)
    padded = size + 2 * MARGIN * view.fine
    psf = view.observation[torch.tensor([row])].psf(size=padded, spacing=view.spacing[row : row + 1])
    return view._pixels(convolve(image[None], torch.fft.rfft2(psf.double())))[0]


def errors(simulator: Simulator, count: int) -> Iterator[float]:
    """Largest difference of each system over the peak of its band."""
    number = 0
    while count > 0:
        for made in rendered(simulator, number):
            for row in range(min(len(made.image), count)):
                truth = expected(made, row)
                off = (made.image[row] - truth).abs().amax((1, 2)) / truth.amax((1, 2))
                yield float(off.max())
            count -= len(made.image)
        number += 1


def test_two_hundred_systems_are_within_a_percent_of_brute_force() -> None:
    off = torch.tensor(list(errors(Simulator(Mixture.load(CONFIG), seed=7), SYSTEMS)))
    assert len(off) == SYSTEMS
    assert off.max() < 0.01, "the cusp of the worst included"
    assert off.median() < 0.002


@pytest.mark.parametrize("n", [1.0, 4.0, 6.0])
def test_the_exact_integral_is_that_of_many_samples(n: float) -> None:
    values = {"x": 0.03, "y": -0.05, "radius": 0.8, "n": n, "q": 0.6, "phi": 0.7}
    none = dict.fromkeys(("ring", "arms", "wind", "contrast", "phase"), 0.0)
    fields = {name: torch.tensor([value]) for name, value in (values | none).items()}
    body = Components(owner=torch.zeros(1, dtype=torch.int64), flux=torch.ones(1, 1), **fields)
    column, row = np.array([4.0, 5.0, 7.0]), np.array([4.0, 4.0, 2.0])
    for number, (x, y) in enumerate(zip(column, row, strict=True)):
        of, where = profile(body, 0), (torch.tensor([x]), torch.tensor([y]))
        many = means(lambda a, b, of=of: of(a - 0.03, b + 0.05), *where, 9, 0.2, 2048)
        assert exact(body, 0, column, row, 9, 0.2)[number] == pytest.approx(many.item(), rel=2e-4)
