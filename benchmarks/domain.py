"""How many images of foreign kinds an ensemble flags as unlike its training data, and how many it should not.

    python benchmarks/domain.py [DATA] [--checkpoint FOLDER or best.ckpt ...] [--full]

Every kind is made of images that the released sky simulates, half of them linear, half colour composites, or drawn by
hand. "Ranked" is the share that scores above the threshold which 1 % of held-out simulated non-lenses pass: foreign
images that are neither flagged nor ranked low are the ones that cost. "Doubted" is the share of folders of 32 images,
of one representation, whose bands are doubted. Kinds that the training shows on purpose (sky without a galaxy, stars,
one band thrice as Euclid's) are printed apart: they are not foreign, and do not count in DOMAIN_DETECTION. That is the
mean over all others: of the share flagged, for wrong bands of the share of folders. Nothing of DATA should be either.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from real.development_sets import all_sets
from rich.console import Console
from rich.table import Table
from torch import Generator, Tensor

from mlensing.errors import MLensingError
from mlensing.inference import Predictor
from mlensing.inference.ensemble import RELEASED, Ensemble
from mlensing.inference.order import nearer_order
from mlensing.simulate.composites import SurveyComposites
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.simulator import BLOCK, Simulator

SKY = Path(__file__).parents[1] / "configs/release_sky.yaml"
SEED = 20261125  # of no training
FALSE_POSITIVES = 0.01
FOLDERS, IN_ONE = 4, 32
WHITE = 255.0


class Images(NamedTuple):
    """Raw pixels [B, 3, y, x], whether each is a composite [B], label [B]."""

    image: Tensor
    composite: Tensor
    label: Tensor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="../shared/data", help="folder of the development sets")
    parser.add_argument("--checkpoint", nargs="+", help="finders, or an ensemble's folder (default: the released one)")
    parser.add_argument("--full", action="store_true", help="2048 held-out images, 256 of a kind, whole real sets")
    chosen = parser.parse_args()
    try:
        predictor = Predictor.load(chosen.checkpoint or RELEASED)
    except MLensingError as error:
        print(f"skipped: {error}")
        return 0
    if any(member.domain is None for member in predictor.ensemble.members):
        print("skipped: these finders say nothing of their training data; make them again with `mlensing ensemble`")
        return 0
    table = Table("images", "number", "flagged", "ranked", "doubted", title="out of domain")
    value = simulated_rows(table, predictor.ensemble, 2048 if chosen.full else 768, 256 if chosen.full else 64)
    if (Path(chosen.data) / "cfhtls_rgb8").is_dir():
        real_rows(table, predictor, Path(chosen.data), None if chosen.full else 48)
    Console(width=100).print(table)
    print(f"DOMAIN_DETECTION = {value:.2f} (aim 0.90)")
    return 0


def simulated_rows(table: Table, ensemble: Ensemble, held_out: int, count: int) -> float:
    """Rows of held-out, of trained and of foreign kinds; the mean share flagged of the foreign."""
    generator = Generator().manual_seed(SEED)
    sky = simulated(held_out)
    odds, flagged = judged(ensemble, sky)
    others = np.sort(odds[sky.label.numpy() == 0])
    threshold = float(others[-1 - int(FALSE_POSITIVES * len(others))])
    share = f"{flagged.mean():.3f}", f"{(odds > threshold).mean():.2f}", f"{doubted(ensemble, sky):.2f}"
    table.add_row("held-out simulated sky", str(held_out), *share)
    detected = []
    for heading, kinds in (("shown in training", SHOWN), ("wrong bands", WRONG), ("foreign", FOREIGN)):
        table.add_section()
        for name, make in kinds.items():
            images = make(sky, count, generator)
            (odds, flagged), doubt = judged(ensemble, images), doubted(ensemble, images)
            share = f"{flagged.mean():.2f}", f"{(odds > threshold).mean():.2f}", f"{doubt:.2f}"
            table.add_row(f"{heading}: {name}", str(len(odds)), *share)
            detected += {"wrong bands": [doubt], "foreign": [float(flagged.mean())]}.get(heading, [])
    return float(np.mean(detected))


def doubted(ensemble: Ensemble, images: Images) -> float:
    """Share of folders, drawn from the images of one representation each, whose bands are doubted."""
    rng, found = np.random.default_rng(SEED), []
    for folder in range(FOLDERS):
        alike = (images.composite == bool(folder % 2)).nonzero()[:, 0].numpy()
        if len(alike):
            rows = rng.choice(alike, min(IN_ONE, len(alike)), replace=False)
            found.append(nearer_order(ensemble.members, images.image[rows], images.composite[rows]) is not None)
    return float(np.mean(found))


def real_rows(table: Table, predictor: Predictor, data: Path, most: int | None) -> None:
    """A row for each real set: what of it is flagged."""
    table.add_section()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for kind, rows in all_sets(data, scratch).groupby("set", sort=False):
            some = rows.sample(n=min(most or len(rows), len(rows)), random_state=0)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                found = predictor.predict(list(some["file"]))
            found = found[found["status"] == "ok"]
            doubt = any("order of the bands" in str(warning.message) for warning in said)
            share = f"{(found['flag'] != '').mean():.3f}"
            table.add_row(f"real: {kind}", str(len(found)), share, "", "yes" if doubt else "no")


def judged(ensemble: Ensemble, images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds [B], and whether flagged [B], as ``predict`` says it."""
    rows = torch.arange(len(images.image)).split(BLOCK)
    parts = [ensemble.score(images.image[row], images.composite[row]) for row in rows]
    odds = np.concatenate([ensemble.fused(part)[0] for part in parts])
    return odds, np.concatenate([part.unlike.mean(0) > 1 for part in parts])


