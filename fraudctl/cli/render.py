"""Results as tables for the terminal; the commands stay thin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from fraudctl.propose import Proposal


def plain_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> Table:
    """Give a table without frame; ``right`` names the columns that are aligned to the right, divided by spaces."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(
            name, justify="right" if name in right.split() else "left", header_style="dim", overflow="fold"
        )
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _text(cell: str) -> Any:
    """Show text as it is: names in data may look like markup."""
    from rich.text import Text

    return Text(cell)


def proposal_table(proposal: Proposal) -> Table:
    """Say what ``init`` proposes and why."""
    document = proposal.to_dict()
    rows = [(role, item["column"], item["reason"]) for role, item in document["roles"].items() if item]
    rows += [(f"entity {name}", item["column"], item["reason"]) for name, item in document["entities"].items()]
    rows += [("ignored", column, reason) for column, reason in document["ignored"].items()]
    rows += [("unused", column, reason) for column, reason in document["unused"].items()]
    return plain_table(None, ("role", "column", "why"), rows)


def feature_table(described: list[dict[str, Any]]) -> Table:
    """Say what each feature means and how it looks."""
    rows = (
        (
            item["name"],
            item["words"],
            item["interval"],
            f"{item['missing_rate']:.1%}",
            *(_figure(item[key]) for key in ("p01", "median", "p99")),
        )
        for item in described
    )
    return plain_table(
        None,
        ("feature", "meaning", "takes in", "missing", "p01", "median", "p99"),
        rows,
        right="missing p01 median p99",
    )


def _figure(value: Any) -> str:
    return "" if value is None else f"{value:,.4g}"
