"""Charts: Vega-Lite specifications in the house style, and their rendering to SVG and PNG.

Owns colours, type and axes of charts. A specification holds its data inline and names no address, so that a chart is
the same bytes wherever it is rendered. Colours are those of `PALETTE`; the page's stylesheet recolours exactly these
for dark screens, so a chart file of its own stays a valid light chart.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fraudctl.report.document import shown

Spec = dict[str, object]
Rows = Sequence[Mapping[str, Any]]

PALETTE: dict[str, tuple[str, str]] = {
    "ink": ("#1c1b19", "#edebe6"),
    "muted": ("#6b6862", "#a3a099"),
    "line": ("#e4e1da", "#33322f"),
    "bad": ("#b4432c", "#e8795f"),
    "warn": ("#c3922e", "#dbb25a"),
    "cool": ("#2d638d", "#7fb2da"),
    "good": ("#3c7a57", "#7cc09a"),
    "soft": ("#c9c5bc", "#54524d"),
    "band": ("#efe6d4", "#3a3327"),
}
"""Name -> its colour on light and on dark paper."""

HATCHED: dict[str, str] = {"bad": "#b4432d", "good": "#3c7a58"}
"""Name -> stand-in of its colour in a specification; `to_svg` draws hatches of the colour there."""

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
VEGALITE = "6.4"
FONT = "Liberation Sans"
WIDE, HALF, NARROW = 940, 440, 350
"""Widths in pixels: of a page, of half a page, of a phone."""
ROOM = 0.7
"""Share of an axis up to which a label stands to the right of its point, or above it; further on the plot would cut it.
"""
LETTER = 5.6
"""Pixels of an average letter of an axis label."""


def ticks(kind: Literal["money", "number", "share"], count: int = 5) -> Spec:
    """Return an axis with short labels: 1.5k and 2M for money, 0.011 and 1,200 for numbers, 5% for shares.

    A label never has more digits than its tick needs; "m" for thousandths and "G" for billions are never written.
    """
    forms = {
        "money": "abs(datum.value) >= 1000 ? replace(format(datum.value, '.3~s'), 'G', 'B') "
        ": format(datum.value, ',.3~r')",
        "number": "abs(datum.value) >= 1000 ? format(datum.value, ',.0f') : format(datum.value, '.2~r')",
        "share": "format(datum.value, '.3~%')",
    }
    return {"tickCount": count, "labelExpr": forms[kind], "labelSeparation": 8}


def colour(name: str) -> str:
    """Return the light colour of a name in `PALETTE`."""
    return PALETTE[name][0]


def paint(name: str) -> str:
    """Return the light colour of a name in `PALETTE`; with a slash behind it, the stand-in of its hatches."""
    return HATCHED[name[:-1]] if name.endswith("/") else colour(name)


def _config() -> Spec:
    ink, muted, line = colour("ink"), colour("muted"), colour("line")
    axis = {
        "labelColor": muted, "titleColor": muted, "gridColor": line, "domainColor": line, "tickColor": line,
        "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelPadding": 6, "titlePadding": 8,
        "domain": False, "ticks": False, "labelLimit": 0,  # a limit has each measured twice, and numbers are short
    }  # fmt: skip
    return {
        "font": FONT,
        "background": "transparent",
        "view": {"stroke": None},
        "axis": axis,
        "axisX": {"grid": False, "domain": True},
        "axisDiscrete": {"labelLimit": 320},
        "text": {"color": ink, "fontSize": 11},
        "legend": {"labelColor": muted, "titleColor": muted, "labelFontSize": 11, "symbolType": "circle"},
        "bar": {"cornerRadius": 1},
    }


def spec(layers: Sequence[Spec], *, rows: Rows = (), width: int = WIDE, height: int | Spec = 220, **more: Any) -> Spec:
    """Put layers over one another, in the house style."""
    body: Spec = {
        "$schema": SCHEMA,
        "width": width,
        "height": height,
        "data": {"values": [dict(row) for row in rows]},
        "layer": list(layers),
        "config": _config(),
    }
    return {**body, **more}


def field(name: str, kind: str = "quantitative", title: str | None = None, **more: Any) -> Spec:
    """Encode a field; a title of None shows none."""
    return {"field": name, "type": kind, "title": title, **more}


def _mark(kind: str, tone: str, **more: Any) -> Spec:
    return {"type": kind, "color": colour(tone), **more}


def lines(
    rows: Rows,
    *,
    x: str,
    series: Mapping[str, tuple[str, str]],
    x_axis: Spec,
    y_axis: Spec,
    marks: Mapping[str, float] | None = None,
    band: tuple[float, float] | None = None,
    width: int = WIDE,
    height: int = 240,
) -> Spec:
    """Draw named lines over one x, each with its label at its end.

    Parameters
    ----------
    rows
        One per x, with the fields of all series.
    series
        Field -> (label, tone).
    marks
        Label -> x of a dotted rule.
    band
        Ends of a shaded range of x.
    """
    layers: list[Spec] = []
    if band is not None:
        data = {"values": [{"from": band[0], "to": band[1]}]}
        encoding = {"x": {**x_axis, "field": "from"}, "x2": {"field": "to"}}
        mark = _mark("rect", "band", stroke=colour("band"), strokeWidth=3)  # seen however narrow it is
        layers.append({"data": data, "mark": mark, "encoding": encoding})
    shared_x = {**x_axis, "field": x}
    nudges = _nudges(rows, list(series), height)
    for name, (label, tone) in series.items():
        y = {**y_axis, "field": name}
        weight = 2.2 if tone == "ink" else 1.6
        layers.append({"mark": _mark("line", tone, strokeWidth=weight), "encoding": {"x": shared_x, "y": y}})
        ends = {"values": [dict(row) for row in rows[-1:]]}
        text = {"type": "text", "align": "left", "dx": 6, "dy": nudges[name], "text": label, "fontWeight": "bold"}
        layers.append({"data": ends, "mark": {**text, "color": colour(tone)}, "encoding": {"x": shared_x, "y": y}})
    for label, place in (marks or {}).items():
        layers.extend(_rule(label, place, shared_x))
    padding = {"left": 0, "right": 95, "top": 18, "bottom": 5}
    return spec(layers, rows=rows, width=width - 140, height=height, padding=padding)


def _nudges(rows: Rows, names: Sequence[str], height: int) -> dict[str, float]:
    """Move labels at the ends of lines apart, in pixels downwards, so that none covers another."""
    values = [float(row[name]) for row in rows for name in names]
    span = max(max(values) - min(0.0, *values), 1e-12)
    out: dict[str, float] = {}
    above = float("-inf")
    for name in sorted(names, key=lambda item: -float(rows[-1][item])):
        place = height * (1.0 - float(rows[-1][name]) / span)
        out[name] = max(0.0, above + 13.0 - place)
        above = place + out[name]
    return out


def _rule(label: str, place: float, x: Spec) -> list[Spec]:
    data = {"values": [{"at": place}]}
    at = {**x, "field": "at"}
    text = {"type": "text", "text": label, "align": "left", "dx": 5, "dy": -8, "color": colour("muted")}
    return [
        {"data": data, "mark": _mark("rule", "muted", strokeDash=[3, 3]), "encoding": {"x": at}},
        {"data": data, "mark": text, "encoding": {"x": at, "y": {"value": 0}}},
    ]


def intervals(
    rows: Rows,
    *,
    title: str,
    width: int = HALF,
    bars: bool = True,
    label_width: int = 190,
    number_format: str = "+.2f",
) -> Spec:
    """Draw one bar or dot per row with its interval; rows have label, value, low, high (or null) and tone.

    Rows keep their order; the value is written next to the bar. Labels stand left of the bars, long ones on two lines;
    with a ``label_width`` of 0, as on a phone, they stand above the bars.
    """
    above = label_width == 0
    rows = [{**row, "lines": _wrapped(str(row["label"]), label_width or width)} for row in rows]
    most = max((len(row["lines"]) for row in rows), default=1)
    tones = sorted({str(row["tone"]) for row in rows})
    scale = {"domain": tones, "range": [colour(tone) for tone in tones]}
    axis = None if above else {"labels": False, "minExtent": label_width, "grid": False}
    y = field("label", "nominal", sort=[str(row["label"]) for row in rows], axis=axis)
    x = field("value", title=title, axis={"grid": not above, **ticks("number")})
    down = {"yOffset": 6.5 * most} if above else {}
    mark = {"type": "bar", "height": 13} if bars else {"type": "point", "filled": True, "size": 60}
    paint = field("tone", "nominal", scale=scale, legend=None)
    whisker = {"y": y, "x": field("low", title=title), "x2": {"field": "high"}}
    plot = width - label_width - 75
    number = {"field": "value", "type": "quantitative", "format": number_format}
    value = {"type": "text", "align": "left", "fontSize": 11, **down}
    layers: list[Spec] = [
        {"mark": {**mark, **down}, "encoding": {"y": y, "x": x, "color": paint}},
        {
            "mark": _mark("rule", "ink", strokeWidth=1.1, **down),
            "encoding": whisker,
            "transform": [{"filter": "datum.high != null"}],
        },
        {"mark": value, "encoding": {"y": y, "x": {"value": plot + 10}, "text": number}},
        *(_names(n, most, y=y, above=above) for n in range(1, most + 1)),
        {"data": {"values": [{}]}, "mark": _mark("rule", "muted"), "encoding": {"x": {"datum": 0}}},
    ]
    step = 24 + 13 * most if above else 24 if most == 1 else 12 + 13 * most
    padding = {"left": 0, "right": 55, "top": 5, "bottom": 5}
    return spec(layers, rows=rows, width=plot, height={"step": step}, padding=padding)


def _names(n: int, most: int, *, y: Spec, above: bool) -> Spec:
    """Write the labels of n lines: in the middle of their row, or close above their bar where ``most`` lines fit."""
    dy = 6.5 * (most - 1) - 9 - 13 * (n - 1) if above else -6.5 * (n - 1)
    side = {"align": "left", "x": 0} if above else {"align": "right", "x": -8}
    mark = {"type": "text", "fontSize": 11, "lineHeight": 13, "color": colour("muted"), "dy": dy, **side}
    encoding = {"y": y, "text": {"field": "lines", "type": "nominal"}}
    return {"mark": mark, "encoding": encoding, "transform": [{"filter": f"length(datum.lines) == {n}"}]}


def _wrapped(text: str, width: int) -> list[str]:
    """Break a label into lines that fit ``width`` pixels."""
    return textwrap.wrap(text, max(int((width - 14) / LETTER), 8), break_long_words=True) or [""]


def stacked_days(rows: Rows, *, series: Mapping[str, tuple[str, str]], title: str, width: int = WIDE) -> Spec:
    """Draw a stacked bar per day; rows have day (ISO date), kind (a key of `series`) and value."""
    scale = {"domain": [text for text, _ in series.values()], "range": [colour(tone) for _, tone in series.values()]}
    named = [{**row, "kind": series[str(row["kind"])][0]} for row in rows]
    days = len({str(row["day"]) for row in rows})
    label = {"labelExpr": "slice(datum.label, 5)", "labelAngle": 0, "labelOverlap": True, "labelLimit": 0}
    size = {"band": 0.7 if days > 3 else 0.3}
    layer = {
        "mark": {"type": "bar", "width": size},
        "encoding": {
            "x": field("day", "ordinal", axis=label),
            "y": field("value", title=title, axis=ticks("money", 4)),
            "color": field("kind", "nominal", scale=scale, legend={"orient": "top", "title": None}),
        },
    }
    return spec([layer], rows=named, width=width - 60, height=180)


def concentration(rows: Rows, *, names: Sequence[str], width: int = WIDE) -> Spec:
    """Draw the share of the loss over the number of costliest ids; rows have name, n and share (in [0, 1])."""
    tones = ["bad", "cool", "warn", "good", "muted", "ink"]
    scale = {"domain": list(names), "range": [colour(tones[i % len(tones)]) for i in range(len(names))]}
    encoding = {
        "x": field("n", title="ids, the costliest first", scale={"type": "log"}, axis=ticks("number")),
        "y": field("share", title=None, scale={"domain": [0, 1]}, axis=ticks("share")),
        "color": field("name", "nominal", scale=scale, legend={"orient": "top", "title": None}),
    }
    mark = {"type": "line", "strokeWidth": 1.8}
    return spec([{"mark": mark, "encoding": encoding}], rows=rows, width=width - 60, height=200)


def parts(rows: Rows, *, width: int = WIDE) -> Spec:
    """Draw parts of a whole side by side, for slides; rows have label, value (text), share and tone."""
    named, start = [], 0.0
    for row in rows:
        share = float(row["share"])
        text = f"{row['label']}  {row['value']}"
        named.append({**row, "text": text, "from": start, "to": start + share, "middle": start + share / 2})
        start += share
    domain = [row["text"] for row in named]
    scale = {"domain": domain, "range": [colour(str(row["tone"])) for row in rows]}
    x = field("from", axis=None, scale={"domain": [0, max(start, 1e-12)], "nice": False})
    legend = {"orient": "bottom", "title": None, "columns": 2, "labelLimit": width / 2, "symbolType": "square"}
    paint = field("text", "nominal", scale=scale, legend=legend, sort=domain)
    bar: Spec = {"mark": {"type": "bar", "height": 42}, "encoding": {"x": x, "x2": {"field": "to"}, "color": paint}}
    return spec([bar], rows=named, width=width - 60, height=46)


def timeline(rows: Rows, *, tones: Mapping[str, tuple[str, str]], width: int = WIDE) -> Spec:
    """Draw one strip per group with a point per row; rows have group, time (ISO), kind (of `tones`) and n events."""
    scale = {"domain": [text for text, _ in tones.values()], "range": [colour(tone) for _, tone in tones.values()]}
    named = [{**row, "kind": tones[str(row["kind"])][0], "size": min(30 + 16 * int(row["n"]), 190)} for row in rows]
    order = list(dict.fromkeys(str(row["group"]) for row in rows))
    room = 150 if width > NARROW else 100
    encoding = {
        "x": field("time", "temporal", scale={"type": "utc"}, axis={"tickCount": width // 110, "format": "%-d %b"}),
        "y": field("group", "nominal", sort=order, axis={"grid": True, "minExtent": room, "labelLimit": room - 6}),
        "color": field("kind", "nominal", scale=scale, legend={"orient": "top", "title": None}),
    }
    encoding["size"] = field("size", scale=None, legend=None)
    mark = {"type": "point", "filled": True, "opacity": 0.85}
    return spec([{"mark": mark, "encoding": encoding}], rows=named, width=width - room - 10, height={"step": 26})


def curve(
    rows: Rows, *, x: str, y: str, x_title: str, y_title: str, tone: str = "cool", diagonal: bool = False,
    point: tuple[float, float, str] | None = None, low: str = "", high: str = "", dots: bool = False,
    log: bool = False, width: int = HALF,
) -> Spec:  # fmt: skip
    """Draw y over x, both shares in [0, 1]; with its interval, the diagonal, and today's point where given."""
    share = ticks("share")
    scale: Spec = {"domain": [0, 1]}
    least = 0.0
    if log:
        decades = _decades([float(row[key]) for row in rows for key in (x, y)])
        least = decades[0]
        share |= {"values": decades, "labelOverlap": False}
        scale = {"type": "log", "clamp": True, "nice": False, "domain": [decades[0], decades[-1]]}
    at_x, at_y = field(x, title=x_title, axis=share, scale=scale), field(y, title=y_title, axis=share, scale=scale)
    layers: list[Spec] = []
    if diagonal:
        ends = [{x: least, y: least}, {x: 1.0, y: 1.0}]
        rule = _mark("line", "soft", strokeDash=[4, 4], strokeWidth=1)
        layers.append({"data": {"values": ends}, "mark": rule, "encoding": {"x": at_x, "y": at_y}})
    if low and high:
        encoding = {"x": at_x, "y": {**at_y, "field": low}, "y2": {"field": high}}
        layers.append({"mark": _mark("rule", tone, strokeWidth=1.2), "encoding": encoding})
    layers.append({"mark": _mark("line", tone, strokeWidth=1.8, point=dots), "encoding": {"x": at_x, "y": at_y}})
    if point is not None:
        here = {"values": [{x: point[0], y: point[1], "text": point[2]}]}
        left = point[0] <= ROOM
        beside = {"align": "left" if left else "right", "dx": 9 if left else -9}
        text = {"type": "text", **beside, "dy": -8 if point[1] <= ROOM else 12, "fontWeight": "bold"}
        dot = _mark("point", "ink", filled=True, size=70)
        layers.append({"data": here, "mark": dot, "encoding": {"x": at_x, "y": at_y}})
        layers.append({"data": here, "mark": text, "encoding": {"x": at_x, "y": at_y, "text": {"field": "text"}}})
    return spec(layers, rows=rows, width=width - 50, height=250)


