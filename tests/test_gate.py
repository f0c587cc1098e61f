from __future__ import annotations

import math
import re
from functools import cache

import numpy as np
import polars as pl
import pytest
from decisions_world import evaluated, make_events, make_project, score
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fraudctl.catalogue import metric as known_metric
from fraudctl.catalogue import metric_names
from fraudctl.documents.results import as_object
from fraudctl.errors import DataError, ExitCode, ProjectError
from fraudctl.evaluate import Evaluation, GateResult, evaluate, prepare
from fraudctl.evaluate.result import Direction
from fraudctl.gate import Champion, compare, holm, judge
from fraudctl.policy import bare_policy
from fraudctl.uncertainty import Estimate, normal_quantile

FLOOR = "[gate]\nsavings = { at_least = 0.3 }\nmin_frauds = 100\n"


def run(more: str, events: pl.DataFrame | None = None, champion: pl.DataFrame | None = None) -> GateResult:
    return full(more, events, champion).gate


def full(more: str, events: pl.DataFrame | None = None, champion: pl.DataFrame | None = None) -> Evaluation:
    project = make_project(more)
    scored = score(make_events() if events is None else events, project)
    rival = None if champion is None else Champion("old", score(champion, project))
    return judge(evaluated(scored, project), scored, project=project, policy=bare_policy(project), champion=rival)


@cache
def floored() -> Evaluation:
    """The evaluation that only has to save enough: many tests take their bounds from its figures."""
    return full(FLOOR)


@cache
def better_and_worse() -> tuple[pl.DataFrame, pl.DataFrame, Evaluation]:
    """Two models on the same events, and the evaluation of the better one beside the worse one."""
    better, worse = make_events(), make_events(strength=1.5).with_columns(y_prob=(3 * pl.col("y_prob")).clip(0, 1))
    return better, worse, full(FLOOR, better, worse)


def verdict_of(gate: GateResult, name: str) -> str:
    return next(rule.verdict for rule in gate.rules if rule.name.startswith(name))


