"""A chosen policy for the terminal: what it does, how sure its thresholds are, and what each of its parts is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fraudctl.cli.render import figure, plain_table
from fraudctl.text.figures import money, number, percent, whole

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fraudctl.policy.choose import PolicyChoice
    from fraudctl.policy.report import (
        ConstraintHeld,
        PolicyReport,
        PolicyShift,
        RulesReport,
        RulesTogether,
        RuleWorth,
        SegmentsReport,
        ThresholdFound,
    )
    from fraudctl.policy.segments import Thresholds
    from fraudctl.uncertainty import Estimate

_KINDS = {"expected_cost": "the action with the lowest expected cost for each event", "thresholds": "thresholds"}


def policy_tables(choice: PolicyChoice, *, brief: bool = False) -> list[RenderableType]:
    """Return how scores become actions, and what that cost on the fold predictions.

    Parameters
    ----------
    brief
        Leave out what each part of the policy is worth.
    """
    policy, report, fit = choice.policy, choice.report, choice.report.fit
    currency = policy.matrix.currency
    parts: list[RenderableType] = [f"policy: {_KINDS[policy.kind]}"]
    if policy.thresholds:
        parts.append(_thresholds(policy.thresholds, fit.thresholds or {}))
    if fit.segments is not None:
        parts += _segments(fit.segments, currency)
    parts += [
        f"a place of {action}: worth {money(item.opening, currency)} as a period begins, "
        f"{money(item.lowest, currency)} to {money(item.highest, currency)} by time and places left"
        for action, item in (fit.prices or {}).items()
    ]
    price = fit.alert_price
    if price:
        asked = "must bring at least" if price > 0 else "may lose up to"
        parts.append(f"to hold the constraints, an alert {asked} {money(abs(price), currency)}")
    parts.append(_total(report, currency))
    parts += _simpler(report) if brief else _worth(report, currency)
    return parts


def _thresholds(thresholds: Thresholds, found: Mapping[str, ThresholdFound]) -> RenderableType:
    rows = []
    for action, value in thresholds.items():
        plateau, ends = found[action].plateau, found[action].interval
        as_good = f"{figure(plateau.low)} to {figure(plateau.high)}"
        pair = () if ends is None else (ends.low, ends.high)
        best = " to ".join("never" if end is None else figure(end) for end in pair)
        rows.append((action, "never" if value is None else figure(value), as_good, best))
    return plain_table(None, ("action", "from y_prob", "as good within 1 %", "best, if redrawn"), rows, right="y_prob")


def _segments(found: SegmentsReport, currency: str) -> Iterator[RenderableType]:
    rows = []
    for item in found.each:
        own = item.thresholds or {}
        cuts = ", ".join(f"{name} {'never' if cut is None else figure(cut)}" for name, cut in own.items())
        rows.append((item.value, whole(item.events), whole(item.frauds), *_money(item.gain), item.why, cuts))
    columns = ("segment", "events", "frauds", f"gain {currency}", percent(found.confidence, 1), "thresholds", "")
    yield plain_table(f"Segments by {found.by}", columns, rows, right="events frauds")
    rest = f"{whole(found.rest.events)} events, {whole(found.rest.frauds)} frauds"
    yield f"all other values: common thresholds ({rest})"


def _total(report: PolicyReport, currency: str) -> str:
    line = f"on the fold predictions: {whole(report.cost)} {currency} over {whole(report.events)} events"
    bound = report.worth.hindsight_bound
    return line if bound is None else f"{line}; {whole(bound)} if every day were known beforehand"


def _worth(report: PolicyReport, currency: str) -> Iterator[RenderableType]:
    """Yield what parts bring, what simpler policies cost, what rules catch, what was kept and what costs decide."""
    worth = report.worth
    brings = [(name, *_money(item)) for name, item in worth.brings.items()]
    if worth.rules:
        brings.append(("all rules together", *_money(worth.rules.together.brings)))
    if brings:
        yield plain_table("What each part brings", ("part", currency, "interval"), brings, right=currency)
    if worth.rules:
        yield _rules(worth.rules, currency)
    if worth.constraints:
        yield _constraints(worth.constraints)
    rows = [(name, whole(item.cost), *_money(item.dearer_by)) for name, item in worth.alternatives.items()]
    yield plain_table("Simpler policies", ("policy", f"cost {currency}", "dearer by", "interval"), rows)
    yield from _simpler(report)
    yield from _sensitivity(worth.cost_sensitivity, currency)


def _simpler(report: PolicyReport) -> Iterator[RenderableType]:
    if report.worth.as_good_and_simpler:
        yield f"simpler, and as good within 1 %: {report.worth.as_good_and_simpler[0]}; prefer it"


def _rules(rules: RulesReport, currency: str) -> RenderableType:
    rows = [
        _rule_row(name, item, action=item.action, alone=_money(item.brings_alone)[0])
        for name, item in rules.each.items()
    ]
    rows.append(_rule_row("together", rules.together, action="", alone=""))
    columns = (
        "rule", "action", "events", "frauds", "of them allowed by the model", f"alone brings {currency}",
        "with the others", "interval",
    )  # fmt: skip
    return plain_table("Rules and the model", columns, rows, right="events frauds")


def _rule_row(name: str, item: RuleWorth | RulesTogether, *, action: str, alone: str) -> tuple[str, ...]:
    found = item.matches
    allowed = f"{whole(found.events_the_model_allows)} / {whole(found.frauds_the_model_allows)}"
    return name, action, whole(found.events), whole(found.frauds), allowed, alone, *_money(item.brings)


def _constraints(held: Mapping[str, ConstraintHeld]) -> RenderableType:
    rows = [
        (name, "kept" if item.holds else "NOT KEPT", figure(item.estimate.value), _ends(item.estimate, figure))
        for name, item in held.items()
    ]
    return plain_table("Constraints", ("constraint", "", "value", "interval"), rows, right="value")


def _sensitivity(rows: Sequence[PolicyShift], currency: str) -> Iterator[RenderableType]:
    moved = [item for item in rows if item.changes]
    if not moved:
        yield "with any cost from half to double, keeping this policy would cost less than 1 % more"
        return
    shown = [
        (
            f"{item.cost} × {number(item.factor)}",
            "" if item.decisions_changed is None else percent(item.decisions_changed, 2),
            "no policy keeps the constraints" if item.keeping_costs_more is None else whole(item.keeping_costs_more),
        )
        for item in moved
    ]
    columns = ("cost", "decisions changed", f"keeping costs more, {currency}")
    yield plain_table("Costs that would change the policy by more than 1 %", columns, shown)


def _money(item: Estimate) -> tuple[str, str]:
    """Return money and its interval, or why there is none."""
    value = "unknown" if item.value is None else whole(item.value)
    return value, _ends(item, whole)


def _ends(item: Estimate, form: Callable[[float], str]) -> str:
    if item.low is None or item.high is None:
        return item.reason or ""
    return f"{form(item.low)} to {form(item.high)}"
