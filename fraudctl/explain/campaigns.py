"""Missed frauds that belong together: campaigns that hang on one entity, found with labels in hindsight.

Owns the link of a missed fraud to the entity that best explains it, and the grouping of linked frauds in time. The
other frauds of an entity are looked for on both sides of the event, so this is a diagnosis: nobody had these labels
then.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray, IntArray, ObjectArray
from fraudctl.explain.causes import DAY_US
from fraudctl.explain.scene import Scene, micros
from fraudctl.progress import Watch, unwatched
from fraudctl.uncertainty import codes_by_appearance

REACH_DAYS: Final = 14
"""Frauds of an entity this many days apart belong to one campaign."""
SURPRISE: Final = 1e-3
"""Largest chance, at the overall fraud rate, of an entity's other frauds for a link to count."""


@dataclass(frozen=True)
class CampaignEvent:
    """A fraud of a campaign: when, and whether it was missed (inside the period), caught, or lies outside of it."""

    event_time: datetime
    """Time of the fraud."""
    kind: str
    """``missed``, ``caught``, or ``outside`` the period."""
    cost: float
    """Money lost."""


@dataclass(frozen=True)
class Campaign:
    """Frauds of one entity value within `REACH_DAYS` of each other, at least one of them missed.

    Attributes
    ----------
    entity, value
        The shared entity and its id (text).
    size
        Frauds in it: missed, caught, and outside the period.
    cost
        Money lost by the missed ones.
    n_events
        All labelled events of the entity between the first and the last of its frauds.
    """

    entity: str
    value: str
    size: int
    n_missed: int
    """Missed frauds of the period in it."""
    n_caught: int
    """Caught frauds of the period in it."""
    cost: float
    n_events: int
    start: datetime
    """Time of its first fraud."""
    end: datetime
    """Time of its last fraud."""
    course: tuple[CampaignEvent, ...]
    """Its frauds in time order."""


@dataclass(frozen=True)
class CampaignTotal:
    """The campaigns with at least two missed frauds, together. A fraud that two of them share counts once.

    Attributes
    ----------
    n_campaigns, kinds
        How many they are, and how many hang on which kind of entity, the most frequent first.
    n_missed, cost
        Missed frauds in any of them, and the money lost by these.
    n_shared
        Those of them that lie in more than one.
    n_all
        All missed frauds of the period; ``n_all - n_missed`` lie in none of these campaigns.
    worst, n_worst
        The campaign that lost most, the first of equals, and how many lost as much.
    """

    n_campaigns: int
    kinds: tuple[tuple[str, int], ...]
    n_missed: int
    cost: float
    n_shared: int
    n_all: int
    worst: Campaign
    n_worst: int


@dataclass(frozen=True)
class Campaigns:
    """All campaigns with a missed fraud, the costliest first, and which missed fraud belongs to which.

    Attributes
    ----------
    rows
        Positions of the missed frauds in the scene.
    member
        Position in `items` for each; -1 for frauds without one.
    total
        Those with at least two missed frauds, together; None without any.
    """

    rows: IntArray
    member: IntArray
    items: tuple[Campaign, ...]
    total: CampaignTotal | None


def find_campaigns(scene: Scene, *, watch: Watch = unwatched) -> Campaigns:
    """Link every missed fraud to at most one entity and group them; ``watch`` is called with each step before it."""
    rows = np.flatnonzero(scene.missed)
    known = scene.labelled
    entity = link(scene.scored[rows], known, entities=scene.entities, watch=watch)
    member = np.full(len(rows), -1, dtype=np.int64)
    place = {item: i for i, item in enumerate(scene.scored["event_id"].gather(rows).to_list())}
    decided = scene.scored.select("event_id", "action", cost=scene.cost)
    found: list[tuple[Campaign, IntArray]] = []
    for name in scene.entities:
        watch(f"grouped by {name}")
        values = scene.scored[name].gather(rows[np.flatnonzero(entity == name)]).unique()
        if len(values):
            mine = known.filter(pl.col(name).is_in(values.implode()))
            found.extend(_campaigns_of(mine, decided, name, place))
    found.sort(key=lambda pair: (-pair[0].cost, pair[0].entity, pair[0].value, pair[0].start))
    kept = [(item, places, own) for item, places in found if len(own := _mine(item, places, entity))]
    for i, (_, _, linked) in enumerate(kept):
        member[linked] = i
    total = _total([(item, places) for item, places, _ in kept if item.n_missed > 1], scene.cost[rows])
    return Campaigns(rows, member, tuple(item for item, _, _ in kept), total)


