"""What the physics term buys a map head: the error of kappa from psi on systems it has never seen, with and without.

    python benchmarks/maps.py [--full]

A network learns kappa and psi of simulated lenses twice, from the same weights and batches: without the Poisson term
and with it. Root mean squares of the error, over the pixels of ``usable`` (border and core left out), are told of the
kappa that is predicted and of half the Laplacian of the psi that is predicted, beside the constant and the mean map of
the training set. Einstein radii and their deviations follow. The figure is the error of kappa from psi with the term
over that without; below 1 the term has earned its place. The default is one short training, ``--full`` three seeds of
4,096 lenses at 64 pixels, a quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mlensing.contract import ModelContract
from mlensing.data.augment import augment
from mlensing.data.normalise import Normaliser, measure_statistics
from mlensing.models import build
from mlensing.models.maps import CORE, predict_maps
from mlensing.physics import einstein_radius_of, laplacian
from mlensing.simulate import Mixture, Simulator
from mlensing.simulate.simulator import BLOCK
from mlensing.training.describe import SOFTENING
from mlensing.training.losses import masked_mean, task_of, total_loss, usable
from mlensing.training.schedules import warmup_cosine

VALIDATION_SKY, BATCH, MEASURED = 1000, 64, 2048
BF16 = "convolutions in bfloat16: twice as fast on processors with AVX512-BF16, much slower on others"
SKY = {
    "surveys": {"lsst": 1},
    "classes": {"lens": 1},
    "bands": ["g", "r", "i"],
    "theta_E": (0.9, 3.5),
    "arc_signal": 60,
}
TERMS = {"kappa": 1.0, "psi": 0.1}
PHYSICS = {**TERMS, "poisson": 0.3}


class Size(NamedTuple):
    """How large an experiment is."""

    pixels: int
    draws: int
    held_out: int
    epochs: int
    seeds: int
    model: str
    options: dict[str, Any]


QUICK = Size(32, 768, 256, 12, 1, "resnet10", {"width": 8})
FULL = Size(64, 4096, 1024, 8, 3, "resnet18", {"width": 16, "stem": "stride2"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the experiment itself: many draws, three seeds")
    parser.add_argument("--bf16", action="store_true", help=BF16)
    parser.add_argument("--seed", type=int, help="this seed alone")
    given = parser.parse_args()
    size = FULL if given.full else QUICK
    torch.set_num_threads(1)
    mixture = Mixture(**SKY, size=size.pixels)
    training, held_out = draw(mixture, size.draws, 0), draw(mixture, size.held_out, VALIDATION_SKY)
    keep = usable(held_out, core=CORE)
    constant, mean_map = guesses(training, held_out)
    print(
        f"{size.draws} lenses to learn from, {size.held_out} to judge: kappa RMSE of a constant {constant:.4f}, ",
        end="",
    )
    print(f"of the mean map {mean_map:.4f}", flush=True)
    ratios: list[float] = []
    for seed in range(size.seeds) if given.seed is None else [given.seed]:
        errors = []
        for name, terms in (("without physics", TERMS), ("with physics", PHYSICS)):
            trained = learned(training, terms, size.model, size.options, size.epochs, seed, bf16=given.bf16)
            found = judged(trained, held_out, keep)
            print(
                f"seed {seed}, {name}: " + ", ".join(f"{key} {value:.4f}" for key, value in found.items()), flush=True
            )
            errors.append(found["of lap psi / 2"])
        ratios.append(errors[1] / errors[0])
    if len(ratios) > 1:
        print(f"ratio {statistics.mean(ratios):.3f}, standard deviation over seeds {statistics.stdev(ratios):.3f}")
    print(f"MAPS_KAPPA_FROM_PSI_RMSE_RATIO = {statistics.mean(ratios):.2f} (aim 0.90)")


def draw(mixture: Mixture, count: int, seed: int) -> dict[str, Tensor]:
    """The first lenses of a sky with their maps."""
    simulator = Simulator(mixture, seed=seed)
    blocks = [simulator.block(number, maps=True) for number in range(-(-count // BLOCK))]
    return {key: torch.cat([block[key] for block in blocks]) for key in blocks[0]} | {
        "dy": torch.cat([block["dx"] for block in blocks])
    }


def guesses(training: dict[str, Tensor], held_out: dict[str, Tensor]) -> tuple[float, float]:
    """RMSE of kappa by the mean of the training set, one number or pixel by pixel."""
    keep, seen = usable(held_out, core=CORE), usable(training, core=CORE)
    by_number = masked_mean(training["kappa"], seen)
    by_pixel = training["kappa"].mean(0)
    return tuple(float(masked_mean((held_out["kappa"] - by).square(), keep).sqrt()) for by in (by_number, by_pixel))


def learned(
    data: dict[str, Tensor], terms: dict[str, float], model: str, options: dict[str, Any], epochs: int, seed: int, *,
    bf16: bool,
) -> tuple[nn.Module, Normaliser]:  # fmt: skip
    """A network that has learned, in an order and turned to sides that the seed alone decides."""
    generator, linear = torch.manual_seed(seed), torch.zeros(len(data["label"]), dtype=torch.bool)
    contract = ModelContract(
        name=model, bands=("g", "r", "i"), input_size=data["image"].shape[-1], pixel_scale=(0.2, 0.2),
        task=task_of(terms), statistics=measure_statistics(data["image"][:MEASURED], linear[:MEASURED], SOFTENING),
    )  # fmt: skip
    net, normaliser, loss = build(model, contract, **options), Normaliser(contract), total_loss(terms)
    net = net.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-4)
    batches = len(linear) // BATCH
    schedule = LambdaLR(optimiser, partial(warmup_cosine, total=epochs * batches, warmup=0.1))
    for _ in range(epochs):
        for rows in torch.randperm(len(linear), generator=generator)[: batches * BATCH].split(BATCH):
            maps = {name: data[name][rows] for name in ("kappa", "psi", "dx", "dy")}
            image, maps = augment(data["image"][rows], maps, generator, shift_px=0)
            pixels = normaliser(image, linear[rows]).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                output = said(net, pixels, maps)
            optimiser.zero_grad()
            loss(output, {**maps, "label": data["label"][rows]}).backward()
            optimiser.step()
            schedule.step()
    return net.eval(), normaliser


def said(net: nn.Module, pixels: Tensor, maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """The logit, and maps if the network has a head for them."""
    if hasattr(net, "maps"):
        return predict_maps(net, pixels, dx=maps["dx"], dy=maps["dy"])[0]
    return {"logit": net(pixels)}


@torch.inference_mode()
def judged(trained: tuple[nn.Module, Normaliser], data: dict[str, Tensor], keep: Tensor) -> dict[str, float]:
    """Errors of maps and Einstein radii on systems that training has not seen."""
    net, normaliser = trained
    linear, spacing = torch.zeros(len(keep), dtype=torch.bool), {"dx": data["dx"], "dy": data["dy"]}
    output, _ = predict_maps(net, normaliser(data["image"], linear), **spacing)
    from_psi = laplacian(output["psi"], **spacing) / 2
    radius = einstein_radius_of(output["kappa"], output["kappa_log_variance"].exp(), **spacing)
    truth = einstein_radius_of(data["kappa"], torch.zeros_like(data["kappa"]), **spacing).value
    both = radius.value.isfinite() & truth.isfinite()
    apart = (radius.value - truth)[both]
    return {
        "kappa RMSE": float(masked_mean((output["kappa"] - data["kappa"]).square(), keep).sqrt()),
        "of lap psi / 2": float(masked_mean((from_psi - data["kappa"]).square(), keep).sqrt()),
        "residual": float(masked_mean((2 * from_psi - 2 * output["kappa"]).square(), keep).sqrt()),
        "theta_E off by (median)": float((apart / truth[both]).abs().median()),
        "within one deviation": float((apart.abs() < radius.deviation[both]).float().mean()),
    }


if __name__ == "__main__":
    main()
