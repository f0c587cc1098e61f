"""New tables against what a model was trained on: columns checked and brought to their types, history before them.

Owns the documented treatment of data that is not quite the training data: a column that the model uses must be there
and hold what it held; whole numbers may stand for numbers, text for times; a label or label time that is missing is
unknown; columns that training never saw are left out and named.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from fraudctl.data import tables, typed
from fraudctl.data.identities import event_columns, flat
from fraudctl.data.labels import same_ids
from fraudctl.data.own import outside
from fraudctl.errors import DataError
from fraudctl.progress import Watch, unwatched
from fraudctl.project import Project
from fraudctl.scoring.schema import DataSchema, fits, kind_of, require_columns, time_column
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from fraudctl.documents.types import JsonObject
    from fraudctl.normal.form import Form
    from fraudctl.scoring.decider import Decider


@dataclass(frozen=True)
class NewTable:
    """A table that has been checked.

    Attributes
    ----------
    raw
        The columns that are used, in the types of training, under their own names.
    files
        Where it comes from.
    extra
        Columns that training never saw, left out.
    numbered
        Whether the ids are the numbers of the rows.
    """

    raw: pl.LazyFrame
    files: list[str]
    extra: tuple[str, ...]
    numbered: bool = False


def open_new(
    paths: Sequence[str | Path],
    project: Project,
    schema: DataSchema,
    *,
    carried: Collection[str],
    what: str,
    after: NewTable | None = None,
) -> NewTable:
    """Open Parquet or CSV files and check them against the data that the model was trained on.

    Parameters
    ----------
    carried
        Data columns, apart from roles, that features, costs and rules use.
    what
        What the files are called in messages.
    after
        Events before them: where rows are numbered, theirs go on from the largest id there.

    Raises
    ------
    DataError
        No such file, a column that is missing or of another type than in training.
    """
    files = tables.given_files(paths, what=what)
    raw, numbered = _with_ids(files, tables.form_to_score(project, schema.events), after)
    with tables.explained(files):
        found = raw.collect_schema()
    data, place = project.data, files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    roles = [
        data.event_id,
        time_column(project),
        *([data.amount] if data.amount else []),
        *flat(event_columns(project)),
    ]
    wanted = list(dict.fromkeys([*roles, *map(outside, carried)]))
    require_columns(found, wanted=wanted, known=schema.events, place=place)
    declined = project.labels.declined
    later = (data.label, data.label_time, None if declined is None else declined.column)
    outcome = [name for name in later if name is not None]
    _refuse_types(found, schema, [*wanted, *(name for name in outcome if name in found)], place)
    columns = [_as_trained(name, found, schema) for name in dict.fromkeys([*wanted, *outcome])]
    extra = tuple(name for name in found if name not in schema.events)
    return NewTable(raw.select(columns), files, extra, numbered)


def _with_ids(files: list[str], form: Form, after: NewTable | None) -> tuple[pl.LazyFrame, bool]:
    """Open files; where the project numbers rows, and they bring no ids of their own, number theirs; say whether."""
    if form.event_id is None or not form.event_id.row_number:
        return tables.scan(files, form=form), False
    raw, name = tables.scan(files, form=replace(form, event_id=None)), str(form.event_id)
    if name in raw.collect_schema():
        return raw, False
    last = 0 if after is None else tables.collect(after.raw.select(pl.col(name).max()), files=after.files).item() or 0
    return form.numbered(raw, after=last), True


def require_ids(new: NewTable, project: Project) -> None:
    """Raise a DataError where rows were numbered: a state has taken events whose numbers it does not know.

    The same file scored again, or another one, would have ids that others had before.
    """
    if not new.numbered:
        return
    name = shown(str(project.data.event_id))
    msg = (
        f"{tables.place(new.files)}: no column {name}, and a state cannot number rows: another file would have the "
        "same ids; expected an id for each event"
    )
    hint = (
        f"write whole numbers into a column {name}, larger than the number of rows in the history; or score the file "
        "with --history, which goes on numbering"
    )
    raise DataError(msg, hint=hint)


def _refuse_types(found: pl.Schema, schema: DataSchema, wanted: Collection[str], place: str) -> None:
    wrong = [name for name in wanted if not fits(found[name], schema.events[name])]
    if wrong:
        told = [f"{shown(name)} is {found[name]}; expected {kind_of(schema.events[name])}" for name in wrong]
        msg = f"{place}: {len(wrong)} columns are of another type than in training: {'; '.join(told[:5])}"
        raise DataError(msg, hint="write them as they were written for training")


def _as_trained(name: str, found: pl.Schema, schema: DataSchema) -> pl.Expr:
    """Return a column in the type of training; one that is missing (an outcome) as unknown."""
    expected = schema.events[name]
    if name not in found:
        return pl.lit(None, dtype=expected).alias(name)
    if isinstance(expected, pl.Unknown) or found[name] == expected or expected.is_temporal():
        return pl.col(name)
    return pl.col(name).cast(expected) if expected.is_numeric() or expected == pl.String else pl.col(name)


def events_of(
    history: NewTable | None,
    new: NewTable,
    project: Project,
    *,
    carried: Collection[str],
    entries: pl.DataFrame | None = None,
    watch: Watch = unwatched,
) -> tables.Events:
    """Return history and new events as one normalised table.

    Parameters
    ----------
    entries
        What `fraudctl.data.entries.load_entries` returns, where labels are in tables of their own.
    watch
        Called with the name of each step before it begins.

    Raises
    ------
    DataError
        As `tables.normalise` does; a number that is not whole where training had whole ones.
    """
    files = [name for part in (history, new) if part is not None for name in part.files]
    raw = raw_of(history, new, project)
    return tables.normalise(raw, project=project, files=files, columns=carried, entries=entries, watch=watch)


def raw_of(history: NewTable | None, new: NewTable, project: Project) -> pl.LazyFrame:
    """Return history and new events as one table under the data's own names, times in UTC."""
    parts = [new] if history is None else [history, new]
    return pl.concat([_timed(part, project) for part in parts], how="vertical_relaxed")


