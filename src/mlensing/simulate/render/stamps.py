"""Lensed sources that are real galaxies: the rays that come near a stamp read its brightness."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlensing.simulate.draws import Draws
from mlensing.simulate.real.galaxies import HALF_LIGHT, SIZE
from mlensing.simulate.render.arcs import trace_arcs
from mlensing.simulate.render.interpolation import bilinear
from mlensing.simulate.render.rays import Deflector
from mlensing.simulate.scene import Components


@dataclass
class Stamps:
    """How the stamp of each source lies on the sky; every field [M].

    Attributes:
        image: [M, SIZE, SIZE], each summing to 1.
        turn: angle of its columns' axis from the sky's x axis [radian].
        mirrored: whether its columns are reversed.
    """

    image: Tensor
    turn: Tensor
    mirrored: Tensor


def draw_stamps(draws: Draws, image: Tensor) -> Stamps:
    """Stamps ``image`` [M, SIZE, SIZE] turned and mirrored at random."""
    turn = draws.uniform("source/turn", high=2 * math.pi)
    return Stamps(image, turn, draws.chance("source/mirrored", 0.5))


def one_each(source: Components, real: Tensor) -> Components:
    """Sources with those of the samples ``real`` [B] bool in one piece: the first component takes all of their light.

    Arguments:
        source: one component of every sample first, in order; owner = position in ``real``.
    """
    flux = source.flux.new_zeros(len(real), source.flux.shape[1]).index_add_(0, source.owner, source.flux)
    first = torch.arange(len(source), device=real.device) < len(real)
    kept = (first | ~real[source.owner]).nonzero()[:, 0]
    whole = torch.where((first & real[source.owner])[:, None], flux[source.owner], source.flux)
    return replace(source, flux=whole)[kept]


def render_stamps(
    source: Components, stamps: Stamps, deflector: Deflector, *, size: int, spacing: Tensor, fine: int
) -> Tensor:
    """Flux per pixel of lensed stamps, as ``render_arcs`` gives that of Sersic profiles.

    Arguments:
        source: one component a stamp: position in the source plane, half-light radius, flux.
        stamps: of the same M sources.
        spacing: [B] grid spacing of each sample [arcsec].
        fine: grid cells per detector pixel a side.

    Returns:
        [B, bands, size, size].
    """
    lens = deflector[source.owner]
    scale = HALF_LIGHT / source.radius  # stamp pixels per arcsec
    turn = stamps.turn - lens.phi
    cos, sin = scale * torch.cos(turn), scale * torch.sin(turn)
    mirror = torch.where(stamps.mirrored, -1.0, 1.0)

    def brightness(which: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
        c, s, sign = cos[which, None], sin[which, None], mirror[which, None]
        column = (dx * c + dy * s) * sign + (SIZE - 1) / 2
        row = dy * c - dx * s + (SIZE - 1) / 2
        return bilinear(stamps.image, which, column, row)

    worth = source.flux * (scale * spacing[source.owner])[:, None] ** 2
    round_ = replace(source, q=torch.ones_like(source.q))
    blunt = torch.zeros_like(stamps.mirrored)
    return trace_arcs(round_, deflector, brightness, worth, sharp=blunt, size=size, spacing=spacing, fine=fine)
