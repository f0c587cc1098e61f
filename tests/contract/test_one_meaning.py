"""A class name has one meaning in fraudctl."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2] / "fraudctl"
INSIDE_FEATURES = {"History", "Reader", "Seen"}
"""Names that two rooms of ``features/`` still share; no other may be added."""


def test_no_class_name_is_defined_twice() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].add(path.relative_to(ROOT).as_posix())
    twice = {name: sorted(found) for name, found in places.items() if len(found) > 1}
    left = {name for name, found in twice.items() if all(place.startswith("features/") for place in found)}
    assert left <= INSIDE_FEATURES
    assert {name: found for name, found in twice.items() if name not in left} == {}


def test_array_types_are_named_in_one_place() -> None:
    named = [
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith(("npt.NDArray[", "NDArray["))
    ]
    outside = {place for place in named if not place.startswith("features/")}
    assert outside == {"arrays.py"}
