"""New tables against what a model was trained on: columns checked and brought to their types, history before them.

Owns the documented treatment of data that is not quite the training data: a column that the model uses must be there
and hold what it held; whole numbers may stand for numbers, text for times; a label or label time that is missing is
unknown; columns that training never saw are left out and named.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fraudctl import tables
from fraudctl.errors import DataError
from fraudctl.project import Project
from fraudctl.scoring.schema import DataSchema, fits, kind_of, require_columns


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
    """

    raw: pl.LazyFrame
    files: list[str]
    extra: tuple[str, ...]


def open_new(
    paths: Sequence[str | Path], project: Project, schema: DataSchema, *, carried: Collection[str], what: str
) -> NewTable:
    """Open Parquet or CSV files and check them against the data that the model was trained on.

    Parameters
    ----------
    carried
        Data columns that features, costs and rules use beside the roles.
    what
        What the files are called in messages.

    Raises
    ------
    DataError
        No such file, a column that is missing or of another type than in training.
    """
    files = tables.find_files(tuple(str(Path(path).resolve()) for path in paths), root=Path.cwd(), what=what)
    raw = tables.scan(files)
    with tables.explained(files):
        found = raw.collect_schema()
    data, place = project.data, files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    roles = [data.event_id, data.event_time, *([data.amount] if data.amount else []), *project.entities.values()]
    wanted = list(dict.fromkeys([*roles, *carried]))
    require_columns(found, wanted=wanted, known=schema.events, place=place)
    outcome = [name for name in (data.label, data.label_time) if name is not None]
    _refuse_types(found, schema, [*wanted, *(name for name in outcome if name in found)], place)
    columns = [_as_trained(name, found, schema) for name in dict.fromkeys([*wanted, *outcome])]
    extra = tuple(name for name in found if name not in schema.events)
    return NewTable(raw.select(columns), files, extra)


def _refuse_types(found: pl.Schema, schema: DataSchema, wanted: Collection[str], place: str) -> None:
    wrong = [name for name in wanted if not fits(found[name], schema.events[name])]
    if wrong:
        told = [f"{name!r} is {found[name]}; expected {kind_of(schema.events[name])}" for name in wrong]
        msg = f"{place}: {len(wrong)} columns are of another type than in training: {'; '.join(told[:5])}"
        raise DataError(msg, hint="write them as they were written for training")


def _as_trained(name: str, found: pl.Schema, schema: DataSchema) -> pl.Expr:
    """Give a column in the type of training; one that is missing (an outcome) as unknown."""
    expected = schema.events[name]
    if name not in found:
        return pl.lit(None, dtype=expected).alias(name)
    if isinstance(expected, pl.Unknown) or found[name] == expected or expected.is_temporal():
        return pl.col(name)
    return pl.col(name).cast(expected) if expected.is_numeric() or expected == pl.String else pl.col(name)


def events_of(history: NewTable | None, new: NewTable, project: Project, *, carried: Collection[str]) -> tables.Events:
    """Give history and new events as one normalised table.

    Raises
    ------
    DataError
        As `tables.normalise` does; a number that is not whole where training had whole ones.
    """
    parts = [new] if history is None else [history, new]
    files = [name for part in parts for name in part.files]
    raw = pl.concat([_timed(part, project) for part in parts], how="vertical_relaxed")
    return tables.normalise(raw, project=project, files=files, columns=carried, fingerprint="")


def _timed(part: NewTable, project: Project) -> pl.LazyFrame:
    """Give a table whose times are in UTC, so that text and timestamps can stand in one column."""
    data, schema = project.data, part.raw.collect_schema()
    columns = [(data.event_time, "event_time"), (data.label_time, "label_time")]

    def convert(name: str, role: str) -> pl.Expr:
        return pl.col(name).map_batches(
            lambda values: tables.to_utc(values, timezone=data.timezone, role=role), return_dtype=tables.UTC_US
        )

    known = [(name, role) for name, role in columns if name is not None and schema[name] != pl.Null]
    return part.raw.with_columns(convert(name, role) for name, role in known)


def ids_of(new: NewTable, project: Project) -> pl.Series:
    """Give the ids of the new events, each once, in the type of ``event_id``."""
    found = tables.collect(new.raw.select(project.data.event_id), files=new.files)[project.data.event_id]
    return tables.to_entity(found).unique().alias("event_id")
