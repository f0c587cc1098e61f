"""Honest episodes that look like fraud: the overlap that a model has to live with.

Owns one honest twin for each fraud pattern: a flash sale for card testing, a new phone for a takeover, an opening offer
for a compromised merchant, a household or office for a ring, a spree for a bust-out. Their labels are legitimate.
"""

from __future__ import annotations

import numpy as np

from fraudctl.sample.bursts import BurstPlan
from fraudctl.sample.calendar import DAY
from fraudctl.sample.draws import Draws
from fraudctl.sample.patterns import (
    Groups,
    episode_rows,
    gaps,
    people_near,
    resale_site,
    shared_purchases,
    spending,
)
from fraudctl.sample.rows import (
    PATTERNS,
    Rows,
    active_customers,
    card_of,
    new_devices,
    own_device,
    price,
    same_day,
    usual_ip,
    usual_merchant,
    usual_place,
)
from fraudctl.sample.world import APP, ECOM, POS, SampleWorld

FLASH_SALE, NEW_PHONE, OPENING_OFFER, SHARED_DEVICE, SPREE = range(len(PATTERNS) + 1, 2 * len(PATTERNS) + 1)


def flash_sale(world: SampleWorld, draws: Draws, plan: BurstPlan) -> Rows:
    """Let many customers buy small things at one online merchant within an hour or two; some of them do so again."""
    n, b = plan.n_events, plan.burst
    day = plan.start[b]
    again = draws.chance(0.35, n)
    customer = plan.repeated(active_customers(world, draws, day), again)
    channel = np.where(draws.chance(0.4, n), APP, ECOM)
    place = usual_place(world, customer, day)
    site = world.merchants.draw(draws, world.merchants.is_site, len(plan))[b]
    own = own_device(world, draws, customer, channel, day)
    strange = new_devices(FLASH_SALE, np.arange(n))
    return episode_rows(
        world,
        draws,
        plan,
        kind=FLASH_SALE,
        second=plan.start[b] * DAY + plan.running(gaps(draws, plan, 600.0)),
        customer=customer,
        card=plan.repeated(card_of(world, draws, customer), again),
        device=np.where(draws.chance(0.15, n), strange, own),
        ip=usual_ip(world, draws, customer, place),
        merchant=site,
        country=place,
        channel=channel,
        amount=draws.lognormal(6.5, 0.9, n),
        decline_rate=0.06,
    )


def new_phone(world: SampleWorld, draws: Draws, plan: BurstPlan) -> Rows:
    """Let a customer log in from a new device, often on a journey, and buy a little more than usual."""
    n, b = plan.n_events, plan.burst
    day = plan.start[b]
    customer = active_customers(world, draws, plan.start)[b]
    channel = np.where(draws.chance(0.55, n), APP, ECOM)
    away = draws.below(len(world.mobile), len(plan))[b]
    place = np.where(draws.chance(0.25, len(plan))[b], away, world.customers.home[customer])
    usual = usual_merchant(world, draws, customer, channel, place, day)
    merchant = np.where(draws.chance(0.3, n), resale_site(world, draws, n), usual)
    return episode_rows(
        world,
        draws,
        plan,
        kind=NEW_PHONE,
        second=plan.start[b] * DAY + plan.running(gaps(draws, plan, 2_700.0)),
        customer=customer,
        card=card_of(world, draws, customer),
        device=new_devices(NEW_PHONE, b),
        ip=usual_ip(world, draws, customer, place),
        merchant=merchant,
        country=place,
        channel=channel,
        amount=1.25 * price(world, draws, merchant, customer, day),
        decline_rate=0.05,
    )


def opening_offer(world: SampleWorld, draws: Draws, plan: BurstPlan) -> Rows:
    """For some weeks, let a merchant draw customers who do not usually buy there."""
    n, b = plan.n_events, plan.burst
    merchant = world.merchants.draw(draws, world.merchants.weight > 0.0, len(plan))
    day = plan.start[b] + draws.between(12.0, 28.0, len(plan))[b] * draws.uniform(n)
    at_site = world.merchants.is_site[merchant][b]
    country = world.merchants.country[merchant][b]
    customer = people_near(world, draws, country, day)
    channel = np.where(at_site, np.where(draws.chance(0.4, n), APP, ECOM), POS)
    country = np.where(at_site, world.customers.home[customer], country)
    return episode_rows(
        world,
        draws,
        plan,
        kind=OPENING_OFFER,
        second=same_day(day, world.calendar.daytime(draws, n)),
        customer=customer,
        card=card_of(world, draws, customer),
        device=own_device(world, draws, customer, channel, day),
        ip=usual_ip(world, draws, customer, country),
        merchant=merchant[b],
        country=country,
        channel=channel,
        amount=1.1 * price(world, draws, merchant[b], customer, day),
        decline_rate=0.03,
    )


def shared_device(world: SampleWorld, draws: Draws, plan: BurstPlan, groups: Groups) -> Rows:
    """Make purchases of households and offices, one time in ten those of a ring between its strikes."""
    honest = groups.n_rings + draws.below(len(groups.size) - groups.n_rings, len(plan))
    cover = draws.below(groups.n_rings, len(plan))
    group = np.where(draws.chance(0.1, len(plan)), cover, honest)
    return shared_purchases(world, draws, plan, groups, group=group, kind=SHARED_DEVICE, factor=1.1)


def spree(world: SampleWorld, draws: Draws, plan: BurstPlan) -> Rows:
    """For a wedding, a move or a birthday, let a customer spend a lot for some days."""
    customer = active_customers(world, draws, plan.start)[plan.burst]
    return spending(world, draws, plan, customer=customer, kind=SPREE, first=1.3, growth=1.0)
