"""Templates of schedules in the docs: each parses, runs one at a time, and calls what the command line takes."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import typer
import yaml

from fraudctl.cli.app import app

PAGE = (Path(__file__).parents[2] / "docs" / "retraining.md").read_text(encoding="utf-8")
ROOT: Any = typer.main.get_command(app)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def taken(words: list[str]) -> dict[str, Any]:
    """Hold a command line to the command that it names; return its options."""
    item = ROOT.commands[words[0]]
    while getattr(item, "commands", None):
        words = words[1:]
        item = item.commands[words[0]]
    with item.make_context(words[0], words[1:]) as context:
        return dict(context.params)


def retrains(words: list[str]) -> None:
    options = taken(words)
    assert options["if_"][:2] == ["monitor", "age=30d"]
    assert options["refit"]
    assert options["promote"]


def test_cron() -> None:
    (block,) = blocks("sh")
    (line,) = [line for line in block.splitlines() if not line.startswith("#")]
    fields = line.split(None, 5)
    assert all(re.fullmatch(r"[\d*/,-]+", part) for part in fields[:5])
    words = shlex.split(fields[5].split(">>")[0])
    at = words.index("fraudctl")
    assert words[at - 3 : at - 1] == ["flock", "-n"]
    retrains(words[at + 1 :])


def test_github_actions() -> None:
    document = yaml.safe_load(blocks("yaml")[0])
    assert document["concurrency"] == {"group": "fraudctl-retrain", "cancel-in-progress": False}
    assert document[True]["schedule"]  # YAML reads the key `on` as true
    steps = [step["run"] for step in document["jobs"]["retrain"]["steps"]]
    retrains(shlex.split(steps[0])[1:])
    assert taken(shlex.split(steps[1])[1:])["quiet"]


def test_airflow() -> None:
    (block,) = blocks("python")
    calls = {
        node.func.id: node
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    given = {
        name: {word.arg: ast.literal_eval(word.value) for word in node.keywords if isinstance(word.value, ast.Constant)}
        for name, node in calls.items()
    }
    assert given["DAG"]["max_active_runs"] == 1
    assert given["DAG"]["catchup"] is False
    assert given["BashOperator"]["skip_on_exit_code"] == 5
    retrains(shlex.split(given["BashOperator"]["bash_command"])[1:])


def test_kubernetes() -> None:
    document = yaml.safe_load(blocks("yaml")[1])
    spec = document["spec"]
    assert (document["kind"], spec["concurrencyPolicy"]) == ("CronJob", "Forbid")
    job = spec["jobTemplate"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert 137 not in rule["onExitCodes"]["values"]  # a killed pod starts again
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # what podFailurePolicy asks for
    (container,) = pod["containers"]
    retrains(container["args"])


def test_other_commands_of_the_page_are_taken() -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    lines += re.findall(r"`(fraudctl [^`]+)`", PAGE.replace("\n  ", " ").replace("\n", " "))
    for line in lines:
        words = shlex.split(line, comments=True)
        if len(words) > 2:
            taken(words[1:])
    assert len(lines) >= 6
