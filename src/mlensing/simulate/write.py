"""A simulated set on disk: images, ``index.csv`` and ``provenance.json``; resumable, the same bytes every time."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from mlensing.contract import CHANNELS
from mlensing.errors import ConfigError
from mlensing.physics.cosmology import sigma_crit
from mlensing.provenance import provenance, replacing, write_json
from mlensing.simulate.camera.composite import UNIFORMS, published
from mlensing.simulate.draws import Draws
from mlensing.simulate.fits_template import MAPS, Card, FitsTemplate
from mlensing.simulate.mixture import KIND_NAMES, Mixture
from mlensing.simulate.real.hosts import Hosts
from mlensing.simulate.real.sky import RealSky
from mlensing.simulate.simulator import BLOCK, Simulator
from mlensing.simulate.sky import Block
from mlensing.simulate.workers import write_each

TRUTH = ("theta_E", "sigma_v", "arc_signal", "magnification", "source_magnitude", "images")
PARTS = ".unfinished"


def simulate(
    config: str,
    *,
    num_samples: int,
    output_dir: str = "data/simulated",
    seed: int = 42,
    maps: bool = True,
    num_workers: int | None = None,
    sources: str | None = None,
    psfs: str | None = None,
    psf_scale: float | None = None,
    hosts: Hosts | None = None,
) -> Path:
    """Write simulated lenses and impostors, with an index and their truth.

    Linear images are FITS files, with maps; colour composites, as many as the mixture asks for, PNG files.

    With hosts it writes real cutouts, with arcs painted on the lenses: linear ones as FITS in their own unit, colour
    ones as PNG without maps. The column ``group`` keeps a host, painted and as it is, in one split.

    Interrupted and started again it goes on where it stopped; the result is byte-identical to an uninterrupted run.

    Arguments:
        config: YAML file that says what to simulate, such as ``configs/paper_synthetic.yaml``.
        num_samples: how many cutouts.
        output_dir: folder of ``images/``, ``index.csv`` and ``provenance.json``.
        seed: of the whole set.
        maps: write kappa, psi and alpha beside each image.
        num_workers: processes; None takes one per core.
        sources: folder of real galaxies to lens, a GalSim RealGalaxyCatalog such as that of COSMOS; None draws
            Sersic profiles.
        psfs: FITS file or folder of measured PSFs; None takes Moffat profiles of each survey's seeing.
        psf_scale: of PSF files that state no pixel scale [arcsec/px].
        hosts: real cutouts to paint on instead of drawing the sky.

    Returns:
        path of ``index.csv``.

    Raises:
        ConfigError: a bad mixture, or a folder that holds another set.
        SurveyError: an unknown survey, or one without a band.
    """
    if num_samples < 1:
        raise ConfigError("num_samples", f"expected 1 or more, got {num_samples}", "Take 10000.")
    mixture, folder = Mixture.load(config), Path(output_dir)
    real = RealSky.load(sources, psfs, psf_scale, hosts)
    maps = maps and not (hosts is not None and hosts.colour)
    Simulator(mixture, seed=seed, **real.parts())  # a survey or band that there is not shows before anything is written
    settings = {"mixture": mixture.model_dump(mode="json"), "num_samples": num_samples, "maps": maps, **real.record()}
    claim(folder, provenance("simulate", settings, seed))
    index = folder / "index.csv"
    if not index.exists():
        parts = folder / PARTS
        parts.mkdir(exist_ok=True)
        blocks = range(math.ceil(num_samples / BLOCK))
        missing = [number for number in blocks if not part(parts, number).exists()]
        work = Work(mixture, seed, folder, num_samples, maps, real)
        for _ in track(write_each(work, missing, num_workers), total=len(missing), **bar()):
            pass
        rows = pd.concat([pd.read_csv(part(parts, number), dtype=str, keep_default_na=False) for number in blocks])
        with replacing(index) as beside:
            rows.to_csv(beside, index=False, lineterminator="\n")
    tidy(folder)
    return index


@dataclass(frozen=True)
class Work:
    """What all blocks of a set share; handed to each process once, with its hosts.

    Attributes:
        mixture, seed, folder, num_samples, maps: arguments of ``simulate``.
        real: what of it is real.
    """

    mixture: Mixture
    seed: int
    folder: Path
    num_samples: int
    maps: bool
    real: RealSky

    @cached_property
    def simulator(self) -> Simulator:
        """Made where it is first used: in the process that does the work."""
        return Simulator(self.mixture, seed=self.seed, **self.real.parts())

    def write(self, number: int) -> None:
        """Files of one block, and its part of the index."""
        _write_block(self, number)


def tidy(folder: Path) -> None:
    """Remove the parts of the index, and the halves of files that killed runs left behind."""
    if (folder / PARTS).exists():
        shutil.rmtree(folder / PARTS)
    for half in [*folder.glob(".*.part.*"), *folder.glob("images/*/.*.part.*")]:
        half.unlink()


def bar() -> dict[str, Any]:
    """How ``track`` draws the progress of a simulation."""
    return {"description": "simulating", "console": Console(stderr=True)}


def part(parts: Path, number: int) -> Path:
    """The part of the index that says that a piece of the set is whole."""
    return parts / f"{number:06d}.csv"


def claim(folder: Path, record: dict[str, Any]) -> None:
    """Make the folder this set's own.

    Raises:
        ConfigError: it holds a set of other settings, or files of another origin.
    """
    note = folder / "provenance.json"
    mine = json.loads(json.dumps({key: record[key] for key in ("config", "seed", "version")}))
    if note.exists():
        theirs = json.loads(note.read_text())
        if {key: theirs.get(key) for key in mine} != mine:
            remedy = "Give another --output_dir, or delete this one."
            raise ConfigError(folder, "it holds a set of other settings (see its provenance.json)", remedy)
        return
    if (folder / "index.csv").exists():
        remedy = "Give another --output_dir."
        raise ConfigError(folder, "it holds an index.csv that simulate did not write", remedy)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(note, record)


def _write_block(work: Work, number: int) -> None:
    """Files of one block, then the part of the index that says they are whole."""
    block = work.simulator.block(number, maps=work.maps)
    truth, pictures = _truth(work.simulator, block), _pictures(work.simulator, block, number)
    linear, rows = _fits(block, truth, maps=work.maps), []
    for position in range(min(BLOCK, work.num_samples - number * BLOCK)):
        index, picture = number * BLOCK + position, pictures.get(position)
        name = f"images/{index // 1000:03d}/sim_{index:07d}.{'fits' if picture is None else 'png'}"
        with replacing(work.folder / name) as beside:
            if picture is None:
                beside.write_bytes(linear(position))
            else:
                Image.fromarray(picture).save(beside)
        rows.append({"filepath": name, **truth.iloc[position].to_dict()})
    with replacing(part(work.folder / PARTS, number)) as beside:
        pd.DataFrame(rows).to_csv(beside, index=False, lineterminator="\n", float_format="%.7g")


def _fits(block: Block, truth: pd.DataFrame, *, maps: bool) -> Callable[[int], bytes]:
    """What makes a FITS file of the sample at a position of a block."""
    images = block["image"].numpy()
    shape = {"size": images.shape[-1], "bands": images.shape[1]}
    template = FitsTemplate(**shape, cards=_cards(truth.iloc[0]), maps=maps, zero_point="host" not in block)
    planes = {name: block[name.lower()].numpy() for name in (MAPS if maps else ())}

    def fits(position: int) -> bytes:
        here = {name: plane[position] for name, plane in planes.items()}
        return template.fill(images[position], here, _cards(truth.iloc[position]))

    return fits


def _pictures(simulator: Simulator, block: Block, number: int) -> dict[int, NDArray[np.uint8]]:
    """Red, green, blue [y, x, 3] of those samples of a block that are colour composites."""
    if simulator.hosts is not None:
        colour = torch.full_like(block["host"], simulator.hosts.colour, dtype=torch.bool)
        return _rgb(block["image"], colour)
    draws = Draws(simulator.seed, torch.arange(number * BLOCK, (number + 1) * BLOCK))
    colour = draws.chance("representation", simulator.mixture.composites)
    uniform, found = draws.uniform("published/stretch", UNIFORMS), block["image"].clone()
    for survey, preset in enumerate(simulator.surveys):
        rows = (colour & (block["survey"] == survey)).nonzero()[:, 0]
        if len(rows):
            found[rows] = published(block["image"][rows], preset, dx=block["dx"][rows], uniform=uniform[rows])
    return _rgb(found, colour)


def _rgb(image: Tensor, colour: Tensor) -> dict[int, NDArray[np.uint8]]:
    """Composites [B, 3, y, x] in blue, green, red as pictures, by position, where ``colour`` [B] says so."""
    rows = colour.nonzero()[:, 0]
    every = image[rows].flip(1).permute(0, 2, 3, 1).to(torch.uint8).numpy()
    return dict(zip(rows.tolist(), every, strict=True))


def _truth(simulator: Simulator, block: Block) -> pd.DataFrame:
    """The index rows of a block, with what is known of each sample."""
    surveys = [simulator.surveys[i].name for i in block["survey"].tolist()]
    bands = [",".join(_named(simulator.bands[i])) for i in block["survey"].tolist()]
    z_lens, z_source = block["z_lens"].double().numpy(), block["z_source"].double().numpy()
    columns: dict[str, Any] = {
        "label": ["" if math.isnan(label) else int(label) for label in block["label"].tolist()],
        "pixel_scale_arcsec": block["dx"].double().numpy().round(6),
        "sigma_crit": sigma_crit(z_lens, z_source),
        "z_lens": z_lens,
        "z_source": z_source,
        "survey": surveys,
        "bands": bands,
        "kind": [KIND_NAMES[i] for i in block["kind"].tolist()],
    }
    if simulator.hosts is not None:
        cutouts, chosen = simulator.hosts.cutouts, block["host"].tolist()
        columns |= {"group": [cutouts.group[i] for i in chosen], "host": [cutouts.files[i] for i in chosen]}
    return pd.DataFrame(columns | {name: block[name].double().numpy() for name in TRUTH})


def _named(bands: Sequence[str]) -> Sequence[str]:
    """Names of planes: the bands', or the channels' where one band of the survey plays several of them."""
    return bands if len(set(bands)) == len(bands) else CHANNELS


def _cards(row: pd.Series[Any]) -> dict[str, Card]:
    return {
        "PIXSCALE": float(row["pixel_scale_arcsec"]),
        "BANDS": str(row["bands"]),
        "SURVEY": str(row["survey"]),
        "LABEL": -1 if row["label"] == "" else int(row["label"]),
        "KIND": str(row["kind"]),
        "Z_LENS": float(row["z_lens"]),
        "Z_SOURCE": float(row["z_source"]),
        "SIGMA_CRIT": float(row["sigma_crit"]),
        "THETA_E": float(row["theta_E"]),
    }
