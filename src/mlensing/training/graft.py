"""A map head for a finder that is trained already: every logit of the finder stays what it was.

The head learns alone, with a backbone of its own that begins as a copy of the finder's: what a finder keeps of an image
says whether there is a lens, and too little of how large it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import seed_everything
from torch import nn

from mlensing.contract import ModelContract
from mlensing.errors import ConfigError, ContractError
from mlensing.models import build, classifier
from mlensing.models.checkpoint import Checkpoint, read_checkpoint
from mlensing.models.safe import PREFIX
from mlensing.models.warm_start import warm_start
from mlensing.simulate.composites import SurveyComposites
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.real.sky import RealSky
from mlensing.training.describe import require_positive, sky_fields
from mlensing.training.finder import Finder
from mlensing.training.live import live_data
from mlensing.training.losses import MAP_TERMS, total_loss
from mlensing.training.map_quality import learn_map_quality
from mlensing.training.maps import CLIP
from mlensing.training.run import checkpoint_to_resume, learn

WEIGHTS = {"kappa": 1.0, "psi": 0.1, "poisson": 0.3}
"""Weights of the losses if none are given."""
HEAD = "maps."
"""What the names of the head's weights begin with."""
MAPS = {"task": "maps", "map_trunk": True}
"""What of the contract changes."""
RUNNING = ("ema", "resume", "log_dir", "accelerator", "devices", "num_nodes", "strategy", "precision")


class Graft(Finder):
    """A finder of which only the map head and its backbone learn; all else is as in use, without dropout."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        for name, weight in self.net.named_parameters():
            weight.requires_grad = name.startswith(HEAD)
        classifier(trunk_of(self.net)).head.requires_grad_(False)  # no part of a map

    def train(self, mode: bool = True) -> Graft:
        """Training mode for the head alone."""
        super().train(mode)
        for name, part in self.net.named_children():
            part.train(mode and f"{name}." == HEAD)
        return self


def add_maps(
    checkpoint: str,
    mixture: str,
    *,
    draws: int,
    epoch_draws: int = 4096,
    validation_draws: int = 1024,
    batch_size: int = 64,
    lr: float = 2e-3,
    weight_decay: float = 1e-4,
    warmup: float = 0.1,
    loss: dict[str, float] | None = None,
    ema: float = 0.99,
    resume: str | None = None,
    seed: int = 42,
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
    num_workers: int | None = None,
    log_dir: str = "lightning_logs",
) -> Path:
    """Give a trained finder a head that predicts kappa and psi; its logits, calibration and domain stay what they are.

    The head has a backbone of its own, which begins as a copy of the finder's.

    Arguments:
        checkpoint: the finder, a ``best.ckpt`` or ``.safetensors``.
        mixture: YAML file that says what to simulate; its lenses teach the head.
        draws: simulated samples in all, rounded up to whole epochs; no sample is seen twice.
        epoch_draws: samples between two validations; each ends with a checkpoint to resume from.
        validation_draws: samples of the fixed validation set, from another sky than the training's.
        batch_size: samples a step and process, a multiple of the simulator's block of 64.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on weights only.
        warmup: share of the steps in which the learning rate rises.
        loss: weights of ``kappa``, ``psi``, ``alpha``, ``poisson``; None is ``{kappa: 1.0, psi: 0.1, poisson: 0.3}``.
        ema: decay of an average of the weights that is validated and kept; 0 for none.
        resume: a ``last.ckpt`` to go on from, or ``auto``: the newest of ``log_dir``, from the start if there is none.
        seed: of weights and sky.
        accelerator: Lightning's: auto, cpu, gpu, ...
        devices: Lightning's: how many, or which.
        num_nodes: Lightning's: machines.
        strategy: Lightning's: auto, ddp, ...
        precision: arithmetic of the network.
        num_workers: processes that simulate ahead on the CPU; None is 1 there, and 0 on a GPU.
        log_dir: parent of the folder ``version_N`` of this run.

    Returns:
        path of ``best.ckpt``: the finder with its head.

    Raises:
        ConfigError, ContractError, SurveyError: settings, checkpoints or surveys that cannot be used.
    """
    settings = dict(locals())
    settings["resume"] = checkpoint_to_resume(resume, log_dir)
    require_positive(draws=draws)
    found, sky = read_checkpoint(checkpoint), Mixture.load(mixture)
    if found.contract.task == "maps":
        raise ContractError(found.path, "it predicts maps already", "Give a finder without a map head.")
    contract = found.contract.model_copy(update=MAPS)
    require_teachable(contract, sky, mixture)
    require_same(contract, settings["resume"])
    criterion = WEIGHTS if loss is None else loss
    total_loss(criterion, known=MAP_TERMS)  # only maps: the logit is not to be taught
    seed_everything(seed, verbose=False)
    data = live_data(sky, settings, maps=True)
    compose = SurveyComposites(data.train.simulator.surveys)
    learning: dict[str, Any] = {key: settings[key] for key in ("lr", "weight_decay", "warmup", "seed")}
    net = build(contract.name, contract, **contract.options)
    warm_start(net, found.path)
    trunk_of(net).load_state_dict(found.network().state_dict())
    graft = Graft(
        contract, net, loss=criterion, config=settings, composites=sky.composites, compose=compose, shift_px=0,
        **learning,
    )  # fmt: skip
    running = {key: settings[key] for key in RUNNING}
    best, loop = learn(
        graft, data, command="add_maps", max_epochs=math.ceil(draws / epoch_draws), patience=None, monitor="val_loss",
        gradient_clip_val=CLIP, **running,
    )  # fmt: skip
    if loop.is_global_zero:
        grafted(found, read_checkpoint(best), settings)
        data.trainer = None  # from here on a loader has every row, not a process' share
        learn_map_quality(best, data, loop.strategy.root_device)
    loop.strategy.barrier()
    return best


def trunk_of(net: nn.Module) -> nn.Module:
    """The backbone of a network's map head."""
    return net.get_submodule(f"{HEAD}trunk")


