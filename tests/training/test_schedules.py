"""The learning rate over a training."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mlensing.training.schedules import warmup_cosine


def test_rises_linearly_over_a_tenth_then_falls_as_a_cosine_to_zero() -> None:
    factors = [warmup_cosine(step, total=100) for step in range(101)]
    assert factors[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert max(factors) == factors[10] == 1.0
    assert all(a >= b for a, b in pairwise(factors[10:]))
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("total", [1, 2, 5])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0])
def test_no_step_is_undefined_in_short_trainings(total: int, warmup: float) -> None:
    assert all(0.0 <= warmup_cosine(s, total=total, warmup=warmup) <= 1.0 for s in range(total + 2))
