"""Every command's help ends with examples, and each of them is a command line that the command takes."""

from __future__ import annotations

import itertools
import re
import shlex
from typing import Any

import pytest
import typer

from fraudctl.cli.app import app

ROOT: Any = typer.main.get_command(app)


def commands(group: Any, *path: str) -> list[tuple[tuple[str, ...], Any]]:
    below = getattr(group, "commands", None)
    if below is None:
        return [(path, group)]
    return [found for name, item in below.items() for found in commands(item, *path, name)]


EXAMPLES = [(path, item, line) for path, item in commands(ROOT) for line in item.epilog.splitlines()[2:]]


def test_every_command_has_an_example() -> None:
    assert {path for path, _, _ in EXAMPLES} == {path for path, _ in commands(ROOT)}
    assert len(EXAMPLES) > 30


@pytest.mark.parametrize(("path", "item", "line"), EXAMPLES, ids=lambda value: value if isinstance(value, str) else "")
def test_an_example_is_taken(path: tuple[str, ...], item: Any, line: str) -> None:
    words = shlex.split(re.split("[<>]", line)[0], comments=True)
    words = list(itertools.dropwhile(lambda word: re.fullmatch(r"[A-Z_]+=.*", word), words))
    assert words[: 1 + len(path)] == ["fraudctl", *path]
    with item.make_context(path[-1], words[1 + len(path) :]) as context:
        assert context.params
