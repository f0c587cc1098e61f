"""Choosing the policy of a project on fold predictions.

Never on a test period: the policy is frozen with the model and only then evaluated. A report in money accompanies it:
the gain or cost of calibration, of deciding by amount, of each constraint, capacity and rule, and whether a simpler
policy would do as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, CodeArray, FloatArray, IntArray
from fraudctl.costs import OUTCOMES, baseline, constant_codes, cost_matrix
from fraudctl.errors import ProjectError
from fraudctl.policy.bids import Arrivals, BidPrices, fit_bids
from fraudctl.policy.constant import limits_of, reach_among
from fraudctl.policy.decide import Policy, PolicyRule, hindsight
from fraudctl.policy.ground import Ground, ground_of
from fraudctl.policy.limits import AlertOutcomes, Constraint, alerted, constraints_of, feasible_cuts
from fraudctl.policy.places import CapacityLimit
from fraudctl.policy.report import (
    Alternative,
    ConstraintHeld,
    Ends,
    FitReport,
    OtherSegments,
    PolicyReport,
    PolicyShift,
    RuleMatches,
    RulesReport,
    RulesTogether,
    RuleWorth,
    SegmentsReport,
    SlotPrices,
    ThresholdFound,
    WorthReport,
)
from fraudctl.policy.search import (
    TOLERANCE,
    ScoreGroups,
    ThresholdSearch,
    search_thresholds,
    threshold_interval,
)
from fraudctl.policy.segments import Cases, Segments, choose_segments
from fraudctl.progress import Watch, unwatched
from fraudctl.project import Project
from fraudctl.text.figures import plain
from fraudctl.uncertainty import ratio_estimate

DEARER_PRICES = 64
"""Prices of an alert that are tried where the constraints do not hold under a capacity."""


@dataclass(frozen=True)
class PolicyChoice:
    """The policy, and why it is this one."""

    JSON = ("*policy", "report")

    policy: Policy
    """The policy."""
    report: PolicyReport
    """What it costs on the fold predictions, and what each of its parts brings."""


def choose_policy(
    project: Project,
    frame: pl.DataFrame,
    y_prob: FloatArray,
    *,
    known_share: float = 1.0,
    seed: int = 0,
    watch: Watch = unwatched,
) -> PolicyChoice:
    """Choose the policy of a project.

    Parameters
    ----------
    project
        Its costs, policy and rules.
    frame
        Fold predictions: ``event_time``, ``label``, ``amount``, the cost columns and those of rules where needed,
        ``event_weight`` where events do not count alike, entities for the intervals, and ``y_score`` (raw) to price
        calibration. Rows with a null label are decided, for they take slots, and not counted; those of ``fold`` 0 came
        before the folds' periods.
    y_prob
        Cross-fitted calibrated probabilities, shape ``(n_events,)``.
    known_share
        Share of the events of the folds' periods that ``frame`` has: 1 where events without a label are among them. The
        prices of slots count as many more events.
    seed
        Of the bootstrap of the best thresholds.
    watch
        Called with the name of each step before it begins.

    Raises
    ------
    DataError
        No event has a known label, or a column that the costs need is missing.
    ProjectError
        The constraints cannot be kept; the message says which binds and what would be feasible.
    """
    watch("events")
    bare = bare_policy(project)
    ground = replace(ground_of(project, bare, frame, y_prob), known_share=known_share)
    constraints = constraints_of(dict(project.policy.constraints))
    watch("thresholds and prices")
    policy, fit = _fitted(bare, ground, constraints, seed=seed)
    worth = _worth(bare, policy, ground, constraints, watch)
    watch("report")
    return PolicyChoice(policy, _report(policy, ground, fit, worth))


def check_expressions(project: Project, frame: pl.DataFrame) -> None:
    """Check that rules and segments can be evaluated on a table, before anything is trained.

    Raises
    ------
    ProjectError, DataError
        As deciding would.
    """
    bare, none = bare_policy(project), frame.head(0)
    for rule in bare.rules:
        rule.holds(none, timezone=bare.timezone)
    if bare.segments is not None:
        bare.segments.values(none, timezone=bare.timezone)


def bare_policy(project: Project) -> Policy:
    """Return the policy as the project file states it, without chosen thresholds and prices."""
    rules = tuple(
        PolicyRule(rule.name or f"rule {i + 1}", rule.when, rule.action) for i, rule in enumerate(project.rules)
    )
    return Policy(
        kind=project.policy.kind,
        matrix=cost_matrix(project.costs),
        capacity=limits_of(project),
        rules=rules,
        segments=None if project.policy.segments is None else Segments(project.policy.segments),
        timezone=project.data.timezone,
    )


def _fitted(
    bare: Policy, ground: Ground, constraints: tuple[Constraint, ...], *, seed: int | None = None
) -> tuple[Policy, FitReport]:
    """Choose thresholds or prices; ``seed`` asks for the bootstrap interval of the thresholds."""
    if bare.kind == "thresholds":
        return _with_thresholds(bare, ground, constraints, seed=seed)
    policy = _with_bids(bare, ground)
    if constraints:
        policy = replace(policy, alert_price=_alert_price(policy, ground, constraints))
        policy = _held_under_capacity(policy, ground, constraints)
    prices = {item.action: _slot_prices(policy.bids.get(item.action)) for item in bare.capacity}
    return policy, FitReport(prices=prices, alert_price=policy.alert_price)


def _slot_prices(bids: BidPrices | None) -> SlotPrices:
    """Return the price of a slot at the start of a period, its minimum and its maximum."""
    every = [0.0] if bids is None else [price for row in bids.prices for price in row]
    return SlotPrices(0.0 if bids is None else bids.opening, min(every), max(every))


def _with_thresholds(
    bare: Policy, ground: Ground, constraints: tuple[Constraint, ...], *, seed: int | None
) -> tuple[Policy, FitReport]:
    groups = ScoreGroups.of(ground.y_prob, _floored(bare, ground))
    allowed = _threshold_cuts(groups, ground, constraints) if constraints else None
    search = search_thresholds(groups, alert_cuts=allowed)
    values = {action: item.value for action, item in zip(bare.actions[1:], search.thresholds, strict=True)}
    described = _describe(bare.actions[1:], search)
    if seed is not None:
        ends = threshold_interval(
            ground.y_prob, _floored(bare, ground), ground.clusters, seed=seed, confidence=ground.confidence
        )
        for action, (low, high) in zip(bare.actions[1:], ends, strict=True):
            described[action] = replace(described[action], interval=Ends(low, high))
    policy, fit = replace(bare, thresholds=values), FitReport(described, TOLERANCE)
    if bare.segments is None or ground.segment is None:
        return policy, fit
    return _with_segments(policy, bare.segments.by, ground.segment, ground, fit)


def _with_segments(
    policy: Policy, by: str, values: pl.Series, ground: Ground, fit: FitReport
) -> tuple[Policy, FitReport]:
    """Give separate thresholds to the segments whose gain is significant, and report every segment."""
    cases = Cases(ground.y_true, ground.y_prob, _floored(policy, ground), ground.clusters)
    found, held = choose_segments(values, cases, policy.actions[1:])
    rest = ~values.is_in([item.value for item in found]).fill_null(value=False).to_numpy()
    others = OtherSegments(int(rest.sum()), int(ground.y_true[rest].sum()))
    report = SegmentsReport(by, held, tuple(found), others)
    own = {item.value: item.thresholds for item in found if item.thresholds is not None}
    return replace(policy, segments=Segments(by, own)), replace(fit, segments=report)


def _floored(bare: Policy, ground: Ground) -> FloatArray:
    """Return the cost of each threshold's action given the true outcome, with the rules applied."""
    outcome = ground.outcome
    wanted = np.maximum(np.arange(outcome.shape[1])[None, :], ground.floor(bare)[:, None])
    return np.asarray(np.take_along_axis(outcome, wanted, axis=1), dtype=np.float64)


