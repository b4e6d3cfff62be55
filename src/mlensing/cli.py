"""The command line: one verb a function, heavy imports only inside the verb.

Flags, help and YAML keys of all verbs but ``predict`` come from the signatures of the functions they call, so that
they cannot drift apart. A mistake of the user's is one line on standard error and exit code 2.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NoReturn

import mlensing
from mlensing.errors import ConfigError, MLensingError

PROGRAM = "mlensing"
CHECKPOINT_HELP = "trained finders, or an ensemble's folder (default: the released ensemble)"


def simulate_verb(arguments: Sequence[str]) -> None:
    """Simulate lenses and impostors, or paint arcs on real images; with an index and their truth."""
    from mlensing.data.prepare import divide
    from mlensing.data.preview import write_preview
    from mlensing.painted import load_hosts
    from mlensing.simulate import Mixture, simulate

    options = _options("simulate", arguments)
    described = {name: options.pop(name) for name in ("hosts", "survey", "pixel_scale", "psf_fwhm", "stretch")}
    index = simulate(**options, hosts=load_hosts(Mixture.load(options["config"]), **described))
    divide(index, seed=options["seed"])
    write_preview(index, index.with_name("preview.png"))
    print(f"wrote {index}; next: {PROGRAM} train --config configs/baseline.yaml --data_dir {index.parent}")


def simulate_parser() -> Any:
    """Options of ``simulate``."""
    made = signature_parser("simulate", "mlensing.simulate:simulate", config_file=False, skip=("hosts",))
    made.add_function_arguments(resolve_name("mlensing.painted:load_hosts"), as_positional=False, skip={"mixture"})
    return made


def prepare_verb(arguments: Sequence[str]) -> None:
    """Divide a folder of images into training, validation and test sets."""
    from mlensing.data.prepare import prepare

    prepare(**_options("prepare", arguments))


def train_verb(arguments: Sequence[str]) -> None:
    """Train a finder on prepared images."""
    from mlensing.training import fit

    _announce(fit(**_options("train", arguments)))


def train_live_verb(arguments: Sequence[str]) -> None:
    """Train a finder on a simulated sky, with no files at all."""
    from mlensing.training import fit_live

    _announce(fit_live(**_options("train_live", arguments)))


def sweep_verb(arguments: Sequence[str]) -> None:
    """Train over ranges of settings: which are best, and how much each matters."""
    options = _options("sweep", arguments)
    from mlensing.training.sweep import sweep

    own = {name: options.pop(name) for name in list(options) if name in inspect.signature(sweep).parameters}
    found = sweep(options, **own)
    _print_table(found.results.drop(columns="checkpoint"), "trainings, figures of the validation split")
    if len(found.sensitivity):
        _print_table(found.sensitivity, "each alone: ranges (percentage points), and what was claimed")
    shown = ", ".join(f"{name} {value:g}" for name, value in found.best["values"].items())
    print(f"best: {shown}: val_auroc {found.best['val_auroc']:.4f}, {found.best['checkpoint']}")
    print(f"wrote {own['output_dir']}/results.csv" + (" and sensitivity.csv" if len(found.sensitivity) else ""))


def sweep_parser() -> Any:
    """Options of ``sweep``: those of ``train``, and its own."""
    skip = ("log_dir", "resume", "monitor", "devices", "num_nodes", "strategy")
    made = signature_parser("sweep", "mlensing.training:fit", skip=skip)
    made.add_function_arguments(resolve_name("mlensing.training.sweep:sweep"), as_positional=False, skip={"base"})
    return made


def evaluate_verb(arguments: Sequence[str]) -> None:
    """Measure a trained finder on a labelled set; write report.json and report.html."""
    options = _options("evaluate", arguments)
    from mlensing.evaluation.page import write_page
    from mlensing.inference import evaluate_split
    from mlensing.inference.ensemble import RELEASED

    folder, checkpoint = Path(options.pop("output_dir")), options.pop("checkpoint") or RELEASED
    report, images = evaluate_split(**options, checkpoint=checkpoint)
    report.save(folder / "report.json")
    write_page(report, folder / "report.html", images)
    _print_report(report)
    print(f"wrote {folder / 'report.html'} and report.json")


def evaluate_parser() -> Any:
    """Options of ``evaluate``."""
    made = signature_parser("evaluate", "mlensing.inference:evaluate_split", skip=("checkpoint",))
    made.add_argument("--checkpoint", nargs="+", help=CHECKPOINT_HELP)
    made.add_argument("--output_dir", default="results/evaluation", help="where to write")
    return made


def eval_paper_verb(arguments: Sequence[str]) -> None:
    """Measure every trained member and their ensemble on the paper's test split, beside what the seed claims."""
    options = _options("eval_paper", arguments)
    from mlensing.inference.paper import evaluate_paper

    _print_paper(evaluate_paper(**options))
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


