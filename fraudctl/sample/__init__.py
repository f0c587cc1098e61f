"""Synthetic card payments with known fraud patterns, of any size, the same for the same arguments.

Owns the data that the project ships and demonstrates on. The numbers come from PCG64 alone and do not depend on
threads. Nothing that a file shows gives fraud away by itself: signals are in the behaviour, as features as of the event
can see it, and every fraud pattern has an honest twin. This module writes no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from fraudctl.errors import UsageError
from fraudctl.sample import frames
from fraudctl.sample.after import CHANGES, LaterData, SampleChange, make_later
from fraudctl.sample.draws import Draws
from fraudctl.sample.making import make_sample, transactions_of

__all__ = ["CHANGES", "START", "LaterData", "SampleChange", "SampleData", "generate", "generate_after"]

START = datetime(2025, 9, 15, tzinfo=UTC)
"""First instant of the sample: its drift month is then December."""

_FEWEST_EVENTS, _FEWEST_DAYS, _FEWEST_DAYS_AFTER = 1_000, 30, 14


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


STEPS = 17
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
    made = make_sample(n_events=n_events, days=days, seed=seed, start=start, tell=tell)
    transactions = transactions_of(made, tell=tell)
    tell("logins in a table")
    prints = frames.fingerprints(Draws(seed, "fingerprints"), len(made.names.devices))
    log = frames.login_frame(made.names, prints, made.logins, start=start)
    return SampleData(
        transactions=transactions,
        logins=frames.with_gaps(log, Draws(seed, "gaps in logins"), frames.NULLABLE_IN_LOGINS),
        truth=frames.truth_frame(made.names, made.rows),
    )


def generate_after(
    after_days: int,
    changes: Sequence[SampleChange] = (),
    *,
    n_events: int = 80_000,
    days: int = 120,
    seed: int = 7,
    start: datetime = START,
) -> LaterData:
    """Make the days after a sample: the same customers, cards, devices and merchants, and changes that are planted.

    Parameters
    ----------
    after_days
        Length, at least 14. As many events come as at the end of the sample; there is no growth and no drift month.
    changes
        Each from a day on to the end, counted from the first day after the sample; at most one of a name.
    n_events, days, seed, start
        Those of the sample.

    Raises
    ------
    UsageError
        Where an argument is out of its range.

    Examples
    --------
    >>> later = generate_after(28, [SampleChange("dead-feature", 14)], n_events=2_000, days=60)
    >>> day = (pl.col("created_at") - START).dt.total_days() - 60
    >>> later.transactions.group_by(dead=day >= 14).agg(pl.col("ip").count() > 0).sort("dead").rows()
    [(False, True), (True, False)]
    """
    _refuse_small(n_events=n_events, days=days, seed=seed)
    if after_days < _FEWEST_DAYS_AFTER:
        msg = f"sample: {after_days} days after it, expected at least {_FEWEST_DAYS_AFTER}"
        raise UsageError(msg, hint=f"give {_FEWEST_DAYS_AFTER} or more")
    names = [change.name for change in changes]
    for change in changes:
        if change.name not in CHANGES or names.count(change.name) > 1 or not 0 < change.day < after_days:
            msg = f"sample: change {change.name!r} from day {change.day}: expected one of each of {', '.join(CHANGES)}"
            raise UsageError(f"{msg}, from day 1 to {after_days - 1}")
    start = start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)
    made = make_sample(n_events=n_events, days=days, seed=seed, start=start, tell=lambda _: None)
    return make_later(made, after_days, changes)


def _refuse_small(*, n_events: int, days: int, seed: int) -> None:
    """Raise ``UsageError`` for the first argument that is too small."""
    for name, value, least in (("n_events", n_events, _FEWEST_EVENTS), ("days", days, _FEWEST_DAYS), ("seed", seed, 0)):
        if value < least:
            msg = f"sample: {name} is {value}, expected at least {least}"
            raise UsageError(msg, hint=f"give {name} a value of {least} or more")
