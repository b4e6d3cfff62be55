"""What to label next: the measures against numerical integrals, greedy k-centre against its definition."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import entropy as scipy_entropy
from scipy.stats import norm

from mlensing.evaluation.acquisition import Pool, Strategy, acquire, entropy, expected_probability, spread

STRATEGIES = get_args(Strategy)


def make_pool(count: int = 200, labelled: int = 0, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count + labelled, 5)).astype(np.float32)
    return Pool(rng.normal(-4, 2, count), rng.exponential(size=count), points[:count], points[count:])


@pytest.mark.parametrize("logit", [-6.0, -2.0, 0.0, 3.0])
@pytest.mark.parametrize("deviation", [0.0, 0.5, 2.0])
def test_expected_probability_is_the_integral(logit: float, deviation: float) -> None:
    z = np.linspace(-8, 8, 4001)
    weight = norm.pdf(z) / norm.pdf(z).sum()
    exact = float((weight / (1 + np.exp(-(logit + deviation * z)))).sum())
    assert expected_probability(logit, deviation) == pytest.approx(exact, abs=0.015)


def test_entropy_is_scipys() -> None:
    p = np.linspace(0, 1, 11)
    np.testing.assert_allclose(entropy(p), scipy_entropy([p, 1 - p], base=2), atol=1e-12)


@pytest.mark.parametrize("labelled", [0, 700])
@pytest.mark.parametrize("weighted", [False, True])
def test_greedy_k_centre_keeps_to_its_definition(labelled: int, weighted: bool) -> None:
    pool = make_pool(80, labelled)
    value = np.random.default_rng(1).uniform(0.1, 1, 80) if weighted else None
    rows = spread(pool.points, 20, value=value, labelled=pool.labelled)
    weight = np.ones(80) if value is None else value
    for place, row in enumerate(rows):
        before = np.concatenate([pool.labelled, pool.points[rows[:place]]])
        if len(before):
            gain = weight * cdist(pool.points, before).min(1)
            assert gain[row] == pytest.approx(np.delete(gain, rows[:place]).max(), rel=1e-4)
    assert len(set(rows.tolist())) == 20


def test_points_in_one_place_are_still_chosen_once_each() -> None:
    assert sorted(spread(np.ones((6, 3), np.float32), 6).tolist()) == list(range(6))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("count", "budget"), [(200, 1), (200, 2), (200, 31), (7, 7), (7, 100), (0, 5)])
def test_every_strategy_chooses_so_many_and_none_twice(strategy: Strategy, count: int, budget: int) -> None:
    pool = make_pool(count, 3)
    rows = acquire(pool, budget, strategy, seed=4)
    assert len(rows) == len(set(rows.tolist())) == min(count, budget)
    assert not len(rows) or (rows.min() >= 0 and rows.max() < count)
    np.testing.assert_array_equal(rows, acquire(pool, budget, strategy, seed=4))


def test_the_seed_decides_what_is_random() -> None:
    first, other = (acquire(make_pool(), 20, "random", seed=seed).tolist() for seed in (0, 1))
    assert first != other


def test_the_likeliest_and_the_most_uncertain() -> None:
    pool = make_pool()
    np.testing.assert_array_equal(acquire(pool, 9, "expected"), np.argsort(-pool.logit)[:9])
    sure = pool._replace(deviation=np.zeros(200))
    np.testing.assert_array_equal(acquire(sure, 9, "uncertain"), np.argsort(np.abs(sure.logit))[:9])
    doubtful = Pool(np.full(4, -6.0), np.array([0.0, 9.0, 0.5, 3.0]), np.zeros((4, 1), np.float32), np.zeros((0, 1)))
    assert acquire(doubtful, 4, "uncertain").tolist() == [1, 3, 2, 0]


def test_mixed_grants_each_wish_a_third() -> None:
    pool = make_pool(labelled=10)
    rows = acquire(pool, 30, "mixed")
    assert rows[0] == pool.logit.argmax()
    assert set(acquire(pool, 10, "expected").tolist()) <= set(rows.tolist())
    assert set(acquire(pool, 10, "uncertain").tolist()) <= set(rows.tolist())


def test_mixed_does_not_spend_its_third_on_what_is_labelled_already() -> None:
    """Ninety images of one kind that is labelled, ten of another that promise a little less."""
    points = np.zeros((100, 2), np.float32)
    points[:, 0] = 1 + 1e-3 * np.arange(100)
    points[90:] = [[0, k] for k in range(1, 11)]
    logit = np.where(np.arange(100) < 90, -1.0, -1.5) - 1e-4 * np.arange(100)
    rows = acquire(Pool(logit, np.zeros(100), points, points[:1]), 12, "mixed")
    assert (rows[2::3] >= 90).all() and (np.delete(rows, np.s_[2::3]) < 90).all()


def test_impossible_pools_are_refused() -> None:
    pool = make_pool()
    with pytest.raises(ValueError, match="budget"):
        acquire(pool, 0)
    with pytest.raises(ValueError, match="finite"):
        acquire(pool._replace(logit=np.full(200, np.nan)), 5)
