"""Random numbers: right in distribution, and depending on seed, index and name alone."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from mlensing.simulate.draws import Draws, splitmix64

MANY = Draws(5, torch.arange(20_000))
MASK = (1 << 64) - 1


def splitmix64_in_integers(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_the_hash_is_the_published_one() -> None:
    counters = [0, 1, -1, 2**63 - 1, -(2**63), 0x9E3779B97F4A7C15 - 2**64]
    expected = [splitmix64_in_integers(c & MASK) for c in counters]
    assert [h & MASK for h in splitmix64(torch.tensor(counters)).tolist()] == expected


def test_uniform_moments_and_range() -> None:
    u = MANY.uniform("u", 3)
    assert u.shape == (20_000, 3) and u.dtype == torch.float32
    assert u.min() > 0 and u.max() <= 1
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 0.01
    wide = MANY.uniform("u", 3, low=-2.0, high=6.0)
    torch.testing.assert_close(wide, 8 * u - 2)


def test_normal_moments() -> None:
    z = MANY.normal("z", 5)
    assert z.shape == (20_000, 5) and torch.isfinite(z).all()
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 0.01
    correlation = torch.corrcoef(z.T) - torch.eye(5)
    assert correlation.abs().max() < 4 / 20_000**0.5, "the two of a pair are independent"


def test_names_and_indices_are_independent() -> None:
    columns = [MANY.uniform(name) for name in ("a", "b", "lens/q", "lens/phi")]
    columns += [Draws(6, MANY.index).uniform("a"), columns[0].roll(1), MANY.uniform("pair", 2)[:, 1]]
    correlation = torch.corrcoef(torch.stack(columns)) - torch.eye(len(columns))
    assert correlation.abs().max() < 4 / 20_000**0.5


def test_no_two_of_many_draws_are_equal() -> None:
    bits = torch.cat([MANY.bits("a", 8).flatten(), MANY.bits("b", 8).flatten()])
    assert len(bits.unique()) == len(bits)


def test_a_number_depends_on_its_index_not_on_its_company() -> None:
    index = torch.tensor([7, 3, 10**12, 0])
    together = Draws(9, index)
    for row, one in enumerate(index):
        alone = Draws(9, one[None])
        assert torch.equal(together.uniform("u", 4)[row], alone.uniform("u", 4)[0])
        assert torch.equal(together.normal("z", 2, 3)[row], alone.normal("z", 2, 3)[0])


def test_more_draws_of_a_name_do_not_shift_the_first() -> None:
    assert torch.equal(MANY.uniform("u", 9)[:, :4], MANY.uniform("u", 4))


def test_choice_follows_the_weights_and_never_takes_a_zero() -> None:
    weights = torch.tensor([0.0, 3.0, 0.0, 1.0, 0.0])
    picked = MANY.choice("c", weights)
    counts = torch.bincount(picked, minlength=5)
    assert counts[0] == counts[2] == counts[4] == 0
    assert counts[1] / 20_000 == pytest.approx(0.75, abs=0.015)
    assert MANY.choice("c", weights, 2, 3).shape == (20_000, 2, 3)


def test_chance() -> None:
    assert MANY.chance("yes", 0.2).float().mean() == pytest.approx(0.2, abs=0.015)
    assert not MANY.chance("yes", 0.0).any() and MANY.chance("yes", 1.1).all()


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**64 - 1, 10**30])
def test_any_integer_is_a_seed(seed: int) -> None:
    assert torch.isfinite(Draws(seed, torch.arange(4)).normal("z")).all()
