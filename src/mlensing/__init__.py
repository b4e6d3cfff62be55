"""mlensing: find strong gravitational lenses.

Conventions, said once: angles in arcsec, psi in arcsec^2, alpha in arcsec, kappa dimensionless;
x is the last axis (columns), y the rows; images are ``[band, y, x]`` float32.
"""

__version__ = "0.1.0"
