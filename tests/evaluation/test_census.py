"""Counting lenses: what a census says of surveys whose truth is known, and what it leaves out to be fast."""

from __future__ import annotations

import numpy as np
import pytest

from mlensing.evaluation.census import census, representatives
from mlensing.evaluation.curves import Array


def survey(images: int, lenses: int, share: float, *, apart: float = 6.0, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    lens = np.arange(images) < lenses
    return rng.normal(apart * lens), lens & (rng.random(images) < share)


def test_the_interval_holds_the_noise_of_the_survey() -> None:
    """With every lens labelled and apart from the rest, only the Poisson noise of their number is left."""
    z, labelled = survey(6000, 100, 1.0, apart=10.0)
    found = census(z, labelled, area=4.0, resamples=300)
    assert found.number.value == pytest.approx(100, rel=0.02)
    half = 1.96 * 10
    assert found.number.high - found.number.low == pytest.approx(2 * half, rel=0.2)
    assert found.density.high == pytest.approx(found.number.high / 4)


def test_it_says_who_is_a_lens_and_what_was_labelled() -> None:
    z, labelled = survey(30_000, 150, 0.3)
    found = census(z, labelled, resamples=20)
    assert found.probability.shape == (30_000,) and (found.probability[labelled] == 1).all()
    hidden = ~labelled & (np.arange(30_000) < 150)
    assert found.probability[hidden].mean() > 0.85 and found.probability[150:].mean() < 1e-3
    assert found.probability.sum() == pytest.approx(found.number.value)
    assert found.c.value == pytest.approx(labelled.sum() / found.number.value)
    assert np.isnan(found.density.value) and found.record()["density"] == {"value": None, "low": None, "high": None}
    assert set(found.lens) == {"intercept", "score"} and not found.doubts


def test_rows_that_stand_for_others_hardly_move_the_number() -> None:
    z, labelled = survey(60_000, 150, 0.3, apart=5.0)
    rows, weights = representatives(z, labelled, seed=1)
    assert len(rows) < 12_000 and weights.sum() == pytest.approx(60_000) and len(set(rows)) == len(rows)
    assert set(np.flatnonzero(labelled)) | set(np.argsort(-z)[:5000]) <= set(rows[weights == 1])
    one, other = (census(z, labelled, resamples=0, seed=seed).number.value for seed in (0, 1))
    assert one == pytest.approx(other, rel=0.01)


def test_the_same_seed_gives_the_same_interval() -> None:
    z, labelled = survey(5000, 50, 0.5)
    first, again = (census(z, labelled, resamples=20, seed=3) for _ in range(2))
    assert first.number == again.number and first.elkan_noto == again.elkan_noto
    assert first.number.low != census(z, labelled, resamples=20, seed=4).number.low


def test_doubts_are_told() -> None:
    z, labelled = survey(20_000, 20, 0.4, apart=2.0)
    told = " ".join(census(z, labelled, resamples=30).doubts)
    assert "labelled lenses" in told and "logistic form" in told and "do not settle" in told
