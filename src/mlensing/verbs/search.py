"""What searches and chooses among many images: similar, next.

Each verb takes its parsed options, imports what it needs, and prints what it wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlensing.verbs.options import CHECKPOINT_HELP, PROGRAM, Options, signature_parser


def similar_verb(options: Options) -> None:
    """Rank images by how alike they are to known lenses, in what a network sees; table and picture."""
    from mlensing.inference.ensemble import RELEASED
    from mlensing.inference.scores import require_writable, write_scores
    from mlensing.inference.similar import similar, write_picture

    output = options.pop("output")
    require_writable(output)
    found = similar(**options | {"checkpoint": options["checkpoint"] or RELEASED})
    write_scores(found.table, output)
    for file, why in found.skipped.items():
        print(f"left out the query {file}: {why}")
    failed = int((found.table["rank"] == 0).sum())
    print(f"wrote {output}: {len(found.table)} rows" + (f", {failed} unreadable (see status)" if failed else ""))
    if found.nearest:
        picture = Path(output).with_suffix(".png")
        write_picture(found, picture)
        print(f"wrote {picture}: the queries, and below them the {len(found.nearest)} nearest images")
    if options["embeddings"]:
        print(f"{options['embeddings']} keeps what was seen: give it again with other queries")


def similar_parser() -> Any:
    """Options of ``similar``."""
    skip = ("queries", "inputs", "checkpoint")
    made = signature_parser("similar", "mlensing.inference.similar:similar", skip=skip)
    made.add_argument("queries", nargs="+", metavar="QUERY", help="known lenses: files, folders, index CSVs")
    made.add_argument("--in", dest="inputs", nargs="+", default=[], metavar="DIR", help="folders, files, index CSVs")
    made.add_argument("--checkpoint", nargs="+", help=CHECKPOINT_HELP)
    made.add_argument("--output", default="similar.csv", help=".csv .parquet .vot or .fits; the picture beside it")
    return made


def next_verb(options: Options) -> None:
    """Choose which images to label next: likely lenses, uncertain ones, unlike each other."""
    from mlensing.inference.labelling import next_labels
    from mlensing.inference.scores import require_writable, write_scores

    output = options.pop("output")
    require_writable(output)
    found = next_labels(**options)
    write_scores(found.table, output)
    for why, count in found.left_out.items():
        print(f"left out {count} {why}")
    short = options["budget"] - len(found.table)
    print(f"wrote {output}: {len(found.table)} images to label" + (f", {short} fewer than asked" if short else ""))
    print(f"next: fill in its column label (1 lens, 0 other), and give it as --labelled to the next {PROGRAM} next")


def next_parser() -> Any:
    """Options of ``next``."""
    made = signature_parser("next", "mlensing.inference.labelling:next_labels", skip=("scores", "labelled"))
    made.add_argument("--scores", nargs="+", required=True, metavar="TABLE", help="of predict, .csv or .parquet")
    made.add_argument("--labelled", nargs="+", default=[], metavar="CSV", help="images that have labels already")
    made.add_argument("--output", default="next.csv", help=".csv .parquet .vot or .fits; to be filled in")
    return made
