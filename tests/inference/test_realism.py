"""Real beside simulated: the same kind on both sides, and a null test with a sky that is its own real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from PIL import Image

from mlensing.data.alike import read_alike
from mlensing.data.gather import gather
from mlensing.errors import ConfigError, ContractError
from mlensing.evaluation.realism import Realism
from mlensing.inference import Predictor
from mlensing.inference.realism import finder_features, picture_sky, realism, write_realism
from mlensing.simulate import Mixture, Simulator
from mlensing.simulate.camera.composite import UNIFORMS, published
from mlensing.survey import Survey

SKY = "{surveys: {des: 1, cfhtls: 1}, classes: {lens: 1, spiral: 1}, size: 32}\n"


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sky") / "mixture.yaml"
    path.write_text(SKY)
    return path


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of composites as the simulator itself makes them, of another seed."""
    folder = tmp_path_factory.mktemp("colour")
    sky = Mixture(surveys={"cfhtls": 1}, classes={"lens": 1, "spiral": 1}, size=32)
    blocks = [Simulator(sky, seed=9).block(number) for number in range(2)]
    image, dx = (torch.cat([block[key] for block in blocks]) for key in ("image", "dx"))
    uniform = torch.rand(len(image), UNIFORMS, generator=torch.Generator().manual_seed(9))
    for i, picture in enumerate(published(image, Survey.load("cfhtls"), dx=dx, uniform=uniform)):
        rgb = picture.flip(0).permute(1, 2, 0).byte().numpy()
        Image.fromarray(np.pad(rgb, ((5, 5), (5, 5), (0, 0)), constant_values=255)).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven noise images, four planes each."""
    folder = tmp_path_factory.mktemp("linear")
    for i in range(11):
        cube = np.random.default_rng(i).normal(size=(40, 40, 4)).astype("f4")
        fits.writeto(folder / f"{i}.fits", cube, fits.Header({"BANDS": "griz", "SURVEY": "DES"}))
    return folder


def test_a_simulated_sky_is_like_itself(colour: Path, mixture: Path, checkpoint: Path) -> None:
    found, real, made = realism([colour], mixture, survey="cfhtls", checkpoint=checkpoint, num_samples=128)
    assert set(found.discriminators) == {"pixels", "appearance", "finder"} and not found.skipped
    assert found.worst < 0.68
    assert real.image.shape == made.image.shape == (128, 3, 32, 32)
    assert real.representation == made.representation == "composite"
    assert made.image.min() >= 0 and made.image.max() <= 255 and np.array_equal(made.image, made.image.round())


def test_another_sky_is_told_apart_in_linear_bands_too(
    linear: Path, mixture: Path, checkpoint: Path, tmp_path: Path
) -> None:
    found, real, made = realism([linear], mixture, checkpoint=checkpoint, num_samples=64, resamples=20)
    assert real.survey == made.survey == "des" and real.representation == made.representation == "linear"
    assert found.discriminators["appearance"].value > 0.95
    write_realism(tmp_path, found, real, made)
    assert {path.name for path in tmp_path.iterdir()} == {"realism.json", "realism.html", "mosaic.png"}
    assert Realism.model_validate_json((tmp_path / "realism.json").read_text()).real == 11


def test_a_finder_that_does_not_fit_is_said_in_words(
    linear: Path, mixture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlensing.inference.realism.RELEASED", tmp_path / "absent.safetensors")
    found, *_ = realism([linear], mixture, num_samples=16, resamples=0)
    assert "finder" not in found.discriminators and "no such checkpoint" in found.skipped["finder"]
    with pytest.raises(ContractError, match="no such checkpoint"):
        realism([linear], mixture, checkpoint=tmp_path / "absent.safetensors", num_samples=16, resamples=0)


def test_the_same_seed_gives_the_same_result(linear: Path, mixture: Path) -> None:
    first, again, other = (realism([linear], mixture, num_samples=32, resamples=0, seed=s)[0] for s in (1, 1, 2))
    assert first.score == again.score != other.score


def test_classes_choose_both_halves(linear: Path, mixture: Path, tmp_path: Path) -> None:
    rows = [f"{linear}/{i}.fits,{int(i == 0)}" for i in range(11)]
    index = tmp_path / "index.csv"
    index.write_text("\n".join(["filepath,label", *rows]) + "\n")
    found, *_ = realism([index], mixture, classes=["nonlens"], num_samples=16, resamples=0)
    assert found.real == 10 and found.provenance["config"]["classes"] == ["spiral"]
    with pytest.raises(ConfigError, match="1 real"):
        realism([index], mixture, classes=["lens"], num_samples=16, resamples=0)


def test_a_stretch_can_be_chosen(colour: Path, mixture: Path) -> None:
    several = [
        realism([colour], mixture, survey="cfhtls", stretch=k, num_samples=8, resamples=0)[2].image for k in (0, 1)
    ]
    assert not np.array_equal(*several)
    with pytest.raises(ConfigError, match="counted from 0"):
        realism([colour], mixture, survey="cfhtls", stretch=9)


def test_only_the_middle_is_looked_at(colour: Path) -> None:
    found = read_alike(gather([colour], survey="cfhtls"), 32)
    assert not (found.image[:, :, 0] == 255).all()  # the white frame is outside


def test_one_kind_of_one_survey_is_demanded(colour: Path, linear: Path) -> None:
    with pytest.raises(ConfigError, match="--survey"):
        read_alike(gather([colour]), 32)
    with pytest.raises(ConfigError, match="not both"):
        read_alike(gather([colour, linear], survey="des"), 32)
    with pytest.raises(ConfigError, match="cfhtls, des"):
        read_alike(gather([colour, linear], survey="cfhtls"), 32)


def test_unreadable_images_are_left_out_by_name(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.fits").write_text("no image")
    found = read_alike(gather([linear, tmp_path]), 32)
    assert len(found.image) == 11 and list(found.skipped) == [str(tmp_path / "bad.fits")]


def test_finder_features_are_those_before_the_last_layer(colour: Path, checkpoint: Path) -> None:
    predictor, found = Predictor.load(checkpoint, "cpu"), read_alike(gather([colour], survey="cfhtls"), 32)
    features = finder_features(predictor, found)
    member = predictor.ensemble.members[0]
    head = member.net.head
    scores = member.score(torch.from_numpy(found.image[:8]), torch.ones(8, dtype=torch.bool))
    expected = scores.logit + member.contract.logit_shift
    with torch.no_grad():
        logit = head(torch.from_numpy(features[:8]).float())[:, 0]  # type: ignore[operator]
    assert torch.allclose(logit, expected, atol=1e-4)


def test_a_picture_shows_lenses_beside_everything_else(mixture: Path, tmp_path: Path) -> None:
    path = picture_sky(tmp_path, mixture, survey="cfhtls", seed=2)
    assert path.name == "cfhtls.png" and Image.open(path).size == (2 * 6 * 34 + 4, 2 * 34)
    first = path.read_bytes()
    assert picture_sky(tmp_path, mixture, survey="cfhtls", seed=2).read_bytes() == first
    with pytest.raises(ConfigError, match="Choose one"):
        picture_sky(tmp_path, mixture)
