"""Arcs on real cutouts: nothing but the arc differs, and it is as bright as the truth says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from mlensing.cutouts import Cutouts
from mlensing.data.alike import read_hosts
from mlensing.errors import ConfigError, SurveyError
from mlensing.simulate import BLOCK, Mixture, Simulator, simulate
from mlensing.simulate.camera.composite import UNIFORMS, draw_stretch
from mlensing.simulate.mixture import HOST, KIND_NAMES
from mlensing.simulate.real.canvas import colour_balance, linear_canvas, sky_noise, turned
from mlensing.simulate.real.hosts import Hosts
from mlensing.simulate.real.painting import measure
from mlensing.simulate.sky import Block
from mlensing.survey import Composite

SIZE, SCALE = 48, 0.263
LENSES = {"lens": 1.0, "spiral": 0.5, "ring": 0.5}
ELLIPTICALS = Path(__file__).parents[3].parent / "shared/data/des_grizY_ellipticals"


def galaxies(count: int, *, q: float = 0.7, phi: float = 0.6, flux: float = 4e3, noise: float = 2.0) -> Tensor:
    """Gaussian galaxies [N, 3, y, x] of one shape, 3 px wide, each with its own noise and centre."""
    line = torch.arange(SIZE) - (SIZE - 1) / 2
    shift = torch.linspace(-1.5, 1.5, count)[:, None, None]
    x, y = line[None, None, :] - shift, line[None, :, None] + shift
    u, v = x * np.cos(phi) + y * np.sin(phi), y * np.cos(phi) - x * np.sin(phi)
    shape = torch.exp(-0.5 * (u**2 * q + v**2 / q) / 3.0**2)
    light = shape / shape.sum((1, 2), keepdim=True) * flux
    colour = torch.tensor([0.3, 1.0, 1.5])[:, None, None]
    field = torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(count))
    return light[:, None] * colour + noise * field


def linear(count: int = 9, survey: str = "des", unit: float = 1.0) -> Cutouts:
    names = tuple(f"g{i}.fits" for i in range(count))
    image = (unit * galaxies(count)).numpy()
    return Cutouts(image, ("g", "r", "i"), "linear", survey, {}, names, names, np.full(count, SCALE))


def colour(count: int = 9, survey: str = "legacy") -> Cutouts:
    names = tuple(f"g{i}.png" for i in range(count))
    image = (galaxies(count) * 3 + 20).round().clamp(0, 255).numpy()
    return Cutouts(image, ("blue", "green", "red"), "composite", survey, {}, names, names, np.full(count, 0.262))


def made(cutouts: Cutouts, classes: dict[str, float] | None = None, number: int = 0, **options: object) -> Block:
    mixture = Mixture(surveys={"lsst": 1}, classes=classes or LENSES, size=SIZE)
    return Simulator(mixture, seed=4, hosts=Hosts.of(cutouts, **options)).block(number)  # type: ignore[arg-type]


def every_turn(image: Tensor) -> list[Tensor]:
    """The eight, by another way than the simulator's: quarter turns of the image and of its mirror image."""
    return [torch.rot90(side, k, (-2, -1)) for side in (image, image.flip(-1)) for k in range(4)]


@pytest.mark.parametrize("cutouts", [linear(), colour()], ids=["linear", "colour"])
def test_hosts_without_arcs_are_the_files_pixels(cutouts: Cutouts) -> None:
    block = made(cutouts)
    plain = (block["kind"] == HOST).nonzero()[:, 0]
    assert len(plain) > 10 and (block["label"][plain] == 0).all()
    turns = set()
    for row in plain:
        original = torch.from_numpy(cutouts.image[block["host"][row]])
        same = [torch.equal(block["image"][row], turn) for turn in every_turn(original)]
        assert sum(same) == 1
        turns.add(same.index(True))
    assert len(turns) > 5, "all of the eight turns occur"


@pytest.mark.parametrize("cutouts", [linear(), colour(), linear(unit=1e-3)], ids=["linear", "colour", "other unit"])
def test_paint_lies_about_the_centre_and_nowhere_else(cutouts: Cutouts) -> None:
    """Next to nothing in the corners (no square edges, no pedestal), and nowhere less light than before but for noise.

    One arc of a group in some thirty reaches as far.
    """
    painted, plain = made(cutouts, {"lens": 1.0}), made(cutouts, {"spiral": 1.0})
    assert torch.equal(painted["host"], plain["host"])
    change = painted["image"] - plain["image"]
    peak, noise = change.flatten(1).amax(1), sky_noise(plain["image"])
    corners = torch.stack([change[..., y, x] for y in (0, -1) for x in (0, -1)], -1).abs().amax((1, 2))
    assert (corners < torch.maximum(0.08 * peak, 0.3 * noise.amin(1))).float().mean() > 0.95
    assert (peak > noise.amin(1)).all(), "every arc can be seen"
    assert (change.amin((2, 3)) > -noise - 0.05 * peak[:, None]).all()


