"""Entities linked by what they share, as of each event.

A card and a device are linked by the first event that has both; linked values, and what they are linked with, form a
component. Links are hard: only values that rarely belong to strangers are worth it, and a value that has met more than
``hub`` partners joins no further ones (what it joined before stays joined). An event sees links, labels and times from
strictly before it, and its own card and device as if they were linked already, unless one of them is a hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from fraudctl.arrays import as_read
from fraudctl.data.labels import spells
from fraudctl.features.batch.groups import Array, codes_of, joint_codes
from fraudctl.features.meaning.definition import Feature
from fraudctl.features.meaning.families.links import LinkSpec


@dataclass(frozen=True)
class Links:
    """What each event sees of its component; each (n,), by row.

    ``component_size`` counts values of the first entity; ``component_age_seconds``; ``component_fraud_rate`` leaves out
    the outcomes of the event's own value of the first entity; ``degree`` counts partners of the second entity's value.
    ``neighbours`` counts other values of the first entity that met the partners of the event's own, and
    ``neighbour_frauds`` their known frauds. Null is -1 in counts, and NaN.
    """

    component_size: Array
    component_age_seconds: Array
    component_fraud_rate: Array
    degree: Array
    neighbours: Array
    neighbour_frauds: Array


def linked(frame: pl.DataFrame, entities: tuple[str, str], *, hub: int, second_hop: bool = False) -> Links:
    """Find the components of two entities as of every event.

    Parameters
    ----------
    frame
        As in `tables.Events`, sorted by event_time, then event_id.
    entities
        The entity that is counted and the one that is shared.
    hub
        Most partners of a value that may still join.
    second_hop
        Whether neighbours are counted, too.
    """
    from fraudctl.features.batch import unions

    first, second = (codes_of(frame[entity]) for entity in entities)
    met = meetings(frame, first, second, hub=hub)
    known = in_components(frame, first, second, met)
    found, pairs, n = _outcomes(frame), joint_codes(first, second), frame.height
    neighbours, frauds = np.empty(n, np.int64), np.empty(n, np.int64)
    if second_hop:
        unions.hops(
            _micros(frame), as_read(first[0]), as_read(second[0]), as_read(pairs[0]), (first[1], second[1], pairs[1]),
            found.rows, found.arrived, found.outcome, found.sign, hub, neighbours, frauds,
        )  # fmt: skip
    return Links(known.size, known.age_seconds, known.fraud_rate, met.degree, neighbours, frauds)


@dataclass(frozen=True)
class Meetings:
    """What each event does to two values; each (n,), by row.

    ``asks``: it sees them as joined by itself; ``joins``: it joins them; ``degree``: earlier partners of the second
    value, -1 for null.
    """

    asks: Array
    joins: Array
    degree: Array


def meetings(frame: pl.DataFrame, first: tuple[Array, int], second: tuple[Array, int], *, hub: int) -> Meetings:
    """Find which events bring two values together for the first time.

    Parameters
    ----------
    frame
        With ``event_time``, sorted by it, then by event_id.
    first, second
        The two entities as `codes_of` gives them.
    hub
        Most partners of a value that may still join.
    """
    from fraudctl.features.batch import unions

    pairs, n = joint_codes(first, second), frame.height
    found = Meetings(np.empty(n, np.bool_), np.empty(n, np.bool_), np.empty(n, np.int64))
    unions.meetings(
        _micros(frame), as_read(first[0]), as_read(second[0]), as_read(pairs[0]), (first[1], second[1], pairs[1]), hub,
        found.asks, found.joins, found.degree,
    )  # fmt: skip
    return found


@dataclass(frozen=True)
class InComponents:
    """What each event sees of its component; each (n,), by row; -1 and NaN are null."""

    size: Array
    age_seconds: Array
    fraud_rate: Array


def in_components(
    frame: pl.DataFrame, first: tuple[Array, int], second: tuple[Array, int], met: Meetings
) -> InComponents:
    """Sweep through time, joining what events join.

    Parameters
    ----------
    frame
        With ``event_time``, ``label`` and ``label_time``, sorted by the first of them; whole components.
    first, second
        The two entities as `codes_of` gives them.
    met
        Which events join.
    """
    from fraudctl.features.batch import unions

    found, n = _outcomes(frame), frame.height
    out = InComponents(np.empty(n, np.int64), np.empty(n), np.empty(n))
    unions.components(
        _micros(frame), as_read(first[0]), as_read(second[0]), met.asks, met.joins, (first[1], second[1]),
        found.rows, found.arrived, found.outcome, found.sign, out.size, out.age_seconds, out.fraud_rate,
    )  # fmt: skip
    return out


def _micros(frame: pl.DataFrame) -> Array:
    """Return the times of events in µs, for a loop that reads them."""
    return as_read(frame["event_time"].dt.epoch("us").to_numpy())


@dataclass(frozen=True)
class _Arrivals:
    """Outcomes by arrival, each (m,): row, µs, 1 for fraud, and 1 for one that counts from then or -1 for no longer."""

    rows: Array
    arrived: Array
    outcome: Array
    sign: Array


def _outcomes(frame: pl.DataFrame) -> _Arrivals:
    """Return the outcomes of events; where a label was changed, the earlier one stops to count at that instant."""
    known = spells(frame)
    ended = known.filter(pl.col("until").is_not_null())
    rows = np.concatenate([known["row"].to_numpy(), ended["row"].to_numpy()]).astype(np.int64)
    arrived = pl.concat([known["since"], ended["until"]]).dt.epoch("us").to_numpy()
    outcome = pl.concat([known["label"], ended["label"]]).cast(pl.Int64).to_numpy()
    sign = np.concatenate([np.ones(known.height, np.int64), np.full(ended.height, -1, np.int64)])
    order = np.lexsort((rows, arrived))
    return _Arrivals(rows[order], arrived[order], outcome[order], sign[order])


def hub_notes(steps: Iterable[Feature], columns: Callable[[list[str]], pl.DataFrame]) -> list[str]:
    """Return notes on links that leave out hubs, and how many; ``columns`` returns entity columns of all events."""
    specs = [step.spec for step in steps if isinstance(step.spec, LinkSpec)]
    every = sorted({(spec.entities, spec.hub) for spec in specs})
    return [note for entities, hub in every for note in notes_of(columns(list(entities)), entities, hub)]


def notes_of(frame: pl.DataFrame, entities: tuple[str, str], hub: int) -> list[str]:
    """Return notes on the hubs of two entities; ``frame`` has all pairs of their values."""
    found, out = hubs(frame, entities, hub=hub), []
    for entity, other in (entities, entities[::-1]):
        if found[entity]:
            few = "1 value" if found[entity] == 1 else f"{found[entity]:,} values"
            out.append(
                f"links of {' and '.join(entities)}: {few} of {entity} met more than {hub} of {other}; "
                "such hubs join no further ones"
            )
    return out


def hubs(frame: pl.DataFrame, entities: tuple[str, str], *, hub: int) -> dict[str, int]:
    """Count, for each of the two entities, the values that have met more than ``hub`` values of the other."""
    met = frame.select(entities).drop_nulls().unique()
    return {entity: met.group_by(entity).len().filter(pl.col("len") > hub).height for entity in entities}
