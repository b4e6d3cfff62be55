"""Finders as ONNX files, in float32 or, where that costs little, in int8.

int8 is written only if, on labelled images, it stays within ``BOUNDS`` of the float32 network; otherwise it is refused
with the figures.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlensing.errors import ConfigError, ContractError
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.curves import LENS
from mlensing.evaluation.fusion import members_log_odds
from mlensing.evaluation.metrics import METRICS
from mlensing.inference.assemble import Validation, simulated_validation, split_validation
from mlensing.inference.ensemble import Ensemble, members_of
from mlensing.inference.member import Member
from mlensing.models.checkpoint import Checkpoint, read_checkpoint
from mlensing.models.onnx_file import exported, write_onnx
from mlensing.models.onnx_network import OnnxNetwork, require_onnx
from mlensing.models.quantise import annotated, quantised
from mlensing.simulate.mixture import Mixture

BOUNDS = {"roc_auc": (-0.005, 0.005), "tpr_at_fpr_1e-2": (-0.02, math.inf), "ece": (-math.inf, 0.01)}
"""Change of a metric, int8 less float32, that is allowed.

AUC and recall at a false-positive rate of 1 %: below the standard error that they have themselves with 500 lenses and
500 others (about 0.01 and 0.02). ECE: a fifth of the 0.05 that a calibrated finder keeps below.
"""
EVERY, RANGES = 4, 512
"""Every fourth image, 512 at most, sets the ranges of the activations; their labels are not looked at."""
LABELLED = 100
"""Lenses and non-lenses needed to judge: with fewer than 100 non-lenses a rate of 1 % cannot be counted."""


class Data(NamedTuple):
    """Labelled images to judge int8 on: a split, or a sky to simulate."""

    data_dir: str | None
    mixture: str | None
    num_samples: int
    survey: str | None
    seed: int

    def score(self, ensemble: Ensemble) -> Validation:
        """Scores of an ensemble on them; the same images each time."""
        if self.mixture is not None:
            return simulated_validation(ensemble, Mixture.load(self.mixture), self.num_samples, self.seed)
        return split_validation(ensemble, str(self.data_dir), self.survey)


def export(
    checkpoint: str,
    *,
    output: str | None = None,
    int8: bool = False,
    data_dir: str | None = None,
    mixture: str | None = None,
    num_samples: int = 2048,
    survey: str | None = None,
    seed: int = 0,
) -> list[Path]:
    """Write a finder, or every member of an ensemble's folder, as ONNX with its contract, checked against torch.

    Arguments:
        checkpoint: a trained finder, or an ensemble's folder, whose files are then written beside the members.
        output: file to write; ``model.onnx``, or ``model.int8.onnx``, if none is named.
        int8: quantise, if on labelled images that costs little.
        data_dir: labelled images for that, a split's folder or its index.
        mixture: or a sky to simulate them from, such as ``configs/release_sky.yaml``.
        num_samples: simulated images.
        survey: preset of files whose header and row name none.
        seed: of the simulated sky.

    Returns:
        the files written.

    Raises:
        ConfigError: int8 without data or with two kinds of it, an output of another ending, no extra ``onnx``.
        ContractError: a file that is no finder, or int8 that costs too much: with the figures.
    """
    require_onnx()
    if int8 and (data_dir is None) == (mixture is None):
        raise ConfigError("int8", "expected --data_dir or --mixture", "Give one of them to judge int8 on.")
    data = Data(data_dir, mixture, num_samples, survey, seed) if int8 else None
    targets = _targets(Path(checkpoint), output, ".int8.onnx" if int8 else ".onnx")
    content = {path: export_int8(found, data) if data else exported(found) for found, path in targets}
    for path, graph in content.items():  # all or none: the first refusal leaves no file behind
        write_onnx(path, graph)
    return list(content)


def _targets(source: Path, output: str | None, ending: str) -> list[tuple[Checkpoint, Path]]:
    """What to export, and where to."""
    if source.is_dir():
        if output is not None:
            problem = "the files of an ensemble are written beside its members"
            raise ConfigError("output", problem, f"Leave --output away, or give one member of {source}.")
        files = members_of(source)
        return [(read_checkpoint(file), source / f"{key}{ending}") for key, file in files.items()]
    path = Path(output or f"model{ending}")
    if path.suffix != ".onnx":
        raise ConfigError("output", f"expected a name ending in .onnx, got {path.name}", "Take model.onnx.")
    return [(read_checkpoint(source), path)]


def export_int8(checkpoint: Checkpoint, data: Data) -> bytes:
    """The int8 ONNX file of a finder, with what it costs as its string ``int8``.

    Raises:
        ContractError: it costs more than ``BOUNDS`` allow.
        ConfigError: too few labelled images to say.
    """
    model, contract = exported(checkpoint), checkpoint.contract
    exact = Member("float32", contract, checkpoint.network(), "cpu")
    kept: list[Tensor] = []
    hook = exact.normaliser.register_forward_hook(lambda _, given, image: kept.append(image[::EVERY]))
    wanted = data.score(Ensemble([exact]))
    hook.remove()
    small = quantised(model, torch.cat(kept)[:RANGES].numpy())
    found = data.score(Ensemble([Member("int8", contract, OnnxNetwork(small), "cpu")]))
    figures = cost(checkpoint, wanted, found)
    over = [name for name, (low, high) in BOUNDS.items() if not low <= figures[name]["change"] <= high]
    if over:
        said = ", ".join(f"{n} {figures[n]['float32']:.4f} to {figures[n]['int8']:.4f}" for n in over)
        problem = f"int8 costs too much on {figures['images']} images ({said})"
        raise ContractError(checkpoint.path, problem, "Export it without --int8.")
    return annotated(small, "int8", json.dumps(figures))


def cost(checkpoint: Checkpoint, exact: Validation, small: Validation) -> dict[str, Any]:
    """Metrics of ``BOUNDS`` in float32 and int8, their change and what was allowed; both with one calibration.

    Raises:
        ConfigError: fewer than ``LABELLED`` lenses or non-lenses.
    """
    label, calibration = exact.label, checkpoint.contract.calibration
    known = np.isfinite(label) & np.isfinite(exact.scores.logit[0])
    lenses, images = int(np.sum(label[known] >= LENS)), int(known.sum())
    if min(lenses, images - lenses) < LABELLED:
        problem = f"{lenses} lenses and {images - lenses} non-lenses are too few to judge int8 by"
        raise ConfigError("int8", problem, f"Give {LABELLED} of each.")

    def measured(name: str, seen: Validation) -> float:
        odds: NDArray[np.float64] = members_log_odds(seen.scores.logit, [calibration])[0][known]
        return METRICS[name](label[known], sigmoid(odds) if name == "ece" else odds)

    figures: dict[str, Any] = {"images": images, "lenses": lenses}
    for name, allowed in BOUNDS.items():
        before, after = measured(name, exact), measured(name, small)
        bounds = [bound if math.isfinite(bound) else None for bound in allowed]
        figures[name] = {"float32": before, "int8": after, "change": after - before, "allowed": bounds}
    return figures
