"""Samples on their way from galaxies to pixels: what is where, its light, its arcs, its maps."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor

from mlensing.physics.mass import (
    PIXEL_MEAN_CORE,
    shear_deflection,
    shear_potential,
    sie_convergence,
    sie_deflection,
)
from mlensing.simulate.artefacts import scarred
from mlensing.simulate.draws import Draws
from mlensing.simulate.images import find_images
from mlensing.simulate.instrument import MARGIN, Instrument, convolve, draw_observation
from mlensing.simulate.lenses import (
    draw_brightness,
    draw_deflector,
    matched_signal,
)
from mlensing.simulate.mixture import KINDS, LENSED
from mlensing.simulate.negatives import MASSLESS, NEGATIVES
from mlensing.simulate.population import Galaxies
from mlensing.simulate.render import axis, render_arcs, render_light
from mlensing.simulate.scene import Components, early_type, group_members, join, neighbours, stray_light
from mlensing.simulate.sources import REFERENCE_MAGNITUDE, draw_sources, lensed_quasars

Block = dict[str, Tensor]


class Sky:
    """Samples of one ``fine`` grid.

    Arguments:
        draws: of their indices.
        view: the instrument of each.
        galaxies: the central galaxy, or the brightness that another central object takes from it.
        kind: [B] position in ``KINDS``.
        offset: [B, 2] x, y of the central object [arcsec].
        size: pixels a side.
    """

    def __init__(
        self, draws: Draws, view: Instrument, galaxies: Galaxies, kind: Tensor, offset: Tensor, *, size: int
    ) -> None:
        self.draws, self.view, self.kind, self.offset, self.size = draws, view, kind, offset, size
        massless = torch.isin(kind, torch.tensor([KINDS.index(name) for name in MASSLESS], device=kind.device))
        self.galaxies = replace(galaxies, theta_E=torch.where(massless, 0.0, galaxies.theta_E))
        deflector = draw_deflector(draws, self.galaxies)
        self.deflector = replace(deflector, x=offset[:, 0], y=offset[:, 1])
        self.observation = draw_observation(draws, view)
        self.fine = int(view.fine[0])
        self.spacing = view.pixel_scale / self.fine
        self.frame = (size + 2 * MARGIN) * self.fine
        self.shining, self.sources = self.light(), self._sources()

    def __getitem__(self, rows: Tensor) -> Sky:
        """The samples ``rows``, which follow one another, as they were drawn."""
        part, first, last = copy.copy(self), int(rows[0]), int(rows[-1]) + 1
        part.draws = self._some(rows)
        for name in ("view", "kind", "offset", "galaxies", "deflector", "observation", "spacing"):
            setattr(part, name, getattr(self, name)[rows])
        part.shining, part.sources = self.shining.owned(first, last), self.sources.owned(first, last)
        return part

    def observe(self, *, arc_signal: float) -> Block:
        """Noisy images and their truth; arcs reach at least this matched-filter S/N."""
        transfer = self._transfer()
        light = self._pixels(convolve(render_light(self.shining, size=self.frame, spacing=self.spacing), transfer))
        truth = self._truth()
        rows = (self.kind < len(LENSED)).nonzero()[:, 0]
        if len(rows):
            light = light.index_add(0, rows, self._arcs(rows, transfer, light, arc_signal, truth))
        image = self.observation.expose(light, self.draws)
        struck = self.kind == KINDS.index("cosmic_ray")
        return {"image": scarred(image, self.draws, noise=self.observation.sky_noise(), struck=struck)} | truth

    def light(self) -> Components:
        """Everything that shines and is not lensed."""
        parts = [
            neighbours(self.draws, self.view, size=self.size),
            stray_light(self.draws, self.view, size=self.size),
            group_members(self.draws, self.galaxies, self.view, probability=0.15, size=self.size),
        ]
        for number, name in enumerate(KINDS):
            rows = (self.kind == number).nonzero()[:, 0]
            if len(rows):
                build = NEGATIVES.get(name, early_type)
                made = build(self._some(rows), self.galaxies[rows], self.view[rows])
                parts.append(made.moved(rows, *self.offset[rows].T))
        return join(parts)

    def _sources(self) -> Components:
        """What shines behind the lenses; owner = sample."""
        rows = (self.kind < len(LENSED)).nonzero()[:, 0]
        source = draw_sources(self._some(rows), self.galaxies[rows], self.view.bands[rows])
        return replace(source, owner=rows[source.owner])

    def _some(self, rows: Tensor) -> Draws:
        return Draws(self.draws.seed, self.draws.index[rows])

    def _arcs(self, rows: Tensor, transfer: Tensor, light: Tensor, minimum: float, truth: Block) -> Tensor:
        """Blurred arcs of the lens rows, their brightness drawn; fills in the truth."""
        source = replace(self.sources, owner=torch.searchsorted(rows, self.sources.owner))
        lens, spacing = self.deflector[rows], self.spacing[rows]
        discs = source[: len(rows)]
        *images, truth["images"][rows] = find_images(discs, lens)
        quasars = lensed_quasars(self._some(rows), discs, lens, *images)
        arcs = render_arcs(source, lens, size=self.frame, spacing=spacing, fine=self.fine)
        emitted = arcs.new_zeros(arcs.shape[:2]).index_add_(0, source.owner, source.flux)
        stretched = arcs.sum((1, 2, 3)) / emitted.sum(1)
        if len(quasars):
            arcs += render_light(quasars, size=self.frame, spacing=spacing)
        blurred = self._pixels(convolve(arcs, transfer[rows]))
        signal = matched_signal(blurred, self._noise(light)[rows], light[rows])
        faint = self.kind[rows] == KINDS.index("faint_lens")
        magnitude = draw_brightness(self._some(rows), signal, minimum=minimum, faint=faint)
        scale = torch.exp((REFERENCE_MAGNITUDE - magnitude) * (0.4 * math.log(10.0)))
        truth["magnification"][rows] = stretched
        truth["source_magnitude"][rows] = magnitude
        truth["arc_signal"][rows] = signal * scale
        return blurred * scale[:, None, None, None]

    def _transfer(self) -> Tensor:
        """PSFs as ``convolve`` takes them."""
        padded = self.frame + 2 * MARGIN * self.fine
        transfer: Tensor = torch.fft.rfft2(self.observation.psf(size=padded, spacing=self.spacing))
        return transfer

    def _noise(self, light: Tensor) -> Tensor:
        """Standard deviation of each pixel beneath the arcs."""
        return self.observation.noise(light)

    def _truth(self) -> Block:
        g = self.galaxies
        nan = torch.full_like(g.theta_E, math.nan)
        truth = {"theta_E": g.theta_E, "z_lens": g.z, "z_source": g.z_source, "sigma_v": g.sigma_v}
        return truth | {name: nan.clone() for name in ("magnification", "source_magnitude", "arc_signal", "images")}

    def _pixels(self, image: Tensor) -> Tensor:
        """Sum the fine grid into detector pixels and cut the margin off."""
        if self.fine > 1:
            image = torch.nn.functional.avg_pool2d(image, self.fine) * self.fine**2
        return image[..., MARGIN:-MARGIN, MARGIN:-MARGIN]

    def maps(self) -> Block:
        """kappa, psi [arcsec^2] and alpha [arcsec] (x, y) of SIE and shear at pixel centres.

        They are what the central galaxy would do to a source at ``z_source``, whether or not there is one.

        Returns:
            ``kappa``, ``psi`` [B, size, size], ``alpha`` [B, 2, size, size]; zero for samples without a galaxy.
        """
        d = self.deflector
        line = axis(self.size, self.view.pixel_scale)
        shape = (len(line), self.size, self.size)
        x = (line - d.x[:, None])[:, None, :].expand(shape)
        y = (line - d.y[:, None])[:, :, None].expand(shape)
        theta_E, q, phi, spacing = (v[:, None, None] for v in (d.theta_E, d.q, d.phi, self.view.pixel_scale))
        mass, zero = (theta_E > 0).float(), torch.zeros(())
        sie = {"x0": zero, "y0": zero, "theta_E": theta_E, "q": q, "phi": phi}
        shear = {"gamma1": d.gamma1[:, None, None] * mass, "gamma2": d.gamma2[:, None, None] * mass}
        alpha = torch.stack(sie_deflection(x, y, **sie), 1)
        return {
            "kappa": sie_convergence(x, y, **sie, core=PIXEL_MEAN_CORE * spacing),
            "psi": x * alpha[:, 0] + y * alpha[:, 1] + shear_potential(x, y, **shear),  # as sie_potential
            "alpha": alpha + torch.stack(shear_deflection(x, y, **shear), 1),
        }
