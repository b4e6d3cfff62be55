"""Training: from images or a simulated sky to a checkpoint.

``fit`` is the door (``fit`` for files, ``fit_live`` for the simulator; ``fit_semi.fit_semi`` where most images have no
label); ``finder`` is what learns, ``run`` the loop around it, ``losses`` and ``schedules`` the parts to exchange.
"""

from mlensing.training.finder import Finder
from mlensing.training.fit import fit, fit_live

__all__ = ["Finder", "fit", "fit_live"]
