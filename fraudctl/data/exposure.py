"""Which events a control group let through, and how probable that was, as decisions that were logged say.

Owns the join of ``[data] decisions`` to events. An event that no such decision is of was let through for certain, as
far as is known: its probability is 1. Decisions of one event that contradict each other are errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from fraudctl.data import located, tables, typed
from fraudctl.data.labels import same_ids
from fraudctl.errors import DataError
from fraudctl.text.figures import count
from fraudctl.text.plain import shown, shown_all

if TYPE_CHECKING:
    from fraudctl.project import Project

EXPOSURE: Final = "exposure_prob"
CONTROL: Final = "control_group"
_COLUMNS: Final = ("event_id", EXPOSURE, CONTROL)
_HINT: Final = "name the folder decisions of a state of `fraudctl serve --control`"


def read_exposure(project: Project) -> pl.DataFrame:
    """Read what decisions say of exposure, each event once.

    Returns
    -------
    ``event_id``; ``exposure_prob`` (Float64, in [0, 1]); ``control_group`` (Boolean); none null. Decisions without an
    ``exposure_prob`` were taken without a control group, or by a challenger that did not answer, and are left out.

    Raises
    ------
    DataError
        The project names no decisions; a file that is missing, damaged or lacks a column; a value that none can have;
        decisions of one event that differ.
    """
    files = located.decision_files(project)
    require_undamaged_files(files)
    where = f"[data] decisions: {tables.place(files)}"
    parts = [_part(name) for name in files]
    found = pl.concat([part for part in parts if part.height] or parts[:1], how="vertical_relaxed")
    return _once(_checked(found, where), where)


def exposure_of(ids: pl.Series, project: Project) -> pl.DataFrame:
    """Return ``exposure_prob`` and ``control_group`` of events in the order of their ids, shape ``(n_events, 2)``.

    An event without such a decision has 1 and false. Raises as `read_exposure` does.
    """
    found = read_exposure(project)
    keyed = found.with_columns(same_ids(found["event_id"], ids.dtype).alias("event_id")).drop_nulls("event_id")
    joined = ids.alias("event_id").to_frame().join(keyed, on="event_id", how="left", maintain_order="left")
    return joined.select(pl.col(EXPOSURE).fill_null(1.0), pl.col(CONTROL).fill_null(value=False))


def require_undamaged_files(files: Sequence[str]) -> None:
    """Refuse files that are not what was written, as their names say; raises a DataError."""
    from fraudctl.disk.kept import DamagedError, require_undamaged
    from fraudctl.disk.stores import is_address

    for name in files:
        if is_address(name):  # a store verifies what it holds
            continue
        try:
            require_undamaged(Path(name))
        except DamagedError as error:
            raise DataError(str(error), hint="restore the file; without it the decisions are not complete") from error


def _part(name: str) -> pl.DataFrame:
    """Return the three columns of one file, typed by themselves: a state may hold a file without decisions."""
    raw = tables.scan([name])
    schema = raw.collect_schema()
    missing = [column for column in _COLUMNS if column not in schema]
    if missing:
        msg = f"[data] decisions: {tables.place([name])}: no column {shown_all(missing)}"
        raise DataError(msg, hint=_HINT)
    frame = tables.collect(raw.select(_COLUMNS), files=[name])
    kinds = {EXPOSURE: (frame.schema[EXPOSURE].is_numeric(), "numbers"),
             CONTROL: (frame.schema[CONTROL] == pl.Boolean, "true and false")}  # fmt: skip
    for column, (fits, expected) in kinds.items():
        if not fits and frame.schema[column] != pl.Null:
            what = f"column {shown(column)} is {frame.schema[column]}; expected {expected}"
            msg = f"[data] decisions: {tables.place([name])}: {what}"
            raise DataError(msg, hint=_HINT)
    ids = typed.to_id(frame["event_id"]).alias("event_id")
    return frame.with_columns(ids, pl.col(EXPOSURE).cast(pl.Float64), pl.col(CONTROL).cast(pl.Boolean))


def _checked(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Return the decisions that a control group was drawn for; refuse what none of them can say."""
    told = frame.filter(pl.col(EXPOSURE).is_not_null() | pl.col(CONTROL).fill_null(value=False))
    wrong = (
        ("the event id is null", told["event_id"].is_null()),
        (f"{EXPOSURE} is not in [0, 1]", ~told[EXPOSURE].is_between(0, 1).fill_null(value=False)),
    )
    for what, rows in wrong:
        if rows.any():
            msg = f"{where}: {what} in {count(int(rows.sum()), 'decision')}"
            raise DataError(msg, hint=_HINT)
    return told.with_columns(pl.col(CONTROL).fill_null(value=False))


def _once(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    unique = frame.unique(maintain_order=True)
    differing = unique.height - unique["event_id"].n_unique()
    if differing:
        again = unique.filter(pl.col("event_id").is_duplicated())["event_id"].n_unique()
        msg = f"{where}: {count(again, 'event')} with decisions that differ in {EXPOSURE} or {CONTROL}"
        raise DataError(msg, hint="name the decisions of one state, which decides each event once")
    return unique
