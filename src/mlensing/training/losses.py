"""Losses: functions ``(output, batch) -> scalar``, summed with the weights a configuration gives them.

``output`` maps names to what the network says (``logit`` [B]; with a map head ``kappa``, ``kappa_log_variance``,
``psi`` [B, H, W]); ``batch`` holds what the sample dict holds, ``positive_weight``, the class-weight ratio, and for
``nnpu`` the ``prior``.
YAML: ``loss: {bce: 1.0, poisson: 0.1, kappa: 1.0}``, which is classification + lambda physics.

The terms of maps count lenses whose true kappa is there (finite), pixel by pixel, without the border and without what a
``mask`` covers; a batch without any gives zero. psi and alpha are compared up to what no image tells of them. A batch
without ``label`` is of lenses alone; one with ``trusted`` says itself where derivatives hold (``gnn.truth``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mlensing.errors import ConfigError
from mlensing.evaluation.curves import LENS
from mlensing.models.maps import BORDER, CORE
from mlensing.physics import gradient, interior_mask, poisson_residual, without_plane
from mlensing.training.positive_unlabelled import nnpu

BETA = 0.5
"""Power of the variance that weights the Gaussian likelihood of kappa."""

Loss = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]


def weighted_bce(output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Weighted binary cross-entropy: mean of ``-(r y log p + (1 - y) log(1 - p))``, r = w_pos / w_neg.

    Its minimum lies at ``logit = log(r) + log-odds``; the contract keeps r so that the shift can be undone.

    Arguments:
        output: ``logit`` [B].
        batch: ``label`` [B] in [0, 1], soft labels welcome, NaN (unlabelled) left out; ``positive_weight``
            (scalar r, 1 when absent).

    Example:
        >>> batch = {"label": torch.tensor([1.0, 0.0, torch.nan]), "positive_weight": torch.tensor(3.0)}
        >>> round(float(weighted_bce({"logit": torch.zeros(3)}, batch)), 4)  # (3 + 1) log(2) / 2
        1.3863
    """
    label = batch["label"].float()
    known = ~torch.isnan(label)
    loss = binary_cross_entropy_with_logits(
        output["logit"].float(),
        label.nan_to_num(0.0),
        reduction="none",
        pos_weight=batch.get("positive_weight"),
    )
    return (loss * known).sum() / known.sum().clamp(min=1)


def usable(batch: Mapping[str, Tensor], *, core: float) -> Tensor:
    """Pixels [B, H, W] of lenses with a known kappa, the border and a core of so many pixels left out.

    A core of 0 leaves out no more than a pixel whose middle is that of the image. Where there is a core to leave out
    and the batch has ``trusted``, it is that, known or not.

    Example:
        >>> kappa = torch.ones(3, 8, 8)
        >>> kappa[2] = torch.nan
        >>> usable({"label": torch.tensor([1.0, 0.0, 1.0]), "kappa": kappa}, core=0.0).sum((1, 2)).tolist()
        [36, 0, 0]
    """
    kappa = batch["kappa"]
    if core and "trusted" in batch:
        return batch["trusted"]
    keep = kappa.isfinite()
    if "label" in batch:
        keep = keep & (batch["label"] >= LENS)[:, None, None]
    if "mask" in batch:
        keep = keep & ~batch["mask"]
    inside = interior_mask(*kappa.shape[-2:], dx=1.0, dy=1.0, border=BORDER, core=core, device=kappa.device)
    return keep & inside


def masked_mean(values: Tensor, keep: Tensor) -> Tensor:
    """Mean of ``values`` over ``keep``; zero, with a gradient, where there is nothing. NaN outside does no harm.

    Example:
        >>> masked_mean(torch.tensor([1.0, torch.nan]), torch.tensor([True, False]))
        tensor(1.)
    """
    return torch.where(keep, values, 0.0).sum() / keep.sum().clamp(min=1)


