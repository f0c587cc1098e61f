from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from jsonschema import Draft202012Validator
from recount_dashboard import Decided, recount_dashboard

from fraudctl.documents.results import as_object, as_text
from fraudctl.monitor.dashboard import (
    Dashboard,
    MonitorRun,
    MonitorRunAlarm,
    _light,
    dashboard,
)
from fraudctl.monitor.harm import LimitVerdict
from fraudctl.report import dashboard_sentences as said
from fraudctl.report.dashboard import dashboard_document
from fraudctl.report.document import Document, ReportTable
from fraudctl.report.html import render_html
from fraudctl.text.figures import money, percent, whole
from fraudctl.workflows.dashboard import DashboardResult
from fraudctl.workflows.schemas import SchemaKind, json_schema_of

from .conftest import MONDAY, make_decisions, project_of


@pytest.fixture(scope="session")
def board(decisions: pl.DataFrame, as_of: datetime) -> Dashboard:
    return dashboard(decisions, project_of(), as_of, by="channel")


@pytest.fixture(scope="session")
def document(board: Dashboard) -> Document:
    return dashboard_document(board)


def tables(document: Document) -> dict[str, ReportTable]:
    return {
        block.name: block for section in document.sections for block in section.blocks if isinstance(block, ReportTable)
    }


def test_limits_have_the_figures_of_the_latest_28_days(board: Dashboard) -> None:
    recent = board.performance.recent
    assert recent is not None
    found = {item.figure: item for item in board.limits}
    assert found["recall"].value == recent.outcomes.recall.value
    assert found["fraud_loss_bps"].value == recent.outcomes.missed_bps.value


def test_the_light_is_the_worst_of_all() -> None:
    def limit(state: str) -> LimitVerdict:
        return LimitVerdict("recall", 0.5, None, 0.6, 0.5, 0.7, state, None)  # type: ignore[arg-type]

    assert _light([limit("kept"), limit("broken"), limit("open")], []) == "red"
    assert _light([limit("kept"), limit("open")], []) == "amber"
    assert _light([limit("unknown")], []) == "amber"
    assert _light([limit("kept")], []) == "green"
    assert _light([], []) == "none"


def test_alerts_a_day_are_counted(board: Dashboard, decisions: pl.DataFrame) -> None:
    (alerts,) = [item for item in board.limits if item.figure == "alerts_per_day"]
    first = MONDAY + timedelta(weeks=16)
    flagged = decisions.filter(pl.col("event_time") >= first, pl.col("action") != "allow").height
    assert alerts.value == pytest.approx(flagged / 28)


def test_marks_models_and_rhythm_are_recounted(board: Dashboard, decisions: pl.DataFrame) -> None:
    assert [(mark.kind, mark.name, mark.start) for mark in board.marks] == [
        ("incident", "an attack", date(2026, 3, 2)),
        ("model", "2026-03-01-bbbbbbbb", date(2026, 3, 16)),
        ("holiday", "Easter", date(2026, 4, 5)),
    ]
    assert [item.events for item in board.models] == decisions.group_by("model").len().sort("model")["len"].to_list()
    assert [item.name for item in board.rhythms] == ["events", "flagged events", "money of events"]
    assert all(item.trend is not None and item.trend.weeks >= 19 for item in board.rhythms)


