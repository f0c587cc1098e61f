"""The charts of the dashboard: weeks or days along one axis of time, what is not final yet hatched or hollow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from fraudctl.documents.types import JsonObject
from fraudctl.monitor.dashboard import DashboardMark
from fraudctl.monitor.performance import LabelledFigure, PerformanceCohort
from fraudctl.report import charts
from fraudctl.report.charts import NARROW, Rows, Spec, colour, field, spec, ticks

LABEL = 18
"""Most letters of the name of a mark in a chart; the table has it whole."""


@dataclass(frozen=True)
class TimeFrame:
    """What all charts of a dashboard share: its cohorts and its marks."""

    cohorts: tuple[PerformanceCohort, ...]
    marks: tuple[DashboardMark, ...]

    @property
    def shown(self) -> list[PerformanceCohort]:
        """Return the cohorts whose estimates are shown."""
        return [cohort for cohort in self.cohorts if cohort.status != "hidden"]

    def x(self, name: str, width: int) -> Spec:
        """Return the axis of time."""
        first, last = self.cohorts[0].first_day, self.cohorts[-1].until_day
        scale = {"type": "utc", "domain": [first.isoformat(), last.isoformat()], "nice": False}
        axis = {"format": "%-d %b", "tickCount": max(width // 90, 3), "labelOverlap": True}
        return field(name, "temporal", scale=scale, axis=axis)

    def behind(self, width: int) -> list[Spec]:
        """Return what lies behind every chart: weeks that are too young, and incidents."""
        young = [cohort for cohort in self.cohorts if cohort.status == "hidden"]
        layers: list[Spec] = []
        spans = [(mark.start, mark.until) for mark in self.marks if mark.kind == "incident"]
        if young:
            spans.append((young[0].first_day, young[-1].until_day))
        if spans:
            rows = [{"from": max(a, self.cohorts[0].first_day).isoformat(), "to": b.isoformat()} for a, b in spans]
            rows = [{**row, "to": min(row["to"], self.cohorts[-1].until_day.isoformat())} for row in rows]
            layers.append(
                {
                    "data": {"values": rows},
                    "mark": {"type": "rect", "color": colour("band")},
                    "encoding": {"x": self.x("from", width), "x2": {"field": "to"}},
                }
            )
        return layers

    def before(self, width: int) -> list[Spec]:
        """Return the marks: a dotted rule each, its name above."""
        first, last = self.cohorts[0].first_day, self.cohorts[-1].until_day
        rows = [
            {"at": max(mark.start, first).isoformat(), "text": short(mark.name), "row": number % 2}
            for number, mark in enumerate(self.marks)
            if mark.start < last
        ]
        if not rows:
            return []
        data = {"values": rows}
        x = self.x("at", width)
        rule = {"data": data, "mark": {"type": "rule", "color": colour("muted"), "strokeDash": [3, 3]}}
        layers: list[Spec] = [{**rule, "encoding": {"x": x}}]
        late = first + 0.8 * (last - first)
        for number in (0, 1):
            for right in (False, True):
                some = [row for row in rows if row["row"] == number and (str(row["at"]) > late.isoformat()) == right]
                text = {
                    "type": "text", "align": "right" if right else "left", "dx": -4 if right else 4,
                    "dy": -8 - 12 * number, "color": colour("muted"),
                }  # fmt: skip
                encoding = {"x": x, "y": {"value": 0}, "text": {"field": "text", "type": "nominal"}}
                layers += [{"data": {"values": some}, "mark": text, "encoding": encoding}] if some else []
        return layers


def short(name: str) -> str:
    """Return a name that fits beside its rule; of a model the end of its version, which tells it apart."""
    return name if len(name) <= LABEL else f"…{name[-8:]}" if name[:4].isdigit() else f"{name[: LABEL - 1]}…"


def _span(cohort: PerformanceCohort) -> JsonObject:
    gap = (cohort.until_day - cohort.first_day) * 0.14
    start = _instant(cohort.first_day)
    return {
        "from": (start + gap / 2).isoformat(),
        "to": (_instant(cohort.until_day) - gap / 2).isoformat(),
        "middle": (start + (cohort.until_day - cohort.first_day) / 2).isoformat(),
    }


def _instant(day: date) -> datetime:
    """Return the position of a day on the axis."""
    return datetime(day.year, day.month, day.day)


def _of(cohort: PerformanceCohort, name: str) -> LabelledFigure:
    found: LabelledFigure = getattr(cohort.outcomes, name)
    return found


def loss(frame: TimeFrame, *, currency: str, width: int = charts.WIDE) -> Spec:
    """Draw missed and caught fraud money of each cohort, open ones hatched, with the interval of what was missed."""
    kinds = {"missed": "bad", "caught": "good", "missed, open": "bad/", "caught, open": "good/"}
    rows, whiskers, now = [], [], []
    for cohort in frame.shown:
        missed, caught = _of(cohort, "missed_loss"), _of(cohort, "caught_loss")
        place, more = _span(cohort), ", open" if cohort.status == "open" else ""
        low = missed.value or 0.0
        rows.append({**place, "y": 0.0, "y2": low, "kind": f"missed{more}"})
        if caught.value is not None:
            rows.append({**place, "y": low, "y2": low + caught.value, "kind": f"caught{more}"})
        if more:
            whiskers.append({**place, "low": missed.low, "high": missed.high})
            now.append({**place, "known": missed.known or 0.0})
    used = [kind for kind in kinds if any(row["kind"] == kind for row in rows)]
    scale = {"domain": used, "range": [charts.paint(kinds[kind]) for kind in used]}
    x = frame.x("from", width)
    y = field("y", title=currency, axis=ticks("money"))
    legend = {"orient": "bottom", "title": None, "symbolType": "square", "columns": 4 if width > NARROW else 2}
    layers: list[Spec] = [
        *frame.behind(width),
        {
            "mark": {"type": "rect"},
            "encoding": {
                "x": x, "x2": {"field": "to"}, "y": y, "y2": {"field": "y2"},
                "color": field("kind", "nominal", scale=scale, legend=legend),
            },
        },
    ]  # fmt: skip
    if whiskers:
        middle = frame.x("middle", width)
        layers.append(
            {
                "data": {"values": whiskers},
                "mark": {"type": "rule", "color": colour("ink"), "strokeWidth": 1.6},
                "encoding": {"x": middle, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            }
        )
        layers.append(
            {
                "data": {"values": now},
                "mark": {"type": "rule", "color": colour("muted"), "strokeWidth": 2},
                "encoding": {"x": x, "x2": {"field": "to"}, "y": {**y, "field": "known"}},
            }
        )
    return _drawn(frame, layers, rows, width, 240)


def _drawn(frame: TimeFrame, layers: list[Spec], rows: Rows, width: int, height: int) -> Spec:
    padding = {"left": 0, "right": 14, "top": 24 if frame.marks else 8, "bottom": 5}  # names of marks in two rows
    all_layers = [*layers, *frame.before(width)]
    return spec(all_layers, rows=rows, width=width - 75, height=height, padding=padding)


@dataclass(frozen=True)
class Line:
    """A figure as a line."""

    figure: str
    words: str
    tone: str


def figures(
    frame: TimeFrame,
    series: Sequence[Line],
    *,
    share: bool,
    limits: Sequence[tuple[float, str]] = (),
    title: str | None = None,
    width: int = charts.WIDE,
    height: int = 230,
) -> Spec:
    """Draw figures with their intervals as bands: dots of final cohorts full, of open ones hollow.

    What labels say so far is a thin grey line where it differs. ``limits`` are (value, tone) of dashed rules.
    """
    axis = ticks("share" if share else "number")
    scale = {"domain": [0, 1]} if share else {"zero": True}
    y = field("value", title=title, axis=axis, scale=scale)
    layers = frame.behind(width)
    for value, tone in limits:
        rule = {"type": "rule", "color": colour(tone), "strokeDash": [6, 4], "strokeWidth": 1.3}
        layers.append({"data": {"values": [{"value": value}]}, "mark": rule, "encoding": {"y": y}})
    rows = []
    for line in series:
        for cohort in frame.shown:
            found = _of(cohort, line.figure)
            if found.value is not None:
                rows.append(
                    {
                        "middle": _span(cohort)["middle"], "what": line.words, "value": found.value, "low": found.low,
                        "high": found.high, "known": found.known, "open": cohort.status == "open",
                    }
                )  # fmt: skip
    x = frame.x("middle", width)
    scale_of = {"domain": [line.words for line in series], "range": [colour(line.tone) for line in series]}
    legend = {"orient": "bottom", "title": None, "symbolOpacity": 1, "symbolType": "stroke", "symbolStrokeWidth": 2.5}
    paint = field("what", "nominal", scale=scale_of, legend=legend if len(series) > 1 else None)
    shared = {"x": x, "color": paint}
    grey = {"type": "line", "color": colour("soft"), "strokeWidth": 1.2}
    band = {"type": "area", "opacity": 0.2}
    layers += [
        {"mark": grey, "encoding": {"x": x, "y": {**y, "field": "known"}, "detail": {"field": "what"}}},
        {"mark": band, "encoding": {**shared, "y": {**y, "field": "low"}, "y2": {"field": "high"}}},
        {"mark": {"type": "line", "strokeWidth": 1.8}, "encoding": {**shared, "y": y}},
        {
            "mark": {"type": "point", "filled": True, "size": 26, "opacity": 1},
            "encoding": {**shared, "y": y},
            "transform": [{"filter": "!datum.open"}],
        },
        {
            "mark": {"type": "point", "filled": False, "size": 40, "strokeWidth": 1.6, "opacity": 1},
            "encoding": {**shared, "y": y},
            "transform": [{"filter": "datum.open"}],
        },
    ]
    return _drawn(frame, layers, rows, width, height)


def shares(frame: TimeFrame, *, actions: Sequence[str], width: int = charts.HALF) -> Spec:
    """Draw the share of events that each action took."""
    tones = ["cool", "ink", "warn", "good"]
    rows = [
        {"middle": _span(cohort)["middle"], "what": item.action, "value": item.share}
        for cohort in frame.cohorts
        if cohort.complete
        for item in cohort.work
    ]
    scale = {"domain": list(actions), "range": [colour(tones[i % len(tones)]) for i in range(len(actions))]}
    encoding = {
        "x": frame.x("middle", width),
        "y": field("value", title=None, axis=ticks("share")),
        "color": field(
            "what", "nominal", scale=scale, legend={"orient": "bottom", "title": None, "symbolType": "stroke"}
        ),
    }
    layers: list[Spec] = [{"mark": {"type": "line", "strokeWidth": 1.8}, "encoding": encoding}]
    return _drawn(frame, layers, rows, width, 190)


def workload(frame: TimeFrame, *, action: str, width: int = charts.WIDE) -> Spec:
    """Draw how often an action was taken, and its capacity as a line."""
    rows = [
        {**_span(cohort), "n": item.events, "capacity": item.capacity, "full": item.days_full > 0}
        for cohort in frame.cohorts
        for item in cohort.work
        if item.action == action
    ]
    x, y = frame.x("from", width), field("n", title="events", axis=ticks("number"))
    tone = {"condition": {"test": "datum.full", "value": colour("warn")}, "value": colour("cool")}
    layers: list[Spec] = [
        {
            "mark": {"type": "rect"},
            "encoding": {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"datum": 0}, "color": tone},
        }
    ]
    if any(row["capacity"] is not None for row in rows):
        rule = {"type": "rule", "color": colour("ink"), "strokeWidth": 1.6}
        layers.append({"mark": rule, "encoding": {"x": x, "x2": {"field": "to"}, "y": {**y, "field": "capacity"}}})
    return _drawn(frame, layers, rows, width, 170)


def maturity(frame: TimeFrame, *, width: int = charts.WIDE) -> Spec:
    """Draw the share of frauds that is expected to be known."""
    tones = {"final": "good", "open": "warn", "hidden": "soft"}
    rows = [{**_span(cohort), "share": cohort.matured or 0.0, "status": cohort.status} for cohort in frame.cohorts]
    used = [name for name in tones if any(row["status"] == name for row in rows)]
    scale = {"domain": used, "range": [colour(tones[name]) for name in used]}
    y = field("share", title=None, axis=ticks("share"), scale={"domain": [0, 1]})
    layers: list[Spec] = [
        {
            "mark": {"type": "rect"},
            "encoding": {
                "x": frame.x("from", width), "x2": {"field": "to"}, "y": y, "y2": {"datum": 0},
                "color": field("status", "nominal", scale=scale, legend={"orient": "bottom", "title": None}),
            },
        }
    ]  # fmt: skip
    return _drawn(frame, layers, rows, width, 130)
