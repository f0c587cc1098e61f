"""Slots of a capacity that the events before new ones took: history of the same local day or week is decided too.

A capacity holds for a whole local day or week. New events that begin in the middle of one find the slots left that
earlier events did not take, in a file, in a stream and on a server as in an evaluation. What the earlier events really
got is not known here, so the model decides them, as `fraudctl.evaluate.replay` does with the lead of a period.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from fraudctl.policy import CapacityUse

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.data.tables import Events
    from fraudctl.scoring.decider import Decider


def lead_from(decider: Decider, first: datetime | None) -> datetime | None:
    """Return the instant from which earlier events share a local day or week of a capacity with an event at ``first``.

    None where nothing before matters: the policy has no capacity, or there is no event.
    """
    return None if first is None or not decider.policy.capacity else decider.policy.lead_from(first)


def taken_by_history(decider: Decider, events: Events, sources: Mapping[str, pl.DataFrame]) -> CapacityUse:
    """Return the slots that the last local day or week of a history took, decided by a model.

    Parameters
    ----------
    decider
        The model that decides.
    events
        The history in time order, with the columns of `Decider.carried`.
    sources
        Other tables, normalised.
    """
    used, frame = CapacityUse(), events.frame
    lead = lead_from(decider, frame["event_time"][-1] if frame.height else None)
    if lead is not None:
        decider.decide_frame(_features_since(lead, decider, events, sources), used=used, explained="none")
    return used


def _features_since(
    lead: datetime, decider: Decider, events: Events, sources: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Return the feature table of the events at ``lead`` or later; earlier ones are computed where windows need it."""
    import polars as pl

    from fraudctl.features.batch.build import build
    from fraudctl.features.batch.engine import Dropped
    from fraudctl.features.batch.increment import Past, engine_after, extend, kept, remembered

    features, zone = decider.features, decider.project.data.timezone
    inside = events.frame.filter(pl.col("event_time") >= lead)
    if remembered(features):
        whole = build(events, features, timezone=zone, sources=sources)
        return whole.filter(pl.col("event_time") >= lead)
    before_us = int(inside["event_time"].dt.epoch("us")[0])
    past = kept(Past(events.frame, Dropped()), features, before_us=before_us)
    return extend(engine_after(past, inside, features, timezone=zone, sources=dict(sources)), inside)
