"""Events as columns of numbers, and what one purchase looks like.

Owns the table that the parts of the generator hand on, and the choice of device, address, merchant and price that
ordinary customers and fraudsters make in the same way. Whether an event is fraud is decided by its ``kind`` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from fraudctl.sample.calendar import DAY
from fraudctl.sample.draws import Bools, Draws, Floats, Ints
from fraudctl.sample.world import APP, ECOM, POS, SampleWorld

PATTERNS = ("card_testing", "account_takeover", "compromised_merchant", "device_ring", "bust_out")
ORDINARY = 0
"""Kinds: 0 is ordinary; ``1 .. 5`` are the fraud patterns; ``6 .. 10`` are honest episodes that look like them."""
NEW_ATTACK = 2 * len(PATTERNS) + 1
"""The kind of fraud that begins only after the sample."""

UNKNOWN = -1
_KIND_STRIDE = 1 << 40


@dataclass(frozen=True, eq=False)
class Rows:
    """Events, one per position; every array has shape ``(n,)``.

    Attributes
    ----------
    second
        Seconds since the start.
    customer, card, device, ip, merchant
        Entity numbers; device and ip are -1 at a point of sale.
    country, channel
        Indices into ``COUNTRIES`` and ``CHANNELS``.
    amount
        EUR, rounded to cents; negative for refunds.
    kind, burst
        Where the event comes from, and the burst within that kind (-1 for ordinary events).
    declined
        Whether the payment was refused.
    """

    second: Ints
    customer: Ints
    card: Ints
    device: Ints
    ip: Ints
    merchant: Ints
    country: Ints
    channel: Ints
    amount: Floats
    kind: Ints
    burst: Ints
    declined: Bools

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.second)

    @property
    def is_fraud(self) -> Bools:
        """Whether each event is fraud."""
        return np.asarray((self.kind >= 1) & (self.kind <= len(PATTERNS)) | (self.kind == NEW_ATTACK))

    def take(self, positions: Ints | Bools) -> Rows:
        """Return the events at those positions, or under that mask."""
        return Rows(**{field.name: getattr(self, field.name)[positions] for field in fields(self)})

    def with_columns(self, **columns: Any) -> Rows:
        """Return the same events with some columns replaced."""
        return replace(self, **columns)


def stack(parts: Iterable[Rows]) -> Rows:
    """Return all events of the parts, one part after the other."""
    tables = list(parts)
    return Rows(**{field.name: np.concatenate([getattr(t, field.name) for t in tables]) for field in fields(Rows)})


def new_devices(kind: int, number: Ints) -> Ints:
    """Make numbers of devices that are seen nowhere else: one for each pair of a kind and a number below 2**40."""
    return np.asarray((kind + 1) * _KIND_STRIDE + number)


def active_customers(world: SampleWorld, draws: Draws, day: Floats) -> Ints:
    """Choose a customer for each position (days) who has joined by then, by activity, shape of ``day``.

    Who has not joined yet is drawn again, up to six times, and then replaced by one who was there from the start.
    """
    people = world.customers
    chosen = draws.pick(people.activity, len(day))
    for _ in range(6):
        early = np.flatnonzero(people.joined[chosen] > day)
        chosen[early] = draws.pick(people.activity, len(early))
    founder = int(np.flatnonzero(people.joined == 0.0)[0])
    return np.where(people.joined[chosen] > day, founder, chosen)


def card_of(world: SampleWorld, draws: Draws, customer: Ints) -> Ints:
    """Choose the customer's first card, or one time in four the second where there is one."""
    people = world.customers
    second = draws.chance(0.25, len(customer)) & (people.n_cards[customer] > 1)
    return np.asarray(people.first_card[customer] + second)


def usual_channel(world: SampleWorld, draws: Draws, customer: Ints, day: Floats) -> Ints:
    """Choose point of sale, web or app by the customer's habit; the app gains in the drift month."""
    people, n = world.customers, len(customer)
    drift = world.calendar.drifting(day)
    online = draws.chance(people.online[customer] + 0.04 * drift, n)
    app = draws.chance(people.app[customer] + 0.12 * drift, n)
    return np.where(online, np.where(app, APP, ECOM), POS)


