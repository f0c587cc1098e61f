"""The feature set that `fraudctl init` proposes: what fraud teams look at, fitted to the density of the data.

Owns the choice of windows (none longer than a third of the data, none in which almost nobody has a past), of
aggregates, label histories and row-level columns, and the words for them. It keeps the number of features in bounds:
with more than two entities only the first has the full set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fraudctl.propose import names
from fraudctl.propose.facts import DAY, EntityFacts
from fraudctl.propose.rest import Rest

_SECONDS = {"1h": 3_600.0, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
_PRIOR = 10
"""Outcomes at the usual fraud rate that a smoothed rate starts from."""
_AMOUNTS = ("sum(amount)", "mean(amount)", "std(amount)", "max(amount)")
_KNOWN = "seconds_since_last_known_fraud"


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
    """Everything that goes into ``[features]``; ``words`` are those beside the row-level columns' own."""

    window: tuple[Group, ...] = ()
    labels: tuple[Group, ...] = ()
    recency: tuple[Group, ...] = ()
    raw: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    columns: tuple[RowColumn, ...] = ()
    words: tuple[tuple[str, str], ...] = ()

    @property
    def n_features(self) -> int:
        """How many features the model will see."""
        windows = sum(len(g.by) * len(g.windows) * len(g.aggregates) for g in (*self.window, *self.labels))
        return windows + sum(len(g.by) * len(g.aggregates) for g in self.recency) + len(self.raw) + len(self.columns)


@dataclass(frozen=True)
class Party:
    """An entity as the plan sees it.

    Attributes
    ----------
    windows
        Those in which it has a past; never empty.
    label_windows
        Those in which it has outcomes; may be empty.
    full
        Whether it gets the full set.
    """

    name: str
    windows: tuple[str, ...]
    label_windows: tuple[str, ...]
    full: bool

    @property
    def longest(self) -> str:
        """The longest window."""
        return self.windows[-1]

    @property
    def short(self) -> str:
        """A day, or the shortest window."""
        return "1d" if "1d" in self.windows else self.windows[0]


def plan_features(
    entities: tuple[EntityFacts, ...], rest: Rest, *, span: float, delay: float, has_amount: bool, fraud_rate: float
) -> FeaturePlan:
    """Choose the features.

    Parameters
    ----------
    entities
        In order of importance: with more than two, the first gets the full set.
    span, delay
        Length of the data and the maturity horizon, seconds.
    has_amount
        Whether the project has an amount.
    fraud_rate
        Frauds among the outcomes: where smoothed rates start.
    """
    parties = list(_parties(entities, span=span, delay=delay))
    histories = [*_histories(parties, has_amount=has_amount), *_counterparties(parties)]
    highs = list(_high_amounts(parties)) if has_amount else []
    return FeaturePlan(
        window=tuple(_merged([*histories, *(group for group, _ in highs)])),
        labels=tuple(_merged(Group((p.name,), ("known_count", "fraud_count"), p.label_windows) for p in parties)),
        recency=tuple(_merged(_recencies(parties, with_frauds=span > 3 * delay))),
        raw=(*(("amount",) if has_amount else ()), *rest.raw),
        categorical=rest.categorical,
        columns=(*_columns(parties, has_amount=has_amount), *_risks(parties, fraud_rate)),
        words=tuple(words for _, words in highs),
    )


def _parties(entities: tuple[EntityFacts, ...], *, span: float, delay: float) -> Iterator[Party]:
    """Give the entities with a past, and the windows in which at least one event in 200 has one."""
    kept = []
    for item in entities:
        fits = {text: seconds for text, seconds in _SECONDS.items() if item.gaps[0] < seconds <= span / 3}
        if fits:
            kept.append((item, tuple(fits)))
    for i, (item, windows) in enumerate(kept):
        full = i == 0 or len(kept) <= 2
        yield Party(item.name, windows, _label_windows(item, span=span, delay=delay, most=3 if full else 1), full)


def _label_windows(entity: EntityFacts, *, span: float, delay: float, most: int) -> tuple[str, ...]:
    """Give the windows of at least a day that fit three times between the first outcome and the end of the data.

    The longest always counts; shorter ones where one outcome or more is usual in them.
    """
    fits = [text for text, seconds in _SECONDS.items() if DAY <= seconds <= (span - delay) / 3]
    usual = [text for text in fits[:-1] if entity.per_value * _SECONDS[text] / span >= 1]
    return tuple([*usual, *fits[-1:]][-most:])


