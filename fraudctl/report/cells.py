"""Cells that many tables share: counts, money and shares, each with the key that it sorts by."""

from __future__ import annotations

from fraudctl.explain.result import Explanation
from fraudctl.explain.run import MIN_ERRORS
from fraudctl.report.document import Cell, Tone
from fraudctl.report.explanation_sentences import hint
from fraudctl.report.facts import Few
from fraudctl.text.figures import money, percent, whole
from fraudctl.text.sentences import Sentence


def few(n: int, one: str) -> Sentence | None:
    """State that there are too few errors to conclude from; None where there are enough."""
    return hint(Few(n, MIN_ERRORS), one) if n < MIN_ERRORS else None


def count_cell(value: float) -> Cell:
    """Write a count."""
    return Cell(whole(value), float(value))


def money_cell(value: float, e: Explanation, tone: Tone = "plain") -> Cell:
    """Write money in the project's currency."""
    return Cell(money(value, e.currency), round(float(value), 2), tone)


def share_cell(value: float) -> Cell:
    """Write a share as a percentage."""
    return Cell(percent(value), round(value, 4))
