"""Cutouts a second: random batches from the cache, against opening each FITS file, in the same run.

Usage: python benchmarks/read_cache.py [--full]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from mlensing.catalog import Catalog
from mlensing.contract import CHANNELS
from mlensing.data.cache import CacheSettings
from mlensing.data.cached import CachedSplit
from mlensing.data.cutout import read_cutout

BATCH, SIZE, MARGIN = 64, 64, 4


def write_files(folder: Path, count: int) -> Catalog:
    """``count`` FITS files and their index; the pixels differ, the header does not."""
    rng = np.random.default_rng(0)
    hdu = fits.PrimaryHDU(rng.normal(size=(3, SIZE + 2 * MARGIN, SIZE + 2 * MARGIN)).astype(np.float32))
    hdu.header["BANDS"], hdu.header["PIXSCALE"] = "gri", 0.2
    lines = ["filepath,label,pixel_scale_arcsec"]
    for i in range(count):
        hdu.data[0, 0, 0] = i
        hdu.writeto(folder / f"{i}.fits")
        lines.append(f"{i}.fits,{i % 2},0.2")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return Catalog.read(folder / "index.csv")


def rate(read: Callable[[NDArray[np.int64]], object], batches: list[NDArray[np.int64]]) -> float:
    """Cutouts a second: the median over batches, so that a busy machine counts less."""
    times = []
    for batch in batches:
        start = time.perf_counter()
        read(batch)
        times.append(time.perf_counter() - start)
    return len(batches[0]) / float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="20,000 files instead of 2,000")
    count = 20_000 if parser.parse_args().full else 2_000
    with tempfile.TemporaryDirectory() as name:
        catalog = write_files(Path(name), count)
        start = time.perf_counter()
        split = CachedSplit(catalog.source, CacheSettings(CHANNELS, SIZE + 2 * MARGIN))
        built = count / (time.perf_counter() - start)
        rng = np.random.default_rng(1)
        batches = [rng.integers(0, count, BATCH) for _ in range(200)]
        paths = catalog.paths
        single = rate(lambda rows: [read_cutout(paths[i], maps=()) for i in rows], batches[:10])
        cached = rate(lambda rows: split.__getitems__(rows.tolist()), batches)
    print(f"one astropy reading a file:  {single:9.0f} cutouts/s ({1e3 / single:.2f} ms each)")
    print(f"building the cache, once:    {built:9.0f} cutouts/s")
    print(f"random batches of {BATCH}:        {cached:9.0f} cutouts/s, {cached / single:.0f} times as fast")
    print(f"READ_CACHE = {cached:.0f} cutouts/s (aim 10000)")


if __name__ == "__main__":
    main()
