"""Recount what the sentences of `monitor` were written from, out of decisions as rows, in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from fraudctl.monitor.alarms import MovedGroup
from fraudctl.monitor.outcome import ParityResult

Row = dict[str, Any]


@dataclass
class Watched:
    """Decisions as rows: of the reference, of the days that are watched, and as they would be recomputed."""

    before: list[Row] = field(default_factory=list)
    now: list[Row] = field(default_factory=list)
    again: dict[Any, Row] = field(default_factory=dict)


def recount_moved(item: MovedGroup, watched: Watched) -> None:
    """Count alerts, expected cost and events a day from the first day of the change on; rows have a local ``date``."""
    late = [row for row in watched.now if row["date"] >= item.leading.first_day]
    for effect in item.effects:
        for rows, value in ((watched.before, effect.before), (late, effect.now)):
            n_days = len({row["date"] for row in rows})
            found = {
                "alert rate": lambda rows=rows: sum(row["alert"] for row in rows) / len(rows),
                "expected cost": lambda rows=rows: sum(row["expected_cost"] for row in rows) / len(rows),
                "events a day": lambda rows=rows, n_days=n_days: len(rows) / n_days,
            }[effect.name]()
            assert value == pytest.approx(found, rel=1e-4), effect.name
        assert effect.change == pytest.approx(effect.now / effect.before - 1, rel=1e-3)
    if item.money_per_day is not None:
        cost = {effect.name: effect for effect in item.effects}["expected cost"]
        per_day = len(late) / len({row["date"] for row in late})
        assert item.money_per_day == pytest.approx((cost.now - cost.before) * per_day, rel=1e-3, abs=0.01)


def recount_parity(item: ParityResult, watched: Watched) -> None:
    """Count decisions and feature values that are not those of a second computation, all decisions recomputed."""
    assert item.sampled == len(watched.now)
    pairs = [(row, watched.again[row["event_id"]]) for row in watched.now]
    assert item.differing == sum(abs(row["probability"] - other["probability"]) > 1e-6 for row, other in pairs)
    for each in item.features:
        assert each.differing == sum(row[each.feature] != other[each.feature] for row, other in pairs)


RECOUNT_MONITOR: dict[type, Any] = {MovedGroup: recount_moved, ParityResult: recount_parity}
