"""Numbers of lenses in the table of scores: whose maps they come from, which rows have them, in which units."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

from mlensing.cli import main
from mlensing.contract import ModelContract
from mlensing.errors import ConfigError
from mlensing.inference import Predictor
from mlensing.inference.ensemble import Ensemble
from mlensing.inference.lenses import COLUMNS
from mlensing.models import build
from mlensing.models.checkpoint import stamp
from mlensing.models.maps import TYPICAL
from mlensing.physics import mass_within

SCALE, PIXELS = 0.2, 8.0


def write_mapper(path: Path, contract: ModelContract, pixels: float = PIXELS) -> Path:
    """A finder that sees in every image a round lens with an Einstein radius near so many pixels."""
    contract = contract.model_copy(update={"task": "maps"})
    torch.manual_seed(1)
    net = build(contract.name, contract, **contract.options)
    last = net.maps.last
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([math.log(math.expm1(pixels)) - TYPICAL, 0.0, 0.0])
    content: dict[str, Any] = {"state_dict": {f"net.{k}": v for k, v in net.state_dict().items()}}
    stamp(content, contract, {"seed": int(10 * pixels)})
    torch.save(content, path)
    return path


def write_image(path: Path, **cards: Any) -> Path:
    cube = np.random.default_rng(3).normal(size=(32, 32, 3)).astype(np.float32)
    fits.PrimaryHDU(cube, fits.Header({"BANDS": "g,r,i", **cards})).writeto(path)
    return path


@pytest.fixture(scope="module")
def mapper(tmp_path_factory: pytest.TempPathFactory, contract: ModelContract) -> Path:
    return write_mapper(tmp_path_factory.mktemp("mapper") / "maps.ckpt", contract)


def softened_radius(pixels: float) -> float:
    """Where the mean of v / 2 sqrt(r^2 + 1) within a circle is 1: sqrt((v - 1)^2 - 1)."""
    return math.sqrt((pixels - 1) ** 2 - 1)


def test_numbers_are_those_of_the_maps_in_arcsec_and_solar_masses(mapper: Path, tmp_path: Path) -> None:
    known = write_image(tmp_path / "a.fits", PIXSCALE=SCALE, Z_LENS=0.5, Z_SOURCE=2.0)
    without = write_image(tmp_path / "b.fits", PIXSCALE=SCALE)
    table = Predictor.load(mapper, "cpu").predict([known, without], maps=True, accept=0.0)
    assert list(table.columns[-8:]) == ["consistency", *COLUMNS, "status"]
    first = table.iloc[0]
    assert first["theta_E"] == pytest.approx(softened_radius(PIXELS) * SCALE, rel=0.04)
    assert first["theta_E_uncertainty"] / first["theta_E"] == pytest.approx(1 / PIXELS, rel=0.3)
    assert first["axis_ratio"] == pytest.approx(1.0, abs=0.03)
    expected = mass_within(*(np.array([v]) for v in (first["theta_E"], 0.5, 2.0)))[0]
    assert first["mass"] == pytest.approx(expected)
    assert first["mass_uncertainty"] / first["mass"] == pytest.approx(
        2 * first["theta_E_uncertainty"] / first["theta_E"]
    )
    assert np.isnan(table["mass"][1]) and table["theta_E"][1] == pytest.approx(first["theta_E"])
    assert 0 < first["consistency"] <= 1


def test_without_a_pixel_scale_only_the_shape_is_known(mapper: Path, tmp_path: Path) -> None:
    table = Predictor.load(mapper, "cpu").predict([write_image(tmp_path / "a.fits")], maps=True, accept=0.0)
    assert np.isnan(table["theta_E"][0]) and np.isnan(table["mass"][0])
    assert table["axis_ratio"][0] == pytest.approx(1.0, abs=0.03)


def test_redshifts_of_an_index_win_over_the_header(mapper: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.fits", PIXSCALE=SCALE, Z_LENS=0.3)
    (tmp_path / "index.csv").write_text("filepath,label,z_lens,z_source\na.fits,,0.5,2.0\n")
    table = Predictor.load(mapper, "cpu").predict([tmp_path / "index.csv"], maps=True, accept=0.0)
    expected = mass_within(*(np.array([v]) for v in (table["theta_E"][0], 0.5, 2.0)))[0]
    assert table["mass"][0] == pytest.approx(expected)


def test_batches_damaged_files_and_rejected_rows(mapper: Path, tmp_path: Path) -> None:
    images = [write_image(tmp_path / f"{i}.fits", PIXSCALE=SCALE) for i in range(3)]
    images.insert(1, tmp_path / "broken.fits")
    images[1].write_bytes(b"no FITS")
    predictor = Predictor.load(mapper, "cpu")
    whole, single = (predictor.predict(images, maps=True, accept=0.0, batch_size=n) for n in (64, 1))
    np.testing.assert_allclose(whole[list(COLUMNS)], single[list(COLUMNS)], rtol=1e-4, equal_nan=True)
    assert whole["theta_E"].isna().tolist() == [False, True, False, False] and whole["status"][1] != "ok"
    none = predictor.predict(images, maps=True, accept=1.1)
    assert none[list(COLUMNS)].isna().all().all() and none["consistency"].notna().sum() == 3


def test_members_with_maps_are_averaged_and_their_scatter_counts(
    mapper: Path, checkpoint: Path, contract: ModelContract, tmp_path: Path
) -> None:
    other = write_mapper(tmp_path / "other.ckpt", contract, pixels=10.0)
    image = write_image(tmp_path / "a.fits", PIXSCALE=SCALE)
    alone, both = (
        Predictor.load(paths, "cpu").predict([image], maps=True, accept=0.0).iloc[0]
        for paths in ([mapper, checkpoint], [mapper, other, checkpoint])
    )
    assert alone["theta_E"] == pytest.approx(softened_radius(8.0) * SCALE, rel=0.04)
    assert both["theta_E"] == pytest.approx(softened_radius(9.0) * SCALE, rel=0.04)
    assert both["theta_E_uncertainty"] > 1.2 * alone["theta_E_uncertainty"]


def test_a_member_without_maps_has_no_residual(mapper: Path, checkpoint: Path) -> None:
    ensemble = Ensemble.load([mapper, checkpoint], "cpu")
    image, composite = torch.randn(2, 3, 32, 32), torch.zeros(2, dtype=torch.bool)
    asked = ensemble.score(image, composite, maps=torch.full((2, 2), SCALE))
    assert np.isfinite(asked.physics[0]).all() and np.isnan(asked.physics[1]).all()
    silent = ensemble.score(image, composite)
    assert np.isnan(silent.physics).all()
    np.testing.assert_allclose(asked.logit, silent.logit, rtol=1e-5)


def test_maps_of_finders_without_any_are_a_mistake(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    image = write_image(tmp_path / "a.fits", PIXSCALE=SCALE)
    with pytest.raises(ConfigError, match="predicts maps"):
        Predictor.load(checkpoint, "cpu").predict([image], maps=True)
    output = tmp_path / "scores.csv"
    assert main(["predict", str(image), "--checkpoint", str(checkpoint), "--maps", "--output", str(output)]) == 2
    assert "predicts maps" in capsys.readouterr().err and not output.exists()
