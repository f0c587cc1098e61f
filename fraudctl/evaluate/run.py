"""Evaluation of one model and its policy on events with known outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import polars as pl

from fraudctl.costs import null_amounts, perfect_cost
from fraudctl.errors import DataError
from fraudctl.evaluate.estimates import estimate, metric_list, nothing_known, ratio_of, value_recall_of
from fraudctl.evaluate.judged import EvaluatedEvents, prepare
from fraudctl.evaluate.result import (
    ActionOutcome,
    AssumedOutcome,
    CostSums,
    Evaluation,
    Excluded,
    FraudValue,
    ImmatureOutcomes,
    MoneyOutcome,
    Period,
)
from fraudctl.evaluate.tables import by_segment, draw_tables, on_control_group
from fraudctl.metrics import ratios
from fraudctl.metrics.ratios import Ratio
from fraudctl.policy.decide import Policy
from fraudctl.progress import Watch
from fraudctl.project import Project
from fraudctl.split import RandomSplit, TimeSplit
from fraudctl.uncertainty import Estimate, RankingIntervals, ratio_estimate, undefined

DEFAULT_CONFIDENCE = 0.90


def evaluate(
    scored: pl.DataFrame,
    *,
    project: Project,
    policy: Policy,
    model: str,
    as_of: datetime | None,
    period: Period | None,
    excluded: Excluded | None = None,
    seed: int = 0,
    immature: pl.DataFrame | None = None,
    split: TimeSplit | RandomSplit | None = None,
    progress: Callable[[str, int, int], object] | None = None,
    judged: EvaluatedEvents | None = None,
) -> Evaluation:
    """Compute every metric with its interval, in numbers and in money.

    Parameters
    ----------
    scored
        Evaluated events in time order, from `decide_frame`; every label known.
    project
        Its present costs, entities and evaluation settings.
    policy
        The model's frozen policy, for the record.
    model
        Version of the model.
    as_of
        What its training knew; None for a random split.
    period
        Of the evaluated events; None for a random split.
    excluded
        Events of the period that were left out, by reason.
    seed
        Of the bootstrap.
    immature
        The immature events of the period, from `decide_frame`; they never vote, and only give bounds.
    split
        How the events were parted from those trained on; by default by time.
    progress
        Called with what is done, metrics done, and metrics in all.
    judged
        What `prepare` gives of ``scored``, where that is at hand.
    """
    progress = progress or _silent
    judged = judged or prepare(scored, project)
    confidence = DEFAULT_CONFIDENCE if project.gate is None else project.gate.confidence
    settings = RankingIntervals(project.evaluate.replicates, seed, confidence)
    metrics = _metrics(judged, settings, progress)

    def watch(step: str) -> None:
        progress(step, len(metrics), len(metrics))

    return Evaluation(
        model=model,
        as_of=as_of,
        period=period,
        rows=judged.n_events,
        frauds=judged.n_frauds,
        excluded=excluded or Excluded(),
        metrics=metrics,
        by_action=_by_action(judged, confidence),
        money=_money(judged),
        policy=policy,
        costs=judged.matrix,
        confidence=confidence,
        tables=replace(
            draw_tables(judged, watch=watch),
            by_segment=by_segment(scored, judged, project, confidence),
            control_group=on_control_group(scored, judged, project, settings),
            immature=_immature_bounds(scored, immature, project, watch),
        ),
        clusters=_clusters(judged),
        widened_for=tuple(way.name for way in judged.clusters.coarse),
        not_clustered=judged.clusters.left,
        warnings=_warnings(scored, judged, project),
        split=split or TimeSplit(),
        timezone=project.data.timezone,
    )


def _silent(*_: object) -> None:
    """Listen to no progress."""


def _metrics(
    judged: EvaluatedEvents, settings: RankingIntervals, progress: Callable[[str, int, int], object]
) -> dict[str, Estimate]:
    """Return every metric with its interval, in the order of the reports."""
    names, found = metric_list(judged), dict[str, Estimate]()
    for done, name in enumerate(names):
        progress(name, done, len(names))

        def watch(drawn: int, of: int, name: str = name, done: int = done) -> None:
            progress(f"{name}, replicate {drawn} of {of}", done, len(names))

        found[name] = estimate(name, judged, replace(settings, watch=watch))
    progress("actions", len(names), len(names))
    return found


def pool(weeks: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put scored events of several periods together, each decided by the model of its own time.

    A difference that one week cannot settle may be settled by three. Pool the champion's weeks in the same way, and
    give both to `fraudctl.gate.judge`.

    Raises
    ------
    DataError
        There is no period, or an event stands in two of them.
    """
    if not weeks:
        msg = "there are no periods to pool"
        raise DataError(msg)
    whole = pl.concat([week.select(weeks[0].columns) for week in weeks]).sort("event_time", "event_id")
    twice = whole.height - whole["event_id"].n_unique()
    if twice:
        msg = f"{twice} events stand in more than one of the periods to pool"
        raise DataError(msg, hint="pool periods that do not overlap")
    return whole


