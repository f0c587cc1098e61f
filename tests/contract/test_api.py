"""The Python API: its names exist, are typed, are documented, and offer what each command does."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import fraudctl
from fraudctl.cli.commands import COMMANDS

SOURCE = Path(fraudctl.__file__).read_text(encoding="utf-8")
CALLS = [name for name in fraudctl.__all__ if inspect.isfunction(getattr(fraudctl, name))]
OFFERED = {
    "ab": {"compare_experiment", "plan_experiment"},
    "audit": {"audit_features"},
    "check": {"check_data"},
    "compare": {"compare_models"},
    "consume": {"consume_topics"},
    "dashboard": {"make_dashboard"},
    "demo": {"run_demo", "run_life"},
    "evaluate": {"evaluate_model", "write_predictions"},
    "explain": {"explain_model", "explain_one"},
    "features": {"build_features", "build_features_file", "build_since", "describe_features", "write_features"},
    "init": {"init_project"},
    "models": {
        "list_models",
        "show_model",
        "diff_models",
        "promote_model",
        "rollback_model",
        "verify_models",
        "write_card",
        "write_lineage",
        "export_model",
    },
    "monitor": {"monitor_model", "acknowledge_alarm"},
    "retrain": {"retrain_model", "acknowledge_failures"},
    "sample": {"write_sample"},
    "schema": {"json_schema_of"},
    "score": {"open_model", "score_files"},
    "serve": {"serve_model"},
    "state": {"build_state", "show_state", "verify_state", "repair_state", "compact_state"},
    "threshold": {"choose_threshold"},
    "train": {"train_model"},
    "warm": {"warm_loops"},
}


def test_what_type_checkers_read_is_what_is_offered() -> None:
    (block,) = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.If)]
    read = {name.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert read == {name: f"fraudctl.{module}" for name, module in fraudctl._HOME.items()}
    assert all(getattr(fraudctl, name) is not None for name in fraudctl.__all__)


def test_each_command_has_its_calls() -> None:
    assert OFFERED.keys() == {*COMMANDS} | {"models", "state"}
    assert {*CALLS} == {name for names in OFFERED.values() for name in names} | {"load_project"}


def test_types_in_signatures_are_offered() -> None:
    plain = {"JsonObject"}  # another name of dict
    hidden = []
    for name in CALLS:
        source = inspect.getsource(sys.modules[getattr(fraudctl, name).__module__])
        signature = inspect.signature(getattr(fraudctl, name))
        kinds = [str(part.annotation) for part in signature.parameters.values()] + [str(signature.return_annotation)]
        words = {*re.findall(r"[A-Z]\w+", " ".join(kinds))} - {*fraudctl.__all__} - plain
        own = (word for word in words if re.search(rf"from fraudctl[.\w]* import [^\n]*\b{word}\b", source))
        hidden += [f"{name}: {word}" for word in own]
    assert hidden == []


def test_every_parameter_of_a_call_is_documented() -> None:
    named = {name: inspect.signature(getattr(fraudctl, name)).parameters for name in CALLS}
    said = {name: inspect.getdoc(getattr(fraudctl, name)) or "" for name in CALLS}
    bare = [
        f"{name}: {parameter}"
        for name, parameters in named.items()
        for parameter in {*parameters} - {"project", "progress"}
        if not re.search(rf"(^|, |``){parameter}\b", said[name], re.MULTILINE)
    ]
    assert bare == []


def test_importing_the_package_loads_no_library_and_sets_nothing() -> None:
    code = (
        "import os, sys; before = dict(os.environ), {*sys.modules}; import fraudctl; "
        "print(dict(os.environ) == before[0], "
        "sorted({name.split('.')[0] for name in {*sys.modules} - before[1]} - {*sys.stdlib_module_names}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "True ['fraudctl']"
