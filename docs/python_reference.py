"""The page of the Python API, made from signatures and docstrings; `build_reference.py` writes it."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Final

import fraudctl

GROUPS: Final = {
    "The project": (
        "load_project init_project write_sample run_demo run_life json_schema_of"
        " Project InitResult Flags SampleResult DemoResult LifeResult SchemaKind"
    ),
    "Data and features": (
        "check_data audit_features build_features build_features_file build_since describe_features write_features"
        " CheckReport AuditResult FeatureTable FeatureFile Increment Description"
    ),
    "Training": "train_model choose_threshold retrain_model acknowledge_failures TrainResult RetrainResult",
    "Evaluation and explanation": (
        "evaluate_model write_predictions explain_model explain_one compare_models EvaluationResult Evaluation Estimate"
        " ExplainResult Explanation EventExplanation Comparison"
    ),
    "Experiments": "compare_experiment plan_experiment AbResult AbPlan",
    "Versions": (
        "list_models show_model diff_models promote_model rollback_model write_card write_lineage export_model"
        " verify_models ModelsResult CardResult LineageResult ExportResult PapersResult Entry Bundle"
    ),
    "Scoring": (
        "open_model score_files build_state show_state verify_state repair_state compact_state serve_model"
        " consume_topics Model ScoreResult StateResult Verified Repaired Serving Limits Explained"
        " Consuming ConsumeResult Experiment warm_loops WarmResult"
    ),
    "After training": "make_dashboard DashboardResult monitor_model acknowledge_alarm MonitorResult AlarmRecord",
    "Errors and progress": "FraudctlError UsageError ProjectError DataError BundleError Progress",
}
"""Heading -> the public names below it, calls first."""
_SECTION: Final = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)


def python_page() -> str:
    """Return the page; every public name stands on it once."""
    named = [name for names in GROUPS.values() for name in names.split()]
    missing = sorted({*fraudctl.__all__} - {*named, "__version__"})
    if missing or len(named) != len({*named}):
        msg = f"docs/python_reference.py does not place each public name once: {missing}"
        raise ValueError(msg)
    parts = [
        "# Python\n",
        "Every name that `import fraudctl` offers; made by `make docs` from signatures and docstrings.",
        "[The guide](../python.md) shows them at work.\n",
    ]
    for heading, names in GROUPS.items():
        parts += [f"## {heading}\n", *(_entry(name) for name in names.split())]
    return "\n".join(parts)


def _entry(name: str) -> str:
    item = getattr(fraudctl, name)
    pieces = [f"### {name}\n"]
    if inspect.isclass(item):
        pieces += [*_text(item), *_fields(item), *_methods(item)]
    else:
        pieces += [f"```python\n{_signature(name, item)}\n```\n", *_text(item)]
    return "\n".join(pieces)


def _signature(name: str, item: Any) -> str:
    """Return a signature on one line, or a parameter a line where it is long."""
    signature = inspect.signature(item)
    parts = [str(part) for part in signature.parameters.values()]
    kinds = [part.kind for part in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds:
        parts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    parts = [part.replace("'", "") for part in parts]
    back = str(signature.return_annotation).replace("'", "")
    line = f"{name}({', '.join(parts)}) -> {back}"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f") -> {back}"


def _text(item: Any) -> Iterator[str]:
    """Give the paragraphs and the sections of a docstring as Markdown."""
    doc = inspect.getdoc(item) or ""
    head, *rest = _SECTION.split(doc)
    yield _plain(head).strip() + "\n"
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        yield f"**{title}**\n\n" + "\n".join(_items(title, body)) + "\n"


def _items(title: str, body: str) -> Iterator[str]:
    """Give the entries of a section: a name, and what is said of it."""
    if title == "Examples":
        yield f"```python\n{body.strip()}\n```"
        return
    term: str | None = None
    said: list[str] = []
    for line in [*body.strip("\n").splitlines(), "end"]:
        if line[:1].isspace() or not line:
            said.append(line.strip())
            continue
        if term is not None:
            text = _plain(" ".join(part for part in said if part))
            yield f"- {', '.join(f'`{part.strip()}`' for part in term.split(','))}" + (f": {text}" if text else "")
        term, said = line, []


def _fields(item: Any) -> Iterator[str]:
    """Give the fields of a dataclass with their types and what is said of them."""
    if not is_dataclass(item):
        return
    said = _said(item)
    names = [part for part in fields(item) if not part.name.startswith("_")]
    if names:
        yield "**Fields**\n"
    for part in names:
        note = _plain(said.get(part.name, ""))
        yield f"- `{part.name}`: `{part.type}`" + (f". {note}" if note else "")
    yield ""


def _said(item: Any) -> dict[str, str]:
    """Return the texts below the fields of a class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(item))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - it is the source of a class
    found: dict[str, str] = {}
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        named = isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[before.target.id] = " ".join(str(after.value.value).split())  # type: ignore[union-attr]
    return found


def _methods(item: Any) -> Iterator[str]:
    """Give the public methods and properties that a class defines itself, with the first sentence on each."""
    found = []
    for name, member in vars(item).items():
        if name.startswith("_") or not (isinstance(member, (property, classmethod)) or inspect.isfunction(member)):
            continue
        first = _plain((inspect.getdoc(member) or "").split("\n\n")[0].replace("\n", " "))
        found.append(f"- `{name}{'' if isinstance(member, property) else '()'}`: {first}")
    if found:
        yield "**Methods and properties**\n"
        yield from found
        yield ""


def _plain(text: str) -> str:
    """Return text with code as Markdown has it."""
    return text.replace("``", "`")
