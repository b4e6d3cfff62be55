"""Angles and magnitudes: the few conversions everything else shares."""

from __future__ import annotations

import math

ARCSEC = math.pi / (180.0 * 3600.0)
"""One arcsecond in radians."""


def arcsec_to_radian(angle: float) -> float:
    """Angle in radians of an angle in arcsec.

    Example:
        >>> round(arcsec_to_radian(206264.806), 6)
        1.0
    """
    return angle * ARCSEC


def magnitude_to_flux(magnitude: float, zero_point: float) -> float:
    """Flux of an AB magnitude, in the units in which ``zero_point`` gives one.

    Example:
        >>> magnitude_to_flux(25.0, zero_point=30.0)
        100.0
    """
    return float(10.0 ** (-0.4 * (magnitude - zero_point)))


def flux_to_magnitude(flux: float, zero_point: float) -> float:
    """AB magnitude of a positive flux (Pogson 1856).

    Example:
        >>> flux_to_magnitude(100.0, zero_point=30.0)
        25.0
    """
    return zero_point - 2.5 * math.log10(flux)
