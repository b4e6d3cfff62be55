"""The card of an ensemble's folder, made of its reports."""

from __future__ import annotations

from pathlib import Path

from mlensing.errors import ConfigError
from mlensing.evaluation.card import model_card
from mlensing.evaluation.report import Report
from mlensing.inference.ensemble import Ensemble
from mlensing.provenance import replacing

CARD = "README.md"


def card_of(
    folder: str | Path, name: str, *, report: str | None = None, real_report: str | None = None, about: str = ""
) -> str:
    """What ``evaluation.card`` says of an ensemble, or the ``README.md`` that its folder has.

    Arguments:
        folder: an ensemble's, all of whose files are checked first.
        name: head of the card, such as ``me/lens-finder``; without a slash, of the package's own ensemble.
        report: ``report.json`` of ``mlensing evaluate`` on simulated images; None takes the folder's card.
        real_report: ``report.json`` on real images.
        about: Markdown that the card opens with.

    Raises:
        ConfigError: neither report nor README.md.
        ContractError: a folder that is no ensemble, or damaged.
    """
    if report is not None:
        ensemble = Ensemble.load(folder, "cpu")
        contracts = {member.key: member.contract for member in ensemble.members}
        real = Report.load(real_report) if real_report else None
        return model_card(name, contracts, ensemble.fusion, Report.load(report), real, about)
    if not (Path(folder) / CARD).is_file():
        problem = "no report and no README.md, so the card would have no figures"
        raise ConfigError(folder, problem, "Give --report report.json of mlensing evaluate.")
    return (Path(folder) / CARD).read_text()


def write_card(
    folder: str, *, name: str, report: str, real_report: str | None = None, about: str | None = None
) -> Path:
    """Write the card as ``README.md`` into the folder.

    Arguments:
        folder: an ensemble's, all of whose files are checked first.
        name: head of the card, such as ``me/lens-finder``; without a slash, of the package's own ensemble.
        report: ``report.json`` of ``mlensing evaluate`` on simulated images.
        real_report: ``report.json`` on real images.
        about: file of Markdown that the card opens with.

    Raises:
        ConfigError: as ``card_of``, or ``about`` cannot be read.
        ContractError: as ``card_of``.
    """
    try:
        opening = Path(about).read_text(encoding="utf-8") if about else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(about), f"not readable as text ({error})", "Give a file of Markdown.") from error
    card = card_of(folder, name, report=report, real_report=real_report, about=opening)
    with replacing(Path(folder) / CARD) as beside:
        beside.write_text(card)
    return Path(folder) / CARD
