"""The weeks after the sample, with planted changes whose truth is known.

Owns how the world goes on: the same customers, cards, devices, addresses and merchants, at the pace of the sample's
end, without growth and without a drift month. Nothing changes but what is planted. It makes some weeks before and after
the period as well, and throws them away, so that no pattern begins or ends with the period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from fraudctl.sample import frames, patterns
from fraudctl.sample.bursts import BurstPlan
from fraudctl.sample.calendar import DAY, Calendar, later_calendar
from fraudctl.sample.draws import Draws, Floats, Ints
from fraudctl.sample.labels import make_labels
from fraudctl.sample.logins import Logins, make_logins
from fraudctl.sample.making import COPY_RATE, FRAUD_RATE, NumberedSample, Streams, all_rows, make_plans, transactions_of
from fraudctl.sample.ordinary import ordinary_rows
from fraudctl.sample.rows import NEW_ATTACK, UNKNOWN, Rows, card_of, new_devices, price, proxy_ip, stack
from fraudctl.sample.world import APP, COUNTRIES, ECOM, Customers, SampleWorld

CHANGES = {
    "attack": "a fraud pattern that the sample has not: costly goods, each with another card and a new device",
    "dead-feature": "ip of the transactions is null",
    "clock": "created_at of the transactions is one hour too early",
    "volume": "60 % more ordinary payments",
    "label-delay": "outcomes of events arrive after twice the time",
    "poisoned-labels": "one outcome in five of approved payments says the opposite of what is true",
}
"""The changes that can be planted, in the order in which they begin unless days are named."""

_PADDING = 28
_RENEWALS = 0.30 / 120
"""Share of the customers who get a new phone, per day."""
_PHONES = NEW_ATTACK + 1
_NEW_NUMBERS = 1 << 30
_BUSIER = 1.6
_SLOWER_LABELS = 2.0
_LIES = 0.2
_CLOCK = -3_600
_ATTACKS_PER_FRAUD = 1.0
_MOSTLY = 0.7


@dataclass(frozen=True)
class SampleChange:
    """A planted change: a name of ``CHANGES``, and its first day, counted from the first after the sample."""

    name: str
    day: int


@dataclass(frozen=True, eq=False)
class LaterData:
    """The days after a sample.

    Attributes
    ----------
    start, end
        The period, ``[start, end)``.
    sample
        The sample's transactions as an extract at ``end``: labels that had not arrived at its own end are there.
    transactions, logins, truth
        Further rows of the tables of the sample.
    """

    start: datetime
    end: datetime
    sample: pl.DataFrame
    transactions: pl.DataFrame
    logins: pl.DataFrame
    truth: pl.DataFrame


def make_later(made: NumberedSample, days: int, changes: Sequence[SampleChange]) -> LaterData:
    """Make ``days`` days after the sample, in which ``changes`` begin."""

    def streams(name: str) -> Draws:
        return Draws(made.seed, f"{name}, after")

    begins = {change.name: change.day for change in changes}
    start = made.start + timedelta(days=made.world.calendar.days)
    world, rows = _events(made, streams, start, days, begins)
    logins = make_logins(world, streams("logins"), rows)
    rows, logins = _within(rows, days), _logins_within(logins, days)
    rows, logins, n_devices = _numbered_devices(made, rows, logins)
    names = frames.more_names(made.names, made.seed, n_rows=len(rows), n_devices=n_devices)
    prints = _fingerprints(made, streams, n_devices)
    log = frames.login_frame(names, prints, logins, start=start)
    return LaterData(
        start=start,
        end=start + timedelta(days=days),
        sample=transactions_of(made, later_days=days),
        transactions=_transactions(world, names, rows, streams, start, days, begins),
        logins=frames.with_gaps(log, streams("gaps in logins"), frames.NULLABLE_IN_LOGINS),
        truth=frames.truth_frame(names, rows),
    )


def _events(
    made: NumberedSample, streams: Streams, start: datetime, days: int, begins: dict[str, int]
) -> tuple[SampleWorld, Rows]:
    """Make all events from some weeks before the period to some weeks after it, in seconds since the earliest."""
    whole = days + 2 * _PADDING
    first = start - timedelta(days=_PADDING)
    calendar = later_calendar(start=first, days=whole, busier=np.ones(whole))
    world = _grown_older(made.world, streams("customers"), calendar)
    before, n_sample = made.world.calendar, made.n_events - made.n_copies
    n = round(n_sample * calendar.total / before.total)
    rate = FRAUD_RATE * n_sample * calendar.total_attacks / before.total_attacks / n
    plans = make_plans(streams, calendar, n, rate=rate)
    parts = [_renumbered(all_rows(streams, world, n, plans, made.groups), made, 1)]
    if "volume" in begins:
        busier = np.where(np.arange(whole) >= _PADDING + begins["volume"], _BUSIER - 1.0, 0.0)
        more = later_calendar(start=first, days=whole, busier=busier)
        n_more = round(n_sample * more.total / before.total)
        extra = ordinary_rows(replace(world, calendar=more), streams("more volume"), n_more)
        parts.append(_renumbered(extra, made, 2))
    if "attack" in begins:
        per_day = max(3, round(_ATTACKS_PER_FRAUD * rate * n / whole))
        parts.append(_attack(world, streams("new attack"), _PADDING + begins["attack"], per_day))
    return world, stack(parts)


def _grown_older(world: SampleWorld, draws: Draws, calendar: Calendar) -> SampleWorld:
    """Return the world with everybody there from the start, further new phones, and further journeys."""
    people, n = world.customers, len(world.customers)
    phone = np.where(np.isfinite(people.renewed), people.next_phone, people.phone)
    renews = draws.chance(min(0.9, _RENEWALS * calendar.days), n)
    begins = draws.between(0.0, calendar.days, n)
    away = np.where(draws.chance(0.40, n), draws.between(3.0, 15.0, n), 0.0)
    place = (people.home + 1 + draws.below(len(COUNTRIES) - 1, n)) % len(COUNTRIES)
    leaves = draws.between(0.0, calendar.days, n)
    older: Customers = replace(
        people,
        joined=np.zeros(n),
        phone=phone,
        renewed=np.where(renews, begins, np.inf),
        next_phone=np.where(renews, new_devices(_PHONES, np.arange(n)), phone),
        trip=np.stack([place.astype(np.float64), leaves, leaves + away], axis=1),
    )
    return replace(world, calendar=calendar, customers=older)


def _attack(world: SampleWorld, draws: Draws, first: int, per_day: int) -> Rows:
    """Buy what is easy to resell, at a few sites, once with each stolen card, from a device that nobody has seen."""
    n_days = world.calendar.days - first
    n = n_days * per_day
    burst = np.repeat(np.arange(n_days), per_day)
    plan = BurstPlan(
        start=(first + np.arange(n_days)).astype(np.float64),
        size=np.full(n_days, per_day),
        burst=burst,
        rank=np.tile(np.arange(per_day), n_days),
    )
    day = plan.start[burst]
    customer = patterns.victims(world, draws, day)
    sites = world.merchants.draw(draws, world.merchants.is_site & world.merchants.is_gift, 3)
    merchant = sites[draws.below(3, n)]
    return patterns.episode_rows(
        world,
        draws,
        plan,
        kind=NEW_ATTACK,
        second=day * DAY + world.calendar.daytime(draws, n),
        customer=customer,
        card=card_of(world, draws, customer),
        device=new_devices(NEW_ATTACK, np.arange(n)),
        ip=proxy_ip(world, draws, n),
        merchant=merchant,
        country=world.customers.home[customer],
        channel=np.where(draws.chance(_MOSTLY, n), APP, ECOM),
        amount=2.0 * price(world, draws, merchant, customer, day),
        decline_rate=0.08,
    )


def _renumbered(rows: Rows, made: NumberedSample, part: int) -> Rows:
    """Return the rows with other numbers for the devices that are seen in no other part, nor in the sample."""
    first, phones = (int(new_devices(kind, np.asarray(0))) for kind in (0, _PHONES))
    strange = (rows.device >= first) & (rows.device < phones) & ~np.isin(rows.device, made.groups.devices)
    return rows.with_columns(device=np.where(strange, rows.device + part * _NEW_NUMBERS, rows.device))


def _within(rows: Rows, days: int) -> Rows:
    """Return the events of the period, in seconds since its start."""
    second = rows.second - _PADDING * DAY
    return rows.with_columns(second=second).take((second >= 0) & (second < days * DAY))


def _logins_within(logins: Logins, days: int) -> Logins:
    second = logins.second - _PADDING * DAY
    inside = (second >= 0) & (second < days * DAY)
    return Logins(
        second[inside], logins.customer[inside], logins.device[inside], logins.ip[inside], logins.success[inside]
    )


def _numbered_devices(made: NumberedSample, rows: Rows, logins: Logins) -> tuple[Rows, Logins, int]:
    """Return both with devices numbered as in the sample, new ones after them, and how many devices there are."""
    both = np.concatenate([rows.device, logins.device])
    fresh = np.setdiff1d(both[both != UNKNOWN], made.used)
    known = np.concatenate([made.used, fresh])
    order = np.argsort(known, kind="stable")
    number = np.where(both == UNKNOWN, UNKNOWN, order[np.searchsorted(known[order], both) % len(known)])
    return rows.with_columns(device=number[: len(rows)]), logins.with_device(number[len(rows) :]), len(known)


def _fingerprints(made: NumberedSample, streams: Streams, n_devices: int) -> dict[str, Ints]:
    """Return fingerprints of the devices: of those that the sample knows, the same."""
    n_known = len(made.names.devices)
    known = frames.fingerprints(Draws(made.seed, "fingerprints"), n_known)
    fresh = frames.fingerprints(streams("fingerprints"), n_devices - n_known)
    return {trait: np.concatenate([values, fresh[trait]]) for trait, values in known.items()}


def _transactions(
    world: SampleWorld,
    names: frames.Names,
    rows: Rows,
    streams: Streams,
    start: datetime,
    days: int,
    begins: dict[str, int],
) -> pl.DataFrame:
    """Lay out the transactions, with labels as they had arrived by the end, and the changes of columns."""
    never = days
    slower: Floats = np.where(rows.second >= begins.get("label-delay", never) * DAY, _SLOWER_LABELS, 1.0)
    lies = streams("poisoned labels").chance(_LIES, len(rows)) & ~rows.declined
    lies &= rows.second >= begins.get("poisoned-labels", never) * DAY
    labels = make_labels(replace(world.calendar, days=days), streams("labels"), rows, slower=slower, lies=lies)
    late = rows.second >= begins.get("clock", never) * DAY
    shown = rows.with_columns(second=rows.second + np.where(late, _CLOCK, 0))
    table = frames.with_gaps(
        frames.transaction_frame(world, names, shown, labels, start=start), streams("gaps"), frames.NULLABLE
    )
    dead = pl.Series(rows.second >= begins.get("dead-feature", never) * DAY)
    table = table.with_columns(ip=pl.when(dead).then(None).otherwise(pl.col("ip")))
    table = frames.with_copies(table, streams("copies"), round(COPY_RATE * table.height))
    return table[frames.order_of(table)]
