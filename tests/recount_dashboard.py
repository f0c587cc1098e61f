"""Recount what the sentences of a dashboard were written from, out of the decisions as rows, in plain Python.

For a page whose weeks are all final: then every figure is a count or a sum over rows.
"""

from __future__ import annotations

import statistics
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from fraudctl.monitor import dashboard, harm, performance, rhythm
from fraudctl.report import dashboard_sentences as said
from fraudctl.report.document import Document

Row = dict[str, Any]


class Decided:
    """All decisions, and the instant of the page."""

    def __init__(self, rows: list[Row], as_of: datetime) -> None:
        self.rows = rows
        self.as_of = as_of

    def between(self, first: date, until: date) -> list[Row]:
        """Return the rows from a day on, before another."""
        return [row for row in self.rows if first <= row["event_time"].date() < until]

    def latest(self) -> list[Row]:
        """Return the rows of the latest 28 days with events."""
        end = max(row["event_time"] for row in self.rows).date() + timedelta(days=1)
        return self.between(end - timedelta(days=28), end)

    def sums(self, rows: list[Row]) -> dict[str, float]:
        """Count frauds, flags and money of some rows."""
        frauds = [row for row in rows if row["label"] == 1]
        flags = [row for row in rows if row["action"] != "allow"]
        hits = [row for row in flags if row["label"] == 1]
        missed = [row for row in frauds if row["action"] == "allow"]
        lost, every = sum(row["amount"] for row in missed), sum(row["amount"] for row in rows)
        return {
            "frauds": len(frauds), "missed_loss": lost, "caught_loss": sum(row["amount"] for row in hits),
            "missed_bps": 10_000 * lost / every, "recall": len(hits) / len(frauds), "precision": len(hits) / len(flags),
            "false_positives": len(flags) - len(hits), "events": len(rows), "flag_rate": len(flags) / len(rows),
        }  # fmt: skip


def same_outcomes(outcomes: performance.OutcomeFigures, sums: dict[str, float]) -> None:
    for name in ("frauds", "missed_loss", "caught_loss", "missed_bps", "recall", "precision", "false_positives"):
        figure = getattr(outcomes, name)
        assert figure.value == pytest.approx(sums[name]), name
        assert figure.known == pytest.approx(sums[name]), name


def recount_group(item: performance.PerformanceGroup, decided: Decided) -> None:
    rows = [row for row in decided.rows if row["channel"] == item.name] or decided.rows
    if item.events != len(rows):  # the latest 28 days
        rows = decided.latest()
    sums = decided.sums(rows)
    assert (item.events, item.flag_rate) == (sums["events"], pytest.approx(sums["flag_rate"]))
    same_outcomes(item.outcomes, sums)


def recount_cohort(item: performance.PerformanceCohort, decided: Decided) -> None:
    rows = decided.between(item.first_day, item.until_day)
    assert item.events == len(rows)
    assert set(item.models) == {row["model"] for row in rows}
    if rows:
        assert item.flagged == sum(row["action"] != "allow" for row in rows)
        for work in item.work:
            assert work.events == sum(row["action"] == work.action for row in rows)
        same_outcomes(item.outcomes, decided.sums(rows))


def recount_performance(item: performance.Performance, decided: Decided) -> None:
    assert (item.as_of, item.currency) == (decided.as_of, "EUR")
    for cohort in item.cohorts:
        recount_cohort(cohort, decided)


def recount_shown(item: said.ShownCohorts, decided: Decided) -> None:
    assert item.first <= min(row["event_time"] for row in decided.rows).date()
    assert (item.open, item.hidden, item.running, item.unsettled) == (0, 0, 0, None)
    assert item.final == len(range(0, (item.last - item.first).days, 7))


def recount_money(item: said.MoneyFigure, decided: Decided) -> None:
    sums = decided.sums(decided.rows)
    assert any(item.figure.value == pytest.approx(sums[name]) for name in ("missed_loss", "caught_loss"))


