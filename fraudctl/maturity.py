"""Which events may be judged with what is known at an instant, and which a block on known frauds would have kept out.

Owns maturity, and the instants that dates and local periods of a project stand for. What is trained and tested on which
of these events is laid out by `fraudctl.split`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import polars as pl

from fraudctl.data.labels import spells
from fraudctl.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fraudctl.project import Duration, Project

_FIRST_YEAR, _LAST_YEAR = 1900, 2200


def instant(value: datetime | date, *, timezone: str) -> datetime:
    """Return the UTC instant of a date (its local midnight) or of a time (local where it names no zone).

    >>> instant(date(2026, 6, 1), timezone="Europe/Berlin").isoformat()
    '2026-05-31T22:00:00+00:00'
    """
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        msg = f"the year {value.year} is out of range; expected {_FIRST_YEAR} to {_LAST_YEAR}"
        raise UsageError(msg)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value.tzinfo is None:
        value = value.replace(tzinfo=ZoneInfo(timezone))
    return value.astimezone(UTC)


def period_start(moment: datetime, per: Literal["day", "week"], timezone: str) -> datetime:
    """Return the instant at which the local day or week (from Monday) of a moment began.

    >>> from datetime import UTC
    >>> period_start(datetime(2026, 1, 1, 12, tzinfo=UTC), "week", "Europe/Berlin").isoformat()
    '2025-12-28T23:00:00+00:00'
    """
    day = moment.astimezone(ZoneInfo(timezone)).date()
    return instant(day if per == "day" else day - timedelta(days=day.weekday()), timezone=timezone)


def immature(frame: pl.DataFrame, *, label_delay: Duration, known_until: datetime | None) -> pl.Series:
    """Tell the events too young to be judged, or whose label arrives after ``known_until``.

    Without a time (``known_until`` is None) no event is young.

    Returns
    -------
    polars.Series
        Boolean, shape ``(n_events,)``: ``event_time + label_delay > known_until or label_time > known_until``.
    """
    if known_until is None:
        return pl.repeat(value=False, n=frame.height, eager=True).rename("immature")
    young = frame["event_time"] + label_delay.timedelta > known_until
    return (young | (frame["label_time"] > known_until).fill_null(value=False)).rename("immature")


def mature(frame: pl.DataFrame, *, label_delay: Duration, known_until: datetime | None) -> pl.Series:
    """Tell the labelled events that may be judged with what is known at ``known_until``.

    Returns
    -------
    polars.Series
        Boolean, shape ``(n_events,)``: labelled, ``event_time + label_delay <= known_until`` and
        ``label_time <= known_until``. Unlabelled events are never mature.
    """
    young = immature(frame, label_delay=label_delay, known_until=known_until)
    return (frame["label"].is_not_null() & ~young).rename("mature")


def known_blocked(frame: pl.DataFrame, *, entity: str, since: datetime, timezone: str) -> NDArray[np.bool_]:
    """Tell the events that a block on entities known to be defrauded would have kept out.

    Parameters
    ----------
    frame
        Rows with ``event_time``, ``label``, ``label_time`` and the entity; the earlier frauds must be among them.
    entity
        Entity that is blocked. A null value is never blocked.
    since
        Only frauds with ``event_time >= since`` block.
    timezone
        Zone that defines an event's day.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_events,)``: an event of the same entity value was known as fraud just before the event's local day
        began.
    """
    day = frame["event_time"].dt.convert_time_zone(timezone).dt.truncate("1d").dt.convert_time_zone("UTC")
    known = spells(frame).filter(pl.col("label") == 1)
    rows = frame.select(entity, "event_time").with_row_index("row")
    frauds = known.join(rows, on="row").filter((pl.col("event_time") >= since) & pl.col(entity).is_not_null())
    taken_back = frauds.filter(pl.col("until").is_not_null())
    if taken_back.is_empty():
        first = frauds.group_by(entity).agg(pl.col("since").min().alias("known_at"))
        found = frame.select(entity, day.alias("day")).join(first, on=entity, how="left", maintain_order="left")
        return (found["known_at"] < found["day"]).fill_null(value=False).to_numpy()
    steps = pl.concat(
        [frauds.select(entity, at="since", step=pl.lit(1)), taken_back.select(entity, at="until", step=pl.lit(-1))]
    )
    steps = steps.group_by(entity, "at").agg(pl.col("step").sum()).sort("at")
    steps = steps.with_columns(pl.col("step").cum_sum().over(entity).alias("n_known"))
    asked = frame.select(entity, day.dt.cast_time_unit("us").alias("day")).with_row_index("row").sort("day")
    found = asked.join_asof(
        steps, left_on="day", right_on="at", by=entity, strategy="backward", allow_exact_matches=False,
        check_sortedness=False,
    )  # fmt: skip
    return (found.sort("row")["n_known"].fill_null(0) > 0).to_numpy()


def block_since(project: Project, *, as_of: datetime, split_as_of: datetime, train_from: datetime) -> datetime:
    """Return the time from which frauds block, for the model or fold of ``as_of``.

    Without ``since`` that is the start of its own training period. An explicit ``since`` is meant for the project's
    ``as_of``; a fold looks back equally far from its own.
    """
    block = project.evaluate.block_known
    if block is None or block.since is None:
        return train_from
    return instant(block.since, timezone=project.data.timezone) - (split_as_of - as_of)
