"""Images of one kind as one stack: what real images become when they are to be compared with, or painted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mlensing.contract import Representation
from mlensing.provenance import fingerprint


@dataclass(frozen=True)
class Cutouts:
    """Images of one kind: all of one survey, one representation, the same bands and size.

    Attributes:
        image: [N, band, y, x].
        bands: their names.
        representation: ``linear`` or ``composite``.
        survey: the preset they belong to; empty where nobody preset it.
        skipped: file -> why it was left out.
        files: name of each, as far as it comes from a file.
        group: which of them show one object: equal words; the file's name where nobody said.
        pixel_scale: [N] arcsec/px, as far as known.

    Example:
        >>> stack = Cutouts(np.zeros((2, 3, 32, 32), np.float32), ("g", "r", "i"), "linear", "des", {})
        >>> len(stack), stack.size
        (2, 32)
    """

    image: NDArray[np.float32]
    bands: tuple[str, ...]
    representation: Representation
    survey: str
    skipped: Mapping[str, str]
    files: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    pixel_scale: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.image)

    @property
    def size(self) -> int:
        """Pixels a side."""
        return int(self.image.shape[-1])

    def select(self, rows: Sequence[int]) -> Cutouts:
        """These images only."""
        chosen = list(rows)
        files, group = (tuple(words[row] for row in chosen) for words in (self.files, self.group))
        scale = self.pixel_scale[chosen]
        return replace(self, image=self.image[chosen], files=files, group=group, pixel_scale=scale)

    def fingerprint(self) -> str:
        """Short hash of pixels, bands and scales."""
        return fingerprint(
            np.ascontiguousarray(self.image).tobytes(), ",".join(self.bands).encode(), self.pixel_scale.tobytes()
        )
