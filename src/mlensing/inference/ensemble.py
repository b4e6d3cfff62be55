"""Several finders as one: members, the rule that fuses them, and the folder they travel in.

A folder holds ``ensemble.json`` (members with the digests of their files, the fusion, why they were selected) and one
``KEY.safetensors`` a member. A single checkpoint is an ensemble of one.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

import mlensing
from mlensing.contract import BandStatistics, Fusion, ModelContract, Representation
from mlensing.errors import ConfigError, ContractError
from mlensing.evaluation.fusion import fuse, members_log_odds
from mlensing.inference.backend import Backend, network_of
from mlensing.inference.member import Dropout, Member, MemberScores, Views
from mlensing.models.checkpoint import TASKS, Checkpoint, read_checkpoint, write_safetensors
from mlensing.provenance import write_json

RELEASED = Path(mlensing.__file__).parent / "released"
"""The ensemble that travels in the package."""
FILE = "ensemble.json"
FORMAT = 1
"""Rises when older versions of mlensing could not read a new folder."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str = Field(pattern=r"^[\w.-]+$")
    file: str = Field(pattern=r"^[\w-][\w.-]*\.safetensors$")  # no path: nothing outside the folder is read
    sha256: str


class _Folder(BaseModel):
    """What ``ensemble.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = Field(le=FORMAT)
    members: tuple[_Entry, ...] = Field(min_length=1)
    fusion: Fusion
    selection: dict[str, Any]
    version: str


class EnsembleScores(NamedTuple):
    """Of a batch, by member: logit, variance, distance from its training's images, residual of its maps [M, B]."""

    logit: NDArray[np.float64]
    variance: NDArray[np.float64]
    unlike: NDArray[np.float64]
    physics: NDArray[np.float64]