def test_the_first_screen_is_recounted_from_the_rows(
    document: Document, board: Dashboard, decisions: pl.DataFrame, as_of: datetime
) -> None:
    """Where every week is final, the sentences at the head are counts of rows."""
    late = dashboard(decisions, project_of(), as_of + timedelta(days=90))
    head = dashboard_document(late)
    frauds = decisions.filter(pl.col("label") == 1)
    missed = float(frauds.filter(pl.col("action") == "allow")["amount"].sum())
    caught = float(frauds.filter(pl.col("action") != "allow")["amount"].sum())
    assert head.title == f"{money(missed, 'EUR')} of fraud got through, {money(caught, 'EUR')} was caught"
    assert [card.value for card in head.cards[:2]] == [money(missed, "EUR"), money(caught, "EUR")]
    flagged = decisions.filter(pl.col("action") != "allow")
    recall = frauds.filter(pl.col("action") != "allow").height / frauds.height
    precision = frauds.filter(pl.col("action") != "allow").height / flagged.height
    (quality,) = [section for section in head.sections if section.name == "quality"]
    shares = percent(recall, 1), percent(precision, 1)
    assert quality.lead == "{} of the frauds were flagged, and {} of the flagged events were fraud.".format(*shares)
    wrong = flagged.height - frauds.filter(pl.col("action") != "allow").height
    (customers,) = [section for section in head.sections if section.name == "customers"]
    assert f"{whole(wrong)} legitimate events were flagged" in customers.lead
    by_week = frauds.filter(pl.col("action") == "allow").group_by(
        pl.col("event_time").dt.truncate("1w").dt.date().alias("week")
    )
    most = by_week.agg(pl.col("amount").sum()).sort("amount")[-1]
    (lost,) = [section for section in head.sections if section.name == "lost"]
    assert f"in the week from {most['week'][0]:%-d %b %Y}: {money(most['amount'][0], 'EUR')}" in lost.lead
    work = {item.action: item for item in said_totals(late)}
    assert work["review"].events == decisions.filter(pl.col("action") == "review").height
    # the young weeks of the page of that day are named as what they are
    statuses = [cohort.status for cohort in board.performance.cohorts]
    assert document.cards[-1].value == str(len(statuses) - statuses.count("final"))
    assert f"{statuses.count('open')} still open" in document.subtitle[-1]
    oldest = board.performance.cohorts[statuses.count("final")].first_day
    assert f"the oldest from {oldest:%-d %b %Y}" in document.subtitle[-1]
    assert f"the oldest begins on {oldest:%-d %b %Y}" in document.cards[-1].label
    # what was saved is the cost of the constant action, less that of the decisions
    everything = late.performance.all
    assert everything is not None
    cost, share = everything.outcomes.cost.value, everything.outcomes.savings.value
    assert cost is not None
    assert share is not None
    assert f"saved: {money(cost / (1 - share) - cost, 'EUR')}, compared with" in head.cards[2].label


def test_every_value_of_a_sentence_is_recounted_from_the_rows(decisions: pl.DataFrame, as_of: datetime) -> None:
    at = as_of + timedelta(days=90)
    page = dashboard_document(dashboard(decisions, project_of(), at, by="channel"))
    assert recount_dashboard(page, Decided(decisions.to_dicts(), at)) > 25


def said_totals(board: Dashboard) -> tuple[said.ActionTotal, ...]:
    from fraudctl.report.dashboard import _totals

    return _totals(board.performance)


def test_every_sentence_with_a_number_has_its_values(document: Document) -> None:
    bare = [text for text in document.sentences() if not text.sources and any(letter.isdigit() for letter in text)]
    fixed_words = [text for text in bare if "%" not in text and "1 - cost" not in text and "10,000" not in text]
    assert [
        text for text in fixed_words if "28 days" not in text and "90" not in text and "1 is the mean" not in text
    ] == []


def test_every_chart_has_its_table_and_csv(document: Document, board: Dashboard) -> None:
    found = tables(document)
    assert {"lost", "quality", "customers", "maturity"} <= {section.name for section in document.sections}
    rows = list(csv.DictReader(io.StringIO(found["loss-table"].as_csv())))
    assert [row["From"] for row in rows] == [item.first_day.isoformat() for item in board.performance.cohorts]
    for row, cohort in zip(rows, board.performance.cohorts, strict=True):
        value = cohort.outcomes.missed_loss.value
        assert row["Missed"] == ("" if value is None else str(round(value, 9)))
    groups = list(csv.DictReader(io.StringIO(found["groups-table"].as_csv())))
    assert {row["channel"] for row in groups} == {"web", "shop", "'=app"}  # no formula for a spreadsheet


def test_json_has_the_same_figures_and_its_schema(board: Dashboard) -> None:
    found = as_object(DashboardResult(board))
    Draft202012Validator(json_schema_of(SchemaKind.DASHBOARD)).validate(found)
    assert found["performance"]["cohorts"][0]["recall"]["value"] == board.performance.cohorts[0].outcomes.recall.value  # type: ignore[index,call-overload]


def test_a_past_page_is_made_again_byte_for_byte(decisions: pl.DataFrame, board: Dashboard, as_of: datetime) -> None:
    more = make_decisions(24).filter(pl.col("event_time") > as_of)
    later = pl.concat([decisions, more.with_columns(pl.col("event_id") + 100_000)])
    assert as_text(dashboard(later, project_of(), as_of, by="channel")) == as_text(board)
    assert render_html(dashboard_document(board)) == render_html(dashboard_document(board))


