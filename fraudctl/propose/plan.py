"""The feature set that `fraudctl init` proposes: what fraud teams look at, fitted to the density of the data.

Owns the choice of windows (none longer than a third of the data, none in which almost nobody has a past), of
aggregates, label histories and row-level columns, and the words for them. It keeps the number of features in bounds:
with many entities each gets fewer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fraudctl.propose import names
from fraudctl.propose.facts import DAY, EntityFacts
from fraudctl.propose.rest import Rest

_WINDOWS = {"1h": 3_600.0, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
_LABEL_WINDOWS = {"1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
_AMOUNTS = ("sum(amount)", "mean(amount)", "std(amount)", "max(amount)")


@dataclass(frozen=True)
class Group:
    """One ``[[features.window]]``, ``[[features.labels]]`` or ``[[features.recency]]`` table."""

    by: tuple[str, ...]
    aggregates: tuple[str, ...]
    windows: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowColumn:
    """One entry of ``[features.columns]``: name, SQL, and the words for reports."""

    name: str
    sql: str
    words: str


@dataclass(frozen=True)
class FeaturePlan:
    """Everything that goes into ``[features]``."""

    window: tuple[Group, ...] = ()
    labels: tuple[Group, ...] = ()
    recency: tuple[Group, ...] = ()
    raw: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    columns: tuple[RowColumn, ...] = field(default=())

    @property
    def n_features(self) -> int:
        """How many features the model will see."""
        windows = sum(len(g.by) * len(g.windows) * len(g.aggregates) for g in (*self.window, *self.labels))
        return windows + sum(len(g.by) * len(g.aggregates) for g in self.recency) + len(self.raw) + len(self.columns)


def plan_features(
    entities: tuple[EntityFacts, ...], rest: Rest, *, span: float, delay: float, has_amount: bool
) -> FeaturePlan:
    """Choose the features.

    Parameters
    ----------
    entities
        In order of importance: the first gets the full set where there are more than two.
    span
        Length of the data, seconds.
    delay
        The maturity horizon, seconds.
    has_amount
        Whether the project has an amount.
    """
    windows = {item.name: _windows(item, span) for item in entities}
    present = tuple(item for item in entities if windows[item.name])
    return FeaturePlan(
        window=tuple(_merged([*_histories(present, windows, has_amount), *_counterparties(present, windows)])),
        labels=tuple(_merged(_label_groups(present, span, delay))),
        recency=tuple(_merged(_recencies(present, span, delay))),
        raw=(*(("amount",) if has_amount else ()), *rest.raw),
        categorical=rest.categorical,
        columns=tuple(_columns(present, windows, has_amount)),
    )


def _windows(entity: EntityFacts, span: float) -> tuple[str, ...]:
    """Give the windows in which at least one event in 200 has a past, and which fit three times into the data."""
    nearest = entity.gaps[0]
    return tuple(text for text, seconds in _WINDOWS.items() if nearest < seconds <= span / 3)


def _is_full(entities: tuple[EntityFacts, ...], entity: EntityFacts) -> bool:
    return len(entities) <= 2 or entity is entities[0]


def _histories(
    entities: tuple[EntityFacts, ...], windows: dict[str, tuple[str, ...]], has_amount: bool
) -> Iterator[Group]:  # noqa: FBT001
    for item in entities:
        full = _is_full(entities, item)
        amounts = () if not has_amount else _AMOUNTS if full else ("mean(amount)",)
        chosen = windows[item.name] if full else tuple(w for w in windows[item.name] if w != "7d")
        yield Group((item.name,), ("count", *amounts), chosen)


def _counterparties(entities: tuple[EntityFacts, ...], windows: dict[str, tuple[str, ...]]) -> Iterator[Group]:
    """Count the other parties an entity was seen with: in a day and, for the first, in its longest window."""
    for item in entities:
        others = [other.name for other in entities if other is not item]
        if not _is_full(entities, item):
            others = [other for other in others if other == entities[0].name]
        chosen = [w for w in windows[item.name] if w in {"1d", windows[item.name][-1]}]
        if others and chosen:
            shown = tuple(chosen) if _is_full(entities, item) else (chosen[-1],)
            yield Group((item.name,), tuple(f"nunique({other})" for other in others), shown)


def _label_groups(entities: tuple[EntityFacts, ...], span: float, delay: float) -> Iterator[Group]:
    """Give label histories to entities with at least five outcomes in the longest window."""
    for item in entities:
        windows = tuple(text for text, seconds in _LABEL_WINDOWS.items() if seconds <= (span - delay) / 3)
        per_second = item.per_value / span
        kept = tuple(text for text in windows if per_second * _LABEL_WINDOWS[text] >= 1)
        if kept and per_second * _LABEL_WINDOWS[kept[-1]] >= 5:
            yield Group((item.name,), ("known_count", "fraud_count", "fraud_rate"), kept)
        elif windows:
            yield Group((item.name,), ("fraud_count",), (windows[-1],))


def _recencies(entities: tuple[EntityFacts, ...], span: float, delay: float) -> Iterator[Group]:
    for item in entities:
        known = ("seconds_since_last_known_fraud",) if span > 3 * delay else ()
        yield Group((item.name,), ("seconds_since_last", "seconds_since_first", *known))


def _columns(
    entities: tuple[EntityFacts, ...], windows: dict[str, tuple[str, ...]], has_amount: bool
) -> Iterator[RowColumn]:  # noqa: FBT001
    yield RowColumn("event_hour", "hour(event_time)", "hour of the day")
    yield RowColumn("event_weekday", "extract(isodow from event_time)", "day of the week")
    for item in entities:
        longest, shortest = windows[item.name][-1], windows[item.name][0]
        if has_amount:
            yield from _own_amounts(item.name, longest, spread=_is_full(entities, item))
        if longest != shortest:
            short = "1d" if "1d" in windows[item.name][:-1] else shortest
            yield _velocity(item.name, short, longest)


def _own_amounts(entity: str, window: str, *, spread: bool) -> Iterator[RowColumn]:
    mean, std = f"{entity}_mean_amount_{window}", f"{entity}_std_amount_{window}"
    who = f"the {spoken(entity)}'s usual one ({said(window)})"
    yield RowColumn(f"amount_to_{entity}_mean", f"amount / nullif({mean}, 0)", f"amount as a multiple of {who}")
    if spread:
        yield RowColumn(
            f"amount_z_{entity}",
            f"(amount - {mean}) / ({std} + 1.0)",
            f"amount above {who}, in units of its usual spread",
        )


def _velocity(entity: str, short: str, long: str) -> RowColumn:
    ratio = round(_WINDOWS[long] / _WINDOWS[short], 6)
    sql = f"{entity}_count_{short} * {ratio:g} / nullif({entity}_count_{long}, 0)"
    words = f"events of the {spoken(entity)} in {said(short)}, against its usual pace"
    return RowColumn(f"{entity}_pace_{short}", sql, words)


def _merged(groups: Iterator[Group] | list[Group]) -> Iterator[Group]:
    """Join groups that differ in the entity only."""
    by: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for group in groups:
        if group.aggregates and (group.windows or "seconds" in group.aggregates[0]):
            by.setdefault((group.aggregates, group.windows), []).extend(group.by)
    for (aggregates, windows), entities in by.items():
        yield Group(tuple(entities), aggregates, windows)


def spoken(name: str) -> str:
    """Give a name as words."""
    return name.replace("_", " ")


def said(window: str) -> str:
    """Give a window as words.

    >>> said("1h"), said("30d")
    ('the last hour', 'the last 30 days')
    """
    number, unit = int(window[:-1]), {"h": "hour", "d": "day", "m": "minute", "w": "week"}[window[-1]]
    return f"the last {unit}" if number == 1 else f"the last {number} {unit}s"


def by_importance(facts: list[EntityFacts]) -> tuple[EntityFacts, ...]:
    """Order entities: paying parties before receiving ones, those with denser histories first, then as in the file."""
    return tuple(sorted(facts, key=lambda item: (names.receives(item.name), -min(item.per_value, 1000.0) // 5)))
