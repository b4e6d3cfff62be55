"""Cluster lenses in large fields: candidates (arcs, multiple images), and how likely the cluster is a lens.

``candidates`` finds and measures blue shapes about the centre of a field, ``detector`` weighs them.
"""

from mlensing.inference.clusters.candidates import find_candidates
from mlensing.inference.clusters.detector import ClusterDetector, radial_weight

__all__ = ["ClusterDetector", "find_candidates", "radial_weight"]
