"""From trained finders and validation data to an ensemble on disk: score, calibrate each, select, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Generator

from mlensing.contract import CHANNELS, ModelContract
from mlensing.errors import ConfigError, ContractError
from mlensing.evaluation.calibrators import CALIBRATORS, fit_calibration
from mlensing.evaluation.curves import LENS
from mlensing.evaluation.fusion import RULES
from mlensing.inference.ensemble import Ensemble, EnsembleScores, keys_of, save_ensemble, stacked
from mlensing.inference.evaluate import score_split
from mlensing.inference.member import Member, MemberScores
from mlensing.inference.predictor import Predictor
from mlensing.inference.selection import Selection, select
from mlensing.models.checkpoint import Checkpoint, read_checkpoint
from mlensing.models.domain import Domain
from mlensing.provenance import fingerprint, provenance
from mlensing.simulate.composites import SurveyComposites
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.simulator import BLOCK, Simulator
from mlensing.survey import Survey


class Validation(NamedTuple):
    """Scores [M, N] of every member on labelled images, labels [N], and what each member was shown, where known."""

    scores: EnsembleScores
    label: NDArray[np.float64]
    domains: Sequence[Domain | None]


def assemble(
    checkpoints: Sequence[str],
    *,
    output_dir: str,
    data_dir: str | None = None,
    mixture: str | None = None,
    num_samples: int = 4096,
    calibration: str = "beta",
    rule: str | None = None,
    keep_all: bool = False,
    survey: str | None = None,
    device: str = "auto",
    seed: int = 0,
) -> Selection:
    """Make an ensemble of trained finders: calibrate each, choose members and rule, write the folder.

    Arguments:
        checkpoints: trained finders, ``.ckpt`` or ``.safetensors``.
        output_dir: folder to write, which ``--checkpoint`` of other verbs takes.
        data_dir: labelled validation images, a split's folder or its index; never the test split.
        mixture: or a sky to simulate them from, such as ``configs/release_sky.yaml``; another sky than any training's.
        num_samples: simulated images, rounded up to whole blocks of 64.
        calibration: of each member: temperature, beta or isotonic.
        rule: mean, inverse_variance, physics (of members with maps), calibrated_mean or stacked; None chooses.
        keep_all: take every member and choose the rule only.
        survey: preset of files whose header and row name none.
        device: auto, cpu or cuda.
        seed: of the simulated sky and of the folds.

    Raises:
        ConfigError: no validation data or two kinds of it, an unknown rule or calibration, too few labelled images.
        ContractError: finders that do not fit together, or a sky of another kind than theirs.
    """
    settings = dict(locals())
    _check(data_dir, mixture, calibration, rule)
    found = [read_checkpoint(path) for path in checkpoints]
    keys = keys_of(found)
    members = [Member(key, c.contract, c.network(), device) for key, c in zip(keys, found, strict=True)]
    ensemble = Ensemble(members)
    if mixture is not None:
        seen = simulated_validation(ensemble, Mixture.load(mixture), num_samples, seed, where=mixture)
    else:
        seen = split_validation(ensemble, str(data_dir), survey)
    named = dict(zip(keys, calibrated(found, seen, calibration), strict=True))
    maps = {key: checkpoint.contract.calibration for key, checkpoint in named.items()}
    scores, rules = seen.scores, (rule,) if rule else RULES
    options: dict[str, Any] = {"rules": rules, "keep_all": keep_all, "seed": seed, "physics": scores.physics}
    chosen = select(scores.logit, scores.variance, seen.label, maps, **options)
    record = {**chosen.record, "provenance": provenance("ensemble", settings, seed)}
    save_ensemble(output_dir, {key: named[key] for key in chosen.keys}, chosen.fusion, record)
    return chosen


def calibrated(found: Sequence[Checkpoint], seen: Validation, kind: str) -> list[Checkpoint]:
    """The same finders with calibrations fitted on the validation data, and its share of lenses as their prevalence."""
    known = np.isfinite(seen.label) & np.isfinite(seen.scores.logit).all(0)
    share = float(np.mean(seen.label[known] >= LENS)) if known.any() else 0.5
    prevalence = min(max(share, 1e-6), 1 - 1e-6)

    def changed(contract: ModelContract, logit: NDArray[np.float64]) -> ModelContract:
        fitted = fit_calibration(kind, logit, seen.label)
        return contract.model_copy(update={"calibration": fitted, "prevalence": prevalence})

    rows = zip(found, seen.scores.logit, seen.domains, strict=True)
    fitted = [(replace(c, contract=changed(c.contract, z)), domain) for c, z, domain in rows]
    return [c if domain is None else c.with_domain(domain) for c, domain in fitted]


def split_validation(ensemble: Ensemble, data_dir: str | Path, survey: str | None) -> Validation:
    """Scores of a labelled split.

    Raises:
        CatalogError: not one of its images can be scored.
    """
    items, _, scores = score_split(Predictor(ensemble), data_dir, survey=survey, maps=True)
    return Validation(scores, np.array([item.label for item in items], float), [m.domain for m in ensemble.members])


def require_fitting(mixture: Mixture, contract: ModelContract, *, where: object) -> None:
    """Refuse a sky that the finders would not take as it is.

    Raises:
        ContractError: another size, other bands, a kind of image that they were not trained for, or no survey whose
            pixels they were all trained for; of several surveys, some may have others.
    """
    contract.require_bands(mixture.bands or CHANNELS, where=where)
    for kind, weight in mixture.representations.items():
        if weight > 0:
            contract.require_representation(kind, where=where)
    if mixture.size != contract.input_size:
        problem = f"it simulates {mixture.size} pixels a side, the finders take {contract.input_size}"
        raise ContractError(where, problem, "Correct its `size`.")
    if not any(contract.accepts_scale(Survey.load(name).pixel_scale) for name in mixture.surveys):
        low, high = contract.pixel_scale
        problem = f'none of its surveys has pixels of {low:.3f}" to {high:.3f}", which the finders share'
        raise ContractError(where, problem, "Give the sky that they were trained on.")


def simulated_validation(
    ensemble: Ensemble, mixture: Mixture, num_samples: int, seed: int, *, where: object = "mixture"
) -> Validation:
    """Scores of a simulated sky whose seed no training takes, its share of composites as the mixture says.

    Arguments:
        num_samples: rounded up to whole blocks of 64.
        seed: of the sky.
        where: what an error names.

    Raises:
        ConfigError: no samples.
        ContractError: a sky of another kind than the finders were trained for.
    """
    require_fitting(mixture, ensemble.contract, where=where)
    if num_samples < 1:
        raise ConfigError("num_samples", f"expected 1 or more, got {num_samples}", "Take 4096.")
    apart = int(fingerprint(f"ensemble {seed}".encode())[:7], 16)
    simulator, generator = Simulator(mixture, seed=apart), Generator().manual_seed(apart)
    compose = SurveyComposites(simulator.surveys)
    scores: list[list[MemberScores]] = []
    labels, kinds = [], []
    for number in track(range(-(-num_samples // BLOCK)), "simulating and scoring", transient=True):
        block: dict[str, Any] = simulator.block(number)
        chosen = torch.rand(BLOCK, generator=generator) < mixture.composites
        colour = compose(block["image"], block, generator) if bool(chosen.any()) else block["image"]
        image = torch.where(chosen[:, None, None, None], colour, block["image"])
        spacing = torch.stack([block["dx"], block["dx"]], 1)
        scores.append([member.score(image, chosen, maps=spacing) for member in ensemble.members])
        labels.append(block["label"].double().numpy())
        kinds.append(chosen)
    every = [MemberScores(*map(torch.cat, zip(*parts, strict=True))) for parts in zip(*scores, strict=True)]
    domains = [Domain.fit(member.statistics.cpu(), torch.cat(kinds)) for member in every]
    return Validation(stacked(every), np.concatenate(labels), domains)


def _check(data_dir: str | None, mixture: str | None, calibration: str, rule: str | None) -> None:
    """Refuse settings that would fail only after everything has been scored."""
    if (data_dir is None) == (mixture is None):
        raise ConfigError("ensemble", "expected --data_dir or --mixture", "Give one of them to validate on.")
    for name, given, known in (("calibration", calibration, CALIBRATORS), ("rule", rule or RULES[0], RULES)):
        if given not in known:
            raise ConfigError(name, f"unknown {name} {given!r}", f"Known: {', '.join(known)}.")
