"""Alarms on the feed of labels, for `monitor` and for `retrain`, by the same ids: a note on one holds in both."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from fraudctl.monitor.outcome import MonitorAlarm
from fraudctl.project import Project

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from fraudctl.bundle import Bundle
    from fraudctl.data.pieces import KeptPieces
    from fraudctl.monitor.feed import EventsBetween
    from fraudctl.workflows.logged import EventFiles

_CHUNK: Final = ".chunk"
"""Column of kept events with the name of the chunk that each lies in."""


def feed_alarms(
    project: Project, bundle: Bundle, events: pl.DataFrame, *, until: datetime, between: EventsBetween | None = None
) -> list[MonitorAlarm]:
    """Return the alarms on the labels of a project, against what a model was trained on.

    Parameters
    ----------
    events
        All events, as `fraudctl.data.tables.load_events` returns them.
    until
        Nothing later is known.
    between
        As for `fraudctl.monitor.feed.label_feed`.
    """
    from fraudctl.monitor.alarms import alarm_id
    from fraudctl.monitor.feed import label_feed

    if bundle.as_of is None or not project.data.has_time:
        return []
    feed = label_feed(
        events, bundle.predictions(), as_of=bundle.as_of, until=until,
        reference=project.monitor.reference.timedelta, between=between,
    )  # fmt: skip
    return [
        MonitorAlarm(
            alarm_id(bundle.version, "data", f"labels: {what}", ""), "data", "labels", said, next="fraudctl check"
        )
        for what, said in feed.faults()
    ]


def told_events(bundle: Bundle, events: EventFiles, kept: KeptPieces) -> pl.DataFrame:
    """Return the events that alarms on labels can be about, with what is known of their labels.

    These were ever fraud, or had their labels changed, or their labels were known to the bundle. Those of a chunk are
    kept while the chunk is.
    """
    import polars as pl

    from fraudctl.data.labels import as_known
    from fraudctl.data.pieces import digest

    name, judged = f"told-{digest(dict(bundle.manifest['files']))}", bundle.predictions()["event_id"]
    names = events.names or [""] * len(events.chunks.files)
    found = kept.read(name)
    before = set() if found is None else set(found[1]["chunks"]) & set(names)
    fresh = [_told_of(events, number, judged, at) for number, at in enumerate(names) if at not in before]
    parts = [] if found is None else [found[0].filter(pl.col(_CHUNK).cast(pl.String).is_in(list(before)))]
    whole = pl.concat([*parts, *fresh], how="diagonal")
    _keep_told(whole, name, [at for at in names if at], fresh, kept)
    return as_known(whole.drop(_CHUNK), events.known_until)


def _told_of(events: EventFiles, number: int, judged: pl.Series, name: str) -> pl.DataFrame:
    """Return such events of a chunk."""
    import polars as pl

    from fraudctl.data.labels import CHANGES, same_ids

    piece = events.stored(number, ["event_id", "event_time", "label", "label_time", CHANGES])
    ever = (pl.col("label") == 1).fill_null(value=False)
    if CHANGES in piece.columns:
        ever = ever | pl.col(CHANGES).is_not_null()
    known = same_ids(piece["event_id"], judged.dtype).is_in(judged.implode())
    found = piece.filter(ever | known.fill_null(value=False))
    return found.with_columns(pl.lit(name, dtype=pl.Categorical).alias(_CHUNK))


def _keep_told(
    whole: pl.DataFrame, name: str, chunks: Sequence[str], fresh: Sequence[pl.DataFrame], kept: KeptPieces
) -> None:
    """Keep the events of chunks that are kept, where there are such among the new ones."""
    import polars as pl

    if chunks and fresh:
        kept.write(name, whole.filter(pl.col(_CHUNK).cast(pl.String) != ""), {"chunks": list(chunks)})