def ensemble_verb(arguments: Sequence[str]) -> None:
    """Put trained finders together: calibrate each, choose members and rule on validation data."""
    options = _options("ensemble", arguments)
    from mlensing.inference.assemble import assemble

    chosen = assemble(**options)
    _print_selection(chosen.record)
    print(f"wrote {options['output_dir']}; next: {PROGRAM} predict my_images/ --checkpoint {options['output_dir']}")


def ensemble_parser() -> Any:
    """Options of ``ensemble``."""
    made = signature_parser("ensemble", "mlensing.inference.assemble:assemble", skip=("checkpoints",))
    made.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="trained finders")
    return made


def predict_verb(arguments: Sequence[str]) -> None:
    """Score images: files, folders and index CSVs; FITS, PNG, JPEG and npy mixed."""
    options = _options("predict", arguments)
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
        alike = {name: value for name, value in options.items() if name not in ("inputs", "members")}
        table = with_p_values(table, predictor.nonlens_logits(nonlenses, **alike), share)
    write_scores(table, output)
    failed = int((table["status"] != "ok").sum())
    print(f"wrote {output}: {len(table)} rows" + (f", {failed} unreadable (see status)" if failed else ""))
    if page:
        _ranking_page(table, page, predictor, options)


def predict_parser() -> argparse.ArgumentParser:
    """Options of ``predict``."""
    made = _Parser(f"{PROGRAM} predict", **_words("predict", argparse.RawDescriptionHelpFormatter))
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
    made.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    made.add_argument(
        "--backend", choices=("torch", "onnx", "int8"), default="torch", help="what runs it (default: %(default)s)"
    )
    return made


def export_verb(arguments: Sequence[str]) -> None:
    """Write a finder, or an ensemble's members, as ONNX files, in int8 where that costs little."""
    options = _options("export", arguments)
    from mlensing.inference.export import export

    print(*(f"wrote {path}" for path in export(**options)), sep="\n")


def export_parser() -> Any:
    """Options of ``export``."""
    made = signature_parser("export", "mlensing.inference.export:export", skip=("checkpoint",))
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="a finder, or an ensemble's folder")
    return made


def push_verb(arguments: Sequence[str]) -> None:
    """Upload an ensemble to a model hub, with a card made of its reports."""
    options = _options("push", arguments)
    from mlensing.inference.hub import push

    print(f"wrote {push(**options)}")


def push_parser() -> argparse.ArgumentParser:
    """Options of ``push``."""
    made = _Parser(f"{PROGRAM} push", **_words("push", argparse.RawDescriptionHelpFormatter))
    made.add_argument("folder", metavar="FOLDER", help="an ensemble's")
    made.add_argument("repo_id", metavar="REPO_ID", help="of the hub, such as me/lens-finder")
    made.add_argument("--report", help="report.json on simulated images, for the card (default: README.md in FOLDER)")
    made.add_argument("--real_report", help="report.json on real images, for the card")
    made.add_argument("--create", action="store_true", help="make the repository if it is not there")
    made.add_argument("--private", action="store_true", help="of a repository that is created")
    return made


