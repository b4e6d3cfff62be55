"""What looks at whole fields: map.

Each verb takes its parsed options, imports what it needs, and prints what it wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlensing.verbs.options import CHECKPOINT_HELP, Options, signature_parser


def map_verb(options: Options) -> None:
    """Slide a finder over a field: heat-map with WCS, table of candidates, picture."""
    from mlensing.inference import Predictor
    from mlensing.inference.ensemble import RELEASED
    from mlensing.inference.fields.maps import map_field

    predictor = Predictor.load(options.pop("checkpoint") or RELEASED, options.pop("device"))
    table = map_field(predictor, **options)
    target = Path(options["output"])
    best = (
        f"; the best at x {table['x'][0]:.0f}, y {table['y'][0]:.0f}: {table['probability'][0]:.3f}"
        if len(table)
        else ""
    )
    print(f"wrote {target}, {target.with_suffix('.csv').name} and .png: {len(table)} candidates{best}")


def map_parser() -> Any:
    """Options of ``map``."""
    skip = ("predictor", "fields")
    made = signature_parser("map", "mlensing.inference.fields.maps:map_field", skip=(*skip, "bands"))
    made.add_argument("fields", nargs="+", metavar="FIELD", help="a FITS file with all bands, or one a band")
    made.add_argument("--bands", nargs="+", help="names of the bands, in the order of the files")
    made.add_argument("--checkpoint", nargs="+", help=CHECKPOINT_HELP)
    made.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return made
