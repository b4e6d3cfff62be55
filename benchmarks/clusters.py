"""Rays a second through the mass of a cluster, over lenstronomy's; and whole fields beside them.

Both shoot one ray a pixel through the same halo, shear and truncated members (for lenstronomy NFW, SHEAR, and two NIE a
member, which is how it builds a truncated ellipsoid), and must agree. Whole fields draw the cluster, shoot the rays
that light needs, render members, background and arcs, blur and expose, with and without the maps kappa, psi and alpha;
nothing is written. Both in float64, on one core, in turns, in processor time.
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


def ray_seconds(mass: ClusterMass, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Processor time of our rays and of lenstronomy's, which must agree."""
    model, values = their_lens(mass)
    at = x.numpy().ravel(), y.numpy().ravel()
    start = time.process_time()
    beta_x, beta_y = model.ray_shooting(*at, values)
    between = time.process_time()
    ax, ay = (alpha.numpy().ravel() for alpha in mass.deflection(x, y))
    ours, theirs = time.process_time() - between, between - start
    miss = np.hypot(at[0] - ax - beta_x, at[1] - ay - beta_y)
    if np.quantile(miss, 0.999) > AGREEMENT:
        raise SystemExit(f"the mass models differ: {np.quantile(miss, 0.999):.2g} arcsec")
    return ours, theirs


def field_seconds(simulator: ClusterSimulator, number: int, *, maps: bool) -> float:
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
    times: dict[str, list[float]] = {"images": [], "with maps": [], "ours": [], "theirs": []}
    for number in range(rounds):
        draws = Draws(SEED, torch.tensor([number]))
        cluster = draw_cluster(draws, theta_E=simulator.theta_E, half_width=simulator.half_width, lensing=True)
        times["images"].append(field_seconds(simulator, number, maps=False))
        times["with maps"].append(field_seconds(simulator, number, maps=True))
        for name, seconds in zip(("ours", "theirs"), ray_seconds(cluster.mass, x, y), strict=True):
            times[name].append(seconds)
    rate = {name: SIZE**2 / 1e6 / statistics.median(found) for name, found in times.items()}
    print(f"lenstronomy, rays alone:        {rate['theirs']:.3f} megapixels a second and core (median of {rounds})")
    print(f"ours, rays alone:               {rate['ours']:.3f}")
    print(f"ours, fields with their noise:  {rate['images']:.3f}")
    print(f"ours, and kappa, psi, alpha:    {rate['with maps']:.3f}")
    print(f"CLUSTER_SPEEDUP = {rate['ours'] / rate['theirs']:.2f} x (aim 2)")


if __name__ == "__main__":
    main()
