"""Training on maps: they move with their images, come from the simulator and from files, and the contract says so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from torch import Generator, Tensor

from mlensing.catalog import Catalog
from mlensing.contract import BandStatistics, ModelContract
from mlensing.data.cache import Cache, CacheSettings
from mlensing.errors import CatalogError, ContractError, ImageError
from mlensing.models import build
from mlensing.models.checkpoint import read_checkpoint
from mlensing.models.maps import deflection
from mlensing.physics import pixel_grid, sie_convergence, sie_deflection, sie_potential
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.simulator import BLOCK, Simulator
from mlensing.training.finder import Finder
from mlensing.training.fit import fit, fit_live
from mlensing.training.labelled import Labelled
from mlensing.training.live import SimulatedBatches

TERMS = {"bce": 1.0, "kappa": 1.0, "psi": 0.1, "poisson": 0.1, "alpha": 0.1}
MIXTURE = Mixture(surveys={"des": 1}, classes={"lens": 1, "spiral": 1}, size=32)


def sie(pixels: int, dx: float = 0.2, dy: float = 0.2) -> dict[str, Tensor]:
    x, y = pixel_grid(pixels, pixels, dx=dx, dy=dy)
    lens: dict[str, Any] = {"x0": 0.3, "y0": -0.2, "q": 0.6, "phi": 0.5, "theta_E": 1.3}
    alpha = torch.stack(sie_deflection(x, y, **lens))
    return {"kappa": sie_convergence(x, y, **lens, core=0.1), "psi": sie_potential(x, y, **lens), "alpha": alpha}


def make_finder(**options: Any) -> Finder:
    stats: dict[Any, BandStatistics] = {"linear": BandStatistics(mean=(0.0,) * 3, std=(1.0,) * 3)}
    contract = ModelContract(
        name="resnet10", options={"width": 4}, bands=("g", "r", "i"), input_size=32, pixel_scale=(0.2, 0.2),
        statistics=stats, task="maps",
    )  # fmt: skip
    return Finder(contract, build(contract.name, contract, **contract.options), loss=TERMS, **options)


@pytest.mark.parametrize(("pixels", "rotate_deg"), [(40, 0.0), (32, 0.0), (48, 10.0)])
def test_maps_move_with_their_images(pixels: int, rotate_deg: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image shows kappa, so that after turns and shifts both still agree, and alpha is the gradient of psi."""
    monkeypatch.setattr(Finder, "log", lambda *args, **kwargs: None)
    monkeypatch.setattr(Finder, "global_step", 3)
    finder, seen = make_finder(shift_px=4, rotate_deg=rotate_deg), {}

    def looked_at(image: Tensor, composite: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.update(batch, image=image)
        return Finder.output(finder, image, composite, batch)

    monkeypatch.setattr(finder, "output", looked_at)
    maps = {name: value.expand(16, *value.shape).clone() for name, value in sie(pixels, 0.2, 0.25).items()}
    spacing = {"dx": torch.full((16,), 0.2), "dy": torch.full((16,), 0.25)}
    image = maps["kappa"][:, None].expand(-1, 3, -1, -1).clone()
    finder.training_step(
        {**maps, **spacing, "image": image, "label": torch.ones(16), "composite": torch.zeros(16).bool()}, 0
    )
    inside = ~seen["mask"]
    assert seen["kappa"].shape == (16, 32, 32) and inside.float().mean() > 0.6
    assert {(round(x, 2), round(y, 2)) for x, y in zip(seen["dx"].tolist(), seen["dy"].tolist(), strict=True)} == {
        (0.2, 0.25), (0.25, 0.2),
    }  # fmt: skip
    apart = (seen["image"][:, 0] - seen["kappa"]).abs()[inside]
    assert float(apart.quantile(0.99)) < (0.02 if rotate_deg else 1e-6)
    found = deflection(seen["psi"], dx=seen["dx"], dy=seen["dy"])
    smooth = (inside & (seen["kappa"] < 0.7))[:, 3:-3, 3:-3]
    off = (found - seen["alpha"]).norm(dim=1)[:, 3:-3, 3:-3][smooth]
    assert float(off.quantile(0.9)) < (0.08 if rotate_deg else 0.03)  # of an alpha of 1.3


def test_simulated_batches_hold_the_maps_of_their_blocks() -> None:
    batch = SimulatedBatches(MIXTURE, seed=3, batch_size=BLOCK, maps=True)[1]
    block = Simulator(MIXTURE, seed=3).block(1, maps=True)
    for name in ("kappa", "psi", "alpha"):
        assert torch.equal(batch[name], block[name])
    assert "kappa" not in SimulatedBatches(MIXTURE, seed=3, batch_size=BLOCK)[1]


def test_training_on_the_simulated_sky_learns_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[fit_live.__module__], "MEASURED", BLOCK)
    (tmp_path / "sky.yaml").write_text("surveys: {des: 1}\nclasses: {lens: 1, spiral: 1}\nsize: 32\n")
    best = fit_live(
        str(tmp_path / "sky.yaml"), draws=BLOCK, epoch_draws=BLOCK, validation_draws=BLOCK, batch_size=BLOCK,
        model_options={"width": 4}, loss=TERMS, accelerator="cpu", num_workers=0, log_dir=str(tmp_path),
    )  # fmt: skip
    found = read_checkpoint(best)
    assert found.contract.task == "maps" and found.config["loss"] == TERMS
    assert hasattr(found.network(), "maps")
    with pytest.raises(ContractError, match="task"):
        fit_live(
            str(tmp_path / "sky.yaml"), draws=BLOCK, epoch_draws=BLOCK, validation_draws=BLOCK, batch_size=BLOCK,
            model_options={"width": 4}, accelerator="cpu", num_workers=0, log_dir=str(tmp_path), resume=str(best),
        )  # fmt: skip


