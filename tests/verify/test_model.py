"""From files to rows: Einstein radii that are known, galaxies that are no lenses, files that cannot be modelled."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image

from mlensing.cli import main
from mlensing.errors import CatalogError, ConfigError
from mlensing.verify import model
from mlensing.verify.candidates import top_candidates
from mlensing.verify.hypotheses import HYPOTHESES, LENS
from mlensing.verify.minimise import Exposures, components_of
from mlensing.verify.model import COLUMNS
from mlensing.verify.psf import round_psf
from mlensing.verify.render import Grid, transfer_of

SIZE, SCALE, THETA_E = 33, 0.25, 1.4
CENTRAL = [0.05, -0.03, math.log(0.8), math.log(3.0), 0.15, 0.1, math.log(3.0), 0.0, 0.1, 0.0]
SOURCE = [0.2, -0.15, math.log(0.2), 0.0, 0.1, -0.2, math.log(THETA_E), 0.1, 0.05, 0.03, -0.02]
BESIDE = [1.6, 0.4, math.log(0.35), 0.0, 0.1, 0.0]


def drawn(name: str, parameters: list[float], flux: tuple[float, ...], seed: int) -> NDArray[np.float32]:
    """A noisy image of a hypothesis, of unit sky noise."""
    psf = torch.from_numpy(round_psf(0.7, (SCALE, SCALE), 7))[None, None]
    empty = torch.zeros(1, 1, SIZE, SIZE)
    bare = Exposures(empty, empty, transfer_of(psf, SIZE), Grid(SIZE, torch.full((1, 2), SCALE)))
    images = components_of(HYPOTHESES[name], bare, torch.tensor([parameters]))
    noise = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    image: NDArray[np.float32] = ((images[0, 0] * torch.tensor(flux)[:, None, None]).sum(0) + noise).numpy()
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lens, a galaxy with a neighbour, a picture, a broken file, and one without a pixel scale."""
    made = tmp_path_factory.mktemp("images")
    header = fits.Header({"BANDS": "r", "PIXSCALE": SCALE})
    psf = fits.ImageHDU(round_psf(0.7, (SCALE, SCALE), 7), name="PSF")
    variance = fits.ImageHDU(np.ones((SIZE, SIZE), np.float32), name="VARIANCE")
    for name, image in {
        "a_lens": drawn(LENS, CENTRAL + SOURCE, (500.0, 100.0, 100.0), 1),
        "b_pair": drawn("companion", CENTRAL + BESIDE, (500.0, 100.0, 200.0), 2),
    }.items():
        fits.HDUList([fits.PrimaryHDU(image, header), psf, variance]).writeto(made / f"{name}.fits")
    Image.new("RGB", (40, 40)).save(made / "c_colour.png")
    (made / "d_broken.fits").write_bytes(b"SIMPLE")
    fits.PrimaryHDU(np.ones((40, 40), np.float32)).writeto(made / "e_bare.fits")
    return made


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return model([str(folder)], pictures=str(folder / ".pictures"))


def test_every_file_has_a_row(table: pd.DataFrame) -> None:
    assert list(table.columns) == list(COLUMNS)
    assert [Path(name).name[0] for name in table["file"]] == list("abcde")
    assert table["status"].tolist()[:2] == ["ok", "ok"]
    for row, said in ((2, "8-bit colour"), (3, "damaged"), (4, "no pixel scale")):
        assert said in table["status"][row]
        assert math.isnan(table["theta_E"][row])


def test_an_einstein_radius_is_recovered_within_its_uncertainty(table: pd.DataFrame) -> None:
    lens = table.iloc[0]
    assert lens["theta_E"] == pytest.approx(THETA_E, rel=0.03)
    assert abs(lens["theta_E"] - THETA_E) < 5 * lens["theta_E_sigma"]
    assert lens["converged"]
    assert lens["chi2_reduced"] == pytest.approx(1.0, abs=0.2)


def test_a_lens_is_told_from_a_pair(table: pd.DataFrame) -> None:
    assert table["delta_bic"][0] > 10
    assert table["delta_bic"][1] < 0


def test_a_picture_of_every_fit(folder: Path, table: pd.DataFrame) -> None:
    pictures = sorted((folder / ".pictures").glob("*.png"))
    assert [path.name for path in pictures] == ["00000_a_lens.png", "00001_b_pair.png"]
    assert np.asarray(Image.open(pictures[0]).convert("RGB")).std() > 10


def test_the_best_candidates_alone(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = tmp_path / "scores.csv"
    names = [folder / "c_colour.png", folder / "a_lens.fits", folder / "gone.fits"]
    pd.DataFrame({"file": names, "logit": [1.0, -2.0, 3.0]}).to_csv(scores, index=False)
    output = tmp_path / "models.csv"
    assert main(["model", "--scores", str(scores), "--top", "2", "--output", str(output)]) == 0
    found = pd.read_csv(output)
    assert found["rank"].tolist() == [1, 2]
    assert found["score"].tolist() == [3.0, 1.0]
    assert "no such file" in found["status"][0] and "8-bit colour" in found["status"][1]
    assert "2 not modelled" in capsys.readouterr().out


def test_mistakes_are_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model"]) == 2
    assert "nothing to model" in capsys.readouterr().err
    (tmp_path / "scores.csv").write_text("name\na\n")
    with pytest.raises(CatalogError, match="no column file, logit"):
        top_candidates(tmp_path / "scores.csv", 5)
    with pytest.raises(ConfigError, match="psf_fwhm"):
        model(["a.fits"], psf_fwhm=-1.0)
