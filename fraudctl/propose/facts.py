"""How dense the data are: the facts that decide which windows are worth having.

Owns the measuring only; `fraudctl.propose.plan` decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
    one_in
        One id in so many was measured.
    """

    name: str
    n_values: int
    per_value: float
    gaps: tuple[float, float, float]
    one_in: int = 1


ROWS: Final = 1_000_000
IDS: Final = 20_000
"""An entity with more rows and more ids than this is measured on some of its ids, with all their events."""


def entity_facts(name: str, ids: pl.Series, event_time: pl.Series, *, n_ids: int = 0) -> EntityFacts:
    """Measure one entity; ``ids`` and ``event_time`` (µs UTC) have shape ``(n_events,)``, null ids are left out.

    Parameters
    ----------
    n_ids
        How many different ids there are: of many, one in so many is measured that about a million rows are left, but
        no fewer than `IDS` / 10 ids.
    """
    one_in = 1
    if n_ids > IDS and len(ids) > ROWS:
        one_in = min(len(ids) // ROWS, n_ids * 10 // IDS)
    frame = pl.DataFrame({"v": ids, "t": event_time.cast(pl.Int64)}).drop_nulls()
    if one_in > 1:
        frame = frame.filter(pl.col("v").hash(seed=5) % one_in == 0)
    n_values, found = spells(frame["v"], frame["t"])
    gaps, last = pl.Series(found).sort().to_numpy(), frame.height - 1
    places = [min(last, int(share * frame.height)) for share in (0.005, 0.05, 0.5)]
    at = [float(gaps[place] / 1e6) if place < len(gaps) else np.inf for place in places]
    per_value = frame.height / max(1, n_values)
    return EntityFacts(name, n_ids if one_in > 1 else n_values, per_value, (at[0], at[1], at[2]), one_in)