def poisson(output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Mean of ``(lap psi - 2 kappa)^2`` of what is predicted: psi in arcsec^2, ``dx``, ``dy`` [B] in arcsec/px.

    By itself maps that are zero satisfy it: give ``kappa`` or ``psi`` a weight too.

    Example:
        >>> row = (torch.arange(9.0) - 4) * 0.5
        >>> psi = (row**2 + row[:, None] ** 2)[None] / 2
        >>> batch = {"label": torch.ones(1), "kappa": torch.ones(1, 9, 9), "dx": torch.tensor([0.5])}
        >>> poisson({"psi": psi, "kappa": torch.full((1, 9, 9), 1.5)}, {**batch, "dy": batch["dx"]})
        tensor(1.)
    """
    residual = poisson_residual(output["psi"], output["kappa"], dx=batch["dx"], dy=batch["dy"])
    return masked_mean(residual.square(), usable(batch, core=CORE))


def kappa_nll(output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Gaussian likelihood of the true kappa, weighted by variance^beta (Seitzer+2022, arXiv:2203.09168).

    ``mean of var^beta ((kappa - mu)^2 / var + log var) / 2`` with beta = 1/2, the weight without a gradient: hard
    pixels are not given up. The core counts: the mass within it is part of every Einstein radius.

    Example:
        >>> truth = {"label": torch.ones(1), "kappa": torch.ones(1, 9, 9)}
        >>> said = {"kappa": torch.full((1, 9, 9), 3.0), "kappa_log_variance": torch.zeros(1, 9, 9)}
        >>> kappa_nll(said, truth)
        tensor(2.)
    """
    keep, predicted, log_variance = usable(batch, core=0.0), output["kappa"], output["kappa_log_variance"]
    truth = torch.where(keep, batch["kappa"], predicted.detach())  # a NaN would reach the gradient through the square
    far = (truth - predicted).square() / log_variance.exp()
    weight = (BETA * log_variance).exp().detach()
    return masked_mean(weight * (far + log_variance) / 2, keep)


def psi_error(output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Mean square of psi less the true psi, in arcsec^4, after the plane that fits the difference is taken away.

    Example:
        >>> truth = {"label": torch.ones(1), "kappa": torch.ones(1, 9, 9), "psi": torch.zeros(1, 9, 9)}
        >>> bool(psi_error({"psi": torch.arange(9.0).expand(1, 9, 9) + 4}, truth) < 1e-6)
        True
    """
    keep = usable(batch, core=0.0) & batch["psi"].isfinite()
    return masked_mean(without_plane(output["psi"] - batch["psi"], keep).square(), keep)


def alpha_error(output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Mean square of grad psi less the true alpha, in arcsec^2, after its mean, a shift of the source, is taken away.

    Example:
        >>> row = torch.arange(9.0)
        >>> batch = {"label": torch.ones(1), "kappa": torch.ones(1, 9, 9), "alpha": torch.zeros(1, 2, 9, 9)}
        >>> spacing = {"dx": torch.ones(1), "dy": torch.ones(1)}
        >>> alpha_error({"psi": row.expand(1, 9, 9)}, {**batch, **spacing})
        tensor(0.)
    """
    keep = usable(batch, core=CORE) & batch["alpha"].isfinite().all(1)
    predicted = torch.stack(gradient(output["psi"], dx=batch["dx"], dy=batch["dy"]), 1)
    apart = torch.where(keep[:, None], predicted - batch["alpha"], 0.0)
    shift = apart.sum((2, 3)) / keep.sum((1, 2)).clamp(min=1)[:, None]
    return masked_mean((apart - shift[..., None, None]).square().sum(1), keep)


def consistency(output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Square difference of kappa from a teacher's over one plus the teacher's variance: unlabelled images teach too.

    No gradient reaches the teacher. If the two saw different views, its maps must have been turned back before.

    Arguments:
        output: ``kappa`` [B, H, W].
        batch: ``teacher_kappa``, ``teacher_kappa_log_variance`` [B, H, W], see :func:`with_teacher`; where a
            ``teacher_mask`` is True nothing is compared.

    Raises:
        ConfigError: no teacher in the batch.

    Example:
        >>> said = {"kappa": torch.ones(1, 2, 2), "kappa_log_variance": torch.zeros(1, 2, 2)}
        >>> consistency({"kappa": torch.zeros(1, 2, 2)}, with_teacher({}, said)).item()
        0.5
    """
    if "teacher_kappa" not in batch:
        raise ConfigError("loss", "consistency needs a teacher", "Give one, or take the term out.")
    precision = 1 / (1 + batch["teacher_kappa_log_variance"].detach().exp())  # a confident teacher must not blow up
    apart = precision * (output["kappa"] - batch["teacher_kappa"].detach()).square()
    return masked_mean(apart, ~batch.get("teacher_mask", torch.zeros_like(apart, dtype=torch.bool)))


def with_teacher(batch: Mapping[str, Tensor], output: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch with what a teacher says of its images, as ``teacher_kappa`` and so on.

    Example:
        >>> sorted(with_teacher({"dx": torch.ones(1)}, {"psi": torch.zeros(1, 2, 2)}))
        ['dx', 'teacher_psi']
    """
    return {**batch, **{f"teacher_{name}": value.detach() for name, value in output.items()}}


LOSSES: dict[str, Loss] = {
    "bce": weighted_bce,
    "nnpu": nnpu,
    "poisson": poisson,
    "kappa": kappa_nll,
    "psi": psi_error,
    "alpha": alpha_error,
    "consistency": consistency,
}
MAP_TERMS = ("kappa", "psi", "alpha", "poisson")
"""Terms that need a map head, and true maps to learn from."""


def task_of(terms: Mapping[str, float] | None) -> Literal["classification", "maps"]:
    """The task of a contract that a loss asks for.

    Example:
        >>> task_of({"bce": 1.0, "poisson": 0.1, "kappa": 1.0}), task_of(None)
        ('maps', 'classification')
    """
    return "maps" if set(terms or ()) & set(MAP_TERMS) else "classification"


def total_loss(terms: Mapping[str, float], *, known: Collection[str] = ("bce", "nnpu", *MAP_TERMS)) -> Loss:
    """One loss from named, weighted ones.

    Arguments:
        terms: weights by name.
        known: names that can be had here; ``consistency`` takes a teacher.

    Raises:
        ConfigError: no term, or an unknown name.

    Example:
        >>> loss = total_loss({"bce": 2.0})
        >>> round(float(loss({"logit": torch.zeros(1)}, {"label": torch.ones(1)})), 4)
        1.3863
    """
    unknown = sorted(set(terms) - set(known))
    if unknown or not terms:
        problem = f"unknown term {', '.join(unknown)}" if unknown else "no term"
        example = next(iter(known))
        raise ConfigError("loss", problem, f"Known: {', '.join(known)}; for instance loss: {{{example}: 1.0}}.")
    if set(terms) & set(MAP_TERMS) == {"poisson"}:
        warnings.warn("loss: maps that are zero satisfy poisson; give kappa or psi a weight beside it", stacklevel=2)

    return partial(_combined, dict(terms))


def _combined(terms: Mapping[str, float], output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([weight * LOSSES[name](output, batch) for name, weight in terms.items()]).sum()
