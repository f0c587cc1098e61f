"""Whether events and labels arrive as they should: events after later ones, and labels that name no event.

Owns two counts. The log of a state has events as they came, so that an event with an earlier time than one before it
came late: how many do is held against the weeks before. An entry of a table of labels that names no event of the data
is left out everywhere; where many do, ids are written in two ways, or events are missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from fraudctl.text.figures import count, percent
from fraudctl.text.sentences import sentence

LATE: Final = timedelta(hours=1)
"""An event that comes after one that is later by more is late."""
RECENT: Final = timedelta(days=7)
"""The latest time whose events are judged."""
BEFORE: Final = timedelta(days=28)
"""The time before it that says what is usual; with less than a week of it nothing is judged."""
LEAST_SHARE: Final = 0.01
"""Up to this share of late events is no alarm."""
LEAST: Final = 20
"""Nor are fewer late events, or entries of no event."""
TIMES: Final = 4.0
"""Nor are fewer than so many times as many as usual."""
LABELS_RECENT: Final = timedelta(days=28)
"""The latest time whose entries are judged."""
MANY_ORPHANS: Final = 0.2
"""Up to this share of entries that name no event is no alarm."""


@dataclass(frozen=True)
class LateEvents:
    """Events of the latest week of a log that came over an hour after later ones."""

    late: int
    """Events that did."""
    events: int
    """Events of the week."""
    late_before: int
    """Late events of the four weeks before it."""
    events_before: int
    """Events of the four weeks before it."""

    @property
    def unusual(self) -> bool:
        """Whether they are far more than usual."""
        share, before = self.late / max(self.events, 1), self.late_before / max(self.events_before, 1)
        return self.late >= LEAST and share > max(LEAST_SHARE, TIMES * before)


@dataclass(frozen=True)
class LabelOrphans:
    """Entries of tables of labels, of the latest four weeks, that name no event of the data."""

    orphans: int
    """Entries that name none."""
    entries: int
    """All entries of these weeks."""

    @property
    def unusual(self) -> bool:
        """Whether they are too many for single mistakes."""
        return self.orphans >= LEAST and self.orphans > MANY_ORPHANS * self.entries


def late_events(time: pl.Series, *, until: datetime) -> LateEvents | None:
    """Count late events; None with less than a week of a log before the latest one.

    Parameters
    ----------
    time
        ``event_time`` in the order in which events came.
    until
        Nothing later is known.
    """
    us = time.filter(time <= until).dt.epoch("us").to_numpy()
    if not len(us):
        return None
    end = int(pl.Series([until]).dt.epoch("us").item())
    week = end - RECENT // timedelta(microseconds=1)
    start = week - BEFORE // timedelta(microseconds=1)
    if us.min() > week - RECENT // timedelta(microseconds=1):
        return None
    late = np.maximum.accumulate(us) - us > LATE // timedelta(microseconds=1)
    now, before = us > week, (us > start) & (us <= week)
    return LateEvents(int((late & now).sum()), int(now.sum()), int((late & before).sum()), int(before.sum()))


def label_orphans(entries: pl.DataFrame, pieces: Iterator[pl.Series], *, until: datetime) -> LabelOrphans:
    """Count entries of no event.

    Parameters
    ----------
    entries
        What `fraudctl.data.entries.load_entries` returns.
    pieces
        Ids of all events, some at a time.
    until
        Nothing later is known.
    """
    from fraudctl.data.labels import same_ids

    recent = entries.filter((pl.col("time") <= until) & (pl.col("time") > until - LABELS_RECENT))
    open_ = recent["event_id"]
    for ids in pieces:
        own = same_ids(open_, ids.dtype)
        open_ = open_.filter(~own.is_in(ids.implode()).fill_null(value=False))
    return LabelOrphans(len(open_), recent.height)


@sentence
def late_words(item: LateEvents) -> str:
    """State how many events came late."""
    share = percent(item.late / item.events)
    before = percent(item.late_before / max(item.events_before, 1))
    return (
        f"{count(item.late, 'event')} of the latest 7 days ({share}) came over an hour after later ones; in the four "
        f"weeks before {before} did"
    )


@sentence
def orphan_words(item: LabelOrphans) -> str:
    """State how many entries name no event."""
    return (
        f"{item.orphans:,} of {count(item.entries, 'label')} that tables of labels have of the latest 28 days name no "
        "event of the data: they are left out"
    )
