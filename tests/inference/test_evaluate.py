"""A split measured: every row in the order of the index, with pictures of those that are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlensing.data.preview import picture
from mlensing.errors import ConfigError
from mlensing.evaluation.page import write_page
from mlensing.inference.evaluate import evaluate_split
from mlensing.inference.predictor import Predictor


def test_a_split_becomes_a_report_and_a_page(data_dir: Path, checkpoint: Path, tmp_path: Path) -> None:
    report, pictures = evaluate_split(data_dir / "test", checkpoint=checkpoint, resamples=10, device="cpu")
    assert report.counts.lenses == report.counts.others == 8
    assert list(report.scores.label) == [0.0, 1.0] * 8
    direct = Predictor.load(checkpoint, device="cpu").predict([data_dir / "test" / "index.csv"])
    np.testing.assert_allclose(report.scores.logit, direct["logit"], rtol=1e-6)
    assert set(pictures) == {f"{i}.fits" for i in range(16)}
    assert all(p.dtype == np.uint8 and p.shape == (32, 32, 3) for p in pictures.values())
    write_page(report, tmp_path / "report.html", pictures)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_index_itself_will_do(data_dir: Path, checkpoint: Path) -> None:
    report, _ = evaluate_split(data_dir / "test" / "index.csv", checkpoint=checkpoint, resamples=0, device="cpu")
    assert report.counts.rows == 16


def test_a_folder_without_an_index_is_named(data_dir: Path, checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"index\.csv"):
        evaluate_split(data_dir, checkpoint=checkpoint)


def test_pictures_are_red_green_blue() -> None:
    blue = torch.zeros(3, 32, 32)
    blue[0] = 200.0
    assert picture(blue, composite=True)[0, 0].tolist() == [0, 0, 200]
    sky = torch.randn(5, 32, 32, generator=torch.Generator().manual_seed(0))
    grey = picture(sky, composite=False)
    assert (grey[..., 0] == grey[..., 2]).all() and grey.std() > 0
