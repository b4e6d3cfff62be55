"""A finder slid over a field finds what it looks for, where it is, and says so in files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits
from torch import Tensor

from mlensing.cli import main
from mlensing.contract import CHANNELS, BandStatistics, ModelContract
from mlensing.data.field import open_field
from mlensing.errors import ConfigError
from mlensing.inference.ensemble import EnsembleScores
from mlensing.inference.fields.heat_map import slide
from mlensing.inference.fields.maps import map_field

SCALE = 0.2
SOURCES = {(60, 41): 30.0, (141, 120): 20.0}
"""(x, y) of each source, and its brightness."""
WCS: dict[str, Any] = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 30.0, "CRVAL2": 0.0,
    "CD1_1": -SCALE / 3600, "CD2_2": SCALE / 3600,
}  # fmt: skip


class Brightest:
    """A stand-in for a predictor: its log-odds are the light about the middle of the window, less ten."""

    def __init__(self, pixel_scale: tuple[float, float] = (SCALE, SCALE), maps: bool = False) -> None:
        stats: Any = {"linear": BandStatistics(mean=(0.0,) * 3, std=(1.0,) * 3)}
        self.contract = ModelContract(
            name="x", bands=CHANNELS, input_size=32, pixel_scale=pixel_scale, statistics=stats
        )
        self.ensemble, self.members, self.windows = self, [], 0
        if maps:
            self.members = [SimpleNamespace(has_maps=True, maps=self.maps)]

    def score_pixels(self, image: Tensor, composite: Tensor, spacing: Tensor) -> EnsembleScores:
        assert image.shape[1:] == (3, 32, 32) and not composite.any()
        self.windows += len(image)
        y, x = torch.meshgrid(*[torch.arange(32.0) - 15.5] * 2, indexing="ij")
        near = torch.exp(-(x**2 + y**2) / 50)
        logit = (image[:, 1] * near).sum((1, 2)).double().numpy()[None] - 10
        return EnsembleScores(logit, np.ones_like(logit), np.full_like(logit, 0.5), np.full_like(logit, np.nan))

    def maps(self, image: Tensor, composite: Tensor, spacing: Tensor) -> dict[str, Tensor]:
        """psi = x^2 + 2 y [arcsec^2] in the window, so alpha = (2 x, 2); kappa = 1."""
        step = spacing[:, :1, None]
        x = (torch.arange(32.0) - 15.5).expand(len(image), 32, 32) * step
        unit = torch.ones_like(x)
        return {
            "kappa": unit,
            "kappa_log_variance": unit,
            "psi": x**2 + 2 * x.transpose(1, 2),
        }

    def fused(self, scores: EnsembleScores) -> tuple[np.ndarray, None]:
        return scores.logit[0], None

    def shifted(self, odds: np.ndarray, prevalence: float | None) -> np.ndarray:
        return odds


def write_field(path: Path, *, scale: float = SCALE, shape: tuple[int, int] = (161, 203)) -> Path:
    """Round sources on a flat sky; one corner has no data."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = sum(value * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for (a, b), value in SOURCES.items())
    image = np.stack([light] * 3) + np.random.default_rng(0).normal(0, 0.01, (3, *shape))
    image[:, :70, 140:] = np.nan
    header = fits.Header({**WCS, "BANDS": "gri", "PIXSCALE": scale})
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_field(tmp_path / "field.fits")


def slid(path: Path, predictor: Any, **options: Any) -> Any:
    with open_field([path]) as field:
        return slide(predictor, field, **options)


def test_sources_are_the_peaks_and_fewer_windows_find_them(path: Path) -> None:
    everywhere, refined = Brightest(), Brightest()
    full, quick = slid(path, everywhere, refine=1.0), slid(path, refined, coarse=8, refine=0.05)
    assert refined.windows < 0.5 * everywhere.windows
    for heat in (full, quick):
        for peak, (x, y) in zip(heat.peaks(2), SOURCES, strict=True):
            assert abs(peak.x - x) <= 2 and abs(peak.y - y) <= 2  # half a stride
    np.testing.assert_allclose(quick.logit[quick.judged], full.logit[quick.judged], rtol=1e-6)
    assert [p.logit for p in quick.peaks(2)] == pytest.approx([p.logit for p in full.peaks(2)])


