"""Images a second on one core by member and backend, as ratios to eager torch, and those of an ensemble on two cores.

Members are those of an ensemble's folder (the released one, if it is there), with its int8 files if they are beside
them; or fresh networks of the same architectures, whose int8 is timed but not used: nothing can be judged on it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mlensing.contract import CHANNELS, BandStatistics, ModelContract
from mlensing.inference.dropout import head_dropout
from mlensing.inference.ensemble import FILE, RELEASED, members_of
from mlensing.models import build, classifier
from mlensing.models.checkpoint import Checkpoint, read_checkpoint
from mlensing.models.onnx_file import exported
from mlensing.models.onnx_network import OnnxNetwork
from mlensing.models.quantise import quantised

BATCH = 64
BACKENDS = ("inference", "onnx", "int8")
"""``inference``: torch in inference mode, channels last."""
FRESH: dict[str, dict[str, Any]] = {
    "resnet18": {"width": 24, "stem": "stride2"},
    "resnet10": {"width": 16},
    "light_transformer": {"dim": 128, "depth": 4, "heads": 4},
}
"""Architectures of the release, as ``runs/release.sh`` and ``configs`` train them."""


def fresh() -> dict[str, Checkpoint]:
    torch.manual_seed(0)
    stats: Any = {"linear": BandStatistics(mean=(0.0,) * 3, std=(1.0,) * 3)}
    found = {}
    for name, options in FRESH.items():
        contract = ModelContract(name=name, options=options, bands=CHANNELS, pixel_scale=(0.1, 0.4), statistics=stats)
        state = {f"net.{key}": value for key, value in build(name, contract, **options).state_dict().items()}
        found[name] = Checkpoint(Path(f"{name}.ckpt"), contract, {}, {"state_dict": state})
    return found


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Shortest of several runs, after one that warms up: others only add waiting."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def inference(net: nn.Module, image: Tensor) -> Callable[[], object]:
    last = image.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run() -> object:
        return net(last)

    return run


class Subject(NamedTuple):
    """A member with its ONNX files; ``passed``: its int8 file passed the gate of ``mlensing export --int8``."""

    checkpoint: Checkpoint
    image: Tensor
    onnx: bytes
    int8: bytes
    passed: bool

    def network(self, backend: str, threads: int) -> nn.Module:
        """What ``backend`` runs."""
        if backend in ("onnx", "int8"):
            return OnnxNetwork(self.onnx if backend == "onnx" else self.int8, threads)
        return self.checkpoint.network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def subject(checkpoint: Checkpoint) -> Subject:
    contract = checkpoint.contract
    image = torch.randn(BATCH, len(contract.bands), contract.input_size, contract.input_size)
    model = exported(checkpoint)
    beside = checkpoint.path.with_name(f"{checkpoint.path.stem}.int8.onnx")
    if beside.is_file():
        return Subject(checkpoint, image, model, read_checkpoint(beside).content["model"], True)
    return Subject(checkpoint, image, model, quantised(model, image.numpy()), False)


def time_member(key: str, given: Subject, repeats: int) -> str:
    """Print a row; the fastest backend that may be used."""
    net = given.checkpoint.network()
    base = seconds(lambda: net(given.image), repeats)
    taken = {name: seconds(inference(given.network(name, 1), given.image), repeats) for name in BACKENDS}
    ratios = "".join(f"{base / spent:11.2f}" for spent in taken.values())
    print(f"{key:22}{BATCH / base:9.0f}{ratios}   {'yes' if given.passed else 'not judged'}", flush=True)
    usable = BACKENDS if given.passed else BACKENDS[:-1]
    return min(usable, key=lambda name: taken[name])


def head_cost(given: Subject, repeats: int) -> float:
    """Time of a pass that also gives the deviation under dropout before the head, over that of a plain pass."""
    net = given.network("inference", 1)
    seen, image = classifier(net), given.image.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def with_deviation() -> object:
        return head_dropout(seen.features(image), seen.head, seen.dropout)

    return seconds(with_deviation, repeats) / seconds(inference(net, image), repeats)


def ensemble_rate(subjects: Sequence[Subject], backends: Sequence[str], repeats: int) -> float:
    """Images a second of all members, one after the other, each by its fastest backend on two cores."""
    torch.set_num_threads(2)
    pairs = list(zip(subjects, backends, strict=True))
    return BATCH / sum(seconds(inference(given.network(name, 2), given.image), repeats) for given, name in pairs)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=str(RELEASED), help="an ensemble's folder")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    there = (Path(chosen.checkpoint) / FILE).is_file()
    files = members_of(chosen.checkpoint) if there else {}
    members = {key: read_checkpoint(file) for key, file in files.items()} or fresh()
    print(f"{'the ensemble in ' + chosen.checkpoint if there else 'fresh networks'}; batches of {BATCH}, one core")
    print(f"{'':22}{'images/s':>9}{'ratio to eager torch':>33}")
    print(f"{'member':22}{'eager':>9}{''.join(f'{name:>11}' for name in BACKENDS)}   int8 passed its gate")
    subjects = [subject(checkpoint) for checkpoint in members.values()]
    backends = [time_member(*pair, chosen.repeats) for pair in zip(members, subjects, strict=True)]
    dropout = max(head_cost(given, chosen.repeats) for given in subjects)
    rate = ensemble_rate(subjects, backends, chosen.repeats)
    print(f"by {', '.join(backends)} on two cores:")
    print(f"HEAD_DROPOUT_COST = {dropout:.3f} (aim 1.3)")
    print(f"ENSEMBLE_IMAGES_PER_SECOND = {rate:.0f} (aim 300)")


if __name__ == "__main__":
    main()
