"""Rules beside those on decisions: checks of the data, drift of scores and of calibration, overlap."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from decisions_world import START, evaluated, make_events, make_project, score

from fraudctl.checks import CheckReport, Finding
from fraudctl.checks.report import ColumnFacts
from fraudctl.data.labels import UTC_US
from fraudctl.documents.results import as_object
from fraudctl.evaluate import GateResult
from fraudctl.gate import Reference, judge
from fraudctl.gate.data_rules import drift_rule
from fraudctl.gate.words import Frauds
from fraudctl.metrics.drift import AgainstChance, Drift, Effect
from fraudctl.overlap import IdOverlap, overlap, pooled_overlap
from fraudctl.policy import bare_policy

FLOOR = "[gate]\nsavings = { at_least = 0.25 }\nmin_frauds = 100\n"
DRIFT = FLOOR + "drift = {}\n"


def honest(n_events: int = 8000, *, seed: int = 0, weeks: int = 1, shift: float = 0.0) -> pl.DataFrame:
    """Events whose outcomes are drawn from their probabilities, over some weeks."""
    rng = np.random.default_rng(seed)
    events = make_events(n_events, 400, seed=seed)
    odds = rng.normal(-3.0 + shift, 2.0, n_events)
    y_prob = 1 / (1 + np.exp(-odds))
    times = events["event_time"] + pl.Series(rng.integers(0, weeks, n_events)).cast(pl.Int64) * timedelta(days=7)
    label = (rng.random(n_events) < y_prob).astype(np.int8)
    return events.with_columns(event_time=times, y_prob=y_prob, label=pl.Series(label)).sort("event_time")


def run(
    events: pl.DataFrame, more: str = DRIFT, *, reference: pl.DataFrame | None = None, checks: CheckReport | None = None
) -> GateResult:
    project = make_project(more)
    scored = score(events, project)
    known = None if reference is None else Reference(score(reference, project), scored)
    return judge(
        evaluated(scored, project), scored, project=project, policy=bare_policy(project), reference=known,
        checks=checks,
    ).gate  # fmt: skip


def verdicts(gate: GateResult) -> dict[str, str]:
    return {rule.name: rule.verdict for rule in gate.rules}


def before(**more: float) -> pl.DataFrame:
    return honest(16_000, seed=9, weeks=3, **more).with_columns(pl.col("event_time") - timedelta(days=28))


def test_drift_rules_pass_where_nothing_changed() -> None:
    gate = run(honest(), reference=before())
    assert verdicts(gate) == {"savings.at_least": "pass", "drift.scores": "pass", "drift.calibration": "pass"}
    assert gate.verdict == "pass"
    assert "nothing unusual" in gate.rules[1].reason


def test_drift_of_scores_fails_where_they_moved() -> None:
    gate = run(honest(), reference=before(shift=-0.5))
    assert verdicts(gate)["drift.scores"] == "fail"
    assert gate.exit_code == 1
    assert "more than chance" in gate.reason


def test_drift_of_calibration_fails_where_probabilities_double() -> None:
    events = honest()
    gate = run(events.with_columns(y_prob=(2 * pl.col("y_prob")).clip(0, 1)), reference=before())
    assert verdicts(gate)["drift.calibration"] == "fail"


def test_drift_is_inconclusive_where_it_cannot_be_known() -> None:
    assert verdicts(run(honest()))["drift.scores"] == "inconclusive"
    short = before().filter(pl.col("event_time") < START - timedelta(days=25))
    gate = run(honest(), reference=short)
    assert verdicts(gate)["drift.scores"] == "inconclusive"
    assert "days on one side" in gate.reason
    few = run(honest().with_columns(card=pl.col("card") % 10, terminal=pl.col("terminal") % 10), reference=before())
    assert verdicts(few)["drift.calibration"] == "inconclusive"
    needs = run(honest(), DRIFT.replace("100", "5000"), reference=before())
    assert set(verdicts(needs).values()) == {"inconclusive"}


@pytest.mark.parametrize(
    ("value", "change", "n_frauds", "verdict"),
    [(0.4, 0.0, 300, "pass"), (0.4, 0.2, 300, "pass"), (0.4, 0.0, 299, "inconclusive"),
     (0.5, 0.09, 300, "inconclusive"), (0.5, 0.02, 300, "pass"), (9.0, 0.05, 300, "pass"),
     (0.61, 0.11, 10, "fail"), (0.1, 0.11, 10, "fail")],
)  # fmt: skip
def test_what_is_shown_and_matters_fails(value: float, change: float, n_frauds: int, verdict: str) -> None:
    effect = Effect("alert rate", 0.01, 0.011, change, beyond=0.1 if change != 0.2 else 0.3, floor=0.05)
    found = Drift(AgainstChance(value, usual=0.4, limit=0.6), (effect,))
    rule = drift_rule("drift.scores", "score_psi", found, "", Frauds(n_frauds, 300))
    assert rule.verdict == verdict
    assert ("does not matter" in rule.reason) == (verdict == "pass" and value > 0.4)


def test_only_what_is_asked_is_held() -> None:
    more = FLOOR + "drift = { scores = false }\n"
    assert list(verdicts(run(honest(), more))) == ["savings.at_least", "drift.calibration"]


def test_drift_alone_cannot_tell_a_model_from_noise() -> None:
    gate = run(honest(), "[gate]\nmin_frauds = 100\ndrift = {}\n", reference=before())
    assert gate.verdict == "refused"
    assert "add savings" in (gate.hint or "")


def report(*findings: Finding, **more: object) -> CheckReport:
    looked_at = (ColumnFacts("card", "Int64", "entity card", 0, 10),)
    return CheckReport(findings, **{"n_events": 100, "n_mature": 50, "columns": looked_at, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("finding", "rule"),
    [
        ("missing-column", "checks.schema"),
        ("feature-type", "checks.schema"),
        ("amount-unreadable", "checks.schema"),
        ("event-id-conflict", "checks.data"),
        ("time-null", "checks.data"),
        ("label-immature", "checks.maturity"),
        ("label-one-class", "checks.maturity"),
    ],
)
def test_errors_of_the_checks_fail_before_anything_else(finding: str, rule: str) -> None:
    bad = Finding(finding, "error", "card", "something is wrong", hint=None)
    gate = run(honest(), FLOOR, checks=report(bad))
    assert [item.name for item in gate.rules[:3]] == ["checks.schema", "checks.data", "checks.maturity"]
    assert {name for name, verdict in verdicts(gate).items() if verdict == "fail"} == {rule}
    assert gate.verdict == "fail"
    assert gate.reason == "`fraudctl check` finds card: something is wrong"


def test_checks_pass_and_are_inconclusive() -> None:
    fine = run(honest(), FLOOR, checks=report(Finding("time-gap", "warning", "t", "2 days without any event")))
    assert fine.verdict == "pass"
    assert "check: t: 2 days without any event" in fine.warnings
    assert {name: verdict for name, verdict in verdicts(fine).items() if name.startswith("checks")} == {
        "checks.schema": "pass", "checks.data": "pass", "checks.maturity": "pass",
    }  # fmt: skip
    unread = run(honest(), FLOOR, checks=report(n_events=0, n_mature=None, columns=()))
    assert set(list(verdicts(unread).values())[:3]) == {"inconclusive"}
    assert (unread.verdict, unread.exit_code) == ("inconclusive", 5)
    assert unread.rules[0].reason == "nothing is known: no column was looked at"


def test_checks_that_were_not_run_never_pass() -> None:
    project = make_project(FLOOR)
    assert project.gate is not None
    asks = project.model_copy(update={"gate": project.gate.model_copy(update={"checks": True})})
    scored = score(honest(), project)
    gate = judge(evaluated(scored, asks), scored, project=asks, policy=bare_policy(asks)).gate
    assert (gate.rules[0].name, gate.rules[0].verdict, gate.verdict) == ("checks", "inconclusive", "inconclusive")
    assert "were not checked" in gate.reason


def test_warnings_of_the_checks_are_kept_short() -> None:
    many = [Finding("nulls", "warning", f"c{i}", "is null") for i in range(5)]
    gate = run(honest(), FLOOR, checks=report(*many))
    assert gate.warnings[-1] == "check: 2 more warnings; `fraudctl check` lists them"


def test_overlap_by_hand() -> None:
    train = pl.DataFrame({"event_id": [1, 2, 3], "event_time": [START] * 3, "label": [0, 1, 0], "card": [7, 8, None]})
    later = [START + timedelta(days=2, hours=12)] * 4
    test = pl.DataFrame({"event_id": [3, 4, 5, 6], "event_time": later, "label": [1, 1, 0, None],
                         "card": [7, 9, 7, None]})  # fmt: skip
    found = overlap(train, test, entities=["card"])
    # event 3 stands in both; card 7 of 7 and 9 was seen, and has 2 of 4 events and 1 of 2 frauds; null is no card
    assert as_object(found) == {
        "events": 1,
        "gap_days": 2.5,
        "entities": {"card": {"ids": 2, "seen": 1, "share_of_events": 0.5, "share_of_frauds": 0.5}},
        "relabelled": None,
    }
    timeless = [rows.with_columns(event_time=pl.lit(None, dtype=UTC_US)) for rows in (train, test)]
    assert overlap(*timeless, entities=[]).gap_days is None


def test_overlap_of_pooled_periods_holds_each_event_against_its_own_model() -> None:
    # card 2 is known to the second model only, whose period has it twice; event 5 was trained on by the second
    first = (events([1, 2], [1, 1], day=0), events([3, 4], [1, 2], day=5))
    second = (events([3, 4, 5], [1, 2, 3], day=5), events([5, 6, 7], [3, 2, 2], day=7))
    found = pooled_overlap([first, second], entities=["card"])
    # seen: 3 (card 1), not 4 (card 2), then 5 (card 3), 6 and 7 (card 2): 4 of 5 events; ids 1, 2 and 3
    assert found.entities["card"] == IdOverlap(ids=3, seen=3, share_of_events=0.8, share_of_frauds=0.8)
    assert (found.events, found.gap_days) == (1, 2.0)
    assert pooled_overlap([first], entities=["card"]) == overlap(*first, entities=["card"])


def events(ids: list[int], cards: list[int], *, day: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "event_id": ids,
            "event_time": [START + timedelta(days=day)] * len(ids),
            "label": [1] * len(ids),
            "card": cards,
        }
    )
