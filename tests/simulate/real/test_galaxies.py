"""Real galaxies as sources: stamps against the profiles they were made of, and catalogues that are broken."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from numpy.typing import NDArray

from mlensing.cli import main
from mlensing.errors import ConfigError
from mlensing.simulate import Mixture, Simulator, simulate
from mlensing.simulate.draws import Draws
from mlensing.simulate.real.galaxies import HALF_LIGHT, SIZE, Morphologies, clean_stamp
from mlensing.simulate.render.arcs import render_arcs
from mlensing.simulate.render.rays import Deflector
from mlensing.simulate.render.stamps import Stamps, one_each, render_stamps
from mlensing.simulate.scene import Components, components

Image = NDArray[np.float64]
DEVELOPMENT = Path(__file__).parents[3].parent / "shared/data/cosmos_acs_stamps"
GAUSSIAN = 0.693147  # b of a Sersic profile of index 0.5, whose half-light radius is 1.1774 sigma
FRAME, STEP = 96, 0.05


def galaxy(size: int = 101, *, radius: float = 12.0, x: float = 0.0, y: float = 0.0, q: float = 1.0) -> Image:
    """A Gaussian of this product-averaged half-light radius [px], wide along x."""
    row, column = np.mgrid[:size, :size] - (size - 1) / 2.0
    return 100 * np.exp(-GAUSSIAN * (q * (column - x) ** 2 + (row - y) ** 2 / q) / radius**2)


def write_catalogue(folder: Path, stamps: list[Any], *, missing: int = 0, **columns: Any) -> Path:
    """A RealGalaxyCatalog of these stamps, and of galaxies in a file that is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    fits.HDUList([fits.PrimaryHDU(stamps[0]), *map(fits.ImageHDU, stamps[1:])]).writeto(folder / "images_n1.fits")
    names = ["images_n1.fits"] * len(stamps) + ["images_n2.fits"] * missing
    table = {
        "IDENT": np.arange(len(names)),
        "GAL_FILENAME": names,
        "GAL_HDU": [*range(len(stamps)), *range(missing)],
        "PIXEL_SCALE": np.full(len(names), 0.03),
        "MAG": np.full(len(names), 22.0),
        "NOISE_VARIANCE": np.full(len(names), 1e-5),
    } | columns
    arrays = {name: np.array(values) for name, values in table.items() if values is not None}
    record = np.rec.fromarrays(list(arrays.values()), names=list(arrays))
    fits.BinTableHDU(record).writeto(folder / "real_galaxy_catalog.fits")
    return folder


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stamps = [galaxy(q=0.5), galaxy(64, radius=7.0, x=3.0, y=-2.0), galaxy(80, radius=9.0)]
    return write_catalogue(tmp_path_factory.mktemp("galaxies") / "set", stamps)


def lens(**fields: float) -> Deflector:
    values = {"x": 0.0, "y": 0.0, "theta_E": 1.2, "q": 0.8, "phi": 0.6, "gamma1": 0.03, "gamma2": 0.02} | fields
    return Deflector(**{name: torch.tensor([value]) for name, value in values.items()})


def source(**fields: float) -> Components:
    values = {"x": 0.15, "y": -0.1, "radius": 0.25, "n": 0.5} | fields
    return components(torch.tensor([[700.0, 300.0]]), **{k: torch.tensor([v]) for k, v in values.items()})


def stamps_of(image: Image, *, turn: float = 0.0, mirrored: bool = False) -> Stamps:
    clean = clean_stamp(image)
    assert clean is not None
    return Stamps(torch.from_numpy(clean)[None], torch.tensor([turn]), torch.tensor([mirrored]))


def lensed(image: Stamps, body: Components, mass: Deflector, fine: int = 1) -> torch.Tensor:
    return render_stamps(body, image, mass, size=FRAME, spacing=torch.tensor([STEP]), fine=fine)


def test_a_clean_stamp_is_centred_scaled_and_normalised() -> None:
    clean = clean_stamp(galaxy(90, radius=8.0, x=6.0, y=-4.0) + 55.0)
    assert clean is not None and clean.shape == (SIZE, SIZE)
    assert clean.sum() == pytest.approx(1.0, rel=1e-5) and clean.min() >= 0
    row, column = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    assert abs((clean * column).sum()) < 0.1 and abs((clean * row).sum()) < 0.1
    assert clean[np.hypot(row, column) < HALF_LIGHT].sum() == pytest.approx(0.5, abs=0.02)
    assert max(clean[0].max(), clean[-1].max(), clean[:, 0].max(), clean[:, -1].max()) == 0


def test_noise_and_neighbours_are_left_out() -> None:
    generator = np.random.default_rng(0)
    alone = clean_stamp(galaxy(120))
    crowded = galaxy(120) + galaxy(120, radius=5.0, x=47.0, y=42.0) + generator.normal(0, 1.5, (120, 120))
    cleaned = clean_stamp(crowded)
    assert alone is not None and cleaned is not None
    assert np.abs(cleaned - alone).max() < 0.06 * alone.max()
    speckle = cleaned - np.clip(cleaned, None, 1.02 * alone + 0.01 * alone.max())
    assert speckle.sum() < 0.02


