"""The command line: chooses a verb, parses its options, runs it; heavy imports only inside the verb.

Flags, help and YAML keys of most verbs come from the signatures of the functions they call, so that they cannot drift
apart. A mistake of the user's is one line on standard error and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mlensing
from mlensing.errors import MLensingError
from mlensing.verbs import data, field, files, modelling, scoring, search, training
from mlensing.verbs.examples import EXAMPLES
from mlensing.verbs.options import PROGRAM, Options, signature_parser

VERBS: dict[str, Callable[[Options], None]] = {
    "simulate": data.simulate_verb,
    "simulate_clusters": data.simulate_clusters_verb,
    "prepare": data.prepare_verb,
    "pretrain": training.pretrain_verb,
    "train": training.train_verb,
    "train_live": training.train_live_verb,
    "train_semi": training.train_semi_verb,
    "train_maps": training.train_maps_verb,
    "add_maps": training.add_maps_verb,
    "sweep": training.sweep_verb,
    "evaluate": scoring.evaluate_verb,
    "eval_paper": scoring.eval_paper_verb,
    "ensemble": scoring.ensemble_verb,
    "predict": scoring.predict_verb,
    "similar": search.similar_verb,
    "next": search.next_verb,
    "census": scoring.census_verb,
    "map": field.map_verb,
    "model": modelling.model_verb,
    "export": files.export_verb,
    "card": files.card_verb,
    "push": files.push_verb,
    "pull": files.pull_verb,
    "realism": data.realism_verb,
}

PARSERS: dict[str, Callable[[], Any]] = {
    "simulate": data.simulate_parser,
    "simulate_clusters": partial(signature_parser, "simulate_clusters", "mlensing.simulate.clusters:simulate_clusters"),
    "prepare": partial(signature_parser, "prepare", "mlensing.data.prepare:prepare"),
    "pretrain": training.pretrain_parser,
    "train": partial(signature_parser, "train", "mlensing.training:fit"),
    "train_live": partial(signature_parser, "train_live", "mlensing.training:fit_live"),
    "train_semi": partial(signature_parser, "train_semi", "mlensing.training.fit_semi:fit_semi"),
    "train_maps": partial(signature_parser, "train_maps", "mlensing.training.maps:fit_maps"),
    "add_maps": partial(signature_parser, "add_maps", "mlensing.training.graft:add_maps"),
    "sweep": training.sweep_parser,
    "evaluate": scoring.evaluate_parser,
    "eval_paper": scoring.eval_paper_parser,
    "ensemble": scoring.ensemble_parser,
    "predict": scoring.predict_parser,
    "similar": search.similar_parser,
    "next": search.next_parser,
    "census": scoring.census_parser,
    "map": field.map_parser,
    "model": modelling.model_parser,
    "export": files.export_parser,
    "card": files.card_parser,
    "push": files.push_parser,
    "pull": files.pull_parser,
    "realism": data.realism_parser,
}
"""The parser of each verb's options; made when asked for, because making it imports what the verb runs."""


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
        VERBS[verb](options_of(verb, given[1:]))
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


def options_of(verb: str, arguments: Sequence[str]) -> Options:
    """What the arguments of a verb ask for."""
    made = PARSERS[verb]()
    made.description = VERBS[verb].__doc__
    made.files = [given for given in arguments if given.endswith((".yaml", ".yml"))]
    chosen = vars(made.parse_args(list(arguments)))
    return {key: value for key, value in chosen.items() if key != "config" or verb == "simulate"}


if __name__ == "__main__":
    sys.exit(main())
