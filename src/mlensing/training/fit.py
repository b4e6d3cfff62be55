"""Training, from files or straight from the simulator: the functions whose arguments are the command line's flags."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, TypeVar

from lightning.pytorch import seed_everything

from mlensing.contract import CHANNELS, ModelContract
from mlensing.data.module import LensDataModule
from mlensing.errors import ConfigError
from mlensing.models import build
from mlensing.models.warm_start import warm_start
from mlensing.painted import load_hosts
from mlensing.provenance import fingerprint
from mlensing.simulate.composites import SurveyComposites
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.real.sky import RealSky
from mlensing.training.describe import file_contract, new_contract, require_positive, sky_fields, statistics
from mlensing.training.finder import Finder
from mlensing.training.labelled import Labelled
from mlensing.training.live import live_data
from mlensing.training.losses import MAP_TERMS, task_of
from mlensing.training.positive_unlabelled import require_prior
from mlensing.training.run import Monitor, checkpoint_to_resume, run

F = TypeVar("F", bound=Finder)

MEASURED = 512
"""Simulated samples that the statistics of the contract are measured on."""
LEARNING = (
    "lr", "weight_decay", "warmup", "loss", "composites", "shift_px", "rotate_deg", "seed",
)  # fmt: skip
"""Arguments that go to the finder as they are."""
RUNNING = (
    "patience", "monitor", "ema", "resume", "log_dir",
    "accelerator", "devices", "num_nodes", "strategy", "precision",
)  # fmt: skip
"""Arguments that go to the run as they are."""


def fit(
    data_dir: str,
    *,
    model: str = "resnet18",
    model_options: dict[str, Any] | None = None,
    bands: list[str] | None = None,
    survey: str | None = None,
    input_size: int = 64,
    max_epochs: int = 50,
    batch_size: int = 64,
    lr: float = 1e-3,
    weight_decay: float = 1e-4,
    warmup: float = 0.1,
    loss: dict[str, float] | None = None,
    prior: float | None = None,
    class_weight_ratio: float = 1.0,
    composites: float = 0.0,
    shift_px: int = 4,
    rotate_deg: float = 0.0,
    ema: float = 0.0,
    patience: int = 10,
    monitor: Monitor = "val_loss",
    init: str | None = None,
    resume: str | None = None,
    seed: int = 42,
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
    sigma_crit: Literal["dimensionless", "physical"] = "dimensionless",
    num_workers: int = 0,
    log_dir: str = "lightning_logs",
) -> Path:
    """Train a finder on prepared images.

    Arguments:
        data_dir: folder with ``train/index.csv`` and ``val/index.csv``, as ``prepare`` writes it.
        model: architecture, a key of ``mlensing.models.MODELS``.
        model_options: its options, such as ``{width: 32, stem: stride1, dropout: 0.2}``.
        bands: input bands in order; None takes blue, green, red of whatever survey.
        survey: preset of files whose header and index row name none.
        input_size: pixels a side, 32 to 224.
        max_epochs: passes over the training split at most.
        batch_size: images a step and process.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on weights only.
        warmup: share of the steps in which the learning rate rises.
        loss: weights of the terms of ``mlensing.training.losses.LOSSES``; None is ``{bce: 1.0}``. Terms of maps, as in
            ``{bce: 1.0, kappa: 1.0, poisson: 0.1}``, give the network a map head, which learns from the images' maps.
            ``{nnpu: 1.0}`` learns from labelled lenses and unlabelled images, and needs no non-lenses.
        prior: with ``nnpu``, the share of lenses among the unlabelled images, which are then kept; ``census`` estimates
            it. val_auroc is then (AUC of labelled against others - prior / 2) / (1 - prior), which chance may take
            beyond 1.
        class_weight_ratio: w_pos / w_neg of the cross-entropy; with ``nnpu``, beyond that by which both weigh alike.
        composites: share of linear images that are turned into 8-bit colour composites, 0 to 1, in the style of
            ``survey`` or of any preset; their flux must be at AB zero point 30, as the simulator writes it.
        shift_px: largest shift of the centre in augmentation [px].
        rotate_deg: largest small rotation in augmentation [degrees].
        ema: decay of an average of the weights that is validated and kept, such as 0.999; 0 for none.
        patience: epochs without improvement after which training stops.
        monitor: what decides which epoch is best.
        init: weights to start from: a checkpoint or a ``state_dict``.
        resume: a ``last.ckpt`` to go on from, or ``auto``: the newest of ``log_dir``, from the start if there is none.
        seed: of weights, order, augmentation and dropout.
        accelerator: Lightning's: auto, cpu, gpu, ...
        devices: Lightning's: how many, or which.
        num_nodes: Lightning's: machines.
        strategy: Lightning's: auto, ddp, ...
        precision: arithmetic of the network.
        sigma_crit: what the files' maps KAPPA hold: kappa, or (``physical``) surface density [Msun/pc^2], which is
            divided by each row's sigma_crit.
        num_workers: processes that copy pixels ahead of the network; the cache rarely needs any.
        log_dir: parent of the folder ``version_N`` of this run.

    Returns:
        path of ``best.ckpt``.

    Raises:
        CatalogError, ImageError, ContractError, ConfigError: data, checkpoints or settings that cannot be used.
    """
    settings = dict(locals())
    settings["resume"] = checkpoint_to_resume(resume, log_dir)
    require_positive(batch_size=batch_size, max_epochs=max_epochs)
    seed_everything(seed, verbose=False)
    require_prior(loss, prior, MAP_TERMS)
    task = task_of(loss)
    data = LensDataModule(
        data_dir, bands=bands or CHANNELS, input_size=input_size, batch_size=batch_size, margin=shift_px,
        survey=survey, num_workers=num_workers, seed=seed, maps=sigma_crit if task == "maps" else None,
        keep_unlabelled=prior is not None,
    )  # fmt: skip
    contract, compose = file_contract(data, settings)
    finder = new_finder(Finder, contract, settings, compose=compose, prior=prior)
    return run(finder, data, command="train", max_epochs=max_epochs, **running(settings))


def fit_live(
    mixture: str,
    *,
    draws: int,
    epoch_draws: int = 4096,
    validation_draws: int = 1024,
    model: str = "resnet18",
    model_options: dict[str, Any] | None = None,
    batch_size: int = 64,
    lr: float = 1e-3,
    weight_decay: float = 1e-4,
    warmup: float = 0.1,
    loss: dict[str, float] | None = None,
    class_weight_ratio: float = 1.0,
    shift_px: int = 0,
    rotate_deg: float = 0.0,
    ema: float = 0.0,
    patience: int | None = None,
    monitor: Monitor = "val_loss",
    init: str | None = None,
    resume: str | None = None,
    seed: int = 42,
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
    num_workers: int | None = None,
    log_dir: str = "lightning_logs",
    sources: str | None = None,
    psfs: str | None = None,
    psf_scale: float | None = None,
    hosts: str | None = None,
    survey: str | None = None,
    pixel_scale: float | None = None,
    psf_fwhm: float | list[float] | None = None,
    stretch: int | None = None,
    labelled: str | None = None,
    labelled_share: float = 0.25,
) -> Path:
    """Train a finder on a simulated sky, with no files at all; no sample is seen twice.

    Arguments:
        mixture: YAML file that says what to simulate, such as ``configs/paper_synthetic.yaml``.
        draws: simulated samples in all, rounded up to whole epochs.
        epoch_draws: samples between two validations; each ends with a checkpoint to resume from.
        validation_draws: samples of the fixed validation set, from another sky than the training's.
        patience: epochs without improvement after which training stops; None never stops early.
        shift_px: further centroid shifts than those of the simulated sky [px]; they lay the border open.
        num_workers: processes that simulate ahead on the CPU; None is 1 there, and 0 on a GPU, which simulates
            for itself.
        sources: folder of real galaxies to lens, a GalSim RealGalaxyCatalog such as that of COSMOS; None draws
            Sersic profiles.
        psfs: FITS file or folder of measured PSFs; None takes Moffat profiles of each survey's seeing.
        psf_scale: of PSF files that state no pixel scale [arcsec/px].
        hosts: real images to paint arcs on, a folder or an index CSV; all but lenses are then these as they are. One
            in five validates.
        survey: preset of hosts whose header names none.
        pixel_scale: of hosts that state none [arcsec/px].
        psf_fwhm: PSF of the hosts, one or one a band [arcsec]; None takes the survey's.
        stretch: which of the survey's colour stretches pictures among them have, from 0; None tries all.
        labelled: folder of labelled images, as ``prepare`` writes it, that are mixed into every batch: with ``init``,
            a finder is tuned to a survey with a few hundred labels, and forgets nothing of the rest.
        labelled_share: of every batch, half of it lenses.

    All other arguments are those of ``fit``; how many become colour composites is the mixture's to say.

    Returns:
        path of ``best.ckpt``.

    Raises:
        ConfigError, ContractError, SurveyError: settings, checkpoints or surveys that cannot be used.
    """
    settings = dict(locals())
    settings["resume"] = resume = checkpoint_to_resume(resume, log_dir)
    if draws < 1:
        raise ConfigError("draws", f"expected at least 1, got {draws}", "Take 40000 or more to learn something.")
    seed_everything(seed, verbose=False)
    require_prior(loss, None, MAP_TERMS)
    sky = Mixture.load(mixture)
    painted = load_hosts(sky, hosts=hosts, survey=survey, pixel_scale=pixel_scale, psf_fwhm=psf_fwhm, stretch=stretch)
    real = RealSky.load(sources, psfs, psf_scale, painted)
    settings["composites"] = sky.composites
    task = task_of(loss)
    fields = {**sky_fields(sky, seed, real), "class_weight_ratio": class_weight_ratio, "task": task}
    mixed = None
    if labelled is not None:
        margin = math.ceil(sky.dither)
        mixed = Labelled.of(labelled, share=labelled_share, contract=fields, margin=margin, seed=seed)
        fields["training_hash"] = fingerprint(
            *(text.encode() for text in (fields["training_hash"], mixed[0].fingerprint))
        )
    data = live_data(sky, settings, real=real, labelled=mixed, maps=task == "maps")
    compose = SurveyComposites(data.train.simulator.surveys)
    measured = statistics(data.sample(MEASURED), composites=sky.composites, compose=compose, seed=seed)
    if mixed is not None:
        mixed[0].require_kinds(measured)
    contract = new_contract(resume, name=model, options=model_options or {}, statistics=measured, **fields)
    finder = new_finder(Finder, contract, settings, compose=compose)
    return run(finder, data, command="train", max_epochs=math.ceil(draws / epoch_draws), **running(settings))


def new_finder(kind: type[F], contract: ModelContract, settings: dict[str, Any], **more: Any) -> F:
    """What is to learn, with the weights of ``init`` if the settings name one.

    Arguments:
        kind: ``Finder``, or a class made of it.
        settings: arguments of the training.
        more: further arguments of ``kind``.

    Raises:
        ConfigError, ContractError: a network or weights that cannot be used.
    """
    net = build(contract.name, contract, **contract.options)
    if settings["init"] is not None:
        warm_start(net, settings["init"])
    return kind(contract, net, config=settings, **{key: settings[key] for key in LEARNING}, **more)


def running(settings: dict[str, Any]) -> dict[str, Any]:
    """Of the arguments of a training those of ``run``."""
    return {key: settings[key] for key in RUNNING}
