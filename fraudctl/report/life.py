"""What a promotion was worth, as a sentence: two champions on the same events."""

from __future__ import annotations

from fraudctl.compare import Comparison
from fraudctl.text.figures import count, money, number, percent
from fraudctl.text.sentences import sentence


@sentence
def earned(found: Comparison) -> str:
    """State what A earned more than B, with its paired interval, and by how much its savings are higher."""
    where = f"{count(found.events, 'event')} with {count(found.frauds, 'fraud')}, {found.when}"
    less, savings = found.differences["cost"], found.differences["savings"]
    head = f"earned with {found.a} instead of {found.b} on {where}"
    if less.value is None or less.low is None or less.high is None:
        return f"{head}: not known ({less.reason})"
    value, low, high = (money(0.0 - item, found.currency) for item in (less.value, less.high, less.low))
    ends = f"{percent(found.confidence)} interval {low} to {high}"
    more = f"{number(savings.value)} ({number(savings.low)} to {number(savings.high)})"
    return f"{head}: {value} ({ends}); savings higher by {more}"
