"""Tables of labels: reading ``[labels.NAME]`` into entries, each an event, an instant and what was known from then on.

What the entries of an event mean together is in `fraudctl.data.labels`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import polars as pl

from fraudctl.data import tables
from fraudctl.data.tables import collect, place, require_columns, scan, to_utc
from fraudctl.data.typed import to_id, to_label
from fraudctl.errors import DataError
from fraudctl.normal.form import Form
from fraudctl.project import Project
from fraudctl.project.labels import LabelTableSection, VerdictSection
from fraudctl.text.plain import shown


def form_of_labels(project: Project, name: str) -> Form:
    """Return the normal form of a table of ``[labels]``."""
    section = project.labels.tables[name]
    ids, clocks = frozenset({str(section.event_id)}), frozenset({section.time})
    return Form(section.reading, project.data.timezone, event_id=section.event_id, ids=ids, clocks=clocks)


def label_files(project: Project) -> dict[str, list[str]]:
    """Return the files of each table of ``[labels]``."""
    return {name: tables.label_files(project, name) for name in project.labels.tables}


def load_entries(project: Project, files: Mapping[str, Collection[str]] | None = None) -> pl.DataFrame | None:
    """Load the entries of all tables of ``[labels]``: ``event_id``, ``time`` (µs UTC), ``label`` (Int8), none null.

    Parameters
    ----------
    files
        Table -> its files; by default those of the project file.

    Returns
    -------
    Entries of no event (without an id) and those that say nothing are left out; None where labels are in a column.

    Raises
    ------
    DataError
        A table that is missing or unreadable, lacks a column, or has a time that is null or a label without a meaning.
    """
    if not project.labels.tables:
        return None
    found = label_files(project) if files is None else files
    parts = [_entries_of(project, name, found[name]) for name in project.labels.tables]
    kinds = {part.schema["event_id"] for part in parts}
    if len(kinds) > 1:
        parts = [part.with_columns(pl.col("event_id").cast(pl.String)) for part in parts]
    return pl.concat(parts)


def _entries_of(project: Project, name: str, files: Collection[str]) -> pl.DataFrame:
    section, what = project.labels.tables[name], f"[labels.{name}]"
    raw = scan(files, form=form_of_labels(project, name))
    require_columns(section.columns, raw.collect_schema(), where=f"{what}: {place(files)}")
    frame = collect(raw.select(list(dict.fromkeys(section.columns))), files=files)
    return entries_in(frame, section, what=what, timezone=project.data.timezone).drop_nulls()


def entries_in(frame: pl.DataFrame, section: LabelTableSection, *, what: str, timezone: str) -> pl.DataFrame:
    """Return the entries of a table of labels with null where they name no event or say nothing."""
    times = to_utc(frame[section.time], timezone=timezone, role=f"time of {what}")
    if times.null_count():
        msg = f"{what}: {times.null_count()} times are null in {shown(section.time)}"
        raise DataError(msg, hint="an entry counts from the instant at which it was known: give each its time")
    if isinstance(section.label, VerdictSection):
        where = f"{what} label.values"
        label = to_label(frame[section.label.column], mapping=section.label.values, where=where)
    else:
        label = pl.Series("label", [section.label], dtype=pl.Int8).new_from_index(0, frame.height)
    ids = to_id(frame[str(section.event_id)])
    return pl.DataFrame([ids.alias("event_id"), times.alias("time"), label.alias("label")])
