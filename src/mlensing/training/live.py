"""Batches straight from the simulator: training without a single file.

Batch i is made of the blocks ``i n`` to ``i n + n - 1`` of the simulated sky, whoever asks for it: workers, ranks
and restarts cannot change the order, and no block is ever used twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from mlensing.errors import ConfigError
from mlensing.provenance import fingerprint
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.real.sky import RealSky
from mlensing.simulate.simulator import BLOCK, Simulator
from mlensing.training.labelled import Batch, Labelled, LabelledPair


class SimulatedBatches(Dataset[Batch]):
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


class LiveData(LightningDataModule):
    """Simulated training batches without end, and a fixed set of validation batches from another sky.

    Arguments:
        mixture: what to simulate.
        seed: of the training sky; the validation sky's seed is derived from it.
        batch_size: a multiple of the simulator's block.
        epoch_draws: samples between two validations (and checkpoints), over all ranks.
        validation_draws: samples of the validation set.
        on_device: simulate on the device of the network, that of each process its own, once training starts; without
            it, and before, on the CPU.
        num_workers: processes that simulate ahead; 0 simulates between the training steps.
        real: real galaxies, PSFs and hosts; every fifth group of hosts serves validation only.
        labelled: images to mix into training and into validation.
        maps: also the true maps of the simulated lenses; labelled images have none.

    Raises:
        ConfigError: a batch size that blocks do not fill, or epochs shorter than a batch.
    """

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
        super().__init__()
        if batch_size < BLOCK or batch_size % BLOCK:
            problem = f"expected a multiple of the simulator's block of {BLOCK}, got {batch_size}"
            raise ConfigError("batch_size", problem, "Take 64.")
        if min(epoch_draws, validation_draws) < batch_size:
            problem = f"epoch_draws={epoch_draws} and validation_draws={validation_draws} must hold a batch"
            raise ConfigError("epoch_draws", problem, f"Take {batch_size} or more.")
        self.batch_size, self.epoch_draws, self.num_workers = batch_size, epoch_draws, num_workers
        self.on_device = on_device
        other = int(fingerprint(f"validation {seed}".encode())[:7], 16)
        seen, unseen = (real or RealSky()).divided()
        mine, theirs = labelled or (None, None)
        common: dict[str, Any] = {"batch_size": batch_size, "maps": maps}
        self.train = SimulatedBatches(mixture, seed=seed, real=seen, labelled=mine, **common)
        self.held_apart = SimulatedBatches(mixture, seed=other, real=unseen, labelled=theirs, **common)
        self.draws = 0
        self.validation_batches = validation_draws // batch_size

    @cached_property
    def validation(self) -> list[Batch]:
        """The validation batches, simulated once."""
        return [self.held_apart[i] for i in range(self.validation_batches)]

    def setup(self, stage: str) -> None:
        """Move to the device that this process trains on, if it is to simulate there."""
        if self.on_device and self.trainer:
            for batches in (self.train, self.held_apart):
                batches.move(str(self.trainer.strategy.root_device))

    def sample(self, count: int) -> Batch:
        """The first ``count`` simulated training samples (rounded up to whole batches) as one batch."""
        batches = [self.train.simulated(i) for i in range(math.ceil(count / self.batch_size))]
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
    on_gpu = settings["accelerator"] in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    workers = int(not on_gpu) if settings["num_workers"] is None else settings["num_workers"]
    share_cores(workers)
    sizes = {name: settings[name] for name in ("seed", "batch_size", "epoch_draws", "validation_draws")}
    return LiveData(sky, **sizes, on_device=on_gpu and not workers, num_workers=workers, **more)


def share_cores(num_workers: int) -> None:
    """Leave a core to each worker that computes: two pools on one set of cores only wait for each other."""
    if num_workers:
        torch.set_num_threads(max(1, torch.get_num_threads() - num_workers))
