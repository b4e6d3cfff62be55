"""Simulated fields of galaxy clusters that lens, and of clusters that do not.

``population`` draws who is there, ``mass`` is what bends, ``light`` what shines, ``rays`` brings what lies behind to
pixels, ``images`` solves the lens equation; ``field`` does it in order, ``write`` puts it on disk.
"""

from mlensing.simulate.clusters.field import ClusterField, ClusterSimulator
from mlensing.simulate.clusters.mass import ClusterMass
from mlensing.simulate.clusters.write import simulate_clusters

__all__ = ["ClusterField", "ClusterMass", "ClusterSimulator", "simulate_clusters"]
