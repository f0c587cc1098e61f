"""Who finds the files of a table of a project: `data/located.py` alone, so that `table_as_of` holds everywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from source_code import modules, walk

OWNER = "data/located.py"
SAME_FILE = "data/outputs.py"
"""Asks whether a path is one of the files that are read, in whatever version."""


def finds_a_section(tree: ast.AST) -> Iterator[int]:
    """Give the lines that look for files at the ``events`` of a section of the project file."""
    for node in walk(tree):
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", ""))
            in {
                "find_files",
                "find",
            }
            and any(
                isinstance(part, ast.Attribute) and part.attr == "events" for arg in node.args for part in ast.walk(arg)
            )
        ):
            yield node.lineno


def test_files_of_sections_are_found_in_one_place() -> None:
    found = {
        name: lines
        for path, tree in modules()
        if (name := path.as_posix()) not in {OWNER, SAME_FILE} and (lines := list(finds_a_section(tree)))
    }
    assert not found, "use event_files, source_files or label_files of data/located.py"


def test_the_search_finds_what_it_looks_for() -> None:
    bad = "tables.find_files(project.data.events, root=r)\nfind_files((section.events,), root=r)"
    good = "tables.event_files(project)\ntables.find_files(paths, root=r)"
    assert list(finds_a_section(ast.parse(bad))) == [1, 2]
    assert not list(finds_a_section(ast.parse(good)))
