"""Unlabelled batches: images of files in shuffled order, simulated ones, or both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from mlensing.data.cached import CachedSplit
from mlensing.data.normalise import sky
from mlensing.data.split import assign_splits
from mlensing.errors import ConfigError
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.simulator import BLOCK
from mlensing.training.live import SimulatedBatches, other_sky
from mlensing.training.numbered import Batch, NumberedBatches, NumberedData

HELD_OUT = 0.1
"""Largest share of the files that validates."""


class MixedBatches(NumberedBatches):
    """Item i is the i-th batch: rows of files, then rows of a simulated sky.

    A pass over the files shuffles them anew; no batch holds one twice, and the few that fill no batch of a pass are
    left out, other ones each time. No simulated sample is ever used twice.

    Arguments:
        files: images; None is a simulated sky alone.
        skies: the simulated sky in batches of its block; None is files alone.
        simulated: rows of a batch that are simulated.
        batch_size: rows of a batch.
        seed: of the order of files.

    Raises:
        ConfigError: fewer files than a batch takes.
    """

    def __init__(
        self, files: CachedSplit | None, skies: SimulatedBatches | None, *, simulated: int, batch_size: int, seed: int
    ) -> None:
        self.files, self.skies, self.seed = files, skies, seed
        self.simulated, self.read = simulated, batch_size - simulated
        if files is not None and len(files) < self.read:
            problem = f"a batch takes {self.read} images of files, and there are {len(files)} to train on"
            raise ConfigError("batch_size", problem, "Take a smaller --batch_size, or give more images.")
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, dtype=np.int64))
        self._block: tuple[int, Batch] = (-1, {})

    def move(self, device: str) -> None:
        """Simulate there from now on."""
        if self.skies is not None:
            self.skies.move(device)
            self._block = (-1, {})

    def __getitem__(self, number: int) -> Batch:
        parts = [part for part in (self._drawn(number), self._made(number)) if part]
        if len(parts) == 1:
            return parts[0]
        drawn, made = parts
        made["image"] = _framed(made["image"], drawn["image"].shape[-1])
        return {name: torch.cat([drawn[name].to(made[name].device), made[name]]) for name in made}

    def _drawn(self, number: int) -> Batch:
        """The rows of files of a batch."""
        if self.files is None:
            return {}
        turn, place = divmod(number, len(self.files) // self.read)
        if self._order[0] != turn:
            self._order = turn, np.random.default_rng([self.seed, turn]).permutation(len(self.files))
        rows = self.files.__getitems__(self._order[1][place * self.read : (place + 1) * self.read].tolist())
        as_is = torch.ones(self.read, dtype=torch.bool)  # their zero point is not known: no composites are made
        return _named(rows, survey=torch.zeros(self.read, dtype=torch.int64), as_is=as_is)

    def _made(self, number: int) -> Batch:
        """The simulated rows of a batch, however blocks and batches meet."""
        if self.skies is None:
            return {}
        at, end, parts = number * self.simulated, (number + 1) * self.simulated, []
        while at < end:
            block, first = divmod(at, BLOCK)
            if self._block[0] != block:
                self._block = block, self.skies[block]
            last = min(BLOCK, first + end - at)
            parts.append({name: values[first:last] for name, values in self._block[1].items()})
            at += last - first
        rows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return _named(rows, survey=rows["survey"], as_is=torch.zeros_like(rows["composite"]))


def mixed_data(
    files: CachedSplit | None,
    mixture: Mixture | None,
    *,
    share: float,
    seed: int,
    batch_size: int,
    epoch_draws: int,
    validation_draws: int,
    **where: Any,
) -> NumberedData:
    """Data of a training without labels.

    With files, an epoch is a pass over them, and some of them validate: a tenth, at most as many as are asked for,
    with the objects that they show, if the index names groups.

    Arguments:
        files: images; None is a simulated sky alone.
        mixture: the simulated sky; None is files alone.
        share: of every batch that is simulated, where there are both.
        seed: of order, sky, and the choice of those that validate.
        batch_size: images a step and process.
        epoch_draws: simulated images of an epoch, where there are no files.
        validation_draws: images that validate.
        where: ``on_device``, ``num_workers``, as ``NumberedData``.

    Raises:
        ConfigError: no images at all, fewer than a batch takes, or a share out of range.
    """
    simulated = _rows_simulated(files, mixture, share, batch_size)
    read = batch_size - simulated
    seen, unseen = (None, None) if files is None else _divided(files, validation_draws * read // batch_size, seed)

    def batches(split: CachedSplit | None, sky_seed: int, size: int) -> MixedBatches:
        skies = None if mixture is None else SimulatedBatches(mixture, seed=sky_seed, batch_size=BLOCK)
        return MixedBatches(split, skies, simulated=simulated, batch_size=size, seed=seed)

    held_out = batch_size if unseen is None else simulated + min(read, len(unseen))
    train, held_apart = batches(seen, seed, batch_size), batches(unseen, other_sky(seed), held_out)
    if seen is not None and unseen is not None:
        epoch_draws = len(seen) // read * batch_size
        validation_draws = min(validation_draws, len(unseen) // held_apart.read * batch_size)
    return NumberedData(
        train, held_apart, batch_size=batch_size, epoch_draws=epoch_draws,
        validation_draws=max(validation_draws, batch_size), **where,
    )  # fmt: skip


def _rows_simulated(files: CachedSplit | None, mixture: Mixture | None, share: float, batch_size: int) -> int:
    if files is None and mixture is None:
        raise ConfigError("data", "neither images nor a mixture to simulate", "Give --data, --mixture, or both.")
    if files is None or mixture is None:
        return 0 if mixture is None else batch_size
    simulated = round(share * batch_size)
    if not 0 < simulated < batch_size:
        problem = f"a share of {share} is {simulated} of {batch_size} images of a batch"
        raise ConfigError("simulated_share", problem, "Take 0.5, or leave out --data or --mixture.")
    return simulated


def _divided(files: CachedSplit, most: int, seed: int) -> tuple[CachedSplit, CachedSplit]:
    """Images to train on, and images to validate on: objects of their own."""
    share = min(HELD_OUT, most / len(files))
    split = assign_splits(files.catalog.table.assign(label=0.0), np.array([1.0 - share, share, 0.0]), seed)
    if not (split == 1).any() or not (split == 0).any():
        problem = f"{len(files)} images are too few to hold some back"
        raise ConfigError("data", problem, "Give 20 or more, of more than one group.")
    return files.part(split == 0), files.part(split == 1)


def _named(rows: Mapping[str, Tensor], **more: Tensor) -> Batch:
    """What training without labels asks of a batch."""
    return {name: rows[name] for name in ("image", "composite", "dx", "dy")} | more


def _framed(image: Tensor, size: int) -> Tensor:
    """Images in the middle of frames of ``size`` filled with their sky level."""
    border = size - image.shape[-1]
    if border <= 0:
        return image
    level = sky(image)[0][..., None, None]
    return pad(image - level, (border // 2, border - border // 2) * 2) + level
