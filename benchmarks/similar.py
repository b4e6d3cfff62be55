"""Milliseconds for the 100 nearest of a million embeddings of the released network: by the index, and without one.

    python benchmarks/similar.py [--full]

The embeddings are those of simulated images, as the released ensemble sees them (512 features), multiplied by mixing
pairs and adding noise. Beside the index stand what a user would write instead: the product with all of them in numpy
(float32, normalised beforehand), scikit-learn's exact neighbours, and the exact search of ``mlensing similar``, which
reads half precision. Two threads each, in the same run; medians over queries of the time on the clock and, because that
is larger on a busy machine, of the processor's. The index is approximate: its recall is the share of the true 100 that
it finds. The time it takes to build is told. The default searches 100,000 embeddings;
``--full`` a million, which takes 5 GB of memory and some minutes. Needs the extra ``search``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from mlensing.errors import ConfigError
from mlensing.inference.embeddings import Embeddings
from mlensing.inference.ensemble import Ensemble
from mlensing.inference.nearest import Index
from mlensing.inference.similar import search
from mlensing.simulate import Mixture, Simulator
from mlensing.simulate.simulator import BLOCK

QUICK, FULL, SEEN = 100_000, 1_000_000, 256
MOST, QUERIES, EXACT, THREADS = 100, 30, 5, 2
"""Neighbours, queries, of which so many are asked of what is exact, and threads."""
MIXTURE, NOISE, CHUNK = "configs/demo_sky.yaml", 0.3, 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="a million embeddings")
    count = FULL if parser.parse_args().full else QUICK
    torch.set_num_threads(THREADS)
    with threadpool_limits(THREADS):
        measure(count)


def measure(count: int) -> None:
    library, queries = grown(seen(), count)
    start = time.perf_counter()
    try:
        index = Index(library)
    except ConfigError as error:
        print(f"skipped: {error}")
        return
    width = library.features.shape[1]
    print(f"{count:,} embeddings of {width}; the index took {time.perf_counter() - start:.0f} s to build")
    unit = np.empty((count, width), np.float32)
    for at in range(0, count, CHUNK):
        unit[at : at + CHUNK] = library.features[at : at + CHUNK]
        unit[at : at + CHUNK] /= np.linalg.norm(unit[at : at + CHUNK], axis=1, keepdims=True)
    neighbours = NearestNeighbors(n_neighbors=MOST, algorithm="brute").fit(unit)  # of unit vectors: the same order
    truth = [nearest(unit, query) for query in queries]
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "numpy, exact": lambda query: nearest(unit, query),
        "scikit-learn, exact": lambda query: neighbours.kneighbors(query / np.linalg.norm(query))[1][0],
        "mlensing, exact": lambda query: search(library, query, ["q"], most=MOST).index.to_numpy(),
        "mlensing, index": lambda query: search(library, query, ["q"], most=MOST, index=index).index.to_numpy(),
    }
    for name, way in ways.items():
        asked = QUERIES if "index" in name else EXACT
        spent, worked, recall = timed(way, queries[:asked], truth[:asked])
        print(f"{name:20} {spent:8.2f} ms a query, {worked:8.2f} ms of the processor, recall@{MOST} {recall:.3f}")
    print(f"SIMILAR_QUERY_MS = {spent:.2f} (aim 50)")


def nearest(unit: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Rows of the largest cosine, by numpy."""
    cosine = unit @ query[0].astype(np.float32)
    best = np.argpartition(-cosine, MOST)[:MOST]
    return best[np.argsort(-cosine[best])]


def timed(
    way: Callable[[np.ndarray], np.ndarray], queries: list[np.ndarray], truth: list[np.ndarray]
) -> tuple[float, float, float]:
    """Median milliseconds of a query, by the clock and of the processor, and the mean share of the truth found."""
    way(queries[0])
    spent, worked, found = [], [], []
    for query, true in zip(queries, truth, strict=True):
        clock, processor = time.perf_counter(), time.process_time()
        rows = way(query)
        spent.append(1e3 * (time.perf_counter() - clock))
        worked.append(1e3 * (time.process_time() - processor))
        found.append(len(np.intersect1d(rows, true)) / MOST)
    return statistics.median(spent), statistics.median(worked), statistics.mean(found)


def seen() -> np.ndarray:
    """Standardised features [n, F] of simulated images."""
    ensemble, simulator = Ensemble.load(device="cpu"), Simulator(Mixture.load(MIXTURE), seed=0)
    blocks = [simulator.block(number)["image"] for number in range(SEEN // BLOCK)]
    linear = torch.zeros(BLOCK, dtype=torch.bool)
    found = [torch.cat([m.features(image, linear) for m in ensemble.members], 1) for image in blocks]
    features = torch.cat(found).numpy()
    return (features - features.mean(0)) / features.std(0).clip(1e-6)


def grown(features: np.ndarray, count: int) -> tuple[Embeddings, list[np.ndarray]]:
    """A library of so many embeddings like these, and queries that are not in it."""
    rng, width = np.random.default_rng(0), features.shape[1]
    stored = np.empty((count + QUERIES, width), np.float16)
    for start in range(0, len(stored), CHUNK):
        size = len(stored[start : start + CHUNK])
        one, other = (features[rng.integers(0, len(features), size)] for _ in range(2))
        share = rng.random((size, 1), np.float32)
        noise = NOISE * rng.standard_normal((size, width), np.float32)
        stored[start : start + size] = share * one + (1 - share) * other + noise
    names, plain = [str(row) for row in range(count)], np.zeros(width, np.float32)
    planes = np.full(count, -1, np.int32)
    library = Embeddings(stored[:count], names, names, planes, ["ok"] * count, plain, plain + 1, {})
    return library, [row[None] for row in stored[count:]]


if __name__ == "__main__":
    main()
