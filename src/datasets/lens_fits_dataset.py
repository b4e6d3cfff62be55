"""The dataset under the address that users' scripts import."""

from mlensing.data.dataset import LensFITSDataset

__all__ = ["LensFITSDataset"]
