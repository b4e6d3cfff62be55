"""Who is on the sky: deflectors, sources and neighbours with their redshifts, sizes and magnitudes.

Deflectors are early-type galaxies weighted by the velocity-dispersion function (Choi, Park & Vogeley 2007), the
comoving volume and the lensing cross-section theta_E^2. Non-lenses draw their central galaxy from the *same* table,
so that its brightness, size and colour cannot tell the classes apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlensing.physics import cosmology
from mlensing.simulate.draws import Draws
from mlensing.simulate.luminosity import counts
from mlensing.simulate.tables import interpolate

Array = NDArray[np.float64]

SIGMA_V = (120.0, 420.0)
Z_LENS = (0.12, 1.1)
Z_SOURCE = (0.4, 3.8)
_CELLS = (28, 28, 20)
SIGMA_STAR, VDF_ALPHA, VDF_BETA = 161.0, 2.32, 2.67  # Choi+2007, Table 1 (early types and discs)
M_STAR_R, SIGMA_AT_M = -21.4, 200.0  # Faber-Jackson zero point: M_r of a sigma_v = 200 km/s early type
MAGNITUDE_LIMIT = -23.1  # brightest cluster galaxies do not follow sigma_v^4 further
LONE = 0.5  # theta_E [arcsec] of the least massive galaxies that groups help to a wide one
TRIES = 4
BRIGHTEST = 18.0  # apparent r; brighter centrals are the business of the class ``nearby``


@dataclass
class Galaxies:
    """Early-type galaxies of a batch; every field [B].

    Attributes:
        sigma_v: velocity dispersion [km/s].
        z: redshift.
        z_source: redshift of the (possible) source behind it.
        theta_E: Einstein radius [arcsec].
        magnitude_r: apparent r [AB].
        radius: product-averaged half-light radius [arcsec].
        sersic_n, q, phi: light profile; phi counter-clockwise from +x [radian].
    """

    sigma_v: Tensor
    z: Tensor
    z_source: Tensor
    theta_E: Tensor
    magnitude_r: Tensor
    radius: Tensor
    sersic_n: Tensor
    q: Tensor
    phi: Tensor

    def __getitem__(self, rows: Tensor) -> Galaxies:
        return Galaxies(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def group(self) -> Tensor:
        """How much of the mass [B] is a group's, 0 to 1: none below theta_E = 1.5 arcsec, all from 3.5 on."""
        return ((self.theta_E - 1.5) / 2.0).clamp(0.0, 1.0)

    def where(self, keep: Tensor, other: Galaxies) -> Galaxies:
        """These galaxies where ``keep`` [B], those of ``other`` elsewhere."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Galaxies(*(torch.where(keep, mine, theirs) for mine, theirs in pairs))


@lru_cache(maxsize=1)
def _tables() -> dict[str, Tensor]:
    """Cell centres, theta_E and weights of the (sigma_v, z_lens, z_source) grid, and the distance ladder."""
    sigma = np.geomspace(*SIGMA_V, _CELLS[0])
    z_l = np.linspace(*Z_LENS, _CELLS[1])
    z_s = np.linspace(*Z_SOURCE, _CELLS[2])
    theta = (sigma / SIGMA_AT_M)[:, None, None] ** 2 * _theta_E(z_l[:, None], z_s)
    ratio = sigma / SIGMA_STAR
    density = ratio**VDF_ALPHA * np.exp(-(ratio**VDF_BETA))  # per unit log sigma
    sources = _volume(z_s) * counts(z_s)
    weight = density[:, None, None] * _volume(z_l)[:, None] * sources * theta**2
    fine = np.linspace(0.02, 4.0, 200)
    parts = {"sigma": sigma, "z_l": z_l, "z_s": z_s, "theta": theta, "z": fine, "distance": _distance(fine)}
    tables = {key: torch.from_numpy(value).float() for key, value in parts.items()}
    order = np.argsort(tables["theta"].flatten().numpy(), kind="stable")
    return tables | {
        "order": torch.from_numpy(order),
        "cumulative": torch.from_numpy(np.cumsum(weight.flatten()[order])),
    }


def _volume(z: Array) -> Array:
    """Comoving volume per redshift, in units of its own."""
    return np.asarray((_distance(z) * (1 + z)) ** 2 / np.sqrt(0.3 * (1 + z) ** 3 + 0.7))


def _theta_E(z_l: Array, z_s: Array) -> Array:
    """Einstein radii [arcsec] at ``SIGMA_AT_M``; zero for sources in front of the lens."""
    z_l, z_s = np.broadcast_arrays(z_l, z_s)
    behind = z_s > z_l + 0.05
    theta = cosmology.einstein_radius(SIGMA_AT_M, z_l, np.where(behind, z_s, z_l + 1.0))
    return np.where(behind, theta, 0.0)


def _distance(z: Array) -> Array:
    """Angular diameter distance [Mpc]."""
    return np.asarray(cosmology.distances(z, z + 1.0).lens)


def draw_deflectors(draws: Draws, *, theta_E: tuple[Tensor, Tensor], wide_share: float, faintest: Tensor) -> Galaxies:
    """Deflector galaxies, from the natural law or, for ``wide_share`` of them, log-uniform in theta_E.

    Arguments:
        theta_E: smallest and largest Einstein radius [arcsec], each [B].
        wide_share: share whose theta_E is log-uniform: galaxies of the natural law from ``LONE`` on, whose groups make
            up for the mass that they lack, so that wide arcs also lie about small galaxies.
        faintest: r magnitude [B] below which a galaxy would not be looked at; fainter ones are drawn again, at most
            ``TRIES`` times.
    """
    table = {key: value.to(draws.index.device) for key, value in _tables().items()}
    galaxies = _try(draws, table, theta_E, wide_share)
    for number in range(1, TRIES):
        again = _try(Draws(draws.seed, draws.index, f"try {number}/"), table, theta_E, wide_share)
        galaxies = galaxies.where(galaxies.magnitude_r <= faintest, again)
    return galaxies


def _try(draws: Draws, table: dict[str, Tensor], theta_E: tuple[Tensor, Tensor], wide_share: float) -> Galaxies:
    smallest, largest = theta_E
    is_wide = draws.chance("wide", wide_share)
    i, j, k = _cell(draws, table, torch.where(is_wide, smallest.clamp(max=LONE), smallest), largest)
    cell_theta = table["theta"][i, j, k]
    natural = cell_theta * torch.exp(draws.uniform("theta_jitter", low=-0.045, high=0.045))
    wide = smallest * torch.exp(draws.uniform("theta_wide") * torch.log(largest / smallest))
    radius = torch.maximum(torch.minimum(torch.where(is_wide, wide, natural), largest), smallest)
    sigma_v = table["sigma"][i] * torch.sqrt(radius / cell_theta)
    shining = torch.where(is_wide, torch.minimum(table["sigma"][i], sigma_v), sigma_v)
    z = table["z_l"][j] + draws.uniform("z_lens", low=-0.5, high=0.5) * (Z_LENS[1] - Z_LENS[0]) / _CELLS[1]
    z_source = table["z_s"][k] + draws.uniform("z_source", low=-0.08, high=0.08)
    z_source = torch.maximum(z_source, z + 0.05)
    return replace(_light(draws, shining, z, table), sigma_v=sigma_v, z_source=z_source, theta_E=radius)


def _cell(draws: Draws, table: dict[str, Tensor], smallest: Tensor, largest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cell (sigma_v, z_lens, z_source) of each sample, weighted, with theta_E in range.

    Cells are sorted by theta_E, so that the range is an interval of the cumulative weight.
    """
    order, cumulative = table["order"], table["cumulative"]
    sorted_theta = table["theta"].flatten()[order]
    low = cumulative[torch.searchsorted(sorted_theta, smallest).clamp(max=len(order) - 2)]
    high = cumulative[torch.searchsorted(sorted_theta, largest).clamp(max=len(order) - 1)]
    u = low + draws.uniform("deflector").double() * (high - low)
    cell = order[torch.searchsorted(cumulative, u).clamp(max=len(order) - 1)]
    rest = cell % (_CELLS[1] * _CELLS[2])
    return cell // (_CELLS[1] * _CELLS[2]), rest // _CELLS[2], rest % _CELLS[2]


