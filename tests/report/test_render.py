"""Renderings: text stays text, nothing is fetched, the same bytes twice, and every figure is the result's own."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

import pytest
from nasty import NASTY
from rich.console import Console

from fraudctl.evaluate.result import Evaluation, ReviewQueue
from fraudctl.explain.campaigns import Campaign, CampaignEvent
from fraudctl.explain.pairs import PairEffect, Pairs
from fraudctl.explain.result import Explanation
from fraudctl.report import charts
from fraudctl.report.charts import PALETTE
from fraudctl.report.document import Document, ReportTable
from fraudctl.report.evaluation import evaluation_document
from fraudctl.report.explanation import _weeks, explanation_document
from fraudctl.report.explanation_model import _points
from fraudctl.report.html import render_html
from fraudctl.report.render import chart_files, evaluation_report, explanation_report
from fraudctl.report.terminal import render_terminal


class Tags(HTMLParser):
    """Collects tags with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id" and value]


@pytest.fixture(scope="module")
def page(document: Document) -> str:
    return render_html(document)


def test_markup_in_values_is_text(page: str) -> None:
    found = Tags(page)
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert not [attrs for _, attrs in found.tags if any(key.startswith("on") for key in attrs)]
    assert NASTY not in page


def test_the_page_names_no_address_and_forbids_requests(page: str) -> None:
    for tag, attrs in Tags(page).tags:
        for key in ("src", "href", "xlink:href", "action", "data"):
            value = attrs.get(key) or ""
            assert value.startswith("#") or value in {"", "data:,"}, (tag, key, value)
    policy = next(attrs["content"] or "" for tag, attrs in Tags(page).tags if attrs.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "@import" not in page
    assert "url(http" not in page


def test_ids_are_unique_and_charts_have_a_text_alternative(page: str) -> None:
    found = Tags(page)
    assert len(found.ids) == len(set(found.ids))
    drawings = [attrs for tag, attrs in found.tags if tag == "svg"]
    assert len(drawings) == 2
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] in found.ids for attrs in drawings)
    assert "NaN" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def test_the_same_document_gives_the_same_bytes(document: Document, page: str) -> None:
    assert render_html(document) == page
    assert chart_files(document) == chart_files(document)


def test_charts_use_only_the_colours_that_dark_screens_know(explanation: Explanation) -> None:
    known = {light for light, _ in PALETTE.values()} | {"none", "transparent"}
    for chart in explanation_document(explanation).charts():
        svg = charts.to_svg(chart.spec, name=chart.name)
        assert set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg)) <= known, chart.name


def test_specifications_are_valid_vega_lite(explanation: Explanation, evaluation: Evaluation) -> None:
    import altair as alt

    for document in (explanation_document(explanation), evaluation_document(evaluation)):
        for chart in document.charts():
            alt.LayerChart.from_dict(dict(chart.spec), validate=True)


def test_small_numbers_in_charts_are_not_rounded_away() -> None:
    rows = [{"label": "a", "value": 0.00123, "low": None, "high": None, "tone": "bad"}]
    assert "+0.00123" in charts.to_svg(charts.intervals(rows, title="x", number_format="+.5f"), name="n")


def test_chart_files_are_svg_and_png(explanation: Explanation) -> None:
    files = chart_files(explanation_document(explanation))
    assert {name.rsplit(".", 1)[1] for name in files} == {"svg", "png"}
    assert {"causes-bar", "cost-curve", "by-day"} <= {name.rsplit(".", 1)[0] for name in files}
    assert "label not yet in" in files["causes-bar.svg"].decode()
    assert all(content.startswith(b"<svg" if name.endswith("svg") else b"\x89PNG") for name, content in files.items())


def test_reports_are_small_and_stable(explanation: Explanation, evaluation: Evaluation) -> None:
    for text in (explanation_report(explanation), evaluation_report(evaluation, project="test")):
        assert len(text.encode()) < 500_000
    assert explanation_report(explanation) == explanation_report(explanation)


def test_an_explanation_shows_its_sections_in_their_order(explanation: Explanation) -> None:
    titles = [section.title for section in explanation_document(explanation).sections]
    assert titles == [
        "Why was fraud missed?", "Where does the money go?", "Is it the threshold?",
        "What did the model not see, what misled it?", "Whom do we annoy?", "Which campaigns did we miss?",
        "Where is it weak?", "Better model or better data?", "The costliest cases", "Method and limits",
    ]  # fmt: skip
    cases = next(s for s in explanation_document(explanation).sections if s.name == "cases").blocks[0]
    assert isinstance(cases, ReportTable)
    assert [row[0].text for row in cases.rows] == [str(item.event_id) for item in explanation.errors[:150]]


def test_an_evaluation_says_its_verdict_in_words(evaluation: Evaluation) -> None:
    document = evaluation_document(evaluation, project="test")
    assert evaluation.gate.verdict == "fail"
    assert document.title.startswith("This model must not ship: it ")
    assert any("recall" in head for head, _, _ in document.findings)
    gate = next(section for section in document.sections if section.name == "gate").blocks[0]
    assert isinstance(gate, ReportTable)
    assert [row[0].text for row in gate.rows] == [rule.name for rule in evaluation.gate.rules]
    names = [section.name for section in document.sections]
    assert "champion-section" in names
    assert {"money", "metrics", "quality", "days", "method"} <= set(names)


