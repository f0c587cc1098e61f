"""Two versions of one table: what the later says was known by the end of the earlier, and the earlier did not have.

Whatever lies before the end of an earlier version (its latest event_time) should be the same in both: the same events,
at the same times, with the labels that were known by then. What is not was changed after the fact. Features computed
from the later version then hold what nobody could have known, and no test on that version alone can see it.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from fraudctl.data.labels import known_labels, spells
from fraudctl.data.tables import Events
from fraudctl.features.proof.audit import Suspect
from fraudctl.text.figures import count

_UNKNOWN = -1


def changed_afterwards(earlier: Events, later: Events) -> list[Suspect]:
    """Find events and labels that were changed after the fact.

    Parameters
    ----------
    earlier, later
        Two versions of the events of a project.

    Returns
    -------
    At most one for each of: events that are gone, events that came late (dated before the end of the earlier version,
    which lacks them), events that have another time, labels that are dated as known by then and were not, labels that
    were others, labels that are not dated as known by then any more, and labels with another label_time. ``value`` is
    the number of events as a share of those of the earlier version.
    """
    end = earlier.known_until
    before, after = _as_known(earlier.frame, end), _as_known(later.frame, end)
    both = before.join(after, on="event_id", how="inner", suffix=".later")
    was, now = pl.col("known"), pl.col("known.later")
    found = [
        ("event_id", "events_gone", before.join(after, on="event_id", how="anti"), "that it held are gone"),
        ("event_time", "events_late", after.filter(pl.col("event_time") < end).join(before, on="event_id", how="anti"),
         "that are dated before its end came after it: what was computed then did not see them"),
        ("event_time", "events_moved", both.filter(pl.col("event_time") != pl.col("event_time.later")),
         "that it held have another time now"),
        ("label_time", "labels_backdated", both.filter(was == _UNKNOWN, now != _UNKNOWN),
         "are dated as known by its end, and it does not have their label"),
        ("label", "labels_changed", both.filter(was != _UNKNOWN, now != _UNKNOWN, was != now),
         "had another label by its end than they are dated to have had"),
        ("label_time", "labels_lost", both.filter(was != _UNKNOWN, now == _UNKNOWN),
         "had a label by its end, which is dated later now"),
        ("label_time", "labels_retimed", both.filter(was == now, pl.col("since").ne_missing(pl.col("since.later"))),
         "have another time of their label than they had by its end"),
    ]  # fmt: skip
    return [
        Suspect(column, check, rows.height / before.height, f"{count(rows.height, 'event')} {words}")
        for column, check, rows, words in found
        if rows.height
    ]


def _as_known(frame: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Return id and time of each event, its label as known at an instant (-1 where none was), and since when."""
    known = pl.Series("known", known_labels(frame, at), dtype=pl.Int8)
    since = spells(frame).filter(pl.col("since") <= at).group_by("row").agg(pl.col("since").max())
    return (
        frame.select(pl.col("event_id").cast(pl.String), "event_time")
        .with_columns(known)
        .with_row_index("row")
        .join(since, on="row", how="left", maintain_order="left")
        .drop("row")
    )
