"""Checks of other tables: can they be read, do ids and times meet those of the events, does a feature use them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

import polars as pl

from fraudctl.checks.data import Data
from fraudctl.checks.report import Finding, counted
from fraudctl.data import tables
from fraudctl.errors import DataError, FraudctlError
from fraudctl.features.batch.sources import normalise_source
from fraudctl.project.sources import SourceSection

FEW_MATCHES = 0.01
"""Share of a table's ids that should be ids of events, at least."""


def check_sources(
    data: Data,
    sources: Mapping[str, pl.LazyFrame | FraudctlError],
    *,
    used: Mapping[str, Collection[str]] | None,
    now: datetime | None,
) -> Iterator[Finding]:
    """Find what is wrong with the tables of ``[sources]``.

    Parameters
    ----------
    sources
        By name: the table as `fraudctl.data.tables.scan` opens it, or why it cannot be opened.
    used
        By name: the columns that features read; None where the features cannot be defined.
    now
        An aware instant; rows later than it are a finding. None leaves that check out.
    """
    for name, raw in sources.items():
        where = f"sources.{name}"
        if isinstance(raw, FraudctlError):
            yield Finding("source-unreadable", "error", where, raw.message, hint=raw.hint)
            continue
        section, columns = data.project.sources[name], [] if used is None else used.get(name, [])
        try:
            with tables.explained([f"[sources.{name}]"]):
                table = normalise_source(
                    raw, section, name=name, timezone=data.project.data.timezone, columns=list(columns), ordered=False
                )
        except DataError as error:
            yield Finding("source-unreadable", "error", where, error.message, hint=error.hint)
            continue
        yield from _table(data, where, section, table, now)
        if used is not None and name not in used:
            what = "no feature reads this table"
            yield Finding("source-unused", "info", where, what, hint="windows and lookups name it with `source`")


def _table(
    data: Data, where: str, section: SourceSection, table: pl.DataFrame, now: datetime | None
) -> Iterator[Finding]:
    if table.is_empty():
        yield Finding("source-empty", "warning", where, "the table has no rows", {"n_rows": 0})
        return
    for entity in section.entities:
        yield from _ids(data, f"{where}.entities.{entity}", entity, table[entity])
    yield from _times(data, where, section, table, now)


def _ids(data: Data, where: str, entity: str, theirs: pl.Series) -> Iterator[Finding]:
    try:
        own = data.ids(entity) if entity in data.project.entities else None
    except DataError:
        return  # `check_entities` reports it
    if own is None:
        return  # `missing-column` reports it
    if theirs.dtype != own.dtype:
        what = f"ids are {theirs.dtype} there and {own.dtype} in the events"
        yield Finding("source-id-type", "error", where, what, hint="write both as integers or both as text")
        return
    found = data.count(theirs)
    distinct = theirs.drop_nulls().unique() if found.texts is None else found.texts
    n_found = int(distinct.is_in(data.distinct_ids(entity, own).implode()).sum())
    counts: dict[str, float] = {"n_unique": len(distinct), "n_found": n_found}
    if not len(distinct):
        yield Finding("source-id-null", "warning", where, "all ids are null: no event finds a row", counts)
    elif n_found < FEW_MATCHES * len(distinct):
        what = f"{n_found:,} of its {counted(len(distinct), 'id')} are ids of events: features on it are nearly empty"
        hint = "is it the same id, written in the same way?"
        yield Finding("source-no-match", "warning", where, what, counts, hint)


def _times(
    data: Data, where: str, section: SourceSection, table: pl.DataFrame, now: datetime | None
) -> Iterator[Finding]:
    happened = table["event_time"]
    n_later = 0 if now is None else int((happened > now).sum())
    if n_later:
        what = f"{counted(n_later, 'row')} later than now"
        hint = "is the zone right? events do not see these rows yet"
        yield Finding("source-time-future", "warning", f"{where}.event_time", what, {"n_rows": n_later}, hint)
    if section.known_time is not None:
        n_late = int((table["usable_time"] > happened).sum())
        if not n_late:
            what = "never later than event_time: no row became known after it happened"
            yield Finding("source-known-time", "info", f"{where}.known_time", what)
    first, last = (None, None) if data.event_time is None else (data.event_time.min(), data.known_until)
    if not isinstance(first, datetime) or last is None:
        return
    n_seen = int((table["usable_time"] < last).sum())
    if not n_seen:
        what = "every row became known after the last event: no event sees any"
        hint = "are the times those of these rows, and the zone right?"
        yield Finding("source-times", "warning", where, what, {"n_rows": table.height}, hint)
    elif not int((happened >= first).sum()):
        what = "every row is older than the first event: a snapshot, of which windows within the data see nothing"
        yield Finding("source-times", "info", where, what, {"n_rows": table.height})
