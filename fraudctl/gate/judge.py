"""Rules on the ends of intervals, and a verdict of pass, fail or inconclusive.

A missing, undefined or uncertain figure never passes. The same rules are also applied to shuffled scores: if noise
passes them they cannot judge a model, and the gate refuses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import polars as pl

from fraudctl.catalogue import SIDE_BY_SIDE, metric
from fraudctl.checks import CheckReport
from fraudctl.costs import OUTCOMES
from fraudctl.data.categories import Category, shown
from fraudctl.evaluate.estimates import difference, estimate, nothing_known
from fraudctl.evaluate.judged import EvaluatedEvents, prepare
from fraudctl.evaluate.replay import Replay
from fraudctl.evaluate.result import (
    ChampionOutcome,
    CostShift,
    Direction,
    Evaluation,
    GateResult,
    GateVerdict,
    RuleResult,
    Verdict,
)
from fraudctl.evaluate.segments import split_segments
from fraudctl.gate.data_rules import Reference, check_rules, check_warnings, drift_rules
from fraudctl.gate.words import (
    Deciding,
    Frauds,
    Held,
    Noise,
    TestFamily,
    after_holm,
    all_kept,
    because,
    held_reason,
    higher_floor,
    missing_floor,
)
from fraudctl.policy.choose import SENSITIVITY_FACTORS
from fraudctl.policy.decide import Policy
from fraudctl.populations import require_same_events
from fraudctl.progress import Watch, unwatched
from fraudctl.project import Project
from fraudctl.project.evaluation import ChampionRuleSection, GateSection, SegmentRuleSection
from fraudctl.text.figures import exact, number
from fraudctl.text.sentences import Sentence, fixed, joined
from fraudctl.uncertainty import Estimate, RankingIntervals, normal_quantile, undefined

CONTROL_REPLICATES = 200


@dataclass(frozen=True)
class Champion:
    """The model to beat, on the same events, with its own frozen policy."""

    version: str
    scored: pl.DataFrame
    """From `fraudctl.evaluate.Replay.judge`: the same events in the same order as the model's."""


def judge(
    evaluation: Evaluation,
    scored: pl.DataFrame,
    *,
    project: Project,
    policy: Policy,
    replay: Replay | None = None,
    champion: Champion | None = None,
    reference: Reference | None = None,
    checks: CheckReport | None = None,
    seed: int = 0,
    watch: Watch = unwatched,
    judged: EvaluatedEvents | None = None,
) -> Evaluation:
    """Apply the rules of ``[gate]``; return the evaluation with its verdict and the champion's figures.

    Parameters
    ----------
    evaluation
        Of the same events.
    scored
        The evaluated events, from `fraudctl.evaluate.Replay.judge`.
    project
        Its ``[gate]``; without one the verdict is ``none``.
    policy
        The model's policy.
    replay
        All events of the period, on which the negative control decides with shuffled scores; by default the evaluated
        events are all there is.
    champion
        Where one is registered or named.
    reference
        Scores that drift is measured between.
    checks
        What `fraudctl.checks.run_checks` found in the data; its errors are the first rules of the gate. Where the gate
        asks for checks, it does not pass without them.
    seed
        Of the bootstrap and of the shuffle.
    watch
        Called with the name of each step before it begins.
    judged
        What `fraudctl.evaluate.prepare` gives of ``scored``, where that is at hand.

    Raises
    ------
    DataError
        The champion was scored on other events.
    """
    watch("events")
    judged = judged or prepare(scored, project)
    rival = None if champion is None else _paired(scored, champion, project)
    settings = RankingIntervals(project.evaluate.replicates, seed, evaluation.confidence)
    if champion is not None and rival is not None:
        watch("the champion's figures")
        evaluation = replace(evaluation, champion=_beside(champion.version, judged, rival, settings))
    if project.gate is None:
        return evaluation
    bench = _Bench(project.gate, judged, rival, scored, settings, evaluation.metrics)
    before = tuple(check_rules(checks)) if project.gate.checks or checks is not None else ()
    watch("rules")
    rules = (*before, *bench.rules(), *_drift(bench, reference, project))
    control = None
    if nothing_known(judged) is None:
        whole = replay or Replay.of(scored.drop("y_prob", "action", "cost"), judged.y_prob, policy)
        control = _control(bench, whole, project, watch)
    result = _verdict(bench, rules, control, None if champion is None else champion.version)
    if checks is not None:
        result = replace(result, warnings=(*result.warnings, *check_warnings(checks)))
    return replace(evaluation, gate=result)


