"""Training of a network of maps on a simulated sky: the function whose arguments are the flags of ``train_maps``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import seed_everything

from mlensing.errors import ConfigError
from mlensing.gnn import build_maps
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.real.sky import RealSky
from mlensing.training.describe import new_contract, require_positive, sky_fields, statistics
from mlensing.training.live import live_data
from mlensing.training.mapper import Mapper
from mlensing.training.run import checkpoint_to_resume, learn

MEASURED = 512
"""Simulated samples that the statistics of the contract are measured on."""
CLIP = 1.0
"""Largest norm of a gradient: a massive lens in the batch must not undo what many ordinary ones taught."""
LEARNING = ("lr", "weight_decay", "warmup", "loss", "seed")
"""Arguments that go to the mapper as they are."""
RUNNING = (
    "patience",
    "monitor",
    "ema",
    "resume",
    "log_dir",
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "precision",
)
"""Arguments that go to the run as they are."""


def fit_maps(
    mixture: str,
    *,
    draws: int,
    epoch_draws: int = 4096,
    validation_draws: int = 1024,
    model: str = "lens_gnn",
    model_options: dict[str, Any] | None = None,
    batch_size: int = 64,
    lr: float = 2e-3,
    weight_decay: float = 1e-4,
    warmup: float = 0.1,
    loss: dict[str, float] | None = None,
    ema: float = 0.0,
    patience: int | None = None,
    monitor: Literal["val_loss", "val_kappa_rmse"] = "val_kappa_rmse",
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
    """Train a network that maps the mass of lenses: kappa with its variance, psi and alpha.

    Arguments:
        mixture: YAML file that says what to simulate, such as ``configs/maps_sky.yaml``; linear images only.
        draws: simulated samples in all, rounded up to whole epochs; no sample is seen twice.
        epoch_draws: samples between two validations; each ends with a checkpoint to resume from.
        validation_draws: samples of the fixed validation set, from another sky than the training's.
        model: architecture, a key of ``mlensing.gnn.MAP_MODELS``: ``lens_gnn`` or ``unet``.
        model_options: its options, such as ``{width: 32, depth: 3}``.
        batch_size: samples a step and process, a multiple of the simulator's block of 64.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on weights only.
        warmup: share of the steps in which the learning rate rises.
        loss: weights of ``kappa``, ``psi``, ``poisson``; None is ``{kappa: 1.0, psi: 0.1, poisson: 0.01}``.
        ema: decay of an average of the weights that is validated and kept, such as 0.999; 0 for none.
        patience: epochs without improvement after which training stops; None never stops early.
        monitor: what decides which epoch is best: the loss, or the error of kappa outside cores and border.
        resume: a ``last.ckpt`` to go on from, or ``auto``: the newest of ``log_dir``, from the start if there is none.
        seed: of weights and sky.
        accelerator: Lightning's: auto, cpu, gpu, ...
        devices: Lightning's: how many, or which.
        num_nodes: Lightning's: machines.
        strategy: Lightning's: auto, ddp, ...
        precision: arithmetic of the network.
        num_workers: processes that simulate ahead on the CPU; None is 1 there, and 0 on a GPU, which simulates
            for itself.
        log_dir: parent of the folder ``version_N`` of this run.

    Returns:
        path of ``best.ckpt``; ``Mapper.load`` reads it.

    Raises:
        ConfigError, ContractError, SurveyError: settings, checkpoints or surveys that cannot be used.
    """
    settings = dict(locals())
    settings["resume"] = resume = checkpoint_to_resume(resume, log_dir)
    require_positive(draws=draws)
    sky = _linear(mixture)
    seed_everything(seed, verbose=False)
    data = live_data(sky, settings, maps=True)
    measured = statistics(data.sample(MEASURED), composites=0.0, compose=None, seed=seed)
    fields = {**sky_fields(sky, seed, RealSky(), task="mass_maps"), "statistics": measured}
    contract = new_contract(resume, name=model, options=model_options or {}, **fields)
    net = build_maps(model, contract, **contract.options)
    mapper = Mapper(contract, net, config=settings, **{key: settings[key] for key in LEARNING})
    running = {**{key: settings[key] for key in RUNNING}, "gradient_clip_val": CLIP}
    return learn(mapper, data, command="train_maps", max_epochs=math.ceil(draws / epoch_draws), **running)[0]


def _linear(mixture: str) -> Mixture:
    """The mixture of a file, if its images are linear."""
    sky = Mixture.load(mixture)
    if sky.composites > 0:
        problem = f"{100 * sky.composites:.0f} % of its images are colour composites, maps are learnt from linear ones"
        raise ConfigError(mixture, problem, "Take `representations` out.")
    return sky
