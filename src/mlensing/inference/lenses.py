"""What the predicted maps of candidates say of the lens: Einstein radius, axis ratio, mass, each with a deviation.

The maps of all members that have a map head are averaged; the variance of a pixel is the mean of what they state and
the scatter between them. Deviations take the errors of pixels as wholly correlated (``physics.aperture``), times what
that was found to be worth on lenses of the members' validation (``contract.map_spread``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.inference.inputs import Pixels, stacked_pixels
from mlensing.inference.member import Member
from mlensing.physics import axis_ratio_of, einstein_radius_of, mass_within

COLUMNS = ("theta_E", "theta_E_uncertainty", "axis_ratio", "axis_ratio_uncertainty", "mass", "mass_uncertainty")
"""Of a table: [arcsec], minor over major axis, projected mass within theta_E [Msun]."""


def mappers(members: Sequence[Member]) -> list[Member]:
    """Those that predict maps.

    Raises:
        ConfigError: none does.
    """
    found = [member for member in members if member.has_maps]
    if not found:
        problem = "no member of this ensemble predicts maps"
        remedy = "Give a trained one a head with `mlensing add_maps`, and keep to --backend torch."
        raise ConfigError("maps", problem, remedy)
    return found


class JointMaps(NamedTuple):
    """Of several members together: kappa, its variance (law of total variance), psi [arcsec^2]; each [B, S, S]."""

    kappa: Tensor
    variance: Tensor
    psi: Tensor


def joint_maps(members: Sequence[Member], image: Tensor, composite: Tensor, spacing: Tensor) -> JointMaps:
    """Maps of raw pixels, averaged over members.

    Arguments:
        members: that predict maps.
        image, composite, spacing: as ``Member.maps``.
    """
    found = [member.maps(image, composite, spacing) for member in members]
    kappa, log_variance, psi = (
        torch.stack([maps[name].float().cpu() for maps in found]) for name in ("kappa", "kappa_log_variance", "psi")
    )
    return JointMaps(kappa.mean(0), log_variance.exp().mean(0) + kappa.var(0, correction=0), psi.mean(0))


def lens_columns(
    members: Sequence[Member], batches: Iterable[Sequence[Pixels | Exception]], rows: NDArray[np.int64], count: int
) -> dict[str, NDArray[np.float64]]:
    """Columns ``COLUMNS`` of a table of ``count`` rows, NaN but for those ``rows`` that could be read.

    Arguments:
        members: that predict maps.
        batches: the images of ``rows``, in their order, or why there is none.
        rows: positions in the table.
        count: of the table.
    """
    columns = {name: np.full(count, np.nan) for name in COLUMNS}
    left = iter(rows)
    for batch in batches:
        pairs = [(row, p) for row, p in zip(islice(left, len(batch)), batch, strict=True) if isinstance(p, Pixels)]
        if pairs:
            where, good = zip(*pairs, strict=True)
            for name, values in lens_properties(members, good).items():
                columns[name][list(where)] = values
    return columns


def lens_properties(members: Sequence[Member], pixels: Sequence[Pixels]) -> dict[str, NDArray[np.float64]]:
    """Columns ``COLUMNS`` of images, in their order.

    Arguments:
        members: that predict maps.
        pixels: as ``fit_to`` gives them; without a pixel scale only the axis ratio is known, without redshifts no mass.
    """
    kappa, variance, _ = joint_maps(members, *stacked_pixels(pixels))
    spacing = torch.tensor([p.spacing for p in pixels])
    known = spacing.isfinite().all(1)
    sides = dict(zip(("dx", "dy"), spacing.nan_to_num(1.0).unbind(1), strict=True))
    radius = einstein_radius_of(kappa, variance, **sides)
    ratio = axis_ratio_of(kappa, variance, radius.value, **sides)
    theta_E, spread = (np.where(known.numpy(), part.double().numpy(), np.nan) for part in radius)
    mass = mass_within(theta_E, *np.array([p.redshifts for p in pixels]).T)
    of_radius, of_ratio = np.mean([member.contract.map_spread for member in members], axis=0)
    spread, shape, shape_spread = spread * of_radius, ratio.value.numpy(), ratio.deviation.numpy() * of_ratio
    parts: tuple[NDArray[np.float64], ...] = (theta_E, spread, shape, shape_spread)
    return dict(zip(COLUMNS, (*parts, mass, 2 * mass * spread / theta_E), strict=True))