@pytest.mark.parametrize(
    "raw",
    [
        np.zeros((40, 40)),
        np.full((40, 40), np.nan),
        galaxy(12, radius=3.0),
        galaxy(41, radius=2.0),
        galaxy(41, radius=12.0, q=0.1),
        galaxy(41, radius=5.0, x=19.0),
        np.random.default_rng(1).normal(size=(50, 50)),
    ],
    ids=["empty", "nan", "tiny", "point", "cut", "off_centre", "noise"],
)
def test_stamps_without_a_galaxy_are_dropped(raw: Image) -> None:
    assert clean_stamp(raw) is None


@pytest.mark.parametrize("fine", [1, 2])
@pytest.mark.parametrize(("turn", "mirrored"), [(0.0, False), (0.7, False), (-1.9, True)])
def test_a_lensed_stamp_is_the_lensed_profile_it_was_made_of(turn: float, mirrored: bool, fine: int) -> None:
    image = stamps_of(galaxy(121, q=0.6), turn=turn, mirrored=mirrored)
    light = galaxy(121, q=0.6)
    row, column = np.mgrid[:121, :121] - 60.0
    distance = np.hypot(row, column).ravel()
    order = np.argsort(distance)
    in_circles = np.interp(0.5, np.cumsum(light.ravel()[order]) / light.sum(), distance[order])
    body = source(q=0.6, phi=turn, radius=0.25 * 12.0 / in_circles)
    grid = {"size": FRAME, "spacing": torch.tensor([STEP]), "fine": fine}
    expected = render_arcs(body, lens(), **grid)  # type: ignore[arg-type]
    ours = lensed(image, source(), lens(), fine)
    assert (ours - expected).abs().max() < 0.02 * expected.max()
    assert ours.sum().item() == pytest.approx(expected.sum().item(), rel=0.01)


def test_a_small_stamp_is_magnified_by_the_known_factor() -> None:
    """A small source at beta behind an isothermal sphere is magnified by 2 theta_E / beta."""
    sphere = lens(q=1.0, gamma1=0.0, gamma2=0.0)
    image = lensed(stamps_of(galaxy()), source(x=0.3, y=0.0, radius=0.03), sphere)
    assert image.sum().item() / 1000.0 == pytest.approx(2 * 1.2 / 0.3, rel=0.03)


def test_without_mass_the_flux_of_every_band_is_conserved() -> None:
    none = lens(theta_E=0.0, gamma1=0.0, gamma2=0.0)
    image = lensed(stamps_of(galaxy(q=0.5)), source(radius=0.4), none)
    assert image.sum((0, 2, 3)).tolist() == pytest.approx([700.0, 300.0], rel=0.005)


def test_a_real_source_takes_the_light_of_all_its_components() -> None:
    flux = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0], [30.0, 40.0], [50.0, 60.0]])
    body = components(flux, radius=torch.arange(1.0, 6.0))
    body.owner = torch.tensor([0, 1, 0, 1, 1])
    merged = one_each(body, torch.tensor([True, False]))
    assert merged.owner.tolist() == [0, 1, 1, 1]
    assert merged.flux[:2].tolist() == [[11.0, 22.0], [3.0, 4.0]]


def sky(share: float = 1.0) -> Mixture:
    classes = {"lens": 2.0, "faint_lens": 1.0, "spiral": 1.0}
    return Mixture(surveys={"des": 1, "euclid": 1}, classes=classes, size=32, real_sources=share)


def test_the_share_of_real_sources_is_that_of_the_mixture(catalogue: Path) -> None:
    drawn = Simulator(sky(), seed=5).block(0)
    galaxies = Morphologies.load(catalogue)
    none = Simulator(sky(0.0), seed=5, sources=galaxies).block(0)
    torch.testing.assert_close(none["image"], drawn["image"], rtol=0, atol=0)
    half = Simulator(sky(0.5), seed=5, sources=galaxies).block(0)
    changed = (half["image"] != drawn["image"]).flatten(1).any(1)
    lenses = half["kind"] < 2
    assert not changed[~lenses].any()
    assert 0.2 < changed[lenses].float().mean() < 0.8


def test_the_truth_of_real_sources(catalogue: Path) -> None:
    block = Simulator(sky(), seed=5, sources=Morphologies.load(catalogue)).block(0)
    seen = block["kind"] == 0
    for name in ("magnification", "source_magnitude", "arc_signal", "images"):
        assert torch.isfinite(block[name][seen]).all() and torch.isnan(block[name][block["kind"] > 1]).all()
    assert (block["arc_signal"][seen] > 29.9).all()
    assert (block["magnification"][seen] > 1.0).float().mean() > 0.9


