"""ONNX files: the same answers as torch for any batch, and what of them is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.test_checkpoint import make_content, make_contract
from tests.models.test_conformance import SMALL

from mlensing.errors import ConfigError, ContractError
from mlensing.models.checkpoint import Checkpoint, read_checkpoint, write_safetensors
from mlensing.models.onnx_file import CLOSE, exported, write_onnx
from mlensing.models.onnx_seal import opened, sealed

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def make_checkpoint(folder: Path, name: str) -> Checkpoint:
    torch.manual_seed(0)
    contract = make_contract().model_copy(update={"name": name, "options": SMALL[name], "input_size": 32})
    content = make_content(contract)
    content["state_dict"]["domain.mean"] = torch.arange(3.0)
    torch.save(content, folder / f"{name}.ckpt")
    return read_checkpoint(folder / f"{name}.ckpt")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make_checkpoint(tmp_path_factory.mktemp("given"), "resnet10")


@pytest.fixture(scope="module")
def model(given: Checkpoint) -> bytes:
    return exported(given)


def test_every_architecture_says_the_same_in_onnx_for_any_batch(tmp_path: Path, name: str) -> None:
    given = make_checkpoint(tmp_path, name)
    with torch.inference_mode():  # what a network keeps from here must not spoil the export
        given.network()(torch.zeros(1, 3, 32, 32))
    write_onnx(tmp_path / "a.onnx", exported(given))
    found = read_checkpoint(tmp_path / "a.onnx")
    assert (found.contract, found.config) == (given.contract, given.config)
    assert torch.equal(found.content["state_dict"]["domain.mean"], torch.arange(3.0))
    net, other = given.network(), found.network()
    assert other.dropout == net.dropout and not other.training
    for batch in (1, 3):
        image = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            for ours, theirs in ((net(image), other(image)), (net.features(image), other.features(image))):
                assert theirs.shape == ours.shape
                assert (theirs - ours).abs().max() <= 2 * CLOSE * ours.abs().max()


def test_a_file_names_no_path_of_the_machine(model: bytes) -> None:
    assert b".py" not in model and b"/src" not in model


def test_an_export_that_differs_is_refused(given: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlensing.models.onnx_file.CLOSE", -1.0)
    with pytest.raises(ContractError, match="differs from torch's"):
        exported(given)


def test_an_onnx_file_is_not_exported_or_turned_back(tmp_path: Path, model: bytes) -> None:
    write_onnx(tmp_path / "a.onnx", model)
    found = read_checkpoint(tmp_path / "a.onnx")
    with pytest.raises(ContractError, match="already"):
        exported(found)
    with pytest.raises(ContractError, match="cannot become a checkpoint"):
        write_safetensors(tmp_path / "a.safetensors", found)


def test_without_the_extra_it_says_what_to_install(given: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"mlensing\[onnx\]"):
        exported(given)


def changed(model: bytes, change: Callable[[Any, dict[str, str]], None]) -> bytes:
    """A file whose digest is right, after ``change`` of its graph or its strings."""
    found = opened(model)
    assert found is not None
    change(*found)
    return sealed(*found)


def outside(proto: Any, _: dict[str, str]) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


def outside_of_a_node(proto: Any, words: dict[str, str]) -> None:
    value = onnx.helper.make_tensor("v", onnx.TensorProto.FLOAT, [1], [0.0])
    value.data_location = onnx.TensorProto.EXTERNAL
    proto.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=value))


def foreign(proto: Any, _: dict[str, str]) -> None:
    proto.graph.node[0].domain = "evil"


def nested(proto: Any, _: dict[str, str]) -> None:
    graph = onnx.helper.make_graph([], "inner", [], [])
    proto.graph.node[0].attribute.append(onnx.helper.make_attribute("body", graph))


def not_finite(proto: Any, _: dict[str, str]) -> None:
    tensor = next(t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nan
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def no_contract(_: Any, words: dict[str, str]) -> None:
    del words["contract"]


def other_size(_: Any, words: dict[str, str]) -> None:
    words["contract"] = words["contract"].replace('"input_size":32', '"input_size":64')


def other_head(_: Any, words: dict[str, str]) -> None:
    words["head"] = json.dumps({**json.loads(words["head"]), "bias": 9.0})


def wrong_head(_: Any, words: dict[str, str]) -> None:
    words["head"] = "[]"


def broken_domain(_: Any, words: dict[str, str]) -> None:
    words["domain"] = "AAAA"


def broken_graph(proto: Any, _: dict[str, str]) -> None:
    del proto.graph.node[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (outside, "from another file"),
        (outside_of_a_node, "from another file"),
        (foreign, "more than plain operators"),
        (nested, "more than plain operators"),
        (not_finite, "not finite numbers"),
        (no_contract, "has no contract"),
        (other_size, "does not do what its contract says"),
        (other_head, "not that of its graph"),
        (wrong_head, "does not do what its contract says"),
        (broken_domain, "domain is not readable"),
        (broken_graph, "does not do what its contract says"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_files_that_lie_are_refused(
    tmp_path: Path, model: bytes, change: Callable[[Any, dict[str, str]], None], said: str
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(changed(model, change))
    with pytest.raises(ContractError, match=said) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_flipped_bits_and_truncations_are_noticed(tmp_path: Path, model: bytes) -> None:
    path = tmp_path / "a.onnx"
    for place in range(0, len(model), len(model) // 40):
        path.write_bytes(model[:place] + bytes([model[place] ^ 4]) + model[place + 1 :])
        with pytest.raises(ContractError, match="digest does not hold"):
            read_checkpoint(path)
    for whole in (b"", b"onnx", model[:-1], model[: len(model) // 2]):
        path.write_bytes(whole)
        with pytest.raises(ContractError, match="digest does not hold"):
            read_checkpoint(path)
