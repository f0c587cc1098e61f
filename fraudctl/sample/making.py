"""From entities and rhythm to all events of a period.

Owns how much of each pattern there is, and the sample as numbers before tables are made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from fraudctl.sample import frames, lookalikes, patterns
from fraudctl.sample.bursts import BurstPlan, plan_bursts
from fraudctl.sample.calendar import Calendar, make_calendar
from fraudctl.sample.draws import Draws, Ints
from fraudctl.sample.frames import Names
from fraudctl.sample.labels import make_labels
from fraudctl.sample.logins import Logins, make_logins
from fraudctl.sample.ordinary import ordinary_rows, refund_rows
from fraudctl.sample.rows import UNKNOWN, Rows, stack
from fraudctl.sample.world import SampleWorld, make_world

FRAUD_RATE = 0.0185
_REFUND_RATE = 0.02
COPY_RATE = 0.004


@dataclass(frozen=True)
class _Share:
    """A pattern's share of all fraud, its honest twin's events per fraud event, and the shape of their bursts."""

    fraud: float
    twin: float
    low: int
    high: int
    lasts: float


_SHARES = {
    "card_testing": _Share(fraud=0.20, twin=0.6, low=7, high=18, lasts=1.5),
    "account_takeover": _Share(fraud=0.20, twin=0.5, low=2, high=6, lasts=0.2),
    "compromised_merchant": _Share(fraud=0.22, twin=0.6, low=16, high=32, lasts=20.0),
    "device_ring": _Share(fraud=0.20, twin=0.8, low=6, high=14, lasts=1.0),
    "bust_out": _Share(fraud=0.18, twin=0.7, low=6, high=14, lasts=4.5),
}

Streams = Callable[[str], Draws]
"""From the name of a stream to its random numbers."""
Plans = dict[tuple[str, str], BurstPlan]


@dataclass(frozen=True, eq=False)
class NumberedSample:
    """The sample as numbers.

    Attributes
    ----------
    groups
        Rings and households.
    rows, logins
        Events; their devices are positions in ``used``.
    used
        Numbers of the devices that occur, as the world has them, shape ``(n_devices,)``, increasing.
    """

    seed: int
    start: datetime
    n_events: int
    world: SampleWorld
    groups: patterns.Groups
    rows: Rows
    logins: Logins
    used: Ints
    names: Names

    @property
    def n_copies(self) -> int:
        """Exact duplicates among the rows of the table."""
        return round(COPY_RATE * self.n_events)


def make_sample(*, n_events: int, days: int, seed: int, start: datetime, tell: Callable[[str], None]) -> NumberedSample:
    """Make the events of a sample as numbers."""

    def streams(name: str) -> Draws:
        return Draws(seed, name)

    calendar = make_calendar(start=start, days=days)
    tell("customers and merchants")
    world = make_world(seed, calendar=calendar, n_events=n_events)
    n = n_events - round(COPY_RATE * n_events)
    tell("fraud and its honest twins")
    plans = make_plans(streams, calendar, n, rate=FRAUD_RATE)
    n_rings = max(1, len(plans["device_ring", "fraud"]) // 5)
    groups = patterns.make_groups(world, streams("groups"), n_rings)
    rows = all_rows(streams, world, n, plans, groups, tell=tell)
    tell("logins")
    logins = make_logins(world, streams("logins"), rows)
    tell("numbers of devices")
    used, number = renumbered(np.concatenate([rows.device, logins.device]))
    number = number - int(used[0] == UNKNOWN)
    rows, logins = rows.with_columns(device=number[: len(rows)]), logins.with_device(number[len(rows) :])
    tell("names")
    names = frames.make_names(seed, world, n_rows=len(rows), n_devices=int(number.max()) + 1)
    return NumberedSample(seed, start, n_events, world, groups, rows, logins, used[used != UNKNOWN], names)


def renumbered(numbers: Ints) -> tuple[Ints, Ints]:
    """Return the distinct ones of many numbers, in order, and the place of each; only the former are sorted."""
    every = pl.Series(numbers)
    used = every.unique().sort()
    return used.to_numpy(), every.replace_strict(used, np.arange(len(used)), return_dtype=pl.Int64).to_numpy()


def transactions_of(
    made: NumberedSample, *, later_days: int = 0, tell: Callable[[str], None] = lambda _: None
) -> pl.DataFrame:
    """Lay out the transactions as an extract that is taken ``later_days`` after the end of the sample.

    They are in order of time, then of transaction id, exact duplicates included.
    """
    tell("outcomes")
    calendar = replace(made.world.calendar, days=made.world.calendar.days + later_days)
    labels = make_labels(calendar, Draws(made.seed, "labels"), made.rows)
    tell("transactions in a table")
    table = frames.transaction_frame(made.world, made.names, made.rows, labels, start=made.start)
    tell("gaps")
    table = frames.with_gaps(table, Draws(made.seed, "gaps"), frames.NULLABLE)
    table = frames.with_copies(table, Draws(made.seed, "copies"), made.n_copies)
    tell("order of time")
    order = frames.order_of(table)
    tell("rows in order")
    half = table.width // 2
    first = table[:, :half][order]
    tell("rows in order, the other columns")
    return first.hstack(table[:, half:][order])


def make_plans(streams: Streams, calendar: Calendar, n: int, *, rate: float) -> Plans:
    """Plan all bursts among ``n`` events, of which ``rate`` are fraud, and those of their honest twins."""
    plans = {}
    for name, share in _SHARES.items():
        size = max(1, round(rate * share.fraud * n))
        for role, events in (("fraud", size), ("twin", round(size * share.twin))):
            plans[name, role] = plan_bursts(
                calendar, streams(f"plan of {name}, {role}"), events, low=share.low, high=share.high, lasts=share.lasts
            )
    return plans


def all_rows(
    streams: Streams,
    world: SampleWorld,
    n: int,
    plans: Plans,
    groups: patterns.Groups,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Rows:
    """Make ``n`` events: fraud, its honest twins, refunds, and ordinary purchases for the rest."""
    episodes = _episodes(streams, world, plans, groups)
    n_refunds = round(_REFUND_RATE * n)
    ordinary = ordinary_rows(world, streams("ordinary"), n - len(episodes) - n_refunds, tell=tell)
    bought = stack([ordinary, episodes])
    tell("refunds")
    return stack([bought, refund_rows(world, streams("refunds"), bought, n_refunds)])


def _episodes(streams: Streams, world: SampleWorld, plans: Plans, groups: patterns.Groups) -> Rows:
    """Make all bursts of fraud and all honest episodes."""
    return stack(
        [
            patterns.card_testing(world, streams("card testing"), plans["card_testing", "fraud"]),
            patterns.account_takeover(world, streams("takeover"), plans["account_takeover", "fraud"]),
            patterns.compromised_merchant(world, streams("compromised"), plans["compromised_merchant", "fraud"]),
            patterns.device_ring(world, streams("ring"), plans["device_ring", "fraud"], groups),
            patterns.bust_out(world, streams("bust-out"), plans["bust_out", "fraud"]),
            lookalikes.flash_sale(world, streams("flash sale"), plans["card_testing", "twin"]),
            lookalikes.new_phone(world, streams("new phone"), plans["account_takeover", "twin"]),
            lookalikes.opening_offer(world, streams("opening offer"), plans["compromised_merchant", "twin"]),
            lookalikes.shared_device(world, streams("shared device"), plans["device_ring", "twin"], groups),
            lookalikes.spree(world, streams("spree"), plans["bust_out", "twin"]),
        ]
    )
