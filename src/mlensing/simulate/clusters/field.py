"""Cluster fields: the same for a (seed, number) however they are asked for, with maps and the truth of their arcs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.physics import pixel_grid
from mlensing.physics.cosmology import sigma_crit
from mlensing.simulate.camera.instrument import MARGIN, Instrument, Observation, convolve, draw_observation
from mlensing.simulate.clusters.images import images_of
from mlensing.simulate.clusters.light import CLUMPS, arc_sources, background, cluster_light
from mlensing.simulate.clusters.population import Cluster, draw_cluster
from mlensing.simulate.clusters.rays import RayGrid, render_background
from mlensing.simulate.draws import Draws
from mlensing.simulate.lenses import matched_signal
from mlensing.simulate.render.light import render_light
from mlensing.simulate.scene import Components
from mlensing.survey import Survey

THETA_E = (10.0, 50.0)
FRAMED = 0.6
"""Largest theta_E in half widths of the frame: tangential arcs lie near it, and their counter-images inside."""

IMAGE_COLUMNS = ("source", "x", "y", "magnification", "efficiency")


@dataclass(frozen=True)
class ClusterField:
    """One field.

    Attributes:
        image: [bands, y, x] float32, flux at zero point 30.
        maps: ``kappa``, ``psi`` [arcsec^2] [y, x], ``alpha`` [arcsec] [2, y, x], all float64; none if not asked for.
        images: [N, 5] float64, ``IMAGE_COLUMNS``: images of the bright sources behind the middle.
        centre: x, y of the BCG [arcsec].
        truth: label, theta_E [arcsec], z_lens, z_source, sigma_crit, m200, members, arc_signal, arcs.
    """

    image: Tensor
    maps: dict[str, Tensor]
    images: Tensor
    centre: tuple[float, float]
    truth: dict[str, float]


class ClusterSimulator:
    """Fields of one survey.

    Arguments:
        survey: preset, or a YAML file.
        size: pixels a side.
        seed: of the whole set.
        lens_share: share of the clusters that lens; the others have the same galaxies and no mass.
        theta_E: smallest and largest Einstein radius for the mass's source redshift [arcsec]; the frame may allow less.

    Raises:
        ConfigError: a frame too small for the smallest Einstein radius.
        SurveyError: an unknown survey.

    Example:
        >>> field = ClusterSimulator("des", size=192, seed=1, lens_share=1.0).field(0)
        >>> field.image.shape, 10.0 < field.truth["theta_E"] < 20.0
        (torch.Size([3, 192, 192]), True)
    """

    def __init__(
        self,
        survey: str,
        *,
        size: int = 512,
        seed: int = 42,
        lens_share: float = 0.5,
        theta_E: tuple[float, float] = THETA_E,
    ) -> None:
        self.survey, self.size, self.seed, self.lens_share = Survey.load(survey), size, seed, lens_share
        self.bands = tuple(dict.fromkeys(self.survey.channel_bands()))
        self.view = Instrument.of([self.survey], [self.bands], torch.device("cpu"))
        self.half_width = 0.5 * size * self.survey.pixel_scale
        self.theta_E = theta_E[0], min(theta_E[1], FRAMED * self.half_width)
        if not 0 < theta_E[0] <= self.theta_E[1]:
            needed = int(np.ceil(2 * theta_E[0] / FRAMED / self.survey.pixel_scale))
            problem = f"{size} pixels of {self.survey.name} hold no Einstein radius of {theta_E[0]:g} arcsec"
            raise ConfigError("size", problem, f"Take {needed} or more.")
        if not 0 <= lens_share <= 1:
            raise ConfigError("lens_share", f"expected 0 to 1, got {lens_share}", "Take 0.5.")

    def field(self, number: int, *, maps: bool = True) -> ClusterField:
        """The field of this number."""
        draws = Draws(self.seed, torch.tensor([number]))
        lensing = bool(draws.chance("cluster/lensing", self.lens_share)[0])
        with torch.no_grad():
            cluster = draw_cluster(draws, theta_E=self.theta_E, half_width=self.half_width, lensing=lensing)
            exposure = Exposure(draw_observation(draws, self.view), self.size)
            rays = RayGrid.of(cluster.mass, size=exposure.frame, spacing=exposure.spacing)
            theta_E = cluster.mass.einstein_radius() if lensing else 0.0
            bright = arc_sources(draws, cluster, self.view, theta_E=theta_E or self.theta_E[0])
            image, signal = self._observed(draws, cluster, exposure, rays, bright)
            images = _every_image(cluster, rays, *bright)
            found = self._maps(cluster, rays, exposure.fine) if maps else {}
        truth = {
            "label": float(lensing),
            "theta_E": theta_E,
            "z_lens": cluster.z,
            "z_source": cluster.z_source,
            "sigma_crit": float(sigma_crit(cluster.z, cluster.z_source)),
            "m200": cluster.m200,
            "members": float(len(cluster.x)),
            "arc_signal": signal if lensing else np.nan,
            "arcs": float(_multiple(images[:, 0].numpy())) if lensing else 0.0,
        }
        return ClusterField(image, found, images, (float(cluster.x[0]), float(cluster.y[0])), truth)

    def _observed(
        self,
        draws: Draws,
        cluster: Cluster,
        exposure: Exposure,
        rays: RayGrid,
        bright: tuple[Components, Tensor],
    ) -> tuple[Tensor, float]:
        """The exposed image, and the S/N of the bright sources in it."""
        light = render_light(
            cluster_light(draws, cluster, self.view, size=self.size),
            size=exposure.frame,
            spacing=torch.tensor([exposure.spacing]),
        )
        half_width = 0.5 * exposure.frame * exposure.spacing
        light += render_background(*background(draws, cluster, self.view, half_width=half_width), rays)
        blurred, arcs = exposure.blurred(light), exposure.blurred(render_background(*bright, rays)[None])
        signal = matched_signal(arcs, exposure.observation.noise(blurred), blurred)
        return exposure.observation.expose(blurred + arcs, draws)[0], float(signal)

    def _maps(self, cluster: Cluster, rays: RayGrid, fine: int) -> dict[str, Tensor]:
        """kappa, psi and alpha at the middle of each pixel."""
        scale = self.survey.pixel_scale
        x, y = pixel_grid(self.size, self.size, dx=scale, dy=scale, dtype=torch.float64)
        if fine == 1:  # the rays' own, without the margin
            alpha = rays.alpha[:, MARGIN:-MARGIN, MARGIN:-MARGIN].clone()
        else:
            alpha = torch.stack(cluster.mass.deflection(x, y))
        kappa = cluster.mass.convergence(x, y, spacing=scale)
        return {"kappa": kappa, "psi": cluster.mass.potential(x, y), "alpha": alpha}


class Exposure:
    """One exposure of a square frame, simulated finely enough for its PSF and beyond its border.

    Attributes:
        observation: of one sample.
        fine: cells a pixel.
        spacing: of the cells [arcsec].
        frame: cells a side, margin included.
    """

    def __init__(self, observation: Observation, size: int) -> None:
        self.observation, self.fine = observation, int(observation.view.fine[0])
        self.spacing = float(observation.view.pixel_scale[0]) / self.fine
        self.frame = (size + 2 * MARGIN) * self.fine
        padded = self.frame + 2 * MARGIN * self.fine
        self._transfer = torch.fft.rfft2(observation.psf(size=padded, spacing=torch.tensor([self.spacing])))

    def blurred(self, light: Tensor) -> Tensor:
        """Detector pixels [1, bands, y, x] of light on the fine frame."""
        image = convolve(light, self._transfer)
        if self.fine > 1:
            image = torch.nn.functional.avg_pool2d(image, self.fine) * self.fine**2
        return image[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def _every_image(cluster: Cluster, rays: RayGrid, source: Components, efficiency: Tensor) -> Tensor:
    """Images of the centres of the discs, which are the brightest component of each bright source."""
    rows = []
    for number in range(len(source) // (1 + CLUMPS)):
        share = float(efficiency[number])
        at = images_of(cluster.mass, rays, float(source.x[number]), float(source.y[number]), share)
        rows.append(torch.cat([at.new_full((len(at), 1), number), at, at.new_full((len(at), 1), share)], 1))
    return torch.cat(rows)


def _multiple(source: NDArray[np.float64]) -> int:
    """How many sources have two images or more."""
    _, count = np.unique(source, return_counts=True)
    return int((count > 1).sum())
