"""The simulated sky: lenses and impostors, labelled, with truth and maps.

``mixture`` says what is on it, ``simulator`` hands it out in blocks, ``write`` puts it on disk. On the way:

- who: ``population`` (deflectors), ``luminosity`` and ``sources`` (what they magnify), ``colours``;
- what lies where: ``scene``, ``lenses``, ``negatives/``;
- pixels: ``render/``, then ``camera/``; ``sky`` does all of it in order;
- ``real/``: galaxies, PSFs and cutouts that were observed, in place of drawn ones;
- ``clusters/``: whole fields of galaxy clusters, of any survey;
- ``draws``: random numbers that depend on nothing else.
"""

from mlensing.simulate.mixture import KINDS, Mixture
from mlensing.simulate.real.hosts import Hosts
from mlensing.simulate.simulator import BLOCK, Simulator
from mlensing.simulate.write import simulate

__all__ = ["BLOCK", "KINDS", "Hosts", "Mixture", "Simulator", "simulate"]
