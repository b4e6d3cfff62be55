"""What trains: pretrain, train, train_live, train_semi, train_maps, add_maps, sweep.

Each verb takes its parsed options, imports what it needs, and prints what it wrote.
"""

from __future__ import annotations

import inspect
from pkgutil import resolve_name
from typing import Any

from mlensing.verbs.options import PROGRAM, Options, signature_parser
from mlensing.verbs.tables import print_table


def pretrain_verb(options: Options) -> None:
    """Pretrain a network on images without labels; train --init takes it up."""
    from lightning.pytorch.utilities import rank_zero_only

    from mlensing.training.pretrain import pretrain

    best = pretrain(**options)
    rank_zero_only(print)(f"wrote {best}; next: {PROGRAM} train --init {best}, with the same model and options")


def pretrain_parser() -> Any:
    """Options of ``pretrain``."""
    made = signature_parser("pretrain", "mlensing.training.pretrain:pretrain", skip=("data",))
    help_of_data = "folders and index CSVs of images; labels in them are ignored"
    made.add_argument("--data", nargs="+", type=str, metavar="DIR", help=help_of_data)
    return made


def train_verb(options: Options) -> None:
    """Train a finder on prepared images."""
    from mlensing.training import fit

    _announce(fit(**options))


def train_live_verb(options: Options) -> None:
    """Train a finder on a simulated sky, with no files at all."""
    from mlensing.training import fit_live

    _announce(fit_live(**options))


def train_semi_verb(options: Options) -> None:
    """Train a finder on images of which only some have labels, with a mean teacher."""
    from mlensing.training.fit_semi import fit_semi

    _announce(fit_semi(**options))


def train_maps_verb(options: Options) -> None:
    """Train a network that maps the mass of lenses, on a simulated sky."""
    from lightning.pytorch.utilities import rank_zero_only

    from mlensing.training.maps import fit_maps

    rank_zero_only(print)(f"wrote {fit_maps(**options)}; mlensing.training.mapper.Mapper.load reads it")


def add_maps_verb(options: Options) -> None:
    """Give a trained finder a head that maps the mass of lenses; its scores stay what they are."""
    from mlensing.training.graft import add_maps

    _announce(add_maps(**options))


def sweep_verb(options: Options) -> None:
    """Train over ranges of settings: which are best, and how much each matters."""
    from mlensing.training.sweep import sweep

    own = {name: options.pop(name) for name in list(options) if name in inspect.signature(sweep).parameters}
    found = sweep(options, **own)
    print_table(found.results.drop(columns="checkpoint"), "trainings, figures of the validation split")
    if len(found.sensitivity):
        print_table(found.sensitivity, "each alone: ranges (percentage points), and what was claimed")
    shown = ", ".join(f"{name} {value:g}" for name, value in found.best["values"].items())
    print(f"best: {shown}: val_auroc {found.best['val_auroc']:.4f}, {found.best['checkpoint']}")
    print(f"wrote {own['output_dir']}/results.csv" + (" and sensitivity.csv" if len(found.sensitivity) else ""))


def sweep_parser() -> Any:
    """Options of ``sweep``: those of ``train``, and its own."""
    skip = ("log_dir", "resume", "monitor", "devices", "num_nodes", "strategy")
    made = signature_parser("sweep", "mlensing.training:fit", skip=skip)
    made.add_function_arguments(resolve_name("mlensing.training.sweep:sweep"), as_positional=False, skip={"base"})
    return made


def _announce(best: Any) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    rank_zero_only(print)(f"wrote {best}; next: {PROGRAM} evaluate --checkpoint {best} --data_dir .../test/")
