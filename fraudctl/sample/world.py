"""The cards, customers, devices, addresses and merchants among which events happen.

Owns the entities and their lasting habits. Entities are numbers here; the names that a file shows are dealt out at
random at the end (``frames``), so that a name does not reveal when or by what an entity was made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraudctl.sample.calendar import Calendar
from fraudctl.sample.draws import Bools, Draws, Floats, Ints

COUNTRIES = ("DE", "FR", "NL", "ES", "IT", "PL", "AT", "BE", "GB", "US")
_COUNTRY_WEIGHTS = (0.27, 0.19, 0.13, 0.11, 0.09, 0.07, 0.05, 0.04, 0.03, 0.02)
CHANNELS = ("pos", "ecom", "app")
POS, ECOM, APP = 0, 1, 2

# name, median price in EUR, weight among shops, weight among online merchants, bought as a gift
_CATEGORIES = (
    ("groceries", 30.0, 0.26, 0.07, False),
    ("restaurant", 24.0, 0.19, 0.08, False),
    ("fuel", 48.0, 0.09, 0.00, False),
    ("transport", 9.0, 0.10, 0.11, False),
    ("health", 22.0, 0.08, 0.06, False),
    ("home", 52.0, 0.08, 0.12, False),
    ("fashion", 55.0, 0.07, 0.16, True),
    ("electronics", 110.0, 0.05, 0.14, True),
    ("entertainment", 17.0, 0.03, 0.08, False),
    ("digital", 8.0, 0.01, 0.12, False),
    ("travel", 150.0, 0.02, 0.04, True),
    ("luxury", 170.0, 0.02, 0.02, True),
)
CATEGORIES = tuple(row[0] for row in _CATEGORIES)
_PRICE = np.asarray([row[1] for row in _CATEGORIES])
_SHOP_WEIGHT = np.asarray([row[2] for row in _CATEGORIES])
_ONLINE_WEIGHT = np.asarray([row[3] for row in _CATEGORIES])
_GIFT = np.asarray([row[4] for row in _CATEGORIES])

_FAVOURITES = 6
_EVENTS_PER_CUSTOMER = 25
_EVENTS_PER_MERCHANT = 150


@dataclass(frozen=True, eq=False)
class Customers:
    """Customers and their habits; every array has shape ``(n_customers,)`` unless it says otherwise.

    Attributes
    ----------
    home
        Home country, index into ``COUNTRIES``.
    activity
        Running sum of the weights with which customers act.
    spend
        Factor on every price.
    hour
        The hour of the day around which the customer buys.
    online, app
        Share of sessions that are online, and share of the online ones that use the app.
    joined
        First day (float); 0 for most.
    trip
        Country, first and last day of a journey, shape ``(n_customers, 3)``; first = last where there is none.
    first_card, n_cards
        Cards of a customer are ``first_card .. first_card + n_cards - 1``.
    phone, renewed, next_phone, laptop, tablet
        Devices; ``next_phone`` takes over on day ``renewed``. A tablet is shared by a household.
    address
        Home IP, shared by a household.
    exposed
        Numbers of the customers whose data was stolen once: they are attacked more than once, shape ``(n_exposed,)``.
    shops, sites
        Favourite merchants, shape ``(n_customers, 6)``.
    """

    home: Ints
    activity: Floats
    spend: Floats
    hour: Floats
    online: Floats
    app: Floats
    joined: Floats
    trip: Floats
    first_card: Ints
    n_cards: Ints
    phone: Ints
    renewed: Floats
    next_phone: Ints
    laptop: Ints
    tablet: Ints
    address: Ints
    exposed: Ints
    shops: Ints
    sites: Ints

    def __len__(self) -> int:
        """Return the number of customers."""
        return len(self.home)


@dataclass(frozen=True, eq=False)
class Merchants:
    """Merchants; every array has shape ``(n_merchants,)``.

    Attributes
    ----------
    category, country
        Indices into ``CATEGORIES`` and ``COUNTRIES``.
    is_site
        True for an online merchant, False for a shop.
    price
        Median price in EUR.
    weight
        Popularity.
    """

    category: Ints
    country: Ints
    is_site: Bools
    price: Floats
    weight: Floats

    def __len__(self) -> int:
        """Return the number of merchants."""
        return len(self.category)

    @property
    def is_gift(self) -> Bools:
        """Whether each merchant sells what is given, or resold: fashion, electronics, travel, luxury."""
        return np.asarray(_GIFT[self.category])

    def draw(self, draws: Draws, among: Bools, n: int) -> Ints:
        """Choose merchants of those marked in ``among``, by popularity, shape ``(n,)``."""
        members = np.flatnonzero(among)
        return np.asarray(members[draws.pick(np.cumsum(self.weight[members]), n)])

    def shops_in(self, draws: Draws, country: Ints) -> Ints:
        """Choose one shop in each of those countries, by popularity, shape of ``country``."""
        chosen = np.zeros(len(country), dtype=np.int64)
        for code in range(len(COUNTRIES)):
            there = np.flatnonzero(country == code)
            chosen[there] = self.draw(draws, ~self.is_site & (self.country == code), len(there))
        return chosen


@dataclass(frozen=True, eq=False)
class SampleWorld:
    """All entities and the calendar.

    Attributes
    ----------
    n_devices
        Devices that belong to customers are ``0 .. n_devices - 1``; others are made when they are first used.
    mobile, proxies
        IPs of mobile networks, shape ``(n_countries, n_each)``, and of proxies and VPN exits, shape ``(n,)``.
    """

    calendar: Calendar
    customers: Customers
    merchants: Merchants
    n_devices: int
    mobile: Ints
    proxies: Ints


def make_world(seed: int, *, calendar: Calendar, n_events: int) -> SampleWorld:
    """Make as many entities as ``n_events`` events need: a customer per 25 events, a merchant per 150."""
    n_customers = max(40, n_events // _EVENTS_PER_CUSTOMER)
    merchants = _make_merchants(Draws(seed, "merchants"), max(60, n_events // _EVENTS_PER_MERCHANT))
    customers, n_devices, n_addresses = _make_customers(Draws(seed, "customers"), n_customers, calendar, merchants)
    each = max(2, n_customers // 60)
    mobile = n_addresses + np.arange(len(COUNTRIES) * each).reshape(len(COUNTRIES), each)
    proxies = int(mobile.max()) + 1 + np.arange(max(6, n_customers // 12))
    return SampleWorld(calendar, customers, merchants, n_devices, mobile, proxies)


def _make_merchants(draws: Draws, n: int) -> Merchants:
    is_site = draws.chance(0.4, n)
    is_site[: 2 * len(COUNTRIES)] = False  # at least two shops in every country
    is_site[2 * len(COUNTRIES) : 3 * len(COUNTRIES)] = True
    country = draws.pick(np.cumsum(_COUNTRY_WEIGHTS), n)
    country[: 2 * len(COUNTRIES)] = np.arange(2 * len(COUNTRIES)) % len(COUNTRIES)
    shop, site = draws.pick(np.cumsum(_SHOP_WEIGHT), n), draws.pick(np.cumsum(_ONLINE_WEIGHT), n)
    category = np.where(is_site, site, shop)
    category[2 * len(COUNTRIES) : 2 * len(COUNTRIES) + 4] = np.flatnonzero(_GIFT)  # every kind of gift is sold online
    rank = draws.order(n) + 1.0
    return Merchants(
        category=category,
        country=country,
        is_site=is_site,
        price=_PRICE[category] * draws.lognormal(1.0, 0.35, n),
        weight=np.asarray((rank + 4.0) ** -0.75, dtype=np.float64),
    )


def _make_customers(draws: Draws, n: int, calendar: Calendar, merchants: Merchants) -> tuple[Customers, int, int]:
    home = draws.pick(np.cumsum(_COUNTRY_WEIGHTS), n)
    household = draws.below(max(1, int(n / 1.6)), n)
    n_cards = 1 + draws.chance(0.25, n).astype(np.int64)
    renews, has_laptop = draws.chance(0.30, n), draws.chance(0.60, n)
    phone = np.arange(n)
    tablet = 3 * n + household
    sites = merchants.draw(draws, merchants.is_site, n * _FAVOURITES).reshape(n, _FAVOURITES)
    customers = Customers(
        home=home,
        activity=np.cumsum(draws.lognormal(1.0, 0.7, n)),
        spend=draws.lognormal(1.0, 0.45, n),
        hour=np.mod(14.5 + 3.5 * draws.normal(n), 24.0),
        online=np.clip(0.66 + 0.20 * draws.normal(n), 0.05, 0.97),
        app=np.clip(0.45 + 0.25 * draws.normal(n), 0.05, 0.95),
        joined=np.where(draws.chance(0.22, n), draws.between(0.0, 0.92 * calendar.days, n), 0.0),
        trip=_make_trips(draws, home, calendar.days),
        first_card=np.cumsum(n_cards) - n_cards,
        n_cards=n_cards,
        phone=phone,
        renewed=np.where(renews, draws.between(0.0, calendar.days, n), np.inf),
        next_phone=np.where(renews, n + phone, phone),
        laptop=np.where(has_laptop, 2 * n + phone, phone),
        tablet=tablet,
        address=household,
        exposed=draws.order(n)[: max(4, n // 12)],
        shops=np.stack([merchants.shops_in(draws, home) for _ in range(_FAVOURITES)], axis=1),
        sites=sites,
    )
    return customers, int(tablet.max()) + 1, int(household.max()) + 1


def _make_trips(draws: Draws, home: Ints, days: int) -> Floats:
    n = len(home)
    country = (home + 1 + draws.below(len(COUNTRIES) - 1, n)) % len(COUNTRIES)
    first = draws.between(0.0, days, n)
    length = np.where(draws.chance(0.40, n), draws.between(3.0, 15.0, n), 0.0)
    return np.stack([country.astype(np.float64), first, first + length], axis=1)
