"""fraudctl: from raw transactions to a gated fraud model.

The Python API has a call for each command; each returns a result object, and takes and raises the types that are named
here. Names are loaded when they are first used, so importing the package costs nothing and changes nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fraudctl.bundle import Bundle as Bundle
    from fraudctl.checks import CheckReport as CheckReport
    from fraudctl.compare import Comparison as Comparison
    from fraudctl.errors import (
        BundleError as BundleError,
        DataError as DataError,
        FraudctlError as FraudctlError,
        ProjectError as ProjectError,
        UsageError as UsageError,
    )
    from fraudctl.evaluate import Evaluation as Evaluation
    from fraudctl.explain.event import EventExplanation as EventExplanation
    from fraudctl.explain.result import Explanation as Explanation
    from fraudctl.features.meaning.describe import Description as Description
    from fraudctl.features.proof.audit import AuditResult as AuditResult
    from fraudctl.monitor.outcome import MonitorResult as MonitorResult
    from fraudctl.progress import Progress as Progress
    from fraudctl.project import Project as Project, load_project as load_project
    from fraudctl.propose.flags import Flags as Flags
    from fraudctl.registry import Entry as Entry
    from fraudctl.scoring.decider import Explained as Explained
    from fraudctl.scoring.experiment import Experiment as Experiment
    from fraudctl.server.service import Limits as Limits
    from fraudctl.uncertainty import Estimate as Estimate
    from fraudctl.workflows.ab import (
        AbPlan as AbPlan,
        AbResult as AbResult,
        compare_experiment as compare_experiment,
        plan_experiment as plan_experiment,
    )
    from fraudctl.workflows.account import (
        CardResult as CardResult,
        LineageResult as LineageResult,
        PapersResult as PapersResult,
        verify_models as verify_models,
        write_card as write_card,
        write_lineage as write_lineage,
    )
    from fraudctl.workflows.audit import audit_features as audit_features
    from fraudctl.workflows.check import check_data as check_data
    from fraudctl.workflows.consume import (
        ConsumeResult as ConsumeResult,
        Consuming as Consuming,
        consume_topics as consume_topics,
    )
    from fraudctl.workflows.dashboard import (
        DashboardResult as DashboardResult,
        make_dashboard as make_dashboard,
    )
    from fraudctl.workflows.demo import (
        DemoResult as DemoResult,
        run_demo as run_demo,
    )
    from fraudctl.workflows.evaluate import (
        EvaluationResult as EvaluationResult,
        evaluate_model as evaluate_model,
        write_predictions as write_predictions,
    )
    from fraudctl.workflows.explain import (
        ExplainResult as ExplainResult,
        explain_model as explain_model,
        explain_one as explain_one,
    )
    from fraudctl.workflows.export import (
        ExportResult as ExportResult,
        export_model as export_model,
    )
    from fraudctl.workflows.features import (
        FeatureFile as FeatureFile,
        FeatureTable as FeatureTable,
        build_features as build_features,
        build_features_file as build_features_file,
        describe_features as describe_features,
        write_features as write_features,
    )
    from fraudctl.workflows.increment import Increment as Increment, build_since as build_since
    from fraudctl.workflows.init import InitResult as InitResult, init_project as init_project
    from fraudctl.workflows.life import (
        LifeResult as LifeResult,
        run_life as run_life,
    )
    from fraudctl.workflows.models import (
        ModelsResult as ModelsResult,
        compare_models as compare_models,
        diff_models as diff_models,
        list_models as list_models,
        promote_model as promote_model,
        rollback_model as rollback_model,
        show_model as show_model,
    )
    from fraudctl.workflows.monitor import monitor_model as monitor_model
    from fraudctl.workflows.monitor_log import AlarmRecord as AlarmRecord, acknowledge_alarm as acknowledge_alarm
    from fraudctl.workflows.retrain import acknowledge_failures as acknowledge_failures, retrain_model as retrain_model
    from fraudctl.workflows.retrained import RetrainResult as RetrainResult
    from fraudctl.workflows.sample import SampleResult as SampleResult, write_sample as write_sample
    from fraudctl.workflows.schemas import SchemaKind as SchemaKind, json_schema_of as json_schema_of
    from fraudctl.workflows.score import (
        Model as Model,
        ScoreResult as ScoreResult,
        open_model as open_model,
        score_files as score_files,
    )
    from fraudctl.workflows.serve import Serving as Serving, serve_model as serve_model
    from fraudctl.workflows.state import (
        Repaired as Repaired,
        StateResult as StateResult,
        Verified as Verified,
        build_state as build_state,
        compact_state as compact_state,
        repair_state as repair_state,
        show_state as show_state,
        verify_state as verify_state,
    )
    from fraudctl.workflows.train import (
        TrainResult as TrainResult,
        choose_threshold as choose_threshold,
        train_model as train_model,
    )
    from fraudctl.workflows.warm import WarmResult as WarmResult, warm_loops as warm_loops

__version__ = "0.1.0"

_NAMES: Final = {
    "bundle": "Bundle",
    "checks": "CheckReport",
    "compare": "Comparison",
    "errors": "BundleError DataError FraudctlError ProjectError UsageError",
    "evaluate": "Evaluation",
    "explain.event": "EventExplanation",
    "explain.result": "Explanation",
    "features.meaning.describe": "Description",
    "features.proof.audit": "AuditResult",
    "monitor.outcome": "MonitorResult",
    "progress": "Progress",
    "project": "Project load_project",
    "propose.flags": "Flags",
    "registry": "Entry",
    "scoring.decider": "Explained",
    "server.service": "Limits",
    "uncertainty": "Estimate",
    "scoring.experiment": "Experiment",
    "workflows.ab": "AbPlan AbResult compare_experiment plan_experiment",
    "workflows.account": "CardResult LineageResult PapersResult verify_models write_card write_lineage",
    "workflows.audit": "audit_features",
    "workflows.check": "check_data",
    "workflows.consume": "ConsumeResult Consuming consume_topics",
    "workflows.dashboard": "DashboardResult make_dashboard",
    "workflows.demo": "DemoResult run_demo",
    "workflows.evaluate": "EvaluationResult evaluate_model write_predictions",
    "workflows.explain": "ExplainResult explain_model explain_one",
    "workflows.export": "ExportResult export_model",
    "workflows.features": (
        "FeatureFile FeatureTable build_features build_features_file describe_features write_features"
    ),
    "workflows.increment": "Increment build_since",
    "workflows.init": "InitResult init_project",
    "workflows.life": "LifeResult run_life",
    "workflows.models": ("ModelsResult compare_models diff_models list_models promote_model rollback_model show_model"),
    "workflows.monitor": "monitor_model",
    "workflows.monitor_log": "AlarmRecord acknowledge_alarm",
    "workflows.retrain": "acknowledge_failures retrain_model",
    "workflows.retrained": "RetrainResult",
    "workflows.sample": "SampleResult write_sample",
    "workflows.schemas": "SchemaKind json_schema_of",
    "workflows.score": "Model ScoreResult open_model score_files",
    "workflows.serve": "Serving serve_model",
    "workflows.state": ("Repaired StateResult Verified build_state compact_state repair_state show_state verify_state"),
    "workflows.train": "TrainResult choose_threshold train_model",
    "workflows.warm": "WarmResult warm_loops",
}
"""Module below the package -> the public names that it holds."""
_HOME: Final = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *sorted(_HOME)]  # noqa: PLE0604 - a test holds it equal to what type checkers read above


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module 'fraudctl' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"fraudctl.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
