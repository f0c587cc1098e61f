"""Recount what the sentences of `monitor` were written from, out of decisions as rows, in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fraudctl.monitor.alarms import MovedGroup
from fraudctl.monitor.arrivals import LabelOrphans, LateEvents
from fraudctl.monitor.feed import LabelFlow, RewrittenLabels, TakenBack
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


@dataclass
class Fed:
    """Events as rows, with ``event_time``, what was ``reported`` of them (times and labels), ``fold`` and ``then``."""

    rows: list[Row]
    as_of: datetime
    until: datetime

    def label(self, row: Row, at: datetime) -> tuple[datetime, int] | None:
        """Return the last report of an event by an instant."""
        return max((item for item in row["reported"] if item[0] <= at), default=None)

    def frauds(self, at: datetime) -> list[datetime]:
        """Return since when the frauds that are known at an instant have been known."""
        found = (self.label(row, at) for row in self.rows)
        return sorted(item[0] for item in found if item is not None and item[1] == 1)


def recount_flow(item: LabelFlow, fed: Fed) -> None:
    """Count reports and events of both times, one by one."""
    since = fed.until - timedelta(days=item.days)
    assert item.reported == sum(at > since for at in fed.frauds(fed.until))
    known = fed.frauds(fed.as_of)
    began = max(known[0], fed.as_of - timedelta(days=56))
    assert item.before == sum(at >= began for at in known)
    now = sum(since <= row["event_time"] < fed.until for row in fed.rows)
    earlier = sum(began <= row["event_time"] < fed.as_of for row in fed.rows)
    assert item.expected == pytest.approx(item.before * now / earlier)


def recount_taken_back(item: TakenBack, fed: Fed) -> None:
    """Count the frauds of the time before as_of, and those that are none at the end."""
    pairs = [(fed.label(row, fed.as_of), fed.label(row, fed.until)) for row in fed.rows]
    since = fed.as_of - timedelta(days=56)
    frauds = [(then, now) for then, now in pairs if then is not None and then[1] == 1 and then[0] >= since]
    assert item.frauds == len(frauds)
    assert item.taken_back == sum(now is not None and now[1] == 0 for _, now in frauds)


def recount_rewritten(item: RewrittenLabels, fed: Fed) -> None:
    """Count the labels that were others at as_of."""
    pairs = [(row["then"], fed.label(row, fed.as_of)) for row in fed.rows if row["fold"] and row["then"] is not None]
    both = [(then, now[1]) for then, now in pairs if now is not None]
    assert item.rows == len(both)
    assert item.frauds == sum(then == 1 for then, _ in both)
    assert item.taken_back == both.count((1, 0))
    assert item.reported == both.count((0, 1))


def recount_late(item: LateEvents, came: list[datetime], until: datetime) -> None:
    """Count events that came over an hour after one that is later, one by one; ``came`` is in the order of the log."""
    latest, late, now, before = datetime.min.replace(tzinfo=UTC), [], 0, 0
    week, start = until - timedelta(days=7), until - timedelta(days=35)
    for time in (at for at in came if at <= until):
        latest = max(latest, time)
        if latest - time > timedelta(hours=1):
            late.append(time)
        now += time > week
        before += start < time <= week
    assert (item.events, item.events_before) == (now, before)
    assert item.late == sum(time > week for time in late)
    assert item.late_before == sum(start < time <= week for time in late)


def recount_orphans(item: LabelOrphans, entries: list[Row], known: set[Any], until: datetime) -> None:
    """Count entries of the latest four weeks, and those that name no event."""
    recent = [row for row in entries if until - timedelta(days=28) < row["time"] <= until]
    assert item.entries == len(recent)
    assert item.orphans == sum(row["event_id"] not in known for row in recent)


RECOUNT_MONITOR: dict[type, Any] = {
    TakenBack: recount_taken_back,
    MovedGroup: recount_moved, ParityResult: recount_parity, LabelFlow: recount_flow,
    RewrittenLabels: recount_rewritten, LateEvents: recount_late, LabelOrphans: recount_orphans,
}  # fmt: skip
