"""What ordinary days looked like when a model was trained: frozen in its bundle, as counts only.

Owns which features are watched. Features of the calendar are left out: they change by themselves. A feature whose
window is longer than a quarter of the reference says the same for weeks, so that no short reference can tell how much
it wanders: it is watched through the columns that it is computed from, and named there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray, IntArray
from fraudctl.data.labels import CHANGES
from fraudctl.documents.types import JsonObject
from fraudctl.features.meaning.definition import Feature, FeatureSet
from fraudctl.monitor.counts import (
    Cells,
    DayCounts,
    cells_from_dict,
    cells_of,
    cells_to_dict,
    count_days,
    counts_from_dict,
    counts_to_dict,
)
from fraudctl.progress import Watch, unwatched
from fraudctl.text.figures import number

VERSION: Final = 1
DAY_US: Final = 86_400_000_000
TOP: Final = (0.05, 0.01, 0.005, 0.002)
"""Shares of all events whose lowest score is an edge of the score's cells."""
_OUTCOME: Final = frozenset({"event_id", "event_time", "label", "label_time", CHANGES})
"""Columns that say when, or what came of it: nothing is watched through them."""
CALENDAR: Final = "of the calendar: it changes by itself"


@dataclass(frozen=True)
class FrozenReference:
    """What is watched, and how it was on the days before as_of.

    Attributes
    ----------
    timezone
        Zone of the days.
    watched
        Cells of every watched column: features of the model, amount, entities, score, action, hour.
    counts
        By day; score, action and the sums only on days whose scores are of events that the model had not been trained
        on.
    window_days
        Longest window of a watched feature, in days.
    left_out
        Feature -> why it is not watched itself.
    """

    timezone: str
    watched: tuple[Cells, ...]
    counts: DayCounts
    window_days: float
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> JsonObject:
        """Return the reference as JSON."""
        return {
            "version": VERSION,
            "timezone": self.timezone,
            "watched": [cells_to_dict(item) for item in self.watched],
            "counts": counts_to_dict(self.counts),
            "window_days": self.window_days,
            "left_out": dict(self.left_out),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> FrozenReference:
        """Return what `to_dict` wrote.

        Raises
        ------
        ValueError
            It is of another version.
        """
        if document["version"] != VERSION:
            msg = "reference of another version"
            raise ValueError(msg)
        watched = tuple(cells_from_dict(item) for item in document["watched"])
        counts = counts_from_dict(document["counts"])
        return cls(document["timezone"], watched, counts, document["window_days"], dict(document["left_out"]))


@dataclass(frozen=True)
class WatchPlan:
    """Which columns are watched, and why others are not.

    Attributes
    ----------
    columns
        Column -> its type (int, float, bool, category, or ``presence``), in the order of the model, raw inputs last.
    through
        Column -> features that are watched through it.
    left_out
        Feature -> why.
    window_days
        Longest window of a watched feature.
    derived
        Columns that are computed from other events.
    """

    columns: Mapping[str, str]
    through: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]
    window_days: float
    derived: frozenset[str] = frozenset()


def plan(features: FeatureSet, used: Collection[str], schema: Mapping[str, pl.DataType], *, days: int) -> WatchPlan:
    """Choose what is watched of the columns of a feature table.

    Parameters
    ----------
    used
        Features that the model takes.
    schema
        Columns of the table.
    days
        Length of the reference.
    """
    columns: dict[str, str] = {}
    through: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    longest, derived = 0.0, set[str]()
    for feature in features.features:
        if feature.name not in used:
            continue
        window = _window(feature, features)
        if _calendar(feature, features):
            left_out[feature.name] = CALENDAR
        elif window > days / 4:
            inputs = [name for name in _inputs(feature, features) if name in schema and name not in _OUTCOME]
            for name in inputs:
                through.setdefault(name, []).append(feature.name)
            left_out[feature.name] = _words(window, days, inputs)
        else:
            columns[feature.name] = feature.dtype
            longest = max(longest, window)
            derived |= set() if all(item.spec.of_one_row for item in _specs(feature, features)) else {feature.name}
    for name in [*(["amount"] if "amount" in schema else []), *features.entities, *through]:
        if name in schema and name not in columns:
            columns[name] = "presence" if name in features.entities else _dtype(schema[name])
    found = {name: tuple(names) for name, names in through.items()}
    return WatchPlan(columns, found, left_out, longest, frozenset(derived))


def _specs(feature: Feature, features: FeatureSet) -> list[Feature]:
    """Return a feature and all features that it is computed from."""
    by_name = {item.name: item for item in features.steps}
    found, open_names = [feature], list(feature.spec.needs)
    while open_names:
        item = by_name.get(open_names.pop())
        if item is not None and item not in found:
            found.append(item)
            open_names += item.spec.needs
    return found


