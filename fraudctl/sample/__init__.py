"""Synthetic card payments with known fraud patterns, of any size, the same for the same arguments.

Owns the data that the project ships and demonstrates on. The numbers come from PCG64 alone and do not depend on
threads. Nothing that a file shows gives fraud away by itself: signals are in the behaviour, as features as of the event
can see it, and every fraud pattern has an honest twin. This module writes no files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from fraudctl.errors import UsageError
from fraudctl.sample import frames, lookalikes, patterns
from fraudctl.sample.bursts import plan_bursts
from fraudctl.sample.calendar import make_calendar
from fraudctl.sample.draws import Draws
from fraudctl.sample.labels import make_labels
from fraudctl.sample.logins import make_logins
from fraudctl.sample.ordinary import ordinary_rows, refund_rows
from fraudctl.sample.rows import UNKNOWN, Rows, stack
from fraudctl.sample.world import SampleWorld, make_world

__all__ = ["START", "SampleData", "generate"]

START = datetime(2025, 9, 15, tzinfo=UTC)
"""First instant of the sample: its drift month is then December."""

_FEWEST_EVENTS, _FEWEST_DAYS = 1_000, 30
_FRAUD_RATE = 0.0185
_REFUND_RATE = 0.02
_COPY_RATE = 0.004


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


@dataclass(frozen=True, eq=False)
class SampleData:
    """What ``generate`` makes.

    Attributes
    ----------
    transactions
        Card payments in order of ``created_at``, then ``transaction_id``; exact duplicates included.
    logins
        Login attempts of the same customers in order of ``at``.
    truth
        ``transaction_id``, ``pattern`` and ``burst_id`` of every fraud, also of those that are never labelled. Not part
        of any file that a model may see.
    """

    transactions: pl.DataFrame
    logins: pl.DataFrame
    truth: pl.DataFrame


STEPS = 8
"""How often `generate` says what comes next."""


def generate(
    *,
    n_events: int = 80_000,
    days: int = 120,
    seed: int = 7,
    start: datetime = START,
    tell: Callable[[str], None] = lambda _: None,
) -> SampleData:
    """Make transactions, logins and the truth about them.

    Parameters
    ----------
    n_events
        Rows of the transactions, duplicates included; at least 1,000. Entities grow with it.
    days
        Length of the period, at least 30; label delays do not shrink with it.
    seed
        Non-negative; same arguments, same values.
    start
        First instant; a naive one is taken as UTC.
    tell
        Is called with the next step, `STEPS` times.

    Returns
    -------
    SampleData
        Times are microseconds UTC, amounts EUR.

    Raises
    ------
    UsageError
        Where an argument is out of its range.

    Examples
    --------
    >>> data = generate(n_events=2_000, days=60)
    >>> data.transactions.height, data.transactions["channel"].unique().sort().to_list()
    (2000, ['app', 'ecom', 'pos'])
    """
    _refuse_small(n_events=n_events, days=days, seed=seed)
    start = start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)
    calendar = make_calendar(start=start, days=days)
    tell("customers and merchants")
    world = make_world(seed, calendar=calendar, n_events=n_events)
    n_copies = round(_COPY_RATE * n_events)
    rows = _all_rows(seed, world, n_events - n_copies, tell)
    tell("logins")
    logins = make_logins(world, Draws(seed, "logins"), rows)
    used, number = np.unique(np.concatenate([rows.device, logins.device]), return_inverse=True)
    number = number - int(used[0] == UNKNOWN)
    rows, logins = rows.with_columns(device=number[: len(rows)]), logins.with_device(number[len(rows) :])
    tell("names")
    names = frames.make_names(seed, world, n_rows=len(rows), n_devices=int(number.max()) + 1)

    labels = make_labels(calendar, Draws(seed, "labels"), rows)
    tell("columns")
    table = frames.transaction_frame(world, names, rows, labels, start=start)
    table = frames.with_gaps(table, Draws(seed, "gaps"), frames.NULLABLE)
    tell("order of time")
    log = frames.login_frame(names, Draws(seed, "fingerprints"), logins, start=start)
    return SampleData(
        transactions=frames.with_copies(table, Draws(seed, "copies"), n_copies),
        logins=frames.with_gaps(log, Draws(seed, "gaps in logins"), frames.NULLABLE_IN_LOGINS),
        truth=frames.truth_frame(names, rows),
    )


def _refuse_small(*, n_events: int, days: int, seed: int) -> None:
    """Raise ``UsageError`` for the first argument that is too small."""
    for name, value, least in (("n_events", n_events, _FEWEST_EVENTS), ("days", days, _FEWEST_DAYS), ("seed", seed, 0)):
        if value < least:
            msg = f"sample: {name} is {value}, expected at least {least}"
            raise UsageError(msg, hint=f"give {name} a value of {least} or more")


def _all_rows(seed: int, world: SampleWorld, n: int, tell: Callable[[str], None]) -> Rows:
    """Make ``n`` events: fraud, its honest twins, refunds, and ordinary purchases for the rest."""
    tell("fraud and its honest twins")
    episodes = _episodes(seed, world, n)
    n_refunds = round(_REFUND_RATE * n)
    tell("purchases")
    ordinary = ordinary_rows(world, Draws(seed, "ordinary"), n - len(episodes) - n_refunds)
    bought = stack([ordinary, episodes])
    tell("refunds")
    return stack([bought, refund_rows(world, Draws(seed, "refunds"), bought, n_refunds)])


def _episodes(seed: int, world: SampleWorld, n: int) -> Rows:
    """Make all bursts of fraud and all honest episodes of a sample of ``n`` events."""
    plans = {}
    for name, share in _SHARES.items():
        n_fraud = max(1, round(_FRAUD_RATE * share.fraud * n))
        for role, size in (("fraud", n_fraud), ("twin", round(n_fraud * share.twin))):
            draws = Draws(seed, f"plan of {name}, {role}")
            plans[name, role] = plan_bursts(
                world.calendar, draws, size, low=share.low, high=share.high, lasts=share.lasts
            )
    groups = patterns.make_groups(world, Draws(seed, "groups"), max(1, len(plans["device_ring", "fraud"]) // 5))
    return stack(
        [
            patterns.card_testing(world, Draws(seed, "card testing"), plans["card_testing", "fraud"]),
            patterns.account_takeover(world, Draws(seed, "takeover"), plans["account_takeover", "fraud"]),
            patterns.compromised_merchant(world, Draws(seed, "compromised"), plans["compromised_merchant", "fraud"]),
            patterns.device_ring(world, Draws(seed, "ring"), plans["device_ring", "fraud"], groups),
            patterns.bust_out(world, Draws(seed, "bust-out"), plans["bust_out", "fraud"]),
            lookalikes.flash_sale(world, Draws(seed, "flash sale"), plans["card_testing", "twin"]),
            lookalikes.new_phone(world, Draws(seed, "new phone"), plans["account_takeover", "twin"]),
            lookalikes.opening_offer(world, Draws(seed, "opening offer"), plans["compromised_merchant", "twin"]),
            lookalikes.shared_device(world, Draws(seed, "shared device"), plans["device_ring", "twin"], groups),
            lookalikes.spree(world, Draws(seed, "spree"), plans["bust_out", "twin"]),
        ]
    )
