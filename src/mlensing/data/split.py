"""Dividing an index into training, validation and test: stratified, grouped, seeded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlensing.catalog import Catalog
from mlensing.errors import ConfigError

SPLITS = ("train", "val", "test")


def shares_of(train: float, val: float | None) -> NDArray[np.float64]:
    """Shares of train, val and test; validation gets half of the rest without ``val``.

    Raises:
        ConfigError: they do not add up.

    Example:
        >>> shares_of(0.8, None).round(3).tolist()
        [0.8, 0.1, 0.1]
    """
    val = (1.0 - train) / 2.0 if val is None else val
    if not (0.0 < train < 1.0 and 0.0 <= val <= 1.0 - train + 1e-9):
        problem = f"train_split {train} and val_split {val} are not shares of one"
        raise ConfigError("prepare", problem, "For example --train_split 0.8 --val_split 0.1.")
    return np.array([train, val, max(1.0 - train - val, 0.0)])


def assign_splits(table: pd.DataFrame, shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Number of the split of each row: within each label class, groups in seeded order go where most is missing.

    Arguments:
        table: with ``label`` and perhaps ``group``; rows without a group are a group each.
        shares: of train, val, test; their sum is 1.
        seed: of the order.

    Example:
        >>> table = pd.DataFrame({"label": [0.0, 1.0] * 10})
        >>> np.bincount(assign_splits(table, np.array([0.8, 0.1, 0.1]), seed=1)).tolist()
        [16, 2, 2]
    """
    group = _groups(table)
    label = table["label"].astype("float64").round().fillna(-1.0)
    of_group = label.groupby(group).max()
    sizes = label.groupby(group).size()
    rng = np.random.default_rng(seed)
    chosen: dict[str, int] = {}
    for stratum in np.unique(of_group):
        names = sorted(of_group.index[of_group == stratum])
        missing = shares * float(sizes[names].sum())
        for name in rng.permutation(np.array(names, dtype=object)):
            best = int(np.argmax(missing))
            chosen[name] = best
            missing[best] -= float(sizes[name])
    return np.array([chosen[name] for name in group], dtype=np.int64)


def _groups(table: pd.DataFrame) -> pd.Series[str]:
    alone = pd.Series([f"\0{i:09d}" for i in range(len(table))], index=table.index)
    if "group" not in table:
        return alone
    return table["group"].astype(str).where(table["group"].notna(), alone)


def write_splits(output: Path, catalog: Catalog, split: NDArray[np.int64]) -> None:
    """Write ``{train,val,test}/index.csv`` under ``output``; ``split`` [row] is the number of each row's split."""
    for number, name in enumerate(SPLITS):
        catalog.select(split == number).write(output / name / "index.csv")
