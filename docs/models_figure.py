"""The figure of the README: our model against what one might pick instead, from the results of bench_models alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "models.json"
LEAST, MOST = -0.2, 0.05
"""Differences that the axis shows; those below are drawn as a mark at its end."""
COLUMNS = 4
TONES = {"surely worse": "cool", "not told apart": "muted", "surely better": "bad"}


def models_figure() -> str:
    """Give the figure as SVG, on white paper."""
    from fraudctl.report import charts

    chart = models_chart(json.loads(RESULTS.read_text(encoding="utf-8")))
    return charts.to_svg(chart, name="models") + "\n"


def models_chart(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a panel for each set: the difference of each rival in average precision, with its interval."""
    from fraudctl.report import charts

    rows = [row for name, item in found["sets"].items() for row in _rows(name, item)]
    order = list(dict.fromkeys(row["model"] for row in rows))
    scale = {"domain": [LEAST, MOST], "clamp": True}
    axis = {"values": [-0.2, -0.15, -0.1, -0.05, 0, 0.05], "format": "+.2f", "labelOverlap": True}
    y = charts.field("model", "nominal", sort=order)
    x = charts.field("value", title="average precision, rival minus ours", scale=scale, axis=axis)
    tones = {"domain": list(TONES), "range": [charts.colour(tone) for tone in TONES.values()]}
    paint = charts.field("verdict", "nominal", scale=tones, legend={"orient": "bottom", "title": None})
    inside, beyond = f"datum.value >= {LEAST}", f"datum.value < {LEAST}"
    layers = [
        {
            "mark": {"type": "rule", "color": charts.colour("muted"), "strokeDash": [2, 2]},
            "encoding": {"x": {"datum": 0}},
        },
        {
            "mark": {"type": "rule", "strokeWidth": 1.6},
            "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": paint},
            "transform": [{"filter": inside}],
        },
        {
            "mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
            "encoding": {"y": y, "x": x, "color": paint},
            "transform": [{"filter": inside}],
        },
        {
            "mark": {"type": "point", "filled": True, "size": 45, "shape": "triangle-left", "opacity": 1},
            "encoding": {"y": y, "x": x, "color": paint},
            "transform": [{"filter": beyond}],
        },
    ]
    whole = charts.spec([])
    return {
        "$schema": whole["$schema"],
        "config": {**whole["config"], "background": "white"},
        "padding": 10,
        "data": {"values": rows},
        "columns": COLUMNS,
        "facet": {
            "field": "set",
            "type": "nominal",
            "sort": list(dict.fromkeys(row["set"] for row in rows)),
            "header": {"title": None},
        },
        "spec": {"width": 165, "height": {"step": 17}, "layer": layers},
    }


def _rows(name: str, item: Mapping[str, Any]) -> list[dict[str, Any]]:
    ours = item["models"]["ours"]["average_precision"]
    rows = []
    for model, figures in item["models"].items():
        gain = figures["against_ours"]
        if gain is None:
            continue
        verdict = "surely better" if gain["low"] > 0 else "surely worse" if gain["high"] < 0 else "not told apart"
        shown = {"low": max(gain["low"], LEAST), "high": min(gain["high"], MOST), "value": gain["value"]}
        rows.append({"set": f"{name} ({ours:.3f})", "model": model, "verdict": verdict, **shown})
    return rows