def test_arcs_have_the_signal_that_truth_says() -> None:
    """Matched filter with the hosts as they are without noise, and the noise that was put there."""
    cutouts = linear()
    clean = replace(cutouts, image=galaxies(len(cutouts), noise=1e-3).numpy())
    painted, plain, light = (
        made(c, {k: 1.0})["image"] for c, k in ((cutouts, "lens"), (cutouts, "ring"), (clean, "ring"))
    )
    truth = made(cutouts, {"lens": 1.0})["arc_signal"]
    gain = 900 * 10 ** (0.4 * (torch.tensor([26.66, 26.93, 26.97]) - 30))[:, None, None]  # DES: electrons a unit
    arcs, light = painted - plain, light.clamp(min=0)
    variance = 2.0**2 + light / gain + (0.4 * light) ** 2
    photons = (arcs.clamp(min=0) / gain / variance).sum((1, 2, 3))  # the arcs' own noise counts in their square
    ratio = torch.sqrt(((arcs**2 / variance).sum((1, 2, 3)) - photons).clamp(min=0)) / truth
    assert (truth >= 29.99).all() and truth.max() > 100
    assert ratio.median().item() == pytest.approx(1.0, abs=0.05) and (ratio - 1).abs().max() < 0.25


def test_units_do_not_matter() -> None:
    """The same sky in units a million times as large gets the same arcs, in that unit."""
    small, large = (made(linear(unit=unit), {"lens": 1.0}) for unit in (1e-3, 1e3))
    torch.testing.assert_close(small["arc_signal"], large["arc_signal"], rtol=1e-3, atol=0)
    torch.testing.assert_close(small["image"] * 1e6, large["image"], rtol=1e-3, atol=1.0)


def test_hosts_are_alike_in_both_classes() -> None:
    """Each host is as often a lens as not: a table of hosts against classes that chance explains."""
    cutouts = linear(5)
    blocks = [made(cutouts, number=number) for number in range(12)]
    host, kind = (torch.cat([block[key] for block in blocks]) for key in ("host", "kind"))
    table = torch.stack([torch.bincount(host[kind == k], minlength=5) for k in (0, HOST)]).double()
    expected = table.sum(1, keepdim=True) * table.sum(0, keepdim=True) / table.sum()
    assert ((table - expected) ** 2 / expected).sum() < 14.9  # 4 degrees of freedom: p = 0.005
    assert (table[0].sum() / table.sum()).item() == pytest.approx(0.5, abs=0.06)


def test_faint_lenses_stay_unlabelled() -> None:
    block = made(linear(), {"lens": 1.0, "faint_lens": 1.0, "ring": 1.0})
    assert {KIND_NAMES[k] for k in block["kind"].tolist()} == {"lens", "faint_lens", "host"}
    faint = block["kind"] == 1
    assert torch.isnan(block["label"][faint]).all() and (block["arc_signal"][faint] <= 30.001).all()


def test_mass_follows_light() -> None:
    """Centre, axis ratio and angle of Gaussian galaxies with known ones."""
    cutouts = linear(32)
    hosts = Hosts.of(cutouts)
    view = hosts.instrument(torch.device("cpu"))
    image = torch.from_numpy(cutouts.image)
    shape = measure(linear_canvas(image, typical=torch.full((32, 3), 2.0), photons=torch.full((32, 3), 50.0)), view)
    shift = torch.linspace(-1.5, 1.5, 32) * SCALE
    assert (shape.x - shift).abs().max() < 0.1 and (shape.y + shift).abs().max() < 0.1
    assert shape.q.mean().item() == pytest.approx(0.7, abs=0.06)
    assert (torch.remainder(shape.phi, torch.pi) - 0.6).abs().mean() < 0.12
    assert shape.magnitude.mean().item() == pytest.approx(30 - 2.5 * np.log10(4e3), abs=0.15)


def test_the_same_bytes_whatever_is_asked_before() -> None:
    cutouts = linear()
    first = made(cutouts, number=1)
    simulator = Simulator(Mixture(surveys={"des": 1}, classes=LENSES, size=SIZE), seed=4, hosts=Hosts.of(cutouts))
    simulator.block(0)
    again = simulator.block(1, maps=True)
    assert all(again[key].numpy().tobytes() == value.numpy().tobytes() for key, value in first.items())
    assert again["kappa"].shape == (BLOCK, SIZE, SIZE) and torch.isfinite(again["alpha"]).all()


def test_a_survey_that_nobody_preset() -> None:
    block = made(linear(survey=""), {"lens": 1.0}, psf_fwhm=[1.1, 0.9, 0.8])
    assert (block["arc_signal"] >= 29.9).all() and torch.isfinite(block["image"]).all()
    assert made(colour(survey=""), {"lens": 1.0}, psf_fwhm=1.1)["image"].max() <= 255


def test_the_psf_that_is_given_blurs() -> None:
    """Sharper PSFs make sharper arcs: more of the sum of squares in fine structure."""

    def roughness(fwhm: float) -> float:
        sharp = [made(linear(), {kind: 1.0}, psf_fwhm=fwhm)["image"] for kind in ("lens", "spiral")]
        arcs = sharp[0] - sharp[1]
        return float((arcs.diff(dim=-1) ** 2).sum() / (arcs**2).sum())

    assert roughness(0.7) > 1.5 * roughness(1.4)