def pull_verb(arguments: Sequence[str]) -> None:
    """Fetch an ensemble from a model hub, and check it."""
    options = _options("pull", arguments)
    from mlensing.inference.hub import pull

    folder = pull(**options)
    print(f"wrote {folder}; next: {PROGRAM} predict my_images/ --checkpoint {folder}")


def pull_parser() -> argparse.ArgumentParser:
    """Options of ``pull``."""
    made = _Parser(f"{PROGRAM} pull", **_words("pull", argparse.RawDescriptionHelpFormatter))
    made.add_argument("repo_id", metavar="REPO_ID", help="of the hub, such as me/lens-finder")
    made.add_argument("--output_dir", required=True, help="folder to write")
    made.add_argument("--revision", help="branch, tag or commit (default: the newest)")
    return made


def _ranking_page(table: Any, page: str, predictor: Any, options: dict[str, Any]) -> None:
    """A page of the best candidates of a table of scores."""
    from mlensing.data.gather import gather
    from mlensing.evaluation.page import shown_rows, write_page
    from mlensing.evaluation.report import rank_scores
    from mlensing.inference.evaluate import pictures

    report = rank_scores(table["logit"], files=list(table["file"]), flags=list(table["flag"]), title="Candidates")
    items = gather(options["inputs"], survey=options["survey"], pixel_scale=options["pixel_scale"])
    shown = [items[row] for rows in shown_rows(report).values() for row in rows]
    write_page(report, page, pictures(shown, predictor.contract))
    print(f"wrote {page}")


def realism_verb(arguments: Sequence[str]) -> None:
    """Try to tell simulated images from real ones, and say what gives them away."""
    options = _options("realism", arguments)
    from mlensing.inference.realism import picture_sky, realism, write_realism

    folder = options.pop("output_dir")
    if not options["real"]:
        chosen = {name: options[name] for name in ("simulated", "survey", "seed")}
        print(f"wrote {picture_sky(folder, **chosen)}; name --real images to compare with")
        return
    result, real, simulated = realism(**options)
    write_realism(folder, result, real, simulated)
    print(*result.summary(), sep="\n")
    if real.skipped:
        print(f"left out {len(real.skipped)} unreadable images (see realism.json)")
    print(f"wrote {folder}/realism.html, realism.json and mosaic.png (left: simulated, right: real)")


def realism_parser() -> argparse.ArgumentParser:
    """Options of ``realism``."""
    made = _Parser(f"{PROGRAM} realism", **_words("realism", argparse.RawDescriptionHelpFormatter))
    made.add_argument("--real", nargs="+", metavar="INPUT", help="files, folders, index CSVs; without: only a mosaic")
    made.add_argument("--simulated", required=True, metavar="MIXTURE", help="YAML file of the simulated sky")
    made.add_argument("--survey", help="preset of files whose header names none: lsst, des, cfhtls, ...")
    made.add_argument("--pixel_scale", type=float, help="of files that state none [arcsec/px]")
    made.add_argument("--classes", nargs="+", default=[], help="classes to compare: lens, nonlens, spiral, ...")
    made.add_argument("--stretch", type=int, help="which of the survey's colour stretches, from 0 (default: all)")
    made.add_argument("--checkpoint", help="a trained finder or an ensemble's folder (default: the released ensemble)")
    made.add_argument("--num_samples", type=int, default=256, help="simulated images (default: %(default)s)")
    made.add_argument("--resamples", type=int, default=500, help="of the bootstrap (default: %(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of sky and discriminators (default: %(default)s)")
    made.add_argument("--title", default="Realism", help="head of the page")
    made.add_argument("--output_dir", default="realism", help="where to write (default: %(default)s)")
    return made


VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "simulate": simulate_verb,
    "prepare": prepare_verb,
    "train": train_verb,
    "train_live": train_live_verb,
    "sweep": sweep_verb,
    "evaluate": evaluate_verb,
    "eval_paper": eval_paper_verb,
    "ensemble": ensemble_verb,
    "predict": predict_verb,
    "export": export_verb,
    "push": push_verb,
    "pull": pull_verb,
    "realism": realism_verb,
}