def _total(several: list[tuple[Campaign, IntArray]], cost: FloatArray) -> CampaignTotal | None:
    """Count the missed frauds of overlapping campaigns once; ``cost`` is that of every missed fraud."""
    if not several:
        return None
    times = np.bincount(np.concatenate([places for _, places in several]), minlength=len(cost))
    kinds = Counter(item.entity for item, _ in several)
    worst = max((item for item, _ in several), key=lambda item: item.cost)
    return CampaignTotal(
        n_campaigns=len(several),
        kinds=tuple(sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))),
        n_missed=int((times > 0).sum()),
        cost=float(cost[times > 0].sum()),
        n_shared=int((times > 1).sum()),
        n_all=len(cost),
        worst=worst,
        n_worst=sum(item.cost == worst.cost for item, _ in several),
    )


def _mine(item: Campaign, places: IntArray, entity: ObjectArray) -> IntArray:
    """Keep the missed frauds that are linked through this campaign's kind of entity."""
    return np.asarray(places[entity[places] == item.entity], dtype=np.int64)


def link(
    events: pl.DataFrame, known: pl.DataFrame, *, entities: tuple[str, ...], watch: Watch = unwatched
) -> ObjectArray:
    """Return the entity that best explains each fraud, or None: the least likely count of other frauds around it.

    For each entity, the frauds among its other labelled events within `REACH_DAYS` on either side are compared with a
    binomial at the overall fraud rate; the entity with the smallest tail probability wins if that is below `SURPRISE`.
    """
    from scipy.special import betainc

    rate = float((known["label"] == 1).sum()) / max(known.height, 1)
    surprise = np.zeros((events.height, len(entities)))
    for j, name in enumerate(entities):
        watch(f"frauds around each {name}")
        n, frauds = around(events, known, name, reach_days=REACH_DAYS)
        with np.errstate(divide="ignore"):
            tail = -np.log(betainc(frauds, n - frauds + 1, rate))  # of a binomial, from ``frauds`` on
        surprise[:, j] = np.where(frauds > 0, np.nan_to_num(tail, posinf=1e6), 0.0)
    out = np.full(events.height, None, dtype=object)
    if entities:
        best = surprise.argmax(axis=1)
        clear = surprise.max(axis=1) > -np.log(SURPRISE)
        out[clear] = np.asarray(entities, dtype=object)[best[clear]]
    return out


def around(
    events: pl.DataFrame, known: pl.DataFrame, entity: str, *, reach_days: float
) -> tuple[FloatArray, FloatArray]:
    """Count the other labelled events and the other frauds of each event's entity within ``reach_days`` of it.

    See `Around`, which does the same for several reaches.
    """
    return Around.of(events, known, entity).within(reach_days)


@dataclass(frozen=True)
class Around:
    """The labelled events of the entities of some events, sorted once for counts within any reach.

    ``known`` holds only labelled rows. Counts leave out the event itself; a null entity has none. By prefix sums:
    memory and time grow with the rows, not with their pairs.

    Attributes
    ----------
    times
        The distinct times of the labelled events in µs, rising.
    key
        One number for each labelled event, rising: its entity, and the rank of its time.
    frauds
        Frauds among the first labelled events, shape ``(n_known + 1,)``.
    wanted, t
        Entity and time of each event.
    seen, own_fraud
        Whether the event is among the labelled ones, and is a fraud among them: 1 or 0.
    """

    times: IntArray
    key: IntArray
    frauds: IntArray
    wanted: IntArray
    t: IntArray
    seen: IntArray
    own_fraud: IntArray

    @classmethod
    def of(cls, events: pl.DataFrame, known: pl.DataFrame, entity: str) -> Around:
        """Sort the labelled events that share an entity with any of the events."""
        known = known.select("event_id", "event_time", "label", entity)
        known = known.filter(pl.col(entity).is_in(events[entity].unique().implode()))
        values = codes_by_appearance(pl.concat([known[entity], events[entity]])) + 1  # null is 0
        code, wanted = values[: known.height], values[known.height :]
        times, key = _keys(code, micros(known["event_time"]))
        order = np.argsort(key, kind="stable")
        key = key[order]
        frauds = np.concatenate([[0], np.cumsum(known["label"].to_numpy()[order] == 1)]).astype(np.int64)
        seen = events["event_id"].is_in(known["event_id"].implode()).to_numpy().astype(np.int64)
        fraud = (events["label"] == 1).fill_null(value=False).to_numpy().astype(np.int64)
        return cls(times, key, frauds, wanted, micros(events["event_time"]), seen, fraud * seen)

    def within(self, reach_days: float) -> tuple[FloatArray, FloatArray]:
        """Return the other events within ``reach_days`` of each, and those of them that are fraud, ``(n_events,)``."""
        reach = int(reach_days * DAY_US)
        low, high = _between(self.times, self.key, self.wanted, self.t - reach, self.t + reach)
        none = self.wanted == 0
        n = np.where(none, 0, high - low - self.seen)
        frauds = np.where(none, 0, self.frauds[high] - self.frauds[low] - self.own_fraud)
        return n.astype(np.float64), frauds.astype(np.float64)


