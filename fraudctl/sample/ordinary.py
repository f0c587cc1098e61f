"""What customers do when nothing is wrong: sessions of one or a few purchases, and refunds.

Owns the events of kind 0. Sessions have several purchases in a quarter of the cases, some of them in the same second,
so that speed alone is no proof of anything.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fraudctl.sample.calendar import DAY
from fraudctl.sample.draws import Draws, Floats, Ints
from fraudctl.sample.rows import (
    ORDINARY,
    Rows,
    active_customers,
    card_of,
    new_devices,
    own_device,
    price,
    same_day,
    to_cents,
    usual_channel,
    usual_ip,
    usual_merchant,
    usual_place,
    without_device,
)
from fraudctl.sample.world import SampleWorld

_SESSION_SIZES = np.cumsum([0.76, 0.15, 0.05, 0.03, 0.01])
_MEAN_GAP = 900.0
_SAME_SECOND_RATE = 0.05
_STRANGE_DEVICE_RATE = 0.02
_DECLINE_RATE = 0.03


def ordinary_rows(world: SampleWorld, draws: Draws, n: int, *, tell: Callable[[str], None] = lambda _: None) -> Rows:
    """Make exactly ``n`` honest purchases over the whole period, in sessions; ``tell`` gets each of 4 steps."""
    tell("purchases: when and by whom")
    size = 1 + draws.pick(_SESSION_SIZES, n)
    last = int(np.searchsorted(np.cumsum(size), n))
    size = size[: last + 1]
    size[-1] -= int(size.sum()) - n
    session = np.repeat(np.arange(len(size)), size)

    day = world.calendar.day_of_volume(draws.uniform(len(size)))
    customer = active_customers(world, draws, day)
    begin = same_day(day, _clock(world, draws, customer))
    day = begin / DAY
    tell("purchases: places and devices")
    place = usual_place(world, customer, day)
    channel = usual_channel(world, draws, customer, day)
    device = own_device(world, draws, customer, channel, day)
    strange = draws.chance(_STRANGE_DEVICE_RATE, len(size))
    device = np.where(strange, new_devices(ORDINARY, np.arange(len(size))), device)
    ip = usual_ip(world, draws, customer, place)
    card = card_of(world, draws, customer)

    tell("purchases: merchants")
    buyer, where, how = customer[session], place[session], channel[session]
    merchant = usual_merchant(world, draws, buyer, how, where, day[session])
    tell("purchases: amounts")
    amount = price(world, draws, merchant, buyer, day[session])
    return without_device(
        Rows(
            second=world.calendar.inside(begin[session] + _offsets(draws, size)),
            customer=buyer,
            card=card[session],
            device=device[session],
            ip=ip[session],
            merchant=merchant,
            country=where,
            channel=how,
            amount=to_cents(draws, amount),
            kind=np.full(n, ORDINARY),
            burst=np.full(n, -1),
            declined=draws.chance(_DECLINE_RATE, n),
        )
    )


def refund_rows(world: SampleWorld, draws: Draws, bought: Rows, n: int) -> Rows:
    """Make ``n`` refunds of honest purchases, 1 to 20 days after them, whole or in part, as negative amounts.

    A refund near the end of the data comes sooner: between the purchase and the last second.
    """
    honest = np.flatnonzero(~bought.is_fraud & ~bought.declined)
    origin = bought.take(np.sort(honest[draws.order(len(honest))[:n]]))
    room = world.calendar.seconds - 1 - origin.second
    wait = np.minimum(draws.between(1.0 * DAY, 20.0 * DAY, n), draws.between(0.2, 1.0, n) * room)
    part = np.where(draws.chance(0.25, n), draws.between(0.2, 0.9, n), 1.0)
    return origin.with_columns(
        second=world.calendar.inside(origin.second + wait),
        amount=-np.maximum(np.round(origin.amount * part * 100.0) / 100.0, 0.01),
        kind=np.full(n, ORDINARY),
        burst=np.full(n, -1),
    )


def _clock(world: SampleWorld, draws: Draws, customer: Ints) -> Floats:
    """Draw seconds since midnight at which a customer buys: around the own hour, one time in seven at any."""
    n = len(customer)
    habit = np.mod(world.customers.hour[customer] + 3.0 * draws.normal(n), 24.0)
    return np.asarray(np.where(draws.chance(0.15, n), draws.between(0.0, 24.0, n), habit) * 3600.0)


def _offsets(draws: Draws, size: Ints) -> Floats:
    """Draw seconds since the first purchase of the session; some follow in the same second."""
    n = int(size.sum())
    gap = draws.exponential(_MEAN_GAP, n) * ~draws.chance(_SAME_SECOND_RATE, n)
    first = np.cumsum(size) - size
    gap[first] = 0.0
    total = np.cumsum(np.floor(gap))
    return np.asarray(total - np.repeat(total[first], size))
