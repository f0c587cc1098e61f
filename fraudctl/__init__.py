"""fraudctl: from raw transactions to a gated fraud model.

The Python API has one call per command, each returning a result object. Names are loaded when they are first used, so
importing the package costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fraudctl.project import load_project
    from fraudctl.workflows.audit import audit_features
    from fraudctl.workflows.check import check_data
    from fraudctl.workflows.demo import run_demo
    from fraudctl.workflows.evaluate import evaluate_model
    from fraudctl.workflows.explain import explain_model, explain_one
    from fraudctl.workflows.features import build_features
    from fraudctl.workflows.init import init_project
    from fraudctl.workflows.models import compare_models
    from fraudctl.workflows.sample import write_sample
    from fraudctl.workflows.score import open_model, score_files
    from fraudctl.workflows.state import build_state
    from fraudctl.workflows.train import choose_threshold, train_model

__version__ = "0.1.0"

# numpy asks the kernel for huge pages by default. Where memory is in pieces, these are put together while the program
# waits, which costs more than they save; numpy reads this when it is imported.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")

_HOME = {
    "load_project": "project",
    "audit_features": "workflows.audit",
    "build_features": "workflows.features",
    "build_state": "workflows.state",
    "check_data": "workflows.check",
    "choose_threshold": "workflows.train",
    "compare_models": "workflows.models",
    "evaluate_model": "workflows.evaluate",
    "explain_model": "workflows.explain",
    "explain_one": "workflows.explain",
    "init_project": "workflows.init",
    "open_model": "workflows.score",
    "run_demo": "workflows.demo",
    "score_files": "workflows.score",
    "train_model": "workflows.train",
    "write_sample": "workflows.sample",
}

__all__ = [
    "__version__", "audit_features", "build_features", "build_state", "check_data", "choose_threshold",
    "compare_models", "evaluate_model", "explain_model", "explain_one", "init_project", "load_project", "open_model",
    "run_demo", "score_files", "train_model", "write_sample",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module 'fraudctl' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"fraudctl.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
