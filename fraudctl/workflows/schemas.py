"""JSON Schemas of everything that commands print as a document of its own: one list of kinds."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fraudctl.documents.types import JsonObject


class SchemaKind(StrEnum):
    """A document with a JSON Schema."""

    PROJECT = "project"
    """``fraudctl.toml``."""
    EVALUATION = "evaluation"
    """``evaluate --json``."""
    EXPLANATION = "explanation"
    """``explain --json``."""
    EVENT = "event"
    """``explain --event ID --json``."""
    TRAINING = "training"
    """``train --json`` and ``threshold --json``."""
    CHECK = "check"
    """``check --json``."""
    GATE = "gate"
    """The key ``gate`` of an evaluation; it has the version of the evaluation."""
    COMPARISON = "comparison"
    """``compare --json``."""
    CARD = "card"
    """``models card --json``."""
    MONITOR = "monitor"
    """``monitor --json``."""
    LINEAGE = "lineage"
    """``models lineage --json``; the file that it names holds OpenLineage events."""
    EXPORT = "export"
    """``models export --json``."""
    RETRAINING = "retraining"
    """``retrain --json``."""
    DASHBOARD = "dashboard"
    """``dashboard --json``."""
    AB = "ab"
    """``ab NAME --json``."""
    AB_PLAN = "ab-plan"
    """``ab plan --json``."""


def json_schema_of(kind: SchemaKind) -> JsonObject:
    """Return the JSON Schema (draft 2020-12) of a document.

    That of a result has an ``$id`` with its name and ``schema_version``, and a description of every key.

    Parameters
    ----------
    kind
        Which document.
    """
    if kind is SchemaKind.PROJECT:
        from fraudctl.project import json_schema

        return json_schema()
    from fraudctl.documents.schemas import schema_of

    result = _results()[kind]
    return schema_of(result, name=kind.value, version=_version(result))


def _results() -> dict[SchemaKind, type]:
    from fraudctl.checks.report import CheckReport
    from fraudctl.compare import Comparison
    from fraudctl.evaluate.result import GateResult
    from fraudctl.explain.event import EventExplanation
    from fraudctl.monitor.outcome import MonitorResult
    from fraudctl.workflows.ab import AbPlan, AbResult
    from fraudctl.workflows.account import CardResult, LineageResult
    from fraudctl.workflows.dashboard import DashboardResult
    from fraudctl.workflows.evaluate import EvaluationResult
    from fraudctl.workflows.explain import ExplainResult
    from fraudctl.workflows.export import ExportResult
    from fraudctl.workflows.retrained import RetrainResult
    from fraudctl.workflows.train import TrainResult

    return {
        SchemaKind.EVALUATION: EvaluationResult,
        SchemaKind.EXPLANATION: ExplainResult,
        SchemaKind.EVENT: EventExplanation,
        SchemaKind.TRAINING: TrainResult,
        SchemaKind.CHECK: CheckReport,
        SchemaKind.GATE: GateResult,
        SchemaKind.COMPARISON: Comparison,
        SchemaKind.CARD: CardResult,
        SchemaKind.MONITOR: MonitorResult,
        SchemaKind.LINEAGE: LineageResult,
        SchemaKind.EXPORT: ExportResult,
        SchemaKind.RETRAINING: RetrainResult,
        SchemaKind.DASHBOARD: DashboardResult,
        SchemaKind.AB: AbResult,
        SchemaKind.AB_PLAN: AbPlan,
    }


def _version(result: type) -> int:
    """Return the version that a document carries: its own, or that of the document that it is a part of."""
    from fraudctl.documents.results import VERSION, parts
    from fraudctl.documents.schemas import type_of
    from fraudctl.evaluate.result import Evaluation

    carriers = [result, *(type_of(result, part) for part in parts(result) if part.key is None), Evaluation]
    return int(next(getattr(item, VERSION) for item in carriers if hasattr(item, VERSION)))