def write_split(folder: Path, count: int, *, maps: bool = True, sigma: float | None = None) -> Path:
    """Images of 32 pixels; every other one a lens, with its maps."""
    folder.mkdir(parents=True)
    generator, truth = np.random.default_rng(count), {k: v.numpy() for k, v in sie(32).items()}
    lines = ["filepath,label,pixel_scale_arcsec"]
    for i in range(count):
        cube = generator.normal(size=(32, 32, 3)).astype(np.float32)
        cards = {"BANDS": "g,r,i", **({} if sigma is None else {"SIGMA_CRIT": sigma})}
        hdus = [fits.PrimaryHDU(cube, fits.Header(cards))]
        if maps and i % 2:
            hdus += [fits.ImageHDU(plane, name=name.upper()) for name, plane in truth.items()]
        fits.HDUList(hdus).writeto(folder / f"{i}.fits")
        lines.append(f"{i}.fits,{i % 2},0.2")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder / "index.csv"


def test_the_cache_keeps_maps_and_says_where_there_are_none(tmp_path: Path) -> None:
    catalog = Catalog.read(write_split(tmp_path / "a", 2))
    cache = Cache.open(catalog, CacheSettings(("g", "r", "i"), 36, maps="dimensionless"))
    found, truth = cache.read_maps([1, 0]), sie(32)
    inner = slice(2, -2)
    for name in ("kappa", "psi", "alpha"):
        np.testing.assert_array_equal(found[name][0][..., inner, inner], truth[name].numpy())
        assert np.isnan(found[name][1]).all()
        assert np.isnan(found[name][0][..., :2, :]).all()  # beyond the border
    np.testing.assert_array_equal(cache.read_maps([1], 32)["psi"][0], truth["psi"].numpy())


def test_caches_without_maps_keep_their_names() -> None:
    plain, mapped = (CacheSettings(("g",), 40, maps=maps) for maps in (None, "dimensionless"))
    assert "maps" not in plain.record and plain.key != mapped.key


def test_surface_density_is_divided_by_sigma_crit(tmp_path: Path) -> None:
    settings = CacheSettings(("g", "r", "i"), 32, maps="physical")
    cache = Cache.open(Catalog.read(write_split(tmp_path / "a", 2, sigma=2000.0)), settings)
    np.testing.assert_allclose(cache.read_maps([1])["kappa"][0], sie(32)["kappa"].numpy() / 2000.0, rtol=1e-5)
    with pytest.raises(ImageError, match="no sigma_crit"):
        Cache.open(Catalog.read(write_split(tmp_path / "b", 2)), settings)


def test_training_on_files_learns_maps_and_needs_some(tmp_path: Path) -> None:
    for name, count in (("train", 16), ("val", 8)):
        write_split(tmp_path / "with" / name, count)
        write_split(tmp_path / "without" / name, count, maps=False)
    options: dict[str, Any] = {
        "model_options": {"width": 4}, "input_size": 32, "batch_size": 8, "shift_px": 2, "max_epochs": 1,
        "accelerator": "cpu", "loss": TERMS, "log_dir": str(tmp_path / "logs"),
    }  # fmt: skip
    found = read_checkpoint(fit(str(tmp_path / "with"), **options))
    assert found.contract.task == "maps" and found.contract.sigma_crit == "dimensionless"
    with pytest.raises(CatalogError, match="no lens has the HDU KAPPA"):
        fit(str(tmp_path / "without"), **options)


def test_labelled_images_bring_no_maps_of_others(tmp_path: Path) -> None:
    from mlensing.data.cached import CachedSplit

    split = CachedSplit(write_split(tmp_path / "a", 8), CacheSettings(("g", "r", "i"), 32))
    mixed = SimulatedBatches(
        MIXTURE, seed=3, batch_size=BLOCK, maps=True, labelled=Labelled(split, share=0.25, size=32, seed=0)
    )[0]
    assert mixed["kappa"][:16].isnan().all() and mixed["alpha"][:16].isnan().all()
    assert mixed["psi"][16:].isfinite().all()


def test_a_step_on_maps_moves_the_head_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Finder, "log", lambda *args, **kwargs: None)
    monkeypatch.setattr(Finder, "global_step", 0)
    torch.manual_seed(0)
    finder = make_finder(shift_px=0)
    maps = {name: value.expand(8, *value.shape).clone() for name, value in sie(32).items()}
    image = torch.randn(8, 3, 32, 32, generator=Generator().manual_seed(0))
    spacing = torch.full((8,), 0.2)
    batch = {**maps, "dx": spacing, "dy": spacing, "image": image, "label": torch.ones(8)}
    batch["composite"] = torch.zeros(8, dtype=torch.bool)
    first = finder.training_step(batch, 0)
    first.backward()
    assert torch.equal(first, finder.training_step(batch, 0))
    head = [p.grad for key, p in finder.net.named_parameters() if key.startswith("maps.")]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in head)
    assert any(grad.abs().sum() > 0 for grad in head)
