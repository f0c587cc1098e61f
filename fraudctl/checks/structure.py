"""Checks of rows and columns: ids, duplicates, amounts, entities, types, nulls, constants."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

from fraudctl.checks.data import Data
from fraudctl.checks.report import Finding, Severity, counted
from fraudctl.data import tables, typed
from fraudctl.data.distinct import Tally, repeats
from fraudctl.data.exposure import CONTROL, EXPOSURE, exposure_of, read_exposure
from fraudctl.data.own import outside
from fraudctl.errors import DataError
from fraudctl.project import Project
from fraudctl.project.toml import key, quoted
from fraudctl.text.figures import percent
from fraudctl.weights import control_group, event_weights

ALMOST_UNIQUE = 0.9
DOMINANT = 0.2
MOSTLY_NULL = 0.9
MANY_CATEGORIES = 1_000
MANY_DUPLICATES = 0.01
MANY_REFUNDS = 0.05
MANY_NULL_AMOUNTS = 0.05
MANY_NULL_IDS = 0.5
_TELLING = 3
_FEW_COPIES = 0.02
"""Columns that are looked at first for copies of rows; where that leaves more rows, all columns are."""


def check_event_id(data: Data) -> Iterator[Finding]:
    """Find null ids, ids of differing rows, rows that repeat another in every column."""
    column = data.project.data.event_id
    if column not in data.schema:
        return
    ids = data[column]
    if ids.dtype.is_float() or not _is_id(ids):
        yield Finding("event-id-type", "error", column, f"is {ids.dtype}; expected integers or text")
        return
    n_empty = tables.n_empty(ids)
    if n_empty:
        what = f"{counted(n_empty, 'event id')} null or empty; expected every event to have one"
        yield Finding("event-id-null", "error", column, what, {"n_null": n_empty})
    repeated = ids.gather(data.repeated_ids).drop_nulls().unique()
    if len(repeated):
        yield from _duplicates(data, column, repeated)


def check_copies(data: Data) -> Iterator[Finding]:
    """Find rows that repeat another in every column but the id of the event."""
    if data.project.data.event_id not in data.schema:
        return
    n_copies = _n_copies(data, data.project.data.event_id)
    if not n_copies:
        return
    many = n_copies > MANY_DUPLICATES * data.n_rows
    what = f"{counted(n_copies, 'row')} ({percent(n_copies / data.n_rows, 1)}) repeat another in everything but the id"
    hint = "are they events, or was a file read twice under new ids? then leave the copies out"
    counts: dict[str, float] = {"n_rows": n_copies}
    yield Finding("copies", "warning" if many else "info", data.project.data.event_id, what, counts, hint)


def _n_copies(data: Data, own: str) -> int:
    """Return the rows that repeat an earlier one of another id in every column but the id and nested ones."""
    others = [name for name, dtype in data.schema.items() if name != own and not dtype.is_nested()]
    at = _maybe_copies(data, others)
    if not len(at):
        return 0
    rows = pl.DataFrame([data[name].gather(at) for name in data.schema if name == own or name in others])
    return rows.n_unique() - rows.n_unique(subset=others)


def _maybe_copies(data: Data, names: list[str]) -> pl.Series:
    """Return the rows that may be alike in these columns: all that are, and few others.

    Sums of hashes are compared, first of the columns with the most values, which tell nearly all rows apart.
    """
    telling = sorted(names, key=lambda name: -data.tally(name).n_unique)
    at, sums = pl.Series(range(0), dtype=pl.UInt32), np.zeros(data.n_rows, np.uint64)
    for group in (telling[:_TELLING], telling[_TELLING:]):
        for name in group:
            sums += data[name].hash(seed=zlib.crc32(name.encode())).to_numpy()
        at = pl.Series(repeats(pl.Series(sums)))
        if len(at) <= _FEW_COPIES * data.n_rows:
            break
    return at


def _is_id(ids: pl.Series) -> bool:
    try:
        typed.to_id(ids.head(0))
    except DataError:
        return False
    return True


def _duplicates(data: Data, column: str, repeated: pl.Series) -> Iterator[Finding]:
    rows = tables.collect(data.raw.filter(pl.col(column).is_in(repeated.implode())), files=[data.place])
    distinct = rows.unique()
    n_copies = rows.height - distinct.height
    n_differing = int(distinct[column].is_duplicated().sum())
    if n_differing:
        n_ids = distinct.filter(distinct[column].is_duplicated())[column].n_unique()
        what = f"{counted(n_ids, 'id')} stand for {n_differing:,} differing rows; expected one id to name one event"
        hint = "choose the column that names each event once, or repair the rows"
        yield Finding("event-id-conflict", "error", column, what, {"n_ids": n_ids, "n_rows": n_differing}, hint)
    if n_copies:
        many = n_copies > MANY_DUPLICATES * data.n_rows
        what = f"{counted(n_copies, 'row')} repeat another in every column; they are dropped"
        counts: dict[str, float] = {"n_rows": n_copies}
        twice = "is a delivery read twice?" if many else None
        yield Finding("duplicate-rows", "warning" if many else "info", column, what, counts, twice)


def check_amount(data: Data) -> Iterator[Finding]:
    """Find amounts that are no numbers, null, not finite, or negative."""
    column = data.project.data.amount
    if column is None or column not in data.schema:
        return
    values = data[column]
    try:
        amounts = typed.to_amount(values)
    except DataError as error:
        yield Finding("amount-unreadable", "error", column, error.message, hint=error.hint)
        return
    n_null = values.null_count()
    n_odd = amounts.null_count() - n_null
    if n_odd:
        what = f"{counted(n_odd, 'amount')} NaN or infinite; they are read as null"
        yield Finding("amount-not-finite", "warning", column, what, {"n_rows": n_odd})
    if n_null:
        many = n_null > MANY_NULL_AMOUNTS * len(values)
        what = f"{counted(n_null, 'amount')} null ({percent(n_null / len(values), 1)}); costs with a rate need one"
        yield Finding("amount-null", "warning" if many else "info", column, what, {"n_null": n_null})
    n_negative = int((amounts < 0).sum())
    if n_negative:
        many = n_negative > MANY_REFUNDS * len(values)
        what = f"{counted(n_negative, 'amount')} negative ({percent(n_negative / len(values), 1)}), taken as refunds"
        refunds = "sums and costs count them as negative; keep refunds in a table of their own, or check the sign"
        counts: dict[str, float] = {"n_rows": n_negative}
        yield Finding("amount-negative", "warning" if many else "info", column, what, counts, refunds if many else None)


def check_entities(data: Data) -> Iterator[Finding]:
    """Find entities without a history: almost unique, constant, mostly null, or ruled by one id."""
    for name, made in data.project.entities.items():
        where = f"{made.words} (entity {name})"
        try:
            ids = data.ids(name)
        except DataError as error:
            yield Finding("entity-unreadable", "error", where, error.message, hint=error.hint)
            continue
        if ids is not None:
            yield from _entity(where, len(ids), data.count(ids).tally if made.made else data.tally(made.column))
            if not made.made and ids.dtype == pl.String:
                yield from _padded(name, where, made.column, data.distinct_ids(name, ids))


def _padded(name: str, where: str, column: str, ids: pl.Series) -> Iterator[Finding]:
    """Find ids, each given once, that are another id but for spaces around them: one party is two then."""
    odd = ids.filter(ids.str.contains(r"^\s|\s$"))
    if not len(odd):
        return
    n_two = int(odd.str.strip_chars().is_in(ids.implode()).sum())
    what = (
        f"{counted(len(odd), 'id')} with spaces around, and so another id than without; {n_two:,} are there both ways"
    )
    doubled = column.replace('"', '""')
    sql = quoted(f'trim("{doubled}")')
    hint = f"[entities] {key(name)} = {{ sql = {sql} }}"
    severity: Severity = "warning" if n_two else "info"
    yield Finding("entity-spaces", severity, where, what, {"n_unique": len(odd), "n_both": n_two}, hint)


def _entity(where: str, n_rows: int, ids: Tally) -> Iterator[Finding]:
    n_null = ids.n_null
    if n_null:
        many = n_null > MANY_NULL_IDS * n_rows
        what = f"{counted(n_null, 'id')} null ({percent(n_null / n_rows, 1)}); those events have no history"
        yield Finding("entity-null", "warning" if many else "info", where, what, {"n_null": n_null})
    n_filled, n_unique = n_rows - n_null, ids.n_unique
    if n_unique <= 1:
        what = f"{'no id' if n_unique == 0 else 'one id'} in {n_rows:,} rows: a history of everything is no history"
        yield Finding("entity-constant", "warning", where, what, hint="remove the entity, or choose another column")
        return
    if n_unique > ALMOST_UNIQUE * n_filled and n_filled >= 20:
        what = f"{n_unique:,} ids in {n_filled:,} rows: almost every event is its id's first, and has no history"
        counts: dict[str, float] = {"n_unique": n_unique, "n_rows": n_filled}
        yield Finding("entity-unique", "warning", where, what, counts, "choose an id that comes back")
        return
    if n_unique > 5 and ids.largest > DOMINANT * n_filled:
        what = f"one id holds {percent(ids.largest / n_filled)} of {n_filled:,} rows: is it a stand-in for unknown?"
        counts = {"n_rows": ids.largest, "share": ids.largest / n_filled}
        yield Finding(
            "entity-dominant", "warning", where, what, counts, "write unknown ids as null; null never matches null"
        )


def check_columns(data: Data) -> Iterator[Finding]:
    """Find columns without content, features of a type that no model can use, and categories without end."""
    roles = data.role_of
    features = set(map(outside, data.project.features.raw))
    for name in data.schema:
        role = roles.get(name)
        if role in {None, "raw"} and not data.schema[name].is_nested():
            yield from _content(name, data.n_rows, data.tally(name), is_feature=name in features)
        if name in features and role == "raw":
            yield from _feature(name, data, is_category=name in data.project.features.categorical)


def _content(name: str, n_rows: int, values: Tally, *, is_feature: bool) -> Iterator[Finding]:
    severity: Severity = "warning" if is_feature else "info"
    n_null = values.n_null
    if n_null == n_rows:
        yield Finding(
            "constant-column", severity, name, "all null", {"n_null": n_null}, "remove it, or repair the data"
        )
    elif values.n_unique == 1 and not n_null:
        yield Finding(
            "constant-column", severity, name, "the same value in every row", hint="remove it, or repair the data"
        )
    elif is_feature and n_null > MOSTLY_NULL * n_rows:
        what = f"{percent(n_null / n_rows, 1)} null: there is little to learn from it"
        yield Finding("mostly-null", "warning", name, what, {"n_null": n_null})
    elif n_null:
        yield Finding(
            "nulls", "info", name, f"{counted(n_null, 'null')} ({percent(n_null / n_rows, 1)})", {"n_null": n_null}
        )


def _feature(name: str, data: Data, *, is_category: bool) -> Iterator[Finding]:
    dtype = data.schema[name]
    is_text = dtype in (pl.String, pl.Categorical) or isinstance(dtype, pl.Enum)
    if not (is_text or dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        what = f"is {dtype}; a feature has to be a number, a boolean or text"
        yield Finding(
            "feature-type", "error", name, what, hint="remove it from features.raw, or derive a number from it"
        )
    elif is_text and not is_category:
        what = f"is {dtype} but not listed in features.categorical"
        yield Finding("feature-type", "error", name, what, hint="list it in features.categorical, or remove it")
    elif is_category and (n_unique := data.tally(name).n_values) > MANY_CATEGORIES:
        what = f"{n_unique:,} distinct values: the model grows large and learns single values by heart"
        counts: dict[str, float] = {"n_unique": n_unique}
        yield Finding("many-categories", "warning", name, what, counts, "make it an entity, or group the values")


def check_weight(data: Data) -> Iterator[Finding]:
    """Find weights that are null, zero, negative or no numbers."""
    for column, error in _trouble(data, "weight", event_weights):
        yield Finding("weight-unusable", "error", column, error.message, hint=error.hint)


def check_exposure(data: Data) -> Iterator[Finding]:
    """Find probabilities of exposure that are none, and a control group that is neither true nor false."""
    for column, error in _trouble(data, "exposure_prob", event_weights):
        yield Finding("exposure-unusable", "error", column, error.message, hint=error.hint)
    for column, error in _trouble(data, "control_group", control_group):
        yield Finding("control-group-unusable", "error", column, error.message, hint=error.hint)


def check_decisions(data: Data) -> Iterator[Finding]:
    """Find decisions that cannot be read, are of other events, or are of blocked events that have become legitimate."""
    ids = data.event_ids
    if data.project.data.decisions is None or ids is None:
        return
    try:
        decided = read_exposure(data.project)
        found = exposure_of(ids["event_id"], data.project)
    except DataError as error:
        yield Finding("decisions-unusable", "error", "data.decisions", error.message, hint=error.hint)
        return
    kept = decided["event_id"].cast(pl.String).is_in(ids["event_id"].cast(pl.String).implode()).sum()
    if decided.height and not kept:
        what = f"none of {decided.height:,} decisions is of an event of the data: all events count alike"
        yield Finding("decisions-unmatched", "warning", "data.decisions", what, {"n_decisions": decided.height})
    if data.label is None:
        return
    n = int(((found[EXPOSURE] < 1) & ~found[CONTROL] & (data.label == 0)).sum())
    if n:
        what = f"{n:,} events were blocked, are outside of the control group, and have a legitimate outcome"
        hint = "where nobody has looked into them, their label is null: silence says nothing of a blocked event"
        yield Finding("blocked-legit", "warning", "data.decisions", what, {"n_events": n}, hint)


def _trouble(data: Data, role: str, read: Callable[[pl.DataFrame, Project], object]) -> Iterator[tuple[str, DataError]]:
    """Read the column of one role alone, and give what is wrong with it."""
    column = getattr(data.project.data, role)
    if column is None or column not in data.schema:
        return
    others = {"weight": None, "exposure_prob": None, "decisions": None}
    alone = data.project.data.model_copy(update={**others, role: column})
    try:
        read(data[column].to_frame(), data.project.model_copy(update={"data": alone}))
    except DataError as error:
        yield column, error
