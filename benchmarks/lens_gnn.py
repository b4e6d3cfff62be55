"""Error of kappa by LensGNN over that by a U-Net of as many parameters: same images, same batches, same steps.

A second figure is of a U-Net that learns for as much processor time, since its steps are cheaper.

Both learn kappa (beta-NLL), psi and the Poisson residual from simulated lenses with ``Mapper``'s own losses, and are
judged on lenses of another sky. Each takes the better of two learning rates on a third sky, for they like different
ones. Beside them: one number for all nodes, and the mean map of the training lenses, which is the best map that does
not look at the image. The error is the root mean square over nodes outside cores and border; over all nodes beside it.
The networks have 30,000 parameters. The default is small: one seed, few steps. ``--full`` takes 4,096 lenses, 800
steps and three seeds: half an hour on one core.

    python benchmarks/lens_gnn.py [--full] [--device cuda]
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mlensing.contract import ModelContract
from mlensing.data.normalise import Normaliser, measure_statistics
from mlensing.gnn import MAP_MODELS, build_maps
from mlensing.gnn.truth import node_maps
from mlensing.simulate import BLOCK, Mixture, Simulator
from mlensing.simulate.real.sky import RealSky
from mlensing.training.describe import SOFTENING, new_contract, sky_fields
from mlensing.training.losses import LOSSES, total_loss
from mlensing.training.mapper import WEIGHTS
from mlensing.training.maps import CLIP
from mlensing.training.schedules import warmup_cosine

PATCH, BATCH = 2, 16
RATES = (2e-3, 5e-3)
CHOOSING_SKY, JUDGING_SKY = 1000, 2000
Batch = dict[str, Tensor]


class Size(NamedTuple):
    """How large an experiment is."""

    pixels: int
    lenses: int
    judged: int
    steps: int
    seeds: int
    options: dict[str, dict[str, Any]]


QUICK = Size(32, 1024, 256, 100, 1, {"lens_gnn": {"width": 30, "depth": 3}, "unet": {"width": 8}})
FULL = QUICK._replace(lenses=4096, judged=1024, steps=800, seeds=3)


def draw(contract: ModelContract, sky: Mixture, count: int, seed: int, device: str) -> Batch:
    """Normalised images of the first blocks of a sky, and the truth at their nodes."""
    simulator, normaliser = Simulator(sky, seed=seed, device=device), Normaliser(contract).to(device)
    parts = []
    for number in range(-(-count // BLOCK)):
        block = simulator.block(number, maps=True)
        image = normaliser(block["image"], torch.zeros(BLOCK, dtype=torch.bool, device=device))
        truth = node_maps({**block, "dy": block["dx"]}, PATCH)
        parts.append({**truth, "image": image, "pixel": block["dx"]})
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def rows(batch: Batch, chosen: Tensor) -> Batch:
    return {key: value[chosen] for key, value in batch.items()}


def said(net: nn.Module, batch: Batch) -> Batch:
    return net(batch["image"], dx=batch["pixel"], dy=batch["pixel"])  # type: ignore[no-any-return]


def learn(net: nn.Module, lenses: Batch, steps: int, rate: float, seed: int) -> float:
    """Train; the processor's seconds a step."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-4)
    schedule = LambdaLR(optimiser, partial(warmup_cosine, total=steps, warmup=0.1))
    criterion, start = total_loss(WEIGHTS), time.process_time()
    for _ in range(steps):
        chosen = torch.randint(len(lenses["dx"]), (BATCH,), generator=generator).to(lenses["dx"].device)
        batch = rows(lenses, chosen)
        output = said(net, batch)
        loss = criterion(output, batch)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimiser.step()
        schedule.step()
    return (time.process_time() - start) / steps


