"""Blocks: every survey, every class, and the same bytes however they are asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mlensing.errors import SurveyError
from mlensing.simulate import BLOCK, KINDS, Mixture, Simulator
from mlensing.simulate.camera.instrument import ZERO_POINT
from mlensing.simulate.mixture import MassStructure
from mlensing.simulate.sky import Block
from mlensing.survey import Survey, survey_names

EVERYTHING = dict.fromkeys(KINDS, 1.0)
MIXTURE = Mixture(surveys={"legacy": 2, "euclid": 1, "des": 1}, classes=EVERYTHING, size=32)


@pytest.fixture(scope="module")
def block() -> Block:
    return Simulator(MIXTURE, seed=5).block(2, maps=True)


def equal(a: Tensor, b: Tensor) -> bool:
    """The same bytes, NaN included."""
    return a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def assert_same(a: Block, b: Block) -> None:
    assert set(a) == set(b)
    for name in a:
        assert equal(a[name], b[name]), name


@pytest.mark.parametrize("survey", survey_names())
def test_every_preset_simulates(survey: str) -> None:
    mixture = Mixture(surveys={survey: 1}, classes=EVERYTHING, size=32)
    made = Simulator(mixture, seed=1).block(0)
    image = made["image"]
    assert image.shape == (BLOCK, 3, 32, 32) and image.dtype == torch.float32 and torch.isfinite(image).all()
    preset = Survey.load(survey)
    assert torch.equal(made["dx"], torch.full((BLOCK,), preset.pixel_scale))
    for band, name in enumerate(preset.channel_bands()):
        noise = preset.sky_noise(name) / 10 ** (0.4 * (preset.bands[name].zero_point - ZERO_POINT))
        quiet = image[:, band].flatten(1).diff(dim=1).abs().median(1).values / (0.6745 * 2**0.5)
        smoothest = 0.5 * noise * (1 - 0.65) ** 0.5  # differences shrink as neighbours correlate
        assert quiet.min() > smoothest and quiet.median() < 2.5 * noise, name


def test_the_contents_of_a_block(block: Block) -> None:
    assert {name: tuple(value.shape[1:]) for name, value in block.items()} == {
        **dict.fromkeys(("label", "kind", "survey", "dx", "theta_E", "z_lens", "z_source", "sigma_v"), ()),
        **dict.fromkeys(("magnification", "source_magnitude", "arc_signal", "images"), ()),
        "image": (3, 32, 32),
        "kappa": (32, 32),
        "psi": (32, 32),
        "alpha": (2, 32, 32),
    }
    assert all(len(value) == BLOCK for value in block.values())
    assert torch.equal(block["label"] == 1, block["kind"] == KINDS.index("lens"))
    for name in ("image", "kappa", "psi", "alpha", "theta_E", "z_lens", "z_source"):
        assert torch.isfinite(block[name]).all(), name
    assert torch.equal(block["label"].isnan(), block["kind"] == KINDS.index("faint_lens"))
    for name in ("magnification", "images", "arc_signal", "source_magnitude"):
        assert torch.equal(block[name].isnan(), block["label"] == 0), name
    assert (block["z_source"] > block["z_lens"]).all()


def test_a_block_twice_is_the_same(block: Block) -> None:
    simulator = Simulator(MIXTURE, seed=5)
    for number in (3, 0):
        simulator.block(number)
    assert_same(simulator.block(2, maps=True), block)


def test_maps_change_nothing_else(block: Block) -> None:
    without = Simulator(MIXTURE, seed=5).block(2)
    assert set(block) - set(without) == {"kappa", "psi", "alpha"}
    assert_same(without, {name: block[name] for name in without})


def test_seeds_and_blocks_differ(block: Block) -> None:
    simulator = Simulator(MIXTURE, seed=5)
    for other in (simulator.block(3), Simulator(MIXTURE, seed=6).block(2)):
        assert not torch.isclose(other["image"], block["image"]).flatten(1).all(1).any()


def test_shares_follow_the_weights() -> None:
    mixture = Mixture(surveys={"des": 3, "sdss": 1}, classes={"lens": 0, "field": 4, "elliptical": 1}, size=32)
    simulator = Simulator(mixture, seed=0)
    made = [simulator.block(number) for number in range(6)]
    kinds, surveys = torch.cat([b["kind"] for b in made]), torch.cat([b["survey"] for b in made])
    assert (surveys == 0).float().mean().item() == pytest.approx(0.75, abs=0.07)
    assert (kinds == KINDS.index("field")).float().mean().item() == pytest.approx(0.8, abs=0.07)
    assert set(kinds.tolist()) == {KINDS.index("field"), KINDS.index("elliptical")}
    assert not torch.cat([b["label"] for b in made]).any()


def test_bands_of_ones_own() -> None:
    mixture = Mixture(surveys={"des": 1, "hsc": 1}, classes={"lens": 1}, bands=("g", "z"), size=32)
    simulator = Simulator(mixture, seed=0)
    assert simulator.bands == [("g", "z")] * 2
    assert simulator.block(0)["image"].shape == (BLOCK, 2, 32, 32)


def test_the_central_object_wanders_within_the_dither() -> None:
    mixture = Mixture(
        surveys={"lsst": 1}, classes={"elliptical": 1}, size=32, dither=3.0, mass=MassStructure(satellites=False)
    )
    kappa = Simulator(mixture, seed=0).block(0, maps=True)["kappa"].flatten(1)
    peak = kappa.argmax(1)
    off = torch.stack([peak % 32, peak // 32]).float() - 15.5
    assert off.abs().max() <= 3.5 and off.std(1).min() > 1.0


def test_frames_are_zoomed_as_asked_for_and_galaxies_nearby_the_most() -> None:
    classes = {"elliptical": 1.0, "nearby": 1.0}
    shares = {}
    for share in (0.0, 0.2):
        mixture = Mixture(surveys={"des": 1}, classes=classes, size=32, zoom_share=share)
        made = [Simulator(mixture, seed=3).block(number) for number in range(4)]
        kind, dx = torch.cat([b["kind"] for b in made]), torch.cat([b["dx"] for b in made])
        factor = dx / Survey.load("des").pixel_scale
        shares[share] = [(factor != 1)[kind == KINDS.index(name)].float().mean().item() for name in classes]
        assert factor.min() > 0.67 and factor[kind == KINDS.index("elliptical")].max() < 1.83
    assert shares[0.0] == [0, 0]
    assert shares[0.2] == pytest.approx([0.2, 0.8], abs=0.1)


def test_an_unknown_survey_or_band_is_told_the_known_ones() -> None:
    with pytest.raises(SurveyError, match=r"'panstarrs'.*Known: cfhtls, des"):
        Simulator(Mixture(surveys={"panstarrs": 1}, classes={"lens": 1}), seed=0)
    with pytest.raises(SurveyError, match=r"survey legacy: it has no band 'y'.*g, r, i, z"):
        Simulator(Mixture(surveys={"legacy": 1}, classes={"lens": 1}, bands=("g", "y")), seed=0)


def test_a_band_that_plays_three_channels_is_one_image() -> None:
    """Scars included: a cosmic ray in one of three equal planes would be a colour that Euclid cannot have."""
    made = Simulator(Mixture(surveys={"euclid": 1}, classes={"cosmic_ray": 1}, size=32), seed=0).block(0)["image"]
    assert torch.equal(made[:, 0], made[:, 1]) and torch.equal(made[:, 0], made[:, 2])
    assert made.amax((1, 2, 3)).median() > 30 * made.flatten(1).diff(dim=1).abs().median(), "the rays are there"