def require_teachable(contract: ModelContract, sky: Mixture, where: str) -> None:
    """Refuse a sky that has no lenses, or images that the finder does not take.

    Raises:
        ConfigError: naming what does not fit.
    """
    if sky.classes.get("lens", 0.0) <= 0:
        raise ConfigError(where, "it has no lenses, which are what the head learns from", "Give `lens` a weight.")
    fields = sky_fields(sky, 0, RealSky(), task="mass_maps")
    for name in ("bands", "input_size"):
        wanted, there = getattr(contract, name), fields[name]
        if wanted != there:
            problem = f"the finder was trained with {name} {wanted}, this sky has {there}"
            raise ConfigError(where, problem, "Take the mixture that it was trained on.")
    for kind, share in (("composite", sky.composites), ("linear", 1 - sky.composites)):
        if share > 0 and kind not in contract.statistics:
            problem = f"some of its images are {kind}, and the finder knows no such"
            raise ConfigError(where, problem, "Leave them out of `representations`.")


def require_same(contract: ModelContract, resume: str | None) -> None:
    """Refuse to go on from the training of another finder's head.

    Raises:
        ContractError: another contract, or not a checkpoint.
    """
    if resume is not None and read_checkpoint(resume).contract != contract:
        problem = "it is not a training of this finder's head"
        raise ContractError(resume, problem, "Give its last.ckpt, or begin anew in another --log_dir.")


def grafted(finder: Checkpoint, learned: Checkpoint, settings: Mapping[str, Any]) -> Checkpoint:
    """The finder as it was with the head that was learned, written in the place of the latter."""
    names = [name for name in learned.content["state_dict"] if name.startswith(PREFIX + HEAD)]
    state = {**finder.content["state_dict"], **{name: learned.content["state_dict"][name] for name in names}}
    config = {**finder.config, "maps": dict(settings)}
    content = {**learned.content, "state_dict": state, "config": json.dumps(config, default=str)}
    both = replace(learned, config=config, content=content)
    return both.with_contract(finder.contract.model_copy(update=MAPS))
