"""An index of embeddings by FAISS, for many queries of one large library; needs the extra ``search``.

The features are divided into cells (inverted lists), and a query looks into the nearest cells only (Jegou+2011; Douze+
2024, arXiv:2401.08281). Built in a minute for a million images, it answers in milliseconds. It proposes rows; their
distances are always those of ``similar.distances``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlensing.errors import ConfigError
from mlensing.inference.embeddings import Embeddings, unit_length

PROBES = 32
"""Cells that a query looks into: with them it misses less than one in a hundred of the nearest."""
TRAINED_ON = 40
"""Images a cell that the cells are found with."""
BLOCK = 65_536
"""Images added at once."""


class Index:
    """The readable rows of embeddings, by cosine.

    Arguments:
        embeddings: of the images to search.
        cells: into which they are divided; the root of their number if not given.
        probes: cells that a query looks into; more are slower and miss less.
        seed: of the images that the cells are found with.

    Raises:
        ConfigError: the extra ``search`` is not installed.

    Example::

        library = Embeddings.read("sky.safetensors")
        index = Index(library)
        table = search(library, queries, names, index=index, most=100)
    """

    def __init__(
        self, embeddings: Embeddings, *, cells: int | None = None, probes: int = PROBES, seed: int = 0
    ) -> None:
        faiss = _faiss()
        self.known = np.flatnonzero(np.isfinite(embeddings.features).all(1))
        count, width = len(self.known), embeddings.features.shape[1]
        cells = cells or max(1, round(count**0.5))
        kind = f"IVF{cells},SQfp16"
        self._index: Any = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
        drawn = np.random.default_rng(seed).permutation(self.known)[: TRAINED_ON * cells]
        self._index.train(unit_length(embeddings.features[drawn]))
        for start in range(0, count, BLOCK):
            self._index.add(unit_length(embeddings.features[self.known[start : start + BLOCK]]))
        self._index.nprobe = min(probes, cells)

    def rows(self, queries: NDArray[np.float16], most: int) -> NDArray[np.int64]:
        """Rows near to any of the queries [Q, F]: ``most`` of each, in rising order, none twice."""
        found = self._index.search(unit_length(queries), min(most, len(self.known)))[1]
        return np.unique(self.known[found[found >= 0]])


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        problem = f"the extra search is not installed ({error.name} is missing)"
        raise ConfigError(
            "index", problem, "Run: pip install 'mlensing[search]'; or search without an index."
        ) from error
    return faiss