EXAMPLES = {
    "simulate": [
        "--config configs/paper_synthetic.yaml --num_samples 1000 --output_dir data/simulated",
        "--config configs/release_sky.yaml --hosts my_galaxies/ --survey des --num_samples 1000",
    ],
    "prepare": ["--fits_dir my_images/ --output_dir data/processed --train_split 0.8"],
    "train": [
        "--config configs/baseline.yaml --data_dir data/processed",
        "--data_dir data/processed --resume lightning_logs/version_0/checkpoints/last.ckpt",
    ],
    "train_live": ["--mixture configs/release_sky.yaml --draws 40000"],
    "sweep": [
        "--config configs/baseline.yaml --data_dir data/processed --trials 12 --max_epochs 9 --output_dir sweeps/a",
        "--data_dir data/processed --ranges '{lr: [1e-4, 1e-2]}' --points 0 --output_dir sweeps/b",
    ],
    "evaluate": ["--checkpoint lightning_logs/version_0/checkpoints/best.ckpt --data_dir data/processed/test/"],
    "eval_paper": [
        "--generate_figures",
        "--data_dir data/processed/test/ --checkpoints a/best.ckpt b/best.ckpt --output_dir results/mine",
    ],
    "ensemble": [
        "a/best.ckpt b/best.ckpt --data_dir data/processed/val/ --output_dir my_ensemble",
        "a/best.ckpt b/best.ckpt --mixture configs/release_sky.yaml --output_dir my_ensemble",
    ],
    "predict": [
        "my_images/ --output scores.csv --page ranking.html",
        "my_images/ --nonlenses my_random_galaxies/ --share 0.01",
        "a.fits b.png index.csv --survey cfhtls --prevalence 0.001 --output scores.parquet",
    ],
    "export": [
        "best.ckpt --output model.onnx",
        "my_ensemble/ --int8 true --mixture configs/release_sky.yaml",
    ],
    "push": ["my_ensemble/ me/lens-finder --report results/evaluation/report.json --create"],
    "pull": ["me/lens-finder --output_dir my_ensemble"],
    "realism": [
        "--real my_images/ --simulated configs/release_sky.yaml --survey cfhtls --classes nonlens",
        "--simulated configs/release_sky.yaml --survey legacy --output_dir pictures",
    ],
}


def parser() -> argparse.ArgumentParser:
    """The parser of the program itself, which only chooses the verb."""
    width = max(map(len, VERBS))
    lines = ["verbs:", *(f"  {name:<{width}}  {(verb.__doc__ or '').splitlines()[0]}" for name, verb in VERBS.items())]
    lines += ["", "examples:", *(f"  {PROGRAM} {name} {EXAMPLES[name][0]}" for name in VERBS)]
    top = argparse.ArgumentParser(
        PROGRAM,
        usage=f"{PROGRAM} VERB ...   ({PROGRAM} VERB --help tells its options)",
        description="Find strong gravitational lenses in images.",
        epilog="\n".join(lines),
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
    except (MLensingError, OSError) as error:
        remedy = "" if isinstance(error, MLensingError) else ". Check the path, its permissions and the disk."
        print(f"{PROGRAM} {verb}: error{_of_process()}: {error}{remedy}", file=sys.stderr)
        return 2
    return 0


def _of_process() -> str:
    """Which of several processes of one training this is; nothing for the first, or for the only one."""
    ranks = (os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))
    rank = next((rank for rank in ranks if rank is not None), "0")
    return "" if rank == "0" else f" (process {rank})"


def _words(verb: str, formatter: Any) -> dict[str, Any]:
    epilog = "\n".join(["examples:", *(f"  {PROGRAM} {verb} {example}" for example in EXAMPLES[verb])])
    return {"description": VERBS[verb].__doc__, "epilog": epilog, "formatter_class": formatter}


class _Parser(argparse.ArgumentParser):
    """Tells a mistake as every other is told, in one line; ``files`` are those it may stand in."""

    files: Sequence[str] = ()

    def error(self, message: str, *_: Any) -> NoReturn:
        where, problem = " or ".join(("options", *self.files)), " ".join(message.split()).rstrip(".")
        raise ConfigError(where, problem, f"See {self.prog} --help.")


