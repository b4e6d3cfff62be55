"""Training from labelled lenses and unlabelled images: the non-negative risk estimator, and what it asks of settings.

Lenses are taken to be labelled at random (``mlensing.evaluation.propensity`` is for those that are not), and the prior,
the share of lenses among the unlabelled images, to be known: ``mlensing census`` estimates it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mlensing.errors import ConfigError
from mlensing.evaluation.curves import LENS


def nnpu(
    output: Mapping[str, Tensor], batch: Mapping[str, Tensor], *, tolerance: float = 0.0, step: float = 1.0
) -> Tensor:
    """Non-negative risk of positive and unlabelled rows with the logistic loss (Kiryo+2017, arXiv:1703.00593, eq. 6).

    ``r pi E_P[l(z)] + (E_U[l(-z)] - pi E_P[l(-z)])_+`` with ``l(z) = log(1 + exp(-z))``: what a network says of
    unlabelled images, less what lenses among them are expected to add, cannot be below zero. Where it is, the network
    has begun to learn by heart which lenses are labelled, and the step goes the other way (their algorithm 1): its
    gradient is that of ``-step (E_U - pi E_P)`` alone. The minimum lies at ``logit = log(r) + log-odds``, as with
    ``bce``; r = (1 - pi) / pi, which ``fit`` takes, lets lenses and others weigh alike, and keeps the difference of two
    small means from being all noise at a small prior (Su+2021, IJCAI).

    Known non-lenses (label below 0.5) stand beside the unlabelled rows, in the share that they have of the batch:
    ``l(-z)`` is averaged over both, and pi counts for the unlabelled alone. That holds however they were chosen.

    Arguments:
        output: ``logit`` [B].
        batch: ``label`` [B], NaN for unlabelled; ``prior`` (scalar pi: share of lenses among the unlabelled rows);
            ``positive_weight`` (scalar r, 1 when absent).
        tolerance: beta of the paper: how far below zero the difference may be before the step turns.
        step: gamma of the paper: how much of a step that is.

    Raises:
        ConfigError: no prior in the batch.

    Example:
        >>> batch = {"label": torch.tensor([1.0, torch.nan, torch.nan]), "prior": torch.tensor(0.5)}
        >>> logit = torch.tensor([4.0, -9.0, -9.0], requires_grad=True)
        >>> loss = nnpu({"logit": logit}, batch)  # the unlabelled mean is nil, below half of l(-4)
        >>> loss.backward()
        >>> round(loss.item(), 4), bool(logit.grad[0] > 0), bool(logit.grad[1] < 0)
        (0.0091, True, True)
    """
    if "prior" not in batch:
        raise ConfigError("loss", "nnpu needs the share of lenses among unlabelled images", "Give --prior 0.001, say.")
    logit, label, prior = output["logit"].float(), batch["label"].float(), batch["prior"]
    lens, free = label >= LENS, label.isnan()
    share = free.sum() / (~lens).sum().clamp(min=1)  # of the rows that are not labelled lenses
    as_other = softplus(logit)
    known = (1 - share) * _mean(as_other, ~lens & ~free)
    hidden = share * (_mean(as_other, free) - prior * _mean(as_other, lens))
    found = batch.get("positive_weight", 1.0) * prior * share * _mean(softplus(-logit), lens)
    slope = torch.where(hidden >= -tolerance, found + known + hidden, -step * hidden)
    return slope + (found + known + hidden.clamp(min=0) - slope).detach()


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def require_prior(loss: Collection[str] | None, prior: float | None, elsewhere: Collection[str]) -> None:
    """Refuse a loss ``nnpu`` without a prior, a prior without it, and terms that go with labelled images alone.

    Arguments:
        loss: names of the terms.
        prior: share of lenses among the unlabelled images.
        elsewhere: names of terms that do not go with ``nnpu``.

    Raises:
        ConfigError: saying which.
    """
    terms = set(loss or ())
    if (prior is not None) != ("nnpu" in terms):
        problem = "nnpu and prior go together, and only one is given"
        remedy = "Use `mlensing train` with both, --loss '{nnpu: 1.0}' --prior 0.001, or neither."
        raise ConfigError("loss", problem, remedy)
    if prior is not None and not 0 < prior < 1:
        raise ConfigError("prior", f"expected a share in (0, 1), got {prior}", "Take 0.001, say.")
    if "nnpu" in terms and terms & set(elsewhere):
        problem = f"nnpu learns from unlabelled images, and {', '.join(sorted(terms & set(elsewhere)))} from maps"
        raise ConfigError("loss", problem, "Train with nnpu, then add maps with add_maps.")
