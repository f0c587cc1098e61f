"""What a gate's verdict rests on, for the registry: the period, the rules, and whatever was chosen by hand."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.documents.results import as_json
from fraudctl.project import Project

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.bundle import Bundle
    from fraudctl.documents.types import JsonObject
    from fraudctl.evaluate import Evaluation, Period
    from fraudctl.evaluate.result import RuleResult
    from fraudctl.monitor.harm import PromisedSavings
    from fraudctl.workflows.decide import DecidedPeriod, Decisions

DECIDING = ("costs", "evaluate", "gate")
"""Sections of the present project file that decide a verdict."""


def section_digests(project: Project) -> dict[str, str]:
    """Return a SHA-256 of the meaning of each section that decides a verdict; comments and spaces do not count.

    ``data`` and ``sources`` stand for the places of the data alone; all else of them is kept by the bundle.

    Parameters
    ----------
    project
        The project as of the bundle that is judged, see `lineage.judging_project`.
    """
    sections = {name: getattr(project, name) for name in DECIDING}
    documents = {name: None if item is None else item.model_dump(mode="json") for name, item in sections.items()}
    documents["data"] = project.data.events
    documents["sources"] = {name: section.events for name, section in project.sources.items()}
    return {name: _digest(document) for name, document in documents.items()}


def events_between(frame: pl.DataFrame, from_time: datetime, until: datetime) -> int:
    """Return how many events of a table, labelled or not, lie in ``[from_time, until)``."""
    times = frame["event_time"]
    return int(((times >= from_time) & (times < until)).sum())


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def evaluation_digest(evaluation: Evaluation) -> str:
    """Return the SHA-256 of an evaluation by which the registry knows it."""
    return _digest(as_json(evaluation))


def gate_evidence(
    decisions: Decisions,
    evaluation: Evaluation,
    *,
    by_hand: Sequence[str],
    scores: Path | None,
    n_periods: int,
    report: Path | None,
) -> JsonObject:
    """Return, as JSON, what a verdict rests on.

    Parameters
    ----------
    by_hand
        What was chosen by the person who ran the gate, as `not_own` says.
    scores
        File whose scores were judged instead of the model's.
    n_periods
        Periods that were pooled.
    report
        The HTML report of the evaluation, where one was written.
    """
    from fraudctl.gate.rules import gate_document

    project, rules = decisions.project, decisions.project.gate
    return {
        "not_own": by_hand,
        "period": as_json(evaluation.period),
        "pooled": n_periods,
        "events": evaluation.rows,
        "frauds": evaluation.frauds,
        "rules": [_rule(rule) for rule in evaluation.gate.rules],
        "savings": _savings(evaluation),
        "gate": None if rules is None else gate_document(rules),
        "sections": section_digests(project),
        "data": decisions.table.fingerprint,
        "scores": None if scores is None else hashlib.sha256(scores.read_bytes()).hexdigest(),
        "project_file": hashlib.sha256(decisions.present.text.encode()).hexdigest(),
        "evaluation": evaluation_digest(evaluation),
        "report": None if report is None else hashlib.sha256(report.read_bytes()).hexdigest(),
    }


def _rule(rule: RuleResult) -> JsonObject:
    found = rule.estimate
    figures = {"bound": rule.bound, "value": found.value, "low": found.low, "high": found.high}
    return {
        "name": rule.name,
        "verdict": rule.verdict,
        "direction": rule.direction,
        **{name: _finite(value) for name, value in figures.items()},
    }


def _savings(evaluation: Evaluation) -> JsonObject | None:
    """Return savings with their standard error and what they are measured against; None where there are none.

    `monitor` holds later savings against these.
    """
    found = evaluation.metrics.get("savings")
    if found is None or found.value is None:
        return None
    base = None if found.base is None else found.base.action
    return {"value": _finite(found.value), "se": _finite(found.se), "base": base}


def promised_savings(project: Project, models: pl.Series) -> PromisedSavings | None:
    """Return the savings of the gate that the promotion of a model rests on; None where it was never promoted.

    Parameters
    ----------
    models
        That took the decisions, in the order of time: that of the latest one is meant.

    Raises
    ------
    BundleError
        The log of the registry is damaged.
    """
    from fraudctl.monitor.harm import PromisedSavings
    from fraudctl.registry import deciding_gate, history

    named = models.drop_nulls()
    if not len(named):
        return None
    version, entries = str(named[-1]), history(project.models_dir)
    places = [
        at for at, item in enumerate(entries) if item.event in ("promote", "rollback") and item.version == version
    ]
    if not places:
        return None
    gate = deciding_gate(entries[: places[-1]], version)
    found = None if gate is None or gate.evidence is None else gate.evidence.get("savings")
    if found is None or found.get("value") is None:
        return PromisedSavings(version, None)
    return PromisedSavings(version, float(found["value"]), float(found.get("se") or 0.0), found.get("base"))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _other_events(decisions: Decisions, bundle: Bundle, period: Period) -> Iterator[str]:
    """Say in what the events of a period are not those of the model's own test period."""
    start, until = bundle.knows_until, datetime.fromisoformat(bundle.facts["test_until"])
    if (period.from_time, period.until) != (start, until):
        yield (
            f"the period {period.from_time.isoformat()} to {period.until.isoformat()} was chosen by hand; the model's "
            f"own test period is {start.isoformat()} to {until.isoformat()}"
        )
    gone = bundle.facts.get("test_events", 0) - events_between(decisions.table.spine, start, until)
    if gone > 0:
        yield f"{gone:,} of the {bundle.facts['test_events']:,} events that the test period had in training are gone"


def not_own(decisions: Decisions, decided: DecidedPeriod, *, scores: Path | None, n_periods: int) -> list[str]:
    """Return what was chosen by the person who ran a gate, instead of taken from the model and its project."""
    from fraudctl.gate.rules import weaker
    from fraudctl.workflows.lineage import own_project

    bundle = decisions.bundle
    if bundle is None:
        return ["there is no bundle"]
    own, now, found = own_project(bundle, decisions.present), decisions.project, []
    if scores is not None:
        found.append(f"scores came from the file {scores.name}")
    if decided.period is not None:
        found += _other_events(decisions, bundle, decided.period)
    asked = 1 if now.gate is None else now.gate.pooled_folds
    if n_periods != asked and scores is None and not found:
        found.append(f"{n_periods} periods were judged together, [gate] pooled_folds says {asked}")
    less = weaker(now.gate, own.gate)
    if less:
        found.append(f"the rules are weaker than those that the model was trained under: {', '.join(less)}")
    if now.evaluate.block_known != own.evaluate.block_known:
        found.append("[evaluate] block_known is not that of the model, so other events were left out")
    return found
