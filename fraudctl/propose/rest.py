"""What becomes of the columns without a role: features as they are, ignored with a reason, or left out with one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from fraudctl.checks.drift import TimeDrift, TimeDrifts
from fraudctl.checks.leakage import Along, LeakageOutcomes
from fraudctl.checks.results import find_results
from fraudctl.data import tables, typed
from fraudctl.project.toml import key
from fraudctl.propose import names
from fraudctl.propose.afterwards import Fresh, known_afterwards
from fraudctl.propose.profile import ProfiledColumn, Table
from fraudctl.propose.roles import FEW_VALUES, Choice, Entity
from fraudctl.text.figures import percent

MAX_CATEGORIES = 300
MIN_PER_CATEGORY = 40
"""Text with more distinct values, or fewer rows for each, is no category: a model would learn values by heart."""
_CODES = frozenset(
    {"mcc", "code", "type", "category", "class", "kind", "country", "region", "zip", "channel", "status", "group"}
)
OWN_VALUES = "nearly every row has its own value"
"""Why a column is ignored that may have been known at the event."""
_LATER_TIMES = 0.05
"""Share of times after the event from which a column was written later."""


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
    times
        Times before the event, whose age at the event is a feature.
    drifts
        Those of ``raw`` whose values move with time.
    """

    raw: tuple[str, ...]
    categorical: tuple[str, ...]
    ignored: tuple[Choice, ...]
    unused: tuple[Choice, ...]
    times: tuple[str, ...] = ()
    drifts: tuple[TimeDrift, ...] = ()


NOTHING_LEFT = Remainder((), (), (), ())


@dataclass(frozen=True)
class KnownPast:
    """What columns are held against.

    Attributes
    ----------
    label
        Int8 1, 0 or null, shape ``(n_events,)`` in the order of the table.
    event_time
        µs UTC, the same shape; None where the data have none.
    amount
        The column with the amount; None without one.
    fresh
        Which events are young; None where that cannot be said.
    """

    label: pl.Series
    event_time: pl.Series | None = None
    amount: str | None = None
    fresh: Fresh | None = None


@dataclass(frozen=True)
class _Told:
    """What the values of one column say: why it must be ignored, or left out, and whether it moves with time."""

    ignored: str | None
    unused: str | None = None
    drift: TimeDrift | None = None


def sort_rest(table: Table, *, taken: set[str], ignore: tuple[str, ...], past: KnownPast) -> Remainder:
    """Sort every column outside ``taken`` into features, ignored and unused ones."""
    ignored = [Choice(name, "given by --ignore") for name in dict.fromkeys(ignore)]
    left = {item.name: item for item in table.columns.values() if item.name not in taken and item.name not in ignore}
    told = dict(table.values.each(list(left), partial(_look, columns=left, judge=_Judge(past))))
    after = _results(table, past, [item for item in left.values() if told[item.name].ignored is None])
    raw, categorical, unused, times = [], [], [], []
    for name, item in left.items():
        table.steps.begin("looking for leakage")
        found = told[name]
        reason = found.ignored or after.get(name)
        if reason is not None:
            ignored.append(Choice(name, reason))
        elif item.kind == "time" and found.unused is None:
            times.append(name)
        elif found.unused is not None:
            unused.append(Choice(name, found.unused))
        else:
            raw.append(name)
            categorical += [name] if _is_category(item) else []
    drifts = tuple(drift for name in raw if (drift := told[name].drift) is not None)
    return Remainder(tuple(raw), tuple(categorical), tuple(ignored), tuple(unused), tuple(times), drifts)


def with_entities(rest: Remainder, entities: tuple[Entity, ...], table: Table) -> Remainder:
    """Return the columns with the entities that are categories, too: text with few ids and many rows for each."""
    columns = [table.columns[item.column] for item in entities if not item.made]
    few = tuple(item.name for item in columns if item.kind == "text" and few_values(item, FEW_VALUES))
    return replace(rest, raw=(*rest.raw, *few), categorical=(*rest.categorical, *few))


