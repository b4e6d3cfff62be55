"""Losses: functions ``(output, batch) -> scalar``, summed with the weights a configuration gives them.

``output`` maps names to what the network says (``logit`` [B]); ``batch`` holds what the sample dict holds,
and ``positive_weight``, the class-weight ratio. YAML: ``loss: {bce: 1.0}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mlensing.errors import ConfigError

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


LOSSES: dict[str, Loss] = {
    "bce": weighted_bce,
}


def total_loss(terms: Mapping[str, float]) -> Loss:
    """One loss from named, weighted ones.

    Raises:
        ConfigError: no term, or an unknown name.

    Example:
        >>> loss = total_loss({"bce": 2.0})
        >>> round(float(loss({"logit": torch.zeros(1)}, {"label": torch.ones(1)})), 4)
        1.3863
    """
    unknown = sorted(set(terms) - set(LOSSES))
    if unknown or not terms:
        problem = f"unknown term {', '.join(unknown)}" if unknown else "no term"
        raise ConfigError("loss", problem, f"Known: {', '.join(LOSSES)}; for instance loss: {{bce: 1.0}}.")

    return partial(_combined, dict(terms))


def _combined(terms: Mapping[str, float], output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([weight * LOSSES[name](output, batch) for name, weight in terms.items()]).sum()
