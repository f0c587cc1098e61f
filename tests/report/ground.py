"""The rows behind a report, and conditions on them that are read from their words as a person would.

Written apart from the code that they check: rows are dicts, and a condition is asked of one row at a time.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from fraudctl import costs
from fraudctl.evaluate import result as evaluated
from fraudctl.explain.result import Explanation

Row = dict[str, Any]
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "days": 86400.0}


@dataclass
class Ground:
    """The rows behind a report, and what is needed to decide again."""

    rows: list[Row]
    history: list[Row]
    entities: tuple[str, ...]
    words: dict[str, str]
    timezone: str
    lookback: timedelta
    decide: Callable[[float], list[bool]]
    """Factor on the odds -> whether each row is an alert."""
    cost_of: Callable[[float], list[float]]
    explanation: Explanation | None = None
    evaluation: evaluated.Evaluation | None = None
    sample: int = 100_000
    """Most legitimate passed events that were looked at closely."""
    conditions: dict[str, Callable[[Row], bool]] = field(default_factory=dict)
    """Conditions that were read, by their words: each is asked of thousands of rows."""

    @classmethod
    def of(cls, world: Any, features: Any, **more: Any) -> Ground:
        """Take the rows of a decided world; costs are those of one event times its weight."""
        scored = world.scored.sort("event_time", "event_id")
        weight = scored["stands_for"] if "stands_for" in scored.columns else pl.Series([1.0] * scored.height)
        scored = scored.with_columns(lost=scored["cost"] * weight, weight=weight)
        matrix = costs.cost_matrix(world.project.costs)
        table = matrix.per_event(scored)

        def codes(factor: float) -> Any:
            odds = [row["y_prob"] / (1 - row["y_prob"]) * factor for row in rows]
            return world.decide(scored, np.array([item / (1 + item) for item in odds]))

        def cost_of(factor: float) -> list[float]:
            found = codes(factor)
            return [float(table[i, int(found[i]), row["label"]]) * row["weight"] for i, row in enumerate(rows)]

        rows = scored.to_dicts()
        return cls(
            rows, world.history.to_dicts(), tuple(world.project.entities),
            {name: name for name in scored.columns} | {item.words or item.name: item.name for item in features},
            world.project.data.timezone,
            timedelta(days=30), lambda factor: [code != 0 for code in codes(factor)], cost_of, **more,
        )  # fmt: skip

    def local(self, row: Row) -> datetime:
        return row["event_time"].astimezone(ZoneInfo(self.timezone))

    def missed(self) -> list[Row]:
        return [row for row in self.rows if row["label"] == 1 and row["action"] == "allow"]

    def caught(self) -> list[Row]:
        return [row for row in self.rows if row["label"] == 1 and row["action"] != "allow"]

    def false_alarms(self) -> list[Row]:
        return [row for row in self.rows if row["label"] == 0 and row["action"] != "allow"]

    def alerts(self) -> list[Row]:
        return [row for row in self.rows if row["action"] != "allow"]

    def errors(self) -> list[Row]:
        return [*self.missed(), *self.false_alarms()]

    @cached_property
    def past_frauds(self) -> list[Row]:
        """All frauds of the history: few of its rows, and each cause looks through them."""
        return [row for row in self.history if row["label"] == 1]


def lost(rows: list[Row]) -> float:
    return math.fsum(row["lost"] for row in rows)


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-6)


def meets(ground: Ground, words: str, row: Row) -> bool:
    """Test a row by a condition that is read from its words."""
    if words not in ground.conditions:
        ground.conditions[words] = condition(ground, words)
    return ground.conditions[words](row)


def condition(ground: Ground, words: str) -> Callable[[Row], bool]:
    """Read one condition as a person would; return the test of a row."""
    if words.startswith("it is "):
        return of_time(ground, words.removeprefix("it is "))
    name = max((item for item in ground.words if words.startswith((item, spoken(item)))), key=len)
    rest, column = words.removeprefix(spoken(name)).removeprefix(name), ground.words[name]

    def known(row: Row) -> Any:
        value = row[column]
        return None if isinstance(value, float) and math.isnan(value) else value

    if rest.startswith(": "):
        wanted = {"yes": True, "no": False, "unknown": None}[rest[2:]]
        return lambda row: known(row) == wanted
    rest = rest.removeprefix(" is ")
    if rest in {"unknown", "known"}:
        return lambda row: (known(row) is None) == (rest == "unknown")
    return of_value(known, rest)


def of_time(ground: Ground, rest: str) -> Callable[[Row], bool]:
    """Read a condition on the local time."""
    if rest == "a weekend":
        return lambda row: ground.local(row).weekday() >= 5
    hours = re.fullmatch(r"between (\d+) and (\d+) h", rest)
    if hours:
        first, stop = int(hours[1]), int(hours[2])
        return lambda row: first <= ground.local(row).hour < stop
    day = datetime.strptime(rest, "%d %b %Y").date()
    return lambda row: ground.local(row).date() == day


def of_value(known: Callable[[Row], Any], rest: str) -> Callable[[Row], bool]:
    """Read a condition on a text or a number: `x`, `over x`, `at most x`, `but not x`, each perhaps `or unknown`."""
    plain = rest.removesuffix(" or unknown")
    number = r"(-?[\d.,e-]+(?: (?:s|min|h|days))?)"
    bounds = [
        (holds, read(found[1]))
        for pattern, holds in ((rf"over {number}", operator.gt), (rf"at most {number}", operator.le),
                               (rf"but not {number}", operator.ne))
        if (found := re.search(pattern, plain))
    ]  # fmt: skip
    exact = re.fullmatch(number, plain)

    def holds_for(row: Row) -> bool:
        value = known(row)
        if isinstance(value, str):
            return value == rest
        if value is None:
            return rest.endswith(" or unknown")
        if not all(holds(float(value), bound) for holds, bound in bounds):
            return False
        return float(value) == pytest.approx(read(exact[1]), rel=1e-12) if exact else True

    return holds_for


def spoken(words: str) -> str:
    return words.replace("seconds since", "time since", 1) if words.startswith("seconds since") else words


def read(text: str) -> float:
    amount, _, unit = text.replace(",", "").partition(" ")
    return float(amount) * (UNITS[unit] if unit else 1.0)
