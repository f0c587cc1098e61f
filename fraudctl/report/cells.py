"""Cells that many tables share: counts, money and shares, each with the key that it sorts by."""

from __future__ import annotations

from fraudctl.explain.result import Explanation
from fraudctl.explain.run import MIN_ERRORS
from fraudctl.figures import money, percent
from fraudctl.report.document import Cell, Tone


def few(n: int, what: str) -> str:
    """Say that there are too few errors to conclude from; nothing where there are enough."""
    return f" Only {n:,} {what}: a hint at most." if n < MIN_ERRORS else ""


def count_cell(value: float) -> Cell:
    """Write a count."""
    return Cell(f"{value:,.0f}", float(value))


def money_cell(value: float, e: Explanation, tone: Tone = "plain") -> Cell:
    """Write money in the project's currency."""
    return Cell(money(value, e.currency), round(float(value), 2), tone)


def share_cell(value: float) -> Cell:
    """Write a share as a percentage."""
    return Cell(percent(value), round(value, 4))
