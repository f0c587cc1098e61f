"""Write docs/reference/ from the command line's help, the project file's schema and docstrings; a test holds both.

Made too are the table of intervals in docs/features.md, from the families of features, and the tables of
docs/growth.md, from the committed runs.

Usage: python docs/build_reference.py
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent / "reference"
_TABLE = ("<!-- the table of intervals, made by make docs -->", "<!-- its end -->")
_GROWTH = ("<!-- the tables, made by make docs -->", "<!-- their end -->")


def pages() -> dict[str, str]:
    """Give the reference pages by file name."""
    from figures import training_page
    from figures_life import life_page
    from models_figure import models_figure
    from python_reference import python_page

    return {
        "commands.md": commands_page(),
        "project-file.md": project_page(),
        "json.md": json_page(),
        "metrics.md": metrics_page(),
        "python.md": python_page(),
        "training-figures.md": training_page(),
        "life-figures.md": life_page(),
        "../features.md": features_page(),
        "../growth.md": growth_page(),
        "../images/models.svg": models_figure(),
    }


def features_page() -> str:
    """Return docs/features.md with the table of intervals that the families of features give."""
    from fraudctl.features.meaning.families import FAMILIES

    rows = ["| section | takes in | interval |", "|---|---|---|"]
    for family in FAMILIES:
        for section, takes_in, spec in family.examples:
            interval = spec.interval.replace("1 day", "w").replace(" - ", " − ").replace("<=", "≤")
            rows.append(f"| {section} | {takes_in} | {interval} |")
    return _with(REFERENCE.parent / "features.md", _TABLE, "\n".join(rows))


def growth_page() -> str:
    """Return docs/growth.md with the tables that the committed runs give."""
    benchmarks = REFERENCE.parents[1] / "benchmarks"
    sys.path.append(str(benchmarks))
    from bench_growth import table

    known = json.loads((benchmarks / "results" / "growth.json").read_text(encoding="utf-8"))
    return _with(REFERENCE.parent / "growth.md", _GROWTH, table(known))


def _with(path: Path, marks: tuple[str, str], made: str) -> str:
    """Return a page with what is made between two marks of it."""
    head, _, rest = path.read_text(encoding="utf-8").partition(marks[0])
    _, _, tail = rest.partition(marks[1])
    return head + "\n".join([marks[0], "", made, "", marks[1]]) + tail


def commands_page() -> str:
    """Give the help of every command as one page."""
    os.environ["COLUMNS"], os.environ["NO_COLOR"] = "100", "1"
    from typer.testing import CliRunner

    from fraudctl.cli.app import app
    from fraudctl.cli.commands import COMMANDS

    parts = ["# Commands\n\nWhat `fraudctl COMMAND --help` prints; made by `make docs`.\n"]
    groups = [[group.name or "", *rest] for group in app.registered_groups for rest in _below(group)]
    for args in ([], *([name] for name in COMMANDS), *groups):
        output = CliRunner().invoke(app, [*args, "--help"], prog_name="fraudctl", terminal_width=100).output
        text = "\n".join(line.rstrip() for line in output.strip().splitlines())
        parts.append(f"## fraudctl {' '.join(args)}".rstrip() + f"\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _below(group: Any) -> list[list[str]]:
    """Give the paths under a group of commands: itself, and each of its commands."""
    commands = group.typer_instance.registered_commands
    return [[], *([command.name or command.callback.__name__] for command in commands)]


def project_page() -> str:
    """Give every key of fraudctl.toml with its type, default and meaning."""
    from fraudctl.project import json_schema

    schema = json_schema()
    parts = ["# The project file\n\nEvery key of `fraudctl.toml`; made by `make docs` from `fraudctl schema`.\n"]
    for key, entry in schema["properties"].items():
        parts.append(f"## {key}\n\n{_section(entry, schema)}")
    return "\n".join(parts)


def metrics_page() -> str:
    """Return every metric: what it is, how it is computed and where it may be used."""
    from fraudctl.catalogue import GATE_FIGURES, METRICS, OBJECTIVE, top_k_metric

    parts = [
        (
            "# Metrics\n\nEvery metric by name; made by `make docs` from `fraudctl.catalogue`. *Champion*: whether two "
            "models are compared by it with a paired interval. *Constraint*: whether `[policy] constraints` may bound "
            "it. *Needs fraud*: whether it is null without one.\n"
        ),
        "| name | meaning | computed as | unit | better | champion | constraint | needs fraud |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for item in (*METRICS, top_k_metric("<entity>")):
        flags = " | ".join("yes" if flag else "" for flag in (item.paired, item.constrains, item.needs_fraud))
        formula = item.formula.replace("|", "\\|")
        parts.append(f"| `{item.name}` | {item.words} | {formula} | {item.unit} | {item.better} | {flags} |")
    parts.append("\n## Elsewhere\n\n| name | where | meaning | computed as |\n| --- | --- | --- | --- |")
    where = {"objective": "`[train] metric`", "checks": "`[gate] checks`", "drift": "`[gate.drift]`"}
    for item in (OBJECTIVE, *GATE_FIGURES):
        name = f"{item.name}(x)" if item is OBJECTIVE else item.name
        parts.append(f"| `{name}` | {where[item.way]} | {item.words} | {item.formula} |")
    return "\n".join(parts) + "\n"


def json_page() -> str:
    """Return every key of the JSON that commands print, from their schemas."""
    from fraudctl.workflows.schemas import SchemaKind, json_schema_of

    parts = [
        (
            "# JSON of the commands\n\nEvery key of every document; made by `make docs` from "
            "`fraudctl schema --of KIND`. Times are ISO 8601, money is in the project's currency, shares are in "
            "[0, 1].\n"
        )
    ]
    definitions: dict[str, Any] = {}
    for kind in SchemaKind:
        if kind is not SchemaKind.PROJECT:
            schema: dict[str, Any] = json_schema_of(kind)
            definitions |= schema.get("$defs", {})
            parts.append(f"## {kind.value}\n\n{schema['title']}: {schema['description']}\n\n{_keys(schema)}")
    parts.append("## Parts\n")
    parts += [f"### {name}\n\n{item['description']}\n\n{_keys(item)}" for name, item in sorted(definitions.items())]
    return "\n".join(parts)


def _keys(schema: dict[str, Any]) -> str:
    rows = ["| key | type | meaning |", "| --- | --- | --- |"]
    needed = schema["required"]
    for key, item in schema["properties"].items():
        rows.append(f"| `{key}` | {_form(item)}{'' if key in needed else ', may be absent'} | {_text(item)} |")
    if isinstance(schema["additionalProperties"], dict):
        rows.append(
            f"| any other | {_form(schema['additionalProperties'])} | {_text(schema['additionalProperties'])} |"
        )
    return "\n".join(rows) + "\n"


def _text(item: dict[str, Any]) -> str:
    return item.get("description", "").replace("|", "\\|")


def _form(item: dict[str, Any]) -> str:
    """Return the type of a key in words, with a link where it is an object of its own."""
    if "$ref" in item:
        name = item["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in item:
        return f"`{item['const']}`"
    if "enum" in item:
        return " or ".join(f"`{value}`" for value in item["enum"])
    if "anyOf" in item:
        return " or ".join(dict.fromkeys(_form(one) for one in item["anyOf"]))
    if item["type"] == "array":
        inner = item.get("prefixItems")
        return f"list of {_form(item['items'])}" if "items" in item else ", ".join(map(_form, inner or [])) or "list"
    if item["type"] == "object":
        return f"name -> {_form(item['additionalProperties'])}"
    kinds = [item["type"]] if isinstance(item["type"], str) else item["type"]
    return " or ".join(_KINDS.get(kind, kind) for kind in kinds)


_KINDS = {"string": "text", "integer": "whole number", "boolean": "true or false"}


def _section(entry: dict[str, Any], schema: dict[str, Any]) -> str:
    definition = _definition(entry, schema)
    if definition is None:
        return f"{entry.get('description', '')}\n"
    rows = [f"{definition.get('description', '')}\n", "| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    below: list[tuple[str, dict[str, Any]]] = []
    for key, item in definition.get("properties", {}).items():
        default = "required" if key in definition.get("required", []) else _default(item)
        meaning = item.get("description", "").replace("\n", " ").replace("|", "\\|")
        rows.append(f"| `{key}` | {_type(item)} | {default} | {meaning} |")
        inner = _definition(item, schema)
        if inner is not None and inner.get("properties"):
            below.append((key, item))
    text = "\n".join(rows) + "\n"
    return text + "".join(f"\n### {key}\n\n{_section(item, schema)}" for key, item in below)


def _definition(entry: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    for item in (entry, *entry.get("anyOf", []), entry.get("items", {}), entry.get("additionalProperties") or {}):
        if isinstance(item, dict) and "$ref" in item:
            found: dict[str, Any] = schema["$defs"][item["$ref"].rsplit("/", 1)[1]]
            return found
    return None


def _type(item: dict[str, Any]) -> str:
    if "enum" in item:
        return "one of " + ", ".join(f"`{value}`" for value in item["enum"])
    if "anyOf" in item:
        return " or ".join(dict.fromkeys(_type(one) for one in item["anyOf"] if one.get("type") != "null"))
    if "$ref" in item:
        return "table"
    kinds = {
        "string": "text",
        "integer": "whole number",
        "object": "table",
        "array": "list",
        "boolean": "true or false",
    }
    return kinds.get(item.get("type", ""), item.get("type", "table"))


def _default(item: dict[str, Any]) -> str:
    if "default" not in item:
        return ""
    default = item["default"]
    return "" if default in (None, [], {}) or isinstance(default, (dict, list)) else f"`{default}`"


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
