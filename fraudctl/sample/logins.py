"""The behaviour log: logins of customers, with the fingerprint of the device.

Owns the second table of the sample. Many online purchases follow a login from the same device; other logins lead to
nothing. Passwords are mistyped by everybody, more often by those who do not know them. Before most account takeovers
somebody guesses passwords from the strange device, hours ahead; honest customers who forgot theirs do the same at home,
and after a change of phone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fraudctl.sample.draws import Bools, Draws, Floats, Ints
from fraudctl.sample.lookalikes import FLASH_SALE, NEW_PHONE
from fraudctl.sample.patterns import ACCOUNT_TAKEOVER, CARD_TESTING
from fraudctl.sample.rows import UNKNOWN, Rows, active_customers, own_device, same_day, usual_ip, usual_place
from fraudctl.sample.world import APP, POS, SampleWorld

_LOGIN_RATE = 0.30
_LOGIN_RATE_STRANGE = 0.75
_GUEST_RATE = 0.10
_IDLE_PER_EVENT = 0.10
_FAIL_RATE = 0.07
_FAIL_RATE_TAKEOVER = 0.30
_GUESSED_RATE = 0.8
"""Share of account takeovers that begin with guessed passwords."""
_FORGOTTEN_RATE = 0.04
"""Share of idle logins, and a multiple of it of those from new phones, before which a password was forgotten."""
_FORGOTTEN_ON_NEW_PHONE = 8


@dataclass(frozen=True, eq=False)
class Logins:
    """Login attempts, every array of shape ``(n,)``.

    Attributes
    ----------
    second
        Seconds since the start.
    customer, device, ip
        Entity numbers, as in ``Rows``.
    success
        False for a wrong password.
    """

    second: Ints
    customer: Ints
    device: Ints
    ip: Ints
    success: Bools

    def with_device(self, device: Ints) -> Logins:
        """Return the same logins with other numbers for the devices."""
        return replace(self, device=device)


def make_logins(world: SampleWorld, draws: Draws, rows: Rows) -> Logins:
    """Make logins before a part of the online purchases, and about one idle login per ten events."""
    online = rows.take((rows.channel != POS) & (rows.device != UNKNOWN) & (rows.amount > 0.0))
    strange = np.isin(online.kind, [ACCOUNT_TAKEOVER, NEW_PHONE])
    guest = np.isin(online.kind, [CARD_TESTING, FLASH_SALE])
    rate = np.where(strange, _LOGIN_RATE_STRANGE, np.where(guest, _GUEST_RATE, _LOGIN_RATE))
    buyers = online.take(draws.chance(rate, len(online)))
    lead = 15.0 + draws.exponential(240.0, len(buyers))
    before = _attempts(draws, buyers, buyers.second - lead)
    idle = _idle(world, draws, int(_IDLE_PER_EVENT * len(rows)))
    parts = [before, idle, _guessed(draws, online), _forgotten(draws, idle, online)]
    second, customer, device, ip, success = (np.concatenate([p[i] for p in parts]) for i in range(5))
    inside = (second >= 0) & (second < world.calendar.seconds)
    order = np.lexsort((device, customer, second))
    order = order[inside[order]]
    return Logins(second[order], customer[order], device[order], ip[order], success[order])


def _attempts(draws: Draws, buyers: Rows, second: Floats) -> tuple[Ints, Ints, Ints, Ints, Bools]:
    """Make one successful login per purchase, and up to two wrong passwords within minutes before it."""
    n = len(buyers)
    fail_rate = np.where(buyers.kind == ACCOUNT_TAKEOVER, _FAIL_RATE_TAKEOVER, _FAIL_RATE)
    failed = draws.chance(fail_rate, n).astype(np.int64) * (1 + draws.below(2, n))
    which = np.repeat(np.arange(n), 1 + failed)
    first = np.cumsum(1 + failed) - 1 - failed
    tries_before = np.arange(len(which)) - first[which]
    at = np.floor(second)[which].astype(np.int64) - 35 * tries_before
    return at, buyers.customer[which], buyers.device[which], buyers.ip[which], tries_before == 0


def _first_of_bursts(rows: Rows) -> Rows:
    """Return the first event of each burst."""
    order = np.argsort(rows.second, kind="stable")
    return rows.take(order[np.unique(rows.burst[order], return_index=True)[1]])


def _guessed(draws: Draws, online: Rows) -> tuple[Ints, Ints, Ints, Ints, Bools]:
    """Make the wrong passwords, and the right one, of those who take an account over, hours before they buy."""
    takeovers = _first_of_bursts(online.take(online.kind == ACCOUNT_TAKEOVER))
    takeovers = takeovers.take(draws.chance(_GUESSED_RATE, len(takeovers)))
    n = len(takeovers)
    last = takeovers.second - 600.0 - draws.exponential(4.0 * 3_600.0, n)
    return _series(draws, takeovers.customer, takeovers.device, takeovers.ip, last, least=3, most=10, pace=400.0)


def _forgotten(
    draws: Draws, idle: tuple[Ints, Ints, Ints, Ints, Bools], online: Rows
) -> tuple[Ints, Ints, Ints, Ints, Bools]:
    """Make the wrong passwords of customers who forgot theirs, on devices that they log in from anyway."""
    phones = _first_of_bursts(online.take(online.kind == NEW_PHONE))
    second, customer, device, ip = (
        np.concatenate([part, own])
        for part, own in zip(idle[:4], (phones.second, phones.customer, phones.device, phones.ip), strict=True)
    )
    rate = np.full(len(second), _FORGOTTEN_RATE)
    rate[len(idle[0]) :] *= _FORGOTTEN_ON_NEW_PHONE
    chosen = draws.chance(rate, len(second))
    last = second[chosen] - 60.0 - draws.exponential(1_800.0, int(chosen.sum()))
    return _series(draws, customer[chosen], device[chosen], ip[chosen], last, least=2, most=6, pace=60.0)


def _series(
    draws: Draws, customer: Ints, device: Ints, ip: Ints, last: Floats, *, least: int, most: int, pace: float
) -> tuple[Ints, Ints, Ints, Ints, Bools]:
    """Make ``least`` to ``most`` wrong passwords in a row, ``pace`` seconds apart on average, then the right one."""
    failed = least + draws.below(most - least + 1, len(customer))
    which = np.repeat(np.arange(len(customer)), 1 + failed)
    first = np.cumsum(1 + failed) - 1 - failed
    tries_before = np.arange(len(which)) - first[which]
    waits = pace * draws.between(0.3, 1.7, len(customer))
    at = np.floor(last[which] - waits[which] * tries_before).astype(np.int64)
    return at, customer[which], device[which], ip[which], tries_before == 0


def _idle(world: SampleWorld, draws: Draws, n: int) -> tuple[Ints, Ints, Ints, Ints, Bools]:
    day = world.calendar.day_of_volume(draws.uniform(n))
    customer = active_customers(world, draws, day)
    device = own_device(world, draws, customer, np.full(n, APP), day)
    ip = usual_ip(world, draws, customer, usual_place(world, customer, day))
    second = world.calendar.inside(same_day(day, world.calendar.daytime(draws, n)))
    return second, customer, device, ip, ~draws.chance(_FAIL_RATE, n)
