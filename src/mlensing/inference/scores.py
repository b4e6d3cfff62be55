"""Score tables on disk: CSV, Parquet, VOTable or FITS, chosen by the ending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io.votable import from_table, writeto
from astropy.table import Table
from numpy.typing import ArrayLike

from mlensing.errors import ConfigError
from mlensing.evaluation.conformal import conformal_threshold, p_values
from mlensing.provenance import replacing


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False)


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    table.to_parquet(path, index=False)


def _astropy(table: pd.DataFrame, *, ascii_only: bool) -> Table:
    """Text as plain strings, for neither format stores objects; FITS text is ASCII, others are escaped."""
    plain = Table()
    for name in table.columns:
        column = table[name]
        if column.dtype.kind in "fiub":
            plain[name] = column.to_numpy()
            continue
        text = [str(value) for value in column]
        plain[name] = [t.encode("ascii", "backslashreplace").decode() for t in text] if ascii_only else text
    return plain


def _write_votable(table: pd.DataFrame, path: Path) -> None:
    writeto(from_table(_astropy(table, ascii_only=False)), str(path))


def _write_fits(table: pd.DataFrame, path: Path) -> None:
    _astropy(table, ascii_only=True).write(path, format="fits", overwrite=True)


WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".vot": _write_votable,
    ".xml": _write_votable,
    ".fits": _write_fits,
}


def require_writable(path: str | Path) -> None:
    """Refuse an output whose ending no writer knows, before any work is done for it.

    Raises:
        ConfigError: naming the known endings.
    """
    if Path(path).suffix.lower() not in WRITERS:
        problem = f"cannot write scores as {Path(path).suffix or 'a file without ending'!r}"
        raise ConfigError(path, problem, f"Known endings: {', '.join(WRITERS)}.")


def with_p_values(table: pd.DataFrame, known: ArrayLike, share: float) -> pd.DataFrame:
    """The table with a column ``p_value`` against known non-lenses, and a line on how many images pass.

    Arguments:
        table: as ``Predictor.predict`` returns it.
        known: logits of non-lenses of the same kind.
        share: of non-lenses that may pass.

    Raises:
        ConfigError: a share outside (0, 1), or not one known non-lens with a score.

    Example:
        >>> table = pd.DataFrame({"logit": [4.0, -1.0], "status": ["ok", "ok"]})
        >>> with_p_values(table, [-2.0, 0.0, 1.0], 0.25)["p_value"].tolist()
        1 of 2 images lie above a logit of 1.00: on average at most 0.25 of non-lenses like the 3 known ones do
        [0.25, 0.75]
    """
    if not 0 < share < 1:
        raise ConfigError("share", f"expected a share in (0, 1), got {share}", "Take 0.01.")
    scores = np.asarray(known, float)
    count = int(np.isfinite(scores).sum())
    if not count:
        raise ConfigError("nonlenses", "not one of them has a score", "Give readable images of the same kind.")
    found = table.copy()
    found.insert(len(found.columns) - 1, "p_value", p_values(table["logit"], scores))
    threshold = conformal_threshold(scores, share)
    passed = int((table["logit"] > threshold).sum())
    if np.isinf(threshold):
        needed = int(np.ceil(1 / share - 1e-9)) - 1
        print(f"{count} known non-lenses are too few for a share of {share:g}, which takes {needed}: no image passes")
    else:
        print(
            f"{passed} of {len(table)} images lie above a logit of {threshold:.2f}: on average at most {share:g} of "
            f"non-lenses like the {count} known ones do"
        )
    return found


def write_scores(table: pd.DataFrame, path: str | Path) -> None:
    """Write a score table, whole or not at all.

    Arguments:
        table: as ``Predictor.predict`` returns it.
        path: ending ``.csv``, ``.parquet``, ``.vot``, ``.xml`` (VOTable) or ``.fits``.

    Raises:
        ConfigError: another ending.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scores.csv"
        >>> write_scores(pd.DataFrame({"file": ["a.fits"], "probability": [0.5]}), path)
        >>> path.read_text().split()
        ['file,probability', 'a.fits,0.5']
    """
    require_writable(path)
    with replacing(path) as beside:
        WRITERS[Path(path).suffix.lower()](table, beside)
