"""Samples on their way from galaxies to pixels: what is where, its light, its arcs, its maps."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mlensing.simulate.camera.artefacts import scarred
from mlensing.simulate.camera.instrument import MARGIN, Instrument, convolve, draw_observation
from mlensing.simulate.draws import Draws
from mlensing.simulate.lenses import draw_brightness, draw_deflector, draw_satellites, matched_signal
from mlensing.simulate.mixture import KINDS, LENSED, MassStructure
from mlensing.simulate.negatives import MASSLESS, NEGATIVES
from mlensing.simulate.population import Galaxies
from mlensing.simulate.real.galaxies import Morphologies
from mlensing.simulate.render.arcs import render_arcs
from mlensing.simulate.render.images import multiply_imaged
from mlensing.simulate.render.light import render_light
from mlensing.simulate.render.maps import deflector_maps
from mlensing.simulate.render.rays import Deflector
from mlensing.simulate.render.stamps import draw_stamps, one_each, render_stamps
from mlensing.simulate.scene import Components, draw_members, early_type, group_members, join, neighbours, stray_light
from mlensing.simulate.sources import REFERENCE_MAGNITUDE, draw_sources, lensed_quasars

Block = dict[str, Tensor]
ISOTHERMAL = MassStructure()
GROUPED = 0.15
"""Share of galaxies of ordinary theta_E that have group members beside them."""


class Sky:
    """Samples of one ``fine`` grid.

    Arguments:
        draws: of their indices.
        view: the instrument of each.
        galaxies: the central galaxy, or the brightness that another central object takes from it.
        kind: [B] position in ``KINDS``.
        offset: [B, 2] x, y of the central object [arcsec].
        size: pixels a side.
        structure: of the mass.
        real: real galaxies to lens; None for drawn ones alone.
        real_share: share of the sources that they are.
    """

    def __init__(
        self,
        draws: Draws,
        view: Instrument,
        galaxies: Galaxies,
        kind: Tensor,
        offset: Tensor,
        *,
        size: int,
        structure: MassStructure = ISOTHERMAL,
        real: Morphologies | None = None,
        real_share: float = 1.0,
    ) -> None:
        self.draws, self.view, self.kind, self.offset, self.size = draws, view, kind, offset, size
        massless = torch.isin(kind, torch.tensor([KINDS.index(name) for name in MASSLESS], device=kind.device))
        self.galaxies = replace(galaxies, theta_E=torch.where(massless, 0.0, galaxies.theta_E))
        self.members = draw_members(draws, self.galaxies, view, probability=GROUPED, size=size)
        self.deflector = replace(
            draw_deflector(draws, self.galaxies, slope_scatter=structure.slope_scatter),
            satellites=self._satellites(structure),
            x=offset[:, 0],
            y=offset[:, 1],
        )
        self.observation = draw_observation(draws, view)
        self.fine = int(view.fine[0])
        self.spacing = view.pixel_scale / self.fine
        self.frame = (size + 2 * MARGIN) * self.fine
        self.real, self.real_share = real, real_share
        self.stamp = torch.full_like(kind, -1)  # number of the real galaxy; -1 for none
        self.shining, self.sources = self.light(), self._sources()

    def _satellites(self, structure: MassStructure) -> Tensor | None:
        if not (structure.satellites or structure.subhaloes):
            return None
        mass = replace(self.members, active=self.members.active & structure.satellites)
        return draw_satellites(self.draws, self.galaxies, mass, subhaloes=structure.subhaloes)

    def __getitem__(self, rows: Tensor) -> Sky:
        """The samples ``rows``, which follow one another, as they were drawn."""
        part, first, last = copy.copy(self), int(rows[0]), int(rows[-1]) + 1
        part.draws = self._some(rows)
        for name in ("view", "kind", "offset", "galaxies", "deflector", "observation", "spacing", "stamp"):
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
        return {"image": self._scarred(image, struck)} | truth

    def _scarred(self, image: Tensor, struck: Tensor) -> Tensor:
        noise = self.observation.sky_noise()
        return scarred(image, self.draws, noise=noise, struck=struck, bands=self.view.bands)

    def light(self) -> Components:
        """Everything that shines and is not lensed."""
        parts = [
            neighbours(self.draws, self.view, size=self.size),
            stray_light(self.draws, self.view, size=self.size),
            self._members(),
        ]
        for number, name in enumerate(KINDS):
            rows = (self.kind == number).nonzero()[:, 0]
            if len(rows):
                build = NEGATIVES.get(name, early_type)
                made = build(self._some(rows), self.galaxies[rows], self.view[rows])
                parts.append(made.moved(rows, *self.offset[rows].T))
        return join(parts)

    def _members(self) -> Components:
        """Light of the group, which goes where the central galaxy goes."""
        light = group_members(self.draws, self.galaxies, self.members, self.view)
        return light.moved(torch.arange(len(self.offset), device=self.offset.device), *self.offset.T)

    def _sources(self) -> Components:
        """What shines behind the lenses; owner = sample."""
        rows = (self.kind < len(LENSED)).nonzero()[:, 0]
        source = draw_sources(self._some(rows), self.galaxies[rows], self.view.bands[rows])
        if self.real is not None and len(rows):
            real = self._some(rows).chance("source/real", self.real_share)
            source, chosen = one_each(source, real), rows[real]
            self.stamp[chosen] = self.real.choose(self._some(chosen), "source/stamp")
        return replace(source, owner=rows[source.owner])

    def _some(self, rows: Tensor) -> Draws:
        return Draws(self.draws.seed, self.draws.index[rows])

    def _arcs(self, rows: Tensor, transfer: Tensor, light: Tensor, minimum: float, truth: Block) -> Tensor:
        """Blurred arcs of the lens rows, their brightness drawn; fills in the truth."""
        lens, spacing = self.deflector[rows], self.spacing[rows]
        source = replace(self.sources, owner=torch.searchsorted(rows, self.sources.owner))
        source, *images, truth["images"][rows] = multiply_imaged(source, lens)
        discs = source[: len(rows)]
        quasars = lensed_quasars(self._some(rows), discs, lens, *images)
        arcs = self._traced(rows, source, lens)
        emitted = arcs.new_zeros(arcs.shape[:2]).index_add_(0, source.owner, source.flux)
        stretched = arcs.sum((1, 2, 3)) / emitted.sum(1)
        if len(quasars):
            arcs += render_light(quasars, size=self.frame, spacing=spacing)
        blurred = self._pixels(convolve(arcs, transfer[rows]))
        signal = matched_signal(blurred, self._noise(light)[rows], light[rows])
        faint = self.kind[rows] == KINDS.index("faint_lens")
        z_source = self.galaxies.z_source[rows]
        magnitude = draw_brightness(self._some(rows), signal, z_source=z_source, minimum=minimum, faint=faint)
        scale = torch.exp((REFERENCE_MAGNITUDE - magnitude) * (0.4 * math.log(10.0)))
        truth["magnification"][rows] = stretched
        truth["source_magnitude"][rows] = magnitude
        truth["arc_signal"][rows] = signal * scale
        return blurred * scale[:, None, None, None]

    def _traced(self, rows: Tensor, source: Components, lens: Deflector) -> Tensor:
        """Arcs of the lens rows, as sharp as they are."""
        grid: dict[str, Any] = {"size": self.frame, "spacing": self.spacing[rows], "fine": self.fine}
        is_real = self.stamp[rows][source.owner] >= 0
        arcs = render_arcs(source[~is_real], lens, **grid)
        if self.real is not None and is_real.any():
            bodies = source[is_real]
            lensed = rows[bodies.owner]
            stamps = draw_stamps(self._some(lensed), self.real.images(self.stamp[lensed]))
            arcs += render_stamps(bodies, stamps, lens, **grid)
        return arcs

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
        """Maps of what the deflector would do to a source at ``z_source`` (``deflector_maps``)."""
        return deflector_maps(self.deflector, size=self.size, pixel_scale=self.view.pixel_scale)
