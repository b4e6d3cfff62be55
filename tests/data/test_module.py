from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from lightning.pytorch import LightningModule, Trainer

from mlensing.contract import ModelContract
from mlensing.data.augment import augment
from mlensing.data.cached import Batch
from mlensing.data.module import LensDataModule
from mlensing.errors import CatalogError, ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 25), ("val", 9), ("test", 7)):
        (tmp_path / split).mkdir()
        lines = ["filepath,label,pixel_scale_arcsec"]
        for i in range(count):
            hdu = fits.PrimaryHDU(rng.normal(size=(3, 48, 48)).astype(np.float32))
            hdu.header["BANDS"] = "gri"
            hdu.writeto(tmp_path / split / f"{i}.fits")
            label = "" if i == 4 else str(int(i % 4 == 0))
            lines.append(f"{i}.fits,{label},{0.2 + 0.01 * (i % 2)}")
        (tmp_path / split / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def module(folder: Path, **options: object) -> LensDataModule:
    return LensDataModule(folder, input_size=32, batch_size=8, **options)  # type: ignore[arg-type]


def test_batches(folder: Path) -> None:
    data = module(folder, margin=4)
    data.prepare_data()
    train, val, test = (list(d()) for d in (data.train_dataloader, data.val_dataloader, data.test_dataloader))
    assert [len(b["label"]) for b in train] == [8, 8, 8]  # 24 labelled rows
    assert [len(b["label"]) for b in val] == [8] and [len(b["label"]) for b in test] == [6]
    assert train[0]["image"].shape == (8, 3, 40, 40) and val[0]["image"].shape == (8, 3, 32, 32)
    assert set(train[0]) == {"image", "label", "composite", "dx", "dy"}
    assert train[0]["image"].dtype == torch.float32 and train[0]["composite"].dtype == torch.bool
    assert augment(train[0]["image"], {}, torch.Generator(), size=32)[0].shape == (8, 3, 32, 32)


def test_no_row_is_lost_and_the_order_is_seeded(folder: Path) -> None:
    def first_pixels(seed: int) -> list[float]:
        batches = list(module(folder, seed=seed).train_dataloader())
        return torch.cat([b["image"][:, 0, 0, 0] for b in batches]).tolist()

    assert first_pixels(1) == first_pixels(1) != first_pixels(2)
    assert sorted(first_pixels(1)) == sorted(first_pixels(2)) and len(set(first_pixels(1))) == 24


def test_a_training_that_goes_on_has_the_order_of_its_next_epoch(folder: Path) -> None:
    loader = module(folder).train_dataloader()
    epochs = [torch.cat([batch["image"][:, 0, 0, 0] for batch in loader]) for _ in range(3)]
    again = module(folder)
    again.load_state_dict({"epochs": 2})
    assert torch.equal(torch.cat([batch["image"][:, 0, 0, 0] for batch in again.train_dataloader()]), epochs[2])


def test_unlabelled_rows_are_counted_aloud(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = module(folder)
    data.setup("fit")
    assert "1 rows without a label are left out" in capsys.readouterr().err.replace("\n", " ").replace("  ", " ")
    assert data.summary()["unlabelled"] == {"train": 1, "val": 1}


def test_contract_fields(folder: Path) -> None:
    data = module(folder, margin=4)
    contract = ModelContract(name="resnet18", **data.contract_fields())
    assert contract.bands == ("blue", "green", "red") and contract.input_size == 32
    assert contract.pixel_scale == (0.2, 0.21) and contract.prevalence == pytest.approx(6 / 24)
    assert set(contract.statistics) == {"linear"} and len(contract.training_hash) == 16
    assert data.statistics_sample(5)["image"].shape == (5, 3, 32, 32)
    assert torch.equal(data.statistics_sample(5)["image"], data.statistics_sample(5)["image"])


def test_training_hash_follows_pixels_and_labels(folder: Path) -> None:
    before = module(folder).summary()["training_hash"]
    assert module(folder).summary()["training_hash"] == before
    with fits.open(folder / "train" / "0.fits", mode="update") as hdus:
        hdus[0].data[0, 20, 20] += 1
    changed = module(folder).summary()["training_hash"]
    assert changed != before
    csv = folder / "train" / "index.csv"
    csv.write_text(csv.read_text().replace("1.fits,0", "1.fits,0.5"))
    assert module(folder).summary()["training_hash"] not in (before, changed)


def test_mistakes(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no train/index\.csv in it.*mlensing prepare"):
        module(folder / "test").setup("fit")
    assert len(module(folder / "test").split("test")) == 6
    csv = folder / "train" / "index.csv"
    csv.write_text("filepath,label,pixel_scale_arcsec\n0.fits,1,0.2\n1.fits,1,0.2\n")
    with pytest.raises(CatalogError, match=r"all 2 labels are 1.*lenses and non-lenses"):
        module(folder).contract_fields()
    csv.write_text("filepath,label,pixel_scale_arcsec\n0.fits,,0.2\n")
    with pytest.raises(CatalogError, match="no labelled rows"):
        module(folder).setup("fit")


class Counting(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), 0

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        self.seen += len(batch["label"])
        return (self.weight * batch["image"].mean()).sum()

    def validation_step(self, batch: Batch, _: int) -> None:
        assert batch["image"].shape[1:] == (3, 32, 32)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_under_lightning_also_with_its_distributed_sampler(folder: Path) -> None:
    data, net = module(folder), Counting()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **quiet).fit(net, data)
    assert net.seen == 48
    split = data.split("train")
    sampler = torch.utils.data.DistributedSampler(split, num_replicas=2, rank=1, shuffle=True)
    loader = data.train_dataloader()
    again = torch.utils.data.DataLoader(split, batch_size=8, sampler=sampler, collate_fn=loader.collate_fn)
    assert [len(b["label"]) for b in again] == [8, 4]


def test_workers_read_the_same(folder: Path) -> None:
    alone, helped = (list(module(folder, num_workers=n).val_dataloader()) for n in (0, 1))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(alone, helped, strict=True))
