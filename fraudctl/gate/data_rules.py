"""Rules of the gate on data and scores: whether the data are in order, and whether the distribution of scores holds.

A rule on data counts errors; one on drift asks whether a shift matters and is more than chance. They never tell a model
from noise, and so take no part in the negative control.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from fraudctl.checks import CheckReport, Finding
from fraudctl.costs import FRAUD, LEGIT, cost_matrix, expected_cost
from fraudctl.evaluate.judged import EvaluatedEvents
from fraudctl.evaluate.result import RuleResult, Verdict
from fraudctl.gate.words import Frauds, checks_reason, drift_reason, drift_unknown
from fraudctl.metrics.drift import (
    MIN_DAYS,
    Drift,
    Floors,
    Promised,
    Scored,
    calibration_drift,
    score_drift,
)
from fraudctl.policy.bids import local_period
from fraudctl.populations import Population, comparable
from fraudctl.project import Project
from fraudctl.project.evaluation import DriftRuleSection
from fraudctl.uncertainty import Estimate, too_few, undefined

SCORES = "score_psi"
"""Metric of the rule on drift of scores: their population stability index."""

_SCHEMA = ("no-rows", "missing-column", "feature-type", "label-values")
_SCHEMA_ENDS = ("-type", "-unreadable", "-unusable")


@dataclass(frozen=True)
class Reference:
    """Decisions of one and the same model before its test period and in it: ``event_time``, ``y_prob``, ``action``.

    Before are the events between its training period and its as_of: their labels had not arrived, so that it has not
    seen them either. Fold predictions would not do: each fold has a model of its own, with scores of its own. Both
    sides are all events that were decided, labelled or not, with the columns that costs read.
    """

    before: pl.DataFrame
    during: pl.DataFrame


def check_rules(report: CheckReport | None) -> Iterator[RuleResult]:
    """Yield the rules on schema, data and maturity: an error that `fraudctl check` finds is a fail.

    Data that were not checked, without a column or a row, or whose labels could not be read, are inconclusive: nothing
    is known of them.
    """
    if report is None:
        yield _check_rule("checks", [], "the data were not checked")
        return
    errors = [item for item in report.findings if item.severity == "error"]
    kinds: dict[str, list[Finding]] = {"schema": [], "data": [], "maturity": []}
    for item in errors:
        kinds[_kind(item.id)].append(item)
    unread = {
        "schema": None if report.columns else "no column was looked at",
        "data": "the table has no rows" if report.n_events == 0 else None,
        "maturity": "outcomes and their ages could not be read" if report.n_mature is None else None,
    }
    for kind, found in kinds.items():
        yield _check_rule(f"checks.{kind}", found, unread[kind])


def _kind(finding: str) -> str:
    if finding in _SCHEMA or finding.endswith(_SCHEMA_ENDS):
        return "schema"
    return "maturity" if finding.startswith("label-") else "data"


def _check_rule(name: str, errors: list[Finding], unread: str | None) -> RuleResult:
    verdict: Verdict = "fail" if errors else "pass" if unread is None else "inconclusive"
    found = undefined(unread) if verdict == "inconclusive" and unread else Estimate(float(len(errors)))
    return RuleResult(name, verdict, "errors", found, 0.0, "at_most", checks_reason(tuple(errors), unread))


def check_warnings(report: CheckReport, *, most: int = 3) -> Iterator[str]:
    """Yield what the checks warn of, the first few of it."""
    warned = [item for item in report.findings if item.severity == "warning"]
    yield from (f"check: {item.where}: {item.what}" for item in warned[:most])
    if len(warned) > most:
        yield f"check: {len(warned) - most} more warnings; `fraudctl check` lists them"


def drift_rules(
    section: DriftRuleSection,
    judged: EvaluatedEvents,
    reference: Reference | None,
    *,
    project: Project,
    seed: int,
    min_frauds: int,
) -> Iterator[RuleResult]:
    """Yield the rules on drift.

    Parameters
    ----------
    section
        What is asked, and how often it may fail by chance.
    judged
        The evaluated events.
    reference
        Scores to compare, and with what; None where there are none.
    project
        Its time zone, and whether the data have a time.
    seed
        Of the null distributions.
    min_frauds
        Frauds that a pass needs.
    """
    frauds = Frauds(judged.n_frauds, min_frauds)
    floors = Floors(section.alert_rate, section.expected_cost)
    if section.scores:
        drift = None if reference is None else _scores(reference, project, floors, seed, section.chance)
        missing = (
            "there are no scores of this model from before the period to compare with"
            if reference is None or reference.before.is_empty()
            else f"fewer than {MIN_DAYS} days on one side: how much days differ by chance is not known"
        )
        yield drift_rule("drift.scores", SCORES, drift, missing, frauds)
    if section.calibration:
        few = too_few(judged.clusters, judged.y_true == 1)
        held = None if few is not None else _calibration(judged, floors, seed, section.chance)
        yield drift_rule("drift.calibration", "ece", held, few or "", frauds)


def _scores(reference: Reference, project: Project, floors: Floors, seed: int, chance: float) -> Drift | None:
    sides = comparable(reference.before, reference.during, Population.DECIDED)
    if sides.before.is_empty() or sides.now.is_empty():
        return None
    frame = pl.concat([side.select(sorted(set(sides.before.columns) & set(sides.now.columns))) for side in sides.both])
    matrix = cost_matrix(project.costs)
    codes = frame["action"].replace_strict({name: matrix.code(name) for name in matrix.actions}, return_dtype=pl.Int64)
    rows, taken = np.arange(frame.height), codes.to_numpy()
    y_prob = frame["y_prob"].to_numpy()
    events = Scored(
        now=rows >= sides.before.height,
        score=y_prob,
        alert=taken != matrix.pass_code,
        cost=expected_cost(matrix.per_event(frame), y_prob)[rows, taken],
        day=local_period(frame["event_time"], "day", project.data.timezone),
        window_days=_longest_window(project),
    )
    return score_drift(events, floors=floors, seed=seed, chance=chance)


def _longest_window(project: Project) -> float:
    """Return the longest window of a feature in days; infinite where a feature looks back without an end."""
    features = project.features
    if features.recency or features.pairs:
        return math.inf
    windows = [item.us for spec in features.window for item in spec.windows]
    windows += [item.us for spec in features.labels for item in spec.windows]
    return max(windows, default=0) / 86_400_000_000


def _calibration(judged: EvaluatedEvents, floors: Floors, seed: int, chance: float) -> Drift:
    rows = np.arange(judged.n_events)
    taken = judged.cost_table[rows, judged.codes.astype(np.int64)]
    events = Promised(
        y_true=judged.y_true,
        y_prob=judged.y_prob,
        weight=judged.weight,
        stake=taken[:, FRAUD] - taken[:, LEGIT],
        cost=judged.y_prob * taken[:, FRAUD] + (1.0 - judged.y_prob) * taken[:, LEGIT],
        ways=judged.clusters.codes,
    )
    return calibration_drift(events, floors=floors, seed=seed, chance=chance)


def drift_rule(name: str, metric: str, found: Drift | None, missing: str, frauds: Frauds) -> RuleResult:
    """Fail a shift that matters and is shown; pass one that does not matter or is usual; else it cannot be known."""
    if found is None:
        reason = drift_unknown(metric, missing)
        return RuleResult(name, "inconclusive", metric, undefined(missing), 0.0, "at_most", reason)
    figure = found.statistic
    verdict: Verdict = "pass"
    if found.shown:
        verdict = "fail"
    elif (found.matters and figure.value > figure.usual) or frauds.too_few:
        verdict = "inconclusive"
    reason = drift_reason(metric, found, frauds)
    return RuleResult(name, verdict, metric, Estimate(figure.value), figure.limit, "at_most", reason)