def recount_limit(item: harm.LimitVerdict, decided: Decided) -> None:
    rows = decided.latest()
    found = decided.sums(rows)
    value = {
        "recall": found["recall"], "fraud_loss_bps": found["missed_bps"],
        "alerts_per_day": found["flag_rate"] * len(rows) / 28,
    }[item.figure]  # fmt: skip
    assert item.value == pytest.approx(value)
    kept = (item.at_least is None or value >= item.at_least) and (item.at_most is None or value <= item.at_most)
    assert kept == (item.state == "kept")
    if item.sure is not None:
        rows = decided.between(item.sure.first_day, item.sure.until_day)
        found = decided.sums(rows)
        assert item.sure.value == pytest.approx(
            {"recall": found["recall"], "fraud_loss_bps": found["missed_bps"]}[item.figure]
        )
        assert item.sure.low < item.sure.value < item.sure.high


def recount_health(item: dashboard.HealthFinding, decided: Decided) -> None:
    assert item.kind == "decisions missing"
    age = decided.as_of - max(row["event_time"] for row in decided.rows)
    assert item.value == pytest.approx(age / timedelta(days=1))


def recount_alarm(item: dashboard.DashboardAlarm, decided: Decided) -> None:
    assert item.first <= item.last <= decided.as_of.date()


def recount_model(item: dashboard.DashboardModel, decided: Decided) -> None:
    times = [row["event_time"] for row in decided.rows if row["model"] == item.version]
    assert (item.events, item.first, item.last) == (len(times), min(times), max(times))


def recount_board(item: dashboard.Dashboard, decided: Decided) -> None:
    recount_performance(item.performance, decided)
    for model in item.models:
        recount_model(model, decided)


def recount_total(item: said.ActionTotal, decided: Decided) -> None:
    assert item.events == sum(row["action"] == item.action for row in decided.rows)


def recount_delays(item: performance.LabelDelays, decided: Decided) -> None:
    for flagged, days in ((True, item.flagged_days), (False, item.allowed_days)):
        waited = [
            (row["label_time"] - row["event_time"]) / timedelta(days=1)
            for row in decided.rows
            if row["label"] == 1 and (row["action"] != "allow") == flagged
        ]
        assert days == pytest.approx(statistics.median(waited), abs=1.5)


def recount_rhythm(item: rhythm.WeekRhythm, decided: Decided) -> None:
    counted = {
        "events": lambda row: 1.0, "flagged events": lambda row: float(row["action"] != "allow"),
        "money of events": lambda row: row["amount"],
    }[item.name]  # fmt: skip
    days: dict[date, float] = {}
    for row in decided.rows:
        days[row["event_time"].date()] = days.get(row["event_time"].date(), 0.0) + counted(row)
    mean = statistics.mean(days.values())
    for number, factor in enumerate(item.weekdays):
        mine = statistics.mean(value for day, value in days.items() if day.weekday() == number)
        assert factor == pytest.approx(mine / mean, rel=0.15)


RECOUNT_DASHBOARD: dict[type, Any] = {
    performance.PerformanceGroup: recount_group,
    performance.Performance: recount_performance,
    performance.LabelDelays: recount_delays,
    harm.LimitVerdict: recount_limit,
    dashboard.HealthFinding: recount_health,
    dashboard.DashboardAlarm: recount_alarm,
    dashboard.DashboardModel: recount_model,
    dashboard.Dashboard: recount_board,
    rhythm.WeekRhythm: recount_rhythm,
    said.ShownCohorts: recount_shown,
    said.MoneyFigure: recount_money,
    said.CohortOf: lambda item, decided: recount_cohort(item.cohort, decided),
    said.ActionTotal: recount_total,
}


def recount_dashboard(document: Document, decided: Decided) -> int:
    """Recount each value that a sentence of a dashboard was written from; return how many were."""
    values = [value for sentence in document.sentences() for source in sentence.sources for value in source.values]
    flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
    typed = [item for item in flat if item is not None and not isinstance(item, str)]
    for item in typed:
        RECOUNT_DASHBOARD[type(item)](item, decided)
    return len(typed)
