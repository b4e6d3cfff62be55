"""What labelled real images buy: finders tuned on half of the development objects, measured on the other half.

    python benchmarks/fine_tune.py DATA [--checkpoint best.ckpt ...] [--full] [--output_dir DIR]

Objects are divided in two by a hash of their names. Each half in turn is mixed into simulated batches as
`configs/release_tuning.yaml` says, and the finders so tuned score the half that they have not seen. Painted arcs,
Bologna's and the fields are never trained on. By default the first released member learns from 1,024 draws, which only
shows that it runs; --full takes all members and all draws, some three minutes a member on two cores. --output_dir keeps
the scores after tuning, and the report of the CFHTLS pictures for a model card.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from real.development_sets import all_sets, labelled
from real_sky import report, score_sets, write_details

from mlensing.inference import Predictor
from mlensing.inference.ensemble import RELEASED
from mlensing.models.checkpoint import read_checkpoint
from mlensing.provenance import fingerprint
from mlensing.training import fit_live

SETTINGS = Path(__file__).parents[1] / "configs/release_tuning.yaml"
FOLDS, FEW = 2, 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="../shared/data", help="folder of the development sets")
    parser.add_argument("--checkpoint", nargs="+", help="finders to tune (default: the released members)")
    parser.add_argument("--full", action="store_true", help="all members, all draws")
    parser.add_argument("--output_dir", help="keep scores, mosaics and report.json here")
    chosen = parser.parse_args()
    data = Path(chosen.data)
    if not (data / "cfhtls_rgb8").is_dir():
        print(f"skipped: needs the data sets in {data}")
        return 0
    settings = yaml.safe_load(SETTINGS.read_text())
    checkpoints = [Path(name) for name in chosen.checkpoint or released()]
    if not chosen.full:
        checkpoints = checkpoints if chosen.checkpoint else checkpoints[:1]
        settings |= {"draws": FEW, "epoch_draws": FEW, "validation_draws": FEW}
    with tempfile.TemporaryDirectory() as scratch:
        before, after = cross_fitted(checkpoints, data, Path(scratch), settings)
        members = [name for name in before if name.startswith("logit_")]
        if chosen.output_dir:
            write_details(after, members, read_checkpoint(checkpoints[0]).contract, Path(chosen.output_dir))
    print("before")
    graded = report(before, members)
    print("after, each half by finders that have not seen it")
    print(f"FINE_TUNING_GRADED_GAIN = {report(after, members) - graded:.3f} (aim 0.050)")
    return 0


def released() -> list[str]:
    """Files of the released members."""
    members = json.loads((RELEASED / "ensemble.json").read_text())["members"]
    return [str(RELEASED / member["file"]) for member in members]


def cross_fitted(
    checkpoints: list[Path], data: Path, scratch: Path, settings: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of every image before, and after by finders that saw only the other half."""
    sets = all_sets(data, scratch / "images")
    before = score_sets(Predictor.load([str(c) for c in checkpoints]), sets, views=8)
    fold = before["object"].map(lambda name: int(fingerprint(name.encode()), 16) % FOLDS)
    after = []
    for held in range(FOLDS):
        folder = labelled(before[(fold != held) & before["label"].notna()], scratch / f"half{held}")
        tuned = [tune(path, folder, scratch / f"half{held}/{i}", settings) for i, path in enumerate(checkpoints)]
        scores = score_sets(Predictor.load([str(t) for t in tuned]), sets, views=8)
        scores.columns = before.columns
        after.append(scores[fold == held])
    return before, pd.concat(after).sort_index()


def tune(path: Path, folder: Path, log_dir: Path, settings: dict[str, Any]) -> Path:
    """A finder that goes on learning from its own simulated sky and from labelled images."""
    found = read_checkpoint(path)
    own = {"mixture": found.config.get("mixture", settings["mixture"]), "seed": found.config.get("seed", 42)}
    own |= {"model": found.contract.name, "model_options": found.contract.options, "init": str(path)}
    return fit_live(**{**settings, **own}, labelled=str(folder), num_workers=0, log_dir=str(log_dir))


if __name__ == "__main__":
    sys.exit(main())
