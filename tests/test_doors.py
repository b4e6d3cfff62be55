"""The seed's addresses end to end, as a user types them, and what every verb does with bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits
from PIL import Image

from mlensing.cli import main
from mlensing.models.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[1]
SKY = "{surveys: {des: 1}, classes: {lens: 1, spiral: 1}, size: 32}\n"


def door(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command from the root of the repository, as documents say."""
    command = [sys.executable, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def done(*words: object) -> str:
    result = door(*words)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the four doors have been gone through: sky, prepared, logs, results."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("doors")
    (folder / "sky.yaml").write_text(SKY)
    done("scripts/generate_dataset.py", "--config", folder / "sky.yaml", "--num_samples", 64, "--seed", 3,
         "--output_dir", folder / "sky", "--num_workers", 1)  # fmt: skip
    done("scripts/prepare_dataset.py", "--fits_dir", folder / "sky/images", "--output_dir", folder / "prepared",
         "--train_split", 0.6)  # fmt: skip
    done("src/lit_train.py", "--config", "configs/smoke.yaml", "--data_dir", folder / "prepared", "--max_epochs", 1,
         "--log_dir", folder / "logs", "--input_size", 32, "--composites", 0.5)  # fmt: skip
    done("src/evaluate.py", "--checkpoint", folder / "logs/version_0/checkpoints/best.ckpt",
         "--data_dir", f"{folder}/prepared/test/", "--output_dir", folder / "results", "--resamples", 20)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def checkpoint(place: Path) -> str:
    return str(place / "logs/version_0/checkpoints/best.ckpt")


def test_every_door_leaves_what_it_promises(place: Path) -> None:
    index = pd.read_csv(place / "sky/index.csv")
    assert len(index) == 64 and set(index["label"]) == {0, 1}
    assert all((place / "sky" / name).is_file() for name in index["filepath"])
    assert (place / "sky/provenance.json").is_file() and (place / "sky/preview.png").is_file()
    splits = [pd.read_csv(place / "prepared" / split / "index.csv") for split in ("train", "val", "test")]
    assert sum(map(len, splits)) == 64 and len(splits[0]) == pytest.approx(0.6 * 64, abs=2)
    assert (place / "logs/version_0/checkpoints/last.ckpt").is_file()
    page = (place / "results/report.html").read_text()
    assert "<html" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert (place / "results/report.json").is_file()


def test_the_seeds_training_command_parses() -> None:
    said = done("src/lit_train.py", "--config", "configs/baseline.yaml", "--data_dir", "O", "--max_epochs", 50,
                "--seed", 42, "--accelerator", "gpu", "--devices", 2, "--num_nodes", 1, "--strategy", "ddp",
                "--print_config")  # fmt: skip
    assert "model: resnet18" in said and "max_epochs: 50" in said and "data_dir: O" in said


def test_the_seeds_imports_work(place: Path) -> None:
    code = (
        "import sys, torch\n"
        "from src.datasets.lens_fits_dataset import LensFITSDataset\n"
        "from mlensing.gnn.physics_ops import poisson_residual\n"
        "sample = LensFITSDataset(csv_path=sys.argv[1], band_hdus=None, require_sigma_crit=True)[0]\n"
        "psi = torch.zeros(8, 8)\n"
        "print(tuple(sample['image'].shape), poisson_residual(psi, psi, dx=1e-6, dy=1e-6).abs().max().item())\n"
    )
    assert done("-c", code, place / "prepared/train/index.csv").strip() == "(3, 32, 32) 0.0"


@pytest.fixture(scope="module")
def mixed(place: Path) -> Path:
    """A folder of every kind of file, good and bad."""
    folder = place / "mixed"
    (folder / "deep").mkdir(parents=True)
    good = place / "sky/images/000/sim_0000000.fits"
    shutil.copy(good, folder / "deep/good.fits")
    (folder / "truncated.fits").write_bytes(good.read_bytes()[:4000])
    (folder / "empty.fits").write_bytes(b"")
    (folder / "text.fits").write_text("no image")
    fits.writeto(folder / "nan.fits", np.full((32, 32), np.nan, np.float32), fits.Header({"PIXSCALE": 0.263}))
    fits.writeto(folder / "line.fits", np.zeros(32, np.float32))
    np.save(folder / "words.npy", np.array([["a", "b"]]))
    np.save(folder / "flux.npy", np.random.default_rng(1).normal(size=(3, 40, 40)).astype(np.float32))
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (48, 48, 3), np.uint8)).save(folder / "colour.png")
    Image.open(folder / "colour.png").save(folder / "colour.jpg")
    (folder / "broken.png").write_bytes((folder / "colour.png").read_bytes()[:300])
    (folder / "notes.txt").write_text("not an image, and not asked for")
    return folder


