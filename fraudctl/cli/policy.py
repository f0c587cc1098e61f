"""A chosen policy for the terminal: what it does, how sure its thresholds are, and what each of its parts is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fraudctl.cli.render import figure, plain_table
from fraudctl.figures import money, number, percent, whole

if TYPE_CHECKING:
    from rich.console import RenderableType

    Report = Mapping[str, Any]

_KINDS = {"expected_cost": "the action with the lowest expected cost for each event", "thresholds": "thresholds"}


def policy_tables(policy: dict[str, Any], *, brief: bool = False) -> list[RenderableType]:
    """Say how scores become actions, and what that cost on the fold predictions.

    Parameters
    ----------
    brief
        Leave out what each part of the policy is worth.
    """
    report: Report = policy["report"]
    currency = policy["costs"]["currency"]
    parts: list[RenderableType] = [f"policy: {_KINDS[policy['kind']]}"]
    if policy["thresholds"]:
        parts.append(_thresholds(policy["thresholds"], report["thresholds"]))
    if "segments" in report:
        parts += _segments(report["segments"], currency)
    parts += [
        f"a place of {action}: worth {money(item['opening'], currency)} as a period begins, "
        f"{money(item['lowest'], currency)} to {money(item['highest'], currency)} by time and places left"
        for action, item in report.get("prices", {}).items()
    ]
    price = report.get("alert_price", 0.0)
    if price:
        asked = "must bring at least" if price > 0 else "may lose up to"
        parts.append(f"to hold the constraints, an alert {asked} {money(abs(price), currency)}")
    parts.append(_total(report, currency))
    parts += _simpler(report) if brief else _worth(report, currency)
    return parts


def _thresholds(thresholds: Report, told: Report) -> RenderableType:
    rows = []
    for action, value in thresholds.items():
        plateau, ends = told[action]["plateau"], told[action]["interval"]
        as_good = f"{figure(plateau['low'])} to {figure(plateau['high'])}"
        best = " to ".join("never" if ends[end] is None else figure(ends[end]) for end in ("low", "high"))
        rows.append((action, "never" if value is None else figure(value), as_good, best))
    return plain_table(None, ("action", "from y_prob", "as good within 1 %", "best, if redrawn"), rows, right="y_prob")


def _segments(told: Report, currency: str) -> Iterator[RenderableType]:
    rows = []
    for item in told["each"]:
        own = item["thresholds"] or {}
        cuts = ", ".join(f"{name} {'never' if cut is None else figure(cut)}" for name, cut in own.items())
        rows.append(
            (item["segment"], whole(item["events"]), whole(item["frauds"]), *_money(item["gain"]), item["why"], cuts)
        )
    columns = ("segment", "events", "frauds", f"gain {currency}", percent(told["confidence"], 1), "thresholds", "")
    yield plain_table(f"Segments by {told['by']}", columns, rows, right="events frauds")
    rest = f"{whole(told['rest']['events'])} events, {whole(told['rest']['frauds'])} frauds"
    yield f"all other values: common thresholds ({rest})"


def _total(report: Report, currency: str) -> str:
    line = f"on the fold predictions: {whole(report['cost'])} {currency} over {whole(report['events'])} events"
    bound = report.get("hindsight_bound")
    return line if bound is None else f"{line}; {whole(bound)} if every day were known beforehand"


def _worth(report: Report, currency: str) -> Iterator[RenderableType]:
    """Yield what parts bring, what simpler policies cost, what rules catch, what was kept and what costs decide."""
    rules = report.get("rules")
    brings = [(name, *_money(item)) for name, item in report["brings"].items()]
    if rules:
        brings.append(("all rules together", *_money(rules["together"]["brings"])))
    if brings:
        yield plain_table("What each part brings", ("part", currency, "interval"), brings, right=currency)
    if rules:
        yield _rules(rules, currency)
    if report.get("constraints"):
        yield _constraints(report["constraints"])
    rows = [(name, whole(item["cost"]), *_money(item["dearer_by"])) for name, item in report["alternatives"].items()]
    yield plain_table("Simpler policies", ("policy", f"cost {currency}", "dearer by", "interval"), rows)
    yield from _simpler(report)
    yield from _sensitivity(report["cost_sensitivity"], currency)


def _simpler(report: Report) -> Iterator[RenderableType]:
    if report["as_good_and_simpler"]:
        yield f"simpler, and as good within 1 %: {report['as_good_and_simpler'][0]}; prefer it"


def _rules(rules: Report, currency: str) -> RenderableType:
    every = [*rules["each"].items(), ("together", {"action": "", **rules["together"]})]
    rows = [
        (
            name, item["action"], whole(item['events']), whole(item['frauds']),
            f"{whole(item['events_the_model_allows'])} / {whole(item['frauds_the_model_allows'])}",
            _money(item["brings_alone"])[0] if "brings_alone" in item else "", *_money(item["brings"]),
        )
        for name, item in every
    ]  # fmt: skip
    columns = (
        "rule", "action", "events", "frauds", "of them allowed by the model", f"alone brings {currency}",
        "with the others", "interval",
    )  # fmt: skip
    return plain_table("Rules beside the model", columns, rows, right="events frauds")


def _constraints(held: Report) -> RenderableType:
    rows = [
        (name, "kept" if item["holds"] else "NOT KEPT", figure(item["value"]), _ends(item, figure))
        for name, item in held.items()
    ]
    return plain_table("Constraints", ("constraint", "", "value", "interval"), rows, right="value")


def _sensitivity(rows: list[dict[str, Any]], currency: str) -> Iterator[RenderableType]:
    moved = [item for item in rows if item["changes"]]
    if not moved:
        yield "with any cost from half to double, keeping this policy would cost less than 1 % more"
        return
    told = [
        (
            f"{item['cost']} × {number(item['factor'])}",
            "" if item["decisions_changed"] is None else percent(item["decisions_changed"], 2),
            "no policy keeps the constraints" if "reason" in item else whole(item["keeping_costs_more"]),
        )
        for item in moved
    ]
    columns = ("cost", "decisions changed", f"keeping costs more, {currency}")
    yield plain_table("Costs that would change the policy by more than 1 %", columns, told)


def _money(item: Report) -> tuple[str, str]:
    """Give money and its interval, or why there is none."""
    value = "unknown" if item["value"] is None else whole(item["value"])
    return value, _ends(item, whole)


def _ends(item: Report, form: Any) -> str:
    if item.get("low") is None or item.get("high") is None:
        return str(item.get("reason", ""))
    return f"{form(item['low'])} to {form(item['high'])}"