def test_an_evaluation_shows_ties_the_policy_and_what_other_costs_would_change(evaluation: Evaluation) -> None:
    page = evaluation_report(evaluation, project="p")
    assert "Review queues of a fixed length a day" in page
    assert "The action with the lowest expected cost for each event." in page
    told = {
        0.5: "With other costs the other model would save more: allow.fraud × 0.5",
        9.0: "With any cost from half to",
    }
    for factor, words in told.items():
        rows = tuple(replace(row, changes=row.factor == factor) for row in evaluation.champion.cost_sensitivity)
        other = replace(evaluation, champion=replace(evaluation.champion, cost_sensitivity=rows))
        assert words in evaluation_report(other, project="p")
    tied = ReviewQueue("event", 5, 0.5, 0.4, 0.6, None, None, None)
    shown = evaluation_report(replace(evaluation, tables=replace(evaluation.tables, at_k=(tied,))), project="p")
    assert "40.0" in shown


def test_the_terminal_reads_no_markup(document: Document) -> None:
    console = Console(width=200, record=True, force_terminal=False, file=None, quiet=False)
    with console.capture() as capture:
        console.print(render_terminal(document))
    out = capture.get()
    assert "<script>" in out
    assert "\x1b[" not in out
    assert "alpha" in out


def test_a_dense_campaign_is_drawn_with_few_points_that_count_every_fraud() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    course = tuple(
        CampaignEvent(start + timedelta(minutes=7 * i), "missed" if i % 3 else "caught", 1.0) for i in range(3000)
    )
    item = Campaign("card", NASTY, 3000, 2000, 1000, 2000.0, 3000, start, course[-1].event_time, course)
    points = _points([item, replace(item, value="other")])
    assert len(points) <= 400
    assert sum(int(str(point["n"])) for point in points) == 6000
    assert {point["kind"] for point in points} == {"missed", "caught"}


def test_long_periods_are_drawn_by_week(explanation: Explanation) -> None:
    days = tuple((date(2026, 1, 5) + timedelta(days=i), 1.0, 0.5) for i in range(70))
    weeks = _weeks(days)
    assert [item[0].weekday() for item in weeks] == [0] * 10
    assert {item[1:] for item in weeks} == {(7.0, 3.5)}
    chart = explanation_document(replace(explanation, days=days)).charts()[0]
    assert chart.title.endswith("by week")


def test_folded_tables_and_the_words_of_columns_are_on_the_page(explanation: Explanation) -> None:
    page = explanation_report(explanation)
    assert "<details><summary>" in page
    assert "p: chance of anything as extreme in the whole search" in page


def test_interactions_have_a_table_of_their_own(explanation: Explanation) -> None:
    pair = PairEffect(("a", "b"), (NASTY, "seconds since b"), 0.5, None, 0.6)
    page = explanation_report(replace(explanation, pairs=Pairs(40, 0, (pair,))))
    assert "Features that act together" in page
    assert NASTY not in page
    assert "Features that act together" not in explanation_report(explanation)


def test_each_tick_of_a_logarithmic_axis_lies_on_the_axis() -> None:
    rows = [{"x": value, "y": value} for value in (0.043, 0.05, 0.31)]
    spec = charts.curve(rows, x="x", y="y", x_title="x", y_title="y", log=True, diagonal=True)
    for layer in spec["layer"]:
        for side in ("x", "y"):
            low, high = layer["encoding"][side]["scale"]["domain"]
            assert (low, high) == (0.01, 1.0)
            assert all(low <= tick <= high for tick in layer["encoding"][side]["axis"]["values"])


def test_the_label_of_a_point_at_the_end_of_an_axis_stays_inside() -> None:
    rows = [{"x": 0.0, "y": 1.0}, {"x": 1.0, "y": 0.05}]
    for at, side in ((1.0, "right"), (0.2, "left")):
        spec = charts.curve(rows, x="x", y="y", x_title="x", y_title="y", point=(at, 0.05, "this policy"))
        assert spec["layer"][-1]["mark"]["align"] == side


@pytest.mark.parametrize("kind", ["money", "number", "share"])
def test_ticks_are_short_and_plain(kind: str) -> None:
    rows = [{"x": 0.011410292898, "y": 0.2}, {"x": 950.0, "y": 2.5e9}]
    axis = charts.field("y", title="y", axis=charts.ticks(kind))  # type: ignore[arg-type]
    layer = {"mark": "line", "encoding": {"x": charts.field("x", scale={"type": "log", "nice": False}), "y": axis}}
    layer["encoding"]["x"]["axis"] = charts.ticks("number")
    words = re.findall(r"<text[^>]*>([^<]+)</text>", charts.to_svg(charts.spec([layer], rows=rows), name="n"))
    assert words
    assert all(len(word) <= 16 and "e+" not in word for word in words)
    assert not any(re.search(r"\d[mG]$", word) for word in words)