def _immature_bounds(
    scored: pl.DataFrame, immature: pl.DataFrame | None, project: Project, watch: Watch
) -> ImmatureOutcomes | None:
    """Return what a few metrics would be if every immature event turned out fraud, and if every one legitimate."""
    if immature is None or immature.height == 0:
        return None
    watch("bounds by immature events")
    legit, fraud = (_with_outcome(scored, immature, project, outcome) for outcome in (0, 1))
    return ImmatureOutcomes(legit, fraud)


def _with_outcome(scored: pl.DataFrame, immature: pl.DataFrame, project: Project, outcome: int) -> AssumedOutcome:
    labelled = immature.with_columns(pl.lit(outcome, dtype=pl.Int8).alias("label"))
    judged = prepare(pl.concat([scored, labelled.select(scored.columns)]), project)
    found = {name: ratio_of(name, judged) for name in ("savings", "cost", "precision", "recall")}
    known = nothing_known(judged) is None
    values = {name: ratio.value if known and ratio and not ratio.reason else None for name, ratio in found.items()}
    return AssumedOutcome(**values, savings_base=judged.base.chosen)


def _clusters(judged: EvaluatedEvents) -> dict[str, int]:
    return dict(zip(judged.clusters.names, judged.clusters.counts(judged.y_true == 1), strict=True))


def _warnings(scored: pl.DataFrame, judged: EvaluatedEvents, project: Project) -> tuple[str, ...]:
    found = [] if project.data.times_note is None else [project.data.times_note]
    count = null_amounts(scored, judged.matrix)
    if count:
        found.append(f"{count} of {judged.n_events} events have no amount; a cost with a rate counts it as 0")
    if judged.missing_scores:
        found.append(f"{judged.missing_scores} of {judged.n_events} events have no usable y_prob: no metric is known")
    return tuple(found)


def _by_action(judged: EvaluatedEvents, confidence: float) -> dict[str, ActionOutcome]:
    if nothing_known(judged) is not None:
        return {}
    return {action: _one_action(judged, code, confidence) for code, action in enumerate(judged.matrix.actions)}


def _one_action(judged: EvaluatedEvents, code: int, confidence: float) -> ActionOutcome:
    taken, y_true, w = judged.codes == code, judged.y_true, judged.weight

    def known(ratio: Ratio) -> Estimate:
        if ratio.reason:
            return undefined(ratio.reason)
        return ratio_estimate(ratio, judged.clusters, confidence=confidence, bounds=(0.0, 1.0))

    return ActionOutcome(
        events=int(taken.sum()),
        frauds=int((taken & (y_true == 1)).sum()),
        legit=int((taken & (y_true != 1)).sum()),
        cost=float((w * judged.cost_taken)[taken].sum()),
        precision=known(ratios.precision(y_true, taken, weight=w)),
        recall=known(ratios.recall(y_true, taken, weight=w)),
        rate=known(ratios.alert_rate(taken, weight=w)),
        false_positive_rate=known(ratios.false_positive_rate(y_true, taken, weight=w)),
        value_recall=known(value_recall_of(judged, taken)),
    )


def _money(judged: EvaluatedEvents) -> MoneyOutcome:
    """Return the sums behind `savings`, in the project's currency."""
    currency = judged.matrix.currency
    if nothing_known(judged) is not None:
        return MoneyOutcome(currency)
    sums = CostSums(
        cost=float((judged.weight * judged.cost_taken).sum()),
        baseline=judged.base.chosen,
        constants=judged.base.constants,
        block_action=judged.matrix.actions[judged.matrix.block_code],
        perfect_cost=float((judged.weight * perfect_cost(judged.cost_table, judged.y_true)).sum()),
        perfect_without_capacity=judged.reach is not None,
        value=_value(judged),
    )
    return MoneyOutcome(currency, sums)


def _value(judged: EvaluatedEvents) -> FraudValue | None:
    value = judged.fraud_value
    if value is None:
        return None
    return FraudValue(
        fraud_amount=float(value.sum()),
        fraud_amount_alerted=float(value[judged.alert].sum()),
        fraud_amount_missed=float(value[~judged.alert].sum()),
    )
