"""What becomes of the columns without a role: features as they are, ignored with a reason, or left out with one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import polars as pl

from fraudctl.checks.leakage import Along, LeakageOutcomes
from fraudctl.propose import names
from fraudctl.propose.profile import ProfiledColumn, Table
from fraudctl.propose.roles import Choice

MAX_CATEGORIES = 300
MIN_PER_CATEGORY = 40
"""Text with more distinct values, or fewer rows for each, is no category: a model would learn values by heart."""
_CODES = frozenset(
    {"mcc", "code", "type", "category", "class", "kind", "country", "region", "zip", "channel", "status", "group"}
)


@dataclass(frozen=True)
class Remainder:
    """The columns without a role.

    Attributes
    ----------
    raw
        Columns that enter the model as they are.
    categorical
        Those of ``raw`` that are categories.
    ignored
        Columns that must never be a feature, with the reason.
    unused
        Columns that could be of use some day, with the reason why not now.
    """

    raw: tuple[str, ...]
    categorical: tuple[str, ...]
    ignored: tuple[Choice, ...]
    unused: tuple[Choice, ...]


def sort_rest(
    table: Table, *, taken: set[str], ignore: tuple[str, ...], label: pl.Series, event_time: pl.Series | None
) -> Remainder:
    """Sort every column outside ``taken`` into features, ignored and unused ones.

    Parameters
    ----------
    label
        Int8 1, 0 or null, shape ``(n_events,)`` in the order of the table.
    event_time
        µs UTC, the same shape; None where the data have none.
    """
    raw, categorical, unused = [], [], []
    ignored = [Choice(name, "given by --ignore") for name in dict.fromkeys(ignore)]
    left = [item for item in table.columns.values() if item.name not in taken and item.name not in ignore]
    along = None if event_time is None else Along(event_time)
    outcomes = LeakageOutcomes(label)
    told = table.values.each([item.name for item in left], partial(_reason, outcomes=outcomes, along=along))
    for item, (_, found) in zip(left, told, strict=True):
        table.steps.begin("looking for leakage")
        reason = _useless(item) or found or _never(item)
        if reason is not None:
            ignored.append(Choice(item.name, reason))
        elif (reason := _not_now(item)) is not None:
            unused.append(Choice(item.name, reason))
        else:
            raw.append(item.name)
            categorical += [item.name] if _is_category(item) else []
    return Remainder(tuple(raw), tuple(categorical), tuple(ignored), tuple(unused))


def _reason(values: pl.Series, *, outcomes: LeakageOutcomes, along: Along | None) -> str | None:
    return _too_wide(values) or _suspicious(values, outcomes, along)


def _too_wide(values: pl.Series) -> str | None:
    """Return why whole numbers beyond 64 bits with a sign cannot be used; hashes are written so."""
    if values.dtype not in (pl.UInt64, pl.Int128):
        return None
    narrow = values.cast(pl.Int64, strict=False)
    return "whole numbers beyond 63 bits, as hashes are" if narrow.null_count() > values.null_count() else None


def _useless(column: ProfiledColumn) -> str | None:
    if column.n_filled == 0:
        return "all null"
    if column.kind == "other":
        return f"{column.dtype}: of a type that no feature can use"
    if column.n_unique == 1 and not column.n_null:
        return "the same value in every row"
    return None


def _never(column: ProfiledColumn) -> str | None:
    if names.tells_outcome(column.name):
        return "its name says that it is known only after the outcome"
    if names.tells_decision(column.name):
        return "its name speaks of the decision on the event, which a score has to come before"
    if column.kind == "time":
        return "a time beside the event's own: of no use as it stands"
    if column.unique_share > 0.5 and column.n_unique > 1000 and column.kind == "text":
        return "nearly every row has its own value"
    return None


def _suspicious(values: pl.Series, outcomes: LeakageOutcomes, along: Along | None) -> str | None:
    found = outcomes.suspects(values)
    if found:
        return f"suspect, known only after the outcome? {found[0].words}"
    if along is not None and along.rises_or_falls(values):
        return "only counts along with time: its values in a later period were never seen in training"
    return None


def _not_now(column: ProfiledColumn) -> str | None:
    few_rows = column.n_unique * MIN_PER_CATEGORY > column.n_filled and column.n_unique > 30
    if column.kind == "text" and (column.n_unique > MAX_CATEGORIES or few_rows):
        return f"{column.n_unique:,} distinct values are too many for a category; --entity gives it a history"
    party = names.party(column.name)
    is_id = party is not None and (names.is_known_party(party) or column.n_unique > MAX_CATEGORIES)
    if is_id and column.kind in {"whole", "text"}:
        return "an id is neither a quantity nor a category; --entity gives it a history"
    return None


def _is_category(column: ProfiledColumn) -> bool:
    if column.kind == "text":
        return True
    words = set(names.tokens(column.name))
    return column.kind == "whole" and column.n_unique <= MAX_CATEGORIES and bool(words & (_CODES | {"id"}))
