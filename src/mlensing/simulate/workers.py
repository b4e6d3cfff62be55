"""Numbered pieces of a set, made in processes of one thread each: threads could change the last bits."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch


class Work(Protocol):
    """What all pieces share; sent to each process once."""

    def write(self, number: int) -> None:
        """Make the piece of this number."""


_in_process: list[Work] = []
"""The work of a worker process, which its initializer puts here: it is too large to go with every piece."""


def write_each(work: Work, numbers: Sequence[int], num_workers: int | None) -> Iterator[None]:
    """Make each piece; yields after every one, in any order.

    Arguments:
        num_workers: processes; None takes one per core.

    Example:
        >>> class Printer:
        ...     def write(self, number: int) -> None:
        ...         print(number)
        >>> _ = list(write_each(Printer(), [3, 4], num_workers=1))
        3
        4
    """
    count = min(num_workers if num_workers is not None else multiprocessing.cpu_count(), len(numbers))
    if count <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for number in numbers:
                work.write(number)
                yield
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, initializer=_start, initargs=(work,)) as pool:
        yield from pool.imap_unordered(_do, numbers)


def _start(work: Work) -> None:
    torch.set_num_threads(1)
    _in_process[:] = [work]


def _do(number: int) -> None:
    _in_process[0].write(number)
