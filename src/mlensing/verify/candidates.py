"""The best candidates of a table of scores."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mlensing.catalog import read_scores
from mlensing.errors import ConfigError


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
    table = read_scores(path)
    numbers = table[["file", "logit"]].rename(columns={"logit": "score"})
    best = numbers.dropna().sort_values("score", ascending=False, kind="stable").head(count).reset_index(drop=True)
    best.insert(0, "rank", range(1, len(best) + 1))
    return best
