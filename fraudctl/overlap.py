"""What the rows trained on and the rows evaluated have in common: events, time, and ids of each entity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from fraudctl.data.labels import CHANGES, known_labels
from fraudctl.progress import Watch, unwatched


@dataclass(frozen=True)
class IdOverlap:
    """Ids of one entity in the test, and how many of them training had seen."""

    ids: int
    """Different ids in the test."""
    seen: int
    """Ids of the test that are in the training of the model that decided their event."""
    share_of_events: float | None
    """Share of the test's events that have such an id; null without events."""
    share_of_frauds: float | None
    """Share of the test's frauds that have such an id; null without frauds."""


@dataclass(frozen=True)
class Relabelled:
    """Events trained on whose label is another one by what is known at the end of the data."""

    rows: int
    """Events trained on whose label was known then."""
    taken_back: int
    """Of these, frauds that are legitimate now."""
    reported: int
    """Of these, legitimate events that are fraud now."""


def relabelled(trained: pl.DataFrame, *, as_of: datetime, known_until: datetime) -> Relabelled | None:
    """Count the labels of a training period that were changed since; None where labels are a column of the events.

    Parameters
    ----------
    trained
        The events of the training period with all changes of their labels.
    as_of
        The model knew the labels of this instant.
    known_until
        The labels of now are those of this instant.
    """
    if CHANGES not in trained.columns:
        return None
    then, now = known_labels(trained, as_of), known_labels(trained, known_until)
    taken_back, reported = int(((then == 1) & (now == 0)).sum()), int(((then == 0) & (now == 1)).sum())
    return Relabelled(int((then >= 0).sum()), taken_back, reported)


@dataclass(frozen=True)
class SplitOverlap:
    """What the rows trained on and the evaluated ones have in common."""

    events: int
    """Events that are in both."""
    gap_days: float | None
    """Days from the last event trained on to the first evaluated, the least of all periods; null without a time."""
    entities: dict[str, IdOverlap]
    """Entity -> the ids that are in both."""
    relabelled: Relabelled | None = None
    """Labels that were changed since the model was trained; null where labels are a column of the events."""


def overlap(train: pl.DataFrame, test: pl.DataFrame, *, entities: list[str]) -> SplitOverlap:
    """Return what training and test have in common, as `pooled_overlap` does for several periods."""
    return pooled_overlap([(train, test)], entities=entities)


def pooled_overlap(
    periods: Sequence[tuple[pl.DataFrame, pl.DataFrame]], *, entities: list[str], watch: Watch = unwatched
) -> SplitOverlap:
    """Return what training and test have in common: events, time, and ids of each entity.

    Shared ids are no fault, for a card that was seen is scored again; but what a model knows of them it need not know
    of others, so the share is worth knowing. Each event is held against the training of the model that decided it.

    Parameters
    ----------
    periods
        For each period the rows trained on and the rows evaluated, with ``event_id``, ``event_time``, ``label`` and the
        entities.
    entities
        Their names.
    watch
        Called with the name of each step before it begins.

    Returns
    -------
    SplitOverlap
        ``gap_days`` is negative where training and test interleave, and None where no event has a time.
    """
    gaps = [gap for train, test in periods if (gap := _gap_days(train, test)) is not None]
    watch("ids of events")
    events = sum(int(test["event_id"].is_in(train["event_id"].implode()).sum()) for train, test in periods)
    shared = {}
    for name in entities:
        watch(f"ids of {name}")
        shared[name] = _shared(periods, name)
    return SplitOverlap(events=events, gap_days=min(gaps, default=None), entities=shared)


def _gap_days(train: pl.DataFrame, test: pl.DataFrame) -> float | None:
    last, first = train["event_time"].max(), test["event_time"].min()
    if not isinstance(last, datetime) or not isinstance(first, datetime):
        return None
    return round((first - last) / timedelta(days=1), 3)


def _shared(periods: Sequence[tuple[pl.DataFrame, pl.DataFrame]], name: str) -> IdOverlap:
    test = pl.concat([test.select("label", name) for _, test in periods])
    seen = pl.concat(
        [
            test[name].is_in(train[name].drop_nulls().unique().implode()).fill_null(value=False)
            for train, test in periods
        ]
    )
    fraud = (test["label"] == 1).fill_null(value=False)
    n_frauds = int(fraud.sum())
    return IdOverlap(
        ids=test[name].drop_nulls().n_unique(),
        seen=test[name].filter(seen).n_unique(),
        share_of_events=float(seen.sum()) / test.height if test.height else None,
        share_of_frauds=int((seen & fraud).sum()) / n_frauds if n_frauds else None,
    )
