"""Training with a mean teacher: the function whose arguments are the flags of ``train_semi``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import seed_everything

from mlensing.contract import CHANNELS
from mlensing.errors import ConfigError, ContractError
from mlensing.models.checkpoint import read_checkpoint
from mlensing.training.describe import file_contract, require_positive
from mlensing.training.fit import new_finder, running
from mlensing.training.losses import MAP_TERMS, task_of
from mlensing.training.positive_unlabelled import require_prior
from mlensing.training.run import Monitor, checkpoint_to_resume, run
from mlensing.training.semi import MeanTeacher
from mlensing.training.semi_data import PartlyLabelled

TEACHING = ("warmup_epochs", "ema", "consistency", "pseudo", "map_consistency", "prevalence")
"""Arguments that go to the mean teacher as they are."""


def fit_semi(
    data_dir: str,
    *,
    unlabelled: str | None = None,
    warmup_epochs: int = 5,
    epoch_steps: int | None = None,
    consistency: float = 10.0,
    pseudo: float = 1.0,
    map_consistency: float = 0.1,
    prevalence: float | None = None,
    ema: float = 0.999,
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
    class_weight_ratio: float = 1.0,
    composites: float = 0.0,
    shift_px: int = 4,
    rotate_deg: float = 0.0,
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
    sigma_crit: Literal["dimensionless", "physical"] = "dimensionless",
    num_workers: int = 0,
    log_dir: str = "lightning_logs",
) -> Path:
    """Train a finder on prepared images of which only some have labels, with a mean teacher.

    What is validated, kept and used is the teacher, the exponential average of the network that learns; ``best.ckpt``
    is a finder as any other. Until the warm-up ends, unlabelled images have no part in it. Then they are 10 % of a
    batch, rising to 30 %, and a pseudo-label needs a probability of 0.95, falling to 0.85, or as little.

    **Where lenses are rare.** A teacher that has learned from as many lenses as others, and is right about 99 % of
    either, is wrong about 10 of 11 "lenses" among images of which 1 in 1000 is one: its pseudo-labels then teach it its
    own mistakes. With ``prevalence``, the share of lenses among the unlabelled images, its log-odds are moved to that
    share before they meet the threshold (at 1e-3, from an even training set, by -6.9), and so are the student's in that
    loss, so that the finder's own prior stays that of the labels. As far as the teacher is calibrated, pseudo-labels
    are then right as often as the threshold says. Hardly any will be a lens: what is learned is how non-lenses look.
    The consistency loss compares probabilities at the labels' prior, and knows no prevalence. Nothing forces the
    pseudo-labels to a given share of lenses. The columns ``pseudo_lenses`` and ``pseudo_others`` of ``metrics.csv`` are
    the shares of unlabelled images that got such a label.

    Arguments:
        data_dir: folder with ``train/index.csv`` and ``val/index.csv``, as ``prepare`` writes it; training rows without
            a label are used.
        unlabelled: more images without labels, a folder or an index; those that cannot be read are listed and left out.
        warmup_epochs: epochs with labels alone.
        epoch_steps: steps between two validations; None is a pass over as many images as there are, with and without
            labels.
        consistency: weight of the squared difference of the student's and the teacher's probability.
        pseudo: weight of the cross-entropy with pseudo-labels.
        map_consistency: weight of the difference of their kappa, if ``loss`` has terms of maps.
        prevalence: share of lenses among the unlabelled images; None takes that of the labelled ones.
        ema: decay of the teacher, which rises to it: min(ema, (1 + n) / (10 + n)) after n steps.
        batch_size: labelled images a step and process; the unlabelled ones come on top.
        patience: epochs without improvement after which training stops; None never stops early.

    All other arguments are those of ``fit``.

    Returns:
        path of ``best.ckpt``.

    Raises:
        CatalogError, ImageError, ContractError, ConfigError: data, checkpoints or settings that cannot be used.
    """
    settings = dict(locals())
    settings["resume"] = checkpoint_to_resume(resume, log_dir)
    require_positive(batch_size=batch_size, max_epochs=max_epochs, epoch_steps=epoch_steps or 1)
    require_teaching(settings)
    require_prior(loss, None, MAP_TERMS)
    seed_everything(seed, verbose=False)
    data = PartlyLabelled(
        data_dir, unlabelled=unlabelled, epoch_steps=epoch_steps, bands=bands or CHANNELS, input_size=input_size,
        batch_size=batch_size, margin=shift_px, survey=survey, num_workers=num_workers, seed=seed,
        maps=sigma_crit if task_of(loss) == "maps" else None,
    )  # fmt: skip
    contract, compose = file_contract(data, settings)
    data.require_kinds(contract.statistics, composites)
    require_student(settings["resume"])
    teaching = {name: settings[name] for name in TEACHING}
    finder = new_finder(MeanTeacher, contract, settings, compose=compose, **teaching)
    # The teacher is the average: no other one is kept beside it.
    return run(finder, data, command="train_semi", max_epochs=max_epochs, **{**running(settings), "ema": 0.0})


def require_teaching(settings: dict[str, Any]) -> None:
    """Refuse a decay, a prevalence, weights or a warm-up out of range.

    Raises:
        ConfigError: naming the first.
    """
    ema, prevalence = settings["ema"], settings["prevalence"]
    if not 0 < ema < 1:
        raise ConfigError("ema", f"expected a decay in (0, 1), got {ema}", "Take 0.999.")
    if prevalence is not None and not 0 < prevalence < 1:
        raise ConfigError("prevalence", f"expected a share in (0, 1), got {prevalence}", "Take 0.001, or leave it out.")
    for name in ("warmup_epochs", "consistency", "pseudo", "map_consistency"):
        if not 0 <= settings[name] < float("inf"):
            raise ConfigError(name, f"expected 0 or more, got {settings[name]}", "Correct it.")


def require_student(resume: str | None) -> None:
    """Refuse to go on from a checkpoint without a student.

    Raises:
        ContractError: of another training than a mean teacher's.
    """
    if resume is not None and "student" not in read_checkpoint(resume).content:
        problem = "it is not of a training with a mean teacher"
        raise ContractError(resume, problem, "Give the last.ckpt of such a one, or begin from it with --init.")
