"""Embeddings: what a network sees in many images, kept so that they can be searched again and again.

Conventions: features are those before the head, of all members side by side, standardised over the images searched:
each has mean 0 and variance 1 / (features of its member), so that every member has the same say. They are stored in
half precision. A row that could not be read is NaN, and its status says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from mlensing.data.gather import Item
from mlensing.errors import ConfigError, ContractError, ImageError
from mlensing.inference.ensemble import Ensemble
from mlensing.inference.inputs import Pixels, read_batches, require_fitting, stacked_pixels, status_of
from mlensing.inference.member import Views
from mlensing.models.safe import digest, read_tensors
from mlensing.provenance import fingerprint, replacing

TASKS = ("classification", "maps", "features")
"""Of the checkpoints whose features can be searched."""
FEWEST = 16
"""Readable images below which features are not centred: the mean of a few says where these few are, no more."""
INPUT = {"bands", "input_size", "pixel_scale", "softening", "statistics"}
"""What of a contract decides on the pixels that a network sees."""
TINY = 1e-12
LARGEST = 6e4
"""Half precision ends at 65504."""
ENDING = "\0"
"""Ends every word in a file of embeddings: no path holds it."""


@dataclass(frozen=True)
class Embeddings:
    """Standardised features of images, with what they were made with.

    Attributes:
        features: [N, F] float16, NaN where the image could not be read.
        files, paths: name and place of each image.
        planes: [N] int32, number of the image in a folder of cubes; -1 where a file is one image.
        status: ``ok``, or why there are no features.
        mean, scale: [F] float32, which took features to what is stored: (features - mean) / scale.
        made: what the features depend on beside the image: ``network``, a fingerprint, and ``views``.

    Example:
        >>> raw = np.random.default_rng(0).normal(3, 2, (20, 4)).astype(np.float32)
        >>> items = [Item(f"{i}.png", Path(f"{i}.png")) for i in range(20)]
        >>> found = Embeddings.of(Seen(raw, (4,), ["ok"] * 20), items, made={"network": "x"})
        >>> found.features.std(0).round(2).tolist(), len(found)
        ([0.5, 0.5, 0.5, 0.5], 20)
    """

    features: NDArray[np.float16]
    files: list[str]
    paths: list[str]
    planes: NDArray[np.int32]
    status: list[str]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    made: dict[str, str]

    @classmethod
    def of(cls, seen: Seen, items: Sequence[Item], *, made: Mapping[str, str]) -> Embeddings:
        """Standardise what was seen in images."""
        known = seen.features[seen.good].astype(np.float64)
        mean = known.mean(0) if len(known) >= FEWEST else np.zeros(known.shape[1])
        spread = np.sqrt(np.square(known - mean).mean(0))
        spread[spread <= 1e-6 * np.abs(known).max(0, initial=0)] = np.inf  # it says nothing, so it shall not count
        scale = (spread * np.repeat(np.sqrt(seen.widths), seen.widths)).astype(np.float32)
        planes = np.array([-1 if item.plane is None else item.plane for item in items], np.int32)
        names = [item.file for item in items], [str(item.path) for item in items]
        centre = mean.astype(np.float32)
        features = _standardised(seen.features, centre, scale)
        return cls(features, *names, planes, list(seen.status), centre, scale, dict(made))

    def standardised(self, raw: NDArray[np.float32]) -> NDArray[np.float16]:
        """Features [n, F] of other images, as those of these are stored."""
        return _standardised(raw, self.mean, self.scale)

    def items(self, rows: Sequence[int], *, survey: str | None = None, pixel_scale: float | None = None) -> list[Item]:
        """Images of these rows, to be read again."""
        where = [(self.files[row], Path(self.paths[row]), int(self.planes[row])) for row in rows]
        return [Item(f, p, survey, pixel_scale, plane=k if k >= 0 else None) for f, p, k in where]

    def require_made(self, made: Mapping[str, str], *, where: object) -> None:
        """Refuse embeddings that were made with something else.

        Raises:
            ContractError: naming what.
        """
        for name, value in made.items():
            if self.made.get(name) != value:
                problem = f"these embeddings were made with {name} {self.made.get(name)}, this search has {value}"
                raise ContractError(where, problem, "Give the same --checkpoint, --member, --views, or another file.")

    def write(self, path: str | Path) -> None:
        """Write as safetensors, whole or not at all; the same embeddings give the same bytes."""
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in ("features", "planes", "mean", "scale")}
        tensors |= {name: _packed(getattr(self, name)) for name in ("files", "paths", "status")}
        with replacing(path) as beside:
            beside.write_bytes(save(tensors, {"made": json.dumps(self.made, sort_keys=True)}))

    @classmethod
    def read(cls, path: str | Path) -> Embeddings:
        """Read what ``write`` wrote.

        Raises:
            ConfigError: no such file.
            ContractError: damaged, or not such a file.
        """
        path = Path(path)
        if not path.is_file():
            raise ConfigError(path, "there are no embeddings", "Make them: mlensing similar ... --in DIR --embeddings.")
        words, tensors = read_tensors(path)
        try:
            made = json.loads(words["made"])
            numbers = {name: tensors[name].numpy() for name in ("features", "planes", "mean", "scale")}
            texts = {name: _unpacked(tensors[name].numpy()) for name in ("files", "paths", "status")}
            found = cls(**numbers, **texts, made=made)  # type: ignore[arg-type]  # which dict holds which, it checks
            found._check()
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            problem = f"not a file of embeddings ({(str(error).splitlines() or ['empty'])[0][:120]})"
            raise ContractError(path, problem, "Take another, or remove it and make it again.") from error
        return found

    def _check(self) -> None:
        """Refuse what ``write`` never writes."""
        count, width = self.features.shape
        if self.features.dtype != np.float16 or not isinstance(self.made, dict):
            raise ValueError("features or their origin are of another type")
        if any(len(part) != count for part in (self.files, self.paths, self.planes, self.status)):
            raise ValueError("as many names as features were expected")
        if self.mean.shape != (width,) or self.scale.shape != (width,) or not (self.scale > 0).all():
            raise ValueError("the scale of the features is impossible")

    def __len__(self) -> int:
        return len(self.files)


class Seen(NamedTuple):
    """Features [N, F] as they come, of members of these widths side by side; NaN where the status is not ``ok``."""

    features: NDArray[np.float32]
    widths: tuple[int, ...]
    status: list[str]

    @property
    def good(self) -> list[int]:
        """Rows with features."""
        return [row for row, said in enumerate(self.status) if said == "ok"]


def embed(
    ensemble: Ensemble, items: Sequence[Item], *, views: Views = 1, batch_size: int = 64, title: str = "embedding"
) -> Seen:
    """What the members of an ensemble see in images before their heads.

    Raises:
        ImageError: not one image can be read.
        ContractError: not one has the bands or the kind of pixels that the network takes.
    """
    found: list[list[Tensor]] = []
    failures: list[Exception | None] = []
    for batch in read_batches(items, ensemble.contract, batch_size, title=title):
        good = [b for b in batch if isinstance(b, Pixels)]
        if good:
            image, composite, _ = stacked_pixels(good)
            found.append([m.features(image, composite, views=views).float().cpu() for m in ensemble.members])
        failures += [None if isinstance(b, Pixels) else b for b in batch]
    require_fitting(failures)
    if not found:
        reason = status_of(failures[0]).rstrip(".") if failures else "none given"
        raise ImageError("images", f"not one can be read; the first: {reason}", "Repair the files, or give others.")
    widths = tuple(part.shape[1] for part in found[0])
    features = np.full((len(items), sum(widths)), np.nan, np.float32)
    features[[failure is None for failure in failures]] = torch.cat([torch.cat(parts, 1) for parts in found]).numpy()
    return Seen(features, widths, [status_of(failure) for failure in failures])


def made_with(ensemble: Ensemble, views: Views) -> dict[str, str]:
    """What features depend on beside the image: weights and input of every member, and how it is looked at."""
    seen = [
        json.dumps([type(m.net).__name__, m.contract.model_dump(mode="json", include=INPUT)], sort_keys=True)
        + digest({name: tensor.cpu() for name, tensor in m.net.state_dict().items()}, {})
        for m in ensemble.members
    ]
    return {"network": fingerprint(*(part.encode() for part in seen)), "views": str(views)}


def unit_length(features: NDArray[np.float16]) -> NDArray[np.float32]:
    """Features [n, F] divided by their length, in single precision.

    In numpy: threads of torch's, waiting for each other over so little work, took longer than the work.

    Example:
        >>> unit_length(np.array([[3.0, 4.0]], np.float16)).round(2).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    x = features.astype(np.float32)
    x /= np.sqrt(np.einsum("ij,ij->i", x, x)).clip(min=TINY)[:, None]
    return x


def _standardised(
    raw: NDArray[np.float32], mean: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.float16]:
    return ((raw - mean) / scale).clip(-LARGEST, LARGEST).astype(np.float16)


def _packed(words: Sequence[str]) -> Tensor:
    content = "".join(word + ENDING for word in words).encode("utf-8", "surrogateescape")
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


def _unpacked(content: NDArray[np.uint8]) -> list[str]:
    return content.tobytes().decode("utf-8", "surrogateescape").split(ENDING)[:-1]
