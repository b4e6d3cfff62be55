"""What unlabelled images say to a student: agree with the teacher, and believe it where it is sure.

Functions ``(output, batch) -> scalar`` as in ``training.losses``; ``batch`` holds what ``with_teacher`` put there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mlensing.training.losses import weighted_bce


def disagreement(output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Mean of ``(p - p_teacher)^2`` (Tarvainen & Valpola 2017, arXiv:1703.01780, section 3).

    Of probabilities, not of logits: it is bounded, so that no single image rules a step, and where both are sure, as on
    nearly all of the sky, it is nothing. It needs no threshold, no calibration and no prevalence.

    Arguments:
        output: ``logit`` [B].
        batch: ``teacher_logit`` [B].

    Example:
        >>> disagreement({"logit": torch.zeros(2)}, {"teacher_logit": torch.tensor([0.0, 99.0])})
        tensor(0.1250)
    """
    ours, theirs = output["logit"].float().sigmoid(), batch["teacher_logit"].float().sigmoid()
    return (ours - theirs.detach()).square().mean()


def pseudo_labels(logit: Tensor, threshold: float) -> Tensor:
    """1 where p >= threshold, 0 where p <= 1 - threshold, NaN between.

    Example:
        >>> pseudo_labels(torch.tensor([4.0, 2.0, -2.0, -4.0]), 0.95)
        tensor([1., nan, nan, 0.])
    """
    sure = logit.abs() >= math.log(threshold / (1 - threshold))
    return torch.where(sure, (logit > 0).float(), torch.nan)


def pseudo_bce(output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy with what the teacher is sure of, over all images (Sohn+2020, arXiv:2001.07685, eq. 4).

    An image that it is not sure of costs nothing, and counts in the mean.

    Arguments:
        output: ``logit`` [B].
        batch: ``pseudo_label`` [B] of ``pseudo_labels``; ``positive_weight``, as for ``weighted_bce``.

    Example:
        >>> round(float(pseudo_bce({"logit": torch.zeros(2)}, {"pseudo_label": torch.tensor([1.0, torch.nan])})), 4)
        0.3466
    """
    label = batch["pseudo_label"]
    return weighted_bce(output, {**batch, "label": label}) * (~label.isnan()).float().mean()
