"""Which rows of a split each of several processes reads, and in what order.

Both samplers say that they share out rows already (they are ``DistributedSampler``), so that Lightning adds none of its
own: that one repeats rows until all processes have as many, which a validation set must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

from mlensing.errors import ConfigError

Rows = NDArray[np.int64]
RARE = 0.25
"""Share of the rare kind in every batch of ``WithRare``."""


class Shuffled(DistributedSampler[Any]):
    """Training rows in an order that follows from seed and epoch; no two processes read the same row.

    The few rows that would give some processes one more than others are left out, other ones in each epoch.

    Arguments:
        rows: of the split.
        seed: of the order.
        rank, world: which process, of how many.

    Raises:
        ConfigError: fewer rows than processes.

    Example:
        >>> first, second = (Shuffled(5, seed=1, rank=rank, world=2) for rank in range(2))
        >>> once = [*first, *second]
        >>> len(once), len(set(once)), once == [*first, *second]
        (4, 4, False)
    """

    def __init__(self, rows: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        require_rows(rows, world)
        super().__init__(range(rows), num_replicas=world, rank=rank, shuffle=True, seed=seed, drop_last=True)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        rows = super().__iter__()
        self.epoch += 1  # of a plain loop; a trainer names the epoch by set_epoch
        return rows


class WithRare(DistributedSampler[Any]):
    """Training rows in an order in which a quarter of every batch is of a rare kind, all others once an epoch.

    Rare rows come in turns, each as often as any other up to one; the few others that fill no batch are left out, other
    ones in each epoch. Every process has its share of the others, and draws from all rare rows.

    Arguments:
        rare, common: numbers of the rows.
        batch_size: of a process.
        seed: of the order.
        rank, world: which process, of how many.

    Raises:
        ConfigError: fewer common rows than processes.

    Example:
        >>> order = list(WithRare(np.array([7, 9]), np.arange(6), batch_size=4, seed=1))
        >>> len(order), sorted(order[:4])[-1] in (7, 9), sorted(order[4:])[-1] in (7, 9), len({*order} & {*range(6)})
        (8, True, True, 6)
    """

    def __init__(self, rare: Rows, common: Rows, *, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.others = Shuffled(len(common), seed=seed, rank=rank, world=world)
        self.rare, self.common, self.each = rare, common, max(1, round(batch_size * RARE))
        self.room = max(1, batch_size - self.each)
        super().__init__(self.others, num_replicas=world, rank=rank, shuffle=True, seed=seed)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        self.others.set_epoch(self.epoch)
        rng = np.random.default_rng([self.seed, self.epoch, self.rank])
        self.epoch += 1  # of a plain loop; a trainer names the epoch by set_epoch
        others, batches = self.common[list(self.others)], self._batches
        turns = [rng.permutation(self.rare) for _ in range(-(-batches * self.each // len(self.rare)))]
        drawn = np.concatenate(turns)
        for k in range(batches):
            yield from drawn[k * self.each : (k + 1) * self.each].tolist()
            yield from others[k * self.room : (k + 1) * self.room].tolist()

    def __len__(self) -> int:
        return self._batches * self.each + min(self._batches * self.room, len(self.others))

    @property
    def _batches(self) -> int:
        return max(1, len(self.others) // self.room)


class InOrder(DistributedSampler[Any]):
    """Every row once, in turns: the processes' shares differ by one row at most.

    Arguments:
        rows: of the split.
        rank, world: which process, of how many.

    Raises:
        ConfigError: fewer rows than processes.

    Example:
        >>> [list(InOrder(5, rank=rank, world=2)) for rank in range(2)]
        [[0, 2, 4], [1, 3]]
    """

    def __init__(self, rows: int, *, rank: int = 0, world: int = 1) -> None:
        require_rows(rows, world)
        super().__init__(range(rows), num_replicas=world, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.rows = range(rank, rows, world)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def require_rows(rows: int, world: int) -> None:
    """Refuse fewer rows than processes.

    Raises:
        ConfigError: naming both.
    """
    if rows < world:
        raise ConfigError("devices", f"{world} processes for {rows} images", "Take fewer --devices or --num_nodes.")


def even_batch_size(rows: int, batch_size: int, world: int = 1) -> int:
    """The least batch size from ``batch_size`` on with which shares of ``InOrder`` make the same number of batches.

    Processes meet in every batch, to bring the running statistics in line: one batch more would be waited for in vain.

    Example:
        >>> even_batch_size(17, 8, world=2)  # 9 and 8 rows: a batch each, not two and one
        9
        >>> even_batch_size(17, 8)
        8
    """
    require_rows(rows, world)
    least, more = divmod(rows, world)
    while more and least % batch_size == 0:
        batch_size += 1
    return batch_size