def _threshold_cuts(groups: ScoreGroups, ground: Ground, constraints: tuple[Constraint, ...]) -> IntArray:
    """Return the cuts of the mildest threshold that keep the constraints."""
    outcomes = _outcomes(ground)
    kept = feasible_cuts(constraints, ground.y_prob, outcomes, confidence=ground.confidence)
    free = np.unique(ground.y_prob[~outcomes.always])[::-1]
    reached = np.searchsorted(-free, -groups.scores, side="right")
    return np.flatnonzero(np.r_[kept[0], kept[reached]]).astype(np.int64)


def _outcomes(ground: Ground) -> AlertOutcomes:
    always = np.zeros(len(ground.y_true), dtype=np.bool_)
    for mask in ground.rule_masks:
        always |= mask
    return AlertOutcomes(ground.y_true, ground.weight, ground.amount, ground.clusters, always)


def _describe(actions: tuple[str, ...], search: ThresholdSearch) -> dict[str, ThresholdFound]:
    return {
        action: ThresholdFound(item.value, item.exact, Ends(item.low, item.high))
        for action, item in zip(actions, search.thresholds, strict=True)
    }


def _benefit(policy: Policy, ground: Ground) -> FloatArray:
    """Return the expected saving of the best alert of each event against allowing it, net of the usual slot prices."""
    expected = policy.priced(ground.y_prob, ground.table) + _usual_prices(policy)
    allow = policy.matrix.pass_code
    return np.asarray(expected[:, allow] - np.delete(expected, allow, axis=1).min(axis=1), dtype=np.float64)


