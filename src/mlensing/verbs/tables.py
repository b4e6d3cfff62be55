"""Tables on the terminal."""

from __future__ import annotations

from typing import Any


def print_selection(record: dict[str, Any]) -> None:
    """Every candidate of an ensemble with its figures on validation data, and the choice in words."""
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


def print_table(frame: Any, title: str) -> None:
    """A data frame."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*frame.columns, title=title)
    for row in frame.itertuples(index=False):
        table.add_row(
            *("" if value != value else f"{value:.4g}" if isinstance(value, float) else str(value) for value in row)
        )
    Console().print(table)


def print_paper(content: dict[str, Any]) -> None:
    """Members and ensemble beside what the seed document claims."""
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


def print_report(report: Any) -> None:
    """The figures of a report with their intervals."""
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", "95 % interval", title=report.title)
    for name, estimate in report.metrics.items():
        table.add_row(name, f"{estimate.value:.4f}", f"{estimate.low:.4f} .. {estimate.high:.4f}")
    Console().print(table)


def print_census(found: Any) -> None:
    """The number of lenses of a survey with its interval, what it rests on, and what speaks against it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "", "estimate", "interval", title=f"{found.labelled} labelled lenses, {found.unlabelled} other images"
    )
    rows = {"lenses": found.number, "a square degree": found.density, "labelled share": found.c}
    for name, (value, low, high) in rows.items():
        if value == value:
            table.add_row(name, f"{value:.4g}", f"{low:.4g} .. {high:.4g}")
    Console().print(table)
    told = ", ".join(f"{name} {value:+.3g}" for name, value in found.propensity.items())
    print(f"log-odds of being labelled: {told}")
    print(f"Elkan & Noto, for comparison: {found.elkan_noto['number']:.4g} lenses, c {found.elkan_noto['c']:.3g}")
    print(*(f"Doubt: {doubt}" for doubt in found.doubts), sep="\n", end="\n" if found.doubts else "")
