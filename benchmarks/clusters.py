"""Megapixels of cluster fields a second, simulated whole, over lenstronomy's ray shooting through the same mass alone.

Ours draws the cluster, shoots the rays, renders members, background and arcs, blurs, exposes, and writes nothing; with
and without the maps kappa, psi and alpha. Theirs only shoots one ray a pixel through the same halo, shear and truncated
members (NFW, SHEAR, and two NIE a member, which is how lenstronomy builds a truncated ellipsoid), as a user would
before rendering anything. Both in float64, on one core, in turns, in processor time.
Run: python benchmarks/clusters.py [--full]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from typing import Any

import numpy as np
import torch
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.Util.param_util import phi_q2_ellipticity

from mlensing.physics import pixel_grid
from mlensing.simulate.clusters import ClusterMass, ClusterSimulator
from mlensing.simulate.clusters.population import draw_cluster
from mlensing.simulate.draws import Draws

SIZE, SURVEY, SEED = 512, "lsst", 42
AGREEMENT = 1e-3  # arcsec between both deflections, but within a pixel of a member


def their_lens(mass: ClusterMass) -> tuple[LensModel, list[dict[str, Any]]]:
    """The same mass for lenstronomy."""
    centre = {"center_x": mass.x, "center_y": mass.y}
    alpha_rs = 4 * mass.kappa_s * mass.scale_radius * (1 - math.log(2))
    kinds = ["NFW", "SHEAR"]
    values: list[dict[str, Any]] = [
        {"Rs": mass.scale_radius, "alpha_Rs": alpha_rs, **centre},
        {"gamma1": mass.gamma1, "gamma2": mass.gamma2, "ra_0": mass.x, "dec_0": mass.y},
    ]
    for x0, y0, q, phi, theta_E, cut in mass.members.tolist():
        e1, e2 = phi_q2_ellipticity(phi, q)
        shape = {"e1": e1, "e2": e2, "center_x": x0, "center_y": y0}
        kinds += ["NIE", "NIE"]
        values.append(shape | {"theta_E": theta_E, "s_scale": 1e-7})
        values.append(shape | {"theta_E": -theta_E, "s_scale": cut * math.sqrt(q)})
    return LensModel(kinds), values


def their_seconds(mass: ClusterMass, x: torch.Tensor, y: torch.Tensor) -> float:
    """Processor time of lenstronomy's rays, which are checked against ours."""
    model, values = their_lens(mass)
    at = x.numpy().ravel(), y.numpy().ravel()
    start = time.process_time()
    beta_x, beta_y = model.ray_shooting(*at, values)
    seconds = time.process_time() - start
    ax, ay = (alpha.numpy().ravel() for alpha in mass.deflection(x, y))
    miss = np.hypot(at[0] - ax - beta_x, at[1] - ay - beta_y)
    if np.quantile(miss, 0.999) > AGREEMENT:
        raise SystemExit(f"the mass models differ: {np.quantile(miss, 0.999):.2g} arcsec")
    return seconds


def our_seconds(simulator: ClusterSimulator, number: int, *, maps: bool) -> float:
    start = time.process_time()
    simulator.field(number, maps=maps)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more fields")
    rounds = 20 if parser.parse_args().full else 4
    torch.set_num_threads(1)
    simulator = ClusterSimulator(SURVEY, size=SIZE, seed=SEED, lens_share=1.0)
    scale = simulator.survey.pixel_scale
    x, y = pixel_grid(SIZE, SIZE, dx=scale, dy=scale, dtype=torch.float64)
    simulator.field(0)  # warms up
    times: dict[str, list[float]] = {"images": [], "with maps": [], "theirs": []}
    for number in range(rounds):
        draws = Draws(SEED, torch.tensor([number]))
        cluster = draw_cluster(draws, theta_E=simulator.theta_E, half_width=simulator.half_width, lensing=True)
        times["images"].append(our_seconds(simulator, number, maps=False))
        times["with maps"].append(our_seconds(simulator, number, maps=True))
        times["theirs"].append(their_seconds(cluster.mass, x, y))
    rate = {name: SIZE**2 / 1e6 / statistics.median(found) for name, found in times.items()}
    print(f"lenstronomy, rays alone:        {rate['theirs']:.3f} megapixels a second and core (median of {rounds})")
    print(f"ours, fields with their noise:  {rate['images']:.3f}")
    print(f"ours, and kappa, psi, alpha:    {rate['with maps']:.3f}")
    print(f"CLUSTER_SPEEDUP = {rate['images'] / rate['theirs']:.2f} x (aim 2)")


if __name__ == "__main__":
    main()