def own_device(world: SampleWorld, draws: Draws, customer: Ints, channel: Ints, day: Floats) -> Ints:
    """Choose a device of the customer's own: the phone of that day, the laptop, or the household's tablet."""
    people, n = world.customers, len(customer)
    phone = np.where(day >= people.renewed[customer], people.next_phone[customer], people.phone[customer])
    at_desk = (channel == ECOM) & draws.chance(0.6, n)
    device = np.where(at_desk, people.laptop[customer], phone)
    return np.where(draws.chance(0.06, n), people.tablet[customer], device)


def usual_ip(world: SampleWorld, draws: Draws, customer: Ints, place: Ints) -> Ints:
    """Choose the home address, the mobile network of the place, or now and then a VPN exit."""
    people, n = world.customers, len(customer)
    away = place != people.home[customer]
    mobile = world.mobile[place, draws.below(world.mobile.shape[1], n)]
    ip = np.where(away | draws.chance(0.4, n), mobile, people.address[customer])
    return np.where(draws.chance(0.06, n), world.proxies[draws.below(len(world.proxies), n)], ip)


def proxy_ip(world: SampleWorld, draws: Draws, n: int) -> Ints:
    """Choose an address that hides where somebody is: a proxy, or a stranger's home connection."""
    hidden = world.proxies[draws.below(len(world.proxies), n)]
    stranger = world.customers.address[draws.below(len(world.customers), n)]
    return np.where(draws.chance(0.55, n), hidden, stranger)


def usual_place(world: SampleWorld, customer: Ints, day: Floats) -> Ints:
    """Return the country the customer is in: home, or where the journey goes."""
    people = world.customers
    trip = people.trip[customer]
    away = (day >= trip[:, 1]) & (day < trip[:, 2])
    return np.where(away, trip[:, 0].astype(np.int64), people.home[customer])


def usual_merchant(world: SampleWorld, draws: Draws, customer: Ints, channel: Ints, place: Ints, day: Floats) -> Ints:
    """Choose a favourite merchant, or another by popularity; gifts are bought more often in the drift month."""
    people, merchants, n = world.customers, world.merchants, len(customer)
    slot = np.floor(people.shops.shape[1] * draws.uniform(n) ** 1.7).astype(np.int64)
    at_shop = channel == POS
    usual = draws.chance(np.where(at_shop, 0.65, 0.62), n) & (~at_shop | (place == people.home[customer]))
    merchant = np.where(at_shop, people.shops[customer, slot], people.sites[customer, slot])
    shop, site = np.flatnonzero(~usual & at_shop), np.flatnonzero(~usual & ~at_shop)
    merchant[shop] = merchants.shops_in(draws, place[shop])
    merchant[site] = merchants.draw(draws, merchants.is_site, len(site))
    gift = np.flatnonzero(draws.chance(0.10 * world.calendar.drifting(day), n) & ~at_shop)
    merchant[gift] = merchants.draw(draws, merchants.is_site & merchants.is_gift, len(gift))
    return np.asarray(merchant)


def price(world: SampleWorld, draws: Draws, merchant: Ints, customer: Ints, day: Floats) -> Floats:
    """Draw what the customer usually pays there, EUR before rounding; an eighth more in the drift month."""
    habit = world.customers.spend[customer] ** 0.8
    season = np.where(world.calendar.drifting(day), 1.12, 1.0)
    return draws.lognormal(world.merchants.price[merchant] * habit * season, 0.5, len(merchant))


def to_cents(draws: Draws, amount: Floats) -> Floats:
    """Write prices as shops write them: at least 0.50 EUR, most of them ending in .00, .50, .90, .95 or .99."""
    n = len(amount)
    ending = np.asarray([0, 50, 90, 95, 99])[draws.below(5, n)]
    cents = np.round(np.maximum(amount, 0.5) * 100.0)
    rounded = np.maximum(cents // 100 * 100 + ending, 50.0)
    return np.asarray(np.where(draws.chance(0.65, n), rounded, cents) / 100.0)


def without_device(rows: Rows) -> Rows:
    """Return the same events; those at a point of sale have neither device nor IP."""
    at_shop = rows.channel == POS
    return rows.with_columns(device=np.where(at_shop, UNKNOWN, rows.device), ip=np.where(at_shop, UNKNOWN, rows.ip))


def same_day(day: Floats, seconds: Floats) -> Floats:
    """Return seconds since the start of that clock time on that day."""
    return np.asarray(np.floor(day) * DAY + seconds)