def _alert_price(policy: Policy, ground: Ground, constraints: tuple[Constraint, ...]) -> float:
    """Return the price per alert that meets the constraints at the lowest expected cost; 0 if none is needed.

    Alerts are the events whose expected benefit exceeds the price, so each price is a cut by benefit.
    """
    benefit, outcomes = _benefit(policy, ground), _outcomes(ground)
    kept = feasible_cuts(constraints, benefit, outcomes, confidence=ground.confidence)
    free = benefit[~outcomes.always]
    values, counts = np.unique(free, return_counts=True)
    values, counts = values[::-1], counts[::-1]
    start = int((values > 0).sum())
    if kept[start]:
        return 0.0
    forgone = np.abs(np.r_[0.0, np.cumsum(values * counts)] - np.sum((values * counts)[:start]))
    cut = int(np.flatnonzero(kept)[np.argmin(forgone[kept])])
    if cut == 0:
        return float(values[0])
    spread = float(values[0] - values[-1]) or abs(float(values[-1])) or 1.0
    below = values[cut] if cut < len(values) else values[-1] - spread
    return float((values[cut - 1] + below) / 2)


def _held_under_capacity(policy: Policy, ground: Ground, constraints: tuple[Constraint, ...]) -> Policy:
    """Raise the price of an alert until the constraints hold for the actions that are taken under the capacities.

    The price comes from a cut by benefit without capacities; slots have prices that change with the hour. If no price
    helps (more alerts demanded than slots, say), the price stays, and the report says which constraints hold.
    """

    def holds(candidate: Policy) -> bool:
        codes = ground.decide(candidate)
        return all(_held(item, codes, ground, candidate).holds for item in constraints)

    if not policy.capacity or holds(policy):
        return policy
    benefit = _benefit(policy, ground)
    above = np.sort(benefit[benefit > policy.alert_price])
    dearer = [replace(policy, alert_price=float(price)) for price in above[:: max(len(above) // DEARER_PRICES, 1)]]
    low, high = 0, len(dearer)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(dearer[middle]) else (middle + 1, high)
    return dearer[low] if low < len(dearer) else policy


def _usual_prices(policy: Policy) -> FloatArray:
    """Return the price of a slot at the start of a day or week, for each action, shape ``(n_actions,)``."""
    return np.array([policy.bids[name].opening if name in policy.bids else 0.0 for name in policy.actions])


def _with_bids(bare: Policy, ground: Ground) -> Policy:
    """Price the slots of each capacity-limited action; with several, one after the other, twice."""
    policy = bare
    for _round in range(2 if len(bare.capacity) > 1 else 1):
        for limit in bare.capacity:
            rest = {name: item for name, item in policy.bids.items() if name != limit.action}
            policy = replace(policy, bids=rest)
            bids = fit_bids(_arrivals(policy, ground, limit), limit=limit.limit, per=limit.per)
            policy = policy if bids is None else replace(policy, bids={**rest, limit.action: bids})
    return policy


def _arrivals(policy: Policy, ground: Ground, limit: CapacityLimit) -> Arrivals:
    """Return the gain of a capacity-limited action over the best other one by event, and where a rule forces it."""
    came = ground.crowd.take(~ground.lead)
    code, floor = policy.matrix.code(limit.action), came.floor(policy)
    expected = policy.priced(came.y_prob, came.table) + _usual_prices(policy)
    forced = (floor == code) & (np.argmin(expected, axis=1) < code)
    allowed = np.arange(len(policy.actions)) >= np.where(forced, code, floor)[:, None]
    others = np.delete(np.where(allowed, expected, np.inf), code, axis=1).min(axis=1)
    milder = np.delete(expected, code, axis=1).min(axis=1)
    gain = np.where(np.isfinite(others), others, milder) - expected[:, code]
    wanted = np.where(floor > code, 0.0, gain)
    days = np.unique(ground.days[~ground.lead])
    return Arrivals(came.when[limit.per], wanted, forced, days, ground.known_share)


def _report(policy: Policy, ground: Ground, fit: FitReport, worth: WorthReport) -> PolicyReport:
    codes = ground.decide(policy)
    return PolicyReport(
        events=len(codes),
        frauds=int(ground.y_true.sum()),
        cost=ground.cost(codes),
        currency=policy.matrix.currency,
        actions={action: int((codes == code).sum()) for code, action in enumerate(policy.actions)},
        fit=fit,
        worth=worth,
    )


def _worth(
    bare: Policy, policy: Policy, ground: Ground, constraints: tuple[Constraint, ...], watch: Watch
) -> WorthReport:
    """Return the gain (positive) of each part of the policy, with intervals, and the cost of simpler policies."""
    watch("simpler policies")
    chosen = ground.decide(policy)
    limited = bool(constraints or bare.capacity)
    alternatives = _alternatives(bare, ground, watch, limited=limited)
    if policy.segments is not None and policy.segments.thresholds:
        alternatives["common thresholds"] = ground.decide(replace(policy, segments=None))
    simple = {}
    for name, codes in alternatives.items():
        watch(f"compared with {name}")
        simple[name] = Alternative(ground.cost(codes), ground.dearer(codes, chosen))
    without = _without_parts(bare, ground, constraints, watch)
    if policy.kind == "expected_cost" and not limited:
        without["deciding by amount"] = alternatives["thresholds"]
    brings = {name: ground.dearer(codes, chosen) for name, codes in without.items() if codes is not None}
    held = {str(item): _held(item, chosen, ground, policy) for item in constraints}
    return WorthReport(
        brings,
        simple,
        as_good_and_simpler=tuple(name for name, item in simple.items() if _as_good(item, ground.cost(chosen))),
        cost_sensitivity=tuple(_sensitivity(bare, policy, ground, constraints, watch)),
        rules=_rules_backtest(policy, ground, watch) if bare.rules else None,
        constraints=held or None,
        hindsight_bound=_hindsight_cost(policy, ground) if bare.capacity else None,
    )


def _without_parts(
    bare: Policy, ground: Ground, constraints: tuple[Constraint, ...], watch: Watch
) -> dict[str, CodeArray | None]:
    """Return the actions of the policy chosen without one of its parts; None if the remaining limits cannot be met."""
    found: dict[str, CodeArray | None] = {}
    if ground.y_raw is not None:
        watch("without calibration")
        found["calibration"] = _chosen(bare, replace(ground, crowd=ground.crowd.seeing(ground.y_raw)), constraints)
    for item in constraints:
        watch(f"without the constraint {item}")
        rest = tuple(other for other in constraints if other != item)
        found[f"constraint {item}"] = _chosen(bare, ground, rest)
    for limit in bare.capacity:
        watch(f"without the capacity of {limit.action}")
        freed = replace(bare, capacity=tuple(other for other in bare.capacity if other != limit))
        found[f"capacity {limit.action} {limit.limit} per {limit.per}"] = _chosen(freed, ground, constraints)
    if bare.kind == "expected_cost" and (constraints or bare.capacity):
        # as if every event cost what events cost on average: by probability alone, under the same limits
        watch("without amounts")
        mean = np.average(ground.table, axis=0, weights=ground.weight)
        blind = ground.priced(np.broadcast_to(mean, ground.crowd.table.shape).copy())
        found["deciding by amount"] = _chosen(bare, blind, constraints)
    return found


def _chosen(bare: Policy, ground: Ground, constraints: tuple[Constraint, ...]) -> CodeArray | None:
    """Return the actions of the policy chosen on these events; None if the constraints cannot be met."""
    try:
        return ground.decide(_fitted(bare, ground, constraints)[0])
    except ProjectError:
        return None


def _rules_backtest(policy: Policy, ground: Ground, watch: Watch) -> RulesReport:
    """Return the events and frauds that rules match and the model alone allows, and the money that rules save."""
    watch("rules")
    chosen = ground.decide(policy)
    alone = _with_rules(policy, ground, [])
    missed = alone == policy.matrix.pass_code
    places = range(len(policy.rules))
    each = {}
    for place, rule in enumerate(policy.rules):
        watch(f"rule {place + 1} of {len(policy.rules)}")
        each[rule.name] = RuleWorth(
            rule.action,
            _matches(ground.rule_masks[place], missed, ground),
            brings_alone=ground.dearer(alone, _with_rules(policy, ground, [place])),
            brings=ground.dearer(_with_rules(policy, ground, [item for item in places if item != place]), chosen),
        )
    every = np.logical_or.reduce(ground.rule_masks)
    return RulesReport(each, RulesTogether(_matches(every, missed, ground), ground.dearer(alone, chosen)))


def _with_rules(policy: Policy, ground: Ground, places: list[int]) -> CodeArray:
    """Return the actions with some of the rules alone."""
    masks = [ground.crowd.rule_masks[place] for place in places]
    some = replace(ground, crowd=replace(ground.crowd, rule_masks=masks))
    return some.decide(replace(policy, rules=tuple(policy.rules[place] for place in places)))


def _matches(mask: BoolArray, missed: BoolArray, ground: Ground) -> RuleMatches:
    fraud = ground.y_true == 1
    return RuleMatches(
        events=int(mask.sum()),
        frauds=int((mask & fraud).sum()),
        events_the_model_allows=int((mask & missed).sum()),
        frauds_the_model_allows=int((mask & missed & fraud).sum()),
    )


SENSITIVITY_FACTORS = (0.5, 0.8, 1.25, 2.0)
"""What each cost is multiplied by to see whether the policy, or the better of two models, would change."""


def _sensitivity(
    bare: Policy, policy: Policy, ground: Ground, constraints: tuple[Constraint, ...], watch: Watch
) -> Iterator[PolicyShift]:
    """Choose again with each cost halved to doubled; return the changed decisions and the extra cost of the old ones.

    The policy ``changes`` if its old decisions would cost more than the tolerance of a plateau.
    """
    chosen = ground.decide(policy)
    for code, action in enumerate(policy.actions):
        for outcome, name in enumerate(OUTCOMES):
            if not ground.table[:, code, outcome].any():
                continue
            for factor in SENSITIVITY_FACTORS:
                watch(f"{action}.{name} times {plain(factor)}")
                table = ground.crowd.table.copy()
                table[:, code, outcome] *= factor
                shift = PolicyShift(f"{action}.{name}", factor, None, {}, None, changes=True)
                yield _chosen_again(shift, bare, ground.priced(table), constraints, chosen)


def _chosen_again(
    shift: PolicyShift, bare: Policy, other: Ground, constraints: tuple[Constraint, ...], chosen: CodeArray
) -> PolicyShift:
    """Return the choice under other costs, or the reason why no policy meets the constraints."""
    try:
        again = _fitted(bare, other, constraints)[0]
    except ProjectError as error:
        return replace(shift, reason=error.message)
    codes = other.decide(again)
    dearer = other.cost(chosen) - other.cost(codes)
    return replace(
        shift,
        decisions_changed=float((codes != chosen).mean()),
        thresholds=dict(again.thresholds),
        keeping_costs_more=dearer,
        changes=dearer > TOLERANCE * abs(other.cost(codes)),
    )


def _held(item: Constraint, codes: CodeArray, ground: Ground, policy: Policy) -> ConstraintHeld:
    """Return the constrained metric of the actions taken, with capacity and rules, and whether it meets its bound."""
    ratio = alerted(item.metric, codes != policy.matrix.pass_code, _outcomes(ground))
    found = ratio_estimate(ratio, ground.clusters, confidence=ground.confidence, bounds=(0.0, 1.0))
    return ConstraintHeld(found, holds=item.kept_by(found))


def _as_good(item: Alternative, cost: float) -> bool:
    """Return whether a simpler policy costs at most a plateau's tolerance more, and not significantly more."""
    value, low = item.dearer_by.value, item.dearer_by.low
    return low is not None and low <= 0 and value is not None and value <= TOLERANCE * abs(cost)


def _alternatives(bare: Policy, ground: Ground, watch: Watch, *, limited: bool) -> dict[str, CodeArray]:
    """Return the actions of simpler policies, simplest first; under constraints only the constant ones.

    A constant action with a capacity goes to the first events of each period; the others are allowed.
    """
    matrix, free = bare.matrix, replace(bare, capacity=())
    reach = reach_among(ground.crowd.when, bare.capacity, matrix)
    reach = None if reach is None else reach[ground.judged]
    base = baseline(ground.table, ground.y_true, matrix, weight=ground.weight, reach=reach)
    codes = constant_codes(len(ground.y_true), matrix, reach=reach)
    found = {item.words: codes[:, code] for code, item in enumerate(base.constants)}
    if limited:
        return found
    for action in matrix.actions[1:] if bare.kind == "expected_cost" or len(matrix.actions) > 2 else ():
        watch(f"one threshold: {action}")
        found[f"one threshold: {action}"] = ground.decide(_one_threshold(free, ground, action))
    if bare.kind == "expected_cost":
        watch("thresholds alone")
        found["thresholds"] = ground.decide(
            _with_thresholds(replace(free, kind="thresholds"), ground, (), seed=None)[0]
        )
    return found


def _one_threshold(free: Policy, ground: Ground, action: str) -> Policy:
    costs = _floored(free, ground)[:, [free.matrix.pass_code, free.matrix.code(action)]]
    search = search_thresholds(ScoreGroups.of(ground.y_prob, costs))
    return replace(free, kind="thresholds", thresholds={action: search.thresholds[0].value}, segments=None)


def _hindsight_cost(policy: Policy, ground: Ground) -> float:
    """Return the cost if the slots went to the highest expected benefits of the whole day or week."""
    crowd = ground.crowd
    codes = hindsight(policy, policy.priced(crowd.y_prob, crowd.table), crowd.floor(policy), crowd.when)
    return ground.cost(codes[ground.judged])