def put_beside(
    evaluation: Evaluation, scored: pl.DataFrame, *, project: Project, champion: Champion | None, seed: int = 0
) -> Evaluation:
    """Return the evaluation with the figures of a champion on the same events, without a verdict; see `judge`.

    Raises
    ------
    DataError
        The champion was scored on other events.
    """
    if champion is None:
        return evaluation
    settings = RankingIntervals(project.evaluate.replicates, seed, evaluation.confidence)
    rival = _paired(scored, champion, project)
    return replace(evaluation, champion=_beside(champion.version, prepare(scored, project), rival, settings))


def _drift(bench: _Bench, reference: Reference | None, project: Project) -> Iterator[RuleResult]:
    section = bench.gate.drift
    if section is None or nothing_known(bench.judged) is not None:
        return
    yield from drift_rules(
        section, bench.judged, reference, project=project, seed=bench.settings.seed, min_frauds=bench.gate.min_frauds
    )


def _paired(scored: pl.DataFrame, champion: Champion, project: Project) -> EvaluatedEvents:
    require_same_events(champion.scored, scored, names=(f"champion {champion.version}", "the model"))
    return prepare(champion.scored, project)


def _beside(
    version: str, judged: EvaluatedEvents, rival: EvaluatedEvents, settings: RankingIntervals
) -> ChampionOutcome:
    """Return the champion's metrics on the same events, and the paired differences (model - champion)."""
    return ChampionOutcome(
        version,
        metrics={name: estimate(name, rival, settings) for name in SIDE_BY_SIDE},
        differences={name: difference(name, judged, rival, settings) for name in SIDE_BY_SIDE},
        cost_sensitivity=tuple(_sensitivity(judged, rival, settings)),
    )


def _sensitivity(judged: EvaluatedEvents, rival: EvaluatedEvents, settings: RankingIntervals) -> Iterator[CostShift]:
    """Return the difference of savings with each cost from half to double, and whether the better model changes."""
    sign = np.sign(difference("savings", judged, rival, settings).value or 0.0)
    for code, action in enumerate(judged.matrix.actions):
        for outcome, name in enumerate(OUTCOMES):
            for factor in SENSITIVITY_FACTORS if judged.cost_table[:, code, outcome].any() else ():
                pair = [item.repriced(code, outcome, factor) for item in (judged, rival)]
                found = difference("savings", pair[0], pair[1], settings)
                changes = found.value is not None and np.sign(found.value) == -sign != 0
                yield CostShift(f"{action}.{name}", factor, found, changes=bool(changes))


