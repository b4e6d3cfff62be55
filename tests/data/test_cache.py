import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from mlensing.catalog import Catalog
from mlensing.contract import CHANNELS
from mlensing.data import cache as cache_module
from mlensing.data.cache import FOLDER, Cache, CacheSettings, fitted
from mlensing.data.cutout import read_cutout, select_bands
from mlensing.data.framing import frame
from mlensing.errors import ConfigError, ImageError

SETTINGS = CacheSettings(CHANNELS, 40)


def write(path: Path, seed: int, size: int = 48) -> None:
    image = np.random.default_rng(seed).normal(size=(3, size, size)).astype(np.float32)
    hdu = fits.PrimaryHDU(image)
    hdu.header["BANDS"], hdu.header["PIXSCALE"] = "gri", 0.2
    hdu.writeto(path, overwrite=True)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    for i in range(6):
        write(tmp_path / f"{i}.fits", i)
    np.save(tmp_path / "6.npy", np.random.default_rng(6).integers(0, 255, (48, 48, 3), dtype=np.uint8))
    rows = [f"{i}.fits,{i % 2}," for i in range(6)] + ["6.npy,,0.3"]
    path = tmp_path / "index.csv"
    path.write_text("filepath,label,pixel_scale_arcsec\n" + "\n".join(rows) + "\n")
    return path


def test_cached_is_as_read(index: Path) -> None:
    catalog = Catalog.read(index)
    cache = Cache.open(catalog, SETTINGS)
    assert cache.images.shape == (7, 3, 40, 40) and len(cache) == 7
    rows = [6, 2, 2, 0]
    direct = [frame(select_bands(read_cutout(catalog.paths[r]), CHANNELS), 40).image for r in rows]
    assert np.array_equal(cache.read(rows), np.stack(direct))
    assert np.array_equal(cache.read(rows, 32), np.stack(direct)[..., 4:-4, 4:-4])
    assert cache.composite.tolist() == [False] * 6 + [True]
    assert cache.dx.tolist() == pytest.approx([0.2] * 6 + [0.3]) and np.isnan(cache.label[6])


def test_a_worker_gets_no_pixels_but_maps_them(index: Path) -> None:
    cache = Cache.open(Catalog.read(index), SETTINGS)
    pixels = cache.images
    sent = pickle.dumps(cache)
    assert len(sent) < 5000 < pixels.nbytes
    assert np.array_equal(pickle.loads(sent).images, pixels)


def count_builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []

    def counted(catalog: Catalog, i: int, settings: CacheSettings) -> object:
        calls.append(i)
        return fitted(catalog, i, settings)

    monkeypatch.setattr(cache_module, "fitted", counted)
    return calls


def test_built_once_and_again_on_change(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_builds(monkeypatch)
    first = Cache.open(Catalog.read(index), SETTINGS)
    assert np.array_equal(Cache.open(Catalog.read(index), SETTINGS).images, first.images)
    assert len(calls) == 7
    write(index.parent / "0.fits", 99)
    os.utime(index.parent / "0.fits", ns=(1, 1))
    changed = Cache.open(Catalog.read(index), SETTINGS)
    assert len(calls) == 14 and not np.array_equal(changed.images[0], first.images[0])
    index.write_text("\n".join(index.read_text().splitlines()[:4]) + "\n")
    assert len(Cache.open(Catalog.read(index), SETTINGS)) == 3
    Cache.open(Catalog.read(index), CacheSettings(CHANNELS, 32))
    assert len(list((index.parent / FOLDER).glob("*.npy"))) == 2


def test_an_interrupted_or_spoilt_cache_is_built_again(index: Path) -> None:
    catalog = Catalog.read(index)
    Cache.open(catalog, SETTINGS)
    record = next((index.parent / FOLDER).glob("*.json"))
    whole = record.read_text()
    for text in ("", whole[:20], json.dumps({})):
        record.write_text(text)
        Cache.open(catalog, SETTINGS)
        assert record.read_text() == whole


def test_a_bad_image_leaves_no_cache(index: Path) -> None:
    (index.parent / "3.fits").write_bytes(b"")
    with pytest.raises(ImageError, match=r"3\.fits.*empty"):
        Cache.open(Catalog.read(index), SETTINGS)
    assert {path.suffix for path in (index.parent / FOLDER).iterdir()} <= {".lock"}


def test_a_folder_that_cannot_be_written(index: Path) -> None:
    (index.parent / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write the image cache.*Prepare into"):
        Cache.open(Catalog.read(index), SETTINGS, index.parent / "file" / "cache")


def test_other_scales_are_resampled(index: Path) -> None:
    cache = Cache.open(Catalog.read(index), CacheSettings(CHANNELS, 16, scale_range=(0.38, 0.4)))
    assert cache.dx.tolist() == pytest.approx([0.38] * 7, rel=0.02)
