"""Scores for images: files in, one row each out, whatever state the files are in.

Conventions: ``logit`` is the calibrated log-odds, ``probability`` its sigmoid, ``uncertainty`` the standard
deviation of that logit under dropout before the linear head.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from mlensing.contract import ModelContract
from mlensing.data.gather import Item, gather, read_item
from mlensing.data.normalise import Normaliser
from mlensing.errors import ConfigError, ContractError, MLensingError
from mlensing.inference.inputs import Pixels, fit_to
from mlensing.models import classifier
from mlensing.models.checkpoint import read_checkpoint

COLUMNS = ("file", "probability", "logit", "uncertainty", "status")
READERS = 4
"""Threads that read ahead of the network: reading waits for disks, the network for nothing else."""
Views = Literal[1, 8]


def head_scores(features: Tensor, head: nn.Linear, dropout: float) -> tuple[Tensor, Tensor]:
    """Logit [B], and its standard deviation [B] under dropout of the features [B, F] before a linear head.

    With keep masks m_i ~ Bernoulli(1-p)/(1-p) the logit is b + sum w_i m_i f_i, whose variance is
    ``p / (1 - p) sum (w_i f_i)^2``: in closed form what Monte-Carlo dropout (Gal & Ghahramani 2016,
    arXiv:1506.02142) estimates by sampling when the only dropout stands there.

    Example:
        >>> head = nn.Linear(2, 1)
        >>> _ = head.weight.data.fill_(1.0), head.bias.data.zero_()
        >>> logit, sd = head_scores(torch.tensor([[3.0, 4.0]]), head, 0.5)
        >>> logit.item(), sd.item()
        (7.0, 5.0)
    """
    terms = features * head.weight[0]
    variance = dropout / (1.0 - dropout) * terms.square().sum(dim=1)
    return terms.sum(dim=1) + head.bias[0], variance.sqrt()


def dihedral(image: Tensor) -> Iterator[Tensor]:
    """The eight flips and quarter turns of [B, C, H, H], the image itself first."""
    for flipped in (image, image.flip(-1)):
        for turns in range(4):
            yield torch.rot90(flipped, turns, (-2, -1))


class Predictor:
    """A trained finder, ready to score.

    Arguments:
        contract: of the network.
        net: the network.
        device: ``auto`` takes a GPU when there is one.

    Example::

        table = Predictor.load("best.ckpt").predict(["images/", "more.csv"], survey="cfhtls")
    """

    def __init__(self, contract: ModelContract, net: nn.Module, device: str = "auto") -> None:
        name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.device = _device(name)
        self.contract = contract
        self.net = net.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.normaliser = Normaliser(contract).to(self.device)

    @classmethod
    def load(cls, checkpoint: str | Path, device: str = "auto") -> Predictor:
        """The predictor of a checkpoint.

        Raises:
            ContractError: a file that is not a checkpoint of ours.
            ConfigError: a device that is not there.
        """
        found = read_checkpoint(checkpoint)
        return cls(found.contract, found.network(), device)

    @torch.inference_mode()
    def score(self, image: Tensor, composite: Tensor, *, views: Views = 1) -> tuple[Tensor, Tensor]:
        """Raw pixels [B, C, S, S] and whether each is a composite [B] -> raw logit [B] and its deviation [B].

        With ``views=8`` the features are averaged over the flips and quarter turns, which for a linear head
        is the mean logit, at eight times the cost.
        """
        pixels = self.normaliser(image.to(self.device), composite.to(self.device))
        net = classifier(self.net)
        turned = islice(dihedral(pixels), views)
        features = torch.stack([net.features(_channels_last(view)) for view in turned]).mean(dim=0)
        return head_scores(features, net.head, net.dropout)

    def calibrated(self, logit: Tensor, deviation: Tensor, prevalence: float | None) -> tuple[Tensor, Tensor]:
        """Log-odds [B] without the shift of the class weights, at a temperature, for a prevalence."""
        contract = self.contract
        shift = 0.0
        if prevalence is not None:
            shift = _log_odds(prevalence) - _log_odds(contract.prevalence)
        temperature = contract.calibration.parameters[0]
        return (logit - contract.logit_shift) / temperature + shift, deviation / temperature

    def predict(
        self,
        inputs: Sequence[str | Path],
        *,
        survey: str | None = None,
        batch_size: int = 64,
        resample: bool = True,
        prevalence: float | None = None,
        pixel_scale: float | None = None,
        views: Views = 1,
    ) -> pd.DataFrame:
        """Score files, folders and index CSVs, mixed.

        Arguments:
            inputs: rows come out in this order; folders in sorted order; what is named twice is scored twice.
            survey: preset of files whose header names none.
            batch_size: images a step of the network.
            resample: bring pixel scales outside the contract's range into it; otherwise their rows say so.
            prevalence: share of lenses among what is scored, in (0, 1); None keeps that of the training.
            pixel_scale: of files that state none [arcsec/px].
            views: 8 averages over flips and quarter turns, at eight times the cost.

        Returns:
            columns file, probability, logit, uncertainty, status: ``ok``, or why the scores are NaN.

        Raises:
            CatalogError, ImageError, SurveyError, ConfigError: an input or setting that is wrong as a whole.
            ContractError: not one image has the bands or the kind of pixels that the network takes.
        """
        items = gather(inputs, survey=survey, pixel_scale=pixel_scale)
        return self.score_items(items, batch_size, resample, prevalence, views)

    def score_items(
        self,
        items: Sequence[Item],
        batch_size: int = 64,
        resample: bool = True,
        prevalence: float | None = None,
        views: Views = 1,
    ) -> pd.DataFrame:
        """The table of ``predict`` for images that are listed already."""
        _check(batch_size, prevalence, views)
        columns: list[NDArray[np.float64]] = []
        failures: list[Exception | None] = []
        for batch in self._batches(items, batch_size, resample):
            columns.append(self._rows([b for b in batch if isinstance(b, Pixels)], prevalence, views))
            failures += [None if isinstance(b, Pixels) else b for b in batch]
        misfits = [failure for failure in failures if isinstance(failure, ContractError)]
        if misfits and len(misfits) == len(items):
            raise misfits[0]  # the wrong network for these images, not a bad file among good ones
        return _table([item.file for item in items], columns, [_status(failure) for failure in failures])

    def _batches(self, items: Sequence[Item], size: int, resample: bool) -> Iterator[list[Pixels | Exception]]:
        """Batches of what was read or why not, read one batch ahead of the network."""
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        with ThreadPoolExecutor(READERS) as pool:

            def submit(chunk: Sequence[Item]) -> list[Future[Pixels | Exception]]:
                return [pool.submit(_load, item, self.contract, resample) for item in chunk]

            ahead = submit(chunks[0]) if chunks else []
            console = Console(stderr=True)
            bar = track(range(len(chunks)), "scoring", console=console, transient=True, disable=len(chunks) < 2)
            for i in bar:
                now, ahead = ahead, submit(chunks[i + 1]) if i + 1 < len(chunks) else []
                yield [future.result() for future in now]

    def _rows(self, good: list[Pixels], prevalence: float | None, views: Views) -> NDArray[np.float64]:
        """Probability, logit and uncertainty of the readable images of a batch, [n, 3]."""
        if not good:
            return np.empty((0, 3))
        image = torch.stack([pixels.image for pixels in good])
        composite = torch.tensor([pixels.composite for pixels in good])
        logit, deviation = self.calibrated(*self.score(image, composite, views=views), prevalence)
        columns = torch.stack([logit.double().sigmoid(), logit.double(), deviation.double()], dim=1)
        return np.asarray(columns.cpu().numpy(), dtype=np.float64)


def _load(item: Item, contract: ModelContract, resample: bool) -> Pixels | Exception:
    """The pixels of an item, or why there are none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header's oddities; what matters ends in the status
            return fit_to(read_item(item), contract, where=item.file, resample=resample)
    except (MLensingError, OSError, ValueError) as error:
        return error


