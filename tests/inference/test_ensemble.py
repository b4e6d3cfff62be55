"""Ensembles: members see the same pixels, are fused by rule, and travel in a folder that notices damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlensing.contract import Calibration, Fusion, ModelContract
from mlensing.errors import ConfigError, ContractError
from mlensing.inference.ensemble import FILE, Ensemble, keys_of, save_ensemble
from mlensing.inference.member import Dropout, Member, dihedral
from mlensing.inference.predictor import COLUMNS, Predictor
from mlensing.models import build
from mlensing.models.checkpoint import Checkpoint, read_checkpoint

IMAGE, COMPOSITE = 255 * torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)), torch.ones(3).bool()


@pytest.fixture
def several(contract: ModelContract) -> dict[str, Checkpoint]:
    """Three members of random weights, each with a calibration of its own."""
    found = {}
    for seed, kind in enumerate(("temperature", "beta", "temperature")):
        torch.manual_seed(seed)
        net = build(contract.name, contract, **contract.options)
        content: dict[str, Any] = {"state_dict": {f"net.{k}": v for k, v in net.state_dict().items()}}
        parameters = (1.5,) if kind == "temperature" else (0.5, 0.8, 0.1)
        own = contract.model_copy(update={"calibration": Calibration(kind=kind, parameters=parameters)})  # type: ignore[arg-type]
        found[f"m{seed}"] = Checkpoint(Path(f"m{seed}.ckpt"), own, {"seed": seed}, content)
    return found


def members_of(several: dict[str, Checkpoint]) -> list[Member]:
    return [Member(key, c.contract, c.network(), "cpu") for key, c in several.items()]


def test_a_folder_scores_as_the_members_did(several: dict[str, Checkpoint], tmp_path: Path) -> None:
    fusion = Fusion(rule="stacked", weights=(0.5, 0.3, 0.1, -0.2), calibration=Calibration(parameters=(1.2,)))
    save_ensemble(tmp_path / "e", several, fusion, {"why": "a test"})
    loaded, fresh = Ensemble.load(tmp_path / "e", "cpu"), Ensemble(members_of(several), fusion)
    assert loaded.fusion == fusion and loaded.selection == {"why": "a test"}
    assert [m.key for m in loaded.members] == ["m0", "m1", "m2"]
    ours, theirs = (e.fused(e.score(IMAGE, COMPOSITE)) for e in (loaded, fresh))
    np.testing.assert_allclose(ours, theirs, atol=0.02)  # half precision


def test_one_alone_says_what_it_always_said(several: dict[str, Checkpoint], contract: ModelContract) -> None:
    member = members_of(several)[0]
    alone = Ensemble([member])
    scores = alone.score(IMAGE, COMPOSITE)
    odds, deviation = alone.fused(scores)
    np.testing.assert_allclose(odds, member.score(IMAGE, COMPOSITE).logit.numpy() / 1.5, rtol=1e-5)
    np.testing.assert_allclose(deviation, np.sqrt(scores.variance[0]) / 1.5, rtol=1e-5)
    assert alone.fusion == Fusion(rule="calibrated_mean")
    assert alone.contract.prevalence == pytest.approx(contract.prevalence)


def test_the_deviation_knows_of_disagreement(several: dict[str, Checkpoint]) -> None:
    ensemble = Ensemble(members_of(several))
    scores = ensemble.score(IMAGE, COMPOSITE)
    spread = ensemble.log_odds(scores).std(0)
    assert (ensemble.fused(scores)[1] >= spread).all() and (spread > 0).all()


def test_eight_views_are_the_mean_logit_of_the_square(several: dict[str, Checkpoint]) -> None:
    member = members_of(several)[0]
    logit = member.score(IMAGE, COMPOSITE, views=8).logit
    views = [member.score(view, COMPOSITE).logit for view in dihedral(IMAGE)]
    torch.testing.assert_close(logit, torch.stack(views).mean(dim=0), rtol=1e-3, atol=1e-3)
    assert len({tuple(view.flatten().tolist()) for view in dihedral(IMAGE)}) == 8


def test_full_dropout_is_the_head_s_where_there_is_no_other(several: dict[str, Checkpoint]) -> None:
    member = members_of(several)[0]
    head = member.score(IMAGE, COMPOSITE).variance
    full = member.score(IMAGE, COMPOSITE, dropout=Dropout("full", 3000)).variance
    torch.testing.assert_close(full, head, rtol=0.15, atol=1e-9)


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"bands": ("g", "r", "i")}, "bands"), ({"input_size": 64}, "input_size"), ({"pixel_scale": (0.5, 0.6)}, "scale")],
)
def test_members_that_cannot_share_pixels_are_refused(
    several: dict[str, Checkpoint], fields: dict[str, Any], words: str
) -> None:
    first, second, _ = members_of(several)
    other = Member("other", second.contract.model_copy(update=fields), second.net, "cpu")
    with pytest.raises(ContractError, match=words):
        Ensemble([first, other])


def test_keys_are_unique(several: dict[str, Checkpoint], tmp_path: Path) -> None:
    first = members_of(several)[0]
    with pytest.raises(ConfigError, match="unique"):
        Ensemble([first, first])
    assert keys_of(list(several.values())) == ["resnet18-0", "resnet18-1", "resnet18-2"]
    assert keys_of([several["m0"]] * 3) == ["resnet18-0", "resnet18-0-2", "resnet18-0-3"]


def test_a_damaged_folder_is_refused(several: dict[str, Checkpoint], tmp_path: Path) -> None:
    save_ensemble(tmp_path, several, Fusion(rule="calibrated_mean"), {})
    victim = tmp_path / "m1.safetensors"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ContractError, match="m1 is missing, or not the file"):
        Ensemble.load(tmp_path)
    victim.unlink()
    with pytest.raises(ContractError, match="m1 is missing"):
        Ensemble.load(tmp_path)


@pytest.mark.parametrize("file", ["../m1.safetensors", "/etc/passwd", "m1.ckpt", ".hidden.safetensors"])
def test_an_index_that_points_elsewhere_is_refused(several: dict[str, Checkpoint], tmp_path: Path, file: str) -> None:
    save_ensemble(tmp_path, several, Fusion(rule="calibrated_mean"), {})
    said = json.loads((tmp_path / FILE).read_text())
    said["members"][1]["file"] = file
    (tmp_path / FILE).write_text(json.dumps(said))
    with pytest.raises(ContractError, match="not the index of an ensemble"):
        Ensemble.load(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 99}'])
def test_an_index_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ContractError, match="not the index of an ensemble"):
        Ensemble.load(tmp_path)


def test_the_table_has_what_each_member_says(checkpoint: Path, data_dir: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.ckpt"
    twin.write_bytes(checkpoint.read_bytes())
    table = Predictor.load([checkpoint, twin], "cpu").predict([data_dir / "test"], members=True)
    keys = ["logit_resnet18", "logit_resnet18-2"]
    assert list(table.columns) == [*COLUMNS[:-1], *keys, "status"]
    for key in keys:
        np.testing.assert_allclose(table[key], table["logit"], rtol=1e-6)
    assert (table["disagreement"] < 1e-9).all() and (table["uncertainty"] > 0).all()
    rare = Predictor.load([checkpoint, twin], "cpu").predict([data_dir / "test"], members=True, prevalence=0.001)
    np.testing.assert_allclose(rare[keys[0]], table[keys[0]] + np.log(0.001 / 0.999), rtol=1e-6)


def test_safetensors_say_what_the_checkpoint_said(checkpoint: Path, tmp_path: Path) -> None:
    from mlensing.models.checkpoint import write_safetensors

    write_safetensors(tmp_path / "a.safetensors", read_checkpoint(checkpoint), half=False)
    pair = [Ensemble.load(path, "cpu") for path in (checkpoint, tmp_path / "a.safetensors")]
    one, other = (ensemble.score(IMAGE, COMPOSITE).logit for ensemble in pair)
    np.testing.assert_array_equal(one, other)
