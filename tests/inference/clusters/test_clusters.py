"""Candidates and scores of cluster fields: shapes that are known, the statistics of the contract, simulated fields."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.inference.clusters import ClusterDetector, find_candidates, radial_weight

SIZE, SCALE = 160, 0.25


def field(*, arc: bool, seed: int = 0, turned: float = 0.0, members: int = 8) -> dict[str, Tensor]:
    """Red discs, a few round blue ones and, if wanted, an arc of 70 degrees at 12 arcsec with a counter-image."""
    generator = np.random.default_rng(seed)
    y, x = (np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2) * SCALE
    image = generator.normal(size=(3, SIZE, SIZE))
    for _ in range(members):
        at = generator.uniform(-15, 15, 2)
        image += np.array([20.0, 60.0, 100.0])[:, None, None] * np.exp(-np.hypot(x - at[0], y - at[1]) / 0.6)
    for _ in range(4):
        at = generator.uniform(-17, 17, 2)
        image += np.array([12.0, 9.0, 6.0])[:, None, None] * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 0.5)
    if arc:
        angle = np.angle(np.exp(1j * (np.arctan2(y, x) - turned)))
        shape = np.exp(-(((np.hypot(x, y) - 12) / 0.5) ** 2)) * (np.abs(angle) < 0.6)
        shape += np.exp(-(((np.hypot(x, y) - 10) / 0.5) ** 2)) * (np.abs(np.abs(angle) - np.pi) < 0.25)
        image += np.array([14.0, 10.0, 7.0])[:, None, None] * shape
    sample = {"image": torch.from_numpy(image).float(), "mask": torch.zeros(SIZE, SIZE, dtype=torch.bool)}
    sample["sky"] = torch.from_numpy(np.stack([-x, y])).float()
    return sample | {"dx": torch.tensor(SCALE), "dy": torch.tensor(SCALE)}


def test_the_radial_prior_stays_between_a_half_and_one() -> None:
    weight = radial_weight(np.linspace(0, 500, 101))
    assert weight[0] == 1 and weight.min() >= 0.5 and (np.diff(weight) <= 0).all()


def test_an_arc_is_found_where_it_is_whichever_way_it_lies() -> None:
    for turned in (0.0, 1.0, 3.1):
        best = find_candidates(field(arc=True, turned=turned)).sort_values("length").iloc[-1]
        # a bend of 1.2 rad at 12 arcsec, 0.5 / sqrt(2) arcsec wide as a sigma
        assert best.radius == pytest.approx(12, abs=0.3) and best.length == pytest.approx(14.4, rel=0.15)
        assert best.tangential > 1.5
        assert best.x == pytest.approx(SIZE / 2 + best.radius * np.cos(turned) * 0.94 / SCALE, abs=4)


def test_images_of_like_colour_and_brightness_are_partners() -> None:
    table = find_candidates(field(arc=True, members=0)).sort_values("length", ignore_index=True)
    counter = (table.radius - 10).abs().idxmin()
    assert table.partners.iloc[-1] >= 1 and table.partners[counter] >= 1
    assert np.cos(table.azimuth[counter] - table.azimuth.iloc[-1]) < -0.99  # on the other side


def test_members_are_no_candidates() -> None:
    table = find_candidates(field(arc=False))
    assert 1 <= len(table) <= 8 and not (table.tangential > 1.0).any()


def test_masked_pixels_are_no_candidates() -> None:
    sample = field(arc=True)
    y, x = sample["sky"][1], -sample["sky"][0]
    masked = sample | {"mask": (torch.hypot(x, y) > 8)}
    assert (find_candidates(masked).radius <= 8.5).all()


def test_one_band_is_enough_for_bright_arcs() -> None:
    sample = field(arc=True)
    table = find_candidates(sample | {"image": sample["image"][:1]})
    assert table.colour.isna().all() and (table.tangential > 1.5).any()


@pytest.fixture(scope="module")
def detector() -> ClusterDetector:
    labels = [1, 0] * 8
    tables = [find_candidates(field(arc=bool(label), seed=k, turned=k)) for k, label in enumerate(labels)]
    return ClusterDetector.fit(tables, labels)


def test_fields_with_arcs_rank_above_fields_without(detector: ClusterDetector) -> None:
    lenses = [detector.probability(find_candidates(field(arc=True, seed=k, turned=k))) for k in range(50, 55)]
    others = [detector.probability(find_candidates(field(arc=False, seed=k))) for k in range(60, 65)]
    assert min(lenses) > max(others)
    best = detector.judged(find_candidates(field(arc=True, seed=50))).iloc[0]
    assert best.kind == "arc" and 0.5 <= best.weight <= 1


def test_prevalence_and_c_are_those_of_the_contract(detector: ClusterDetector) -> None:
    table = find_candidates(field(arc=False, seed=70))
    g = 1 / (1 + np.exp(-(detector.slope * detector.evidence(table) + detector.offset)))
    as_trained = ClusterDetector(**{**vars(detector), "prevalence": 0.5})
    assert as_trained.probability(table) == pytest.approx(g, rel=1e-6)  # half of the fields were lenses
    some = ClusterDetector(**{**vars(as_trained), "c": 0.8})
    assert some.probability(table) == pytest.approx(odds_shifted(min(g / 0.8, 1), 0.625, 0.5), rel=1e-4)
    rare = detector.probability(table)
    assert rare / (1 - rare) == pytest.approx(g / (1 - g) * 1e-3 / (1 - 1e-3), rel=1e-6)


def odds_shifted(p: float, pi_train: float, pi: float) -> float:
    odds = p / (1 - p) * pi / (1 - pi) * (1 - pi_train) / pi_train
    return odds / (1 + odds)


def test_a_field_without_candidates_has_a_score(detector: ClusterDetector) -> None:
    none = find_candidates(field(arc=False)).iloc[:0]
    assert 0 <= detector.probability(none) < 1e-2 and len(detector.judged(none)) == 0


def test_it_comes_back_from_disk(detector: ClusterDetector, tmp_path: Path) -> None:
    detector.save(tmp_path / "detector.json")
    assert ClusterDetector.load(tmp_path / "detector.json") == detector
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(ConfigError, match="not a saved detector"):
        ClusterDetector.load(tmp_path / "other.json")


def test_mistakes_are_told(detector: ClusterDetector) -> None:
    empty = pd.DataFrame()
    with pytest.raises(ConfigError, match="both of them"):
        ClusterDetector.fit([empty, empty], [1, 1])
    for name, value in (("prevalence", 0.0), ("c", 1.5)):
        with pytest.raises(ConfigError, match=name):
            ClusterDetector(**{**vars(detector), name: value})
