"""The simulated sky: blocks of labelled cutouts, the same for a (seed, index) however they are asked for.

Samples are always made in whole blocks of ``BLOCK`` consecutive indices, so that neither batch size, worker count nor
a restart can change a byte.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.mixture import HOST, KINDS, LENSED, Mixture
from mlensing.simulate.negatives import ZOOMED
from mlensing.simulate.population import draw_deflectors
from mlensing.simulate.real.galaxies import Morphologies
from mlensing.simulate.real.hosts import Hosts
from mlensing.simulate.real.painting import PaintedSky, measure, suitable_deflectors
from mlensing.simulate.real.psfs import PsfChoice, RealPsfs
from mlensing.simulate.sky import Block, Sky
from mlensing.survey import Survey

BLOCK = 64
CACHED = 32  # samples whose pixels a processor computes at once: more than its caches hold is slower
RESOLVED = 1.4  # smallest theta_E in widths of the sharpest PSF: below it arcs melt into the lens
FRAMED = 0.65  # largest theta_E in half widths of the frame: the outer image lies up to 1.55 theta_E out


class Simulator:
    """Blocks of simulated cutouts.

    Arguments:
        mixture: what to simulate.
        seed: of the whole set.
        device: where to compute.
        sources: real galaxies that the lenses magnify; None draws them.
        psfs: measured PSFs; None takes Moffat profiles of each survey's seeing.
        hosts: real cutouts. With them every sample is one of them, turned at random: arcs are painted on the lenses of
            the mixture, and all its other classes become the host as it is. The mixture's surveys, zoom and dither do
            not count.

    Example:
        >>> mixture = Mixture(surveys={"des": 1}, classes={"lens": 1, "spiral": 1}, size=32)
        >>> block = Simulator(mixture, seed=1).block(0)
        >>> block["image"].shape
        torch.Size([64, 3, 32, 32])
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        seed: int,
        device: str | torch.device = "cpu",
        sources: Morphologies | None = None,
        psfs: RealPsfs | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self.mixture, self.seed, self.device, self.sources = mixture, seed, torch.device(device), sources
        self.hosts = hosts
        weights = torch.tensor([mixture.classes.get(kind, 0.0) for kind in KINDS] + [0.0])
        if hosts is None:
            self.surveys = [Survey.load(name) for name in mixture.surveys]
            self.bands = [mixture.bands or survey.channel_bands() for survey in self.surveys]
            self._instruments = Instrument.of(self.surveys, self.bands, self.device)
            self._rows = torch.tensor(list(mixture.surveys.values()))
            self._survey = torch.arange(len(self.surveys), device=self.device)
        else:
            _require_size(hosts, mixture.size)
            self.surveys, self.bands = [hosts.survey], [hosts.cutouts.bands]
            self._instruments, self._rows = hosts.instrument(self.device), torch.ones(len(hosts))
            self._survey = torch.zeros(len(hosts), dtype=torch.int64, device=self.device)
            weights[HOST], weights[len(LENSED) : HOST] = weights[len(LENSED) :].sum(), 0.0
        self._classes = weights
        self._psfs = None
        if psfs is not None:
            named = self.bands if hosts is None else [hosts.bands]
            self._psfs = PsfChoice(psfs.to(self.device), named)
            self._instruments = self._psfs.instrument(self._instruments, self._survey)

    def block(self, number: int, *, maps: bool = False) -> Block:
        """Samples ``BLOCK * number`` to ``BLOCK * (number + 1) - 1``.

        Returns:
            ``image`` [B, bands, y, x] in flux at zero point 30, ``label`` (NaN: unlabelled), ``kind`` (position in
            ``KINDS``), ``survey`` (position in ``surveys``), ``dx`` [arcsec], the truth (``theta_E``, ``z_lens``,
            ``z_source``, ``sigma_v``, and for lenses ``arc_signal``, ``magnification``, ``source_magnitude``,
            ``images``, else NaN) and, with ``maps``, ``kappa``, ``psi`` [B, y, x] and ``alpha`` [B, 2, y, x]. With
            hosts, images are in the hosts' own unit (composites 0..255), ``kind`` is a position in ``KIND_NAMES``, and
            ``host`` is the position among them.
        """
        index = torch.arange(number * BLOCK, (number + 1) * BLOCK, device=self.device)
        draws = Draws(self.seed, index)
        row, kind = draws.choice("survey", self._rows), draws.choice("kind", self._classes)
        fine = self._instruments.fine[row]
        parts, places = [], []
        with torch.no_grad():
            for cells in sorted(set(fine.tolist())):
                rows = (fine == cells).nonzero()[:, 0]
                parts.append(self._samples(index[rows], row[rows], kind[rows], maps=maps))
                places.append(rows)
        order = torch.argsort(torch.cat(places))
        return {key: torch.cat([part[key] for part in parts])[order] for key in parts[0]}

    def _samples(self, index: Tensor, row: Tensor, kind: Tensor, *, maps: bool) -> Block:
        """Samples that share a grid; ``row`` of the instruments."""
        draws = Draws(self.seed, index)
        sky = self._simulated(draws, row, kind) if self.hosts is None else self._painted(self.hosts, draws, row, kind)
        if self._psfs is not None:
            sky.observation = self._psfs.observe(sky.observation, draws, self._survey[row])
        rows = torch.arange(len(index), device=self.device)
        at_once = CACHED if self.device.type == "cpu" else len(index)
        parts = [self._pixels(sky[some], maps=maps) for some in torch.split(rows, at_once)]
        out = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        label = torch.where(kind == KINDS.index("faint_lens"), torch.nan, (kind == 0).float())
        whose = {"survey": self._survey[row]} | ({} if self.hosts is None else {"host": row})
        return out | {"label": label, "kind": kind, "dx": sky.view.pixel_scale} | whose

    def _simulated(self, draws: Draws, survey: Tensor, kind: Tensor) -> Sky:
        """A sky of which everything is drawn."""
        view = self._instruments[survey].zoomed(self._zoom(draws, kind))
        galaxies = draw_deflectors(draws, **self._law(view))
        offset = draws.uniform("dither", 2, low=-1.0, high=1.0) * self.mixture.dither * view.pixel_scale[:, None]
        size, structure = self.mixture.size, self.mixture.mass
        real: dict[str, Any] = {"real": self.sources, "real_share": self.mixture.real_sources}
        return Sky(draws, view, galaxies, kind, offset, size=size, structure=structure, **real)

    def _painted(self, hosts: Hosts, draws: Draws, host: Tensor, kind: Tensor) -> Sky:
        """Real cutouts."""
        view = self._instruments[host]
        canvas = hosts.canvas(draws, host, view)
        shape = measure(canvas, view)
        if canvas.stretch is not None:  # the stretch has bent the brightness
            shape = replace(shape, magnitude=torch.full_like(shape.magnitude, torch.nan))
        galaxies = suitable_deflectors(draws, shape, **self._law(view))
        real: dict[str, Any] = {"real": self.sources, "real_share": self.mixture.real_sources}
        structure = self.mixture.mass.model_copy(update={"satellites": False})  # whose light is the host's, is unknown
        return PaintedSky(draws, view, galaxies, kind, canvas, shape, structure=structure, **real)

    def _law(self, view: Instrument) -> dict[str, Any]:
        """How ``draw_deflectors`` draws for this view."""
        smallest = torch.clamp(RESOLVED * view.fwhm.amin(1), min=self.mixture.theta_E[0])
        largest = torch.clamp(FRAMED * 0.5 * self.mixture.size * view.pixel_scale, max=self.mixture.theta_E[1])
        limits = (smallest, torch.maximum(smallest, largest))
        return {"theta_E": limits, "wide_share": self.mixture.wide_share, "faintest": _looked_at(view.depth)}

    def _zoom(self, draws: Draws, kind: Tensor) -> Tensor:
        """Pixel size over the survey's own: frames that image servers scale to an object."""
        of_class = torch.isin(kind, torch.tensor([KINDS.index(name) for name in ZOOMED], device=kind.device))
        share = self.mixture.zoom_share
        zoomed = draws.chance("zoomed", torch.where(of_class, 0.8 * (share > 0), share))
        factor = draws.uniform("zoom", low=-0.4, high=0.6) + torch.where(of_class, 0.9, 0.0)
        return torch.where(zoomed, torch.exp(factor), 1.0)

    def _pixels(self, sky: Sky, *, maps: bool) -> Block:
        return sky.observe(arc_signal=self.mixture.arc_signal) | (sky.maps() if maps else {})


def _require_size(hosts: Hosts, size: int) -> None:
    if hosts.cutouts.size != size:
        problem = f"the hosts have {hosts.cutouts.size} pixels a side, the mixture {size}"
        raise ConfigError("hosts", problem, "Read them with the size of the mixture.")


def _looked_at(depth: Tensor) -> Tensor:
    """r magnitude of the faintest galaxies that lens searches consider, for a survey's depth."""
    return (depth - 2.6).clamp(20.0, 22.8)