def _decades(values: Sequence[float]) -> list[float]:
    """Return the powers of ten that hold some shares, up to 1: ticks outside of an axis would be drawn at its end."""
    least = min((value for value in values if value > 0), default=0.001)
    lowest = min(math.floor(math.log10(least)), -1)
    return [float(10**power) if power >= 0 else 1.0 / 10**-power for power in range(lowest, 1)]


def to_svg(chart: Mapping[str, Any], *, name: str) -> str:
    """Render a specification to SVG text: same specification and name, same bytes.

    The attributes by which Vega names each mark for screen readers are dropped: the figure has one text alternative.
    Vega numbers ids through the life of a process; here they are numbered within the chart, after its name.
    """
    import vl_convert

    text: str = vl_convert.vegalite_to_svg(_drawable(dict(chart)), vl_version=VEGALITE)
    for pattern in (r' aria-[a-z]+="[^"]*"', r' role="[^"]*"', r' class="[^"]*"', r' pointer-events="none"'):
        text = re.sub(pattern, "", text)
    text = re.sub(r'<path d="[^"]*" display="none"/>|<path d="" display="none"/>', "", text)
    text = re.sub(r"<[^>]+>", _shorter, text)
    ids = {found: f"{name}-{i}" for i, found in enumerate(dict.fromkeys(re.findall(r' id="([^"]+)"', text)))}
    text = re.sub(r'( id="|url\(#)([^")]+)', lambda found: found[1] + ids.get(found[2], found[2]), text)
    text = text.replace(' opacity="1"', "").replace('<path d="M0,0h0v0h0Z"/>', "").replace("<g></g>", "")
    return _with_hatches(text, name)