@pytest.mark.parametrize(
    ("cutouts", "options", "said"),
    [
        (linear(survey=""), {}, "--psf_fwhm"),
        (linear(), {"psf_fwhm": [1.0, 2.0]}, "each of g,r,i"),
        (linear(), {"psf_fwhm": -1.0}, "above 0"),
        (colour(), {"stretch": 7}, "counted from 0"),
    ],
)
def test_mistakes_are_named(cutouts: Cutouts, options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Hosts.of(cutouts, **options)  # type: ignore[arg-type]


def test_bands_without_a_wavelength_are_an_error() -> None:
    cutouts = linear()
    with pytest.raises(SurveyError, match="wavelength"):
        Hosts.of(replace(cutouts, bands=("a", "b", "c"), survey=""), psf_fwhm=1.0)


def test_the_colour_of_pictures_is_balanced_on_the_hosts() -> None:
    """Pictures whose channels were multiplied at will get those factors back, as far as galaxies have one colour."""
    light = galaxies(40, noise=0.0)
    factors = torch.tensor([3.0, 1.0, 0.5])
    seen = 255 * light * factors[:, None, None] / light.amax()
    stretch = draw_stretch((Composite(kind="percentile"),), torch.full((40, UNIFORMS), 0.5))
    balance = colour_balance(seen, stretch, torch.tensor([0.3, 1.0, 1.5]))
    torch.testing.assert_close(balance * factors / balance[1], torch.ones(3), rtol=1e-3, atol=0)


def test_turns_are_the_whole_group() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    bits = [torch.tensor([bool(k >> b & 1)]) for k in range(8) for b in range(3)]
    found = {tuple(turned(image, *bits[3 * k : 3 * k + 3]).flatten().tolist()) for k in range(8)}
    assert found == {tuple(turn.flatten().tolist()) for turn in every_turn(image)}


@pytest.fixture
def mixture(tmp_path: Path) -> str:
    path = tmp_path / "mixture.yaml"
    path.write_text(f"{{surveys: {{lsst: 1}}, classes: {{lens: 1, spiral: 1}}, size: {SIZE}}}")
    return str(path)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_painted_set_on_disk(mixture: str, tmp_path: Path) -> None:
    """One process or two, the same files; groups, kinds and hosts are told; counts have no zero point."""
    hosts = Hosts.of(linear())
    for workers in (1, 2):
        simulate(mixture, num_samples=80, output_dir=str(tmp_path / str(workers)), num_workers=workers, hosts=hosts)
    assert content(tmp_path / "1") == content(tmp_path / "2")
    table = pd.read_csv(tmp_path / "1/index.csv")
    assert set(table["kind"]) == {"lens", "host"} and set(table["group"]) <= set(hosts.cutouts.files)
    assert (table["host"] == table["group"]).all() and set(table["survey"]) == {"des"}
    assert b"ZEROPNT" not in (tmp_path / "1/images/000/sim_0000000.fits").read_bytes()
    record = json.loads((tmp_path / "1/provenance.json").read_text())
    assert record["config"]["hosts"]["count"] == 9
    with pytest.raises(ConfigError, match="other settings"):
        simulate(mixture, num_samples=80, output_dir=str(tmp_path / "1"), hosts=Hosts.of(linear(8)))


def test_a_painted_set_of_pictures(mixture: str, tmp_path: Path) -> None:
    cutouts = colour()
    index = simulate(mixture, num_samples=16, output_dir=str(tmp_path / "o"), num_workers=1, hosts=Hosts.of(cutouts))
    table = pd.read_csv(index)
    for name, kind, host in zip(table["filepath"], table["kind"], table["host"], strict=True):
        rgb = torch.from_numpy(np.array(Image.open(index.parent / name))).permute(2, 0, 1).flip(0).float()
        original = torch.from_numpy(cutouts.image[cutouts.files.index(host)])
        assert any(torch.equal(rgb, turn) for turn in every_turn(original)) == (kind == "host")


@pytest.mark.skipif(not ELLIPTICALS.is_dir(), reason="the DES early-type galaxies are not on this machine")
def test_painting_real_early_types() -> None:
    cutouts = read_hosts(str(ELLIPTICALS), size=SIZE, survey="des")
    assert len(cutouts) == 26 and cutouts.bands == ("g", "r", "i") and not cutouts.skipped
    painted, plain = made(cutouts, {"lens": 1.0}), made(cutouts, {"ring": 1.0})
    arcs = painted["image"] - plain["image"]
    assert (arcs.sum((1, 2, 3)) > 0).all() and (painted["arc_signal"] >= 29.9).all()
    blue = [image[:, 0].clamp(min=0).sum() / image[:, 2].clamp(min=0).sum() for image in (arcs, plain["image"])]
    assert blue[0] > 1.5 * blue[1], "arcs are bluer than early types"
