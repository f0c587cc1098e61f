"""Checks of tables of labels: whose entries they are, when they came, and what they say against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from fraudctl.checks.report import Finding, counted
from fraudctl.data.entries import entries_in
from fraudctl.data.labels import CHANGES, same_ids
from fraudctl.data.tables import collect, require_columns
from fraudctl.errors import FraudctlError
from fraudctl.project import Project
from fraudctl.text.figures import number, percent

MANY_ORPHANS = 0.2
"""Share of a table's entries that name no event, from which on it is a warning."""
_DAY = 86_400.0
_UTC = "are the times of both tables in one zone?"

Opened = Mapping[str, pl.LazyFrame | FraudctlError]
"""By name: a table of ``[labels]`` as `fraudctl.data.tables.scan` opens it, or why it cannot be opened."""


@dataclass(frozen=True)
class ReadTables:
    """The entries of tables of labels: ``event_id``, ``time``, ``label`` (null: none, or says nothing), by table."""

    tables: dict[str, pl.DataFrame]
    trouble: tuple[Finding, ...]

    def entries(self) -> pl.DataFrame | None:
        """Return the entries of all tables that say something, with ``table``; None where one could not be read."""
        if self.trouble or not self.tables:
            return None
        found = [table.with_columns(pl.lit(name).alias("table")) for name, table in self.tables.items()]
        if len({table.schema["event_id"] for table in found}) > 1:
            found = [table.with_columns(pl.col("event_id").cast(pl.String)) for table in found]
        return pl.concat(found).drop_nulls()


def read_label_tables(project: Project, opened: Opened) -> ReadTables:
    """Read tables of labels; what cannot be read becomes a finding instead of an exception."""
    tables: dict[str, pl.DataFrame] = {}
    trouble: list[Finding] = []
    for name, raw in opened.items():
        section, what = project.labels.tables[name], f"[labels.{name}]"
        try:
            if isinstance(raw, FraudctlError):
                raise raw
            require_columns(section.columns, raw.collect_schema(), where=what)
            frame = collect(raw.select(list(dict.fromkeys(section.columns))), files=[what])
            tables[name] = entries_in(frame, section, what=what, timezone=project.data.timezone)
        except FraudctlError as error:
            trouble.append(Finding("labels-unreadable", "error", f"labels.{name}", error.message, hint=error.hint))
    return ReadTables(tables, tuple(trouble))


def delays_of(entries: pl.DataFrame, events: pl.DataFrame) -> pl.Series:
    """Return after how many seconds each event was first known as fraud by an entry, of the events that were.

    Parameters
    ----------
    events
        ``event_id`` and ``event_time``.
    """
    found = _joined(entries, events).filter(pl.col("label") == 1)
    first = found.group_by("row").agg((pl.col("time") - pl.col("event_time")).min().alias("delay"))
    return first["delay"].dt.total_seconds().clip(lower_bound=0)


def check_label_tables(read: ReadTables, events: pl.DataFrame, labels: pl.DataFrame) -> Iterator[Finding]:
    """Find entries of no event, before their event, at one instant, and labels that were taken back.

    Parameters
    ----------
    events
        ``event_id`` and ``event_time`` of all events.
    labels
        What `fraudctl.data.labels.resolved` made of all entries.
    """
    yield from read.trouble
    until = events["event_time"].max()
    for name, table in read.tables.items():
        yield from _one_table(f"labels.{name}", table, events, until)
    entries = read.entries()
    if entries is None:
        return
    found = _joined(entries, events)
    at = found.group_by("row", "time").agg(pl.len().alias("n"), pl.col("label").n_unique().alias("n_labels"))
    n_same = int((at["n"] > 1).sum())
    n_conflicts = int((at["n_labels"] > 1).sum())
    if n_same:
        what = f"{counted(n_same, 'instant')} at which an event has more than one entry"
        what += f", {n_conflicts:,} of them with both outcomes: fraud counts"
        counts: dict[str, float] = {"n_instants": n_same, "n_conflicts": n_conflicts}
        yield Finding("labels-one-instant", "warning" if n_conflicts else "info", "labels", what, counts)
    yield from _reversals(labels)


def _one_table(where: str, table: pl.DataFrame, events: pl.DataFrame, until: object) -> Iterator[Finding]:
    said = table.drop_nulls("label")
    n_silent = table.height - said.height
    if n_silent:
        what = f"{counted(n_silent, 'entry', 'entries')} without an outcome: they change nothing"
        yield Finding("labels-silent", "info", where, what, {"n_rows": n_silent})
    if said.is_empty():
        yield Finding("labels-empty", "warning", where, "the table has no entry with an outcome", {"n_rows": 0})
        return
    found = _joined(said.drop_nulls("event_id"), events)
    n_orphans = said.height - found["entry"].n_unique()
    if n_orphans:
        many = n_orphans > MANY_ORPHANS * said.height
        what = (
            f"{n_orphans:,} of {counted(said.height, 'entry', 'entries')} name no event of the data: they are left out"
        )
        hint = "do both tables write the id in one way?" if many else None
        yield Finding("labels-orphans", "warning" if many else "info", where, what, {"n_rows": n_orphans}, hint)
    n_early = int((found["time"] < found["event_time"]).sum())
    if n_early:
        what = f"{counted(n_early, 'entry', 'entries')} dated before the event: they count from the event on"
        yield Finding("labels-early", "warning", where, what, {"n_rows": n_early}, _UTC)
    n_later = int((found["time"] > until).sum())
    if n_later:
        what = f"{counted(n_later, 'entry', 'entries')} later than the latest event: they do not count yet"
        yield Finding("labels-later", "info", where, what, {"n_rows": n_later})
    if found.height:
        days = (found["time"] - found["event_time"]).dt.total_seconds() / _DAY
        middle, late = (float(days.quantile(q, "linear") or 0.0) for q in (0.5, 0.95))
        n_fraud = int((found["label"] == 1).sum())
        share = percent(n_fraud / found.height)
        what = f"{counted(found.height, 'entry', 'entries')} of events, {share} fraud; "
        what += f"half come within {number(middle)} days, 95 % within {number(late)} days"
        figures = {"n_rows": float(found.height), "n_frauds": n_fraud, "p50_days": middle, "p95_days": late}
        yield Finding("labels-delay", "info", where, what, figures)


def _reversals(labels: pl.DataFrame) -> Iterator[Finding]:
    changed = labels.drop_nulls(CHANGES)
    if changed.is_empty():
        return
    taken_back = changed[CHANGES].list.eval(
        ((pl.element().struct.field("label") == 0) & (pl.element().struct.field("label").shift(1) == 1)).any()
    )
    n_back = int(taken_back.list.first().fill_null(value=False).sum())
    late = changed.height - n_back
    what = f"{counted(changed.height, 'event')} whose label was changed: {n_back:,} known as fraud and taken back"
    what += f", {late:,} legitimate first and reported later"
    yield Finding("labels-changed", "info", "labels", what, {"n_rows": changed.height, "n_taken_back": n_back})


def _joined(entries: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Return the entries of events, with the number of the event and of the entry."""
    keyed = events.select("event_id", "event_time").drop_nulls().with_row_index("row")
    same = entries.with_columns(same_ids(entries["event_id"], keyed.schema["event_id"])).with_row_index("entry")
    return same.join(keyed.unique("event_id", keep="first", maintain_order=True), on="event_id", how="inner")