def _timed(part: NewTable, project: Project) -> pl.LazyFrame:
    """Return a table whose times are in UTC, so that text and timestamps can stand in one column."""
    data, schema = project.data, part.raw.collect_schema()
    columns = [(data.event_time, "event_time"), (data.label_time, "label_time")]

    def convert(name: str, role: str) -> pl.Expr:
        return pl.col(name).map_batches(
            lambda values: tables.to_utc(values, timezone=data.timezone, role=role), return_dtype=tables.UTC_US
        )

    known = [(name, role) for name, role in columns if name is not None and schema[name] != pl.Null]
    return part.raw.with_columns(convert(name, role) for name, role in known)


def ids_of(new: NewTable, project: Project) -> pl.Series:
    """Return the ids of the new events, each once, in the type of ``event_id``."""
    found = tables.collect(new.raw.select(project.data.event_id), files=new.files)[project.data.event_id]
    return typed.to_id(found).unique().alias("event_id")


def first_time(new: NewTable, project: Project) -> datetime | None:
    """Return the time of the earliest new event in UTC; None where there is none."""
    found = tables.collect(_timed(new, project).select(pl.col(time_column(project)).min()), files=new.files)
    value = found.to_series()[0]
    return value if isinstance(value, datetime) else None


def messages(
    new: NewTable, decider: Decider, *, entries: pl.DataFrame | None = None, after_us: int | None = None
) -> Iterator[JsonObject]:
    """Return the events and outcomes of a table as a stream would bring them, in the order of time.

    An outcome comes when it arrived (its label time, or the label delay after its event), before events of that
    instant; outcomes that arrive after the last event do not come.

    Parameters
    ----------
    entries
        What `fraudctl.data.entries.load_entries` returns, where labels are in tables of their own.
    after_us
        Of events that are not in the table, only entries known later than this come.
    """
    project, data = decider.project, decider.project.data
    frame = tables.collect(_timed(new, project), files=new.files)
    if frame.is_empty():
        return
    ids = typed.to_id(frame[data.event_id]).alias(".id")
    at = frame[time_column(project)].alias(".at")
    frame = frame.with_columns(ids, at).sort(".at", ".id")
    found = _outcomes(frame, project) if entries is None else _entry_messages(frame, entries, after_us)
    outcomes = iter(found)
    outcome = next(outcomes, None)
    declined = project.labels.declined
    more = [] if declined is None else [declined.column]
    events = frame.select(".at", *dict.fromkeys([*decider.reader.columns, *more]))
    for row in events.iter_rows(named=True):
        now = row.pop(".at")
        while outcome is not None and outcome[0] <= now:
            yield outcome[1]
            outcome = next(outcomes, None)
        yield {name: _as_json(value) for name, value in row.items()}


def _outcomes(frame: pl.DataFrame, project: Project) -> list[tuple[datetime, JsonObject]]:
    """Return the outcomes in a table by the time at which they arrived."""
    data = project.data
    if data.label is None:
        return []
    label = typed.to_label(frame[data.label], mapping=data.label_values)
    arrived = frame[".at"] + data.label_delay.timedelta
    if data.label_time is not None:
        stated = frame[data.label_time].cast(tables.UTC_US)
        arrived = stated.zip_with(stated.is_not_null(), arrived)
    known = pl.DataFrame({"id": frame[".id"], "value": frame[data.label], "at": arrived}).filter(label.is_not_null())
    return [
        (at, {"type": "label", "event_id": event_id, "label": _as_json(value), "label_time": at.isoformat()})
        for event_id, value, at in known.sort("at", "id").iter_rows()
    ]


def _entry_messages(
    frame: pl.DataFrame, entries: pl.DataFrame, after_us: int | None
) -> list[tuple[datetime, JsonObject]]:
    """Give entries of tables of labels by the time at which they were known."""
    known = entries.with_columns(same_ids(entries["event_id"], frame.schema[".id"])).drop_nulls("event_id")
    inside = pl.col("event_id").is_in(frame[".id"].implode())
    if after_us is not None:
        inside |= pl.col("time").dt.epoch("us") > after_us
    return [
        (at, {"type": "label", "event_id": event_id, "label": label, "label_time": at.isoformat()})
        for event_id, at, label in known.filter(inside).sort("time", "event_id", "label").iter_rows()
    ]


def _as_json(value: Any) -> Any:
    """Return a cell as JSON holds it: times as ISO 8601 text, floats that are not finite as null."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
