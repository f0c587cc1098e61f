"""How late labels arrive: the maturity horizon that `fraudctl init` proposes.

Owns the rule: the 95th percentile of the observed delays, rounded up to whole days; where frauds are so much slower
that fewer than nine in ten of their labels would be in by then, the 95th percentile of the frauds' delays. Where the
data say nothing about delays, nothing is guessed.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from fraudctl.errors import DataError, UsageError
from fraudctl.project import Duration
from fraudctl.text.plain import shown

_QUANTILE = 0.95
_DAY = 86_400.0
_YEARS = 20
_LONGEST = _YEARS * 365.25 * _DAY
_USUAL = {"30d": 30 * _DAY, "7d": 7 * _DAY, "3d": 3 * _DAY, "1d": _DAY, "6h": _DAY / 4, "2h": _DAY / 12}


@dataclass(frozen=True)
class Delay:
    """A maturity horizon, with its reason in words."""

    duration: Duration
    reason: str


def given_delay(text: str) -> Delay:
    """Read ``--label-delay``."""
    try:
        return Delay(Duration.parse(text), "given by --label-delay")
    except ValueError as error:
        msg = f"--label-delay: {error}"
        raise UsageError(msg) from error


def usual_delay(span: float | None) -> str:
    """Return an example of a delay that leaves events to train on: the longest usual one within a sixth of the data."""
    fits = [text for text, seconds in _USUAL.items() if span is None or 6 * seconds <= span]
    return fits[0] if fits else "1h"


def refuse_delay(span: float | None, times: Sequence[str] = ()) -> UsageError:
    """Give the error of data that do not say how late labels arrive.

    Parameters
    ----------
    span
        Length of the data in seconds.
    times
        Other columns with times, one of which may be that of the label.
    """
    msg = "nothing in the data says how late labels arrive, and every honest number depends on it"
    hint = (
        f"say after how many days nearly all labels are in, such as --label-delay {usual_delay(span)} (chargebacks "
        "take weeks to months, analysts' verdicts days)"
    )
    if times:
        hint += f", or name a column with their arrival, such as --label-time {shlex.quote(times[0])}"
    return UsageError(msg, hint=hint)


def reported_delay(seconds: pl.Series) -> Delay:
    """Measure the horizon on the delays of reports of fraud, in seconds; at least one."""
    if not len(seconds):
        msg = "no entry of the tables of labels says fraud of an event"
        raise DataError(msg, hint="a table may say it of every row: --labels-outcome NAME=1")
    days = _whole_days(_quantile(seconds))
    return Delay(Duration.parse(f"{days}d"), f"95 % of the {len(seconds):,} frauds were reported by then")


def observed_delay(event_time: pl.Series, label_time: pl.Series, label: pl.Series) -> Delay:
    """Measure the horizon on the labels that have a time of arrival.

    Parameters
    ----------
    event_time, label_time
        µs UTC, shape ``(n_events,)``; rows with a null label_time are left out.
    label
        Int8 1, 0 or null; unlabelled rows are left out.

    Raises
    ------
    DataError
        No labelled row has a label_time, or some labels precede their event.
    """
    frame = pl.DataFrame(
        {"delay": (label_time - event_time).dt.total_microseconds() / 1e6, "label": label}
    ).drop_nulls()
    if frame.height == 0:
        msg = f"column {shown(label_time.name)} (label_time): no labelled event has one"
        raise DataError(msg, hint="give --label-delay instead, and --ignore that column")
    early = frame.filter(pl.col("delay") < 0).height
    if early:
        msg = f"column {shown(label_time.name)} (label_time): {early} labels arrived before their event; expected none"
        raise DataError(msg, hint=f"is it another time? {_without(label_time.name)} leaves it out")
    seconds = _quantile(frame["delay"])
    if seconds > _LONGEST:
        msg = f"column {shown(label_time.name)} (label_time): one label in twenty or more arrives after {_YEARS} years"
        raise DataError(msg, hint=f'do some dates stand for "never"? {_without(label_time.name)} leaves it out')
    days = _whole_days(seconds)
    fraud_delays = frame.filter(pl.col("label") == 1)["delay"]
    if len(fraud_delays) and float((fraud_delays <= days * _DAY).mean() or 0.0) < 0.9:  # type: ignore[arg-type]
        days = _whole_days(_quantile(fraud_delays))
        return Delay(Duration.parse(f"{days}d"), f"95 % of the {len(fraud_delays):,} frauds were known by then")
    return Delay(Duration.parse(f"{days}d"), f"95 % of the {frame.height:,} labels with a time had arrived by then")


def _without(name: str) -> str:
    return f"--label-delay 30d --ignore {shlex.quote(name)}"


def _quantile(delays: pl.Series) -> float:
    value = delays.quantile(_QUANTILE, interpolation="linear")
    return 0.0 if value is None else float(value)


def _whole_days(seconds: float) -> int:
    return max(1, math.ceil(seconds / _DAY))
