"""Time of lenstronomy's SimAPI over that of our simulator, for the same lenses in the same run on one core.

Both make three bands of 64 pixels with SIE + shear, Sersic lens and source, light sampled 4 x 4 times a pixel, a Moffat
PSF, noise, and kappa, psi and alpha. Ours also has neighbours, clumpy sources and a brightness drawn from the S/N.
Theirs is timed with its PSF applied at pixels, as ours is where pixels sample it, and again on the finer grid.
Blocks of ours and systems of theirs take turns, and processor time is measured, so that what else the machine does
falls on both.
Run: python benchmarks/simulate.py [--full]
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from lenstronomy.SimulationAPI.sim_api import SimAPI
from lenstronomy.Util.param_util import phi_q2_ellipticity

from mlensing.simulate import BLOCK, Mixture, Simulator
from mlensing.simulate import simulator as module
from mlensing.simulate.sky import Sky
from mlensing.simulate.sources import draw_sources
from mlensing.survey import Survey

CONFIG = Path(__file__).parents[1] / "configs" / "paper_synthetic.yaml"
SUPERSAMPLING = 4
MODEL = {
    "lens_model_list": ["SIE", "SHEAR"],
    "source_light_model_list": ["SERSIC_ELLIPSE"],
    "lens_light_model_list": ["SERSIC_ELLIPSE"],
}
Scene = dict[str, Any]


def scenes(simulator: Simulator, number: int) -> list[Scene]:
    """lenstronomy's arguments for the lenses of one of our blocks."""
    kept: list[Sky] = []

    def keeping(*args: Any, **kwargs: Any) -> Sky:
        kept.append(Sky(*args, **kwargs))
        return kept[-1]

    with patch.object(module, "Sky", keeping), torch.no_grad():
        simulator.block(number)
    sky = kept[0]  # one survey has one grid
    lens, light = sky.deflector, sky.galaxies
    source = draw_sources(sky.draws, light, sky.view.bands)
    return [
        {
            "kwargs_lens": [
                ellipse(lens, row) | {"theta_E": float(lens.theta_E[row])},
                {"gamma1": float(lens.gamma1[row]), "gamma2": float(lens.gamma2[row])},
            ],
            "kwargs_lens_light": [sersic(light, row, float(light.sersic_n[row]), 20.0)],
            "kwargs_source": [sersic(source, row, float(source.n[row]), 23.0)],
        }
        for row in range(BLOCK)
    ]


def ellipse(of: Any, row: int) -> dict[str, float]:
    e1, e2 = phi_q2_ellipticity(float(of.phi[row]), float(of.q[row]))
    centre = (float(of.x[row]), float(of.y[row])) if hasattr(of, "x") else (0.0, 0.0)
    return {"e1": e1, "e2": e2, "center_x": centre[0], "center_y": centre[1]}


def sersic(of: Any, row: int, n: float, magnitude: float) -> dict[str, float]:
    return ellipse(of, row) | {"R_sersic": float(of.radius[row]), "n_sersic": n, "magnitude": magnitude}


def lenstronomy_system(survey: Survey, bands: tuple[str, ...], size: int, scene: Scene, *, finely: bool) -> float:
    """Make one system as lenstronomy's documentation does, blurred on the finer grid or not; its seconds."""
    start = time.process_time()
    numerics = {"supersampling_factor": SUPERSAMPLING, "supersampling_convolution": finely}
    for name in bands:
        band = survey.band(name)
        observation = {
            "read_noise": band.read_noise, "pixel_scale": survey.pixel_scale, "ccd_gain": 1.0,
            "exposure_time": band.exposure / band.exposures, "num_exposures": band.exposures,
            "sky_brightness": band.sky, "magnitude_zero_point": band.zero_point,
            "psf_type": "PIXEL", "kernel_point_source": moffat(band.psf_fwhm, survey.pixel_scale / SUPERSAMPLING),
            "point_source_supersampling_factor": SUPERSAMPLING,
        }  # fmt: skip
        api = SimAPI(num_pix=size, kwargs_single_band=observation, kwargs_model=MODEL)
        model = api.image_model_class(numerics)
        lens_light, source, _ = api.magnitude2amplitude(scene["kwargs_lens_light"], scene["kwargs_source"])
        image = model.image(scene["kwargs_lens"], source, lens_light)
        image = image + api.noise_for_model(model=image)
        assert np.isfinite(image).all()
    x, y = api.data_class.pixel_coordinates
    for what in (model.LensModel.kappa, model.LensModel.potential, model.LensModel.alpha):
        what(x.ravel(), y.ravel(), scene["kwargs_lens"])
    return time.process_time() - start


@lru_cache(maxsize=8)
def moffat(fwhm: float, spacing: float) -> np.ndarray:
    """A Moffat PSF of exponent 3.5 like ours, on the finer grid, 33 pixels wide."""
    half = 16 * SUPERSAMPLING + SUPERSAMPLING // 2
    x = np.arange(-half, half + 1) * spacing
    core = fwhm**2 / (4 * (2 ** (1 / 3.5) - 1))
    kernel = (1 + (x[:, None] ** 2 + x**2) / core) ** -3.5
    return kernel / kernel.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="many more systems")
    rounds = 40 if parser.parse_args().full else 15
    torch.set_num_threads(1)
    mixture = Mixture.load(CONFIG).model_copy(update={"classes": {"lens": 1.0}})
    simulator = Simulator(mixture, seed=42)
    survey, bands = simulator.surveys[0], tuple(simulator.bands[0])
    given = scenes(simulator, 0)
    lenstronomy_system(survey, bands, mixture.size, given[0], finely=True)  # warms up; scenes() did for ours
    times: dict[str, list[float]] = {"ours": [], "theirs": [], "finely": []}
    for number in range(rounds):
        start = time.process_time()
        simulator.block(number, maps=True)
        times["ours"].append((time.process_time() - start) / BLOCK)
        for name in ("theirs", "finely"):
            scene = given[number % BLOCK]
            times[name].append(lenstronomy_system(survey, bands, mixture.size, scene, finely=name == "finely"))
    ours, theirs, finely = (statistics.median(times[name]) for name in ("ours", "theirs", "finely"))
    print(f"lenstronomy, supersampling {SUPERSAMPLING}:       {1e3 * theirs:6.1f} ms a system (median of {rounds})")
    print(f"   and its convolution as well:    {1e3 * finely:6.1f} ms, {finely / ours:.1f} times ours")
    print(f"ours, {1 / ours:4.0f} a second and core:     {1e3 * ours:6.2f} ms a system")
    print(f"SIMULATE_SPEEDUP = {theirs / ours:.1f} x (aim 50)")


if __name__ == "__main__":
    main()