class _Judge:
    """What is computed once for all columns."""

    def __init__(self, past: KnownPast) -> None:
        self.past = past
        self.outcomes = LeakageOutcomes(past.label)
        self.along = None if past.event_time is None else Along(past.event_time)
        self.drifts = None if past.event_time is None else TimeDrifts(past.event_time, past.label)


def _look(values: pl.Series, *, columns: dict[str, ProfiledColumn], judge: _Judge) -> _Told:
    """Judge one column by its values."""
    item = columns[values.name]
    reason = _too_wide(values) or _useless(item) or _named_as_role(item.name)
    if reason is None:
        reason = _suspicious(values, judge) or known_afterwards(item, values, judge.past.fresh)
    if reason is not None:
        return _Told(reason)
    if item.kind == "time":
        return _time(values, judge)
    if item.unique_share > 0.5 and item.n_unique > 1000 and item.kind == "text":
        return _Told(OWN_VALUES)
    unused = _not_now(item)
    return _Told(None, unused, None if unused or judge.drifts is None else judge.drifts.judge(values))


def _time(values: pl.Series, judge: _Judge) -> _Told:
    """Judge a second time: its age at the event is a feature where it lies before the event and can be read."""
    if judge.past.event_time is None:
        return _Told("a time, in data whose events have none: of no use as it stands")
    if not isinstance(values.dtype, pl.Datetime) and values.dtype != pl.Date:
        line = f'[data.types] {key(values.name)} = "time"'
        return _Told(None, f"a time in text: {line} reads it, and then its age may be a feature")
    times = tables.to_utc(values, timezone="UTC", role="a time")
    later = int((times > judge.past.event_time).sum()) / max(1, len(times) - times.null_count())
    if later > _LATER_TIMES:
        return _Told(f"{percent(later)} of its times lie after the event: written later, or not its past")
    age = (judge.past.event_time - times).dt.total_seconds()
    if judge.along is not None and judge.along.rises_or_falls(age):
        return _Told("its age at the event only counts along with time")
    return _Told(None)


def _results(table: Table, past: KnownPast, items: list[ProfiledColumn]) -> dict[str, str]:
    """Return the numbers that are another one plus or minus the amount, with the reason."""
    numbers = [item.name for item in items if item.dtype.is_numeric() and item.kind in {"whole", "number"}]
    if past.amount is None or len(numbers) < 2:
        return {}
    money = typed.to_amount(table[past.amount], part=True).alias(past.amount)
    return {item.after: item.words for item in find_results([table[name] for name in numbers], money, past.label)}


def _named_as_role(name: str) -> str | None:
    """Return why a column cannot be a feature whose name means something else in features and reports."""
    if name not in tables.ROLES:
        return None
    return f"the role {name} is another column, and features call it so: rename this one to use it"


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


def _suspicious(values: pl.Series, judge: _Judge) -> str | None:
    found = judge.outcomes.suspects(values)
    if found:
        return f"suspect, known only after the outcome? {found[0].words}"
    if judge.along is not None and judge.along.rises_or_falls(values):
        return "only counts along with time: its values in a later period were never seen in training"
    return None


def _not_now(column: ProfiledColumn) -> str | None:
    if column.kind == "text" and not few_values(column, MAX_CATEGORIES):
        return "too many distinct values for a category; a line in [entities] gives it a history"
    party = names.party(column.name)
    is_id = party is not None and (names.is_known_party(party) or column.n_unique > MAX_CATEGORIES)
    if is_id and column.kind == "whole":
        return "an id is neither a quantity nor a category; a line in [entities] gives it a history"
    return None


def few_values(column: ProfiledColumn, most: int) -> bool:
    """Say whether a column has at most so many values, with rows enough for each."""
    few_rows = column.n_unique * MIN_PER_CATEGORY > column.n_filled and column.n_unique > 30
    return column.n_unique <= most and not few_rows


def _is_category(column: ProfiledColumn) -> bool:
    if column.kind == "text":
        return True
    words = set(names.tokens(column.name))
    return column.kind == "whole" and column.n_unique <= MAX_CATEGORIES and bool(words & (_CODES | {"id"}))
