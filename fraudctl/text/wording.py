"""Costs, policies and values of features in words. Numbers and times are written by `fraudctl.text.figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from fraudctl.data.categories import quoted_values
from fraudctl.text.figures import length, money, number, plain, rounded_length, rounded_plain, whole

if TYPE_CHECKING:
    from fraudctl.costs import CostCell, CostMatrix
    from fraudctl.policy import Policy


def cost_words(matrix: CostMatrix) -> tuple[str, ...]:
    """State the cost model, one sentence part per cell that is not nothing."""
    who = ("a legitimate event", "a fraud")
    done = {"allow": "let through", "review": "reviewed", "block": "blocked"}
    parts = [
        f"{who[outcome]} {done.get(action, f'under {action}')} costs {_cell(cell, matrix.currency)}"
        for action, pair in zip(matrix.actions, matrix.cells, strict=True)
        for outcome, cell in enumerate(pair)
        if not cell.is_empty
    ]
    return tuple(parts) or ("all decisions cost nothing",)


def policy_words(policy: Policy) -> tuple[str, ...]:
    """State in sentences how probabilities become actions."""
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
        parts.append(f"At most {whole(item.limit)} {item.action} a {item.per}{worth}.")
    if policy.alert_price:
        asked = "must bring at least" if policy.alert_price > 0 else "may lose up to"
        parts.append(f"To hold the constraints, an alert {asked} {money(abs(policy.alert_price), currency)}.")
    parts += [f"Rule {rule.name}: {rule.action} where {rule.when}." for rule in policy.rules]
    return tuple(parts)


def _cuts(thresholds: Mapping[str, float | None], actions: Sequence[str]) -> str:
    """Say thresholds from the mildest action to the harshest, however the JSON had them."""
    cuts = ((name, thresholds[name]) for name in actions if name in thresholds)
    return ", ".join(f"{name} {'never' if cut is None else f'from {number(cut)}'}" for name, cut in cuts)


def _cell(cell: CostCell, currency: str) -> str:
    parts = [money(cell.fixed, currency)] if cell.fixed else []
    if cell.rate:
        share = f"{number(100 * cell.rate)}\u00a0%"
        parts.append("the amount" if cell.rate == 1.0 else f"{share} of the amount")
    if cell.column:
        parts.append(f"column {cell.column}")
    floor = "" if cell.at_least is None else f" (at least {money(cell.at_least, currency)})"
    return " + ".join(parts or [money(0.0, currency)]) + floor


def level_text(series: pl.Series) -> pl.Series:
    """Return the values of a segment as text, each its own: yes and no for booleans, "unknown" for null."""
    if series.dtype == pl.Boolean:
        series = series.replace_strict({True: "yes", False: "no"}, default=None, return_dtype=pl.String)
    return quoted_values(series.cast(pl.String))


def spoken(words: str) -> str:
    """Return the words of a feature as they are said: lengths of time are not said in seconds."""
    return words.replace("seconds since", "time since", 1) if words.startswith("seconds since") else words


def said(words: str, value: float, digits: int = 3) -> str:
    """Return a number of a feature with these words.

    >>> said("seconds since the last event of the card", 5400.0), said("amount", 12.345), said("year", 2008)
    ('1.5 h', '12.3', '2008')
    """
    return length(value, digits - 1) if words.startswith("seconds since") else plain(value, digits)


def as_said(words: str, value: float, digits: int = 3) -> float:
    """Return the number that `said` writes, to test what the words say."""
    return rounded_length(value, digits - 1) if words.startswith("seconds since") else rounded_plain(value, digits)
