"""Outputs are whole or not there, and say where they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mlensing
from mlensing.provenance import fingerprint, provenance, replacing, write_json


def test_the_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "scores.csv"
    target.write_text("old")
    with replacing(target) as beside:
        beside.write_text("new")
        assert target.read_text() == "old"
        assert beside.suffix == ".csv" and beside.parent == tmp_path and beside.name.startswith(".")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "scores.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), replacing(target) as beside:
        beside.write_text("half")
        raise RuntimeError("half way")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_are_made(tmp_path: Path) -> None:
    with replacing(tmp_path / "a" / "b" / "c.txt") as beside:
        beside.write_text("deep")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "deep"


def test_nothing_written_is_an_error_not_silence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_record_names_command_settings_seed_and_version_and_no_time() -> None:
    record = provenance("simulate", {"num_samples": 3}, 42)
    assert record == provenance("simulate", {"num_samples": 3}, 42)
    assert set(record) == {"command", "config", "seed", "version", "revision"}
    assert record["version"] == mlensing.__version__
    assert record["revision"] is None or len(record["revision"]) == 40


def test_json_is_sorted_and_ends_with_a_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": Path("x")})
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("}\n") and text.index('"a"') < text.index('"b"')
    assert json.loads(text) == {"a": "x", "b": 1}


def test_fingerprints_tell_the_parts_apart() -> None:
    assert fingerprint(b"ab", b"c") == fingerprint(b"ab", b"c")
    assert len({fingerprint(b"ab", b"c"), fingerprint(b"a", b"bc"), fingerprint(b"abc"), fingerprint()}) == 4
    assert len(fingerprint(b"x")) == 16