def shuffled(events: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    return events.with_columns(y_prob=pl.col("y_prob").shuffle(seed=seed))


@pytest.mark.parametrize(
    ("low", "high", "bound", "direction", "verdict"),
    [
        (0.5, 0.7, 0.5, "at_least", "pass"),
        (0.5, 0.7, 0.51, "at_least", "inconclusive"),
        (0.5, 0.7, 0.7, "at_least", "inconclusive"),
        (0.5, 0.7, 0.71, "at_least", "fail"),
        (0.5, 0.7, 0.7, "at_most", "pass"),
        (0.5, 0.7, 0.6, "at_most", "inconclusive"),
        (0.5, 0.7, 0.49, "at_most", "fail"),
    ],
)
def test_the_ends_of_the_interval_decide(low: float, high: float, bound: float, direction: str, verdict: str) -> None:
    found = Estimate(0.6, low, high, se=0.06)
    rule = compare("r", "m", found, bound, direction, n_frauds=500, min_frauds=300, confidence=0.9)  # type: ignore[arg-type]
    assert rule.verdict == verdict


@pytest.mark.parametrize(
    "found",
    [
        Estimate(None, reason="no alerts"),
        Estimate(0.9, reason="only 3 card clusters"),
        Estimate(0.9, math.nan, 1.0),
        Estimate(0.9, 0.8, math.inf),
        Estimate(0.9, 0.8),
        Estimate(math.nan, math.nan, math.nan),
    ],
)
@given(bound=st.floats(-2, 2), rising=st.booleans())
@settings(deadline=None, max_examples=20)
def test_missing_and_nan_never_pass_or_fail(found: Estimate, bound: float, rising: bool) -> None:
    direction = "at_least" if rising else "at_most"
    rule = compare("r", "m", found, bound, direction, n_frauds=10**6, min_frauds=1, confidence=0.9)  # type: ignore[arg-type]
    assert rule.verdict == "inconclusive"
    assert "not known" in rule.reason


def test_too_few_frauds_never_pass_but_may_fail() -> None:
    good, bad = Estimate(0.9, 0.8, 1.0, se=0.05), Estimate(0.1, 0.0, 0.2, se=0.05)
    args = {"n_frauds": 299, "min_frauds": 300, "confidence": 0.9}
    passing = compare("r", "m", good, 0.5, "at_least", **args)  # type: ignore[arg-type]
    assert passing.verdict == "inconclusive"
    assert "299 frauds are fewer than the 300" in passing.reason
    assert compare("r", "m", bad, 0.5, "at_least", **args).verdict == "fail"  # type: ignore[arg-type]


def test_how_many_frauds_would_settle_it_by_hand() -> None:
    # n (z SE / (value - bound))^2 = 400 × (1.645 × 0.05 / 0.05)^2 = 400 × 2.7055
    rule = compare(
        "r", "m", Estimate(0.55, 0.47, 0.63, se=0.05), 0.5, "at_least", n_frauds=400, min_frauds=300, confidence=0.9
    )
    assert rule.frauds_to_settle == math.ceil(400 * 1.6448536**2)
    never = Estimate(0.5, 0.4, 0.6, se=0.05)
    hopeless = compare("r", "m", never, 0.5, "at_least", n_frauds=400, min_frauds=300, confidence=0.9)
    assert hopeless.frauds_to_settle is None
    assert "no number" in hopeless.reason


BOUNDS = [
    ("savings", "at_least", 0.3, 0.99),
    ("recall", "at_least", 0.5, 0.999),
    ("precision", "at_least", 0.2, 0.99),
    ("value_recall", "at_least", 0.5, 0.9999),
    ("roc_auc", "at_least", 0.8, 0.9999),
    ("average_precision", "at_least", 0.5, 0.99),
    ("card_precision_at_100", "at_least", 0.1, 0.9),
    ("false_positive_rate", "at_most", 0.5, 0.001),
    ("alert_rate", "at_most", 0.5, 0.01),
    ("cost", "at_most", 20_000, 100),
    ("brier", "at_most", 0.09, 0.001),
    ("ece", "at_most", 0.2, 0.0001),
    ("savings_of_perfect", "at_least", 0.1, 1.5),
    ("terminal_precision_at_100", "at_least", 0.1, 0.9),
]


def test_every_metric_is_among_them() -> None:
    assert {item[0] for item in BOUNDS} == set(metric_names(["card", "terminal"]))


@pytest.mark.parametrize(("metric", "limit", "passing", "failing"), BOUNDS)
def test_every_metric_rule_fails_passes_and_is_inconclusive(
    metric: str, limit: str, passing: float, failing: float
) -> None:
    value = floored().metrics[metric].value
    for bound, verdict in ((passing, "pass"), (failing, "fail"), (value, "inconclusive")):
        other = "" if metric == "savings" else "savings = { at_least = 0.3 }\n"
        gate = run(f"[gate]\nmin_frauds = 100\n{other}{metric} = {{ {limit} = {bound} }}")
        assert verdict_of(gate, metric) == verdict, (metric, bound, gate.rules)
        assert gate.verdict == verdict
        assert gate.exit_code == {"pass": 0, "fail": 1, "inconclusive": 5}[verdict]


def champion_rule(metric: str, margin: float) -> str:
    return FLOOR + f'champion = {{ metric = "{metric}", no_worse_than = {margin} }}\n'


PAIRED = sorted(set(metric_names([])) - {"ece", "savings_of_perfect"})


@pytest.mark.parametrize("metric", PAIRED)
def test_champion_rule_fails_passes_and_is_inconclusive(metric: str) -> None:
    better, worse, found = better_and_worse()
    lead = found.champion.differences[metric].value
    if not known_metric(metric).higher_is_better:
        lead = -lead
    if lead < 0:
        better, worse, lead = worse, better, -lead
    assert verdict_of(run(champion_rule(metric, lead / 2), better, better), "champion") == "pass"
    assert verdict_of(run(champion_rule(metric, lead), worse, better), "champion") == "inconclusive"
    assert verdict_of(run(champion_rule(metric, lead / 10), worse, better), "champion") == "fail"


def test_superiority_only_if_asked() -> None:
    strong, weak = make_events(), make_events(strength=1.5)
    lead = full(FLOOR, strong, weak).champion.differences["savings"].value
    more = FLOOR + "champion = { better_than = 0.01 }\n"
    assert verdict_of(run(more, strong, weak), "champion.better_than") == "pass"
    asked = FLOOR + f"champion = {{ better_than = {lead} }}\n"
    assert verdict_of(run(asked, strong, weak), "champion.better_than") == "inconclusive"
    assert verdict_of(run(more, weak, strong), "champion.better_than") == "fail"


def test_no_champion_is_inconclusive_unless_the_baseline_stands_in() -> None:
    gate = run(FLOOR + "champion = {}\n")
    assert gate.verdict == "inconclusive"
    assert "no champion is registered" in gate.reason

    def against_baseline(lead: float | None) -> str:
        return FLOOR + f'champion = {{ if_none = "baseline", better_than = {lead} }}\n'

    assert run(against_baseline(0.1)).verdict == "pass"
    value = floored().metrics["savings"].value
    assert verdict_of(run(against_baseline(value)), "champion.better") == "inconclusive"
    assert verdict_of(run(against_baseline(0.99)), "champion.better_than") == "fail"


@pytest.mark.parametrize("metric", ["ece", "card_precision_at_100", "savings_of_perfect"])
def test_what_cannot_be_paired_cannot_be_asked_of_a_champion(metric: str) -> None:
    with pytest.raises(ProjectError, match=rf"gate\.champion\.metric: {metric!r} has no paired interval"):
        make_project(f'[gate]\nchampion = {{ metric = "{metric}" }}')
    with pytest.raises(ProjectError, match=rf"gate\.segments\[0\]\.metric: {metric!r} has no paired interval"):
        make_project(f'[[gate.segments]]\nby = "channel"\nmetric = "{metric}"')


def test_a_champion_on_other_events_is_refused() -> None:
    events = make_events()
    with pytest.raises(DataError, match="other events"):
        run(FLOOR, events, events[::-1])
    with pytest.raises(DataError, match="other events"):
        run(FLOOR, events, events[:-1])


def test_champion_stands_beside_with_paired_differences() -> None:
    found = as_object(full("", make_events(), make_events(strength=1.5)))
    assert found["champion"]["model"] == "old"
    assert found["champion"]["differences"]["savings"]["low"] > 0
    rows = found["champion"]["cost_sensitivity"]
    assert {row["cost"] for row in rows} == {"allow.fraud", "review.fraud", "review.legit", "block.legit"}
    assert not any(row["changes"] for row in rows if row["cost"] == "allow.fraud")
    assert found["gate"]["verdict"] == "none"


SEGMENT = FLOOR + '[[gate.segments]]\nby = "channel"\nmetric = "recall"\nmin_frauds = 50\n'


def test_segment_rule_passes_fails_and_is_inconclusive() -> None:
    assert run(SEGMENT + "at_least = 0.3").verdict == "pass"
    gate = run(SEGMENT + "at_least = 0.3")
    assert [rule.name.split("=")[-1] for rule in gate.rules[1:]] == ["app", "shop", "web"] or len(gate.rules) == 4
    events = make_events()
    blind = events.with_columns(y_prob=pl.when(pl.col("channel") == "web").then(0.001).otherwise(pl.col("y_prob")))
    lost = run(SEGMENT + "at_least = 0.3", blind)
    assert lost.verdict == "fail"
    # without the frauds of the web, reviewing all events is nearly as cheap: the floor on savings fails besides
    assert [rule.name for rule in lost.rules if rule.verdict == "fail"] == [
        "savings.at_least",
        "segments[0].at_least channel=web",
    ]
    value = floored().metrics["recall"].value
    assert run(SEGMENT + f"at_least = {value}").verdict == "inconclusive"


def test_segments_against_the_champion_have_a_margin_of_a_tenth() -> None:
    events = make_events()
    assert verdict_of(run(SEGMENT, events, events), "segments[0].no_worse_than") == "pass"
    blind = events.with_columns(y_prob=pl.when(pl.col("channel") == "web").then(0.001).otherwise(pl.col("y_prob")))
    gate = run(SEGMENT, blind, events)
    web = next(rule for rule in gate.rules if rule.name.endswith("channel=web"))
    assert (web.verdict, web.bound) == ("fail", -0.10)
    assert run(SEGMENT, events).verdict == "inconclusive"


@pytest.mark.parametrize("seed", range(6))
def test_the_reason_of_a_segment_counts_its_own_frauds(seed: int) -> None:
    """Draw channels of different sizes, and count the frauds of each in the rows again."""
    rng = np.random.default_rng(seed)
    bound = float(rng.uniform(0.3, 0.9))
    shares = rng.dirichlet([2.0, 2.0, 2.0])
    channels = pl.Series(rng.choice(["web", "shop", "app"], 4000, p=shares))
    events = make_events(seed=seed).with_columns(channel=channels)
    frauds = dict(events.filter(pl.col("label") == 1).group_by("channel").len().iter_rows())
    n_counted = 0
    for rule in run(SEGMENT + f"at_least = {bound}", events).rules:
        channel = rule.name.rpartition("channel=")[2]
        told = re.search(r"the bound \((\d+) frauds?\)", rule.reason)
        if channel not in frauds or frauds[channel] < 50:
            continue
        if told is not None:
            assert int(told[1]) == frauds[channel]
            n_counted += 1
        if rule.frauds_to_settle is not None and rule.verdict == "inconclusive" and "settle" in rule.reason:
            z = normal_quantile(0.9)
            assert rule.estimate.value is not None
            assert rule.estimate.se is not None
            needed = frauds[channel] * (z * rule.estimate.se / (rule.estimate.value - bound)) ** 2
            assert rule.frauds_to_settle == math.ceil(needed)
            assert "frauds in this segment would settle it" in rule.reason
            n_counted += 1
    assert n_counted


@given(
    low=st.floats(0.0, 0.99), width=st.floats(1e-6, 0.5), near=st.floats(-1e-5, 1e-5), rising=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=200)
def test_the_figures_of_a_reason_do_not_contradict_its_verdict(
    low: float, width: float, near: float, rising: bool
) -> None:
    """Read the interval and the bound out of the text, and judge again."""
    bound = round(low + near, 6)
    found = Estimate(low + width / 2, low, low + width, se=width / 4)
    assume(min(abs(low - bound), abs(low + width - bound)) > 1e-12)  # closer is equal but for the rounding of a sum
    direction: Direction = "at_least" if rising else "at_most"
    rule = compare("r", "m", found, bound, direction, n_frauds=500, min_frauds=300, confidence=0.9)
    number = r"(-?[\d.,]+(?:e-?\d+)?)"
    told = re.match(rf"m {number} \({number} to {number}\), asked at (?:least|most) {number}:", rule.reason)
    assert told is not None, rule.reason
    _, start, end, asked = (float(item.rstrip(",").replace(",", "")) for item in told.groups())
    assert asked == bound
    keeps, breaks = (start >= asked, end < asked) if rising else (end <= asked, start > asked)
    assert rule.verdict == ("pass" if keeps else "fail" if breaks else "inconclusive")


def test_a_fail_among_segments_must_survive_holm() -> None:
    # alone .04 < .05 would reject; as one of two it needs .025
    assert holm([0.04, 0.5], 0.05) == [False, False]
    assert holm([0.02, 0.5], 0.05) == [True, False]
    assert holm([0.02, 0.04], 0.05) == [True, True]
    assert holm([], 0.05) == []


def test_shuffled_scores_fail_down_to_forty_frauds() -> None:
    for n_frauds in (40, 100, 400):
        events = shuffled(make_events(n_frauds * 100, n_frauds))
        assert run(FLOOR, events).verdict == "fail"


def test_rules_that_noise_passes_are_refused_with_the_missing_floor() -> None:
    gate = run("[gate]\nmin_frauds = 100\nalert_rate = { at_most = 0.9 }")
    assert gate.verdict == "refused"
    assert gate.exit_code is ExitCode.USAGE
    assert gate.control == "pass"
    assert "add savings = { at_least" in (gate.hint or "")
    low = run("[gate]\nmin_frauds = 100\nsavings = { at_least = -5.0 }")
    assert low.verdict == "refused"
    assert "too low" in (low.hint or "")
    assert run("[gate]\n").verdict == "refused"
    assert run(FLOOR).control == "fail"


def test_missing_scores_empty_and_one_class_never_pass() -> None:
    events = make_events()
    holes = events.with_columns(y_prob=pl.when(pl.col("event_id") < 2000).then(None).otherwise(pl.col("y_prob")))
    for table in (holes, events[:0], events.filter(pl.col("label") == 0), events.filter(pl.col("label") == 1)):
        gate = run(FLOOR, table)
        assert gate.verdict in {"inconclusive", "refused"}
        assert gate.exit_code != 0


def test_few_clusters_never_pass() -> None:
    events = make_events().with_columns(card=pl.col("card") % 10, terminal=pl.col("terminal") % 10)
    gate = run(FLOOR, events)
    assert gate.verdict == "inconclusive"
    assert "clusters carry information" in gate.reason


def test_one_entity_with_few_ids_widens_what_the_gate_looks_at() -> None:
    events = make_events().with_columns(terminal=pl.col("event_id") % 10)
    good = pl.col("y_prob") >= events.filter(pl.col("label") == 1)["y_prob"].median()
    half = pl.when(good).then(pl.col("event_id") % 5).otherwise(5 + pl.col("event_id") % 5)
    apart = events.with_columns(terminal=half)  # the same scores, but five terminals hold all that are missed
    lows = [full(FLOOR, table).metrics["recall"].low for table in (events, apart)]
    assert lows[1] < lows[0] - 0.05
    rule = f"[gate]\nmin_frauds = 100\nsavings = {{ at_least = 0.01 }}\nrecall = {{ at_least = {sum(lows) / 2} }}"
    assert run(rule, events).verdict == "pass"
    assert run(rule, apart).verdict == "inconclusive"


def test_few_clusters_may_fail_where_it_is_plain() -> None:
    few = {"card": pl.col("card") % 10, "terminal": pl.col("terminal") % 10}
    lost = run(FLOOR, shuffled(make_events(40_000, 400)).with_columns(**few))
    assert lost.verdict == "fail"
    assert re.search(r"far beyond the bound \(only 10 (card|terminal) clusters", lost.reason)
    args = {"n_frauds": 400, "min_frauds": 300, "confidence": 0.9}
    rough = Estimate(0.2, reason="only 10 card clusters", se=0.05)
    # 3 × 1.645 × 0.05 = 0.247: 0.4 is not far enough beyond 0.2, 0.45 is
    assert compare("r", "m", rough, 0.40, "at_least", **args).verdict == "inconclusive"  # type: ignore[arg-type]
    assert compare("r", "m", rough, 0.45, "at_least", **args).verdict == "fail"  # type: ignore[arg-type]
    assert compare("r", "m", rough, 0.1, "at_least", **args).verdict == "inconclusive"  # type: ignore[arg-type]


def test_fail_beats_inconclusive() -> None:
    value = floored().metrics["precision"].value
    gate = run(f"[gate]\nmin_frauds = 100\nrecall = {{ at_least = 0.999 }}\nprecision = {{ at_least = {value} }}")
    assert gate.verdict == "fail"
    assert gate.reason.startswith("recall")


def test_min_frauds_is_named() -> None:
    gate = run("[gate]\nsavings = { at_least = 0.3 }\nmin_frauds = 401")
    assert gate.verdict == "inconclusive"
    assert "400 frauds are fewer than the 401" in gate.reason


def test_a_margin_too_small_for_the_data_is_warned_of() -> None:
    events = make_events(600, 60)
    gate = run("[gate]\nsavings = { at_least = 0.1 }\nchampion = { no_worse_than = 0.001 }", events, events)
    assert any("margin 0.001 is smaller" in warning for warning in gate.warnings)


def test_same_input_same_verdict() -> None:
    assert run(FLOOR) == run(FLOOR)


def test_unknown_metric_in_the_gate() -> None:
    with pytest.raises(ProjectError, match="savnigs"):
        make_project("[gate]\nsavnigs = { at_least = 1 }")


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=5)
def test_a_gate_passes_on_itself_where_the_floors_are_met(seed: int) -> None:
    events = make_events(seed=seed)
    gate = run(FLOOR + "champion = {}\n", events, events)
    assert gate.verdict == "pass"
    assert all(np.isfinite(rule.estimate.low) for rule in gate.rules)


def test_events_that_were_prepared_before_and_watched_steps_change_nothing() -> None:
    project = make_project("[gate]\nmin_frauds = 10\n[gate.metrics]\nsavings = { at_least = 0.1 }")
    scored, steps = score(make_events(), project), list[str]()
    judged, policy = prepare(scored, project), bare_policy(project)
    alone = judge(evaluated(scored, project), scored, project=project, policy=policy)
    both = evaluate(scored, project=project, policy=policy, model="m", as_of=None, period=None, judged=judged)
    plain = evaluate(scored, project=project, policy=policy, model="m", as_of=None, period=None)
    assert as_object(both) == as_object(plain)
    again = judge(evaluated(scored, project), scored, project=project, policy=policy, judged=judged, watch=steps.append)
    assert as_object(again) == as_object(alone)
    assert steps == ["events", "rules", "shuffled scores decide", "rules on shuffled scores"]
