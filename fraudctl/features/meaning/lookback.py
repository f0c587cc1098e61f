"""What of the past later events can still see: one value per feature, the only place that decides what may go.

A feature counts events by event_time, outcomes by label_time and rows of other tables by when they became usable. So
each of these has a horizon of its own, and an old event may still matter because its outcome arrived late. The online
state, the state of ``--since`` and the batch engine all ask here what they may drop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from fraudctl.data.labels import ever_fraud, last_change

if TYPE_CHECKING:
    from fraudctl.features.meaning.definition import FeatureSet
    from fraudctl.features.meaning.families.base import Spec

Key = tuple[str, ...]
"""An entity, or a pair of entities."""


@dataclass(frozen=True)
class Lookback:
    """What an event at t can see of the past, through one feature or through several.

    Attributes
    ----------
    within_us
        By entity: events with event_time in ``(t - within, t)``.
    labels_within_us
        By entity: outcomes with label_time in ``(t - within, t]``, however old their events are.
    rows_within_us
        By name of another table: its rows that became usable in ``(t - within, t)``.
    latest_within_us
        By name of another table: the latest row of an entity, valid since at most so long; None for any age.
    first, last
        Entities, or pairs of them, of which the first or last event of each value counts, however old.
    frauds
        Entities of which every known fraud counts, however old.
    everything
        Entities and pairs of which every event counts, however old.
    outcomes
        Whether outcomes count at all.
    prior
        Whether the number of all outcomes counts, and of the frauds among them.
    """

    within_us: Mapping[str, int] = field(default_factory=dict)
    labels_within_us: Mapping[str, int] = field(default_factory=dict)
    rows_within_us: Mapping[str, int] = field(default_factory=dict)
    latest_within_us: Mapping[str, int | None] = field(default_factory=dict)
    first: frozenset[Key] = frozenset()
    last: frozenset[Key] = frozenset()
    frauds: frozenset[Key] = frozenset()
    everything: frozenset[Key] = frozenset()
    outcomes: bool = False
    prior: bool = False

    def __or__(self, other: Lookback) -> Lookback:
        """Return what both see together."""
        return Lookback(
            _longer(self.within_us, other.within_us),
            _longer(self.labels_within_us, other.labels_within_us),
            _longer(self.rows_within_us, other.rows_within_us),
            _oldest(self.latest_within_us, other.latest_within_us),
            self.first | other.first,
            self.last | other.last,
            self.frauds | other.frauds,
            self.everything | other.everything,
            self.outcomes or other.outcomes,
            self.prior or other.prior,
        )

    @property
    def longest_us(self) -> int:
        """The longest of all horizons that have an end, in µs; 0 without one."""
        windows = (self.within_us, self.labels_within_us, self.rows_within_us)
        return max((us for part in windows for us in part.values()), default=0)

    @property
    def for_ever(self) -> frozenset[Key]:
        """Entities and pairs of which something counts however old it is."""
        return self.first | self.last | self.frauds | self.everything

    def of(self, entity: str) -> tuple[int, int]:
        """Return the horizons of an entity's events and of its outcomes, in µs; 0 for none."""
        return self.within_us.get(entity, 0), self.labels_within_us.get(entity, 0)

    def matters(self, *, before_us: int, columns: Sequence[str] = ()) -> pl.Expr:
        """Return which rows of an event table an event at ``before_us`` (µs UTC) or later can see.

        The rows are in the order of time, all before ``before_us``; an outcome counts as one that will arrive. A label
        that was changed is seen from its last change on.

        Parameters
        ----------
        columns
            The table's columns: they say whether labels were changed.
        """
        if self.everything:
            return pl.lit(value=True)
        event, label = pl.col("event_time").dt.epoch("us"), last_change(columns).dt.epoch("us")
        found = [pl.lit(value=False)]
        found += [(event > before_us - us) & pl.col(name).is_not_null() for name, us in self.within_us.items()]
        found += [(label > before_us - us) & pl.col(name).is_not_null() for name, us in self.labels_within_us.items()]
        if self.prior:
            found.append(label >= before_us)
        if self.frauds:
            named = pl.any_horizontal(_value(key).is_not_null() for key in sorted(self.frauds))
            found.append(ever_fraud(columns) & named)
        found += [_value(key).is_first_distinct() for key in sorted(self.first)]
        found += [_value(key).is_last_distinct() for key in sorted(self.last)]
        return pl.any_horizontal(found).fill_null(value=False)

    def matters_of(self, source: str, *, from_time: datetime) -> pl.Expr:
        """Return which rows of another table an event at ``from_time`` or later can see."""
        found = [pl.lit(value=False)]
        if source in self.rows_within_us:
            within = timedelta(microseconds=self.rows_within_us[source])
            found.append(pl.col("usable_time") > from_time - within)
        if source in self.latest_within_us:
            age = self.latest_within_us[source]
            if age is None:
                return pl.lit(value=True)
            found.append(pl.col("event_time") > from_time - timedelta(microseconds=age))
        return pl.any_horizontal(found)


def combined(specs: Iterable[Spec]) -> Lookback:
    """Return what several features see of the past together."""
    out = Lookback()
    for spec in specs:
        out |= spec.lookback
    return out


def lookback_of(features: FeatureSet) -> Lookback:
    """Return what the features of a set, hidden steps included, see of the past."""
    return combined(step.spec for step in features.steps)


def seen_rows(
    features: FeatureSet, sources: Mapping[str, pl.DataFrame], *, from_time: datetime
) -> dict[str, pl.DataFrame]:
    """Return the rows of other tables that an event at ``from_time`` or later can see.

    Windows count rows by when they became usable; a look-up returns no row whose event_time is older than its
    ``max_age``. A table with a look-up of any age is returned whole.

    Parameters
    ----------
    sources
        The other tables, as `batch.build` takes them.
    from_time
        The earliest event_time for which features are computed.
    """
    seen = lookback_of(features)
    return {name: table.filter(seen.matters_of(name, from_time=from_time)) for name, table in sources.items()}


def _value(key: Key) -> pl.Expr:
    return pl.col(key[0]) if len(key) == 1 else pl.struct(*key)


def _longer(a: Mapping[str, int], b: Mapping[str, int]) -> Mapping[str, int]:
    return {**a, **{name: max(us, a.get(name, 0)) for name, us in b.items()}}


def _oldest(a: Mapping[str, int | None], b: Mapping[str, int | None]) -> Mapping[str, int | None]:
    out = {**a, **b}
    for name in a.keys() & b.keys():
        one, other = a[name], b[name]
        out[name] = None if one is None or other is None else max(one, other)
    return out
