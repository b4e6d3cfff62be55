"""Mixtures, and mistakes in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlensing.errors import ConfigError
from mlensing.simulate import KINDS, Mixture

GOOD = "surveys: {des: 1}\nclasses: {lens: 0.5, ring: 0.5}\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sky.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "share"),
    [("paper_synthetic", 0.5), ("demo_sky", 0.025)] + [(f"release_sky{part}", 0.5) for part in ("", "_wide", "_discs")],
)
def test_the_configurations_are_mixtures(name: str, share: float) -> None:
    mixture = Mixture.load(Path(__file__).parents[2] / "configs" / f"{name}.yaml")
    assert mixture.classes["lens"] == pytest.approx(share * sum(mixture.classes.values()), rel=0.12)
    if name.startswith("release_sky"):
        assert set(mixture.classes) == set(KINDS), "every kind of impostor"


def test_the_papers_set_is_the_seeds() -> None:
    mixture = Mixture.load(Path(__file__).parents[2] / "configs" / "paper_synthetic.yaml")
    assert mixture.bands == ("g", "r", "i") and mixture.size == 64


def test_defaults(tmp_path: Path) -> None:
    mixture = Mixture.load(written(tmp_path, GOOD))
    assert mixture.size == 64 and mixture.bands is None and mixture.theta_E[0] < mixture.theta_E[1]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("ring: 0.5", "rong: 0.5", "rong.*known: lens, faint_lens, elliptical"),
        ("ring: 0.5", "ring: -0.5", "negative"),
        ("lens: 0.5, ring: 0.5", "lens: 0, ring: 0", "all be zero"),
        ("des: 1", "des: 0", "all be zero"),
        ("des: 1", "", "surveys"),
        ("ring: 0.5", "ring: many", "classes.ring"),
        ("surveys", "survey", "survey"),
        ("surveys", "depth: 3\nsurveys", "depth"),
        ("surveys", "size: 500\nsurveys", "size"),
        ("surveys", "arc_signal: 0\nsurveys", "arc_signal"),
        ("surveys", "theta_E: [5.0, 0.5]\nsurveys", "theta_E"),
        ("surveys", "theta_E: [0, 5.0]\nsurveys", "theta_E"),
        ("surveys", "representations: {jpeg: 1}\nsurveys", "representations"),
        ("surveys", "representations: {composite: 1}\nbands: [g, r]\nsurveys", "three bands"),
        ("surveys", "mass: {slope_scatter: 9}\nsurveys", "slope_scatter"),
        ("surveys", "surveys: [\nsurveys", "sky.yaml"),
        (GOOD, "", "sky.yaml"),
        (GOOD, "lens\n", "sky.yaml"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=r"sky\.yaml: not a mixture") as caught:
        Mixture.load(written(tmp_path, GOOD.replace(old, new, 1)))
    assert re.search(named, str(caught.value))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: no such file.*configs/paper_synthetic"):
        Mixture.load(tmp_path / "nothing.yaml")


def test_the_share_of_composites(tmp_path: Path) -> None:
    assert Mixture.load(written(tmp_path, GOOD)).composites == 0.0
    both = GOOD + "representations: {linear: 1, composite: 3}\n"
    assert Mixture.load(written(tmp_path, both)).composites == 0.75