def signature_parser(verb: str, function: str, *, config_file: bool = True, skip: Sequence[str] = ()) -> Any:
    """A parser whose flags, types and help are the arguments of ``package.module:name``, but for those to ``skip``.

    With ``config_file``, ``--config FILE`` gives defaults in YAML; else ``config`` is the function's own argument.
    """
    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    formatter = type("Formatter", (argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter), {})
    parser = type("Parser", (ArgumentParser,), {"error": _Parser.error, "files": ()})
    made: Any = parser(f"{PROGRAM} {verb}", **_words(verb, formatter))
    if config_file:
        made.add_argument("--config", action="config", help="YAML file of the options below")
    made.add_function_arguments(resolve_name(function), as_positional=False, skip=set(skip))
    return made


PARSERS: dict[str, Callable[[], Any]] = {
    "simulate": simulate_parser,
    "prepare": partial(signature_parser, "prepare", "mlensing.data.prepare:prepare"),
    "train": partial(signature_parser, "train", "mlensing.training:fit"),
    "train_live": partial(signature_parser, "train_live", "mlensing.training:fit_live"),
    "sweep": sweep_parser,
    "evaluate": evaluate_parser,
    "eval_paper": eval_paper_parser,
    "ensemble": ensemble_parser,
    "predict": predict_parser,
    "export": export_parser,
    "push": push_parser,
    "pull": pull_parser,
    "realism": realism_parser,
}
"""The parser of each verb's options; made when asked for, because making it imports what the verb runs."""


def _options(verb: str, arguments: Sequence[str]) -> dict[str, Any]:
    made = PARSERS[verb]()
    made.files = [given for given in arguments if given.endswith((".yaml", ".yml"))]
    chosen = vars(made.parse_args(list(arguments)))
    return {key: value for key, value in chosen.items() if key != "config" or verb == "simulate"}


def _announce(best: Any) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    rank_zero_only(print)(f"wrote {best}; next: {PROGRAM} evaluate --checkpoint {best} --data_dir .../test/")


def _print_selection(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = {"log_loss": "log loss", "roc_auc": "ROC AUC", "tpr_at_fpr_1e-2": "TPR at 1e-2", "ece": "ECE"}
    table = Table("rule", "members", *names.values(), title=f"validation, {record['images']} images")
    table.columns[0].no_wrap = True
    rows = [{"rule": "", "members": [key], **found} for key, found in record["members"].items()]
    for row in [*rows, *record["candidates"]]:
        table.add_row(row["rule"], ", ".join(row["members"]), *(f"{row[name]:.4f}" for name in names))
    Console().print(table)
    print(record["why"])


def _print_table(frame: Any, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*frame.columns, title=title)
    for row in frame.itertuples(index=False):
        table.add_row(
            *("" if value != value else f"{value:.4g}" if isinstance(value, float) else str(value) for value in row)
        )
    Console().print(table)


def _print_paper(content: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = {"accuracy": "accuracy", "roc_auc": "AUC", "tpr_at_fpr_1e-3": "TPR 1e-3",
             "tpr_at_fpr_1e-2": "TPR 1e-2", "ece": "ECE"}  # fmt: skip
    mark = "; a small set" if content["small"] else ""
    table = Table("", *names.values(), title=f"test split, {content['images']['measured']} images{mark}")
    for key, found in {**content["members"], "ensemble": content["ensemble"]}.items():
        table.add_row(key, *(f"{found[name]['value']:.4f}" for name in names))
    Console().print(table)
    for name, claim in content["claims"].items():
        measured = "-" if claim["measured"] is None else f"{claim['measured']['value']:.4f}"
        print(f"{name}: claimed {claim['claim']}, measured {measured}, {'' if claim['reached'] else 'not '}reached")


def _print_report(report: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", "95 % interval", title=report.title)
    for name, estimate in report.metrics.items():
        table.add_row(name, f"{estimate.value:.4f}", f"{estimate.low:.4f} .. {estimate.high:.4f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
