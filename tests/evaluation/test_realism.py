"""Features on images whose answer is known; discriminators on skies that are alike and that are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mlensing.errors import ConfigError
from mlensing.evaluation.appearance import FEATURES, appearance
from mlensing.evaluation.realism import Realism, compare, rank_features, texture
from mlensing.evaluation.realism_page import write_mosaic, write_realism_page

Images = NDArray[np.float32]


def noise(count: int, *, seed: int = 0, size: int = 64, correlated: bool = False) -> Images:
    x = np.random.default_rng(seed).normal(size=(count, 3, size, size)).astype(np.float32)
    if correlated:
        x = (x + np.roll(x, 1, -1) + np.roll(x, 1, -2) + np.roll(x, (1, 1), (-1, -2))) / 2
    return x


def source(sigma: float, *, x: float = 0.0, y: float = 0.0, peak: float = 200.0, size: int = 64) -> Images:
    line = np.arange(size) - (size - 1) / 2
    return (peak * np.exp(-((line - x) ** 2 + (line[:, None] - y) ** 2) / (2 * sigma**2))).astype(np.float32)


def median(images: Images, name: str, *, composite: bool = False) -> float:
    return float(np.median(appearance(images, composite=composite)[name]))


def test_white_noise_has_no_correlation_and_a_flat_spectrum() -> None:
    white, smooth = noise(16), noise(16, seed=1, correlated=True)
    assert abs(median(white, "noise correlation")) < 0.05
    assert median(smooth, "noise correlation") == pytest.approx(2 / 3, abs=0.06)  # a 2 x 2 box: rho 0.5, 0
    assert abs(median(white, "power spectrum slope")) < 0.25
    assert median(smooth, "power spectrum slope") < -0.8


def test_smooth_light_is_not_taken_for_correlated_noise() -> None:
    assert abs(median(noise(16) + source(15.0, peak=20.0), "noise correlation")) < 0.1


def test_a_broad_source_is_wide_and_not_concentrated() -> None:
    narrow, broad = noise(8) + source(1.5), noise(8) + source(4.0)
    assert median(narrow, "central width") == pytest.approx(2.355 * 1.5, rel=0.15)
    assert median(broad, "central width") == pytest.approx(2.355 * 4.0, rel=0.1)
    assert median(narrow, "concentration") > 0.75 > 0.5 > median(broad, "concentration")
    assert median(narrow, "sharpness") > 2 * median(broad, "sharpness")


def test_colour_tells_which_band_is_brighter_and_where() -> None:
    blue = noise(8)
    blue[:, 0] += source(3.0)
    assert median(blue, "colour, centre") > 0.9
    red_core = noise(8)
    red_core[:, 2] += source(2.0)
    red_core[:, 0] += source(8.0, peak=50.0)
    assert median(red_core, "colour, centre") < 0 < median(red_core, "colour gradient")


def test_neighbours_are_counted_and_the_centre_is_not() -> None:
    x = noise(8) + source(2.0)
    assert median(x, "neighbours") == 0
    x += source(2.0, x=15.0) + source(2.0, x=-10.0, y=18.0)
    assert median(x, "neighbours") == 2


def test_asymmetry_sees_what_a_turn_does_not_bring_back() -> None:
    ring = noise(8) + source(2.0, x=8.0) + source(2.0, x=-8.0)
    arc = noise(8) + source(2.0, x=8.0)
    assert median(arc, "asymmetry") > 3 * median(ring, "asymmetry")


def test_composites_show_black_white_and_the_grid_of_jpeg() -> None:
    grey = np.full((4, 3, 64, 64), 40.0, np.float32) + np.round(3 * noise(4))
    assert median(grey, "saturated", composite=True) == 0 and median(grey, "exact zeros", composite=True) == 0
    grey[:, :, :8] = 255.0
    grey[:, :, -16:] = 0.0
    assert median(grey, "saturated", composite=True) == 0.125
    assert median(grey, "exact zeros", composite=True) == 0.25
    blocks = np.round(40.0 + np.kron(noise(4, size=8), np.ones((8, 8), np.float32)) * 20 + noise(4))
    assert median(blocks, "8-pixel grid", composite=True) > 3 * abs(median(grey, "8-pixel grid", composite=True))


@pytest.mark.parametrize("composite", [True, False])
def test_every_feature_is_finite_whatever_the_image(composite: bool) -> None:
    x = np.stack([np.zeros((3, 64, 64)), np.full((3, 64, 64), 255.0), noise(1)[0]]).astype(np.float32)
    found = appearance(x, composite=composite)
    assert set(found) == {*FEATURES, "exact zeros"}
    assert all(values.shape == (3,) and np.isfinite(values).all() for values in found.values())


def test_a_unit_of_flux_changes_nothing_but_what_counts_zeros() -> None:
    x = noise(4) + source(2.0)
    ours, theirs = appearance(x, composite=False), appearance(1e-15 * x, composite=False)
    assert all(np.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-3) for name in ours)


def test_skies_that_are_alike_cannot_be_told_apart() -> None:
    found = compare(noise(60, seed=2), noise(90, seed=3), composite=False, resamples=50)
    assert 0.35 < found.worst < 0.66
    assert all(e.low <= e.value <= e.high for e in found.discriminators.values())


def test_a_sky_with_other_noise_is_told_apart_and_the_reason_is_named() -> None:
    found = compare(noise(30, seed=2), noise(30, seed=3, correlated=True), composite=False, resamples=0)
    assert min(e.value for e in found.discriminators.values()) > 0.99
    first = {t.feature: t.simulated_is for t in found.telling[:4]}
    assert first["noise correlation"] == "higher" and first["power spectrum slope"] == "lower"


def test_the_fakest_and_the_realest_are_the_extremes_of_each_half() -> None:
    mixed = noise(30, seed=5)
    mixed[:5] = noise(5, seed=6, correlated=True)
    found = compare(noise(30, seed=4), mixed, composite=False, resamples=0)
    assert len(set(found.fakest(5)) & set(range(5))) >= 4
    real, simulated = np.split(np.asarray(found.score), [30])
    assert found.realest(1) == [int(real.argmin())] and found.fakest(1) == [int(simulated.argmax())]


def test_a_finders_features_are_one_more_discriminator() -> None:
    rng = np.random.default_rng(7)
    features = rng.normal(size=(20, 6)), rng.normal(size=(20, 6)) + np.array([3, 0, 0, 0, 0, 0])
    found = compare(noise(20), noise(20, seed=1), composite=False, features=features, resamples=0)
    assert found.discriminators["finder"].value > 0.9 and found.worst == found.discriminators["finder"].value


def test_direction_is_that_of_the_simulated() -> None:
    label = np.repeat([0.0, 1.0], 10)
    telling = rank_features({"same": np.tile([1.0, 2.0], 10), "less": -label}, label)
    assert [t.feature for t in telling] == ["less", "same"]
    assert telling[0].simulated_is == "lower" and telling[0].auc == 1.0 and telling[1].auc == 0.5


def test_filters_depend_on_the_seed_alone() -> None:
    x = noise(2)
    assert np.array_equal(texture(x, seed=1), texture(x, seed=1))
    assert not np.allclose(texture(x, seed=1), texture(x, seed=2))


def test_too_few_images_or_other_bands_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 8 of each"):
        compare(noise(3), noise(30), composite=False)
    with pytest.raises(ConfigError, match="the same bands"):
        compare(noise(9)[:, :1], noise(9), composite=False)


def test_page_json_and_mosaic_hold_the_result(tmp_path: Path) -> None:
    found = compare(
        noise(12), noise(12, seed=1), composite=False, resamples=20, title="A & B", skipped={"finder": "none <there>"}
    )
    tiles = [np.full((32, 32, 3), 60, np.uint8)] * 5
    write_realism_page(found, tmp_path / "realism.html", tiles, tiles)
    page = (tmp_path / "realism.html").read_text()
    assert "A &amp; B" in page and "none &lt;there&gt;" in page and "power spectrum slope" in page
    assert page.count("data:image/png") == 10 and "http://" not in page.replace("http://www.w3.org", "")
    found.save(tmp_path / "realism.json")
    assert Realism.model_validate_json((tmp_path / "realism.json").read_text()).score == found.score
    write_mosaic(tmp_path / "mosaic.png", tiles, tiles[:2], columns=3)
    assert Image.open(tmp_path / "mosaic.png").size == (2 * 3 * 34 + 4, 2 * 34)
    assert any("finder" in line and "skipped" in line for line in found.summary())
