"""How good predicted maps are, by lenses of the validation split: what their radii are off by, and their residual.

The deviations of Einstein radius and axis ratio take the errors of pixels as wholly correlated (``physics.aperture``),
which is the largest that the variance of kappa allows. By how much that is too large depends on the network, so it is
measured when training ends. So is the residual lap psi - 2 kappa, without which nobody can tell a large one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from mlensing.models.checkpoint import read_checkpoint
from mlensing.models.maps import inconsistency
from mlensing.physics import axis_ratio_of, einstein_radius_of
from mlensing.training.finder import Finder

FEWEST = 20
"""Lenses below which nothing is measured."""
LEAST = 1e-4
"""The smallest that is stored."""
MEDIAN = 0.6745
"""Median of the modulus of a standard normal number."""


@torch.no_grad()
def learn_map_quality(path: Path, data: LightningDataModule, device: torch.device | str = "cpu") -> None:
    """Store in a checkpoint's contract ``map_spread``, factors of the stated deviations, and ``map_residual``.

    A factor is the median of |error| / stated deviation over that of a normal number: half of the lenses are then
    within 0.67 deviations, whatever the outliers do. The residual is the median of the mean squared ones. With fewer
    than ``FEWEST`` lenses the contract stays as it is.

    Arguments:
        path: a finder's checkpoint, of the task ``maps``.
        data: whose validation batches hold true ``kappa``.
        device: where to compute.
    """
    finder, found = Finder.load(path).to(device), []
    for index, batch in enumerate(data.val_dataloader()):
        batch = {key: value.to(finder.device) for key, value in batch.items()}
        found.append(_measured(finder.output(*finder.validation_images(batch, index), batch), batch).cpu())
    lenses = torch.cat(found)
    radius, ratio, residual = (column[column.isfinite()] for column in lenses.unbind(1))
    if min(len(radius), len(ratio)) < FEWEST:
        return
    checkpoint = read_checkpoint(path)
    spread = tuple(round(max(float(off.median()) / MEDIAN, LEAST), 4) for off in (radius, ratio))
    quality = {"map_spread": spread, "map_residual": max(float(residual.median()), LEAST)}
    checkpoint.with_contract(checkpoint.contract.model_copy(update=quality))


def _measured(output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """|error| / deviation of radius and of axis ratio, and the residual, [N, 3], of lenses with a known kappa."""
    known = batch["kappa"].flatten(1).isfinite().all(1) & (batch["label"] >= 0.5)
    truth, sides = batch["kappa"][known].float(), {name: batch[name][known] for name in ("dx", "dy")}
    maps = {name: output[name][known].float() for name in ("kappa", "kappa_log_variance", "psi")}
    sure, variance = torch.zeros_like(truth), maps["kappa_log_variance"].exp()
    right, said = einstein_radius_of(truth, sure, **sides), einstein_radius_of(maps["kappa"], variance, **sides)
    true_ratio = axis_ratio_of(truth, sure, right.value, **sides)
    ratio = axis_ratio_of(maps["kappa"], variance, said.value, **sides)
    off = [(a.value - b.value).abs() / a.deviation for a, b in ((said, right), (ratio, true_ratio))]
    return torch.stack([*off, inconsistency(maps, sides["dx"], sides["dy"])], 1)
