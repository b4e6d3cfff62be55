"""The command line: one verb a function, heavy imports only inside the verb.

Flags, help and YAML keys of ``simulate``, ``prepare``, ``train`` and ``train_live`` come from the signatures of the
functions they call, so that they cannot drift apart. A mistake of the user's is one line on standard error and exit
code 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import mlensing
from mlensing.errors import MLensingError

if TYPE_CHECKING:
    from mlensing.evaluation.report import Report

PROGRAM = "mlensing"


def simulate_verb(arguments: Sequence[str]) -> None:
    """Simulate lenses and impostors as FITS with an index and their truth."""
    from mlensing.data.prepare import divide
    from mlensing.data.preview import write_preview
    from mlensing.simulate.write import simulate

    chosen = _parse("simulate", simulate, arguments, config_file=False)
    index = simulate(**chosen)
    divide(index, seed=chosen["seed"])
    write_preview(index, index.with_name("preview.png"))
    print(f"wrote {index}; next: {PROGRAM} train --config configs/baseline.yaml --data_dir {index.parent}")


def prepare_verb(arguments: Sequence[str]) -> None:
    """Divide a folder of images into training, validation and test sets."""
    from mlensing.data.prepare import prepare

    prepare(**_parse("prepare", prepare, arguments))


def train_verb(arguments: Sequence[str]) -> None:
    """Train a finder on prepared images."""
    from mlensing.training import fit

    _announce(fit(**_parse("train", fit, arguments)))


def train_live_verb(arguments: Sequence[str]) -> None:
    """Train a finder on a simulated sky, with no files at all."""
    from mlensing.training import fit_live

    _announce(fit_live(**_parse("train_live", fit_live, arguments)))


def evaluate_verb(arguments: Sequence[str]) -> None:
    """Measure a trained finder on a labelled set; write report.json and report.html."""
    parser = _plain("evaluate")
    parser.add_argument("--checkpoint", required=True, help="a trained finder (best.ckpt)")
    parser.add_argument("--data_dir", required=True, help="folder with an index.csv, such as O/test/, or the index")
    parser.add_argument("--output_dir", default="results/evaluation", help="where to write (default: %(default)s)")
    parser.add_argument("--survey", help="preset of files that name none")
    parser.add_argument("--prevalence", type=float, help="share of lenses at which purity is stated, such as 0.001")
    parser.add_argument("--resamples", type=int, default=200, help="bootstrap resamples (default: %(default)s)")
    parser.add_argument("--title", default="Evaluation", help="head of the page")
    _add_scoring(parser)
    chosen = parser.parse_args(arguments)
    from pathlib import Path

    from mlensing.evaluation.page import write_page
    from mlensing.inference import evaluate_split

    options = {key: value for key, value in vars(chosen).items() if key != "output_dir"}
    report, images = evaluate_split(**options)
    folder = Path(chosen.output_dir)
    report.save(folder / "report.json")
    write_page(report, folder / "report.html", images)
    _print_report(report)
    print(f"wrote {folder / 'report.html'} and report.json")


def predict_verb(arguments: Sequence[str]) -> None:
    """Score images: files, folders and index CSVs; FITS, PNG, JPEG and npy mixed."""
    parser = _plain("predict")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="a file, a folder, or an index CSV")
    parser.add_argument("--output", default="scores.csv", help=".csv .parquet .vot or .fits (default: %(default)s)")
    parser.add_argument("--checkpoint", help="a trained finder (default: the newest best.ckpt in lightning_logs)")
    parser.add_argument("--survey", help="preset of files whose header names none: lsst, des, cfhtls, ...")
    parser.add_argument("--pixel_scale", type=float, help="of files that state none [arcsec/px]")
    parser.add_argument("--prevalence", type=float, help="share of lenses among what is scored, such as 0.001")
    parser.add_argument("--page", help="also write a page with the best candidates, such as ranking.html")
    _add_scoring(parser)
    chosen = parser.parse_args(arguments)
    from mlensing.inference import Predictor, write_scores
    from mlensing.inference.predictor import newest_checkpoint
    from mlensing.inference.scores import require_writable

    require_writable(chosen.output)
    checkpoint = chosen.checkpoint or newest_checkpoint()
    predictor = Predictor.load(checkpoint, chosen.device)
    keep = ("survey", "pixel_scale", "prevalence", "batch_size", "views")
    table = predictor.predict(chosen.inputs, **{key: getattr(chosen, key) for key in keep})
    write_scores(table, chosen.output)
    failed = int((table["status"] != "ok").sum())
    print(f"wrote {chosen.output}: {len(table)} rows" + (f", {failed} unreadable (see status)" if failed else ""))
    if chosen.page:
        _ranking_page(table, chosen, predictor)


def _ranking_page(table: Any, chosen: argparse.Namespace, predictor: Any) -> None:
    """A page of the best candidates of a table of scores."""
    from mlensing.evaluation.page import shown_rows, write_page
    from mlensing.evaluation.report import rank_scores
    from mlensing.inference.evaluate import pictures
    from mlensing.inference.inputs import gather

    report = rank_scores(table["logit"], files=list(table["file"]), title="Candidates")
    items = gather(chosen.inputs, survey=chosen.survey, pixel_scale=chosen.pixel_scale)
    shown = [items[row] for rows in shown_rows(report).values() for row in rows]
    write_page(report, chosen.page, pictures(shown, predictor.contract))
    print(f"wrote {chosen.page}")


VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "simulate": simulate_verb,
    "prepare": prepare_verb,
    "train": train_verb,
    "train_live": train_live_verb,
    "evaluate": evaluate_verb,
    "predict": predict_verb,
}

EXAMPLES = {
    "simulate": ["--config configs/paper_synthetic.yaml --num_samples 1000 --output_dir data/simulated"],
    "prepare": ["--fits_dir my_images/ --output_dir data/processed --train_split 0.8"],
    "train": [
        "--config configs/baseline.yaml --data_dir data/processed",
        "--data_dir data/processed --resume lightning_logs/version_0/checkpoints/last.ckpt",
    ],
    "train_live": ["--mixture configs/release_sky.yaml --draws 40000 --composites 0.6"],
    "evaluate": ["--checkpoint lightning_logs/version_0/checkpoints/best.ckpt --data_dir data/processed/test/"],
    "predict": [
        "my_images/ --output scores.csv --page ranking.html",
        "a.fits b.png index.csv --survey cfhtls --prevalence 0.001 --output scores.parquet",
    ],
}


def parser() -> argparse.ArgumentParser:
    """The parser of the program itself, which only chooses the verb."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {(verb.__doc__ or '').splitlines()[0]}" for name, verb in VERBS.items()]
    lines += ["", "examples:"] + [f"  {PROGRAM} {name} {EXAMPLES[name][0]}" for name in VERBS]
    top = argparse.ArgumentParser(
        PROGRAM,
        usage=f"{PROGRAM} VERB ...   ({PROGRAM} VERB --help tells its options)",
        description="Find strong gravitational lenses in images.",
        epilog="\n".join(["verbs:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"{PROGRAM} {mlensing.__version__}")
    top.add_argument("verb", choices=list(VERBS), metavar="VERB", help="what to do")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 if it worked, 2 for a mistake in the input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verb = parser().parse_args(given[:1]).verb
    try:
        VERBS[verb](given[1:])
    except MLensingError as error:
        print(f"{PROGRAM} {verb}: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{PROGRAM} {verb}: error: {error}. Check the path, its permissions and the disk.", file=sys.stderr)
        return 2
    return 0


def _epilog(verb: str) -> str:
    return "\n".join(["examples:", *(f"  {PROGRAM} {verb} {example}" for example in EXAMPLES[verb])])


def _plain(verb: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        f"{PROGRAM} {verb}",
        description=VERBS[verb].__doc__,
        epilog=_epilog(verb),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch_size", type=int, default=64, help="images a step (default: %(default)s)")
    parser.add_argument("--views", type=int, choices=(1, 8), default=1, help="8 averages over flips and turns")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")


def signature_parser(verb: str, function: Callable[..., Any], *, config_file: bool = True) -> Any:
    """A parser whose flags, types and help are a function's arguments.

    Arguments:
        config_file: ``--config FILE`` gives defaults in YAML; otherwise ``config`` is the function's own argument.
    """
    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    class Formatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):  # type: ignore[misc]
        pass

    made = ArgumentParser(
        f"{PROGRAM} {verb}", description=VERBS[verb].__doc__, epilog=_epilog(verb), formatter_class=Formatter
    )
    if config_file:
        made.add_argument("--config", action="config", help="YAML file of the options below")
    made.add_function_arguments(function, as_positional=False)
    return made


def _parse(verb: str, function: Callable[..., Any], arguments: Sequence[str], *, config_file: bool = True) -> Any:
    chosen = signature_parser(verb, function, config_file=config_file).parse_args(list(arguments)).as_dict()
    if config_file:
        chosen.pop("config", None)
    return chosen


def _announce(best: Any) -> None:
    print(f"wrote {best}; next: {PROGRAM} evaluate --checkpoint {best} --data_dir .../test/")


def _print_report(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", "95 % interval", title=report.title)
    for name, estimate in report.metrics.items():
        table.add_row(name, f"{estimate.value:.4f}", f"{estimate.low:.4f} .. {estimate.high:.4f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
