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
from fraudctl.propose.rest import Remainder

_WINDOWS = ("1h", "1d", "7d", "30d")
_LABEL_WINDOWS = ("1d", "7d", "14d", "30d")
_SECONDS = {"1h": 3_600.0, "1d": DAY, "7d": 7 * DAY, "14d": 14 * DAY, "30d": 30 * DAY, "90d": 90 * DAY}
HOLDERS = frozenset({"customer", "client", "account", "user", "cardholder", "card", "payer", "sender", "source"})
"""Parties that are the payer under another name: meeting them for the first time says little."""


@dataclass(frozen=True)
class Group:
    """One table of ``[[features.window]]``, ``labels``, ``recency`` or ``hours``."""

    by: tuple[str, ...]
    aggregates: tuple[str, ...]
    windows: tuple[str, ...] = ()
    source: str | None = None


@dataclass(frozen=True)
class RowColumn:
    """One entry of ``[features.columns]``: name, SQL, and the words for reports."""

    name: str
    sql: str
    words: str


@dataclass(frozen=True)
class FeaturePlan:
    """Everything that goes into ``[features]``; ``words`` are those beside the row-level columns' own.

    How soon ids come back was measured on one id in ``one_in``; ``payer`` is the entity whose habits amounts are set
    against, None where no entity has a past.
    """

    window: tuple[Group, ...] = ()
    labels: tuple[Group, ...] = ()
    recency: tuple[Group, ...] = ()
    hours: tuple[Group, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    raw: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    columns: tuple[RowColumn, ...] = ()
    words: tuple[tuple[str, str], ...] = ()
    one_in: int = 1
    payer: str | None = None

    @property
    def n_features(self) -> int:
        """How many features the model will see."""
        windowed = sum(
            len(g.by) * len(g.windows) * len(g.aggregates) for g in (*self.window, *self.labels, *self.hours)
        )
        recent = sum(len(g.by) * len(g.aggregates) for g in self.recency)
        return windowed + recent + len(self.pairs) + len(self.raw) + len(self.columns)


@dataclass(frozen=True)
class Party:
    """An entity as the plan sees it.

    Attributes
    ----------
    windows
        Those in which it has a past; never empty.
    label_windows
        Those in which it has outcomes; may be empty.
    habit
        Windows that its usual amount is taken over: the longest, and 90 days where the data span twice that.
    is_payer
        Whether it comes first: amounts are set against its own.
    full
        Whether it gets the full set.
    weighs
        Whether it gets outcomes and amounts at all: full, or on the receiving side.
    """

    name: str
    windows: tuple[str, ...]
    label_windows: tuple[str, ...]
    habit: tuple[str, ...]
    is_payer: bool
    full: bool
    weighs: bool

    @property
    def longest(self) -> str:
        """The longest window."""
        return self.windows[-1]


@dataclass(frozen=True)
class Setting:
    """What the data as a whole allow.

    Attributes
    ----------
    span, delay
        Length of the data and the maturity horizon, seconds.
    usual_amount
        Median of the absolute amounts; None without an amount.
    columns
        Columns of the data, which row-level columns must not be named like.
    weekdays, hours
        Whether weekdays, and hours of the day, come back in the data and mean something.
    with_hours
        Times before the event whose hours of the day do.
    """

    span: float
    delay: float
    usual_amount: float | None
    columns: frozenset[str] = frozenset()
    weekdays: bool = True
    hours: bool = True
    with_hours: frozenset[str] = frozenset()

    def fits(self, window: str) -> bool:
        """Whether a window goes three times into the data."""
        return _SECONDS[window] <= self.span / 3


def plan_features(entities: tuple[EntityFacts, ...], rest: Remainder, setting: Setting) -> FeaturePlan:
    """Choose the features; ``entities`` come in order of importance, the payer first."""
    parties = list(_parties(entities, setting))
    has_amount = setting.usual_amount is not None
    histories = [*_histories(parties, has_amount=has_amount), *_counterparties(parties)]
    highs = list(_high_amounts(parties, setting)) if has_amount else []
    return FeaturePlan(
        window=tuple(_merged([*histories, *(group for group, _ in highs)])),
        labels=tuple(_merged(_outcomes(party, few=len(parties) > 2) for party in parties)),
        recency=tuple(_merged(_recency(party, setting) for party in parties)),
        hours=tuple(
            Group((party.name,), ("hour_distance",), (party.longest,)) for party in parties[:1] if setting.hours
        ),
        pairs=tuple(_pairs(parties)),
        raw=(*(("amount",) if has_amount else ()), *rest.raw),
        categorical=rest.categorical,
        columns=(*_columns(parties, setting), *_ages(rest.times, setting)),
        words=tuple(words for _, group_words in highs for words in group_words),
        payer=parties[0].name if parties else None,
    )


def _parties(entities: tuple[EntityFacts, ...], setting: Setting) -> Iterator[Party]:
    """Give the entities with a past, and the windows in which at least one event in 200 has one."""
    kept = []
    for item in entities:
        windows = tuple(text for text in _WINDOWS if item.gaps[0] < _SECONDS[text] and setting.fits(text))
        if windows:
            kept.append((item, windows))
    for i, (item, windows) in enumerate(kept):
        full = i == 0 or len(kept) <= 2
        weighs = full or names.receives(item.name)
        labels = _label_windows(item, setting)
        if i == 0 or not weighs:
            labels = labels[-1:] if not weighs else tuple(w for w in labels if w in {"7d", labels[-1]})
        twice = ("90d",) if setting.span >= 2 * _SECONDS["90d"] and windows[-1] == "30d" else ()
        yield Party(item.name, windows, labels, (windows[-1], *twice), i == 0, full, weighs)


def _label_windows(entity: EntityFacts, setting: Setting) -> tuple[str, ...]:
    """Give the windows that fit three times between the first outcome and the end of the data.

    The longest always counts; shorter ones where an outcome in every second one is usual.
    """
    fits = [text for text in _LABEL_WINDOWS if _SECONDS[text] <= (setting.span - setting.delay) / 3]
    usual = [text for text in fits[:-1] if entity.per_value * _SECONDS[text] / setting.span >= 0.5]
    return (*usual, *fits[-1:])


def _histories(parties: list[Party], *, has_amount: bool) -> Iterator[Group]:
    for party in parties:
        mine = (party.name,)
        hourly = tuple(window for window in party.windows[:-1] if window == "1h")
        if not party.full:
            yield Group(mine, ("count",), (*hourly, party.longest))
            if has_amount and party.weighs:
                yield Group(mine, ("mean(amount)",), (party.longest,))
            continue
        others = tuple(window for window in party.windows if window not in hourly)
        yield Group(mine, ("count", "sum(amount)") if has_amount else ("count",), hourly)
        yield Group(mine, ("count", "mean(amount)", "max(amount)") if has_amount else ("count",), others)
        if has_amount:
            yield Group(mine, ("std(amount)",), (party.longest,))
        if has_amount and party.is_payer:
            yield Group(mine, ("median(amount)", "mad(amount)"), party.habit)


def _high_amounts(parties: list[Party], setting: Setting) -> Iterator[tuple[Group, list[tuple[str, str]]]]:
    """Count the amounts that were unusually high for their payers, where they were made and of late."""
    windows = tuple(window for window in ("7d", "14d") if setting.fits(window))
    kinds = {"mean": "share", "sum": "number"} if len(parties) <= 2 else {"mean": "share"}
    for party in (item for item in parties if item.weighs):
        told = []
        for window in windows:
            for kind, word in kinds.items():
                whom = "it" if party.is_payer else f"their {spoken(parties[0].name)}"
                which = f"amounts of the {spoken(party.name)} in {said(window)}"
                words = f"{word} of {which} that were unusually high for {whom}"
                told.append((f"{party.name}_{kind}_amount_is_high_{window}", words))
        yield Group((party.name,), tuple(f"{kind}(amount_is_high)" for kind in kinds), windows), told


def _outcomes(party: Party, *, few: bool) -> Group:
    """Give outcomes by the time of the event; with many entities without the counts that rates are made of."""
    if not party.weighs:
        return Group((party.name,), ("fraud_count",), party.label_windows)
    counts = ("fraud_count",) if few else ("known_count", "fraud_count")
    return Group((party.name,), (*counts, "smoothed_rate"), party.label_windows)


def _counterparties(parties: list[Party]) -> Iterator[Group]:
    """Count whom an entity was seen with: the payer with every other one, the others with the payer."""
    for party in parties:
        others = [other for other in parties if other is not party and (party.full or other.is_payer)]
        strangers = [other.name for other in others if not (party.is_payer and other.name in HOLDERS)]
        yield Group((party.name,), tuple(f"nunique({name})" for name in strangers), (party.longest,))


def _pairs(parties: list[Party]) -> Iterator[tuple[str, str]]:
    """Give the meetings of the payer with what is not the payer by another name."""
    for other in parties[1:]:
        if other.name not in HOLDERS:
            yield parties[0].name, other.name


def _recency(party: Party, setting: Setting) -> Group:
    known = ("seconds_since_last_known_fraud",) if setting.span > 3 * setting.delay else ()
    run = ("seconds_since_fraud_run_began",) if known and party.weighs else ()
    first = ("seconds_since_first",) if party.weighs else ()
    return Group((party.name,), ("seconds_since_last", *first, *known, *run))


def _columns(parties: list[Party], setting: Setting) -> Iterator[RowColumn]:
    if setting.hours and "event_hour" not in setting.columns:
        yield RowColumn("event_hour", "hour(event_time)", "hour of the day")
    if setting.weekdays and "event_weekday" not in setting.columns:
        yield RowColumn("event_weekday", "extract(isodow FROM event_time)", "day of the week")
    for party in parties:
        if setting.usual_amount is not None and party.is_payer:
            yield from _own_amounts(party, floor=_floor(setting.usual_amount))
        elif setting.usual_amount is not None and party.weighs:
            sql = f"amount / nullif({party.name}_mean_amount_{party.longest}, 0)"
            words = f"amount as a multiple of the {spoken(party.name)}'s mean of {said(party.longest)}"
            yield RowColumn(f"amount_to_{party.name}_mean", sql, words)
        if party.is_payer and "1d" in party.windows[:-1]:
            yield _pace(party.name, "1d", party.longest)


def _ages(times: tuple[str, ...], setting: Setting) -> Iterator[RowColumn]:
    """Give the age of each earlier time at the event, and its hour of the day."""
    for name in times:
        column, plain = quoted_column(name), "_".join(names.tokens(name)) or "time"
        ages = [
            (
                f"seconds_since_{plain}",
                f"extract(epoch FROM event_time) - extract(epoch FROM cast({column} AS timestamp))",
                f"seconds from {spoken(plain)} to the event",
            )
        ]
        if name in setting.with_hours:
            ages.append((f"{plain}_hour", f"hour({column})", f"hour of the day of {spoken(plain)}"))
        yield from (RowColumn(*age) for age in ages if age[0] not in setting.columns)


def quoted_column(name: str) -> str:
    """Return a column as row-level SQL takes it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _floor(usual_amount: float) -> str:
    """Give what keeps a spread of nothing from dividing: a fiftieth of a usual amount, in one digit."""
    return f"{usual_amount / 50:.1g}" if usual_amount > 0 else "1"


def _own_amounts(party: Party, *, floor: str) -> Iterator[RowColumn]:
    who = spoken(party.name)
    for window in party.habit:
        spread = _spread(party.name, window, floor)
        sql = f"(amount - {party.name}_median_amount_{window}) / ({spread})"
        words = f"amount above the {who}'s median of {said(window)}, in usual deviations"
        yield RowColumn(f"amount_robust_z_{party.name}_{window}", sql, words)
    longest, habit = party.longest, party.habit[-1]
    sql = f"amount / nullif({party.name}_median_amount_{longest}, 0)"
    words = f"amount as a multiple of the {who}'s median of {said(longest)}"
    yield RowColumn(f"amount_to_{party.name}_median", sql, words)
    sql = f"(amount - {party.name}_mean_amount_{longest}) / ({party.name}_std_amount_{longest} + {floor})"
    words = f"amount above the {who}'s mean of {said(longest)}, in standard deviations"
    yield RowColumn(f"amount_z_{party.name}", sql, words)
    sql = f"amount > {party.name}_median_amount_{habit} + 4 * ({_spread(party.name, habit, floor)})"
    words = f"amount more than four usual deviations above the {who}'s median of {said(habit)}"
    yield RowColumn("amount_is_high", sql, words)


def _spread(entity: str, window: str, floor: str) -> str:
    """Give the median absolute deviation, scaled to a standard deviation of normal amounts (1 / 0.6745)."""
    return f"1.4826 * {entity}_mad_amount_{window} + {floor}"


def _pace(entity: str, short: str, long: str) -> RowColumn:
    ratio = _SECONDS[long] / _SECONDS[short]
    sql = f"{entity}_count_{short} * {ratio:g} / nullif({entity}_count_{long}, 0)"
    words = f"events of the {spoken(entity)} in {said(short)}, as a multiple of its pace in {said(long)}"
    return RowColumn(f"{entity}_pace_{short}", sql, words)


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
