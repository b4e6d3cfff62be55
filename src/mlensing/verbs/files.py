"""What carries finders elsewhere: export, card, push, pull.

Each verb takes its parsed options, imports what it needs, and prints what it wrote.
"""

from __future__ import annotations

import argparse
from typing import Any

from mlensing.verbs.options import PROGRAM, Options, Parser, signature_parser, words


def export_verb(options: Options) -> None:
    """Write a finder, or an ensemble's members, as ONNX files, in int8 where that costs little."""
    from mlensing.inference.export import export

    print(*(f"wrote {path}" for path in export(**options)), sep="\n")


def export_parser() -> Any:
    """Options of ``export``."""
    made = signature_parser("export", "mlensing.inference.export:export", skip=("checkpoint",))
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="a finder, or an ensemble's folder")
    return made


def card_verb(options: Options) -> None:
    """Write the model card of an ensemble, made of its reports."""
    from mlensing.inference.card import write_card

    print(f"wrote {write_card(**options)}")


def card_parser() -> argparse.ArgumentParser:
    """Options of ``card``."""
    made = Parser(f"{PROGRAM} card", **words("card", argparse.RawDescriptionHelpFormatter))
    made.add_argument("folder", metavar="FOLDER", help="an ensemble's; the card is its README.md")
    made.add_argument("--name", required=True, help="head of the card, such as me/lens-finder")
    made.add_argument("--report", required=True, help="report.json of evaluate on simulated images")
    made.add_argument("--real_report", help="report.json on real images")
    made.add_argument("--about", help="file of Markdown that the card opens with, such as words on its data")
    return made


def push_verb(options: Options) -> None:
    """Upload an ensemble to a model hub, with a card made of its reports."""
    from mlensing.inference.hub import push

    print(f"wrote {push(**options)}")


def push_parser() -> argparse.ArgumentParser:
    """Options of ``push``."""
    made = Parser(f"{PROGRAM} push", **words("push", argparse.RawDescriptionHelpFormatter))
    made.add_argument("folder", metavar="FOLDER", help="an ensemble's")
    made.add_argument("repo_id", metavar="REPO_ID", help="of the hub, such as me/lens-finder")
    made.add_argument("--report", help="report.json on simulated images, for the card (default: README.md in FOLDER)")
    made.add_argument("--real_report", help="report.json on real images, for the card")
    made.add_argument("--create", action="store_true", help="make the repository if it is not there")
    made.add_argument("--private", action="store_true", help="of a repository that is created")
    return made


def pull_verb(options: Options) -> None:
    """Fetch an ensemble from a model hub, and check it."""
    from mlensing.inference.hub import pull

    folder = pull(**options)
    print(f"wrote {folder}; next: {PROGRAM} predict my_images/ --checkpoint {folder}")


def pull_parser() -> argparse.ArgumentParser:
    """Options of ``pull``."""
    made = Parser(f"{PROGRAM} pull", **words("pull", argparse.RawDescriptionHelpFormatter))
    made.add_argument("repo_id", metavar="REPO_ID", help="of the hub, such as me/lens-finder")
    made.add_argument("--output_dir", required=True, help="folder to write")
    made.add_argument("--revision", help="branch, tag or commit (default: the newest)")
    return made
