"""Limits of harm: the same figures as everywhere, and intervals that hold at every look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.monitor.harm import (
    FIGURES,
    LimitVerdict,
    PromisedSavings,
    SureFigure,
    _Bound,
    _rows,
    _verdict,
    limit_verdicts,
    ratio_of,
)
from fraudctl.monitor.judged_rows import JudgedTable
from fraudctl.monitor.outcome import limit_words
from fraudctl.monitor.performance import JudgedCohorts, LabelledFigure, judged_cohorts, performance_of
from fraudctl.monitor.row_arrays import RowArrays
from fraudctl.monitor.seen import SeenEvents
from fraudctl.project.decisions import LimitSection
from fraudctl.project.monitor import SavingsLimitSection

from .conftest import MONDAY, make_decisions, project_of

ENTITIES = '[entities]\ncard = "card"\n'
EVERY_LIMIT = """
recall = { at_least = 0.6 }
value_recall = { at_least = 0.6 }
precision = { at_least = 0.2 }
fraud_loss_bps = { at_most = 20 }
savings = { at_least = 0.2 }
false_positives_per_1000 = { at_most = 5 }
alerts_per_day = { at_most = 9 }
"""


def decided(n_weeks: int = 12, per_week: int = 700, *, seed: int = 0, worse_from: int | None = None) -> pl.DataFrame:
    """Decisions of cards, each with its frauds in a row; from a week on, half of the alerts on frauds are missed."""
    frame = make_decisions(n_weeks, per_week, seed)
    rng = np.random.default_rng([seed, 1])
    frame = frame.with_columns(card=pl.Series(rng.integers(0, frame.height // 6, frame.height)))
    if worse_from is None:
        return frame
    late = pl.col("event_time") >= MONDAY + timedelta(weeks=worse_from)
    lost = late & (pl.col("label") == 1) & pl.Series(rng.random(frame.height) < 0.5)
    return frame.with_columns(action=pl.when(lost).then(pl.lit("allow")).otherwise("action"))


def verdicts(
    frame: pl.DataFrame, weeks: float, harm: str, promised: PromisedSavings | None = None
) -> dict[str, LimitVerdict]:
    project = project_of(f"{ENTITIES}[monitor.harm]\n{harm}")
    judged = judged_cohorts(frame, project, MONDAY + timedelta(weeks=weeks))
    found = limit_verdicts(judged, performance_of(judged), project, promised=promised)
    return {item.figure: item for item in found}


@pytest.fixture(scope="module")
def judged() -> JudgedCohorts:
    return judged_cohorts(decided(), project_of(ENTITIES), MONDAY + timedelta(weeks=12))


def test_events_are_as_much_of_a_fraud_as_their_cohort_is_expected_to_have(judged: JudgedCohorts) -> None:
    events, found = judged.seen.events, judged.found
    place = 2 * events.cohort + events.stratum
    for column in range(judged.seen.values.shape[1]):
        weights = found.chance * judged.seen.values[:, column]
        sums = np.bincount(place, weights=weights, minlength=2 * judged.seen.n_cohorts)
        assert sums.reshape(-1, 2) == pytest.approx(found.estimate[:, :, column], rel=1e-9, abs=1e-9)
    assert ((found.chance >= 0.0) & (found.chance <= 1.0)).all()


@pytest.mark.parametrize("name", FIGURES)
def test_ratios_of_events_are_the_figures_of_performance(judged: JudgedCohorts, name: str) -> None:
    found = performance_of(judged).recent
    assert found is not None
    numbers = np.array(judged.shown(days=28))
    ratio = ratio_of(name, _rows(judged, numbers), judged.base_action)
    assert ratio.value == pytest.approx(getattr(found.outcomes, FIGURES[name]).value)
    assert float(ratio.influence.sum()) == pytest.approx(0.0, abs=1e-9)


def test_a_limit_is_broken_by_a_sequence_and_kept_by_the_interval_of_what_it_will_have_been() -> None:
    frame = decided()
    edges = verdicts(frame, 12, "recall = { at_least = 0.0001 }")["recall"]
    assert edges.low is not None
    assert edges.high is not None
    assert edges.sure is not None
    assert edges.sure.low < edges.low <= edges.high < edges.sure.high
    states = {}
    for at_least in (edges.low - 1e-6, edges.low + 1e-6, edges.high + 1e-6, 0.999):
        (state,) = verdicts(frame, 12, f"recall = {{ at_least = {at_least} }}").values()
        states[at_least] = state.state
    assert list(states.values()) == ["kept", "open", "open", "broken"]
    assert verdicts(frame, 12, "recall = { at_most = 0.05 }")["recall"].state == "broken"


def test_half_of_the_catches_lost_is_found_and_by_the_estimate_before_labels_are_there() -> None:
    frame = decided(14, 1400, worse_from=9)
    harm = "recall = { at_least = 0.55 }"
    assert verdicts(frame, 9, harm)["recall"].state == "kept"
    early = verdicts(frame, 11, harm)["recall"]
    assert early.state == "broken"
    assert early.estimate_alone
    assert early.sure is not None
    assert early.sure.first_day >= (MONDAY + timedelta(weeks=8)).date()
    assert "by the estimate alone" in limit_words(early)
    late = verdicts(frame, 19, harm)["recall"]
    assert late.state == "broken"
    assert not late.estimate_alone
    assert late.sure is not None
    assert late.sure.basis == "closed"
    assert "estimate" not in limit_words(late)


@pytest.fixture(scope="module")
def true_recall() -> float:
    """What recall is in the long run."""
    frauds = decided(40, 2000, seed=100).filter(pl.col("label") == 1)
    return frauds.filter(pl.col("action") != "allow").height / frauds.height


@pytest.mark.parametrize("seed", range(4))
def test_a_limit_at_the_truth_is_not_broken_by_looking_every_day(seed: int, true_recall: float) -> None:
    """The hardest null: the bound is what the figure is in the long run, and one looks every other day."""
    frame = decided(12, 500, seed=seed)
    looks = [verdicts(frame, 8 + day / 7, f"recall = {{ at_least = {true_recall:.4f} }}") for day in range(0, 28, 2)]
    assert "broken" not in {item["recall"].state for item in looks}


def test_sequences_are_wider_where_cards_go_together() -> None:
    frame = decided()
    alone = verdicts(frame, 19, "recall = { at_least = 0.5 }")["recall"].sure
    # each event three times on one card: three times as many events, and no more that is known
    thrice = pl.concat([frame.with_columns(event_id=pl.col("event_id") + 100_000 * at) for at in range(3)])
    same = thrice.with_columns(card=pl.col("event_id") % 100_000).sort("event_time", "event_id")
    apart = thrice.with_columns(card=pl.col("event_id")).sort("event_time", "event_id")
    together, each = (verdicts(item, 19, "recall = { at_least = 0.5 }")["recall"].sure for item in (same, apart))
    assert alone is not None
    assert together is not None
    assert each is not None
    assert together.value == pytest.approx(alone.value, abs=0.03)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert each.high - each.low < 0.75 * (together.high - together.low)


def test_savings_are_held_against_the_promotion() -> None:
    frame = decided()
    now = verdicts(frame, 19, "savings = { at_least = 0.001 }")["savings"].value
    assert now is not None
    harm = "savings = { no_worse_than = 0.05 }"
    base = "block"

    def state(value: float | None, se: float = 0.0) -> LimitVerdict:
        return verdicts(frame, 19, harm, PromisedSavings("2026-01-01-aaaaaaaa", value, se, base))["savings"]

    kept = state(now + 0.02)
    assert (kept.state, kept.at_least) == ("kept", pytest.approx(now - 0.03))
    broken = state(now + 0.9)
    assert broken.state == "broken"
    assert "at promotion, no worse than by 0.05" in limit_words(broken)
    # what the gate knew badly is no promise: the interval allows for its error
    assert state(now + 0.9, se=0.5).state == "open"
    assert verdicts(frame, 19, harm)["savings"].state == "unknown"
    unknown = state(None)
    assert unknown.state == "unknown"
    assert "fraudctl evaluate -m 2026-01-01-aaaaaaaa" in (unknown.reason or "")


def test_the_stricter_of_two_bounds_of_savings_counts() -> None:
    limit = SavingsLimitSection(at_least=0.5, no_worse_than=0.05)
    assert _Bound.of(limit, PromisedSavings("m", 0.6, 0.1, "block")).low == pytest.approx(0.55)
    strict = _Bound.of(limit, PromisedSavings("m", 0.5, 0.1, "block"))
    assert (strict.low, strict.promised_se) == (0.5, 0.0)
    with pytest.raises(ValueError, match="needs no_worse_than"):
        SavingsLimitSection()


def test_few_frauds_break_no_limit() -> None:
    frame = decided().with_columns(label=pl.when(pl.col("event_id") % 60 == 0).then("label").otherwise(0).cast(pl.Int8))
    found = verdicts(frame, 19, "recall = { at_least = 0.999 }")["recall"]
    assert found.sure is None
    assert found.state == "open"


def test_alerts_a_day_are_counted_and_have_no_error() -> None:
    found = verdicts(decided(), 12, "alerts_per_day = { at_most = 1 }")["alerts_per_day"]
    assert (found.state, found.sure, found.low) == ("broken", None, found.high)
    assert verdicts(decided(), 12, "alerts_per_day = { at_most = 9999 }")["alerts_per_day"].state == "kept"


def test_closed_cohorts_judge_where_no_recent_week_can_be_told(judged: JudgedCohorts) -> None:
    found = performance_of(judged)
    recent = found.recent
    assert recent is not None
    hidden = replace(recent.outcomes, recall=LabelledFigure(None, None, None, None, "no fraud"))
    silent = replace(found, recent=replace(recent, outcomes=hidden))

    class Sequences:
        def farthest(self, name: str, bound: _Bound) -> SureFigure:
            day = MONDAY.date()
            return SureFigure("closed", day, day + timedelta(days=28), 1.0, 0.3, 0.2, 0.4)

    verdict = _verdict("recall", LimitSection(at_least=0.6), silent, Sequences(), None)  # type: ignore[arg-type]
    assert verdict.state == "broken"
    assert "0.3 (0.2 to 0.4" in limit_words(verdict)
    calm = _verdict("recall", LimitSection(at_least=0.3), silent, Sequences(), None)  # type: ignore[arg-type]
    assert calm.state == "unknown"


def test_before_any_cohort_is_shown_nothing_is_said_of_a_limit() -> None:
    found = verdicts(decided(2), 0.5, EVERY_LIMIT)
    assert len(found) == 7
    assert {item.state for item in found.values()} == {"unknown"}


@pytest.mark.parametrize("never", ["block", "review", "allow"])
def test_an_action_that_was_never_taken_is_no_matter(never: str) -> None:
    project, at = project_of(f"{ENTITIES}[monitor.harm]\n{EVERY_LIMIT}"), MONDAY + timedelta(weeks=12)
    frame = decided().filter(pl.col("action") != never)
    coded = frame.with_columns(pl.col("action").cast(pl.Enum(frame["action"].unique().sort())))
    whole, codes = (judged_cohorts(item, project, at) for item in (frame, coded))
    assert (codes.seen.codes == whole.seen.codes).all()
    assert limit_verdicts(codes, performance_of(codes), project) == limit_verdicts(
        whole, performance_of(whole), project
    )


@pytest.mark.parametrize("size", [1_000, 7_321, 10**6])
def test_decisions_in_parts_and_files_say_what_they_say_in_memory(size: int, tmp_path: Path) -> None:
    project, at = project_of(f"{ENTITIES}[monitor.harm]\n{EVERY_LIMIT}"), MONDAY + timedelta(weeks=12)
    frame = decided(worse_from=6)

    def read(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        yield from (frame[start : start + size].select(columns) for start in range(0, frame.height, size))

    table = JudgedTable(tuple(frame.columns), read, RowArrays(tmp_path))
    whole, apart = (judged_cohorts(item, project, at) for item in (frame, table))
    found, again = performance_of(whole), performance_of(apart)
    assert again == found
    assert limit_verdicts(apart, again, project) == limit_verdicts(whole, found, project)
    for field in fields(SeenEvents):
        one, other = getattr(whole.seen, field.name), getattr(apart.seen, field.name)
        if isinstance(one, np.ndarray):
            assert (one == other).all(), field.name
    assert (whole.found.chance == apart.found.chance).all()
    assert list(tmp_path.iterdir()) == []  # files of arrays have no names
