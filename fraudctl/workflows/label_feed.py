"""Alarms on the feed of labels, for `monitor` and for `retrain`, by the same ids: a note on one holds in both."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from fraudctl.monitor.outcome import MonitorAlarm
from fraudctl.project import Project

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.bundle import Bundle


def feed_alarms(
    project: Project, bundle: Bundle, events: pl.DataFrame, *, until: datetime, times: pl.Series | None = None
) -> list[MonitorAlarm]:
    """Return the alarms on the labels of a project, against what a model was trained on.

    Parameters
    ----------
    events
        All events, as `fraudctl.data.tables.load_events` returns them.
    until
        Nothing later is known.
    times
        As for `fraudctl.monitor.feed.label_feed`.
    """
    from fraudctl.monitor.alarms import alarm_id
    from fraudctl.monitor.feed import label_feed

    if bundle.as_of is None or not project.data.has_time:
        return []
    feed = label_feed(
        events, bundle.predictions(), as_of=bundle.as_of, until=until,
        reference=project.monitor.reference.timedelta, times=times,
    )  # fmt: skip
    return [
        MonitorAlarm(
            alarm_id(bundle.version, "data", f"labels: {what}", ""), "data", "labels", said, next="fraudctl check"
        )
        for what, said in feed.faults()
    ]