def _window(feature: Feature, features: FeatureSet) -> float:
    """Return how many days a feature looks back, infinite where there is no end."""
    sights = [item.spec.lookback for item in _specs(feature, features)]
    endless = any(item.for_ever or item.prior or None in item.latest_within_us.values() for item in sights)
    lengths = [us for item in sights for us in item.latest_within_us.values() if us is not None]
    return float("inf") if endless else max([*(item.longest_us for item in sights), *lengths]) / DAY_US


def _inputs(feature: Feature, features: FeatureSet) -> list[str]:
    found = _specs(feature, features)
    made = {item.name for item in found if not item.is_column}
    return list(dict.fromkeys(name for item in found for name in item.spec.reads if name not in made))


def _calendar(feature: Feature, features: FeatureSet) -> bool:
    reads = _inputs(feature, features)
    return bool(reads) and set(reads) == {"event_time"} and _window(feature, features) == 0


def _words(window: float, days: int, inputs: Sequence[str]) -> str:
    length = "it looks back without an end" if window == float("inf") else f"its window has {number(window)} days"
    where = f"watched through {', '.join(inputs)}" if inputs else "not watched: its inputs are in no column"
    return f"{length}, more than a quarter of the {days} days of the reference; {where}"


def _dtype(dtype: pl.DataType) -> str:
    if dtype == pl.Boolean:
        return "bool"
    return "float" if dtype.is_numeric() else "category"


def freeze(
    table: pl.DataFrame,
    chosen: WatchPlan,
    decided: pl.DataFrame | None,
    *,
    days: IntArray,
    timezone: str,
    borders: Sequence[float],
    actions: Sequence[str],
    watch: Watch = unwatched,
) -> FrozenReference:
    """Freeze a reference.

    Parameters
    ----------
    table
        Events of the reference with the watched columns.
    decided
        Of these, events whose scores the model was not trained on: ``event_time``, ``y_prob``, ``action``,
        ``expected_cost``, ``alert`` (Boolean); None where there are none.
    days
        Local days of the reference.
    borders
        Probabilities at which the policy changes its action.
    actions
        Of the policy, from the mildest.
    watch
        Called with the name of each step before it begins.
    """
    cells = []
    for i, (name, dtype) in enumerate(chosen.columns.items()):
        watch(f"days before as_of: column {i + 1} of {len(chosen.columns)}")
        through = chosen.through.get(name, ())
        if dtype == "presence":
            cells.append(Cells(name, "presence", through=through))
        else:
            cells.append(cells_of(name, table[name], dtype, through=through, derived=name in chosen.derived))
    cells.append(Cells("hour", "hour"))
    counts = count_days(table, cells, timezone=timezone, days=days, watch=watch)
    if decided is not None and decided.height:
        cells += score_cells(decided["y_prob"].to_numpy(), borders, actions)
        found = count_decided(decided, cells[-2:], timezone=timezone, days=days)
        counts = DayCounts(counts.days, counts.events, {**counts.cells, **found.cells}, found.sums)
    return FrozenReference(timezone, tuple(cells), counts, chosen.window_days, chosen.left_out)


def score_cells(y_prob: FloatArray, borders: Sequence[float], actions: Sequence[str]) -> list[Cells]:
    """Return the cells of score and action: edges at the borders of the policy and where the top shares begin."""
    top = np.quantile(y_prob, [1 - share for share in TOP], method="inverted_cdf")
    inside = [value for value in borders if 0 < value < 1]
    edges = np.unique(np.round([*top, *inside], 12))
    return [Cells("score", "score", tuple(map(float, edges))), Cells("action", "action", values=tuple(actions))]


def count_decided(decided: pl.DataFrame, cells: Sequence[Cells], *, timezone: str, days: IntArray) -> DayCounts:
    """Count decided events by day; a day without one is not known."""
    return known_days(sum_decided(decided, cells, timezone=timezone, days=days))


def sum_decided(decided: pl.DataFrame, cells: Sequence[Cells], *, timezone: str, days: IntArray) -> DayCounts:
    """Count some of the decided events by day, with sums of alerts and expected cost."""
    named = decided.rename({"y_prob": "score"})
    sums = {
        "alerts": named["alert"].cast(pl.Float64).to_numpy(),
        "expected_cost": named["expected_cost"].to_numpy(),
        "decided": np.ones(named.height),
    }
    return count_days(named, cells, timezone=timezone, days=days, sums=sums)


def known_days(found: DayCounts) -> DayCounts:
    """Return counts of all decided events, in which a day without one is not known."""
    known = found.events > 0
    masked = {name: np.where(known[:, None], rows, -1) for name, rows in found.cells.items()}
    return DayCounts(found.days, found.events, masked, {k: np.where(known, v, np.nan) for k, v in found.sums.items()})