def _keys(code: IntArray, at: IntArray) -> tuple[IntArray, IntArray]:
    """Return the distinct times, rising, and a key of each row: one number for code and rank of the time."""
    times = _distinct(at)
    return times, (code * (len(times) + 1) + np.searchsorted(times, at)).astype(np.int64)


def _between(
    times: IntArray, key: IntArray, wanted: IntArray, first: IntArray, last: IntArray
) -> tuple[IntArray, IntArray]:
    """Return the ranges of rows with the wanted code and ``first <= at <= last``; times as of `_keys`, keys rising.

    Times are compared exactly, by their ranks.
    """
    base = wanted * (len(times) + 1)
    low = np.searchsorted(key, base + np.searchsorted(times, first, side="left"), side="left")
    high = np.searchsorted(key, base + np.searchsorted(times, last, side="right"), side="left")
    return low.astype(np.int64), high.astype(np.int64)


def _distinct(values: IntArray) -> IntArray:
    """Return the different values, rising; times of a table are in order, and sorted ones are sorted at once."""
    rising = np.sort(values, kind="stable")
    return rising[np.r_[True, rising[1:] != rising[:-1]]] if len(rising) else rising


def _campaigns_of(
    mine: pl.DataFrame, decided: pl.DataFrame, entity: str, place: dict[object, int]
) -> list[tuple[Campaign, IntArray]]:
    """Group the frauds of each value of an entity in time and keep the groups with a missed one."""
    frauds = (
        mine.filter(pl.col("label") == 1)
        .select("event_id", "event_time", entity)
        .sort(entity, "event_time", "event_id")
    )
    frauds = frauds.join(decided, on="event_id", how="left", maintain_order="left")
    new_value = (frauds[entity] != frauds[entity].shift(1)).fill_null(value=True).to_numpy()
    gap = np.diff(micros(frauds["event_time"]), prepend=0) > REACH_DAYS * DAY_US
    starts = np.flatnonzero(new_value | gap)
    ends = np.append(starts[1:], frauds.height)
    n_events = _events_between(mine, frauds, entity, starts, ends - 1)
    out: list[tuple[Campaign, IntArray]] = []
    for k, (a, b) in enumerate(zip(starts, ends, strict=True)):
        part = list(frauds[int(a) : int(b)].iter_rows())
        places = [place[row[0]] for row in part if row[0] in place]
        if places:
            out.append((_campaign(part, entity, int(n_events[k])), np.asarray(places, dtype=np.int64)))
    return out


def _events_between(mine: pl.DataFrame, frauds: pl.DataFrame, entity: str, first: IntArray, last: IntArray) -> IntArray:
    """Count the labelled events of an entity value from one of its frauds to another, both included."""
    code = pl.concat([mine[entity], frauds[entity]]).rank("dense").to_numpy().astype(np.int64)
    at, t = micros(mine["event_time"]), micros(frauds["event_time"])
    own = code[mine.height :]
    times, key = _keys(code[: mine.height], at)
    low, high = _between(times, np.sort(key), own[first], t[first], t[last])
    return high - low


def _campaign(part: list[tuple[Any, ...]], entity: str, n_events: int) -> Campaign:
    """Describe one group; rows are event_id, event_time, entity value, action and cost (null outside the period)."""
    course = tuple(
        CampaignEvent(at, "outside" if action is None else "missed" if action == "allow" else "caught", cost or 0.0)
        for _, at, _, action, cost in part
    )
    missed = [item.cost for item in course if item.kind == "missed"]
    return Campaign(
        entity=entity,
        value=str(part[0][2]),
        size=len(course),
        n_missed=len(missed),
        n_caught=sum(item.kind == "caught" for item in course),
        cost=float(sum(missed)),
        n_events=n_events,
        start=course[0].event_time,
        end=course[-1].event_time,
        course=course,
    )