def _light(draws: Draws, sigma_v: Tensor, z: Tensor, table: dict[str, Tensor]) -> Galaxies:
    """Magnitude (Faber-Jackson), size (luminosity-size relation of Shen+2003) and shape of each galaxy."""
    absolute = M_STAR_R - 10.0 * torch.log10(sigma_v / SIGMA_AT_M) + 0.4 * draws.normal("faber_jackson")
    absolute = absolute.clamp(min=MAGNITUDE_LIMIT)
    d_a = interpolate(z, table["z"], table["distance"])  # Mpc
    modulus = 5.0 * torch.log10(d_a * (1 + z) ** 2) + 25.0
    k_minus_evolution = 1.2 * z + 1.1 * z**2 - 0.9 * z  # early types in r
    kpc = 4.0 * 10 ** (-0.26 * (absolute - M_STAR_R) + 0.15 * draws.normal("size"))
    return Galaxies(
        sigma_v=sigma_v,
        z=z,
        z_source=z,
        theta_E=sigma_v,
        magnitude_r=(absolute + modulus + k_minus_evolution).clamp(min=BRIGHTEST),
        radius=(kpc / (d_a * 1000.0) * 206264.8).clamp(0.15, 3.0),
        sersic_n=(4.0 + 0.9 * draws.normal("lens_n")).clamp(2.0, 6.0),
        q=(0.78 + 0.13 * draws.normal("lens_q")).clamp(0.45, 0.98),
        phi=draws.uniform("lens_phi", high=math.pi),
    )
