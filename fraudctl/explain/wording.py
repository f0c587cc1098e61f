"""Numbers, money and times in words: one way to write each, for findings and for every rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final

import polars as pl

from fraudctl.costs import Cell, CostMatrix
from fraudctl.policy import Policy

_SIGNS: Final = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥"}


def money(value: float, currency: str) -> str:
    """Write money: signs before, other words behind; small amounts with cents.

    >>> money(12670.4, "EUR"), money(-3.5, "USD"), money(5, "CHF")
    ('€12,670', '-$3.50', '5.00 CHF')
    """
    size = abs(value)
    text = f"{size:,.0f}" if size >= 100 or value == 0 else f"{size:,.2f}"
    sign = "-" if value < 0 and float(text.replace(",", "")) != 0 else ""
    mark = _SIGNS.get(currency, currency)
    return f"{sign}{mark}{text}" if len(mark) == 1 else f"{sign}{text} {mark}"


def count(n: int, one: str, many: str | None = None) -> str:
    """Write a number of things.

    >>> count(1, "fraud"), count(1200, "fraud"), count(0, "loss", "losses")
    ('1 fraud', '1,200 frauds', '0 losses')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def percent(share: float, digits: int = 0) -> str:
    r"""Write a share; the sign never parts from its number.

    >>> percent(0.653), percent(0.0034)
    ('65\xa0%', '0.3\xa0%')
    """
    if digits == 0 and 0 < abs(share) < 0.01:
        digits = 1
    return f"{share * 100:.{digits}f}\u00a0%"


def number(value: float | None, digits: int = 3) -> str:
    """Write a plain number; None as a dash."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def period(start: datetime, end: datetime) -> str:
    """Write a period by its first and last day.

    >>> period(datetime(2018, 8, 8), datetime(2018, 8, 14)), period(datetime(2018, 7, 31), datetime(2018, 8, 1))
    ('8–14 Aug 2018', '31 Jul – 1 Aug 2018')
    """
    if (start.year, start.month) == (end.year, end.month):
        return f"{start.day}–{day(end)}" if start.day != end.day else day(end)
    first = f"{start:%-d %b}" if start.year == end.year else day(start)
    return f"{first} – {day(end)}"


def day(value: date) -> str:
    """Write a day."""
    return f"{value:%-d %b %Y}"


def moment(value: datetime) -> str:
    """Write an instant to the minute."""
    return f"{value:%Y-%m-%d %H:%M}"


def cost_words(matrix: CostMatrix) -> tuple[str, ...]:
    """Say the cost model, one sentence part per cell that is not nothing."""
    who = ("a legitimate event", "a fraud")
    done = {"allow": "let through", "review": "reviewed", "block": "blocked"}
    parts = [
        f"{who[outcome]} {done.get(action, f'under {action}')} costs {_cell(cell, matrix.currency)}"
        for action, pair in zip(matrix.actions, matrix.cells, strict=True)
        for outcome, cell in enumerate(pair)
        if cell != Cell()
    ]
    return tuple(parts) or ("all decisions cost nothing",)


def policy_words(policy: Policy) -> tuple[str, ...]:
    """Say in sentences how probabilities become actions."""
    currency = policy.matrix.currency
    if policy.kind == "thresholds":
        parts = [f"By probability: {_cuts(policy.thresholds, policy.actions)}."]
    else:
        parts = ["The action with the lowest expected cost for each event."]
    if policy.segments is not None and policy.segments.thresholds:
        own = "; ".join(f"{value}: {_cuts(cuts, policy.actions)}" for value, cuts in policy.segments.thresholds.items())
        parts.append(f"By {policy.segments.by}: {own}; every other value as above.")
    elif policy.segments is not None:
        parts.append(f"No value of {policy.segments.by} has shown that thresholds of its own would save money.")
    for item in policy.capacity:
        bids = policy.bids.get(item.action)
        worth = "" if bids is None else f"; a place is worth {money(bids.opening, currency)} as a {item.per} begins"
        parts.append(f"At most {item.limit:,} {item.action} a {item.per}{worth}.")
    if policy.alert_price:
        asked = "must bring at least" if policy.alert_price > 0 else "may lose up to"
        parts.append(f"To hold the constraints, an alert {asked} {money(abs(policy.alert_price), currency)}.")
    parts += [f"Rule {rule.name}: {rule.action} where {rule.when}." for rule in policy.rules]
    return tuple(parts)


def _cuts(thresholds: Mapping[str, float | None], actions: Sequence[str]) -> str:
    """Say thresholds from the mildest action to the harshest, however the JSON had them."""
    cuts = ((name, thresholds[name]) for name in actions if name in thresholds)
    return ", ".join(f"{name} {'never' if cut is None else f'from {number(cut)}'}" for name, cut in cuts)


def _cell(cell: Cell, currency: str) -> str:
    parts = [money(cell.fixed, currency)] if cell.fixed else []
    if cell.rate:
        share = f"{100 * cell.rate:.3g}\u00a0%"
        parts.append("the amount" if cell.rate == 1.0 else f"{share} of the amount")
    if cell.column:
        parts.append(f"column {cell.column}")
    floor = "" if cell.at_least is None else f" (at least {money(cell.at_least, currency)})"
    return " + ".join(parts or [money(0.0, currency)]) + floor


def length(seconds: float) -> str:
    """Write a length of time in the unit that suits it.

    >>> length(42), length(5400), length(200_000)
    ('42 s', '1.5 h', '2.3 days')
    """
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}" if seconds / size >= 100 else f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"


def level_text(series: pl.Series) -> pl.Series:
    """Give the values of a segment as text: yes and no for booleans, "unknown" for null."""
    if series.dtype == pl.Boolean:
        series = series.replace_strict({True: "yes", False: "no"}, default=None, return_dtype=pl.String)
    return series.cast(pl.String).fill_null("unknown")


def spoken(words: str) -> str:
    """Give the words of a feature as they are said: lengths of time are not said in seconds."""
    return words.replace("seconds since", "time since", 1) if words.startswith("seconds since") else words


def said(words: str, value: float) -> str:
    """Write a number of a feature with these words.

    >>> said("seconds since the last event of the card", 5400.0), said("amount", 12.345)
    ('1.5 h', '12.3')
    """
    if words.startswith("seconds since"):
        return length(value)
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
