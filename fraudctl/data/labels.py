"""What was known of an event's outcome, and when: the one value behind a label column and tables of labels.

Owns the history of labels. The label of an event changes at known instants: each change holds from its time until the
next one. ``label`` and ``label_time`` of a table hold one change. Where an event has several, the column `CHANGES`
holds them all, and the two columns the one that was known at the end of the data. What reads labels as of an instant
asks here.

- Entries of one event are sorted by time. An entry dated before its event counts from its event on.
- Of two entries at one instant, fraud counts.
- An entry that repeats what was known changes nothing: the label is known since the first of them.
- An event without an entry becomes legitimate when it is as old as the label delay, where silence says so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

UTC_US: Final = pl.Datetime("us", "UTC")
CHANGES: Final = ".label_changes"
"""Column with all changes of the label of an event, in the order of time; null where there is at most one."""
CHANGE_TYPE: Final = pl.List(pl.Struct({"time": UTC_US, "label": pl.Int8()}))
DECLINED: Final = "declined"
"""Field of an event that says whether it was declined."""
ENTRIES: Final[dict[str, pl.DataType]] = {"time": UTC_US, "label": pl.Int8()}
"""Columns of entries beside ``event_id``."""


_Time = TypeVar("_Time")


def timed(value: _Time | None) -> _Time:
    """Return a time or period that only data with an event_time have.

    Raises
    ------
    ValueError
        There is none: the caller has not asked before whether the data have a time.
    """
    if value is None:
        msg = "the data have no time"
        raise ValueError(msg)
    return value


@dataclass(frozen=True)
class LabelRule:
    """How labels that are in tables of their own are read.

    Attributes
    ----------
    by_silence
        Whether an event without an entry becomes legitimate after the label delay.
    declined
        Whether events say that they were declined: those never become legitimate by silence.
    """

    by_silence: bool
    declined: bool


def resolved(
    events: pl.DataFrame, entries: pl.DataFrame, *, delay_us: int, by_silence: bool, declined: pl.Series | None
) -> pl.DataFrame:
    """Compute the changes of the label of each event from entries.

    Parameters
    ----------
    events
        ``event_id`` and ``event_time``, shape ``(n_events, 2)``.
    entries
        ``event_id``, ``time`` (µs UTC) and ``label`` (1 or 0), none null, in any order; those of no event are left out.
    delay_us
        Age at which an event without an entry becomes legitimate, in µs.
    by_silence
        Whether it does.
    declined
        Events that do not, shape ``(n_events,)``.

    Returns
    -------
    ``label``, ``label_time`` (the last change, null where there is none) and `CHANGES`, shape ``(n_events, 3)``.
    """
    keyed = events.select("event_id", "event_time").with_row_index("row")
    entries = entries.with_columns(same_ids(entries["event_id"], events.schema["event_id"])).drop_nulls("event_id")
    found = (
        entries.join(keyed, on="event_id", how="inner")
        .with_columns(at=pl.max_horizontal("time", "event_time"))
        .sort("row", "time", "label")
        .unique(subset=["row", "at"], keep="last", maintain_order=True)
        .select("row", time="at", label="label")
    )
    if by_silence:
        found = _with_silence(keyed, found, delay_us, declined)
    new = (pl.col("label") != pl.col("label").shift(1).over("row")).fill_null(value=True)
    changes = found.sort("row", "time").filter(new)
    by_row = changes.group_by("row", maintain_order=True).agg(
        pl.col("label").last().alias("last"),
        pl.col("time").last().alias("since"),
        pl.len().alias("n"),
        pl.struct("time", "label").alias(CHANGES),
    )
    several = pl.when(pl.col("n") > 1).then(pl.col(CHANGES))
    return (
        keyed.select("row")
        .join(by_row, on="row", how="left", maintain_order="left")
        .select(
            pl.col("last").cast(pl.Int8).alias("label"),
            pl.col("since").cast(UTC_US).alias("label_time"),
            several.cast(CHANGE_TYPE).alias(CHANGES),
        )
    )


def same_ids(ids: pl.Series, kind: pl.DataType) -> pl.Series:
    """Return ids of another table in the type of the events' ids, null where none of the events can be meant.

    A text is a number only where it is written as one: "007" is not 7.
    """
    if ids.dtype == kind:
        return ids
    if kind == pl.String:
        return ids.cast(pl.String)
    numbers = ids.cast(kind, strict=False)
    return numbers.set(numbers.cast(pl.String) != ids, None)


def _with_silence(keyed: pl.DataFrame, found: pl.DataFrame, delay_us: int, declined: pl.Series | None) -> pl.DataFrame:
    """Add a legitimate change after the label delay to events that had no entry by then."""
    first = found.group_by("row").agg(pl.col("time").min().alias("first"))
    at = pl.col("event_time") + pl.duration(microseconds=delay_us)
    silent = keyed if declined is None else keyed.filter(~declined)
    silent = silent.select("row", at.alias("time")).join(first, on="row", how="left")
    silent = silent.filter(pl.col("first").is_null() | (pl.col("first") > pl.col("time")))
    added = silent.select("row", "time", pl.lit(0, dtype=pl.Int8).alias("label"))
    return pl.concat([found.select("row", "time", "label"), added])


def spells(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the label of each event by the time for which it was known.

    Parameters
    ----------
    frame
        ``label``, ``label_time`` and, where labels were changed, `CHANGES`.

    Returns
    -------
    ``row`` (UInt32, number of the event in the frame), ``label``, ``since`` and ``until`` (µs UTC): the label was known
    at instants in ``[since, until)``; ``until`` is null for the last. In the order of rows and times.
    """
    once = frame.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), "label", pl.col("label_time").alias("since")
    )
    once = once.with_columns(pl.lit(None, dtype=UTC_US).alias("until"))
    if CHANGES not in frame.columns:
        return once.filter(pl.col("label").is_not_null())
    several = frame.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), CHANGES).drop_nulls(CHANGES)
    single = once.filter(frame[CHANGES].is_null() & frame["label"].is_not_null())
    flat = several.explode(CHANGES).unnest(CHANGES).select("row", "label", since="time")
    flat = flat.with_columns(pl.col("since").shift(-1).over("row").alias("until"))
    return pl.concat([single, flat]).sort("row", "since")


