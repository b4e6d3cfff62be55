"""Distances, and what follows from them, through astropy.

The universe is flat LCDM with H0 = 70 km/s/Mpc and Omega_m = 0.3. Arguments are numbers or numpy arrays that
broadcast. Surface densities are in Msun / pc^2.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from astropy import constants, units
from astropy.cosmology import FlatLambdaCDM
from numpy.typing import NDArray

from mlensing.errors import ConfigError
from mlensing.units import ARCSEC

COSMOLOGY = FlatLambdaCDM(H0=70.0, Om0=0.3)

Number: TypeAlias = float | NDArray[np.float64]


class Distances(NamedTuple):
    """Angular diameter distances [Mpc]: to the lens, to the source, from lens to source."""

    lens: Number
    source: Number
    lens_source: Number


def distances(z_l: Number, z_s: Number) -> Distances:
    """Angular diameter distances of a lens and its source.

    Arguments:
        z_l, z_s: redshifts, 0 < z_l < z_s.

    Returns:
        lens, source, lens_source [Mpc].

    Raises:
        ConfigError: a redshift out of order.

    Example:
        >>> [round(float(distance)) for distance in distances(0.5, 2.0)]
        [1259, 1727, 1097]
    """
    near, far = np.asarray(z_l, dtype=np.float64), np.asarray(z_s, dtype=np.float64)
    if not np.all((near > 0) & (near < far)):  # NaN fails this too
        problem = f"expected 0 < z_l < z_s, got z_l = {z_l} and z_s = {z_s}"
        raise ConfigError("redshifts", problem, "Put the source behind the lens.")
    to_lens = COSMOLOGY.comoving_distance(near).to_value(units.Mpc)
    to_source = COSMOLOGY.comoving_distance(far).to_value(units.Mpc)
    # in a flat universe comoving distances subtract
    return Distances(to_lens / (1 + near), to_source / (1 + far), (to_source - to_lens) / (1 + far))


def sigma_crit(z_l: Number, z_s: Number) -> Number:
    """Critical surface density c^2 D_s / (4 pi G D_l D_ls).

    Arguments:
        z_l, z_s: redshifts, 0 < z_l < z_s.

    Returns:
        [Msun / pc^2].

    Raises:
        ConfigError: a redshift out of order.

    Example:
        >>> f"{sigma_crit(0.5, 2.0):.0f}"
        '2079'
    """
    lens, source, lens_source = distances(z_l, z_s)
    per_length = (constants.c**2 / (4 * np.pi * constants.G)).to_value(units.Msun / units.pc)
    density: Number = per_length * source / (lens * lens_source) / 1e6  # one Mpc is 1e6 pc
    return density


def einstein_radius(sigma_v: Number, z_l: Number, z_s: Number) -> Number:
    """Einstein radius of a singular isothermal sphere: 4 pi (sigma_v / c)^2 D_ls / D_s.

    Arguments:
        sigma_v: velocity dispersion [km/s].
        z_l, z_s: redshifts, 0 < z_l < z_s.

    Returns:
        [arcsec].

    Raises:
        ConfigError: a redshift out of order.

    Example:
        >>> f"{einstein_radius(220.0, 0.5, 2.0):.2f}"
        '0.89'
    """
    _, source, lens_source = distances(z_l, z_s)
    speed = constants.c.to_value(units.km / units.s)
    angle: Number = 4 * np.pi * (sigma_v / speed) ** 2 * lens_source / source / ARCSEC
    return angle


def nfw_scale(mass: Number, concentration: Number, z_l: Number, z_s: Number) -> tuple[Number, Number]:
    """Angular scale of an NFW halo (Navarro+1997), 200 times denser than critical within r200.

    Arguments:
        mass: M200 [Msun].
        concentration: r200 / r_s.
        z_l, z_s: redshifts, 0 < z_l < z_s.

    Returns:
        scale radius r_s [arcsec] and kappa_s = rho_s r_s / Sigma_crit, as the nfw functions take them.

    Raises:
        ConfigError: a redshift out of order.

    Example:
        >>> radius, kappa = nfw_scale(1e15, 5.0, 0.3, 2.0)
        >>> f"{radius:.1f} {kappa:.3f}"
        '83.6 0.254'
    """
    critical = COSMOLOGY.critical_density(z_l).to_value(units.Msun / units.pc**3)
    scale_radius = (3 * mass / (4 * np.pi * 200 * critical)) ** (1 / 3) / concentration
    shape = concentration**3 / (np.log1p(concentration) - concentration / (1 + concentration))
    kappa: Number = 200 / 3 * critical * shape * scale_radius / sigma_crit(z_l, z_s)
    angle: Number = scale_radius / (distances(z_l, z_s).lens * 1e6) / ARCSEC
    return angle, kappa