def test_log_odds_are_those_of_the_window_that_is_cut_out(path: Path) -> None:
    predictor = Brightest()
    heat = slid(path, predictor, refine=1.0)
    image = torch.from_numpy(fits.getdata(path).astype(np.float32))
    row, column = 7, 11
    y, x = 4 * row, 4 * column
    alone = predictor.score_pixels(
        image[None, :, y : y + 32, x : x + 32], torch.zeros(1, dtype=torch.bool), torch.ones(1, 2)
    )
    assert heat.logit[row, column] == pytest.approx(alone.logit[0, 0], rel=1e-6)
    assert (heat.y[row], heat.x[column]) == (y + 15.5, x + 15.5)
    assert heat.sample(heat.y[[row]], heat.x[[column]])[0, 0] == heat.logit[row, column]
    between = heat.sample(heat.y[[row]] + 1, heat.x[[column]])[0, 0]
    assert between == pytest.approx(0.75 * heat.logit[row, column] + 0.25 * heat.logit[row + 1, column])


def test_the_border_and_places_without_data_have_no_value(path: Path) -> None:
    heat = slid(path, Brightest())
    shown = heat.sample(np.arange(161.0), np.arange(203.0))
    assert np.isnan(shown[:15]).all() and np.isnan(shown[:, -15:]).all()
    assert np.isnan(shown[20:50, 170:185]).all() and np.isfinite(shown[100:140, 20:180]).all()
    assert (heat.y[-1], heat.x[-1]) == (161 - 16.5, 203 - 16.5)  # the last window is flush with the border


def test_another_pixel_scale_makes_another_window(tmp_path: Path) -> None:
    path = write_field(tmp_path / "fine.fits", scale=0.1)
    heat = slid(path, Brightest((SCALE, SCALE)))
    assert (heat.window.rows, heat.window.columns) == (64, 64)
    assert heat.window.spacing == pytest.approx((SCALE, SCALE))
    peak = heat.peaks(1)[0]
    assert abs(peak.x - 60) <= 2 and abs(peak.y - 41) <= 2


def test_maps_table_and_picture(path: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "maps.fits"
    table = map_field(Brightest(maps=True), [path], output=str(output), candidates=5)  # type: ignore[arg-type]
    assert [(row.x, row.y) for row in table.itertuples()] == [(x - 0.5, y - 0.5) for x, y in SOURCES]
    pd.testing.assert_frame_equal(
        pd.read_csv(output.with_suffix(".csv"), keep_default_na=False), table, check_dtype=False
    )
    assert sorted(found.name for found in output.parent.iterdir()) == ["maps.csv", "maps.fits", "maps.png"]
    best = table.iloc[0]
    assert best["ra"] == pytest.approx(30.0 - best["x"] * SCALE / 3600) and best["dec"] == pytest.approx(
        best["y"] * SCALE / 3600
    )
    with fits.open(output) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PROBABILITY", "KAPPA", "PSI", "ALPHA_X", "ALPHA_Y"]
        numbers = {key: value for key, value in WCS.items() if not isinstance(value, str)}
        for hdu in hdus:
            assert {key: hdu.header[key] for key in numbers} == pytest.approx(numbers, rel=1e-12)
            assert (hdu.header["CTYPE1"], hdu.header["CTYPE2"]) == ("RA---TAN", "DEC--TAN")
        assert all(hdu.data.shape == (161, 203) for hdu in hdus)
        y, x = round(best["y"]), round(best["x"])
        assert hdus["PROBABILITY"].data[y, x] > 0.99
        assert hdus["KAPPA"].data[y, x] == 1 and np.isnan(hdus["KAPPA"].data[100, 100])
        offset = x - best["x"]
        assert hdus["ALPHA_X"].data[y, x] == pytest.approx(2 * offset * SCALE, abs=1e-4)
        assert hdus["ALPHA_Y"].data[y, x] == pytest.approx(2.0, abs=1e-4)


def test_settings_that_cannot_be_are_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected 4, 8, 16"):
        slid(path, Brightest(), stride=4, coarse=12)
    with pytest.raises(ConfigError, match="share"):
        slid(path, Brightest(), refine=2.0)
    small = write_field(tmp_path / "small.fits", shape=(30, 203))
    with pytest.raises(ConfigError, match=r"less than one window of 32 x 32.*mlensing predict"):
        slid(small, Brightest())
    with pytest.raises(ConfigError, match=r"ends in \.fits"):
        map_field(Brightest(), [path], output="maps.png")  # type: ignore[arg-type]


def test_the_verb_writes_all_or_nothing(
    path: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["map", str(path), "--checkpoint", str(checkpoint), "--coarse", "16", "--refine", "0"]
    output = tmp_path / "found" / "maps.fits"
    assert main([*given, "--output", str(output)]) == 0
    assert "candidates; the best at x" in capsys.readouterr().out
    assert fits.getval(output, "EXTNAME") == "PROBABILITY" and output.with_suffix(".png").is_file()
    path.write_bytes(b"SIMPLE  = nonsense")
    assert main([*given, "--output", str(tmp_path / "none" / "maps.fits")]) == 2
    assert "damaged or truncated" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
