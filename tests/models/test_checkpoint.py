"""Checkpoint files: what is refused and why, and weights that start another training."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.test_conformance import SMALL

from mlensing.contract import BandStatistics, Calibration, ModelContract
from mlensing.errors import ContractError
from mlensing.models import build
from mlensing.models.checkpoint import FORMAT, Checkpoint, read_checkpoint, stamp, write_safetensors
from mlensing.models.warm_start import warm_start

OPTIONS = {"width": 4}


def make_contract(bands: int = 3) -> ModelContract:
    stats: dict[Any, BandStatistics] = {"linear": BandStatistics(mean=(0.0,) * bands, std=(1.0,) * bands)}
    names = tuple("grizy"[:bands])
    return ModelContract(name="resnet18", options=OPTIONS, bands=names, pixel_scale=(0.1, 0.4), statistics=stats)


def make_content(contract: ModelContract | None = None) -> dict[str, Any]:
    contract = contract or make_contract()
    net = build(contract.name, contract, **contract.options)
    content: dict[str, Any] = {"state_dict": {f"net.{k}": v for k, v in net.state_dict().items()}}
    stamp(content, contract, {"lr": 0.1})
    return content


def write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_what_was_stamped_is_read(tmp_path: Path) -> None:
    content = make_content()
    found = read_checkpoint(write(tmp_path / "a.ckpt", content))
    assert found.contract == make_contract() and found.config == {"lr": 0.1}
    assert torch.equal(found.network().state_dict()["fc.weight"], content["state_dict"]["net.fc.weight"])
    assert not found.network().training


def test_another_contract_can_be_put_in(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ckpt", make_content())
    calibration = Calibration(parameters=(2.0,))
    calibrated = make_contract().model_copy(update={"calibration": calibration})
    read_checkpoint(path).with_contract(calibrated)
    assert read_checkpoint(path).contract.calibration == calibration


def as_checkpoint(path: Path) -> Checkpoint:
    return read_checkpoint(write(path, make_content()))


@pytest.mark.parametrize("half", [False, True])
def test_safetensors_hold_the_same_finder(tmp_path: Path, half: bool) -> None:
    given = as_checkpoint(tmp_path / "a.ckpt")
    write_safetensors(tmp_path / "a.safetensors", given, half=half)
    found = read_checkpoint(tmp_path / "a.safetensors")
    assert (found.contract, found.config) == (given.contract, given.config)
    image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected, logit = given.network()(image), found.network()(image)
    assert (logit - expected).abs().max() <= (2e-2 * expected.abs().max() if half else 0.0)
    assert all(weight.dtype == torch.float32 for weight in found.network().parameters())


def test_half_precision_spares_norms_domains_and_what_overflows(tmp_path: Path) -> None:
    given = as_checkpoint(tmp_path / "a.ckpt")
    state = given.content["state_dict"]
    state |= {"domain.matrix": torch.full((2, 2), 1 / 3), "net.fc.weight": torch.full((1, 32), 1e6)}
    state["net.bn1.running_var"] = torch.full((4,), 1 / 3)
    write_safetensors(tmp_path / "a.safetensors", given)
    found = read_checkpoint(tmp_path / "a.safetensors").content["state_dict"]
    for name in ("domain.matrix", "net.fc.weight", "net.bn1.running_var"):
        assert torch.equal(found[name], state[name])
    assert not torch.equal(found["net.conv1.weight"], state["net.conv1.weight"])


def test_every_architecture_comes_out_of_its_file_whole(tmp_path: Path, name: str) -> None:
    """Built without memory, then filled: nothing may be left empty."""
    contract = make_contract().model_copy(update={"name": name, "options": SMALL[name]})
    content = make_content(contract)
    net = read_checkpoint(write(tmp_path / "a.ckpt", content)).network()
    assert not any(tensor.is_meta for tensor in [*net.parameters(), *net.buffers()])
    assert all(weight.requires_grad for weight in net.parameters())
    assert torch.isfinite(net(torch.randn(2, 3, 64, 64))).all()


class Trap:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("unpickled",))


def broken(path: Path, kind: str) -> Path:
    """A file that is not a usable checkpoint."""
    content = make_content()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "truncated":
        whole = write(path, content).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(), protocol=2))
    elif kind == "trap":
        write(path, {**content, "more": Trap()})
    elif kind == "tensor":
        write(path, torch.zeros(3))
    elif kind == "bare":
        write(path, content["state_dict"])
    elif kind == "newer":
        write(path, {**content, "format": FORMAT + 1})
    elif kind == "task":
        other = {**json.loads(content["contract"]), "task": "regression"}
        write(path, {**content, "contract": json.dumps(other)})
    elif kind == "contract":
        write(path, {**content, "contract": "{"})
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "no such checkpoint"),
        ("empty", "not a readable checkpoint"),
        ("text", "not a readable checkpoint"),
        ("truncated", "not a readable checkpoint"),
        ("pickle", "not a readable checkpoint"),
        ("trap", "not a readable checkpoint"),
        ("tensor", "no contract"),
        ("bare", "no contract"),
        ("newer", "newer mlensing"),
        ("task", "regression"),
        ("contract", "contract is not valid"),
    ],
)
def test_what_is_not_a_checkpoint_is_refused_and_never_run(
    tmp_path: Path, kind: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken(tmp_path / "a.ckpt", kind)
    with pytest.raises(ContractError, match=said) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "unpickled" not in capsys.readouterr().out


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    content = make_content()
    del content["state_dict"]["net.layer4.1.conv2.weight"]
    with pytest.raises(ContractError, match="not those of resnet18"):
        read_checkpoint(write(tmp_path / "a.ckpt", content)).network()


def test_warm_start_takes_what_fits(tmp_path: Path) -> None:
    """As public weights come: torchvision's names, a head of 1000 classes, three bands."""
    public = build("resnet18", make_contract(3), **OPTIONS).state_dict()
    public["fc.weight"], public["fc.bias"] = torch.zeros(1000, 32), torch.zeros(1000)
    path = write(tmp_path / "resnet18.pth", public)
    net = build("resnet18", make_contract(5), **OPTIONS)
    assert warm_start(net, path) == ["conv1.weight", "fc.bias", "fc.weight"]
    assert torch.equal(net.state_dict()["layer1.0.conv1.weight"], public["layer1.0.conv1.weight"])
    ours = build("resnet18", make_contract(), **OPTIONS)
    assert warm_start(ours, write(tmp_path / "a.ckpt", make_content())) == []


def test_warm_start_from_nothing_that_fits_is_an_error(tmp_path: Path) -> None:
    net = build("resnet18", make_contract(), **OPTIONS)
    with pytest.raises(ContractError, match="no tensor in it fits"):
        warm_start(net, write(tmp_path / "x.pth", {"a": torch.zeros(2)}))
    with pytest.raises(ContractError, match="no such weights"):
        warm_start(net, tmp_path / "y.pth")
    for ending in ("pth", "safetensors"):
        with pytest.raises(ContractError, match=r"not (a )?readable"):
            warm_start(net, broken(tmp_path / f"z.{ending}", "text"))


def test_the_same_finder_gives_the_same_bytes(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write(tmp_path / "a.ckpt", make_content()))
    written = set()
    for number in range(6):
        write_safetensors(tmp_path / f"{number}.safetensors", checkpoint)
        written.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(written) == 1
