"""Pretraining without labels: the function whose arguments are the flags of ``pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import seed_everything
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Generator

from mlensing.contract import CHANNELS, BandStatistics, ModelContract, Representation
from mlensing.data.cache import CacheSettings
from mlensing.data.cached import CachedSplit
from mlensing.data.normalise import KINDS, Normaliser, measure_statistics
from mlensing.data.pool import margin_within, pooled, tell_rejected
from mlensing.errors import ConfigError
from mlensing.models import build
from mlensing.models.checkpoint import read_checkpoint
from mlensing.provenance import fingerprint, write_json
from mlensing.simulate.composites import SurveyComposites
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.real.sky import RealSky
from mlensing.survey import Survey
from mlensing.training.describe import SOFTENING, new_contract, require_positive, sky_fields
from mlensing.training.finder import Compose, composed
from mlensing.training.mixed import mixed_data
from mlensing.training.moco import Moco
from mlensing.training.numbered import NumberedData, trains_on_gpu, where_to_simulate
from mlensing.training.probing import Probe
from mlensing.training.run import checkpoint_to_resume, learn
from mlensing.training.views import middle, require_possible, room

MEASURED = 1024
"""Images that the statistics of the contract are measured on."""
LEARNING = ("lr", "weight_decay", "warmup", "momentum", "temperature", "hidden", "dimension", "frozen_patches", "seed")
"""Arguments that go to the learner as they are."""
LOOKS = ("shift_px", "rotate_deg", "blur", "dust", "noise")
"""Arguments that go to the views as they are."""
RUNNING = ("resume", "log_dir", "accelerator", "devices", "num_nodes", "strategy", "precision")
"""Arguments that go to the run as they are."""
SIZES = ("seed", "batch_size", "epoch_draws", "validation_draws")
"""Arguments that go to the data as they are."""


def pretrain(
    data: list[str] | None = None,
    *,
    mixture: str | None = None,
    simulated_share: float = 0.5,
    model: str = "resnet18",
    model_options: dict[str, Any] | None = None,
    bands: list[str] | None = None,
    survey: str | None = None,
    pixel_scale: float | None = None,
    input_size: int = 64,
    epochs: int = 100,
    epoch_draws: int = 16384,
    validation_draws: int = 1024,
    batch_size: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 1e-2,
    warmup: float = 0.1,
    momentum: float = 0.99,
    temperature: float = 0.2,
    hidden: int = 1024,
    dimension: int = 256,
    frozen_patches: bool = True,
    shift_px: int = 4,
    rotate_deg: float = 180.0,
    blur: float = 1.0,
    dust: float = 0.1,
    noise: float = 1.0,
    labelled: str | None = None,
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
    """Pretrain a network on images without labels by MoCo v3; `train --init` and `train_live --init` take it up.

    Arguments:
        data: folders (searched in depth) and index CSVs of FITS, PNG, JPEG or .npy images; labels in them are ignored.
            Images that cannot be used are told, counted and left out.
        mixture: YAML file of a simulated sky to learn from too, or alone if there is no data.
        simulated_share: of every batch, where there are both.
        model: architecture, a key of ``mlensing.models.MODELS``; give `train` the same, with the same options.
        model_options: its options, such as ``{width: 32, stem: stride1}``.
        bands: input bands in order; None takes those of the mixture, or blue, green, red of whatever survey.
        survey: preset of files whose header and index row name none.
        pixel_scale: of files that state none [arcsec/px].
        input_size: pixels a side, 32 to 224, as the mixture has. Larger images give the margin that turns and shifts
            draw from; others are filled with sky there.
        epochs: passes over the images; of a simulated sky alone, times ``epoch_draws`` images.
        epoch_draws: images of an epoch of a simulated sky alone.
        validation_draws: images held out for ``val_loss``, at most a tenth of those of files.
        batch_size: images a step and process; others of the batch, over all processes, are what each is told from.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on weights only.
        warmup: share of the steps in which the learning rate rises.
        momentum: of the teacher at the start; it rises to 1.
        temperature: of the softmax over the batch.
        hidden: width of the projection and prediction perceptrons, which are thrown away afterwards.
        dimension: of what is compared.
        frozen_patches: leave a transformer's projection of patches as it was drawn, for stability.
        shift_px: largest shift of the centre [px].
        rotate_deg: largest turn [degrees]; 180 is any angle.
        blur: largest Gaussian by which the PSF is broadened, standard deviation [px].
        dust: scatter of ln(brightness) of bands against each other.
        noise: largest further noise, in units of the image's own sky noise.
        labelled: index CSV or prepared folder of labelled images that judge the features, in ``metrics.csv`` after
            each epoch and in ``features.json`` at the end; nothing is learned from them.
        resume: a ``last.ckpt`` to go on from, or ``auto``: the newest of ``log_dir``, from the start if there is none.
        seed: of weights, order, views and sky.
        accelerator: Lightning's: auto, cpu, gpu, ...
        devices: Lightning's: how many, or which.
        num_nodes: Lightning's: machines.
        strategy: Lightning's: auto, ddp, ...
        precision: arithmetic of the network.
        num_workers: processes that simulate or read ahead; None is 1 where a CPU simulates, else 0.
        log_dir: parent of the folder ``version_N`` of this run, and of ``images``, where usable images are kept.

    Returns:
        path of ``best.ckpt``, that with the lowest ``val_loss``.

    Raises:
        CatalogError, ImageError, ContractError, ConfigError, SurveyError: images, checkpoints or settings that cannot
            be used.
    """
    settings = dict(locals())
    settings["resume"] = resume = checkpoint_to_resume(resume, log_dir)
    require_sound(settings)
    seed_everything(seed, verbose=False)
    sky = None if mixture is None else Mixture.load(mixture)
    wanted = _bands(bands, sky, input_size)
    files = None if not data else _files(data, wanted, settings)
    where = where_to_simulate({**settings, "num_workers": num_workers if sky or num_workers else 0})
    numbered = mixed_data(files, sky, share=simulated_share, **{key: settings[key] for key in SIZES}, **where)
    compose = None if sky is None else SurveyComposites([Survey.load(name) for name in sky.surveys])
    composites = 0.0 if sky is None else sky.composites
    contract = _contract(settings, wanted, files, sky, numbered, compose)
    probe = None if labelled is None else Probe(labelled, contract, survey=survey, seed=seed)
    net = build(model, contract, **contract.options)
    untrained = {} if probe is None else probe.figures(net, Normaliser(contract))
    moco = Moco(
        contract, net, looks={key: settings[key] for key in LOOKS}, composites=composites, compose=compose,
        probe=probe, config=settings, **{key: settings[key] for key in LEARNING},
    )  # fmt: skip
    best, loop = learn(
        moco, numbered, command="pretrain", max_epochs=epochs, patience=None, monitor="val_loss", ema=0.0,
        sync_batchnorm=trains_on_gpu(accelerator), **{key: settings[key] for key in RUNNING},
    )  # fmt: skip
    if probe is not None and loop.is_global_zero:
        _judge(best, probe, untrained)
    loop.strategy.barrier()
    return best


def require_sound(settings: dict[str, Any]) -> None:
    """Refuse numbers that nothing can be learned with.

    Raises:
        ConfigError: naming the first.
    """
    require_positive(**{name: settings[name] for name in ("epochs", "hidden", "dimension")})
    require_possible(**{name: settings[name] for name in LOOKS})
    if settings["batch_size"] < 2:
        problem = f"expected at least 2 images to tell from each other, got {settings['batch_size']}"
        raise ConfigError("batch_size", problem, "Take 256.")
    if not 0 <= settings["momentum"] < 1:
        raise ConfigError("momentum", f"expected a number in [0, 1), got {settings['momentum']}", "Take 0.99.")
    if not settings["temperature"] > 0:
        raise ConfigError("temperature", f"expected more than 0, got {settings['temperature']}", "Take 0.2.")


def _bands(bands: list[str] | None, sky: Mixture | None, input_size: int) -> tuple[str, ...]:
    """The bands of the network, which those of a simulated sky are, as is its size."""
    if sky is None:
        return tuple(bands or CHANNELS)
    own = sky.bands or CHANNELS
    for name, wanted, there in (("bands", tuple(bands or own), own), ("input_size", input_size, sky.size)):
        if wanted != there:
            problem = f"{name} is {wanted}, and the mixture simulates {there}"
            raise ConfigError(name, problem, "Make them the same, or leave the mixture out.")
    return own


def _files(data: list[str], bands: tuple[str, ...], settings: dict[str, Any]) -> CachedSplit:
    """The usable images, with what margin they have for turns and shifts."""
    survey, size = settings["survey"], settings["input_size"]
    index = pooled(
        data, Path(settings["log_dir"]) / "images", bands=bands, survey=survey, pixel_scale=settings["pixel_scale"]
    )
    rank_zero_only(tell_rejected)(index)
    margin = margin_within(index, size, most=room(size, settings["shift_px"], settings["rotate_deg"]))
    return CachedSplit(index, CacheSettings(bands, size + 2 * margin, survey), keep_unlabelled=True)


def _contract(
    settings: dict[str, Any], bands: tuple[str, ...], files: CachedSplit | None, sky: Mixture | None,
    data: NumberedData, compose: Compose | None,
) -> ModelContract:  # fmt: skip
    """What goes into the network, measured on the first images of the training."""
    scales, hashes, seed = [], [], settings["seed"]
    if files is not None:
        scales += [float(s) for s in (files.cache.dx.min(), files.cache.dx.max(), files.cache.dy.max())]
        hashes += [files.cache.checksum.tobytes(), files.cache.path.stem.encode()]
    if sky is not None:
        fields = sky_fields(sky, seed, RealSky(), task="features")
        scales, hashes = [*scales, *fields["pixel_scale"]], [*hashes, fields["training_hash"].encode()]
    share = 0.0 if sky is None else sky.composites
    return new_contract(
        settings["resume"], name=settings["model"], options=settings["model_options"] or {}, bands=bands,
        input_size=settings["input_size"], pixel_scale=(min(scales), max(scales)), task="features",
        statistics=_statistics(files, data, settings, compose, share), training_hash=fingerprint(*hashes),
    )  # fmt: skip


def _statistics(
    files: CachedSplit | None, data: NumberedData, settings: dict[str, Any], compose: Compose | None, share: float
) -> dict[Representation, BandStatistics]:
    """Statistics of every kind of image there is, however rare."""
    size, batch = settings["input_size"], data.sample(min(MEASURED, data.epoch_draws))
    generator = Generator(device=batch["image"].device).manual_seed(settings["seed"])
    shown = composed(middle(batch["image"], size), batch, generator, compose=compose, share=share)
    measured = measure_statistics(*shown, SOFTENING)
    if files is None:
        return measured
    colour = files.cache.composite[files.rows]
    for composite in {bool(value) for value in np.unique(colour)} - {kind == KINDS[1] for kind in measured}:
        rows = files.__getitems__(np.flatnonzero(colour == composite)[:MEASURED].tolist())
        measured |= measure_statistics(middle(rows["image"], size), rows["composite"], SOFTENING)
    return measured


def _judge(best: Path, probe: Probe, untrained: dict[str, float]) -> None:
    """Write ``features.json``, and tell what it says."""
    checkpoint = read_checkpoint(best, tasks=("features",))
    found = probe.figures(checkpoint.network(), Normaliser(checkpoint.contract))
    lenses = int((probe.labels >= 0.5).sum())
    record = {"images": len(probe.labels), "lenses": lenses, "untrained": untrained, "pretrained": found}
    write_json(best.parent.parent / "features.json", record)
    told = ", ".join(f"{name} {value:.4f} (untrained {untrained[name]:.4f})" for name, value in found.items())
    Console(stderr=True, soft_wrap=True).print(f"features of {len(probe.labels)} images: {told}", highlight=False)
