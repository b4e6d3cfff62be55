"""A census from files: scores as predict writes them, labels as an index, on the command line too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlensing.cli import main
from mlensing.errors import CatalogError, ConfigError
from mlensing.inference.census import count_lenses

IMAGES, LENSES = 4000, 80


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """Scores of images below im/, one of them unreadable, and an index that labels wide lenses first."""
    rng = np.random.default_rng(0)
    lens = np.arange(IMAGES) < LENSES
    width = rng.normal(1.0 + 0.3 * lens, 0.3)
    logit = np.where(np.arange(IMAGES) == 3999, np.nan, rng.normal(8.0 * lens) - 5)
    labelled = lens & (rng.random(IMAGES) < np.where(width > 1.3, 0.7, 0.2))
    names = [f"im/{i}.fits" for i in range(IMAGES)]
    pd.DataFrame({"file": names, "logit": logit, "theta_E": width, "status": "ok"}).to_csv(
        tmp_path / "scores.csv", index=False
    )
    label = np.where(labelled, "1", np.where(np.arange(IMAGES) >= 3990, "0", ""))
    pd.DataFrame({"filepath": names, "label": label, "group": "a"}).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def counted(folder: Path, **options: object) -> dict[str, object]:
    chosen = {"labels": str(folder / "labels.csv"), "resamples": 20, "output": str(folder / "census.json"), **options}
    count_lenses(str(folder / "scores.csv"), **chosen)  # type: ignore[arg-type]
    return json.loads((folder / "census.json").read_text())  # type: ignore[no-any-return]


def test_json_table_and_picture(survey: Path) -> None:
    told = counted(survey, area=2.0, propensity=["theta_E"])
    number, density = told["number"], told["density"]
    assert isinstance(number, dict) and isinstance(density, dict)
    assert number["low"] < LENSES < number["high"] and density["value"] == pytest.approx(number["value"] / 2)
    assert told["propensity"]["theta_E"] > 1  # type: ignore[index]
    assert told["known_nonlenses"] == 10 and told["without_score"] == 1 and told["seed"] == 0
    rows = pd.read_csv(survey / "census.csv")
    assert list(rows) == ["file", "label", "probability", "propensity"] and len(rows) == IMAGES - 10
    assert rows["probability"].sum() == pytest.approx(number["value"])
    assert (survey / "census.png").read_bytes()[:4] == b"\x89PNG"


def test_the_same_command_gives_the_same_bytes(survey: Path) -> None:
    names = ("census.json", "census.csv", "census.png")
    counted(survey, propensity=["theta_E"])
    first = [(survey / name).read_bytes() for name in names]
    counted(survey, propensity=["theta_E"])
    assert first == [(survey / name).read_bytes() for name in names]


def test_an_index_of_lenses_alone_will_do_and_names_may_be_paths(survey: Path) -> None:
    whole = counted(survey)["number"]
    table = pd.read_csv(survey / "labels.csv")
    lenses = table[table["label"] == 1]
    nowhere = pd.DataFrame({"filepath": ["im/none.fits"], "label": [1]})
    lenses.assign(filepath=[str(survey / name) for name in lenses["filepath"]]).to_csv(survey / "few.csv", index=False)
    told = counted(survey, labels=str(survey / "few.csv"))
    assert told["known_nonlenses"] == 0 and told["number"]["value"] == pytest.approx(whole["value"], rel=0.05)  # type: ignore[index]
    pd.concat([lenses, nowhere]).to_csv(survey / "few.csv", index=False)
    assert counted(survey, labels=str(survey / "few.csv"))["without_score"] == 2


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"area": -1.0}, ConfigError, "area"),
        ({"level": 2.0}, ConfigError, "level"),
        ({"resamples": -1}, ConfigError, "resamples"),
        ({"output": "census.txt"}, ConfigError, ".json"),
        ({"propensity": ["magnitude"]}, CatalogError, "no column magnitude"),
        ({"propensity": ["group"]}, CatalogError, "no number"),
    ],
)
def test_mistakes_are_told(survey: Path, options: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        counted(survey, **options)
    assert not (survey / "census.json").exists()


def test_on_the_command_line(survey: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(survey)
    words = ["census", "scores.csv", "--labels", "labels.csv", "--area", "2", "--resamples", "10"]
    assert main([*words, "--propensity", "theta_E"]) == 0
    said = capsys.readouterr().out
    assert "a square degree" in said and "theta_E" in said and "Elkan & Noto" in said
    (survey / "labels.csv").write_text("filepath,label\nim/5.fits,1\n")
    assert main(words) == 2
    assert "1 labelled lenses have a score" in capsys.readouterr().err