@torch.no_grad()
def errors(net: nn.Module, judged: Batch) -> dict[str, float]:
    """Root mean square errors of kappa (outside cores and border, and of all nodes) and of psi, and its residual."""
    net.eval()
    numbers = torch.arange(len(judged["dx"]), device=judged["dx"].device).split(BLOCK)
    parts = [said(net, rows(judged, some)) for some in numbers]
    output = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    found = off(output["kappa"], judged)
    found |= {name: float(LOSSES[name](output, judged)) ** 0.5 for name in ("psi", "poisson")}
    spread = (output["kappa_log_variance"][judged["trusted"]] / 2).exp()
    wrong = (output["kappa"] - judged["kappa"])[judged["trusted"]].abs()
    return found | {"within": float((wrong < spread).float().mean())}


def off(kappa: Tensor, judged: Batch) -> dict[str, float]:
    wrong = kappa - judged["kappa"]
    return {"kappa": float(wrong[judged["trusted"]].square().mean() ** 0.5), "all": float(wrong.square().mean() ** 0.5)}


def compare(
    name: str, contract: ModelContract, size: Size, skies: list[Batch], seed: int, rates: tuple[float, ...] = RATES
) -> dict[str, float]:
    """Errors of one network at the learning rate that suits it, and what it costs."""
    training, choosing, judging = skies
    trained = []
    for rate in rates:
        torch.manual_seed(seed)
        net = build_maps(name, contract, **size.options[name]).to(training["dx"].device)
        cost = learn(net, training, size.steps, rate, seed)
        trained.append((errors(net, choosing)["kappa"], rate, cost, net))
    _, rate, cost, net = min(trained, key=lambda one: one[0])
    found = {**errors(net, judging), "rate": rate, "cost": cost, "size": sum(p.numel() for p in net.parameters())}
    print(
        f"{name:9} {found['size']:,.0f} parameters, {size.steps} steps, seed {seed}, rate {rate:g}:"
        f" kappa {found['kappa']:.4f}"
        f" (all nodes {found['all']:.4f}, {100 * found['within']:.0f} % within one deviation),"
        f" psi {found['psi']:.2f}, residual {found['poisson']:.2f}; {1e3 * cost:.0f} ms a step",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the experiment itself")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args()
    size = FULL if given.full else QUICK
    if given.device == "cpu":
        torch.set_num_threads(1)
    sky = Mixture(surveys={"des": 1}, classes={"lens": 1}, size=size.pixels)
    image = Simulator(sky, seed=0).block(0)["image"]
    measured = measure_statistics(image, torch.zeros(len(image), dtype=torch.bool), SOFTENING)
    fields = sky_fields(sky, 0, RealSky(), task="mass_maps")
    contract = new_contract(None, name="lens_gnn", statistics=measured, **fields)
    counts = ((size.lenses, 0), (size.judged, CHOOSING_SKY), (size.judged, JUDGING_SKY))
    skies = [draw(contract, sky, count, seed, given.device) for count, seed in counts]
    mean = skies[0]["kappa"].mean(0)
    for what, guess in (("one number", mean.mean()), ("mean map", mean)):
        blind = off(guess, skies[2])
        print(f"{what + ':':12} kappa {blind['kappa']:.4f} (all nodes {blind['all']:.4f})", flush=True)
    ratios: dict[str, list[float]] = {"LENS_GNN_KAPPA_RATIO_AT_EQUAL_TIME": [], "LENS_GNN_KAPPA_RATIO": []}
    for seed in range(size.seeds):
        gnn, unet = (compare(name, contract, size, skies, seed) for name in MAP_MODELS)
        dearer = gnn["cost"] / unet["cost"]
        longer = size._replace(steps=round(size.steps * dearer))
        patient = compare("unet", contract, longer, skies, seed, rates=(unet["rate"],))
        for name, other in zip(ratios, (patient, unet), strict=True):
            ratios[name].append(gnn["kappa"] / other["kappa"])
        print(f"a step of LensGNN is {dearer:.1f} times as dear", flush=True)
    for name, found in ratios.items():
        if len(found) > 1:
            print(f"over seeds {min(found):.3f} to {max(found):.3f}:")
        print(f"{name} = {statistics.mean(found):.3f} (aim 1.000)")


if __name__ == "__main__":
    main()
