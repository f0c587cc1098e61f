"""Recount what one champion earned more than another, out of events, entries and decisions as rows, in plain Python."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from fraudctl.compare import Comparison

Row = dict[str, Any]
ENTITIES = ("card_id", "customer_id", "device_id", "ip", "merchant_id")
NORMAL_90 = 1.6448536269514722


@dataclass
class Decided:
    """Events of a period with what two models did, and everything that was ever said of their outcomes.

    Attributes
    ----------
    events
        Columns of the transactions, each event once; ``ours`` and ``theirs`` are actions.
    entries
        Event id -> instants and what was said: 1 fraud, 0 not.
    """

    events: list[Row]
    entries: dict[str, list[tuple[datetime, int]]]

    def outcome(self, event: Row) -> int | None:
        """Return what is known of an old event: the latest entry, else legitimate unless it was declined."""
        said = self.entries.get(event["transaction_id"])
        if said:
            return max(said)[1]
        return None if event["status"] == "declined" else 0


def cost(action: str, fraud: int, amount: float) -> float:
    """Price a decision as the project file of the sample does."""
    if fraud:
        return {"allow": max(0.0, 15.0 + amount), "review": 4.0, "block": 0.0}[action]
    return {"allow": 0.0, "review": max(0.0, 4.0 + 0.002 * amount), "block": max(0.0, 8.0 + 0.15 * amount)}[action]


def clustered(gaps: list[float], clusters: Iterable[Any]) -> float:
    """Return the sum of squared sums over clusters; a null is a cluster of its own."""
    sums: dict[Any, float] = defaultdict(float)
    for place, (gap, cluster) in enumerate(zip(gaps, clusters, strict=True)):
        sums[("alone", place) if cluster is None else cluster] += gap
    return sum(value**2 for value in sums.values())


def recount_comparison(item: Comparison, decided: Decided) -> None:
    """Recount events, frauds, the money between both models, and its interval clustered by the widest entity."""
    known = [(event, label) for event in decided.events if (label := decided.outcome(event)) is not None]
    assert (item.events, item.frauds) == (len(known), sum(label for _, label in known))
    ours, theirs = (
        [cost(event[side], label, event["amount"]) for event, label in known] for side in ("ours", "theirs")
    )
    gaps = [one - other for one, other in zip(ours, theirs, strict=True)]
    value, mean = sum(gaps), sum(gaps) / len(gaps)
    centred = [gap - mean for gap in gaps]
    ways = [clustered(centred, (event[name] for event, _ in known)) for name in ENTITIES]
    alone = sum(gap**2 for gap in centred)
    of_frauds = [
        sum(money for money, (_, label) in zip(side, known, strict=True) if label) / item.frauds
        for side in (ours, theirs)
    ]
    reach = NORMAL_90 * math.sqrt(max(alone, *ways) + max(of_frauds) ** 2)
    found = item.differences["cost"]
    assert item.confidence == 0.9
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == (pytest.approx(value - reach), pytest.approx(value + reach))
    assert item.metrics.a["cost"].value == pytest.approx(sum(ours))
    base = item.metrics.a["savings"].base
    assert base is not None
    assert item.differences["savings"].value == pytest.approx(-value / base.cost)


RECOUNT_LIFE: dict[type, Any] = {Comparison: recount_comparison}