class Ensemble:
    """Members that score together.

    Arguments:
        members: with unique keys, the same bands and size.
        fusion: how their logits become one; None takes that of finders that nobody fitted together.
        selection: why these and so, for the record.

    Raises:
        ContractError: members that cannot look at the same pixels.
        ConfigError: no members, or two with one key.

    Example::

        table = Predictor(Ensemble.load("my_ensemble/")).predict(["images/"])
    """

    def __init__(
        self, members: Sequence[Member], fusion: Fusion | None = None, selection: Mapping[str, Any] | None = None
    ) -> None:
        self.members, self.selection = list(members), dict(selection or {})
        self.fusion = fusion = fusion or unfitted(members)
        keys = [member.key for member in members]
        if not keys or len(set(keys)) < len(keys):
            raise ConfigError("ensemble", f"expected members with unique keys, got {keys}", "Rename them.")
        if fusion.rule == "stacked" and len(fusion.weights) != len(keys) + 1:
            problem = f"{len(fusion.weights)} weights for {len(keys)} members and a bias"
            raise ContractError("ensemble", problem, "Make the ensemble again.")
        self.contract = shared_contract([member.contract for member in members], keys)

    @classmethod
    def load(
        cls,
        path: str | Path | Sequence[str | Path] = RELEASED,
        device: str = "auto",
        backend: Backend = "torch",
        tasks: Sequence[str] = TASKS,
    ) -> Ensemble:
        """The ensemble of a folder, of one checkpoint or of several; ``backend`` says what runs its networks.

        ``tasks`` are those that its networks may be for: those of lens finders, if nothing is said.

        Raises:
            ContractError: files that are damaged, foreign, or do not fit together.
            ConfigError: a device that is not there, or a backend that cannot be used.
        """
        if isinstance(path, str | Path) and Path(path).is_dir():
            said, files = _read_folder(Path(path)), members_of(path)
            members = [_member(key, read_checkpoint(file, tasks=tasks), device, backend) for key, file in files.items()]
            return cls(members, said.fusion, said.selection)
        if not isinstance(path, str | Path) and len(path) == 1:
            return cls.load(path[0], device, backend, tasks)
        found = [read_checkpoint(file, tasks=tasks) for file in ([path] if isinstance(path, str | Path) else path)]
        pairs = zip(keys_of(found), found, strict=True)
        return cls([_member(key, checkpoint, device, backend) for key, checkpoint in pairs])

    def score(
        self, image: Tensor, composite: Tensor, *, views: Views = 1, dropout: Dropout | None = None,
        maps: Tensor | None = None,
    ) -> EnsembleScores:  # fmt: skip
        """Raw pixels [B, C, S, S] and whether each is a composite [B] -> scores of every member (``Member.score``)."""
        options: dict[str, Any] = {"views": views, "dropout": dropout, "maps": maps}
        return stacked([member.score(image, composite, **options) for member in self.members])

    def fused(self, scores: EnsembleScores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log-odds [B] at the prevalence of the contract, and their deviation [B]."""
        own = [member.contract.calibration for member in self.members]
        return fuse(self.fusion, scores.logit, scores.variance, own, scores.physics)

    def log_odds(self, scores: EnsembleScores) -> NDArray[np.float64]:
        """Each member's own calibrated log-odds [M, B]."""
        return members_log_odds(scores.logit, [member.contract.calibration for member in self.members])


def stacked(found: Sequence[MemberScores]) -> EnsembleScores:
    """Scores of members, side by side."""
    columns = ((getattr(scores, name) for scores in found) for name in EnsembleScores._fields)
    return EnsembleScores(*(np.stack([part.double().cpu().numpy() for part in column]) for column in columns))


def unfitted(members: Sequence[Member]) -> Fusion:
    """The mean of what each says, calibrated by itself; residuals of maps compare with their usual one."""
    residuals = [member.contract.map_residual for member in members if member.has_maps]
    return Fusion(rule="calibrated_mean", **({"temperature": float(np.mean(residuals))} if residuals else {}))


def shared_contract(contracts: Sequence[ModelContract], keys: Sequence[str]) -> ModelContract:
    """What all members keep: the bands and size of all, the scales and kinds of image that all were trained for.

    The prevalence is that of the mean of their log-odds, as which equal evidence comes out of a mean of logits.

    Raises:
        ContractError: naming the first that does not fit the first.
    """
    first = contracts[0]
    for key, contract in zip(keys, contracts, strict=True):
        for name in ("bands", "input_size"):
            if getattr(contract, name) != getattr(first, name):
                problem = f"{key} takes {name} {getattr(contract, name)}, {keys[0]} {getattr(first, name)}"
                raise ContractError("ensemble", problem, "Put together finders that take the same pixels.")
    low, high = (f(c.pixel_scale[i] for c in contracts) for i, f in enumerate((max, min)))
    kinds: dict[Representation, BandStatistics] = {
        kind: stats for kind, stats in first.statistics.items() if all(kind in c.statistics for c in contracts)
    }
    if low > high or not kinds:
        problem = "its members share no pixel scale, or no kind of image"
        raise ContractError("ensemble", problem, "Put together finders that take the same pixels.")
    prior = float(np.mean([math.log(c.prevalence / (1 - c.prevalence)) for c in contracts]))
    shared = {"pixel_scale": (low, high), "statistics": kinds, "prevalence": 1 / (1 + math.exp(-prior))}
    return first.model_copy(update=shared)


def keys_of(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """A unique key each: architecture and seed, such as ``resnet18-42``; numbered where these do not tell them apart.

    A file that already carries the key of a member keeps it.
    """
    keys: list[str] = []
    for found in checkpoints:
        seed = found.config.get("seed")
        plain = found.path.stem if found.path.suffix == ".safetensors" else found.contract.name
        named = not isinstance(seed, int) or found.path.suffix == ".safetensors"
        base = re.sub(r"[^\w.-]", "_", plain if named else f"{plain}-{seed}")  # it becomes the name of a file
        taken = [base, *(f"{base}-{i}" for i in range(2, len(checkpoints) + 2))]
        keys.append(next(key for key in taken if key not in keys))
    return keys


def save_ensemble(
    folder: str | Path,
    checkpoints: Mapping[str, Checkpoint],
    fusion: Fusion,
    selection: Mapping[str, Any],
) -> None:
    """Write a folder that ``Ensemble.load`` reads; its index last, so that half a folder is no ensemble.

    Arguments:
        checkpoints: by key, each with the calibration that the ensemble shall use.
    """
    folder, entries = Path(folder), []
    for key, checkpoint in checkpoints.items():
        path = folder / f"{key}.safetensors"
        write_safetensors(path, checkpoint)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append(_Entry(key=key, file=path.name, sha256=digest))
    said = _Folder(
        format=FORMAT, members=tuple(entries), fusion=fusion, selection=dict(selection), version=mlensing.__version__
    )
    write_json(folder / FILE, said.model_dump(mode="json"))


def named_in(folder: str | Path) -> list[str]:
    """Names of the files that an ensemble's index asks for: plain names of safetensors, which may not be there yet.

    Raises:
        ContractError: no such index, or one that names other files.
    """
    return [entry.file for entry in _read_folder(Path(folder)).members]


def members_of(folder: str | Path) -> dict[str, Path]:
    """Files of an ensemble's members, by key.

    Raises:
        ContractError: no such folder, or a member that is not the file that was put there.
    """
    found = {}
    for entry in _read_folder(Path(folder)).members:
        file = Path(folder) / entry.file
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != entry.sha256:
            problem = f"the member {entry.key} is missing, or not the file that was put there"
            raise ContractError(file, problem, "Take the folder again from where it came.")
        found[entry.key] = file
    return found


def _member(key: str, found: Checkpoint, device: str, backend: Backend) -> Member:
    return Member(key, found.contract, network_of(found, backend), device, found.domain())


def _read_folder(folder: Path) -> _Folder:
    remedy = "Give a folder that `mlensing ensemble` wrote or `mlensing pull` fetched, or a checkpoint."
    path = folder / FILE
    try:
        return _Folder.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise ContractError(folder, f"no {FILE} there", remedy) from error
    except (ValueError, RecursionError) as error:
        detail = "; ".join(str(error).splitlines()[:3])
        raise ContractError(path, f"not the index of an ensemble ({detail})", remedy) from error
