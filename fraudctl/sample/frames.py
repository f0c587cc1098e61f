"""From numbers to the tables that a user sees.

Owns names, nulls, duplicates and column order. Names of entities and events are dealt out in a random order over all
of them, so a name says nothing about time, origin or outcome; nulls fall on every row alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl

from fraudctl.sample.draws import Bools, Draws, Ints
from fraudctl.sample.labels import SampleLabels
from fraudctl.sample.logins import Logins
from fraudctl.sample.rows import NEW_ATTACK, PATTERNS, UNKNOWN, Rows
from fraudctl.sample.world import CATEGORIES, CHANNELS, COUNTRIES, SampleWorld

NULL_RATE = 0.03
NULLABLE = ("customer_id", "device_id", "ip", "category", "country")
NULLABLE_IN_LOGINS = ("ip", "screen")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FEWEST_DIGITS = 4
_ADDRESSES = 1 << 24
_SCATTER = 11_400_715  # odd, so that multiplying by it loses no address

_FINGERPRINTS = {
    "os": {"android": 0.38, "ios": 0.30, "windows": 0.20, "macos": 0.09, "linux": 0.03},
    "browser": {"chrome": 0.44, "safari": 0.24, "webview": 0.13, "firefox": 0.10, "edge": 0.09},
    "screen": {"390x844": 0.24, "360x800": 0.22, "412x915": 0.20, "1920x1080": 0.20, "1366x768": 0.14},
}


@dataclass(frozen=True)
class Names:
    """What the entities are called, one series per kind, by entity number."""

    transactions: pl.Series
    customers: pl.Series
    cards: pl.Series
    devices: pl.Series
    ips: pl.Series
    merchants: pl.Series


def make_names(seed: int, world: SampleWorld, *, n_rows: int, n_devices: int) -> Names:
    """Deal out the names of all transactions and entities."""
    return Names(
        transactions=_numbered(Draws(seed, "names of transactions"), "T", n_rows),
        customers=_numbered(Draws(seed, "names of customers"), "C", len(world.customers)),
        cards=_numbered(Draws(seed, "names of cards"), "K", int(world.customers.n_cards.sum())),
        devices=_numbered(Draws(seed, "names of devices"), "D", n_devices),
        ips=_addresses(Draws(seed, "names of addresses"), int(world.proxies.max()) + 1),
        merchants=_numbered(Draws(seed, "names of merchants"), "M", len(world.merchants)),
    )


def more_names(names: Names, seed: int, *, n_rows: int, n_devices: int) -> Names:
    """Deal out names of further transactions, and of devices beyond those that have one, none of them used before."""
    rows = _numbered(Draws(seed, "names of transactions after"), "T", n_rows, after=names.transactions)
    devices = _numbered(Draws(seed, "names of devices after"), "D", n_devices - len(names.devices), after=names.devices)
    return replace(names, transactions=rows, devices=pl.concat([names.devices, devices]))


def transaction_frame(
    world: SampleWorld, names: Names, rows: Rows, labels: SampleLabels, *, start: datetime
) -> pl.DataFrame:
    """Lay out the transactions in the order of ``rows``, without gaps and duplicates."""
    return pl.DataFrame(
        {
            "transaction_id": names.transactions,
            "created_at": _times(start, rows.second),
            "amount": rows.amount,
            "card_id": _spell(names.cards, rows.card),
            "customer_id": _spell(names.customers, rows.customer),
            "device_id": _spell(names.devices, rows.device),
            "ip": _spell(names.ips, rows.ip),
            "merchant_id": _spell(names.merchants, rows.merchant),
            "category": _spell(CATEGORIES, world.merchants.category[rows.merchant]),
            "country": _spell(COUNTRIES, rows.country),
            "card_country": _spell(COUNTRIES, world.customers.home[rows.customer]),
            "channel": _spell(CHANNELS, rows.channel),
            "status": _spell(("approved", "declined"), rows.declined.astype(np.int64)),
            "is_fraud": _only(labels.is_known, pl.Series(labels.is_fraud.astype(np.int8))),
            "label_available_at": _only(labels.is_known, _times(start, labels.second)),
        }
    )


def truth_frame(names: Names, rows: Rows) -> pl.DataFrame:
    """Return transaction id, pattern and burst of every fraud, labelled or not, in order of time, then of id."""
    hidden = np.flatnonzero(rows.is_fraud)
    pattern = _spell(
        (*PATTERNS, "new_attack"), np.where(rows.kind == NEW_ATTACK, len(PATTERNS) + 1, rows.kind)[hidden] - 1
    )
    burst = pl.Series(rows.burst[hidden]).cast(pl.String).str.zfill(4)
    table = pl.DataFrame(
        {
            "transaction_id": _spell(names.transactions, hidden),
            "pattern": pattern,
            "burst_id": pattern + "-" + burst,
            "second": rows.second[hidden],
        }
    )
    return table.sort("second", "transaction_id").drop("second")


def fingerprints(draws: Draws, n_devices: int) -> dict[str, Ints]:
    """Draw operating system, browser and screen of each device, as positions among their values."""
    return {trait: draws.pick(np.cumsum(list(shares.values())), n_devices) for trait, shares in _FINGERPRINTS.items()}


def login_frame(names: Names, prints: Mapping[str, Ints], logins: Logins, *, start: datetime) -> pl.DataFrame:
    """Lay out the logins in order of time; the fingerprint belongs to the device."""
    traits = {trait: _spell(list(shares), prints[trait][logins.device]) for trait, shares in _FINGERPRINTS.items()}
    return pl.DataFrame(
        {
            "at": _times(start, logins.second),
            "customer_id": _spell(names.customers, logins.customer),
            "device_id": _spell(names.devices, logins.device),
            "ip": _spell(names.ips, logins.ip),
            **traits,
            "success": logins.success,
        }
    )


def with_gaps(frame: pl.DataFrame, draws: Draws, columns: Sequence[str]) -> pl.DataFrame:
    """Return the frame with 3 % of the cells of those columns null, on every row alike."""
    n = len(frame)
    return frame.with_columns(_only(~draws.chance(NULL_RATE, n), frame[column]) for column in columns)


def with_copies(frame: pl.DataFrame, draws: Draws, n: int) -> pl.DataFrame:
    """Return the frame, and after it ``n`` exact duplicates of rows of it."""
    copied = np.sort(draws.order(len(frame))[:n])
    return pl.concat([frame, frame[copied]])


def order_of(frame: pl.DataFrame) -> pl.Series:
    """Return the positions of transactions in order of time, then of transaction id."""
    return frame.select(pl.arg_sort_by("created_at", "transaction_id")).to_series()


def _numbered(draws: Draws, prefix: str, n: int, *, after: pl.Series | None = None) -> pl.Series:
    """Make names of a prefix and a number of equally many digits, dealt out in a random order.

    With ``after`` the numbers follow the largest of those names.
    """
    if after is not None:
        last = after.str.slice(len(prefix)).cast(pl.Int64).max()
        return prefix + (pl.Series(1 + draws.order(n)) + last).cast(pl.String)
    digits = _FEWEST_DIGITS
    while 9 * 10 ** (digits - 1) < n:
        digits += 1
    return prefix + pl.Series(10 ** (digits - 1) + draws.order(n)).cast(pl.String)


def _addresses(draws: Draws, n: int) -> pl.Series:
    """Make addresses of the private range 10.0.0.0/8, scattered over it; above 16 million they repeat."""
    number = pl.Series("n", draws.order(n) * _SCATTER % _ADDRESSES)
    octets = [pl.col("n") // 65_536, pl.col("n") // 256 % 256, pl.col("n") % 256]
    return number.to_frame().select(pl.format("10.{}.{}.{}", *octets)).to_series()


def _spell(words: pl.Series | Sequence[str], number: Ints) -> pl.Series:
    """Return the words at those positions, null at -1."""
    index = pl.Series(number)
    return pl.Series(words).gather(index.set(index == UNKNOWN, None))


def _only(keep: Bools, values: pl.Series) -> pl.Series:
    """Return the values, null where ``keep`` is False."""
    return values.zip_with(pl.Series(keep), pl.Series(values.name, [None], dtype=values.dtype))


def _times(start: datetime, second: Ints) -> pl.Series:
    """Return instants in microseconds UTC."""
    begin = int((start - _EPOCH).total_seconds()) * 1_000_000
    return pl.Series(begin + second * 1_000_000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