@dataclass(frozen=True)
class _Bench:
    """Rules, the events they are applied to, and what is known of them already."""

    gate: GateSection
    judged: EvaluatedEvents
    rival: EvaluatedEvents | None
    scored: pl.DataFrame
    settings: RankingIntervals
    known: Mapping[str, Estimate]
    min_frauds: int | None = None
    """Frauds that a pass needs; default what the gate says, 0 for the negative control."""

    def rules(self) -> Iterator[RuleResult]:
        """Yield every rule with its verdict, in the order of the file."""
        for name, limit in self.gate.metrics.items():
            found = self.known[name] if name in self.known else estimate(name, self.judged, self.settings)
            for direction, bound in _sides(limit.at_least, limit.at_most):
                yield self._rule(f"{name}.{direction}", name, found, bound, direction)
        if self.gate.champion is not None:
            yield from self._champion(self.gate.champion)
        for i, section in enumerate(self.gate.segments):
            yield from self._segments(f"segments[{i}]", section)

    def _rule(
        self, name: str, metric: str, found: Estimate, bound: float, direction: Direction, *, part: int | None = None
    ) -> RuleResult:
        """Judge a figure of all events, or of a segment with ``part`` frauds; what a pass needs counts all of them."""
        return compare(
            name,
            metric,
            found,
            bound,
            direction,
            n_frauds=self.judged.n_frauds,
            min_frauds=self.gate.min_frauds if self.min_frauds is None else self.min_frauds,
            confidence=self.settings.confidence,
            part=part,
        )

    def _champion(self, section: ChampionRuleSection) -> Iterator[RuleResult]:
        found = self._lead(section.metric, section.if_none)
        yield self._rule("champion.no_worse_than", section.metric, found, -section.no_worse_than, "at_least")
        if section.better_than is not None:
            yield self._rule("champion.better_than", section.metric, found, section.better_than, "at_least")

    def _lead(self, metric: str, if_none: str) -> Estimate:
        """Return by how much the model is better than the champion; positive is better, whatever the metric."""
        rival = self.rival
        if rival is None and if_none == "baseline":
            rival = _baseline(self.judged)
        if rival is None:
            return undefined("no champion is registered")
        return _lead(metric, self.judged, rival, self.settings)

    def _segments(self, name: str, section: SegmentRuleSection) -> Iterator[RuleResult]:
        segments = split_segments(self.scored[section.by], self.judged.y_true, min_frauds=section.min_frauds)
        sides: list[tuple[Direction, float]] = [*_sides(section.at_least, section.at_most)]
        frauds = {label: self.judged.take(rows).n_frauds for label, rows in segments}
        for direction, bound in sides:
            found = {label: estimate(section.metric, self.judged.take(rows), self.settings) for label, rows in segments}
            yield from self._family(f"{name}.{direction}", section, found, bound, direction, frauds)
        if section.margin is not None:
            found = {label: self._segment_lead(section.metric, rows) for label, rows in segments}
            yield from self._family(f"{name}.no_worse_than", section, found, -section.margin, "at_least", frauds)

    def _segment_lead(self, metric: str, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Estimate:
        if self.rival is None:
            return undefined("no champion is registered")
        return _lead(metric, self.judged.take(rows), self.rival.take(rows), self.settings)

    def _family(
        self,
        name: str,
        section: SegmentRuleSection,
        found: Mapping[Category, Estimate],
        bound: float,
        direction: Direction,
        frauds: Mapping[Category, int],
    ) -> Iterator[RuleResult]:
        """Judge segments together: each must pass by itself; a fail must survive Holm's correction."""
        results = [
            self._rule(
                f"{name} {section.by}={shown(label)}", section.metric, item, bound, direction, part=frauds[label]
            )
            for label, item in found.items()
        ]
        failing = holm([_tail(item.estimate, bound, direction) for item in results], _alpha(self.settings.confidence))
        for item, survives in zip(results, failing, strict=True):
            if item.verdict == "fail" and not survives:
                reason = joined(item.reason, after_holm(TestFamily(len(results))), by="; ")
                yield replace(item, verdict="inconclusive", reason=reason)
            else:
                yield item


def _sides(at_least: float | None, at_most: float | None) -> Iterator[tuple[Direction, float]]:
    if at_least is not None:
        yield "at_least", at_least
    if at_most is not None:
        yield "at_most", at_most


def _lead(name: str, ours: EvaluatedEvents, theirs: EvaluatedEvents, settings: RankingIntervals) -> Estimate:
    if metric(name).higher_is_better:
        return difference(name, ours, theirs, settings)
    return difference(name, theirs, ours, settings)


def _baseline(judged: EvaluatedEvents) -> EvaluatedEvents:
    """Return the model that knows nothing: one probability for all events, and the cheapest constant action."""
    rate = float(np.average(judged.y_true, weights=judged.weight)) if judged.n_events else 0.0
    return judged.deciding(np.full(judged.n_events, rate), judged.base.codes)


def compare(
    name: str,
    metric: str,
    found: Estimate,
    bound: float,
    direction: Direction,
    *,
    n_frauds: int,
    min_frauds: int,
    confidence: float,
    part: int | None = None,
) -> RuleResult:
    """Hold the end of an interval against a bound.

    Passes where the whole interval keeps the bound and there are at least ``min_frauds`` frauds; fails where the whole
    interval breaks it, or where with too few clusters for an interval the value lies far beyond the bound; everything
    else, a missing or non-finite figure above all, is inconclusive.

    Parameters
    ----------
    n_frauds
        Frauds among all events that are judged; a pass needs ``min_frauds`` of them.
    part
        Frauds among the events of the figure, where it is that of a segment.
    """
    counted = n_frauds if part is None else part
    item = Held(metric, found, bound, direction, "inconclusive", Frauds(n_frauds, min_frauds), part=part)
    if found.low is None or found.high is None or not found.known:
        broken = _plainly_broken(found, bound, direction, confidence)
        return _result(name, replace(item, verdict="fail" if broken else "inconclusive"))
    rising = direction == "at_least"
    keeps = found.low >= bound if rising else found.high <= bound
    breaks = found.high < bound if rising else found.low > bound
    if keeps:
        few = item.frauds.too_few
        return _result(
            name, replace(item, keeps=True, verdict="inconclusive" if few else "pass"), min_frauds if few else None
        )
    if breaks:
        return _result(name, replace(item, verdict="fail"))
    settle = _frauds_to_settle(found, bound, counted, confidence)
    return _result(name, replace(item, settle=settle), settle)


def _result(name: str, item: Held, settle: int | None = None) -> RuleResult:
    return RuleResult(
        name, item.verdict, item.metric, item.found, item.bound, item.direction, held_reason(item), settle
    )


PLAINLY = 3.0
"""How many times an interval's reach a value must lie beyond its bound to fail without a known interval."""


def _plainly_broken(found: Estimate, bound: float, direction: Direction, confidence: float) -> bool:
    """Return whether a bound is broken so widely that even a rough standard error of few clusters shows it.

    A pass needs a known interval; a fail may come earlier.
    """
    if found.value is None or found.se is None or not (math.isfinite(found.value) and math.isfinite(found.se)):
        return False
    beyond = bound - found.value if direction == "at_least" else found.value - bound
    return beyond > PLAINLY * normal_quantile(confidence) * found.se


def _frauds_to_settle(found: Estimate, bound: float, n_frauds: int, confidence: float) -> int | None:
    """``n (z SE / (value - bound))^2``: variances fall with the number of frauds."""
    if found.se is None or found.value is None or found.value == bound:
        return None
    needed = n_frauds * (normal_quantile(confidence) * found.se / (found.value - bound)) ** 2
    return int(np.ceil(needed)) if needed < 1e9 else None


def _alpha(confidence: float) -> float:
    return (1 - confidence) / 2


def _tail(found: Estimate, bound: float, direction: Direction) -> float:
    """One-sided p-value of the hypothesis that the bound is kept; 1 where nothing is known."""
    if not found.known or found.value is None or found.se is None:
        return 1.0
    gap = (found.value - bound) * (1 if direction == "at_least" else -1)
    if found.se == 0:
        return float(gap >= 0)
    return NormalDist().cdf(gap / found.se)


def holm(p_values: list[float], alpha: float) -> list[bool]:
    """Return which hypotheses are rejected at family-wise level alpha (Holm, Scandinavian Journal of Statistics 1979).

    >>> holm([0.01, 0.04, 0.03], 0.05)
    [True, False, False]
    """
    rejected = [False] * len(p_values)
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] > alpha / (len(p_values) - step):
            break
        rejected[place] = True
    return rejected


