"""Colours against redshift and wavelength."""

from __future__ import annotations

import pytest
import torch

from mlensing.errors import SurveyError
from mlensing.simulate.colours import WAVELENGTH, band_numbers, relative_magnitude
from mlensing.survey import Survey, survey_names

Z = torch.linspace(0.01, 4.5, 90)


@pytest.mark.parametrize("kind", ["early", "disc", "star_forming"])
def test_every_band_is_finite_and_r_is_the_zero(kind: str) -> None:
    bands = torch.tensor([list(range(len(WAVELENGTH)))]).expand(len(Z), -1)
    offset = relative_magnitude(kind, Z, bands)
    assert offset.shape == bands.shape and torch.isfinite(offset).all()
    assert offset[:, list(WAVELENGTH).index("r")].abs().max() < 1e-6


def test_early_types_are_redder_than_discs_and_those_than_star_forming_galaxies() -> None:
    gr = torch.tensor([band_numbers(["g", "r"])])
    colours = []
    for kind in ("early", "disc", "star_forming"):
        offset = relative_magnitude(kind, torch.tensor([0.4]), gr)[0]
        colours.append(float(offset[0] - offset[1]))
    assert colours[0] > colours[1] + 0.3 > colours[2] + 0.6


def test_rows_and_columns_agree() -> None:
    bands = torch.tensor([band_numbers(["g", "i"]), band_numbers(["z", "u"])])
    z = torch.tensor([[0.2, 0.7, 1.1], [0.3, 0.3, 5.0]])
    together = relative_magnitude("disc", z, bands)
    assert together.shape == (2, 3, 2)
    for row in range(2):
        alone = relative_magnitude("disc", z[row], bands[row].expand(3, -1))
        torch.testing.assert_close(together[row], alone)


@pytest.mark.parametrize("name", survey_names())
def test_every_band_of_every_preset_has_a_wavelength(name: str) -> None:
    bands = Survey.load(name).bands
    assert len(band_numbers(list(bands))) == len(bands)


def test_an_unknown_band_is_told_the_known_ones() -> None:
    with pytest.raises(SurveyError, match=r"band 'q': its wavelength is not known.*Known: u, g, r"):
        band_numbers(["g", "q"])
