"""Error of the Einstein radii that `predict --maps` states: simulated lenses, and arcs painted on real galaxies.

    python benchmarks/einstein_radius.py [DATA] [--checkpoint FILE...] [--full]

Simulated lenses of every survey of `configs/release_sky_lenses.yaml` are written as files and predicted as a user
would. Beside the median relative error stands that of one number, the median of the true radii, which is what a user
has without a prediction; and the rank correlation, and the share of radii within one and two stated deviations. Told
of all, and of the accepted ones (probability above 0.5). With DATA, the folder of development sets, the same for arcs
that others have painted on galaxies of the Legacy Surveys. The figure is the error over that of one number, on the
accepted simulated lenses. The default takes 128 lenses, ``--full`` 1,024.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from mlensing.inference import Predictor
from mlensing.inference.ensemble import RELEASED
from mlensing.simulate import simulate

SKY, SEED = "configs/release_sky_lenses.yaml", 8
ACCEPTED = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="folder of the development sets")
    parser.add_argument("--checkpoint", nargs="+", default=RELEASED, help="the released ensemble, if none is given")
    parser.add_argument("--full", action="store_true", help="1,024 lenses")
    given = parser.parse_args()
    predictor = Predictor.load(given.checkpoint)
    ratio = told("simulated", simulated(predictor, 1024 if given.full else 128))
    if given.data is not None:
        arcs = painted(predictor, given.data / "legacy_rgb8_lenses")
        told("painted on Legacy galaxies", arcs)
        for truth, some in arcs[arcs["probability"] >= ACCEPTED].groupby("truth"):
            print(f'    {len(some)} accepted arcs at {truth}": {some["theta_E"].median():.2f}" in the median')
    print(f"EINSTEIN_RADIUS_ERROR_RATIO = {ratio:.2f} (aim 0.50)")


def simulated(predictor: Predictor, count: int) -> pd.DataFrame:
    """Scores of simulated lenses, with the true radius as ``truth``."""
    with tempfile.TemporaryDirectory() as folder:
        index = simulate(SKY, num_samples=count, output_dir=folder, seed=SEED, maps=False)
        scores = predictor.predict([index], maps=True, accept=0.0)
        return scores.assign(truth=pd.read_csv(index)["theta_E"])


def painted(predictor: Predictor, folder: Path) -> pd.DataFrame:
    """The same of arcs that were painted on real galaxies."""
    labels = pd.read_csv(folder / "labels.csv").dropna(subset=["theta_e"])
    scores = predictor.predict(
        [folder / file for file in labels["file"]], maps=True, accept=0.0, survey="legacy", pixel_scale=0.262
    )
    return scores.assign(truth=labels["theta_e"].to_numpy())


def told(name: str, scores: pd.DataFrame) -> float:
    """Print what is known of a set; the error over that of one number, on its accepted lenses."""
    ratio = float("nan")
    for chosen, which in ((scores, "all"), (scores[scores["probability"] >= ACCEPTED], "accepted")):
        truth, found = chosen["truth"].to_numpy(), chosen["theta_E"].to_numpy()
        known = np.isfinite(found)
        error, alone = off(found[known], truth[known]), off(np.median(truth), truth[known])
        within = np.abs(found - truth)[known] / chosen["theta_E_uncertainty"].to_numpy()[known]
        print(
            f"{name}, {which} ({known.sum()} of {len(truth)}): off by {100 * error:.1f} % in the median (one number"
            f" {100 * alone:.1f} %), rank correlation {spearmanr(found[known], truth[known]).statistic:.2f},"
            f" {100 * np.mean(within < 1):.0f} % within one deviation, {100 * np.mean(within < 2):.0f} % within two",
            flush=True,
        )
        ratio = error / max(alone, 1e-9)
    return ratio


def off(found: np.ndarray | float, truth: np.ndarray) -> float:
    return float(np.median(np.abs(found / truth - 1)))


if __name__ == "__main__":
    main()
