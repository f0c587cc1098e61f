"""A class name has one meaning in fraudctl."""

from __future__ import annotations

import ast
from collections import defaultdict

from source_code import modules, walk

INSIDE_FEATURES = {"History", "Reader", "Seen"}
"""Names that two rooms of ``features/`` still share; no other may be added."""


def test_no_class_name_is_defined_twice() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path, tree in modules():
        for node in walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].add(path.as_posix())
    twice = {name: sorted(found) for name, found in places.items() if len(found) > 1}
    left = {name for name, found in twice.items() if all(place.startswith("features/") for place in found)}
    assert left <= INSIDE_FEATURES
    assert {name: found for name, found in twice.items() if name not in left} == {}


def test_array_types_are_named_in_one_place() -> None:
    named = [
        path.as_posix()
        for path, tree in modules()
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith(("npt.NDArray[", "NDArray["))
    ]
    outside = {place for place in named if not place.startswith("features/")}
    assert outside == {"arrays.py"}


MAY_BE_NOTHING = {
    "project/data.py": "a label delay: labels known at once",
    "propose/delay.py": "the same, proposed",
    "workflows/sample.py": "when a change of the sample begins",
    "split.py": "a length that was made from hours above 0",
    "project/types.py": "its definition",
}
"""Where a length of time of zero is read, and what it means there."""


def test_a_length_of_no_time_is_read_only_where_it_means_something() -> None:
    found = {
        path.as_posix()
        for path, tree in modules()
        for node in walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "parse"
        if ast.unparse(node.func) == "Duration.parse"
    }
    assert found == set(MAY_BE_NOTHING)
