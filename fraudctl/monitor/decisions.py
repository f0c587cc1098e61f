"""Decisions as they were taken, and their outcomes as they come.

Owns one value, `LoggedDecisions`: each event once, with what was decided, by which model, and by what. It is read from
any Parquet of decisions (what `score -o` and the log of a state hold, or a file of one's own), completed from the
events of the project, and joined with labels. A column that no file has is null throughout and named; a file that
cannot be read, or rows that contradict each other, are errors: nothing is read in part.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import polars as pl

from fraudctl.data import tables, typed
from fraudctl.data.exposure import require_undamaged_files
from fraudctl.data.labels import CHANGES, same_ids
from fraudctl.errors import DataError
from fraudctl.policy.provenance import KINDS
from fraudctl.project import Project
from fraudctl.text.figures import count
from fraudctl.text.plain import shown, shown_all

COLUMNS: Final[dict[str, pl.DataType]] = {
    "event_time": tables.UTC_US,
    "amount": pl.Float64(),
    "y_prob": pl.Float64(),
    "action": pl.String(),
    "model": pl.String(),
    "policy": pl.String(),
    "decided_by": pl.String(),
    "control_group": pl.Boolean(),
    "exposure_prob": pl.Float64(),
}
"""Columns of decisions after ``event_id``, whose type is that of the ids (Int64 or String)."""
_REQUIRED: Final = ("y_prob", "action")
_FROM_EVENTS: Final = ("event_time", "amount", "control_group", "exposure_prob")


@dataclass(frozen=True)
class LoggedDecisions:
    """LoggedDecisions, each event once.

    Attributes
    ----------
    frame
        ``event_id`` and `COLUMNS`, shape ``(n_events, 10)``. ``y_prob`` and ``action`` are never null. ``decided_by``
        is the kind of provenance (`fraudctl.policy.provenance.KINDS`). After `with_events` also ``label``,
        ``label_time`` and, where labels were changed, `fraudctl.data.labels.CHANGES`; ``event_time`` is then never
        null, and rows are sorted by ``event_time``, then ``event_id``.
    files
        Where they come from.
    unknown
        Columns that no file states: null throughout.
    n_repeated
        Rows left out because an earlier one decided the same event.
    """

    frame: pl.DataFrame
    files: tuple[str, ...]
    unknown: tuple[str, ...]
    n_repeated: int = 0


def read_decisions(
    paths: Sequence[str | Path],
    project: Project,
    *,
    role: str = "champion",
    what: str = "DECISIONS",
) -> LoggedDecisions:
    """Read Parquet files of decisions.

    Columns are found by the names that `serve` and `score` write (``event_id``, ``probability`` or ``y_prob``,
    ``action``, ``model``, ...), else by those that the project's data use.

    Parameters
    ----------
    paths
        Files or patterns.
    role
        Of the rows of a log that holds champion and challenger.
    what
        What the files are called in messages.

    Raises
    ------
    DataError
        No such file, one that is damaged or lacks a column, a value that no decision can have, or two decisions of one
        event that differ.
    """
    files = tables.given_files(paths, what=what)
    require_undamaged_files(files)
    table = tables.scan(files)
    columns = table.collect_schema()
    known = list(dict.fromkeys([*_names(columns, project).values(), *(["role"] if "role" in columns else [])]))
    raw = tables.collect(table.select(known or pl.all()), files=files)
    return from_frame(raw, project, files=files, role=role)


def from_frame(
    raw: pl.DataFrame,
    project: Project,
    *,
    files: Sequence[str],
    role: str = "champion",
    first: bool = False,
) -> LoggedDecisions:
    """Return a raw table of decisions as the value; see `read_decisions`.

    Parameters
    ----------
    first
        Whether of two decisions of one event the first counts, as in a log, even where they differ.
    """
    where = tables.place(files)
    if "role" in raw.columns:
        raw = raw.filter(pl.col("role") == role)
    refuse_none(raw.height, where=where, role=role if "role" in raw.columns else None)
    names = read_names(raw.columns, project, where=where)
    frame = typed_decisions(raw, names, project, where=where)
    unique = frame.unique("event_id", keep="first", maintain_order=True)
    n_repeated = frame.height - unique.height
    if n_repeated and not first:
        refuse_contradictions(frame, where)
    unknown = tuple(name for name in COLUMNS if name not in names)
    return LoggedDecisions(unique, tuple(files), unknown, n_repeated)


def refuse_none(n_rows: int, *, where: str, role: str | None) -> None:
    """Refuse a log without a decision, of a role where it says one."""
    if n_rows == 0:
        msg = f"{where}: there are no decisions" + (f" of the {role}" if role is not None else "")
        raise DataError(msg, hint="name files that `fraudctl score -o` wrote, or the folder of a state")


def read_names(columns: Collection[str], project: Project, *, where: str) -> dict[str, str]:
    """Return the column of a table for each column of decisions that it has.

    Raises
    ------
    DataError
        A column without which there is no decision is missing.
    """
    names = _names(columns, project)
    missing = [name for name in ("event_id", *_REQUIRED) if name not in names]
    if missing:
        expected = ["probability" if name == "y_prob" else name for name in missing]
        msg = f"{where}: no column {shown_all(expected)}; expected decisions as `score` and `serve` write them"
        raise DataError(msg)
    return names


def typed_decisions(raw: pl.DataFrame, names: dict[str, str], project: Project, *, where: str) -> pl.DataFrame:
    """Return ``event_id`` and `COLUMNS` of a raw table in their types.

    Raises
    ------
    DataError
        An id is null, a column has another type, or a value is one that no decision can have.
    """
    frame = pl.DataFrame([_id(raw[names["event_id"]], where), *(_typed(raw, names, c, project) for c in COLUMNS)])
    _check_values(frame, where)
    return frame


def value_columns(columns: Collection[str], features: Collection[str]) -> dict[str, str]:
    """Return, for each feature whose values a log holds, the column that holds them."""
    from fraudctl.data.own import shown_beside

    own = (*COLUMNS, "event_id", "probability", "reasons", "role")
    found = {name: shown_beside(name, own) for name in features}
    return {name: column for name, column in found.items() if column in columns and column not in own}


def _names(columns: Collection[str], project: Project) -> dict[str, str]:
    """Return the column of the table for each column of decisions that it has."""
    data = project.data
    other = {
        "event_id": data.event_id, "event_time": data.event_time, "amount": data.amount, "y_prob": "probability",
        "control_group": data.control_group, "exposure_prob": data.exposure_prob,
    }  # fmt: skip
    wanted = {name: (name, other.get(name)) for name in ("event_id", *COLUMNS)}
    found = {name: next((item for item in given if item in columns), None) for name, given in wanted.items()}
    return {name: column for name, column in found.items() if column is not None}


def _id(values: pl.Series, where: str) -> pl.Series:
    ids = typed.to_id(values)
    if ids.null_count():
        msg = f"{where}: {count(ids.null_count(), 'decision')} without an event id"
        raise DataError(msg, hint="every decision names the event that it is of")
    return ids.alias("event_id")


def _typed(raw: pl.DataFrame, names: dict[str, str], name: str, project: Project) -> pl.Series:
    """Return a column in its type; null throughout where the table has none."""
    dtype = COLUMNS[name]
    if name not in names:
        return pl.Series(name, [None], dtype=dtype).new_from_index(0, raw.height)
    values = raw[names[name]]
    if name == "event_time":
        return tables.to_utc(values, timezone=project.data.timezone, role="event_time").alias(name)
    if name == "decided_by" and isinstance(values.dtype, pl.Struct):
        values = values.struct.field("kind")
    flags = name == "control_group" and values.dtype.is_integer() and values.is_in([0, 1]).all()
    fits = {
        pl.Float64(): values.dtype.is_numeric(), pl.Boolean(): values.dtype == pl.Boolean or flags,
        pl.String(): values.dtype == pl.String,
    }  # fmt: skip
    if not fits[dtype] and values.dtype != pl.Null:
        msg = f"decisions: column {shown(names[name])} is {values.dtype}; expected {dtype}"
        raise DataError(msg, hint="write decisions as `fraudctl score -o` does")
    return values.cast(dtype).alias(name)


def _check_values(frame: pl.DataFrame, where: str) -> None:
    """Refuse values that no decision can have."""
    kinds = frame["decided_by"].is_in(list(KINDS)) | frame["decided_by"].is_null()
    checks = (
        ("probability", "in [0, 1]", frame["y_prob"].is_between(0, 1).fill_null(value=False)),
        ("action", "the name of an action", (frame["action"] != "").fill_null(value=False)),
        ("decided_by", f"one of {', '.join(KINDS)}", kinds),
        ("exposure_prob", "in [0, 1] or null", frame["exposure_prob"].is_between(0, 1).fill_null(value=True)),
        ("amount", "finite or null", frame["amount"].is_finite().fill_null(value=True)),
    )
    for name, expected, sound in checks:
        if not sound.all():
            bad = int((~sound).sum())
            msg = f"{where}: {name} is not {expected} in {bad:,} of {frame.height:,} decisions"
            raise DataError(msg, hint="write decisions as `fraudctl score -o` does")


def refuse_contradictions(frame: pl.DataFrame, where: str) -> None:
    """Refuse decisions of one event that differ."""
    differing = frame.unique().group_by("event_id").len().filter(pl.col("len") > 1).height
    if differing:
        msg = f"{where}: {count(differing, 'event')} with two decisions that differ"
        raise DataError(msg, hint="name the files of one model, each event decided once")


def with_events(decisions: LoggedDecisions, events: pl.DataFrame, *, columns: Sequence[str] = ()) -> LoggedDecisions:
    """Complete decisions from the events of the project, and join what is known of their outcomes.

    What a decision states itself stands; what it does not state (time, amount, control group, exposure) comes from its
    event. A decision of an event that the data do not have keeps its row with an unknown outcome.

    Parameters
    ----------
    events
        ``event_id``, ``event_time``, where there are such ``amount``, ``control_group`` (Boolean) and
        ``exposure_prob`` (Float64), ``label``, ``label_time`` and `CHANGES`; each event once.
    columns
        Further columns of the events to join.

    Raises
    ------
    DataError
        A decision has no time, neither of its own nor of an event.
    """
    own = decisions.frame
    theirs = events.with_columns(same_ids(events["event_id"], own.schema["event_id"])).drop_nulls("event_id")
    outcome = [name for name in ("label", "label_time", CHANGES) if name in events.columns]
    stated = [name for name in _FROM_EVENTS if name in events.columns]
    more = [name for name in columns if name not in own.columns and name not in outcome]
    keep = theirs.select("event_id", *outcome, *more, *(pl.col(name).alias(f".{name}") for name in stated))
    joined = own.join(keep, on="event_id", how="left", maintain_order="left")
    filled = joined.with_columns(pl.coalesce(name, f".{name}").alias(name) for name in stated)
    frame = filled.drop([f".{name}" for name in stated])
    untimed = frame["event_time"].null_count()
    if untimed:
        msg = (
            f"{tables.place(decisions.files)}: {count(untimed, 'decision')} of events that [data] events does not have"
        )
        raise DataError(msg, hint="name the files of these events in [data] events, or add event_time to the decisions")
    unknown = tuple(name for name in decisions.unknown if name not in stated or frame[name].is_null().all())
    return replace(decisions, frame=frame.sort("event_time", "event_id"), unknown=unknown)
