"""The simulated sky: lenses and impostors, labelled, with truth and maps.

``mixture`` says what is on it, ``simulator`` hands it out in blocks, ``write`` puts it on disk. On the way:
``population`` (who), ``colours``, ``scene`` and ``negatives`` and ``lenses`` (what lies where), ``render`` with
``profiles`` and ``rays`` (to pixels), ``instrument`` (PSF and noise), ``sky`` (all of it in order), ``draws`` (random
numbers that depend on nothing else). ``real_sky`` holds what was observed: ``morphologies`` and ``real_psfs`` take the
place of drawn galaxies and PSFs; ``hosts``, ``canvas`` and ``painting`` put arcs on real cutouts.
"""

from mlensing.simulate.hosts import Hosts
from mlensing.simulate.mixture import KINDS, Mixture
from mlensing.simulate.simulator import BLOCK, Simulator
from mlensing.simulate.write import simulate

__all__ = ["BLOCK", "KINDS", "Hosts", "Mixture", "Simulator", "simulate"]
