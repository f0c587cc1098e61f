"""Rules of the gate beside those on decisions: whether the data are in order, and scores and probabilities still hold.

A rule on data counts errors; one on drift holds a statistic against its own null distribution. They never tell a model
from noise, and so take no part in the negative control.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from fraudctl.checks import CheckReport, Finding
from fraudctl.evaluate.judged import Judged
from fraudctl.evaluate.result import RuleResult, Verdict
from fraudctl.metrics.drift import MIN_DAYS, AgainstChance, calibration_drift, score_drift
from fraudctl.policy.bids import local_period
from fraudctl.project import Project
from fraudctl.project.evaluation import DriftRuleSection
from fraudctl.uncertainty import Estimate, too_few, undefined, widest_way

SCORES = "score_psi"
"""Metric of the rule on drift of scores: their population stability index."""

_SCHEMA = ("no-rows", "missing-column", "feature-type", "label-values")
_SCHEMA_ENDS = ("-type", "-unreadable", "-unusable")


@dataclass(frozen=True)
class Reference:
    """Scores of one and the same model before its test period and in it: ``event_time`` and ``y_prob``.

    Before are the events between its training period and its as_of: their labels had not arrived, so that it has not
    seen them either. Fold predictions would not do: each fold has a model of its own, with scores of its own.
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
    if errors:
        first = f"{errors[0].where}: {errors[0].what}"
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        verdict: Verdict = "fail"
        reason = f"`fraudctl check` finds {first}{more}"
    elif unread is not None:
        verdict, reason = "inconclusive", f"nothing is known: {unread}"
    else:
        verdict, reason = "pass", "`fraudctl check` finds no error"
    found = undefined(unread) if verdict == "inconclusive" and unread else Estimate(float(len(errors)))
    return RuleResult(name, verdict, "errors", found, 0.0, "at_most", reason)


def check_warnings(report: CheckReport, *, most: int = 3) -> Iterator[str]:
    """Yield what the checks warn of, the first few of it."""
    warned = [item for item in report.findings if item.severity == "warning"]
    yield from (f"check: {item.where}: {item.what}" for item in warned[:most])
    if len(warned) > most:
        yield f"check: {len(warned) - most} more warnings; `fraudctl check` lists them"


def drift_rules(
    section: DriftRuleSection,
    judged: Judged,
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
    if section.scores:
        drift = None if reference is None else _scores(reference, project, seed, section.chance)
        missing = (
            "there are no scores of this model from before the period to compare with"
            if reference is None or reference.before.is_empty()
            else f"fewer than {MIN_DAYS} days on one side: how much days differ by chance is not known"
        )
        yield drift_rule("drift.scores", SCORES, drift, missing, judged.n_frauds, min_frauds)
    if section.calibration:
        few = too_few(judged.clusters, judged.y_true == 1)
        held = None if few is not None else _calibration(judged, seed, section.chance)
        yield drift_rule("drift.calibration", "ece", held, few or "", judged.n_frauds, min_frauds)


def _scores(reference: Reference, project: Project, seed: int, chance: float) -> AgainstChance | None:
    sides = (reference.before, reference.during)
    scores = [side["y_prob"].to_numpy() for side in sides]
    days = [local_period(side["event_time"], "day", project.data.timezone) for side in sides]
    return score_drift(scores[0], scores[1], reference_day=days[0], current_day=days[1], seed=seed, chance=chance)


def _calibration(judged: Judged, seed: int, chance: float) -> AgainstChance:
    gap = judged.weight * (judged.y_prob - (judged.y_true == 1))
    way = widest_way(np.asarray(gap / judged.weight.sum()), judged.clusters)
    return calibration_drift(judged.y_true, judged.y_prob, judged.weight, way.codes, seed=seed, chance=chance)


def drift_rule(
    name: str, metric: str, found: AgainstChance | None, missing: str, n_frauds: int, min_frauds: int
) -> RuleResult:
    """Fail beyond what chance shows, pass within what is usual; in between, or with too few frauds, nobody can tell."""
    if found is None:
        return RuleResult(name, "inconclusive", metric, undefined(missing), 0.0, "at_most", f"{metric}: {missing}")
    told = f"{metric} {found.value:.4g}; chance alone shows up to {found.usual:.4g}, seldom {found.limit:.4g}"
    verdict: Verdict = "inconclusive"
    if found.value > found.limit:
        verdict, reason = "fail", f"{told}: it has changed by more than chance"
    elif found.value > found.usual:
        reason = f"{told}: it may have changed"
    elif n_frauds < min_frauds:
        reason = f"{told}: usual, but {n_frauds} frauds are fewer than the {min_frauds} that a pass needs"
    else:
        verdict, reason = "pass", f"{told}: nothing unusual"
    return RuleResult(name, verdict, metric, Estimate(found.value), found.limit, "at_most", reason)
