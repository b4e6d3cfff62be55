"""A door: the published address of the operators that live in :mod:`mlensing.physics.operators`."""

from mlensing.physics.operators import area_pool, divergence, gradient, laplacian, poisson_residual

__all__ = ["area_pool", "divergence", "gradient", "laplacian", "poisson_residual"]
