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

_WINDOWS = ("1h", "1d", "7d", "30d")
_LABEL_WINDOWS = ("3d", "7d", "14d", "30d")
_SECONDS = {"1h": 3_600.0, "1d": DAY, "3d": 3 * DAY, "7d": 7 * DAY, "14d": 14 * DAY, "30d": 30 * DAY}
_PRIOR = 10
"""Outcomes at the usual fraud rate that a smoothed rate starts from."""
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
    receives
        Whether it is on the receiving side, shared by many payers.
    full
        Whether it gets the full set.
    """

    name: str
    windows: tuple[str, ...]
    label_windows: tuple[str, ...]
    receives: bool
    full: bool

    @property
    def long(self) -> tuple[str, ...]:
        """The two longest windows: what is usual."""
        return self.windows[-2:]

    @property
    def brief(self) -> tuple[str, ...]:
        """The others: what is happening now."""
        return self.windows[:-2]

    @property
    def weighs_amounts(self) -> bool:
        """Whether amounts are set against its own."""
        return self.full or self.receives

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
    return FeaturePlan(
        window=tuple(_merged([*_histories(parties, has_amount=has_amount), *_counterparties(parties)])),
        labels=tuple(_merged(map(_outcomes, parties))),
        recency=tuple(_merged(_recencies(parties, with_frauds=span > 3 * delay))),
        raw=(*(("amount",) if has_amount else ()), *rest.raw),
        categorical=rest.categorical,
        columns=(*_columns(parties, has_amount=has_amount), *_risks(parties, fraud_rate)),
        words=tuple(_window_words(parties)) if has_amount else (),
    )


def _parties(entities: tuple[EntityFacts, ...], *, span: float, delay: float) -> Iterator[Party]:
    """Give the entities with a past, and the windows in which at least one event in 200 has one."""
    kept = []
    for item in entities:
        fits = tuple(text for text in _WINDOWS if item.gaps[0] < _SECONDS[text] <= span / 3)
        if fits:
            kept.append((item, fits))
    for i, (item, windows) in enumerate(kept):
        receives, full = names.receives(item.name), i == 0 or len(kept) <= 2
        most = 4 if receives else 2 if full else 1
        yield Party(item.name, windows, _label_windows(item, span=span, delay=delay)[-most:], receives, full)


def _label_windows(entity: EntityFacts, *, span: float, delay: float) -> tuple[str, ...]:
    """Give the windows that fit three times between the first outcome and the end of the data.

    The longest always counts; shorter ones where one outcome or more is usual in them.
    """
    fits = [text for text in _LABEL_WINDOWS if _SECONDS[text] <= (span - delay) / 3]
    usual = [text for text in fits[:-1] if entity.per_value * _SECONDS[text] / span >= 1]
    return (*usual, *fits[-1:])


def _histories(parties: list[Party], *, has_amount: bool) -> Iterator[Group]:
    for party in parties:
        if not party.full:
            yield Group((party.name,), ("count",), tuple(window for window in party.windows if window != "7d"))
            if has_amount and party.receives:
                yield Group((party.name,), ("mean(amount)",), (party.longest,))
            continue
        yield Group((party.name,), ("count", *(("sum(amount)", "max(amount)") if has_amount else ())), party.brief)
        usual = ("mean(amount)", "std(amount)", "max(amount)") if has_amount else ()
        yield Group((party.name,), ("count", *usual), party.long)
    if has_amount:
        for party in parties:
            multiples = _multiple(parties[0])
            if party.weighs_amounts:
                yield Group((party.name,), (f"mean({multiples})", f"max({multiples})"), party.long)


def _multiple(party: Party) -> str:
    return f"amount_vs_{party.name}"


def _window_words(parties: list[Party]) -> Iterator[tuple[str, str]]:
    """Give words for the windows over multiples: how unusual the latest amounts of an entity were for their payers."""
    for party in parties:
        for window in party.long if party.weighs_amounts else ():
            for kind, word in (("mean", "mean"), ("max", "highest")):
                usual = f"as a multiple of what was usual for the {spoken(parties[0].name)}"
                words = f"{word} amount of the {spoken(party.name)} in {said(window)}, {usual}"
                yield f"{party.name}_{kind}_{_multiple(parties[0])}_{window}", words


def _outcomes(party: Party) -> Group:
    kinds = ("known_count", "fraud_count") if party.weighs_amounts else ("fraud_count",)
    return Group((party.name,), kinds, party.label_windows)


def _counterparties(parties: list[Party]) -> Iterator[Group]:
    """Count whom an entity was seen with: the first with every other one, the others with the first."""
    for party in parties:
        others = [other.name for other in parties if other is not party and (party.full or other is parties[0])]
        windows = party.long if len(parties) <= 2 else (party.longest,)
        yield Group((party.name,), tuple(f"nunique({other})" for other in others), windows)


def _recencies(parties: list[Party], *, with_frauds: bool) -> Iterator[Group]:
    for party in parties:
        known = (_KNOWN,) if with_frauds else ()
        first = ("seconds_since_first",) if party.full else ()
        yield Group((party.name,), ("seconds_since_last", *first, *known))


def _columns(parties: list[Party], *, has_amount: bool) -> Iterator[RowColumn]:
    yield RowColumn("event_hour", "hour(event_time)", "hour of the day")
    yield RowColumn("event_weekday", "extract(isodow FROM event_time)", "day of the week")
    for party in parties:
        if has_amount and party.weighs_amounts:
            yield from _own_amounts(party)
        if party.longest != party.short and party.full:
            yield _pace(party.name, party.short, party.longest)


def _own_amounts(party: Party) -> Iterator[RowColumn]:
    mean, std = f"{party.name}_mean_amount_{party.longest}", f"{party.name}_std_amount_{party.longest}"
    usual = f"the {spoken(party.name)}'s mean of {said(party.longest)}"
    yield RowColumn(_multiple(party), f"amount / nullif({mean}, 0)", f"amount as a multiple of {usual}")
    if party.full:
        words = f"amount above {usual}, in standard deviations"
        yield RowColumn(f"amount_z_{party.name}", f"(amount - {mean}) / ({std} + 1)", words)


def _pace(entity: str, short: str, long: str) -> RowColumn:
    ratio = _SECONDS[long] / _SECONDS[short]
    sql = f"{entity}_count_{short} * {ratio:g} / nullif({entity}_count_{long}, 0)"
    words = f"events of the {spoken(entity)} in {said(short)}, as a multiple of its pace in {said(long)}"
    return RowColumn(f"{entity}_pace_{short}", sql, words)


def _risks(parties: list[Party], fraud_rate: float) -> Iterator[RowColumn]:
    """Give fraud rates that start from the usual rate, so that a single outcome does not make a rate of 1."""
    prior = float(f"{fraud_rate * _PRIOR:.2g}")
    for party in (item for item in parties if item.weighs_amounts):
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
