"""How a verb gets its options: parsers made of signatures, or by hand, that tell a mistake in one line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pkgutil import resolve_name
from typing import Any, NoReturn

from mlensing.errors import ConfigError
from mlensing.verbs.examples import EXAMPLES

PROGRAM = "mlensing"
CHECKPOINT_HELP = "trained finders, or an ensemble's folder (default: the released ensemble)"
Options = dict[str, Any]
"""What a verb was asked for, by name."""


def words(verb: str, formatter: Any) -> dict[str, Any]:
    """Description and examples of a verb, for its parser."""
    epilog = "\n".join(["examples:", *(f"  {PROGRAM} {verb} {example}" for example in EXAMPLES[verb])])
    return {"epilog": epilog, "formatter_class": formatter}


class Parser(argparse.ArgumentParser):
    """Tells a mistake as every other is told, in one line; ``files`` are those it may stand in."""

    files: Sequence[str] = ()

    def error(self, message: str, *_: Any) -> NoReturn:
        """Say where the mistake is, what it is, and where to read on."""
        where, problem = " or ".join(("options", *self.files)), " ".join(message.split()).rstrip(".")
        raise ConfigError(where, problem, f"See {self.prog} --help.")


def signature_parser(verb: str, function: str, *, config_file: bool = True, skip: Sequence[str] = ()) -> Any:
    """A parser whose flags, types and help are the arguments of ``package.module:name``, but for those to ``skip``.

    With ``config_file``, ``--config FILE`` gives defaults in YAML; else ``config`` is the function's own argument.
    """
    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    formatter = type("Formatter", (argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter), {})
    parser = type("Parser", (ArgumentParser,), {"error": Parser.error, "files": ()})
    made: Any = parser(f"{PROGRAM} {verb}", **words(verb, formatter))
    if config_file:
        made.add_argument("--config", action="config", help="YAML file of the options below")
    made.add_function_arguments(resolve_name(function), as_positional=False, skip=set(skip))
    return made