def overall(rules: tuple[RuleResult, ...]) -> Verdict:
    """Fail beats inconclusive, inconclusive beats pass."""
    verdicts = {rule.verdict for rule in rules}
    return "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"


@dataclass(frozen=True)
class _Control:
    verdict: Verdict
    savings: Estimate
    recall: Estimate


def _control(bench: _Bench, replay: Replay, project: Project, watch: Watch) -> _Control:
    """Apply the same rules to shuffled scores, with no least number of frauds: noise must not pass them.

    The scores of all events of the period are shuffled and decided, so that unlabelled events take their slots here as
    they do for the model.
    """
    rng = np.random.default_rng([bench.settings.seed, 1])
    watch("shuffled scores decide")
    scored = replay.judge(project, y_prob=replay.shuffled(rng))
    watch("rules on shuffled scores")
    settings = replace(bench.settings, replicates=min(CONTROL_REPLICATES, bench.settings.replicates))
    noise = replace(bench, judged=prepare(scored, project), scored=scored, settings=settings, known={}, min_frauds=0)
    found = {name: estimate(name, noise.judged, settings) for name in ("savings", "recall")}
    return _Control(overall(tuple(noise.rules())), found["savings"], found["recall"])


def _verdict(
    bench: _Bench, rules: tuple[RuleResult, ...], control: _Control | None, champion: str | None
) -> GateResult:
    verdict: GateVerdict = overall(rules)
    reason, hint = _because(verdict, rules), None
    if control is None and verdict == "pass":
        verdict, reason = "inconclusive", fixed(nothing_known(bench.judged) or "")
    elif control is not None and control.verdict == "pass":
        verdict = "refused"
        reason, hint = _refusal(bench.gate, control)
    return GateResult(
        verdict=verdict,
        rules=rules,
        reason=reason,
        hint=hint,
        warnings=tuple(_warnings(bench, rules)),
        confidence=bench.settings.confidence,
        min_frauds=bench.gate.min_frauds,
        champion=champion,
        control=None if control is None else control.verdict,
    )


def _because(verdict: str, rules: tuple[RuleResult, ...]) -> Sentence:
    if verdict == "pass":
        return all_kept(Deciding(len(rules)))
    return because(tuple(rule.reason for rule in rules if rule.verdict == verdict))


def _refusal(gate: GateSection, control: _Control) -> tuple[Sentence, Sentence]:
    """State that noise passes, and which floor is missing."""
    high = control.savings.high if control.savings.high is not None else 0.0
    noise = Noise(high, max(0.1, round(high + 0.1, 1)))
    asked = any(metric(name).detects for name in gate.metrics)
    hint = missing_floor(noise) if not asked and not gate.segments else higher_floor(noise)
    return fixed("shuffled scores pass these rules too: they cannot tell a model from noise"), hint


def _warnings(bench: _Bench, rules: tuple[RuleResult, ...]) -> Iterator[str]:
    """Warn where even an equal model could hardly pass: the margin is smaller than the interval's half width."""
    for rule in rules:
        se, margin = rule.estimate.se, -rule.bound
        if rule.name.startswith("champion.no_worse_than") and se is not None:
            reach = normal_quantile(bench.settings.confidence) * se
            if reach > margin:
                yield (
                    f"the margin {exact(margin)} is smaller than half the interval ({number(reach)}): an equal model "
                    "would seldom pass; take more data, pool folds, or widen the margin"
                )
