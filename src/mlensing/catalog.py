"""A catalog: the index CSV that says which images there are, and what is known of each.

Columns: ``filepath`` (relative to the CSV's folder, or absolute), ``label``, ``pixel_scale_arcsec``, and optionally
``pixel_scale_y_arcsec``, ``sigma_crit`` [Msun/pc^2], ``z_lens``, ``z_source``, ``survey``, ``group``; any other column
is kept. ``z_l`` and ``z_s`` are accepted for the redshifts. A label is 0, 1, or soft between them; empty, NaN or -1
means unlabelled, and is NaN inside.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlensing.errors import CatalogError
from mlensing.provenance import replacing

ALIASES = {"z_l": "z_lens", "z_s": "z_source"}
POSITIVE = ("pixel_scale_arcsec", "pixel_scale_y_arcsec", "sigma_crit")
REDSHIFTS = ("z_lens", "z_source")


@dataclass(frozen=True)
class Catalog:
    """A validated index of images.

    Attributes:
        table: one row an image, every column of the CSV, aliases renamed, numbers as numbers.
        folder: what relative file paths start from.
        source: the CSV, for messages.

    Example:
        >>> table = pd.DataFrame({"filepath": ["a.fits", "b.fits"], "label": [1, -1]})
        >>> Catalog.of(table, Path("images"), check_files=False).labels
        array([ 1., nan], dtype=float32)
    """

    table: pd.DataFrame
    folder: Path
    source: Path

    @classmethod
    def read(cls, csv_path: str | Path, require_sigma_crit: bool = False, *, to_score: bool = False) -> Catalog:
        """Read and check an index CSV (UTF-8, with a header line).

        Arguments:
            csv_path: the CSV.
            require_sigma_crit: refuse rows without ``sigma_crit``.
            to_score: labels may be absent, and so may images: each becomes a row that says so.

        Raises:
            CatalogError: no such file, not a CSV, no rows, missing columns, duplicate rows, a label or number
                that cannot be, or images that are not there.
        """
        path = Path(csv_path)
        table = _read_csv(path)
        if to_score and "label" not in table:
            table["label"] = np.nan
        catalog = cls.of(table, path.parent, source=path, check_files=not to_score)
        if require_sigma_crit:
            catalog.require("sigma_crit")
        return catalog

    @classmethod
    def of(cls, table: pd.DataFrame, folder: Path, *, source: Path | None = None, check_files: bool = True) -> Catalog:
        """A catalog from a table; the same checks as ``read``."""
        source = source or folder / "index.csv"
        table = _renamed(table, source).reset_index(drop=True)
        _check_columns(table, source)
        for column in (*POSITIVE, *REDSHIFTS):
            if column in table:
                table[column] = _numbers(table, column, source)
        table["label"] = _labels(table, source)
        catalog = cls(table, folder, source)
        _check_files(catalog, check_files)
        return catalog

    @cached_property
    def paths(self) -> list[Path]:
        """The image files, in row order."""
        return [self.folder / str(name) for name in self.table["filepath"]]

    @cached_property
    def labels(self) -> NDArray[np.float32]:
        """Labels [row], NaN where there is none."""
        return self.table["label"].to_numpy(dtype=np.float32)

    def column(self, name: str) -> NDArray[np.float64]:
        """A column of numbers [row]; NaN throughout when the index has no such column."""
        if name not in self.table:
            return np.full(len(self), np.nan)
        return self.table[name].to_numpy(dtype=np.float64)

    def text(self, name: str) -> list[str | None]:
        """A column of words [row]; None where there is none."""
        if name not in self.table:
            return [None] * len(self)
        return [None if pd.isna(value) or not str(value) else str(value) for value in self.table[name]]

    def require(self, name: str) -> None:
        """Refuse rows that lack a number.

        Raises:
            CatalogError: naming the first file without one.
        """
        missing = np.flatnonzero(np.isnan(self.column(name)))
        if len(missing):
            first = self.table["filepath"].iloc[missing[0]]
            problem = f"{name} is missing in {len(missing)} of {len(self)} rows, first {first}"
            raise CatalogError(self.source, problem, f"Fill the column {name}.")

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Catalog:
        """The catalog of these rows only."""
        return Catalog(self.table.iloc[np.arange(len(self))[rows]].reset_index(drop=True), self.folder, self.source)

    def write(self, path: str | Path) -> None:
        """Write as an index CSV, whole or not at all; file paths become relative to its folder where possible."""
        path = Path(path)
        table = self.table.copy()
        real, folder = cache(Path.resolve), path.parent.resolve()  # a link's own parent is not where ".." leads
        table["filepath"] = [_relative(real(p.parent) / p.name, folder) for p in self.paths]
        table["label"] = ["" if np.isnan(value) else f"{value:g}" for value in self.labels]
        with replacing(path) as beside:
            table.to_csv(beside, index=False, encoding="utf-8", lineterminator="\n")

    def __len__(self) -> int:
        return len(self.table)


def read_scores(path: str | Path) -> pd.DataFrame:
    """The table that ``predict`` wrote, CSV or Parquet, with ``file`` as text and ``logit`` as numbers, NaN for none.

    Raises:
        CatalogError: no such table, or one without the columns ``file`` and ``logit``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scores.csv"
        >>> _ = path.write_text("file,logit\\na.fits,-1\\nc.fits,\\n")
        >>> read_scores(path)["logit"].tolist()
        [-1.0, nan]
    """
    path = Path(path)
    if not path.is_file():
        raise CatalogError(path, "cannot be read: no such file", "Give the table that predict wrote.")
    try:
        parquet = path.suffix.lower() == ".parquet"
        table = pd.read_parquet(path) if parquet else pd.read_csv(path, dtype={"file": str})
    except (ValueError, OSError) as error:
        problem = f"not a table ({str(error).splitlines()[0].rstrip('.')})"
        raise CatalogError(path, problem, "Give the .csv or .parquet that predict wrote.") from error
    missing = {"file", "logit"} - set(table.columns)
    if missing:
        there = ", ".join(map(str, table.columns[:8]))
        problem = f"no column {', '.join(sorted(missing))}: expected columns file and logit, got {there}"
        raise CatalogError(path, problem, "Give a table that predict wrote.")
    numbers = pd.to_numeric(table["logit"], errors="coerce").astype("float64")
    return table.assign(file=table["file"].astype(str), logit=numbers)


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise CatalogError(path, "no such index", "Give the path of an index CSV; `mlensing prepare` writes one.")
    try:
        table = pd.read_csv(path, dtype={"filepath": str, "survey": str, "group": str}, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        problem = f"not a CSV in UTF-8 with a header line ({error})"
        raise CatalogError(path, problem, "Save it as comma-separated UTF-8 text.") from error
    return table


def _renamed(table: pd.DataFrame, source: Path) -> pd.DataFrame:
    table = table.rename(columns=lambda name: str(name).strip())
    both = [f"{old} and {new}" for old, new in ALIASES.items() if old in table and new in table]
    if both:
        raise CatalogError(source, f"columns {both[0]} mean the same", "Keep one of them.")
    return table.rename(columns=ALIASES)


def _check_columns(table: pd.DataFrame, source: Path) -> None:
    missing = [name for name in ("filepath", "label") if name not in table]
    if missing:
        problem = f"no column {' and no column '.join(missing)}; it has {', '.join(table.columns)}"
        raise CatalogError(source, problem, "An index needs at least filepath,label,pixel_scale_arcsec.")
    if table.empty:
        raise CatalogError(source, "no rows", "Add one line an image.")


def _numbers(table: pd.DataFrame, column: str, source: Path) -> pd.Series[float]:
    numbers = pd.to_numeric(table[column], errors="coerce").astype("float64")
    empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
    low = 0.0 if column in REDSHIFTS else np.nextafter(0.0, 1.0)
    bad = ~empty & ~(np.isfinite(numbers) & (numbers >= low))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        problem = (
            f"{column} of {table['filepath'].iloc[row]} is {str(table[column].iloc[row])!r}, not a positive number"
        )
        raise CatalogError(source, problem, f"Correct {column}, or leave it empty if unknown.")
    return numbers


def _labels(table: pd.DataFrame, source: Path) -> pd.Series[float]:
    given = table["label"]
    numbers = pd.to_numeric(given, errors="coerce").astype("float64")
    empty = given.isna() | given.astype(str).str.strip().str.lower().isin(["", "nan"]) | (numbers == -1)
    bad = ~empty & ~numbers.between(0.0, 1.0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        problem = f"label of {table['filepath'].iloc[row]} is {str(given.iloc[row])!r} ({int(bad.sum())} such rows)"
        raise CatalogError(source, problem, "A label is 0, 1 or between; empty or -1 if unknown.")
    return numbers.where(~empty)


def _check_files(catalog: Catalog, check_exist: bool) -> None:
    names = catalog.table["filepath"]
    if names.isna().any():
        row = int(np.flatnonzero(names.isna())[0]) + 2
        raise CatalogError(catalog.source, f"filepath is empty on line {row}", "Name an image on every line.")
    where = pd.Series([os.path.normpath(path) for path in catalog.paths])
    twice = where[where.duplicated()]
    if len(twice):
        problem = f"{len(twice)} files are listed more than once, first {twice.iloc[0]}"
        raise CatalogError(catalog.source, problem, "Keep one row an image.")
    missing = [path for path in catalog.paths if not path.is_file()] if check_exist else []
    if missing:
        first = ", ".join(str(path) for path in missing[:3])
        problem = f"{len(missing)} of {len(catalog)} files are missing, first {first}"
        raise CatalogError(catalog.source, problem, f"Paths are relative to {catalog.folder}; correct or remove them.")


def _relative(path: Path, folder: Path) -> str:
    """``path`` as seen from ``folder``; absolute where there is no way (another drive)."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.as_posix()
