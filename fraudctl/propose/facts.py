"""How dense the data are: the facts that decide which windows are worth having.

Owns the measuring only; `fraudctl.propose.plan` decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

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
    n_values = frame["v"].n_unique()
    gaps = frame.sort("v", "t").select(
        pl.when(pl.col("v") == pl.col("v").shift()).then(pl.col("t").diff() / 1e6).otherwise(float("inf")).alias("gap")
    )["gap"]
    gaps = gaps.fill_null(float("inf")).sort()
    at = tuple(float(gaps[min(len(gaps) - 1, int(share * len(gaps)))]) for share in (0.005, 0.05, 0.5))
    return EntityFacts(name, n_values, frame.height / max(1, n_values), (at[0], at[1], at[2]))