def simulated(count: int, composites: float | None = None, **changed: object) -> Images:
    """The released sky, or another that differs from it as said; half of another are composites."""
    mixture = Mixture.model_validate(Mixture.load(SKY).model_dump() | changed)
    simulator, generator = Simulator(mixture, seed=SEED), Generator().manual_seed(SEED)
    compose, share = SurveyComposites(simulator.surveys), mixture.composites if composites is None else composites
    parts = []
    for number in range(-(-count // BLOCK)):
        block = simulator.block(number)
        chosen = torch.rand(BLOCK, generator=generator) < share
        colour = compose(block["image"], block, generator)
        parts.append((torch.where(chosen[:, None, None, None], colour, block["image"]), chosen, block["label"]))
    return Images(*(torch.cat(column)[:count] for column in zip(*parts, strict=True)))


def another(**changed: object) -> Callable[[Images, int, Generator], Images]:
    """Maker of a sky that differs from the released one."""
    return lambda sky, count, generator: simulated(count, 0.5, **changed)


def changed(change: Callable[[Tensor, Tensor, Generator], Tensor]) -> Callable[[Images, int, Generator], Images]:
    """Maker of held-out images with something done to them; half linear, half composites."""

    def make(sky: Images, count: int, generator: Generator) -> Images:
        rows = torch.cat([(sky.composite == kind).nonzero()[: count // 2, 0] for kind in (False, True)])
        image, composite, label = (column[rows] for column in sky)
        return Images(change(image.clone(), composite, generator), composite, label)

    return make


def drawn(draw: Callable[[int, int, Generator], Tensor]) -> Callable[[Images, int, Generator], Images]:
    """Maker of images of light 0..1 that nobody photographed; half linear, half composites of whole numbers."""

    def make(sky: Images, count: int, generator: Generator) -> Images:
        light, composite = draw(count, sky.image.shape[-1], generator), torch.arange(count) % 2 == 0
        image = torch.where(composite[:, None, None, None], (light.clamp(0, 1) * WHITE).round(), light)
        return Images(image, composite, torch.zeros(count))

    return make


def hubble(sky: Images, count: int, generator: Generator) -> Images:
    """HST's single band, brought from 0.05 to 0.1 arcsec as ``predict`` would."""
    fine = simulated(count, 0.5, surveys={"hst": 1.0}, size=128)
    return fine._replace(image=torch.nn.functional.avg_pool2d(fine.image, 2))


def upside_down(image: Tensor, composite: Tensor, generator: Generator) -> Tensor:
    return torch.where(composite[:, None, None, None], WHITE - image, -image)


def half_padded(image: Tensor, composite: Tensor, generator: Generator) -> Tensor:
    image[..., image.shape[-1] // 2 :] = 0.0
    return image


def hot_pixel(image: Tensor, composite: Tensor, generator: Generator) -> Tensor:
    bright = torch.where(composite[:, None], torch.tensor(WHITE), 1e3 * image.flatten(2).std(2))
    image[:, :, 20, 20] = bright
    return image


def written_on(image: Tensor, composite: Tensor, generator: Generator) -> Tensor:
    ink = writing(len(image), image.shape[-1], generator)
    bright = torch.where(composite, torch.tensor(WHITE), image.flatten(1).amax(1))[:, None, None, None]
    return torch.where((ink != ink[:, :, :1, :1]).any(1, keepdim=True), bright, image)


def noise(count: int, size: int, generator: Generator) -> Tensor:
    return 0.15 + 0.05 * torch.randn(count, 3, size, size, generator=generator)


def flat(count: int, size: int, generator: Generator) -> Tensor:
    return torch.rand(count, 3, 1, 1, generator=generator).expand(count, 3, size, size).contiguous()


def blobs(count: int, size: int, generator: Generator, *, sersic: bool) -> Tensor:
    """Noise-free elliptical galaxies without a PSF, every other with a circular arc on top."""

    def between(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(count, generator=generator))[:, None, None]

    axis = torch.arange(float(size)) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    turn, flattening, width = between(0, np.pi), between(0.6, 1), between(3, 8)
    along, across = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
    radius = torch.sqrt(flattening * along**2 + across**2 / flattening) / width
    galaxy = torch.exp(-7.67 * (radius**0.25 - 1)) if sersic else torch.exp(-(radius**2) / 2)
    angle = torch.remainder(torch.atan2(y, x) - between(0, 2 * np.pi) + np.pi, 2 * np.pi) - np.pi
    arc = torch.exp(
        -(((torch.hypot(x, y) - between(8, 20)) / between(1, 2.5)) ** 2) / 2 - (angle / between(0.4, 1.5)) ** 2 / 2
    )
    arc = arc * between(0.2, 0.8) * (torch.arange(count) // 2 % 2)[:, None, None]
    red, blue = torch.tensor([0.6, 0.8, 1.0])[:, None, None], torch.tensor([1.0, 0.7, 0.5])[:, None, None]
    return (galaxy / galaxy.amax((1, 2), keepdim=True))[:, None] * red + arc[:, None] * blue


def writing(count: int, size: int, generator: Generator) -> Tensor:
    """Random letters and a frame on a plain ground, in random colours."""
    pages = []
    for _ in range(count):
        ground, ink = (tuple(torch.randint(256, (3,), generator=generator).tolist()) for _ in range(2))
        page = Image.new("RGB", (size, size), ground)
        pen = ImageDraw.Draw(page)
        for line in range(4):
            letters = torch.randint(97, 123, (9,), generator=generator).tolist()
            pen.text((3, 3 + 15 * line), "".join(map(chr, letters)), fill=ink)
        pen.rectangle((size // 2, size // 2, size - 4, size - 12), outline=ink)
        pages.append(torch.from_numpy(np.array(page)).permute(2, 0, 1) / WHITE)
    return torch.stack(pages)


SHOWN = {
    "simulated sky without a galaxy": another(classes={"empty": 1.0}),
    "simulated stars": another(classes={"star": 1.0}),
    "white noise": drawn(noise),
    "one band thrice": changed(lambda image, composite, generator: image[:, [1, 1, 1]]),
}
WRONG = {
    "red, green, blue": changed(lambda image, composite, generator: image.flip(1)),
    "green, blue, red": changed(lambda image, composite, generator: image[:, [1, 0, 2]]),
    "green, red, blue": changed(lambda image, composite, generator: image[:, [1, 2, 0]]),
    "i, z, y": another(bands=("i", "z", "y"), surveys={"hsc": 1.0, "lsst": 1.0}),
}
FOREIGN = {
    "another survey (HST)": hubble,
    "upside down": changed(upside_down),
    "Gaussian blobs and arcs": drawn(lambda *size: blobs(*size, sersic=False)),
    "Sersic blobs and arcs": drawn(lambda *size: blobs(*size, sersic=True)),
    "flat": drawn(flat),
    "half padded": changed(half_padded),
    "one hot pixel": changed(hot_pixel),
    "writing": drawn(writing),
    "writing on an image": changed(written_on),
}

if __name__ == "__main__":
    sys.exit(main())
