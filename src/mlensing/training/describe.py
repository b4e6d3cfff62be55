"""The contract of a training: what its data and settings promise to whoever uses the network later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Generator, Tensor

import mlensing
from mlensing.contract import CHANNELS, BandStatistics, ModelContract, Representation, Task
from mlensing.data.module import LensDataModule
from mlensing.data.normalise import measure_statistics
from mlensing.errors import ConfigError, ContractError
from mlensing.evaluation.positive_unlabelled import unlabelled_share
from mlensing.models.checkpoint import TASKS, read_checkpoint
from mlensing.provenance import fingerprint
from mlensing.simulate.composites import SurveyComposites
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.real.sky import RealSky
from mlensing.survey import Survey, survey_names
from mlensing.training.finder import Compose
from mlensing.training.losses import task_of

SOFTENING = float(ModelContract.model_fields["softening"].default)
KEPT = ("name", "options", "bands", "input_size", "task", "class_weight_ratio", "training_hash")
"""What a resumed training must share with its checkpoint."""


def new_contract(resume: str | None, **fields: Any) -> ModelContract:
    """The contract of a new training, or that of the checkpoint it resumes, which must agree.

    Raises:
        ConfigError: a field out of range.
        ContractError: another network, other bands, size, weights or data than the checkpoint's.
    """
    try:
        contract = ModelContract(version=mlensing.__version__, **fields)
    except ValidationError as error:
        detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError("training", f"settings out of range ({detail})", "Correct them.") from error
    if resume is None:
        return contract
    kept = read_checkpoint(resume, tasks=(contract.task,)).contract
    for name in KEPT:
        if getattr(kept, name) != getattr(contract, name):
            problem = f"it was trained with {name} {getattr(kept, name)}, now {getattr(contract, name)}"
            raise ContractError(resume, problem, "Resume with the same data and settings, or use --init.")
    return kept


def file_contract(data: LensDataModule, settings: Mapping[str, Any]) -> tuple[ModelContract, SurveyComposites]:
    """The contract of a training on files, whose splits are opened; and what makes colour composites of them.

    Arguments:
        data: the splits.
        settings: arguments of ``training.fit``.

    Raises:
        CatalogError, ImageError, ContractError, ConfigError: as ``fit``.
    """
    composites, survey = settings["composites"], settings["survey"]
    require_composites(composites, data.bands)
    data.prepare_data()
    data.setup("fit")
    compose = SurveyComposites([Survey.load(name) for name in ([survey] if survey else survey_names())])
    sample = data.statistics_sample()
    measured = statistics(sample, composites=composites, compose=compose, seed=settings["seed"])
    fields = {**data.contract_fields(), "statistics": measured, "task": task_of(settings["loss"])}
    fields |= {name: settings[name] for name in ("class_weight_ratio", "sigma_crit")}
    prior = settings.get("prior")
    if prior is not None:
        fields["class_weight_ratio"] *= (1 - prior) / prior
        fields["prevalence"] = unlabelled_share(data.split("train").labels, prior)
    network = {"name": settings["model"], "options": settings["model_options"] or {}}
    return new_contract(settings["resume"], **network, **fields), compose


def sky_fields(mixture: Mixture, seed: int, real: RealSky, *, task: Task = "classification") -> dict[str, Any]:
    """What a simulated sky says in a contract: all but the network and the statistics.

    Arguments:
        real: what of it is real.
        task: of the network; those of finders need both lenses and others.
    """
    hashes, hosts = [f"{name} {part['hash']}".encode() for name, part in real.record().items()], real.hosts
    scales = [Survey.load(name).pixel_scale for name in mixture.surveys]
    bands = mixture.bands or CHANNELS
    if hosts is not None:
        scales = list(hosts.cutouts.pixel_scale)
        bands = mixture.bands or (CHANNELS if len(hosts.bands) == 3 else hosts.bands)
    labelled = sum(weight for name, weight in mixture.classes.items() if name != "faint_lens")
    share = mixture.classes.get("lens", 0.0) / labelled if labelled else 0.0
    if task in TASKS and not 0 < share < 1:
        remedy = "Give `lens` and at least one other class a weight."
        raise ConfigError("mixture", f"the share of lenses is {share:g}", remedy)
    return {
        "bands": bands,
        "input_size": mixture.size,
        "pixel_scale": (min(scales), max(scales)),
        "task": task,
        **({"prevalence": share} if task in TASKS else {}),
        "training_hash": fingerprint(mixture.model_dump_json().encode(), str(seed).encode(), *hashes),
    }


def statistics(
    batch: Mapping[str, Tensor], *, composites: float, compose: Compose | None, seed: int
) -> dict[Representation, BandStatistics]:
    """Statistics of each representation that training will show the network.

    Arguments:
        batch: a sample of the training data: ``image`` [B, C, H, W], ``composite`` [B], and what compose needs.
        composites: share of the linear rows that become composites.
        compose: makes them.
        seed: of that.
    """
    image, composite = batch["image"], batch["composite"]
    measured = measure_statistics(image, composite, SOFTENING)
    if composites > 0 and compose is not None and "linear" in measured:
        generator = Generator(device=image.device).manual_seed(seed)
        colour = torch.where(composite[:, None, None, None], image, compose(image, batch, generator))
        measured |= measure_statistics(colour, torch.ones_like(composite), SOFTENING)
        if composites >= 1:
            del measured["linear"]
    return measured


def require_positive(**counts: int) -> None:
    """Refuse counts below 1.

    Raises:
        ConfigError: naming the first.
    """
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(name, f"expected at least 1, got {count}", "Correct it.")


def require_composites(composites: float, bands: tuple[str, ...]) -> None:
    """Refuse a share out of range, and colour from other than blue, green and red.

    Raises:
        ConfigError: saying which.
    """
    if not 0 <= composites <= 1:
        raise ConfigError("composites", f"expected a share in [0, 1], got {composites}", "Take 0.5.")
    if composites > 0 and len(bands) != 3:
        problem = f"colour composites need three bands, blue to red; there are {len(bands)}"
        raise ConfigError("composites", problem, "Take composites: 0, or three bands.")
