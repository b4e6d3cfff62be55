"""What explains an image by physics: model.

Each verb takes its parsed options, imports what it needs, and prints what it wrote.
"""

from __future__ import annotations

from typing import Any

from mlensing.verbs.options import Options, signature_parser


def model_verb(options: Options) -> None:
    """Fit a lens, and galaxies without a lens, to images: Einstein radius, and which explains them better."""
    from mlensing.inference.scores import require_writable, write_scores
    from mlensing.verify import model

    output = options.pop("output")
    require_writable(output)
    table = model(**options)
    write_scores(table, output)
    done, lenses = table["status"] == "ok", int((table["delta_bic"] > 10).sum())
    print(f"{lenses} of {int(done.sum())} images are explained better by a lens (delta_bic above 10)")
    failed = int((~done).sum())
    print(f"wrote {output}: {len(table)} rows" + (f", {failed} not modelled (see status)" if failed else ""))
    if options["pictures"] and done.any():
        print(f"wrote {options['pictures']}: {int(done.sum())} pictures")


def model_parser() -> Any:
    """Options of ``model``."""
    made = signature_parser("model", "mlensing.verify.model:model", skip=("inputs",))
    made.add_argument("inputs", nargs="*", metavar="INPUT", help="a file, a folder, or an index CSV")
    made.add_argument("--output", default="models.csv", help=".csv .parquet .vot or .fits")
    return made
