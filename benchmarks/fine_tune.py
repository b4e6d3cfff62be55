"""What labelled real images buy: finders tuned on half of the development objects, measured on the other half.

    python benchmarks/fine_tune.py DATA [--checkpoint best.ckpt ...] [--draws N] [--full]

Objects are divided in two by a hash of their names. Each half in turn is mixed into simulated batches
(`train_live --init ... --labelled ...`), and the finders so tuned score the half that they have not seen. Painted
arcs, Bologna's and the fields are never trained on. By default the first released member learns from 1,024 draws,
which only shows that it runs; --full takes all members and 8,192 draws, some five minutes a member on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import pandas as pd
from real_sky import all_sets, labelled, report, score_sets

from mlensing.inference import Predictor
from mlensing.inference.ensemble import RELEASED
from mlensing.models.checkpoint import read_checkpoint
from mlensing.provenance import fingerprint
from mlensing.training import fit_live

FOLDS = 2
FULL = 8192


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="../shared/data", help="folder of the development sets")
    parser.add_argument("--checkpoint", nargs="+", help="finders to tune (default: the released members)")
    parser.add_argument("--mixture", default="configs/release_sky.yaml", help="the simulated sky they stay in")
    parser.add_argument("--draws", type=int, default=1024, help="simulated and real images that each is tuned on")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--share", type=float, default=0.25, help="of real images in a batch")
    parser.add_argument("--full", action="store_true", help=f"all members, {FULL:,} draws")
    chosen = parser.parse_args()
    data = Path(chosen.data)
    if not (data / "cfhtls_rgb8").is_dir():
        print(f"skipped: needs the data sets in {data}")
        return 0
    checkpoints = [Path(name) for name in chosen.checkpoint or released()]
    checkpoints = checkpoints if chosen.full or chosen.checkpoint else checkpoints[:1]
    settings = {"mixture": chosen.mixture, "lr": chosen.lr, "labelled_share": chosen.share}
    settings["draws"] = FULL if chosen.full else chosen.draws
    with tempfile.TemporaryDirectory() as scratch:
        before, after = cross_fitted(checkpoints, data, Path(scratch), settings)
    members = [name for name in before if name.startswith("logit_")]
    print("before")
    graded = report(before, members)
    print("after, each half by finders that have not seen it")
    print(f"FINE_TUNING_GRADED_GAIN = {report(after, members) - graded:.3f} (aim 0.050)")
    return 0


def released() -> list[str]:
    """Files of the released members."""
    return [
        str(RELEASED / member["file"]) for member in json.loads((RELEASED / "ensemble.json").read_text())["members"]
    ]


def cross_fitted(
    checkpoints: list[Path], data: Path, scratch: Path, settings: dict[str, object]
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


def tune(path: Path, folder: Path, log_dir: Path, settings: dict[str, object]) -> Path:
    """A finder that goes on learning from simulated and labelled images."""
    contract = read_checkpoint(path).contract
    draws = int(settings["draws"])
    return fit_live(
        **settings, model=contract.name, model_options=contract.options, init=str(path), labelled=str(folder),
        epoch_draws=min(draws, 4096), validation_draws=min(draws, 2048), batch_size=128, ema=0.99, num_workers=0,
        log_dir=str(log_dir),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
