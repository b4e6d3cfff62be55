"""Candidates put to the test: a lens, and galaxies without one, fitted to the pixels and compared.

Angles in arcsec; psi, alpha and kappa as in `mlensing.physics`. Nothing here is random, and no network is asked.
"""

from mlensing.verify.fit import Comparison, compare
from mlensing.verify.model import model

__all__ = ["Comparison", "compare", "model"]
