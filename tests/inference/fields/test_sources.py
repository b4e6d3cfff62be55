"""Sources of a field are found where they are, whatever its noise, scale and holes, and windows stand on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from mlensing.cli import main
from mlensing.data.field import open_field
from mlensing.errors import ConfigError
from mlensing.inference.fields.sources import STRIP, find_sources, windows_on
from mlensing.inference.fields.windows import Window

BANDS = ("g", "r", "i")
WINDOW = Window(32, 32, 32, (0.2, 0.2))
PLACES = [(20, 30), (STRIP - 1, 60), (STRIP, 20), (STRIP + 40, 61)]
"""(row, column); two of them at the seam of two strips."""


def write_field(path: Path, *, places: list[tuple[int, int]] = PLACES, width: float = 2.0, hole: bool = False) -> Path:
    """Round sources as bright as 20 times the noise, each band with a noise and a sky of its own."""
    y, x = np.mgrid[: STRIP + 80, :100]
    light = sum(np.exp(-((y - b) ** 2 + (x - a) ** 2) / (2 * width**2)) for b, a in places)
    noise = np.random.default_rng(0).normal(0, 1, (3, *y.shape))
    image = (20 * light + noise) * np.array([1, 5, 30])[:, None, None] + np.array([0, 100, -7])[:, None, None]
    if hole:
        image[:, :60] = np.nan
    fits.PrimaryHDU(image.astype(np.float32), fits.Header({"BANDS": "gri"})).writeto(path)
    return path


def found(path: Path, window: Window = WINDOW, **options: Any) -> list[tuple[int, int]]:
    with open_field([path]) as field:
        return [(int(row), int(column)) for row, column in find_sources(field, BANDS, window, **options)]


def test_sources_are_found_once_each_in_the_order_of_rows(tmp_path: Path) -> None:
    places = found(write_field(tmp_path / "field.fits"))
    assert len(places) == len(PLACES)
    assert np.abs(np.array(places) - PLACES).max() <= 1


def test_faint_ones_and_those_beside_a_brighter_one_are_left_out(tmp_path: Path) -> None:
    path = write_field(tmp_path / "field.fits", places=[(40, 40), (43, 43)])
    assert len(found(path)) == 1
    assert found(path, detection=1e4) == []
    with pytest.raises(ConfigError, match="above 0"):
        found(path, detection=0.0)


def test_nothing_is_found_where_there_are_no_data(tmp_path: Path) -> None:
    places = found(write_field(tmp_path / "field.fits", hole=True))
    assert np.abs(np.array(places) - PLACES[1:]).max() <= 1


def test_finer_pixels_find_the_same_sources(tmp_path: Path) -> None:
    fine = Window(64, 64, 32, (0.2, 0.2))
    places = found(write_field(tmp_path / "field.fits", width=4.0), fine)
    assert len(places) == len(PLACES) and np.abs(np.array(places) - PLACES).max() <= 2


def test_windows_lie_within_the_field_and_their_source_in_the_middle() -> None:
    corners = windows_on(np.array([[15, 50], [16, 50], [84, 50], [85, 50]]), WINDOW, (100, 100))
    assert corners.tolist() == [[0, 34], [68, 34]]


def test_the_verb_ranks_sources_or_places_of_the_grid(tmp_path: Path, checkpoint: Path) -> None:
    path, positions = write_field(tmp_path / "field.fits"), {}
    for places in ("sources", "grid"):
        output = tmp_path / f"{places}.fits"
        options = ["--coarse", "16", "--stride", "16", "--places", places, "--output", str(output), "--survey", "lsst"]
        assert main(["map", str(path), "--checkpoint", str(checkpoint), *options]) == 0
        table = pd.read_csv(output.with_suffix(".csv"))
        positions[places] = {(row.y + 0.5, row.x + 0.5) for row in table.itertuples()}
    assert positions["sources"] == set(found(path))
    assert {y % 16 for y, _ in positions["grid"]} == {0.0}
