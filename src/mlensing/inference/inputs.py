"""Each image as the network's pixels, read in batches ahead of the network."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from mlensing.contract import ModelContract
from mlensing.data.cutout import Cutout, select_bands
from mlensing.data.framing import frame
from mlensing.data.gather import Item, read_item
from mlensing.errors import ContractError, MLensingError

READERS = 4
"""Threads that read ahead of the network: reading waits for disks, the network for nothing else."""


@dataclass(frozen=True)
class Pixels:
    """An image as the network takes it: raw values [band, y, x], and whether they are 8-bit colour.

    ``spacing`` is dx, dy [arcsec/px] and ``redshifts`` z_lens, z_source; NaN where they are not known.
    """

    image: Tensor
    composite: bool
    spacing: tuple[float, float] = (math.nan, math.nan)
    redshifts: tuple[float, float] = (math.nan, math.nan)


def stacked_pixels(pixels: Sequence[Pixels]) -> tuple[Tensor, Tensor, Tensor]:
    """Images [B, C, y, x], which of them are composites [B], and their spacing [B, 2]."""
    composite = torch.tensor([p.composite for p in pixels])
    return torch.stack([p.image for p in pixels]), composite, torch.tensor([p.spacing for p in pixels])


def fit_to(cutout: Cutout, contract: ModelContract, *, where: object, resample: bool = True) -> Pixels:
    """A cutout in the bands, scale and size of a contract; without a pixel scale it is taken as it is.

    Raises:
        ContractError: bands, representation or (without ``resample``) scale it was not trained for.
    """
    contract.require_representation(cutout.representation, where=where)
    cutout = select_bands(cutout, contract.bands, cutout.survey, where=where)
    scale = cutout.pixel_scale
    if scale is not None and not resample and not contract.accepts_scale(scale):
        low, high = contract.pixel_scale
        problem = f'its pixel scale is {scale:.3f}", the model takes {low:.3f}" to {high:.3f}"'
        raise ContractError(where, problem, "Allow resampling (resample=True).")
    framed = frame(cutout, contract.input_size, contract.pixel_scale if resample else None)
    image = torch.from_numpy(np.ascontiguousarray(framed.image, dtype=np.float32))
    redshifts = float(cutout.meta.get("z_lens", math.nan)), float(cutout.meta.get("z_source", math.nan))
    return Pixels(image, cutout.representation == "composite", framed.scales or (math.nan, math.nan), redshifts)


def read_batches(
    items: Sequence[Item], contract: ModelContract, size: int, resample: bool = True, title: str = "scoring"
) -> Iterator[list[Pixels | Exception]]:
    """Batches of what was read or why not, read one batch ahead of the network; ``title`` is that of the bar."""
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    with ThreadPoolExecutor(READERS) as pool:

        def submit(chunk: Sequence[Item]) -> list[Future[Pixels | Exception]]:
            return [pool.submit(_load, item, contract, resample) for item in chunk]

        ahead = submit(chunks[0]) if chunks else []
        console = Console(stderr=True)
        bar = track(range(len(chunks)), title, console=console, transient=True, disable=len(chunks) < 2)
        for i in bar:
            now, ahead = ahead, submit(chunks[i + 1]) if i + 1 < len(chunks) else []
            yield [future.result() for future in now]


def _load(item: Item, contract: ModelContract, resample: bool) -> Pixels | Exception:
    """The pixels of an item, or why there are none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header's oddities; what matters ends in the status
            return fit_to(read_item(item), contract, where=item.file, resample=resample)
    except (MLensingError, OSError, ValueError) as error:
        return error


def require_fitting(failures: Sequence[Exception | None]) -> None:
    """Refuse images none of which fits the contract: then the mistake is in the call.

    Raises:
        ContractError: that of the first.
    """
    misfits = [failure for failure in failures if isinstance(failure, ContractError)]
    if misfits and len(misfits) == len(failures):
        raise misfits[0]


def status_of(failure: Exception | None) -> str:
    """``ok``, or in one line why an image could not be read."""
    return "ok" if failure is None else " ".join(str(failure).split())
