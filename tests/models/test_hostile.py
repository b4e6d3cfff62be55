"""Files made to harm, or damaged on the way: each is refused in one line, and nothing in them runs."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.models.test_checkpoint import make_content, make_contract

from mlensing.cli import main
from mlensing.errors import ContractError
from mlensing.models.checkpoint import read_checkpoint, write_safetensors
from mlensing.models.safe import WORDS, digest


class Payload:
    """Makes a folder when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def refused(path: Path, said: str) -> None:
    """Reading it, or building its network, is one error that names the file."""
    with pytest.raises(ContractError, match=said) as caught:
        read_checkpoint(path).network()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def changed_contract(**changes: Any) -> dict[str, Any]:
    raw = json.loads(make_contract().model_dump_json()) | changes
    return {**make_content(), "contract": json.dumps(raw)}


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def saved_safely(path: Path, **changes: str) -> Path:
    """A safetensors file whose digest is right, whatever its strings say."""
    content = make_content()
    words = {name: str(content[name]) for name in WORDS} | changes
    save_file(content["state_dict"], path, {**words, "sha256": digest(content["state_dict"], words)})
    return path


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """Bytes of a good safetensors file."""
    write_safetensors(tmp_path / "whole.safetensors", read_checkpoint(save(tmp_path / "whole.ckpt", make_content())))
    return (tmp_path / "whole.safetensors").read_bytes()


@pytest.mark.parametrize("place", ["beside", "contract", "state_dict", "weight"])
def test_a_payload_does_not_run(tmp_path: Path, place: str) -> None:
    content, payload = make_content(), Payload(tmp_path / "ran")
    if place == "weight":
        content["state_dict"]["net.fc.bias"] = payload
    else:
        content[place] = payload
    path = save(tmp_path / "a.ckpt", content)
    refused(path, "not a readable checkpoint")
    path.rename(tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "not a readable safetensors file")
    assert not (tmp_path / "ran").exists()


def test_the_command_line_refuses_it_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.ckpt", {**make_content(), "more": Payload(tmp_path / "ran")})
    assert main(["predict", str(tmp_path), "--checkpoint", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "not a readable checkpoint" in said
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, whole: bytes, part: float) -> None:
    safe = tmp_path / "a.safetensors"
    safe.write_bytes(whole[: int(part * len(whole))])
    refused(safe, "not a readable safetensors file")
    path = save(tmp_path / "a.ckpt", make_content())
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    refused(path, "not a readable checkpoint")


@pytest.mark.parametrize("length", [0, 3, 2**20, 2**40, 2**64 - 1])
def test_a_header_that_lies_about_its_length_is_refused(tmp_path: Path, whole: bytes, length: int) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + whole[8:])
    refused(path, "not a readable safetensors file")


def test_flipped_bits_are_noticed(tmp_path: Path, whole: bytes) -> None:
    """In the strings, in the table of tensors and in the tensors of safetensors; in the tensors of a checkpoint."""
    header = 8 + int.from_bytes(whole[:8], "little")
    path = tmp_path / "a.safetensors"
    for place in [*range(10, header, 97), *range(header, len(whole), len(whole) // 20)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refused(path, "safetensors file|damaged")
    good = (tmp_path / "whole.ckpt").read_bytes()
    weight = make_content()["state_dict"]["net.bn1.weight"].numpy().tobytes()
    place = good.index(weight)
    path = tmp_path / "a.ckpt"
    path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    refused(path, "is damaged")


def test_archives_that_unpack_to_more_are_refused(tmp_path: Path) -> None:
    given, path = save(tmp_path / "a.ckpt", make_content()), tmp_path / "b.ckpt"
    with zipfile.ZipFile(given) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    refused(path, "would unpack to more")


def test_one_number_cannot_claim_to_be_a_billion(tmp_path: Path) -> None:
    content = changed_contract(options={"width": 4096})
    content["state_dict"]["net.layer1.0.conv1.weight"] = torch.zeros(1).expand(4096, 4096, 3, 3)
    refused(save(tmp_path / "a.ckpt", content), "more memory than the file holds")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "resnet19"}, "cannot be built .*no such architecture"),
        ({"name": "../resnet18"}, "cannot be built"),
        ({"options": {"width": 4096}}, "not those of resnet18"),
        ({"options": {"width": 1_000_000}}, "options above 4096"),
        ({"options": {"width": 1e6}}, "options above 4096"),
        ({"options": {"width": -1}}, "cannot be built"),
        ({"options": {"width": [4]}}, "not plain values"),
        ({"options": {"width": "wide"}}, "cannot be built"),
        ({"options": {"depth": 3}}, "unknown option"),
        ({"name": "resnet34"}, "not those of resnet34"),
        ({"input_size": 10**9}, "contract is not valid"),
        ({"input_size": -64}, "contract is not valid"),
        ({"bands": ["g"]}, "contract is not valid"),
        ({"bands": ["g", "r"], "statistics": {"linear": {"mean": [0, 0], "std": [1, 1]}}}, "not those of resnet18"),
        ({"statistics": {"linear": {"mean": [0, 0, 0], "std": [1, 0, 1]}}}, "contract is not valid"),
        ({"statistics": {"linear": {"mean": [0, 0, float("nan")], "std": [1, 1, 1]}}}, "contract is not valid"),
        ({"softening": float("inf")}, "contract is not valid"),
        ({"calibration": {"kind": "temperature", "parameters": [-1.0]}}, "contract is not valid"),
        ({"task": "regression"}, "its task is"),
        ({"more": 1}, "contract is not valid"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_contracts_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    content = changed_contract(**changes)
    refused(save(tmp_path / "a.ckpt", content), said)
    refused(saved_safely(tmp_path / "a.safetensors", contract=content["contract"]), said)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '"' + "x" * 100, "9" * 5000], ids=lambda t: t[:5])
def test_strings_that_are_no_contract_are_refused(tmp_path: Path, text: str) -> None:
    for name in ("contract", "config"):
        refused(save(tmp_path / "a.ckpt", {**make_content(), name: text}), "contract is not valid")
        refused(saved_safely(tmp_path / "a.safetensors", **{name: text}), "contract is not valid")
    refused(saved_safely(tmp_path / "a.safetensors", format="two"), "its format is two")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    content = make_content()
    content["state_dict"]["net.layer1.0.conv1.weight"][0, 0, 0, 0] = value
    refused(save(tmp_path / "a.ckpt", content), r"not finite numbers \(layer1.0.conv1.weight\)")


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(4, dtype=torch.int64),
        torch.zeros(4, dtype=torch.complex64),
        torch.zeros(5),
        torch.zeros(4).to_sparse(),
        torch.zeros(4, device="meta"),
        "zeros",
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_weights_of_another_kind_are_refused(tmp_path: Path, weight: object) -> None:
    content = make_content()
    content["state_dict"]["net.bn1.weight"] = weight
    refused(save(tmp_path / "a.ckpt", content), "not those of resnet18|not named tensors|not a readable")
