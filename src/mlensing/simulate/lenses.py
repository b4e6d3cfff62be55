"""Strong lenses: a deflector in front of a source, bright enough to be seen and placed to be imaged more than once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlensing.simulate.draws import Draws
from mlensing.simulate.population import Galaxies
from mlensing.simulate.rays import Deflector
from mlensing.simulate.sources import REFERENCE_MAGNITUDE

BRIGHTEST = 19.5  # unlensed r magnitude of the brightest source
HIDING = 0.4
FAINTEST_SIGNAL = 5.0
"""S/N of the faintest arcs of lenses that are left unlabelled."""

SLOPE = 0.45  # of the number counts, d log10 N / dm


def draw_deflector(draws: Draws, galaxies: Galaxies) -> Deflector:
    """SIE that follows the galaxy's light with scatter, plus external shear.

    Axis ratios of mass and light correlate and their axes align within about 10 degrees (Koopmans+2006). Beyond
    1.5 arcsec the mass is more and more a group's, flatter and in stronger shear: long arcs on one side.
    """
    zero = torch.zeros_like(galaxies.theta_E)
    group = ((galaxies.theta_E - 1.5) / 2.0).clamp(0.0, 1.0)
    flattening = (1 - galaxies.q) * draws.uniform("mass/q", low=0.5, high=1.1)
    shear = 0.04 + 0.05 * group
    return Deflector(
        x=zero,
        y=zero,
        theta_E=galaxies.theta_E,
        q=(1 - flattening - 0.3 * group * draws.uniform("mass/group_q")).clamp(0.45, 0.99),
        phi=galaxies.phi + (0.15 + group) * draws.normal("mass/phi"),
        gamma1=shear * draws.normal("mass/gamma1"),
        gamma2=shear * draws.normal("mass/gamma2"),
    )


def matched_signal(arcs: Tensor, noise: Tensor, light: Tensor) -> Tensor:
    """Matched-filter S/N of arcs over all bands.

    A share ``HIDING`` of the other light counts as noise: it hides an arc as much as photons do.

    Arguments:
        arcs, noise, light: [B, bands, y, x]; the blurred arcs, the noise per pixel, the blurred light of all else.

    Returns:
        [B].
    """
    return torch.sqrt((arcs**2 / (noise**2 + (HIDING * light) ** 2)).sum((1, 2, 3)))


def draw_brightness(draws: Draws, signal: Tensor, *, minimum: float, faint: Tensor) -> Tensor:
    """r magnitude of each source, from number counts cut at detectability.

    Rejecting faint draws until S/N >= ``minimum`` gives the counts truncated at the limiting magnitude that ``signal``
    implies; drawing from the truncated counts is the same and wastes no rendering.

    Arguments:
        signal: [B] S/N at ``REFERENCE_MAGNITUDE``.
        minimum: S/N of the faintest arcs that are called a lens.
        faint: [B] bool, lenses whose S/N is drawn between ``FAINTEST_SIGNAL`` and the minimum instead.
    """
    faintest = REFERENCE_MAGNITUDE + 2.5 * torch.log10(signal.clamp(min=1e-3) / minimum)
    low, high = 10 ** (SLOPE * (BRIGHTEST - faintest)), torch.ones_like(faintest)
    u = draws.uniform("source/brightness")
    seen = faintest + torch.log10(low.clamp(max=1.0) + u * (high - low.clamp(max=1.0))) / SLOPE
    unseen = faintest + 2.5 * u * math.log10(max(minimum / FAINTEST_SIGNAL, 1.0))
    return torch.where(faint, unseen, seen)