def known_labels(frame: pl.DataFrame, at: datetime | None) -> npt.NDArray[np.int8]:
    """Return the label of each event as it was known at an instant; -1 where none was, shape ``(n_events,)``.

    Where the data have no time (None), every label is known.
    """
    if at is None:
        return frame["label"].fill_null(-1).to_numpy()
    if CHANGES not in frame.columns or not frame[CHANGES].count():
        known = (frame["label_time"] <= at).fill_null(value=False) & frame["label"].is_not_null()
        return frame["label"].fill_null(-1).set(~known, -1).to_numpy()
    found = spells(frame).filter(pl.col("since") <= at, (pl.col("until") > at) | pl.col("until").is_null())
    out = np.full(frame.height, -1, np.int8)
    out[found["row"].to_numpy()] = found["label"].to_numpy()
    return out


def as_known(frame: pl.DataFrame, at: datetime | None) -> pl.DataFrame:
    """Return the frame with ``label`` and ``label_time`` as they were known at an instant; as it is without one.

    Where several changes are known of an event, these are the last one by then, or the first one where none was known
    yet. A label that was known once stays as it is, whenever it was: its time says so.
    """
    if at is None or CHANGES not in frame.columns or not frame[CHANGES].count():
        return frame
    changes = pl.col(CHANGES)
    by_then = changes.list.filter(pl.element().struct.field("time") <= at)
    chosen = pl.coalesce(by_then.list.last(), changes.list.first())
    several = changes.is_not_null()
    return frame.with_columns(
        pl.when(several).then(chosen.struct.field("label")).otherwise("label").cast(pl.Int8).alias("label"),
        pl.when(several).then(chosen.struct.field("time")).otherwise("label_time").cast(UTC_US).alias("label_time"),
    )


def last_change(columns: Collection[str]) -> pl.Expr:
    """Return the time of the last change of the label of each event, as an expression on a table with these columns."""
    if CHANGES not in columns:
        return pl.col("label_time")
    return pl.coalesce(pl.col(CHANGES).list.last().struct.field("time"), pl.col("label_time"))


def last_label(columns: Collection[str]) -> pl.Expr:
    """Return the label of each event after its last change."""
    if CHANGES not in columns:
        return pl.col("label")
    return pl.coalesce(pl.col(CHANGES).list.last().struct.field("label"), pl.col("label"))


def ever_fraud(columns: Collection[str]) -> pl.Expr:
    """Return whether each event was known as fraud at any time."""
    fraud = pl.col("label") == 1
    if CHANGES not in columns:
        return fraud
    return fraud | pl.col(CHANGES).is_not_null()
