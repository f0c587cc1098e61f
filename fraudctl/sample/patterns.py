"""The five fraud patterns.

Owns what fraudsters do, in functions of one shape: a plan of bursts in, rows out. Every pattern shows only in how an
event relates to earlier ones (speed, own history, shared devices, the merchant's record); each has a share of events
that look like any other, and an honest twin in ``lookalikes``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraudctl.sample.bursts import BurstPlan
from fraudctl.sample.calendar import DAY
from fraudctl.sample.draws import Draws, Floats, Ints
from fraudctl.sample.rows import (
    PATTERNS,
    Rows,
    active_customers,
    card_of,
    new_devices,
    own_device,
    price,
    proxy_ip,
    same_day,
    to_cents,
    usual_channel,
    usual_ip,
    usual_merchant,
    without_device,
)
from fraudctl.sample.world import APP, COUNTRIES, ECOM, POS, SampleWorld

CARD_TESTING, ACCOUNT_TAKEOVER, COMPROMISED_MERCHANT, DEVICE_RING, BUST_OUT = range(1, len(PATTERNS) + 1)
_SAME_SECOND_RATE = 0.06
_DEVICES_PER_BURST = 4


@dataclass(frozen=True, eq=False)
class Groups:
    """Customers who share devices: criminal rings first, honest households and offices after them.

    Attributes
    ----------
    n_rings
        Groups ``0 .. n_rings - 1`` are rings.
    members, size
        Customers, shape ``(n_groups, 8)``, of which the first ``size`` (shape ``(n_groups,)``) belong to the group.
    devices, ips, sites
        What they share, shape ``(n_groups, 3)`` each.
    """

    n_rings: int
    members: Ints
    size: Ints
    devices: Ints
    ips: Ints
    sites: Ints


def make_groups(world: SampleWorld, draws: Draws, n_rings: int) -> Groups:
    """Make ``n_rings`` rings and twice as many honest groups, of 3 to 8 customers each."""
    n = 3 * n_rings
    return Groups(
        n_rings=n_rings,
        members=active_customers(world, draws, np.zeros(n * 8)).reshape(n, 8),
        size=3 + draws.below(6, n),
        devices=new_devices(DEVICE_RING, np.arange(n * 3)).reshape(n, 3),
        ips=proxy_ip(world, draws, n * 3).reshape(n, 3),
        sites=world.merchants.draw(draws, world.merchants.is_site, n * 3).reshape(n, 3),
    )


def victims(world: SampleWorld, draws: Draws, day: Floats) -> Ints:
    """Choose customers to attack on each of those days; three in ten come from the list of exposed ones."""
    people = world.customers
    listed = people.exposed[draws.below(len(people.exposed), len(day))]
    listed_now = draws.chance(0.3, len(day)) & (people.joined[listed] <= day)
    return np.where(listed_now, listed, active_customers(world, draws, day))


def gaps(draws: Draws, plan: BurstPlan, mean: float) -> Floats:
    """Draw waiting times in seconds around ``mean``; each burst has a pace of its own, and some events none at all."""
    pace = draws.lognormal(mean, 0.8, len(plan))[plan.burst]
    return draws.exponential(pace, plan.n_events) * ~draws.chance(_SAME_SECOND_RATE, plan.n_events)


def card_testing(world: SampleWorld, draws: Draws, plan: BurstPlan) -> Rows:
    """Try stolen cards with small payments at one online merchant, and cash some of them out elsewhere."""
    n, b = plan.n_events, plan.burst
    day = plan.start[b]
    again = draws.chance(0.3, n)
    customer = plan.repeated(victims(world, draws, day), again)
    cash_out = (plan.rank > 0) & draws.chance(0.35, n)
    site = world.merchants.draw(draws, world.merchants.is_site, len(plan))[b]
    other = world.merchants.draw(draws, world.merchants.is_site, n)
    merchant = np.where(cash_out, other, site)
    small = draws.lognormal(5.0, 0.9, n)
    amount = np.where(cash_out, 1.4 * price(world, draws, merchant, customer, day), small)
    rotated = new_devices(CARD_TESTING, _DEVICES_PER_BURST * len(plan) + np.arange(n))
    device = new_devices(CARD_TESTING, _DEVICES_PER_BURST * b + draws.below(2, n))
    ips = proxy_ip(world, draws, 3 * len(plan))
    later = cash_out * draws.between(0.02 * DAY, 1.5 * DAY, n)
    return episode_rows(
        world,
        draws,
        plan,
        kind=CARD_TESTING,
        second=plan.start[b] * DAY + plan.running(gaps(draws, plan, 420.0)) + later,
        customer=customer,
        card=plan.repeated(card_of(world, draws, customer), again),
        device=np.where(draws.chance(0.35, n), rotated, device),
        ip=ips[3 * b + draws.below(3, n)],
        merchant=merchant,
        country=_attack_place(world, draws, plan, customer),
        channel=np.where(draws.chance(0.25, n), APP, ECOM),
        amount=amount,
        decline_rate=0.22,
    )


def account_takeover(world: SampleWorld, draws: Draws, plan: BurstPlan) -> Rows:
    """Use a stolen login from a strange device and address, mostly for things that are easy to resell."""
    n, b = plan.n_events, plan.burst
    day = plan.start[b]
    customer = victims(world, draws, plan.start)[b]
    channel = np.where(draws.chance(0.5, n), APP, ECOM)
    way = draws.uniform(len(plan))[b]
    strange = new_devices(ACCOUNT_TAKEOVER, b)
    rotated = new_devices(ACCOUNT_TAKEOVER, len(plan) + np.arange(n))
    own = own_device(world, draws, customer, channel, day)
    country = _attack_place(world, draws, plan, customer)
    usual = usual_merchant(world, draws, customer, channel, country, day)
    merchant = np.where(draws.chance(0.4, n), usual, resale_site(world, draws, n))
    return episode_rows(
        world,
        draws,
        plan,
        kind=ACCOUNT_TAKEOVER,
        second=plan.start[b] * DAY + plan.running(gaps(draws, plan, 1_800.0)),
        customer=customer,
        card=card_of(world, draws, customer),
        device=np.where(way < 0.12, own, np.where(way < 0.27, rotated, strange)),
        ip=proxy_ip(world, draws, len(plan))[b],
        merchant=merchant,
        country=country,
        channel=channel,
        amount=draws.lognormal(2.4, 0.5, n) * price(world, draws, merchant, customer, day),
        decline_rate=0.10,
    )


def compromised_merchant(world: SampleWorld, draws: Draws, plan: BurstPlan) -> Rows:
    """Charge the customers of a merchant again for some weeks, with cards that were read there."""
    n, b = plan.n_events, plan.burst
    merchant = world.merchants.draw(
        draws, world.merchants.weight < np.quantile(world.merchants.weight, 0.60), len(plan)
    )
    length = draws.between(12.0, 24.0, len(plan))
    day = plan.start[b] + length[b] * draws.uniform(n)
    at_site = world.merchants.is_site[merchant][b]
    country = world.merchants.country[merchant][b]
    customer = people_near(world, draws, country, day)
    country = np.where(at_site, world.customers.home[customer], country)
    channel = np.where(at_site, np.where(draws.chance(0.4, n), APP, ECOM), POS)
    own = own_device(world, draws, customer, channel, day)
    other = new_devices(COMPROMISED_MERCHANT, np.arange(n))
    return episode_rows(
        world,
        draws,
        plan,
        kind=COMPROMISED_MERCHANT,
        second=same_day(day, world.calendar.daytime(draws, n)),
        customer=customer,
        card=card_of(world, draws, customer),
        device=np.where(draws.chance(0.4, n), other, own),
        ip=usual_ip(world, draws, customer, country),
        merchant=merchant[b],
        country=country,
        channel=channel,
        amount=1.4 * price(world, draws, merchant[b], customer, day),
        decline_rate=0.05,
    )


def device_ring(world: SampleWorld, draws: Draws, plan: BurstPlan, groups: Groups) -> Rows:
    """Let accounts that belong together buy from shared devices for a day or two; each ring strikes several times."""
    return shared_purchases(
        world, draws, plan, groups, group=np.arange(len(plan)) % groups.n_rings, kind=DEVICE_RING, factor=1.8
    )


def shared_purchases(
    world: SampleWorld, draws: Draws, plan: BurstPlan, groups: Groups, *, group: Ints, kind: int, factor: float
) -> Rows:
    """Make purchases of the members of one group per burst, mostly from a device of the group.

    ``group`` has shape ``(n_bursts,)``; ``factor`` multiplies the usual price. Honest groups buy in the same way.
    """
    n, g = plan.n_events, group[plan.burst]
    customer = groups.members[g, draws.below(groups.size[g], n)]
    seconds = plan.start[plan.burst] * DAY + plan.running(gaps(draws, plan, 9_000.0))
    day = seconds / DAY
    habit = usual_channel(world, draws, customer, day)
    channel = np.where(draws.chance(0.7, n), np.where(draws.chance(0.4, n), APP, ECOM), habit)
    country = world.customers.home[customer]
    shared = groups.sites[g, draws.below(3, n)]
    usual = usual_merchant(world, draws, customer, channel, country, day)
    merchant = np.where(draws.chance(0.45, n) & (channel != POS), shared, usual)
    own = own_device(world, draws, customer, channel, day)
    ip = usual_ip(world, draws, customer, country)
    return episode_rows(
        world,
        draws,
        plan,
        kind=kind,
        second=seconds,
        customer=customer,
        card=card_of(world, draws, customer),
        device=np.where(draws.chance(0.85, n), groups.devices[g, draws.below(3, n)], own),
        ip=np.where(draws.chance(0.6, n), groups.ips[g, draws.below(3, n)], ip),
        merchant=merchant,
        country=country,
        channel=channel,
        amount=factor * price(world, draws, merchant, customer, day),
        decline_rate=0.06,
    )


def bust_out(world: SampleWorld, draws: Draws, plan: BurstPlan) -> Rows:
    """After an honest life, spend a card to its limit within days, more each time; some do it twice."""
    fresh = victims(world, draws, plan.start)
    earlier = draws.below(np.arange(len(plan)), len(plan))
    customer = np.where(draws.chance(0.3, len(plan)) & (np.arange(len(plan)) > 0), fresh[earlier], fresh)
    return spending(world, draws, plan, customer=customer[plan.burst], kind=BUST_OUT, first=2.7, growth=3.8)


def spending(
    world: SampleWorld, draws: Draws, plan: BurstPlan, *, customer: Ints, kind: int, first: float, growth: float
) -> Rows:
    """Make purchases of one customer per burst with the own cards and devices, over two to six days.

    Prices are ``first`` to ``first + growth`` times the usual ones, rising within the burst; ``customer`` has shape
    ``(n_events,)``. Honest sprees are made in the same way.
    """
    n, b = plan.n_events, plan.burst
    along = (plan.rank + draws.uniform(n)) / plan.size[b]
    day = plan.start[b] + draws.between(1.5, 5.5, len(plan))[b] * along
    channel = np.where(draws.chance(0.45, n), POS, usual_channel(world, draws, customer, day))
    country = world.customers.home[customer]
    usual = usual_merchant(world, draws, customer, channel, country, day)
    merchant = np.where((channel != POS) & draws.chance(0.5, n), resale_site(world, draws, n), usual)
    factor = (first + growth * along) * draws.lognormal(1.0, 0.3, n)
    return episode_rows(
        world,
        draws,
        plan,
        kind=kind,
        second=same_day(day, world.calendar.daytime(draws, n)),
        customer=customer,
        card=plan.repeated(card_of(world, draws, customer), draws.chance(0.9, n)),
        device=own_device(world, draws, customer, channel, day),
        ip=usual_ip(world, draws, customer, country),
        merchant=merchant,
        country=country,
        channel=channel,
        amount=factor * price(world, draws, merchant, customer, day),
        decline_rate=0.07,
    )


def people_near(world: SampleWorld, draws: Draws, country: Ints, day: Floats) -> Ints:
    """Choose customers who live in those countries, as far as a few tries find any, shape of ``country``."""
    chosen = active_customers(world, draws, day)
    for _ in range(12):
        abroad = np.flatnonzero(world.customers.home[chosen] != country)
        chosen[abroad] = active_customers(world, draws, day[abroad])
    return chosen


def resale_site(world: SampleWorld, draws: Draws, n: int) -> Ints:
    """Choose online merchants, half of them of goods that are easy to resell, shape ``(n,)``."""
    merchants = world.merchants
    gift = merchants.draw(draws, merchants.is_site & merchants.is_gift, n)
    return np.where(draws.chance(0.5, n), gift, merchants.draw(draws, merchants.is_site, n))


def episode_rows(
    world: SampleWorld,
    draws: Draws,
    plan: BurstPlan,
    *,
    kind: int,
    second: Floats,
    customer: Ints,
    card: Ints,
    device: Ints,
    ip: Ints,
    merchant: Ints,
    country: Ints,
    channel: Ints,
    amount: Floats,
    decline_rate: float,
) -> Rows:
    """Lay out the events of a plan as rows: times within the period, prices in cents, no device at a point of sale.

    ``second`` is in seconds since the start and ``amount`` in EUR, both not yet rounded; all arrays have shape
    ``(n_events,)``.
    """
    return without_device(
        Rows(
            second=world.calendar.inside(second),
            customer=customer,
            card=card,
            device=device,
            ip=ip,
            merchant=merchant,
            country=country,
            channel=channel,
            amount=to_cents(draws, amount),
            kind=np.full(plan.n_events, kind),
            burst=plan.burst,
            declined=draws.chance(decline_rate, plan.n_events),
        )
    )


def _attack_place(world: SampleWorld, draws: Draws, plan: BurstPlan, customer: Ints) -> Ints:
    """Choose where the attacker seems to be: the victim's country in six of ten cases (more in the drift month)."""
    day = plan.start[plan.burst]
    base = draws.below(len(COUNTRIES), len(plan))[plan.burst]
    at_home = draws.chance(0.6 + 0.15 * world.calendar.drifting(day), plan.n_events)
    return np.where(at_home, world.customers.home[customer], base)
