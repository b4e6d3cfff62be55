"""What a contract refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from mlensing.contract import BandStatistics, ModelContract
from mlensing.errors import ContractError

GRI = BandStatistics(mean=(0.1, 0.2, 0.3), std=(1.0, 1.1, 1.2))


def contract(**changes: Any) -> ModelContract:
    fields = {"name": "resnet18", "bands": ("g", "r", "i"), "pixel_scale": (0.1, 0.4), "statistics": {"linear": GRI}}
    return ModelContract(**(fields | changes))


def test_it_survives_json_unchanged() -> None:
    made = contract(options={"width": 24}, class_weight_ratio=2.0, training_hash="ab12")
    assert ModelContract.model_validate_json(made.model_dump_json()) == made


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        contract().input_size = 32


@pytest.mark.parametrize("bands", [("r", "g", "i"), ("g", "r"), ("g", "r", "z"), ("G", "r", "i")])
def test_other_bands_or_another_order_are_refused(bands: tuple[str, ...]) -> None:
    contract().require_bands(["g", "r", "i"], where="a.fits")
    with pytest.raises(ContractError, match=rf"a\.fits: expected bands g,r,i in this order, got {','.join(bands)}"):
        contract().require_bands(bands, where="a.fits")


def test_a_representation_it_never_saw_is_refused() -> None:
    contract().require_representation("linear", where="a.fits")
    with pytest.raises(ContractError, match=r"a\.png: .*trained on linear images, got a composite one"):
        contract().require_representation("composite", where="a.png")


@pytest.mark.parametrize(
    ("scale", "accepted"),
    [(0.1, True), (0.4, True), (0.0981, True), (0.407, True), (0.097, False), (0.41, False), (math.nan, False)],
)
def test_pixel_scales_with_two_percent_to_spare(scale: float, accepted: bool) -> None:
    assert contract().accepts_scale(scale) is accepted


def test_the_shift_of_the_logit_is_the_log_of_the_weights() -> None:
    assert contract().logit_shift == 0.0
    assert contract(class_weight_ratio=math.e).logit_shift == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bands": ("g", "r")}, r"statistics\[linear\]"),
        ({"bands": ()}, "bands"),
        ({"statistics": {}}, "statistics"),
        ({"statistics": {"jpeg": GRI}}, "statistics"),
        ({"pixel_scale": (0.4, 0.1)}, "pixel_scale"),
        ({"pixel_scale": (0.0, 0.1)}, "pixel_scale"),
        ({"input_size": 225}, "input_size"),
        ({"input_size": 31}, "input_size"),
        ({"prevalence": 1.0}, "prevalence"),
        ({"class_weight_ratio": 0.0}, "class_weight_ratio"),
        ({"calibration": {"parameters": [-1.0]}}, "calibration"),
        ({"calibration": {"kind": "beta", "parameters": [1.0]}}, "calibration"),
        ({"calibration": {"kind": "isotonic", "parameters": [1.0, 0.0, 0.0, 1.0, 2.0]}}, "calibration"),
        ({"sigma_crit": "cgs"}, "sigma_crit"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_contradictions_and_unknown_fields_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        contract(**changes)
