"""What scores and measures: evaluate, eval_paper, ensemble, predict, census.

Each verb takes its parsed options, imports what it needs, and prints what it wrote.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mlensing.verbs.options import CHECKPOINT_HELP, PROGRAM, Options, Parser, signature_parser, words
from mlensing.verbs.tables import print_census, print_paper, print_report, print_selection


def evaluate_verb(options: Options) -> None:
    """Measure a trained finder on a labelled set; write report.json and report.html."""
    from mlensing.evaluation.page import write_page
    from mlensing.inference import evaluate_split
    from mlensing.inference.ensemble import RELEASED

    folder, checkpoint = Path(options.pop("output_dir")), options.pop("checkpoint") or RELEASED
    report, images = evaluate_split(**options, checkpoint=checkpoint)
    report.save(folder / "report.json")
    write_page(report, folder / "report.html", images)
    print_report(report)
    print(f"wrote {folder / 'report.html'} and report.json")


def evaluate_parser() -> Any:
    """Options of ``evaluate``."""
    made = signature_parser("evaluate", "mlensing.inference:evaluate_split", skip=("checkpoint",))
    made.add_argument("--checkpoint", nargs="+", help=CHECKPOINT_HELP)
    made.add_argument("--output_dir", default="results/evaluation", help="where to write")
    return made


def eval_paper_verb(options: Options) -> None:
    """Measure every trained member and their ensemble on the paper's test split, beside what the seed claims."""
    from mlensing.inference.paper import evaluate_paper

    print_paper(evaluate_paper(**options))
    drawn = f" and {options['output_dir']}/figures" if options["generate_figures"] else ""
    print(f"wrote {options['output_dir']}/metrics.json{drawn}")


def eval_paper_parser() -> Any:
    """Options of ``eval_paper``."""
    skip = ("checkpoints", "generate_figures")
    made = signature_parser("eval_paper", "mlensing.inference.paper:evaluate_paper", skip=skip)
    made.add_argument("--checkpoints", nargs="+", help="trained finders in place of those of log_dir")
    words = {"nargs": "?", "const": True, "default": False, "type": bool}
    made.add_argument("--generate_figures", **words, help="also draw the figures, as PDF and PNG")
    return made


def ensemble_verb(options: Options) -> None:
    """Put trained finders together: calibrate each, choose members and rule on validation data."""
    from mlensing.inference.assemble import assemble

    chosen = assemble(**options)
    print_selection(chosen.record)
    print(f"wrote {options['output_dir']}; next: {PROGRAM} predict my_images/ --checkpoint {options['output_dir']}")


def ensemble_parser() -> Any:
    """Options of ``ensemble``."""
    made = signature_parser("ensemble", "mlensing.inference.assemble:assemble", skip=("checkpoints",))
    made.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="trained finders")
    return made


def predict_verb(options: Options) -> None:
    """Score images: files, folders and index CSVs; FITS, PNG, JPEG and npy mixed."""
    from mlensing.inference import Predictor, write_scores
    from mlensing.inference.ensemble import RELEASED
    from mlensing.inference.member import Dropout
    from mlensing.inference.scores import require_writable, with_p_values

    output, page, nonlenses, share = (options.pop(name) for name in ("output", "page", "nonlenses", "share"))
    require_writable(output)
    predictor = Predictor.load(options.pop("checkpoint") or RELEASED, options.pop("device"), options.pop("backend"))
    dropout = Dropout(options.pop("uncertainty"), options.pop("passes"))
    table = predictor.predict(**options, dropout=dropout)
    if nonlenses:
        others = ("inputs", "members", "maps", "accept")
        alike = {name: value for name, value in options.items() if name not in others}
        table = with_p_values(table, predictor.nonlens_logits(nonlenses, **alike), share)
    write_scores(table, output)
    failed = int((table["status"] != "ok").sum())
    print(f"wrote {output}: {len(table)} rows" + (f", {failed} unreadable (see status)" if failed else ""))
    if page:
        _ranking_page(table, page, predictor, options)


def predict_parser() -> argparse.ArgumentParser:
    """Options of ``predict``."""
    made = Parser(f"{PROGRAM} predict", **words("predict", argparse.RawDescriptionHelpFormatter))
    made.add_argument("inputs", nargs="+", metavar="INPUT", help="a file, a folder, or an index CSV")
    made.add_argument("--output", default="scores.csv", help=".csv .parquet .vot or .fits (default: %(default)s)")
    made.add_argument("--checkpoint", nargs="+", help=CHECKPOINT_HELP)
    made.add_argument("--survey", help="preset of files whose header names none: lsst, des, cfhtls, ...")
    made.add_argument("--pixel_scale", type=float, help="of files that state none [arcsec/px]")
    made.add_argument("--prevalence", type=float, help="share of lenses among what is scored, such as 0.001")
    made.add_argument("--page", help="also write a page with the best candidates, such as ranking.html")
    made.add_argument("--batch_size", type=int, default=64, help="images a step (default: %(default)s)")
    made.add_argument("--views", type=int, choices=(1, 8), default=1, help="8 averages over flips and turns")
    made.add_argument(
        "--uncertainty", choices=("head", "full"), default="head", help="dropout before the last layer, or all"
    )
    made.add_argument("--nonlenses", nargs="+", metavar="INPUT", help="known non-lenses of the same kind: adds p_value")
    made.add_argument("--share", type=float, default=0.01, help="of non-lenses that may pass (default: %(default)s)")
    made.add_argument("--passes", type=int, default=20, help="of full dropout (default: %(default)s)")
    made.add_argument("--members", action="store_true", help="also a column logit_KEY for each member")
    made.add_argument("--maps", action="store_true", help="also theta_E, axis ratio and mass, from predicted maps")
    made.add_argument("--accept", type=float, default=0.5, help="probability from which --maps tells of a lens")
    made.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    made.add_argument(
        "--backend", choices=("torch", "onnx", "int8"), default="torch", help="what runs it (default: %(default)s)"
    )
    return made


def census_verb(options: Options) -> None:
    """Estimate how many lenses a survey holds, from scores and labels of some of them."""
    from mlensing.inference.census import count_lenses

    found = count_lenses(**options)
    print_census(found)
    target = Path(options["output"])
    print(f"wrote {target}, {target.with_suffix('.csv').name} and .png")


def census_parser() -> Any:
    """Options of ``census``."""
    made = signature_parser("census", "mlensing.inference.census:count_lenses", skip=("scores", "propensity"))
    made.add_argument("scores", metavar="SCORES", help="table that predict wrote for all images, .csv or .parquet")
    about = "columns that the labelling depends on, measured alike for every image: theta_E arc_signal magnitude"
    made.add_argument("--propensity", nargs="+", metavar="COLUMN", help=about)
    return made


def _ranking_page(table: Any, page: str, predictor: Any, options: dict[str, Any]) -> None:
    """A page of the best candidates of a table of scores."""
    from mlensing.data.gather import gather
    from mlensing.evaluation.measure import rank_scores
    from mlensing.evaluation.page import shown_rows, write_page
    from mlensing.inference.evaluate import pictures

    report = rank_scores(table["logit"], files=list(table["file"]), flags=list(table["flag"]), title="Candidates")
    items = gather(options["inputs"], survey=options["survey"], pixel_scale=options["pixel_scale"])
    shown = [items[row] for rows in shown_rows(report).values() for row in rows]
    write_page(report, page, pictures(shown, predictor.contract))
    print(f"wrote {page}")
