"""Training data that are made as they are needed: batches known by their numbers.

Batch i is the same whoever asks for it: workers, ranks and restarts cannot change the order, and no number is used
twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mlensing.errors import ConfigError
from mlensing.simulate.simulator import BLOCK

Batch = dict[str, Tensor]


class NumberedBatches(Dataset[Batch]):
    """Item i is the i-th batch of a training, whoever asks for it."""

    def move(self, device: str) -> None:
        """Make what is made, such as simulated images, elsewhere from now on."""


class EpochSampler(Sampler[int]):
    """The next ``batches`` numbers of each epoch; ranks take turns.

    Example:
        >>> sampler = EpochSampler(3, rank=1, world=2)
        >>> sampler.set_epoch(1)
        >>> list(sampler)
        [7, 9, 11]
    """

    def __init__(self, batches: int, *, rank: int = 0, world: int = 1) -> None:
        self.batches, self.rank, self.world, self.epoch = batches, rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch, the first one after a restart included."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.batches * self.world
        return iter(range(start + self.rank, start + self.batches * self.world, self.world))

    def __len__(self) -> int:
        return self.batches


class NumberedData(LightningDataModule):
    """Training batches without end, and a fixed set of validation batches.

    Arguments:
        train, held_apart: batches to train on and to validate on.
        batch_size: samples of each.
        epoch_draws: samples between two validations (and checkpoints), over all ranks.
        validation_draws: samples of the validation set.
        on_device: simulate on the device of the network, that of each process its own, once training starts; without
            it, and before, on the CPU.
        num_workers: processes that simulate ahead; 0 simulates between the training steps.

    Raises:
        ConfigError: epochs shorter than a batch.
    """

    train: NumberedBatches
    held_apart: NumberedBatches

    def __init__(
        self,
        train: NumberedBatches,
        held_apart: NumberedBatches,
        *,
        batch_size: int,
        epoch_draws: int,
        validation_draws: int,
        on_device: bool = False,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if min(epoch_draws, validation_draws) < batch_size:
            problem = f"epoch_draws={epoch_draws} and validation_draws={validation_draws} must hold a batch"
            raise ConfigError("epoch_draws", problem, f"Take {batch_size} or more.")
        self.train, self.held_apart = train, held_apart
        self.batch_size, self.epoch_draws, self.num_workers = batch_size, epoch_draws, num_workers
        self.on_device, self.draws = on_device, 0
        self.validation_batches = validation_draws // batch_size

    @cached_property
    def validation(self) -> list[Batch]:
        """The validation batches, made once."""
        return [self.held_apart[i] for i in range(self.validation_batches)]

    def setup(self, stage: str) -> None:
        """Move to the device that this process trains on, if it is to simulate there."""
        if self.on_device and self.trainer:
            for batches in (self.train, self.held_apart):
                batches.move(str(self.trainer.strategy.root_device))

    def sample(self, count: int) -> Batch:
        """The first ``count`` training samples (rounded up to whole batches) as one batch."""
        batches = [self.train[i] for i in range(math.ceil(count / self.batch_size))]
        return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches in order; each epoch goes on where the one before it ended."""
        world, rank = self._process
        sampler = EpochSampler(max(self.epoch_draws // (self.batch_size * world), 1), rank=rank, world=world)
        sampler.set_epoch(self.draws // (sampler.batches * self.batch_size * world))
        ahead: dict[str, Any] = {}
        if self.num_workers:  # spawned: a fork of a process that has computed with threads can hang
            ahead = {"multiprocessing_context": "spawn", "persistent_workers": True, "prefetch_factor": 8}
        return DataLoader(self.train, batch_size=None, sampler=sampler, num_workers=self.num_workers, **ahead)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same batches every time; of several processes that train, each has its share of every batch."""
        world, rank = self._process
        if world > self.batch_size:
            problem = f"{world} processes for validation batches of {self.batch_size}"
            raise ConfigError("batch_size", problem, f"Take {-(-world // BLOCK) * BLOCK} or more.")
        shares = [{key: values[rank::world] for key, values in batch.items()} for batch in self.validation]
        return DataLoader(shares, batch_size=None)  # type: ignore[arg-type]

    @property
    def _process(self) -> tuple[int, int]:
        """Number of processes, and which of them this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def state_dict(self) -> dict[str, Any]:
        """How many samples the training has used, and in what portions."""
        world, _ = self._process
        steps = self.trainer.global_step if self.trainer else 0
        portions = [self.batch_size, self.epoch_draws, world]
        return {"draws": steps * self.batch_size * world, "portions": portions}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on in other portions: blocks would be used twice or left out.

        Raises:
            ConfigError: naming both.
        """
        own = self.state_dict()["portions"]
        if state_dict["portions"] != own:
            problem = f"batch_size, epoch_draws and processes were {state_dict['portions']}, now {own}"
            raise ConfigError("resume", problem, "Use those of the checkpoint.")
        self.draws = int(state_dict["draws"])  # the trainer tells the epoch only after workers read ahead


def where_to_simulate(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``on_device`` and ``num_workers`` of a training's data, as ``live_data`` takes them from its settings."""
    on_gpu = trains_on_gpu(settings["accelerator"])
    workers = int(not on_gpu) if settings["num_workers"] is None else settings["num_workers"]
    share_cores(workers)
    return {"on_device": on_gpu and not workers, "num_workers": workers}


def trains_on_gpu(accelerator: str) -> bool:
    """Whether Lightning will take a GPU of NVIDIA's."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def share_cores(num_workers: int) -> None:
    """Leave a core to each worker that computes: two pools on one set of cores only wait for each other."""
    if num_workers:
        torch.set_num_threads(max(1, torch.get_num_threads() - num_workers))
