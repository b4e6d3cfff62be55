"""Survey presets, and what is said of those that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlensing.errors import SurveyError
from mlensing.survey import FOLDER, Survey, survey_names


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """A copy of the DES preset with one text replaced."""
    text = (FOLDER / "des.yaml").read_text()
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_the_promised_presets_are_there() -> None:
    assert set(survey_names()) >= {"lsst", "des", "hsc", "cfhtls", "kids", "legacy", "euclid", "sdss", "hst"}


@pytest.mark.parametrize("name", survey_names())
def test_the_numbers_of_a_preset_give_its_published_depth(name: str) -> None:
    survey = Survey.load(name)
    assert survey.name == name and survey.references
    for band, numbers in survey.bands.items():
        assert survey.depth(band) == pytest.approx(numbers.depth, abs=0.3), band
        assert 0 < survey.sky_noise(band) < survey.sky_rate(band) + numbers.read_noise * numbers.exposures


@pytest.mark.parametrize("name", survey_names())
def test_channels_are_bands_from_blue_to_red(name: str) -> None:
    survey = Survey.load(name)
    order = [list(survey.bands).index(band) for band in survey.channel_bands()]
    assert order == sorted(order)


def test_an_unknown_survey_is_told_the_known_ones() -> None:
    with pytest.raises(SurveyError, match=r"'skymapper'.*cfhtls, des, .*sdss"):
        Survey.load("skymapper")


def test_an_unknown_band_is_told_the_bands() -> None:
    for ask in (Survey.band, Survey.depth, Survey.sky_rate, Survey.sky_noise):
        with pytest.raises(SurveyError, match=r"survey des: it has no band 'u'.*g, r, i, z, Y"):
            ask(Survey.load("des"), "u")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    assert Survey.load(changed(tmp_path, "0.263", "0.5")).pixel_scale == 0.5


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("pixel_scale: 0.263", "pixel_scale: -1", "pixel_scale"),
        ("pixel_scale: 0.263", "pixle_scale: 0.263", "pixle_scale"),
        ("psf_fwhm: 1.12, ", "", "bands.g.psf_fwhm"),
        ("exposures: 10", "exposures: some", "bands.g.exposures"),
        ("blue: g", "blue: b", "'b'"),
        ("title:", "title: [", "not a survey"),
    ],
)
def test_a_bad_field_is_named_with_its_file(tmp_path: Path, old: str, new: str, named: str) -> None:
    with pytest.raises(SurveyError, match=r"mine\.yaml: not a survey.*Compare") as caught:
        Survey.load(changed(tmp_path, old, new))
    assert named in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(SurveyError, match=r"nowhere\.yaml.*no such survey"):
        Survey.load("nowhere.yaml")