def test_a_year_is_small(as_of: datetime) -> None:
    year = dashboard(make_decisions(53, 120), project_of(), MONDAY + timedelta(weeks=53), period_days=371)
    assert len(year.performance.cohorts) == 53
    assert len(render_html(dashboard_document(year)).encode()) < 1_000_000


def test_health_is_named(decisions: pl.DataFrame, as_of: datetime) -> None:
    silent = dashboard(decisions, project_of(), as_of + timedelta(days=5))
    assert [item.kind for item in silent.health] == ["decisions missing"]
    assert silent.light == "amber"
    unlabelled = decisions.with_columns(
        pl.when(pl.col("event_id") % 5 == 0).then(None).otherwise("label").alias("label"),
        pl.when(pl.col("event_id") % 5 == 0).then(None).otherwise("label_time").alias("label_time"),
    )
    found = dashboard(unlabelled, project_of(), as_of)
    assert [item.kind for item in found.health] == ["labels missing"]
    unseen = decisions.with_columns(
        pl.when(pl.col("action") == "block").then(None).otherwise(name).alias(name) for name in ("label", "label_time")
    )
    found = dashboard(unseen, project_of(), as_of)
    assert [item.kind for item in found.health] == ["blocked unseen"]
    assert found.health[0].value == decisions.filter(pl.col("action") == "block").height
    page = dashboard_document(found)
    assert "how much was caught cannot be seen" in page.title
    assert any("no control group" in text for text in page.subtitle)
    young = dashboard(decisions.head(300), project_of(""), MONDAY + timedelta(days=3))
    assert "nothing final" in [item.kind for item in young.health]
    assert "can be judged yet" in dashboard_document(young).title
    render_html(dashboard_document(young))


def test_alarms_of_monitor_are_shown_with_their_days(decisions: pl.DataFrame, as_of: datetime) -> None:
    def run(days_before: int, *alarms: MonitorRunAlarm) -> MonitorRun:
        return MonitorRun(as_of - timedelta(days=days_before, hours=1), alarms)

    old, drift = (
        MonitorRunAlarm("a" * 8, "data", "nulls", False),
        MonitorRunAlarm("b" * 8, "drift", "scores fell", False),
    )
    runs = [run(20, old), run(9, old, drift), run(2, drift), run(-3, MonitorRunAlarm("c" * 8, "harm", "later", False))]
    found = dashboard(decisions, project_of(), as_of, runs=runs)
    assert [(item.id[0], item.current, (item.last - item.first).days) for item in found.alarms] == [
        ("b", True, 7),
        ("a", False, 11),
    ]
    assert found.monitored == (as_of - timedelta(days=2, hours=1)).date()
    assert found.light == "amber"
    page = dashboard_document(found)
    assert any(
        text.startswith("Amber: drift alarm, first raised on") and "scores fell" in text for text in page.subtitle
    )
    assert "with 1 alarm." in said.monitored_line(found)
    assert [row[4].text for row in tables(page)["alarms"].rows] == ["open", "over"]
    noted = dashboard(decisions, project_of(), as_of, runs=[run(2, replace(drift, noted=True))])
    assert noted.light == dashboard(decisions, project_of(), as_of).light
    assert dashboard(decisions, project_of(), as_of, runs=[run(2, old)]).light == "red"
    assert dashboard(decisions, project_of(), as_of).monitored is None


def test_slow_labels_turn_the_light_amber(decisions: pl.DataFrame, as_of: datetime) -> None:
    wait = pl.when(pl.col("event_time") > MONDAY + timedelta(weeks=11)).then(2.2).otherwise(1.0)
    late = pl.col("event_time") + (pl.col("label_time") - pl.col("event_time")) * wait
    fraud = pl.col("label") == 1
    slow = make_decisions(20, 1500).with_columns(pl.when(fraud).then(late).otherwise("label_time").alias("label_time"))
    found = dashboard(slow, project_of(), as_of)
    (finding,) = [item for item in found.health if item.kind == "labels slow"]
    assert 1.5 < finding.value < 2.6
    assert np.isfinite(finding.value)