def _histories(parties: list[Party], *, has_amount: bool) -> Iterator[Group]:
    for party in parties:
        if party.full:
            yield Group((party.name,), ("count", *(_AMOUNTS if has_amount else ())), party.windows)
            continue
        counted = tuple(window for window in party.windows if window != "7d")
        yield Group((party.name,), ("count",), counted)
        if has_amount:
            yield Group((party.name,), ("mean(amount)",), (party.longest,))


def _counterparties(parties: list[Party]) -> Iterator[Group]:
    """Count whom an entity was seen with: the first with every other one, the others with the first."""
    for party in parties:
        others = [other.name for other in parties if other is not party and (party.full or other is parties[0])]
        windows = (party.short, party.longest) if len(parties) <= 2 else (party.longest,)
        yield Group((party.name,), tuple(f"nunique({other})" for other in others), tuple(dict.fromkeys(windows)))


def _high_amounts(parties: list[Party]) -> Iterator[tuple[Group, tuple[str, str]]]:
    """Take shares of outlying amounts: how much of an entity's latest business was unusually high for the payer."""
    for party in (item for item in parties if item.full or names.receives(item.name)):
        window = party.windows[-2] if len(party.windows) > 1 else party.longest
        words = (
            f"share of amounts unusually high for their {spoken(parties[0].name)}, {spoken(party.name)}, {said(window)}"
        )
        yield Group((party.name,), ("mean(amount_is_high)",), (window,)), (
            f"{party.name}_mean_amount_is_high_{window}", words,
        )  # fmt: skip


def _recencies(parties: list[Party], *, with_frauds: bool) -> Iterator[Group]:
    for party in parties:
        known = (_KNOWN,) if with_frauds else ()
        first = ("seconds_since_first",) if party.full else ()
        yield Group((party.name,), ("seconds_since_last", *first, *known))


def _columns(parties: list[Party], *, has_amount: bool) -> Iterator[RowColumn]:
    yield RowColumn("event_hour", "hour(event_time)", "hour of the day")
    yield RowColumn("event_weekday", "extract(isodow FROM event_time)", "day of the week")
    for party in parties:
        if has_amount:
            yield from _own_amounts(party, is_first=party is parties[0])
        if party.longest != party.short and party.full:
            yield _pace(party.name, party.short, party.longest)


def _own_amounts(party: Party, *, is_first: bool) -> Iterator[RowColumn]:
    mean, std = f"{party.name}_mean_amount_{party.longest}", f"{party.name}_std_amount_{party.longest}"
    usual = f"the {spoken(party.name)}'s mean of {said(party.longest)}"
    yield RowColumn(f"amount_to_{party.name}_mean", f"amount / nullif({mean}, 0)", f"amount as a multiple of {usual}")
    if party.full:
        words = f"amount above {usual}, in standard deviations"
        yield RowColumn(f"amount_z_{party.name}", f"(amount - {mean}) / ({std} + 1)", words)
    if is_first:
        words = f"amount more than three standard deviations above {usual}"
        yield RowColumn("amount_is_high", f"amount > {mean} + 3 * {std}", words)


def _pace(entity: str, short: str, long: str) -> RowColumn:
    ratio = _SECONDS[long] / _SECONDS[short]
    sql = f"{entity}_count_{short} * {ratio:g} / nullif({entity}_count_{long}, 0)"
    words = f"events of the {spoken(entity)} in {said(short)}, as a multiple of its pace in {said(long)}"
    return RowColumn(f"{entity}_pace_{short}", sql, words)


def _risks(parties: list[Party], fraud_rate: float) -> Iterator[RowColumn]:
    """Give fraud rates that start from the usual rate, so that a single outcome does not make a rate of 1."""
    prior = float(f"{fraud_rate * _PRIOR:.2g}")
    for party in parties:
        for window in party.label_windows:
            sql = f"({party.name}_fraud_count_{window} + {prior:g}) / ({party.name}_known_count_{window} + {_PRIOR})"
            words = f"fraud rate of the {spoken(party.name)} among outcomes of {said(window)}, drawn to the usual rate"
            yield RowColumn(f"{party.name}_risk_{window}", sql, words)


def _merged(groups: Iterable[Group]) -> Iterator[Group]:
    """Join groups that differ in the entity only, and drop empty ones."""
    by: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for group in groups:
        if group.aggregates and (group.windows or group.aggregates[0].startswith("seconds_")):
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
    number, unit = int(window[:-1]), {"h": "hour", "d": "day"}[window[-1]]
    return f"the last {unit}" if number == 1 else f"the last {number} {unit}s"


def by_importance(facts: list[EntityFacts]) -> tuple[EntityFacts, ...]:
    """Order entities: paying parties before receiving ones, each side as in the file."""
    return tuple(sorted(facts, key=lambda item: names.receives(item.name)))
