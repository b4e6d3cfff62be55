"""Lensing as pure functions: where pixels are, derivatives of maps, lenses, light, distances.

Angles in arcsec, psi in arcsec^2, kappa without unit.
alpha = grad psi, beta = theta - alpha, lap psi = 2 kappa.
x runs along columns (the last axis), y along rows; ``dx`` and ``dy`` are keyword-only and never averaged.
Nothing here draws random numbers, reads files or keeps state.
"""

from mlensing.physics.aperture import Measured, axis_ratio_of, einstein_radius_of, mass_within
from mlensing.physics.cosmology import COSMOLOGY, Distances, distances, einstein_radius, nfw_scale, sigma_crit
from mlensing.physics.gauge import without_plane
from mlensing.physics.grid import Value, interior_mask, pixel_grid
from mlensing.physics.light import sersic, sersic_b, sersic_total_flux
from mlensing.physics.mass import (
    PIXEL_MEAN_CORE,
    nfw_convergence,
    nfw_deflection,
    nfw_potential,
    shear_deflection,
    shear_potential,
    sie_convergence,
    sie_deflection,
    sie_potential,
)
from mlensing.physics.operators import Boundary, area_pool, divergence, gradient, laplacian, poisson_residual
from mlensing.physics.power_law import power_law_convergence, power_law_deflection, power_law_potential
from mlensing.physics.truncated import truncated_convergence, truncated_deflection, truncated_potential

__all__ = [
    "COSMOLOGY",
    "PIXEL_MEAN_CORE",
    "Boundary",
    "Distances",
    "Measured",
    "Value",
    "area_pool",
    "axis_ratio_of",
    "distances",
    "divergence",
    "einstein_radius",
    "einstein_radius_of",
    "gradient",
    "interior_mask",
    "laplacian",
    "mass_within",
    "nfw_convergence",
    "nfw_deflection",
    "nfw_potential",
    "nfw_scale",
    "pixel_grid",
    "poisson_residual",
    "power_law_convergence",
    "power_law_deflection",
    "power_law_potential",
    "sersic",
    "sersic_b",
    "sersic_total_flux",
    "shear_deflection",
    "shear_potential",
    "sie_convergence",
    "sie_deflection",
    "sie_potential",
    "sigma_crit",
    "truncated_convergence",
    "truncated_deflection",
    "truncated_potential",
    "without_plane",
]
