"""Time to write a simulated cutout as FITS, with maps, against astropy writing the same content in the same run.

Run: python benchmarks/write_fits.py [--full]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

from mlensing.provenance import replacing
from mlensing.simulate.fits_template import Array, Card, FitsTemplate

SIZE, BANDS = 64, 3
CARDS: dict[str, Card] = {
    "PIXSCALE": 0.2, "BANDS": "g,r,i", "SURVEY": "lsst", "LABEL": 1, "KIND": "lens", "Z_LENS": 0.5,
    "Z_SOURCE": 2.0, "SIGMA_CRIT": 2079.0, "THETA_E": 1.2,
}  # fmt: skip
Write = Callable[[Path, Array, dict[str, Array]], None]


def our_writer() -> Write:
    template = FitsTemplate(size=SIZE, bands=BANDS, cards=CARDS, maps=True)

    def write(path: Path, image: Array, maps: dict[str, Array]) -> None:
        with replacing(path) as beside:
            beside.write_bytes(template.fill(image, maps, CARDS))

    return write


def astropy_writer(path: Path, image: Array, maps: dict[str, Array]) -> None:
    header = fits.Header({f"HIERARCH {key}" if len(key) > 8 else key: value for key, value in CARDS.items()})
    planes = [fits.ImageHDU(plane, name=name) for name, plane in maps.items()]
    fits.HDUList([fits.PrimaryHDU(np.moveaxis(image, 0, -1), header), *planes]).writeto(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="many more files")
    count = 5000 if parser.parse_args().full else 500
    image = np.random.default_rng(0).normal(size=(BANDS, SIZE, SIZE)).astype(np.float32)
    maps = {"KAPPA": image[0], "PSI": image[1], "ALPHA": image[:2]}
    writers: dict[str, Write] = {"ours": our_writer(), "astropy": astropy_writer}
    times: dict[str, list[float]] = {name: [] for name in writers}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            for name, write in writers.items():
                start = time.perf_counter()
                write(Path(folder) / f"{name}_{number}.fits", image, maps)
                times[name].append(time.perf_counter() - start)
    ours, theirs = (1e3 * statistics.median(times[name]) for name in ("ours", "astropy"))
    print(f"astropy HDUList.writeto: {theirs:.2f} ms a file; ours is {theirs / ours:.0f} times as fast")
    print(f"WRITE_FITS = {ours:.2f} ms (aim 1)")


if __name__ == "__main__":
    main()