def _status(failure: Exception | None) -> str:
    return "ok" if failure is None else " ".join(str(failure).split())


def _table(files: list[str], columns: list[NDArray[np.float64]], status: list[str]) -> pd.DataFrame:
    scores = np.full((len(files), 3), np.nan)
    scores[[i for i, text in enumerate(status) if text == "ok"]] = np.concatenate([np.empty((0, 3)), *columns])
    content = {"file": files, **dict(zip(COLUMNS[1:4], scores.T, strict=True)), "status": status}
    return pd.DataFrame(content, columns=list(COLUMNS))


def newest_checkpoint(log_dir: str | Path = "lightning_logs") -> Path:
    """``best.ckpt`` of the newest training in ``log_dir``.

    Raises:
        ConfigError: none there.
    """
    found = sorted(Path(log_dir).glob("version_*/checkpoints/best.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        remedy = "Name one with --checkpoint, or train one with mlensing train."
        raise ConfigError(log_dir, "no trained finder (version_*/checkpoints/best.ckpt) there", remedy)
    return found[-1]


def _channels_last(image: Tensor) -> Tensor:
    return image.contiguous(memory_format=torch.channels_last)


def _log_odds(share: float) -> float:
    return math.log(share / (1.0 - share))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts where a build has no such device
        problem = f"device {name!r} cannot be used ({str(error).splitlines()[0]})"
        raise ConfigError("device", problem, "Use auto, cpu, or cuda on a machine that has it.") from error
    return device


def _check(batch_size: int, prevalence: float | None, views: int) -> None:
    if batch_size < 1:
        raise ConfigError("batch_size", f"expected at least 1, got {batch_size}", "Take 64.")
    if prevalence is not None and not 0 < prevalence < 1:
        raise ConfigError("prevalence", f"expected a share in (0, 1), got {prevalence}", "Take 0.001, say.")
    if views not in (1, 8):
        raise ConfigError("views", f"expected 1 or 8, got {views}", "Take 1, or 8 for all flips and turns.")
