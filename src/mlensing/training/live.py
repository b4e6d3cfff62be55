"""Batches straight from the simulator: training without a single file.

Batch i is made of the blocks ``i n`` to ``i n + n - 1`` of the simulated sky, whoever asks for it: workers, ranks
and restarts cannot change the order, and no block is ever used twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch

from mlensing.errors import ConfigError
from mlensing.provenance import fingerprint
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.real.sky import RealSky
from mlensing.simulate.simulator import BLOCK, Simulator
from mlensing.training.labelled import Batch, Labelled, LabelledPair
from mlensing.training.numbered import NumberedBatches, NumberedData, where_to_simulate


class SimulatedBatches(NumberedBatches):
    """Item i is the i-th batch of the simulated sky.

    Arguments:
        mixture: what to simulate.
        seed: of the whole sky.
        batch_size: a multiple of the simulator's block.
        device: where to simulate.
        real: real galaxies and PSFs.
        labelled: images that take the place of some.
        maps: also the true ``kappa``, ``psi`` and ``alpha``.
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        seed: int,
        batch_size: int,
        device: str = "cpu",
        real: RealSky | None = None,
        labelled: Labelled | None = None,
        maps: bool = False,
    ) -> None:
        self.mixture, self.seed, self.batch_size, self.device = mixture, seed, batch_size, device
        self.real, self.labelled, self.maps = real or RealSky(), labelled, maps

    def move(self, device: str) -> None:
        """Simulate elsewhere from now on."""
        if device != self.device:
            self.device = device
            vars(self).pop("simulator", None)  # its tables lie on the other device

    @cached_property
    def simulator(self) -> Simulator:
        """Made where it is first used: in the worker, when there is one."""
        return Simulator(self.mixture, seed=self.seed, device=self.device, **self.real.parts())

    def __getitem__(self, index: int) -> Batch:
        batch = self.simulated(index)
        return batch if self.labelled is None else self.labelled.mixed(batch, index)

    def simulated(self, index: int) -> Batch:
        """The i-th batch before labelled images are mixed in."""
        count = self.batch_size // BLOCK
        blocks = [self.simulator.block(index * count + i, maps=self.maps) for i in range(count)]
        batch = {key: torch.cat([block[key] for block in blocks]) for key in blocks[0]}
        hosts = self.real.hosts
        composite = torch.full_like(batch["label"], hosts is not None and hosts.colour, dtype=torch.bool)
        return {**batch, "composite": composite, "dy": batch["dx"]}


class LiveData(NumberedData):
    """Simulated training batches without end, and a fixed set of validation batches from another sky.

    Arguments:
        mixture: what to simulate.
        seed: of the training sky; the validation sky's seed is derived from it.
        batch_size: a multiple of the simulator's block.
        real: real galaxies, PSFs and hosts; every fifth group of hosts serves validation only.
        labelled: images to mix into training and into validation.
        maps: also the true maps of the simulated lenses; labelled images have none.

    All other arguments are those of ``NumberedData``.

    Raises:
        ConfigError: a batch size that blocks do not fill, or epochs shorter than a batch.
    """

    train: SimulatedBatches
    held_apart: SimulatedBatches

    def __init__(
        self,
        mixture: Mixture,
        *,
        seed: int,
        batch_size: int = 64,
        epoch_draws: int = 4096,
        validation_draws: int = 1024,
        on_device: bool = False,
        num_workers: int = 0,
        real: RealSky | None = None,
        labelled: LabelledPair | None = None,
        maps: bool = False,
    ) -> None:
        if batch_size < BLOCK or batch_size % BLOCK:
            problem = f"expected a multiple of the simulator's block of {BLOCK}, got {batch_size}"
            raise ConfigError("batch_size", problem, "Take 64.")
        seen, unseen = (real or RealSky()).divided()
        mine, theirs = labelled or (None, None)
        common: dict[str, Any] = {"batch_size": batch_size, "maps": maps}
        super().__init__(
            SimulatedBatches(mixture, seed=seed, real=seen, labelled=mine, **common),
            SimulatedBatches(mixture, seed=other_sky(seed), real=unseen, labelled=theirs, **common),
            batch_size=batch_size, epoch_draws=epoch_draws, validation_draws=validation_draws,
            on_device=on_device, num_workers=num_workers,
        )  # fmt: skip

    def sample(self, count: int) -> Batch:
        """The first ``count`` simulated training samples (rounded up to whole batches) as one batch."""
        batches = [self.train.simulated(i) for i in range(math.ceil(count / self.batch_size))]
        return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def other_sky(seed: int) -> int:
    """The seed of the sky that validates a training on the sky of this seed."""
    return int(fingerprint(f"validation {seed}".encode())[:7], 16)


def live_data(sky: Mixture, settings: Mapping[str, Any], **more: Any) -> LiveData:
    """The data of a training: simulated on its GPU, or on the CPU by processes of their own.

    Arguments:
        sky: what to simulate.
        settings: of the training: ``seed``, ``batch_size``, ``epoch_draws``, ``validation_draws``, ``accelerator``,
            and ``num_workers``, of which None is 1 on the CPU and 0 on a GPU.
        more: arguments of ``LiveData``.

    Raises:
        ConfigError: as ``LiveData``.
    """
    sizes = {name: settings[name] for name in ("seed", "batch_size", "epoch_draws", "validation_draws")}
    return LiveData(sky, **sizes, **where_to_simulate(settings), **more)
