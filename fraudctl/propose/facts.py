"""How dense the data are: the facts that decide which windows are worth having.

Owns the measuring only; `fraudctl.propose.plan` decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from fraudctl.data.distinct import spells

DAY = 86_400.0


@dataclass(frozen=True)
class EntityFacts:
    """How often an entity comes back.

    Attributes
    ----------
    name
        Entity name.
    n_values
        Distinct ids.
    per_value
        Events per id over the whole span.
    gaps
        Quantiles 0.005, 0.05, 0.5 of the seconds since the same id's previous event, over all events of non-null ids;
        infinite where that share of events has no previous one.
    """

    name: str
    n_values: int
    per_value: float
    gaps: tuple[float, float, float]


def entity_facts(name: str, ids: pl.Series, event_time: pl.Series) -> EntityFacts:
    """Measure one entity; ``ids`` and ``event_time`` (µs UTC) have shape ``(n_events,)``, null ids are left out."""
    frame = pl.DataFrame({"v": ids, "t": event_time.cast(pl.Int64)}).drop_nulls()
    n_values, found = spells(frame["v"], frame["t"])
    gaps, last = np.sort(found), frame.height - 1
    places = [min(last, int(share * frame.height)) for share in (0.005, 0.05, 0.5)]
    at = [float(gaps[place] / 1e6) if place < len(gaps) else np.inf for place in places]
    return EntityFacts(name, n_values, frame.height / max(1, n_values), (at[0], at[1], at[2]))
