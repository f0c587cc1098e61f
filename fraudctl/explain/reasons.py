"""Reason codes: up to four reasons for a decision, in words.

Owns their choice (largest contributions towards the decision, ties in the model's order, protected features left out)
and their wording (value, and what is usual for the entity).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.data.categories import UNKNOWN, quoted
from fraudctl.explain.scene import FeatureLike, ReadColumns, micros
from fraudctl.progress import Watch, unwatched
from fraudctl.text.wording import said, spoken

MOST: Final = 4
FAINT: Final = 0.02
"""Contributions smaller than this, in log-odds, are no reason."""
USUAL_EVENTS: Final = 50
"""Earlier events of an entity that its usual value is taken from, at most."""

Value = float | int | str | bool | None


@dataclass(frozen=True)
class Reason:
    """One reason.

    Attributes
    ----------
    contribution
        In log-odds of the raw score.
    direction
        ``raises`` or ``lowers`` the risk.
    usual
        Median (or most frequent value) over the entity's earlier events; None where there are none or it is no matter.
    text
        The reason as a sentence part.
    """

    feature: str
    """Name of the feature."""
    words: str
    """The feature in words."""
    value: Value
    """Its value for the event."""
    contribution: float
    direction: str
    usual: Value
    usual_of: str | None
    """Whose usual value it is; null without one."""
    text: str


def choose(
    values: FloatArray, *, towards_alert: BoolArray, features: Sequence[FeatureLike], protected: Sequence[str]
) -> list[list[int]]:
    """Return positions of up to four features per decision, the strongest first.

    Of an alert the features that raise the risk most, of an allowed event those that lower it most.

    Parameters
    ----------
    values
        Contributions, shape ``(n_events, n_features)``.
    towards_alert
        Whether each decision is an alert.
    """
    open_to = np.array([item.name not in protected for item in features])
    push = np.where(towards_alert[:, None], values, -values)
    push = np.where(open_to[None, :], push, -np.inf)
    order = np.argsort(-push, axis=1, kind="stable")[:, :MOST]
    return [[int(j) for j in row if push[i, j] >= FAINT] for i, row in enumerate(order)]


def give_reasons(
    frame: pl.DataFrame,
    values: FloatArray,
    *,
    towards_alert: BoolArray,
    features: Sequence[FeatureLike],
    protected: Sequence[str],
    history: pl.DataFrame | None = None,
    columns: ReadColumns | None = None,
    entities: Sequence[str] = (),
    watch: Watch = unwatched,
) -> list[tuple[Reason, ...]]:
    """Return the reasons of every decision.

    Parameters
    ----------
    frame
        The decided events: features, and for usual values also event_time and the entities.
    values
        Their contributions, shape ``(n_events, n_features)``.
    history
        Feature-table rows from which usual values are taken, strictly before each event; None gives none.
    columns
        Reads all features of these rows; None where ``history`` holds those that it has.
    entities
        In the project's order; a feature without an entity of its own is compared with the first.
    watch
        Is called with each step before it begins.
    """
    chosen = choose(values, towards_alert=towards_alert, features=features, protected=protected)
    usual = usual_values(
        frame, chosen, features=features, history=history, columns=columns, entities=entities, watch=watch
    )
    watch("reasons in words")
    cells = {j: frame[features[j].name] for row in chosen for j in row}
    return [
        tuple(reason_for(features[j], cells[j][i], float(values[i, j]), usual.get((i, j))) for j in row)
        for i, row in enumerate(chosen)
    ]


def reason_for(feature: FeatureLike, value: Any, contribution: float, usual: tuple[str, Value] | None = None) -> Reason:
    """Put a contribution into words; ``usual`` is an entity and the value that is usual for it."""
    words = feature.words or feature.name
    direction = "raises" if contribution > 0 else "lowers"
    text = reason_text(feature, value)
    if usual is not None and usual[1] is not None and tell(words, usual[1]) != tell(words, value):
        text += f" (usually {tell(words, usual[1])} for this {usual[0]})"
    of, level = usual if usual is not None else (None, None)
    return Reason(feature.name, words, _plain(value), contribution, direction, level, of, text)


def reason_text(feature: FeatureLike, value: Any) -> str:
    """State a feature and its value, for people."""
    words = feature.words or feature.name
    return f"{spoken(words)}: {tell(words, value)}"


def _plain(value: Any) -> Value:
    return value if isinstance(value, (float, int, str, bool)) else None


def tell(words: str, value: Any, digits: int = 3) -> str:
    """Write a value of a feature with these words, for people.

    >>> tell("amount", 1234.5678), tell("rate", 0.12345), tell("night", True), tell("amount", None)
    ('1235', '0.123', 'yes', 'unknown')
    """
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return said(words, value, digits) if isinstance(value, (int, float)) else quoted(str(value))


def usual_values(
    frame: pl.DataFrame,
    chosen: list[list[int]],
    *,
    features: Sequence[FeatureLike],
    history: pl.DataFrame | None,
    entities: Sequence[str],
    columns: ReadColumns | None = None,
    watch: Watch = unwatched,
) -> dict[tuple[int, int], tuple[str, Value]]:
    """Return the usual value behind each reason: (event, feature) -> (entity, median or most frequent value).

    Taken from the entity's latest `USUAL_EVENTS` events strictly before the event.
    """
    if history is None or not entities:
        return {}
    wanted: dict[str, dict[int, list[int]]] = {}
    for i, row in enumerate(chosen):
        for j in row:
            entity = features[j].entity or entities[0]
            there = columns is not None or features[j].name in history.columns
            if entity in entities and there and features[j].family != "labels":
                wanted.setdefault(entity, {}).setdefault(j, []).append(i)
    out: dict[tuple[int, int], tuple[str, Value]] = {}
    for entity, by_feature in wanted.items():
        rows = np.array(sorted({i for items in by_feature.values() for i in items}), dtype=np.int64)
        watch(f"earlier events of each {entity}")
        past = _recent_rows(frame, rows, history, entity)
        names = [features[j].name for j in by_feature]
        table = _usual_table(rows, past, names, columns or history.select, watch)
        for j, items in by_feature.items():
            level = dict(zip(table[".row"].to_list(), table[features[j].name].to_list(), strict=True))
            out |= {(i, j): (entity, level[i]) for i in items if level.get(i) is not None}
    return out


@dataclass(frozen=True)
class _RecentRows:
    """The latest earlier events of the entity of some events: rows of the history, one event's after the other's."""

    taken: IntArray
    size: IntArray
    """How many of ``taken`` belong to each event."""


def _recent_rows(frame: pl.DataFrame, rows: IntArray, history: pl.DataFrame, entity: str) -> _RecentRows:
    """Find the latest earlier events of each event's entity, up to `USUAL_EVENTS` of each.

    Memory grows with the events times `USUAL_EVENTS`, however many events an entity has.
    """
    wanted, t = frame[entity].gather(rows), micros(frame["event_time"].gather(rows))
    past = history.select(entity, "event_time", "event_id").with_row_index(".place")
    past = past.filter(pl.col(entity).is_in(wanted.unique().implode())).sort(entity, "event_time", "event_id")
    code = pl.concat([past[entity], wanted]).rank("dense").fill_null(0).to_numpy().astype(np.int64)
    known, mine, at = code[: past.height], code[past.height :], micros(past["event_time"])
    first, last = np.searchsorted(known, mine, side="left"), np.searchsorted(known, mine, side="right")
    end = np.array(
        [a + np.searchsorted(at[a:b], now) for a, b, now in zip(first, last, t, strict=True)], dtype=np.int64
    )
    size = np.where(mine > 0, np.minimum(end - first, USUAL_EVENTS), 0)
    taken = np.repeat(end - np.cumsum(size), size) + np.arange(size.sum())
    return _RecentRows(past[".place"].gather(taken).to_numpy().astype(np.int64), size)


def _usual_table(
    rows: IntArray, past: _RecentRows, names: list[str], columns: ReadColumns, watch: Watch
) -> pl.DataFrame:
    """Take the usual value of each column over the earlier events of each event; of columns read, one is held."""
    recent, levels = [pl.Series(".row", np.repeat(rows, past.size))], []
    for i, name in enumerate(names):
        watch(f"usual values, feature {i + 1} of {len(names)}")
        column = columns([name])[name]
        recent.append(column.gather(past.taken))
        levels.append(_usual_of(column.dtype, name))
    watch("usual values compared")
    return pl.DataFrame(recent).group_by(".row", maintain_order=True).agg(levels)


def _usual_of(dtype: pl.DataType, name: str) -> pl.Expr:
    if dtype.is_numeric():
        return pl.col(name).median()
    return pl.col(name).drop_nulls().mode().sort().first().alias(name)
