"""The best candidates of a table of scores."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mlensing.errors import CatalogError, ConfigError


def top_candidates(path: str | Path, count: int) -> pd.DataFrame:
    """The ``count`` rows of the highest scores of a table that ``predict`` wrote.

    Returns:
        columns ``rank`` (from 1), ``file`` and ``score`` (the logit), best first; rows without a score are left out.

    Raises:
        CatalogError: no such table, or one without the columns ``file`` and ``logit``.
        ConfigError: a count below 1.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scores.csv"
        >>> _ = path.write_text("file,logit\\na.fits,-1\\nb.fits,2\\nc.fits,\\n")
        >>> top_candidates(path, 5)["file"].tolist()
        ['b.fits', 'a.fits']
    """
    if count < 1:
        raise ConfigError("top", f"expected at least 1, got {count}", "Take 50.")
    table = _read(Path(path))
    missing = {"file", "logit"} - set(table.columns)
    if missing:
        raise CatalogError(path, f"no column {', '.join(sorted(missing))}", "Give a table that predict wrote.")
    numbers = pd.DataFrame({"file": table["file"].astype(str), "score": pd.to_numeric(table["logit"], errors="coerce")})
    best = numbers.dropna().sort_values("score", ascending=False, kind="stable").head(count).reset_index(drop=True)
    best.insert(0, "rank", range(1, len(best) + 1))
    return best


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise CatalogError(path, "no such file", "Give the table that predict wrote.")
    try:
        return pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError) as error:
        problem = f"not a table ({str(error).splitlines()[0].rstrip('.')})"
        raise CatalogError(path, problem, "Give the .csv or .parquet that predict wrote.") from error