def test_a_sample_is_the_same_whoever_asks_and_in_any_order(catalogue: Path) -> None:
    first = Simulator(sky(), seed=7, sources=Morphologies.load(catalogue))
    second = Simulator(sky(), seed=7, sources=pickle.loads(pickle.dumps(Morphologies.load(catalogue))))
    second.block(3)
    for key, value in first.block(1).items():
        torch.testing.assert_close(second.block(1)[key], value, rtol=0, atol=0, equal_nan=True)


def test_bad_stamps_among_good_ones_never_stop(tmp_path: Path) -> None:
    nan, cube = np.full((40, 40), np.nan), np.ones((2, 30, 30))
    folder = write_catalogue(tmp_path / "set", [nan, cube, galaxy(), np.zeros((20, 20))], missing=2)
    file = folder / "images_n1.fits"
    file.write_bytes(file.read_bytes()[:-4000])  # the last HDU is cut short
    galaxies = Morphologies.load(folder)
    record = galaxies.record()
    assert (record["listed"], record["missing"], record["used"], record["dropped"]) == (6, 2, 1, 3)
    assert galaxies.choose(Draws(1, torch.arange(20)), "stamp").tolist() == [2] * 20


def test_integer_stamps_are_scaled(tmp_path: Path) -> None:
    folder = write_catalogue(tmp_path / "set", [galaxy()])
    raw = fits.PrimaryHDU(galaxy())
    raw.scale("int16", bscale=0.01, bzero=5.0)
    raw.writeto(folder / "images_n1.fits", overwrite=True)
    stamp = Morphologies.load(folder).catalogue.stamp(0)
    assert stamp is not None and np.abs(stamp - galaxy()).max() < 0.02


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlensing.simulate.real.galaxies.CACHED", 2)
    galaxies = Morphologies.load(write_catalogue(tmp_path / "set", [galaxy(60, radius=6.0 + i) for i in range(5)]))
    galaxies.record()
    assert len(galaxies._clean) == 2
    assert galaxies.images(torch.tensor([0, 4])).shape == (2, SIZE, SIZE)


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda d: (d / "real_galaxy_catalog.fits").unlink(), "no catalogue of galaxy stamps"),
        (lambda d: (d / "images_n1.fits").unlink(), "none of the image files"),
        (lambda d: (d / "images_n1.fits").write_bytes(b"torn"), "none of its galaxy stamps is usable"),
        (lambda d: (d / "real_galaxy_catalog.fits").write_bytes(b"torn"), "no catalogue of galaxy stamps"),
    ],
    ids=["no_catalogue", "no_images", "torn_images", "torn_catalogue"],
)
def test_broken_folders_are_told(tmp_path: Path, break_it: Any, told: str) -> None:
    folder = write_catalogue(tmp_path / "set", [galaxy()])
    break_it(folder)
    with pytest.raises(ConfigError, match=told):
        Morphologies.load(folder).record()


def test_a_catalogue_with_other_columns_is_told(tmp_path: Path) -> None:
    folder = write_catalogue(tmp_path / "set", [galaxy()], GAL_HDU=None, MAG=None)
    with pytest.raises(ConfigError, match="no column GAL_HDU, MAG"):
        Morphologies.load(folder)


def test_simulate_records_its_galaxies(catalogue: Path, tmp_path: Path) -> None:
    (tmp_path / "sky.yaml").write_text("{surveys: {des: 1}, classes: {lens: 1}, size: 32}")
    options = {"num_samples": 66, "maps": False, "sources": str(catalogue)}
    index = simulate(str(tmp_path / "sky.yaml"), output_dir=str(tmp_path / "a"), num_workers=1, **options)  # type: ignore[arg-type]
    record = json.loads(index.with_name("provenance.json").read_text())["config"]["sources"]
    assert record["path"] == str(catalogue) and record["used"] == 3 and len(record["hash"]) == 16
    other = simulate(str(tmp_path / "sky.yaml"), output_dir=str(tmp_path / "b"), num_workers=2, **options)  # type: ignore[arg-type]
    for name in ("index.csv", "provenance.json", "images/000/sim_0000065.fits"):
        assert index.with_name("a").parent.joinpath(name).read_bytes() == other.parent.joinpath(name).read_bytes()


def test_the_command_line_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sky.yaml").write_text("{surveys: {des: 1}, classes: {lens: 1}, size: 32}")
    words = ["simulate", "--config", str(tmp_path / "sky.yaml"), "--num_samples", "1"]
    words += ["--output_dir", str(tmp_path / "out"), "--sources", str(tmp_path / "nowhere")]
    assert main(words) == 2
    assert "nowhere: no such folder. Give a folder with a GalSim" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not DEVELOPMENT.is_dir(), reason="the development data are not beside the checkout")
def test_galaxies_of_cosmos() -> None:
    galaxies = Morphologies.load(DEVELOPMENT)
    record = galaxies.record()
    assert record["listed"] == 100 and record["used"] > 50
    block = Simulator(sky(), seed=2, sources=galaxies).block(0)
    assert torch.isfinite(block["image"]).all() and (block["arc_signal"][block["kind"] == 0] > 29.9).all()