def test_predict_gives_every_file_its_row(place: Path, mixed: Path, checkpoint: str) -> None:
    output, absent = place / "scores.csv", place / "absent.fits"
    done("-m", "mlensing.cli", "predict", mixed, absent, place / "prepared/test/index.csv", "--checkpoint", checkpoint,
         "--output", output, "--page", place / "ranking.html")  # fmt: skip
    table = pd.read_csv(output)
    assert list(table.columns) == [
        "file",
        "probability",
        "logit",
        "uncertainty",
        "disagreement",
        "unlike",
        "flag",
        "status",
    ]
    status = table.set_index("file")["status"]
    for name in ("deep/good.fits", "flux.npy", "colour.png", "colour.jpg"):
        assert status[str(mixed / name)] == "ok"
    for name in ("truncated.fits", "empty.fits", "text.fits", "nan.fits", "line.fits", "words.npy", "broken.png"):
        assert status[str(mixed / name)].startswith(f"{mixed / name}: ")
    assert "no such file" in status[str(absent)]
    assert str(mixed / "notes.txt") not in status.index
    good = table["status"] == "ok"
    assert table.loc[good, "probability"].between(0, 1).all() and table.loc[~good, "logit"].isna().all()
    assert (place / "ranking.html").is_file()


@pytest.mark.parametrize("ending", ["parquet", "vot", "fits"])
def test_predict_writes_other_tables(place: Path, mixed: Path, checkpoint: str, ending: str, tmp_path: Path) -> None:
    output = tmp_path / f"scores.{ending}"
    assert main(["predict", str(mixed), "--checkpoint", checkpoint, "--output", str(output)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [output.name] and output.stat().st_size > 500


def test_an_ensemble_goes_through_its_doors(
    place: Path, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two finders are put together, measured, and rank images beside known non-lenses."""
    last, folder = checkpoint.replace("best", "last"), tmp_path / "ensemble"
    words = ["--data_dir", f"{place}/prepared/train", "--output_dir", str(folder)]
    assert main(["ensemble", checkpoint, last, *words, "--keep_all", "true", "--rule", "mean"]) == 0
    said = capsys.readouterr().out
    assert f"mlensing predict my_images/ --checkpoint {folder}" in said and "TPR at 1e-2" in said
    assert "mean of resnet18-42, resnet18-42-2" in " ".join(said.split())
    names = {"ensemble.json", "resnet18-42.safetensors", "resnet18-42-2.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    test, output = f"{place}/prepared/test", tmp_path / "scores.csv"
    words = ["--members", "--uncertainty", "full", "--passes", "3", "--share", "0.2", "--output", str(output)]
    known = ["--nonlenses", f"{place}/prepared/train/index.csv"]
    assert main(["predict", f"{test}/index.csv", "--checkpoint", str(folder), *words, *known]) == 0
    table = pd.read_csv(output)
    keys = ["logit_resnet18-42", "logit_resnet18-42-2", "p_value", "status"]
    assert list(table.columns) == [
        "file",
        "probability",
        "logit",
        "uncertainty",
        "disagreement",
        "unlike",
        "flag",
        *keys,
    ]
    assert table["p_value"].between(0, 1, inclusive="right").all() and "known ones do" in capsys.readouterr().out
    for given in ([str(folder)], [checkpoint, last]):
        result = tmp_path / "results"
        assert main(["evaluate", "--checkpoint", *given, "--data_dir", test, "--output_dir", str(result),
                     "--resamples", "5"]) == 0  # fmt: skip
        report = json.loads((result / "report.json").read_text())
        assert len(report["members"]) == 2 and report["provenance"]["config"]["checkpoint"] == given


def test_the_papers_door_measures_and_draws(place: Path, tmp_path: Path) -> None:
    said = done("scripts/eval_paper.py", "--data_dir", place / "prepared/test", "--log_dir", place / "logs",
                "--output_dir", tmp_path, "--resamples", 5, "--generate_figures")  # fmt: skip
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert list(content["members"]) == ["resnet18-42"] and content["small"]
    assert "accuracy: claimed 0.963, measured " in said and "a small set" in said
    names = {f"{name}.{end}" for name in ("confusion_matrix", "roc", "reliability", "purity_completeness")
             for end in ("pdf", "png")}  # fmt: skip
    assert {path.name for path in (tmp_path / "figures").iterdir()} == names


Case = Callable[["Bad"], list[str]]


class Bad:
    """Builds inputs that are wrong in one respect."""

    def __init__(self, place: Path, checkpoint: str, folder: Path) -> None:
        self.place, self.checkpoint, self.folder = place, checkpoint, folder
        self.image = place / "sky/images/000/sim_0000000.fits"

    def file(self, name: str, content: str) -> str:
        (self.folder / name).write_text(content)
        return str(self.folder / name)

    def index(self, *rows: str) -> str:
        """An index of these rows, for ``evaluate``."""
        return self.file("index.csv", "\n".join(["filepath,label,pixel_scale_arcsec", *rows]) + "\n")

    def other_bands(self) -> str:
        path = shutil.copy(self.checkpoint, self.folder / "other.ckpt")
        found = read_checkpoint(path)
        found.with_contract(found.contract.model_copy(update={"bands": ("u", "g", "Y")}))
        return str(path)

    def simulate(self, content: str) -> list[str]:
        mixture = self.file("mixture.yaml", content)
        return ["simulate", "--config", mixture, "--num_samples", "8", "--output_dir", f"{self.folder}/out"]

    def paint(self, *words: str, hosts: str | None = None) -> list[str]:
        given = [*self.simulate(SKY), "--hosts", hosts or str(self.place / "sky/images")]
        return [*given, *words]

    def noise(self, **cards: object) -> str:
        """A folder with one image that says this of itself."""
        (self.folder / "hosts").mkdir()
        cube = np.random.default_rng(1).normal(size=(3, 40, 40)).astype(np.float32)
        fits.writeto(self.folder / "hosts/a.fits", cube, fits.Header(cards))
        return str(self.folder / "hosts")

    def prepare(self, *words: str, fits_dir: str | None = None) -> list[str]:
        source = fits_dir or str(self.place / "sky/images")
        return ["prepare", "--fits_dir", source, "--output_dir", f"{self.folder}/out", *words]

    def train(self, *words: str, data_dir: str | None = None) -> list[str]:
        source = data_dir or str(self.place / "prepared")
        size = [] if "--config" in words else ["--input_size", "32"]
        return ["train", "--data_dir", source, "--log_dir", f"{self.folder}/logs", *size, *words]

    def train_maps(self, *words: str, sky: str = SKY) -> list[str]:
        given = ["--mixture", self.file("sky.yaml", sky), "--draws", "64", "--log_dir", f"{self.folder}/logs"]
        return ["train_maps", *given, "--epoch_draws", "64", "--validation_draws", "64", *words]

    def evaluate(self, *words: str, checkpoint: str | None = None, data: str | None = None) -> list[str]:
        source = data or str(self.place / "prepared/test")
        given = ["--checkpoint", checkpoint or self.checkpoint, "--data_dir", source]
        return ["evaluate", *given, "--output_dir", f"{self.folder}/out", *words]

    def paper(self, *words: str, data: str | None = None) -> list[str]:
        given = ["--data_dir", data or str(self.place / "prepared/test"), "--output_dir", f"{self.folder}/out"]
        return ["eval_paper", *given, *words]

    def ensemble(self, *words: str, checkpoint: str | None = None) -> list[str]:
        return ["ensemble", checkpoint or self.checkpoint, "--output_dir", f"{self.folder}/out", *words]

    def predict(self, *words: str, checkpoint: str | None = None, data: str | None = None) -> list[str]:
        given = [data or str(self.place / "sky/images"), "--checkpoint", checkpoint or self.checkpoint]
        output = [] if "--output" in words else ["--output", f"{self.folder}/out.csv"]
        return ["predict", *given, *output, *words]

    def realism(self, *words: str, real: str | None = None, sky: str = SKY) -> list[str]:
        given = ["--real", real or str(self.place / "sky/images"), "--simulated", self.file("mixture.yaml", sky)]
        return ["realism", *given, "--output_dir", f"{self.folder}/out", "--num_samples", "64", *words]


CASES: dict[str, tuple[Case, tuple[str, ...]]] = {
    "simulate, unknown survey": (lambda b: b.simulate(SKY.replace("des", "dess")), ("'dess'", "Known: ")),
    "simulate, unknown key": (lambda b: b.simulate(SKY.replace("size", "sise")), ("mixture.yaml", "sise")),
    "simulate, unknown class": (lambda b: b.simulate(SKY.replace("spiral", "spirals")), ("spirals", "known: lens")),
    "simulate, missing hosts": (lambda b: b.paint(hosts="absent"), ("absent", "--hosts")),
    "simulate, no host that can be read": (
        lambda b: b.paint(hosts=b.file("a.png", "no picture")),
        ("a.png", "not one image can be used as a host", "damaged"),
    ),
    "simulate, hosts of an unknown survey": (lambda b: b.paint("--survey", "dess"), ("'dess'", "Known: ")),
    "simulate, hosts without a PSF": (
        lambda b: b.paint(hosts=b.noise(BANDS="g,r,i", PIXSCALE=0.3)),
        ("psf_fwhm", "--survey"),
    ),
    "simulate, hosts without a pixel scale": (
        lambda b: b.paint("--psf_fwhm", "1", hosts=b.noise(BANDS="g,r,i")),
        ("no pixel scale", "--pixel_scale"),
    ),
    "simulate, hosts in unknown bands": (
        lambda b: b.paint("--psf_fwhm", "1", hosts=b.noise(BANDS="a,b,c", PIXSCALE=0.3)),
        ("'a'", "wavelength"),
    ),
    "simulate, a PSF for two of three bands": (
        lambda b: b.paint("--psf_fwhm", "[1, 2]", hosts=b.noise(BANDS="g,r,i", PIXSCALE=0.3)),
        ("psf_fwhm", "g,r,i"),
    ),
    "simulate, a survey without hosts": (
        lambda b: [*b.simulate(SKY), "--survey", "des"],
        ("survey", "--hosts"),
    ),
    "prepare, unknown survey": (lambda b: b.prepare("--survey", "dess"), ("'dess'", "Known: ")),
    "prepare, missing folder": (lambda b: b.prepare(fits_dir="absent"), ("absent", "--fits_dir")),
    "train, unknown survey": (lambda b: b.train("--survey", "dess"), ("'dess'", "Known: ")),
    "train, missing folder": (lambda b: b.train(data_dir="absent"), ("absent", "mlensing prepare")),
    "train, unknown key": (
        lambda b: b.train("--config", b.file("my.yaml", "max_epochz: 1\n")),
        ("my.yaml", "max_epochz", "train --help"),
    ),
    "train, wrong kind": (lambda b: b.train("--config", b.file("my.yaml", "max_epochs: x\n")), ("max_epochs", "int")),
    "train, no YAML": (lambda b: b.train("--config", b.file("my.yaml", "a: [\n")), ("my.yaml", "--help")),
    "train, no epochs": (lambda b: b.train("--max_epochs", "0"), ("max_epochs", "at least 1")),
    "train, no batch": (lambda b: b.train("--batch_size", "0"), ("batch_size", "at least 1")),
    "train, unknown model": (lambda b: b.train("--model", "vit"), ("'vit'", "resnet18")),
    "train, unknown strategy": (lambda b: b.train("--strategy", "magic"), ("magic", "--strategy")),
    "train, other bands": (lambda b: b.train("--bands", "[u, v, w]"), ("sim_0", "expected bands u,v,w, got g,r,i")),
    "train, garbage to resume": (lambda b: b.train("--resume", b.file("x.ckpt", "x")), ("x.ckpt", "best.ckpt")),
    "train, garbage to begin with": (lambda b: b.train("--init", b.file("x.ckpt", "x")), ("x.ckpt", "state_dict")),
    "train_maps, unknown model": (lambda b: b.train_maps("--model", "resnet18"), ("'resnet18'", "lens_gnn, unet")),
    "train_maps, unknown loss": (lambda b: b.train_maps("--loss", "{bce: 1}"), ("bce", "kappa, psi, alpha, poisson")),
    "train_maps, unknown option": (
        lambda b: b.train_maps("--model_options", "{layers: 3}"),
        ("layers", "patch, hops, width"),
    ),
    "train_maps, composites": (
        lambda b: b.train_maps(sky=SKY.replace("size", "representations: {composite: 1}, size")),
        ("sky.yaml", "composites", "`representations`"),
    ),
    "train_maps, a finder to resume": (
        lambda b: b.train_maps("--resume", b.checkpoint),
        ("'classification'", "mass_maps"),
    ),
    "evaluate, unknown survey": (lambda b: b.evaluate("--survey", "dess"), ("'dess'", "Known: ")),
    "evaluate, missing folder": (lambda b: b.evaluate(data="absent"), ("absent", "index")),
    "evaluate, missing files": (lambda b: b.evaluate(data=b.index("no.fits,1,0.2")), ("1 of 1 files", "no.fits")),
    "evaluate, double row": (
        lambda b: b.evaluate(data=b.index(f"{b.image},1,", f"{b.image},1,")),
        ("index.csv", "more than once", "sim_0"),
    ),
    "evaluate, unknown label": (lambda b: b.evaluate(data=b.index(f"{b.image},lens,")), ("'lens'", "0, 1")),
    "evaluate, garbage": (lambda b: b.evaluate(checkpoint=b.file("x.ckpt", "x" * 99)), ("x.ckpt", "best.ckpt")),
    "evaluate, other bands": (
        lambda b: b.evaluate(checkpoint=b.other_bands()),
        ("sim_0", "expected bands u,g,Y, got g,r,i"),
    ),
    "evaluate, no batch": (lambda b: b.evaluate("--batch_size", "0"), ("batch_size", "at least 1")),
    "evaluate, unwritable": (
        lambda b: b.evaluate("--output_dir", b.file("taken", "") + "/out"),
        ("taken", "permissions"),
    ),
    "eval_paper, no run": (lambda b: b.paper("--log_dir", str(b.folder)), ("no finished run", "mlensing train")),
    "eval_paper, missing folder": (lambda b: b.paper(data="absent"), ("absent", "index.csv")),
    "eval_paper, no validation split": (lambda b: b.paper(data=b.index(f"{b.image},1,")), ("val", "index.csv")),
    "eval_paper, unknown calibration": (lambda b: b.paper("--calibration", "magic"), ("magic", "isotonic")),
    "eval_paper, garbage": (
        lambda b: b.paper("--checkpoints", b.file("x.ckpt", "x" * 99)),
        ("x.ckpt", "best.ckpt"),
    ),
    "ensemble, nothing to validate on": (lambda b: b.ensemble(), ("--data_dir or --mixture",)),
    "ensemble, no finder": (lambda b: ["ensemble", "--output_dir", f"{b.folder}/out"], ("checkpoints", "--help")),
    "ensemble, garbage": (
        lambda b: b.ensemble("--data_dir", "absent", checkpoint=b.file("x.ckpt", "x" * 99)),
        ("x.ckpt", "best.ckpt"),
    ),
    "ensemble, missing folder": (lambda b: b.ensemble("--data_dir", "absent"), ("absent", "index.csv")),
    "ensemble, unknown rule": (lambda b: b.ensemble("--data_dir", "a", "--rule", "median"), ("'median'", "stacked")),
    "ensemble, unknown calibration": (
        lambda b: b.ensemble("--data_dir", "a", "--calibration", "magic"),
        ("'magic'", "isotonic"),
    ),
    "ensemble, no samples": (
        lambda b: b.ensemble("--mixture", b.file("m.yaml", SKY), "--num_samples", "0"),
        ("num_samples", "1 or more"),
    ),
    "ensemble, a sky of another size": (
        lambda b: b.ensemble("--mixture", b.file("m.yaml", SKY.replace("32", "64"))),
        ("m.yaml", "64 pixels a side, the finders take 32", "size"),
    ),
    "ensemble, too few images": (
        lambda b: b.ensemble("--data_dir", b.index(f"{b.image},1,")),
        ("of one class", "validation images"),
    ),
    "predict, folder without an ensemble": (lambda b: b.predict(checkpoint=str(b.folder)), ("no ensemble.json",)),
    "predict, one pass": (lambda b: b.predict("--uncertainty", "full", "--passes", "1"), ("passes", "2 or more")),
    "predict, impossible share of non-lenses": (
        lambda b: b.predict("--nonlenses", str(b.image), "--share", "2"),
        ("share", "(0, 1)"),
    ),
    "predict, missing non-lenses": (
        lambda b: b.predict("--nonlenses", "absent.fits"),
        ("not one of them has a score",),
    ),
    "predict, unknown survey": (lambda b: b.predict("--survey", "dess"), ("'dess'", "Known: ")),
    "predict, garbage": (lambda b: b.predict(checkpoint=b.file("x.ckpt", "")), ("x.ckpt", "best.ckpt")),
    "predict, no checkpoint": (lambda b: b.predict(checkpoint="absent.ckpt"), ("absent.ckpt", "best.ckpt")),
    "predict, other bands": (
        lambda b: b.predict(checkpoint=b.other_bands()),
        ("sim_0", "expected bands u,g,Y, got g,r,i"),
    ),
    "predict, double row": (
        lambda b: b.predict(data=b.index(f"{b.image},1,", f"{b.image},0,")),
        ("index.csv", "more than once"),
    ),
    "predict, no columns": (lambda b: b.predict(data=b.file("i.csv", "a,b\n1,2\n")), ("i.csv", "filepath")),
    "predict, unknown ending": (lambda b: b.predict("--output", f"{b.folder}/out.xls"), ("out.xls", ".parquet")),
    "predict, unwritable": (lambda b: b.predict("--output", b.file("taken", "") + "/s.csv"), ("taken", "permissions")),
    "predict, impossible share": (lambda b: b.predict("--prevalence", "2"), ("prevalence", "2")),
    "predict, unknown device": (lambda b: b.predict("--device", "abacus"), ("abacus", "cpu")),
    "realism, unknown survey": (lambda b: b.realism("--survey", "dess"), ("'dess'", "Known: ")),
    "realism, unknown class": (lambda b: b.realism("--classes", "lense"), ("lense", "nonlens")),
    "realism, class without weight": (lambda b: b.realism("--classes", "ring"), ("none of", "lens, spiral")),
    "realism, missing mixture": (lambda b: b.realism("--simulated", "absent.yaml"), ("absent.yaml", "no such file")),
    "realism, one image": (lambda b: b.realism(real=str(b.image)), ("1 real", "at least 8")),
    "realism, missing image": (lambda b: b.realism(real="absent.fits"), ("absent.fits", "--real")),
    "realism, several surveys to picture": (
        lambda b: ["realism", "--simulated", b.file("m.yaml", SKY.replace("1}", "1, hsc: 1}", 1)), "--seed", "1"],
        ("des, hsc", "--survey"),
    ),
    "realism, no samples": (lambda b: b.realism("--num_samples", "0"), ("num_samples", "1 or more")),
    "realism, garbage": (lambda b: b.realism("--checkpoint", b.file("x.ckpt", "x" * 99)), ("x.ckpt", "best.ckpt")),
    "realism, other bands": (lambda b: b.realism("--checkpoint", b.other_bands()), ("u,g,Y",)),
    "predict, unknown flag": (lambda b: b.predict("--colour", "3"), ("--colour", "predict --help")),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_told_in_one_line_and_leaves_nothing(
    name: str, place: Path, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, said = CASES[name]
    arguments = make(Bad(place, checkpoint, tmp_path))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line.lower()]
    assert len(lines) == 1 and lines[0].startswith(f"mlensing {arguments[0]}: error: ")
    assert all(word in lines[0] for word in said), lines[0]
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_painting_goes_through_to_a_training(tmp_path: Path) -> None:
    """Arcs on a folder of images of a survey that nobody preset, two of them bad; then a training on the fly."""
    hosts = tmp_path / "hosts"
    hosts.mkdir()
    for seed in range(6):
        cube = np.random.default_rng(seed).normal(size=(3, 40, 40)).astype(np.float32)
        cube[:, 17:23, 17:23] += 30
        fits.writeto(hosts / f"{seed}.fits", cube, fits.Header({"BANDS": "g,r,i", "PIXSCALE": 0.3}))
    (hosts / "text.fits").write_text("no image")
    np.save(hosts / "small.npy", np.ones((3, 16, 16), np.float32))
    words = ["--hosts", str(hosts), "--psf_fwhm", "0.9"]
    (tmp_path / "sky.yaml").write_text(SKY)
    result = door("-m", "mlensing.cli", "simulate", "--config", tmp_path / "sky.yaml", "--num_samples", 64,
                  "--output_dir", tmp_path / "set", "--num_workers", 1, *words)  # fmt: skip
    assert result.returncode == 0 and "left out 2 of 8 hosts; the first: " in result.stderr
    record = json.loads((tmp_path / "set/provenance.json").read_text())
    assert set(record["config"]["hosts"]["left_out"]) == {"hosts/text.fits", "hosts/small.npy"}
    tables = [pd.read_csv(tmp_path / "set" / split / "index.csv") for split in ("train", "val", "test")]
    groups = [set(table["group"]) for table in tables]
    assert sum(map(len, groups)) == 6 == len(set().union(*groups)), "a host is in one split only"
    done("-m", "mlensing.cli", "train_live", "--mixture", tmp_path / "sky.yaml", "--draws", 128, "--epoch_draws", 64,
         "--validation_draws", 64, "--accelerator", "cpu", "--num_workers", 0,
         "--model_options", "{width: 8}", "--log_dir", tmp_path / "logs", *words)  # fmt: skip
    best = tmp_path / "logs/version_0/checkpoints/best.ckpt"
    assert read_checkpoint(best).contract.pixel_scale == (0.3, 0.3)
    done("-m", "mlensing.cli", "predict", hosts, "--checkpoint", best, "--output", tmp_path / "scores.csv")
    assert (pd.read_csv(tmp_path / "scores.csv")["status"] == "ok").sum() == 7


def test_a_mistake_is_no_traceback(tmp_path: Path) -> None:
    result = door("src/evaluate.py", "--checkpoint", tmp_path / "absent.ckpt", "--data_dir", tmp_path)
    assert result.returncode == 2 and not result.stdout and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("mlensing evaluate: error: ")
