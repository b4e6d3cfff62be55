from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mlensing.contract import Calibration
from mlensing.errors import ConfigError
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.calibrators import CALIBRATORS, calibrate, calibration_slope, fit_calibration
from mlensing.evaluation.metrics import ece

generator = np.random.default_rng(5)
TRUTH = generator.normal(-1, 2, 20000)
LABEL = (generator.random(TRUTH.size) < sigmoid(TRUTH)).astype(float)


def twisted(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over-confident, and more so for lenses."""
    return 2.0 * z + 0.5 * np.maximum(z, 0) + 1.0


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_every_kind_is_increasing_lowers_the_error_and_holds_on_other_data(kind: str) -> None:
    logit = twisted(TRUTH)
    found = fit_calibration(kind, logit[:10000], LABEL[:10000])
    odds = calibrate(logit[10000:], found)
    assert np.all(np.diff(calibrate(np.linspace(-60, 60, 5001), found)) > 0)
    before, after = (ece(LABEL[10000:], sigmoid(z)) for z in (logit[10000:], odds))
    assert after < before
    assert after < (0.08 if kind == "temperature" else 0.02)  # a temperature cannot undo a shift


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_unlabelled_rows_do_not_count_and_separable_ones_teach_nothing(kind: str) -> None:
    z, y = TRUTH[:500], LABEL[:500]
    more = fit_calibration(kind, np.append(z, [np.nan, 50.0]), np.append(y, [1.0, np.nan]))
    assert more == fit_calibration(kind, z, y)
    assert fit_calibration(kind, [2.0, 1.0, -1.0], [1, 1, 0]) == Calibration()
    assert fit_calibration(kind, [2.0, 1.0], [1, 1]) == Calibration()


def test_beta_finds_the_map_that_made_the_logits() -> None:
    """A beta map with a = b is a temperature and a shift."""
    a, b, c = fit_calibration("beta", 2 * TRUTH + 1, LABEL).parameters
    assert a == pytest.approx(0.5, abs=0.05) and b == pytest.approx(0.5, abs=0.05)
    assert c == pytest.approx(-0.5, abs=0.1)


def test_isotonic_matches_the_observed_shares() -> None:
    found = fit_calibration("isotonic", TRUTH, LABEL)
    grid = np.linspace(-4, 2, 20)
    assert np.abs(sigmoid(calibrate(grid, found)) - sigmoid(grid)).mean() < 0.02


def test_slope_is_that_of_the_map() -> None:
    assert calibration_slope([0.0, 9.0], Calibration(parameters=(4.0,))) == pytest.approx([0.25, 0.25])
    beta = Calibration(kind="beta", parameters=(2.0, 1.0, 0.0))
    assert calibration_slope([-30.0, 30.0], beta) == pytest.approx([2.0, 1.0])


def test_unknown_kinds_are_errors() -> None:
    with pytest.raises(ConfigError, match="isotonic"):
        fit_calibration("platt", [0.0], [1.0])