def _with_hatches(svg: str, name: str) -> str:
    """Replace stand-ins by patterns of diagonal lines."""
    patterns = ""
    for tone, stand_in in HATCHED.items():
        if stand_in not in svg:
            continue
        key = f"{name}-hatch-{tone}"
        svg = svg.replace(f'fill="{stand_in}"', f'fill="url(#{key})"').replace(stand_in, colour(tone))
        patterns += (
            f'<pattern id="{key}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            f'<path d="M1.5,0v6" stroke="{colour(tone)}" stroke-width="2.4"/></pattern>'
        )
    head, rest = svg.split(">", 1)
    return f"{head}><defs>{patterns}</defs>{rest}" if patterns else svg


def _drawable(chart: Spec) -> Spec:
    """Return a specification that the renderer survives: a control character in its texts would end the process.

    Vega puts titles into expressions of its own, where a backslash begins an escape; there it becomes a slash.
    """
    return _untitled(shown(chart))  # type: ignore[no-any-return]


def _untitled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: item.replace("\\", "/")
            if key in {"title", "description"} and isinstance(item, str)
            else _untitled(item)
            for key, item in value.items()
        }
    return [_untitled(item) for item in value] if isinstance(value, list) else value


def _shorter(tag: re.Match[str]) -> str:
    """Round the coordinates in a tag to hundredths of a pixel; the text between tags stays as it is."""
    return re.sub(r"-?\d+\.\d{3,}", lambda found: str(round(float(found[0]), 2)).rstrip("0").rstrip("."), tag[0])


def to_png(chart: Mapping[str, Any], *, scale: float = 2.0) -> bytes:
    """Render a specification to PNG on white paper, for slides."""
    import vl_convert

    body = dict(chart)
    body["config"] = {**body.get("config", {}), "background": "#ffffff"}
    png: bytes = vl_convert.vegalite_to_png(_drawable(body), vl_version=VEGALITE, scale=scale)
    return png
