"""Inside fraudctl a record is a dataclass; objects of JSON whose values nobody has checked stay at the edge."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from source_code import modules, walk

EDGE = {
    "documents/sealed.py": "reads documents",
    "scoring/wire.py": "reads messages",
    "scoring/events.py": "checks the values of messages",
    "features/batch/jit.py": "keyword arguments of numba",
    "server/app.py": "is called by ASGI servers, whose messages are such dictionaries",
}
"""Modules that hold objects of JSON as they were read, or what another library wants as such a dictionary."""
LOOSE = {"dict", "Dict", "MutableMapping", "defaultdict", "OrderedDict"}


def loose(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that name a dictionary from texts to anything."""
    for node in walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "[" in node.value:
            try:  # a type in quotation marks
                yield from (node.lineno for _ in loose(ast.parse(node.value, mode="eval")))
            except SyntaxError:
                continue
        if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple):
            continue
        name = getattr(node.value, "attr", getattr(node.value, "id", ""))
        if name not in LOOSE:
            continue
        parts = [ast.unparse(part) for part in node.slice.elts]
        if parts[0] == "str" and parts[1].rpartition(".")[2] == "Any":
            yield node.lineno


def test_a_loose_dictionary_is_found_wherever_it_is_named() -> None:
    text = (
        "a: dict[str, Any]\nb = cast('dict[str, Any]', 0)\ndef c() -> list[tuple[int, t.Dict[str, t.Any]]]: ...\n"
        "d: dict[str, object]\ne: Mapping[str, Any]\nf: dict[int, Any]\ng = 'dict[str, Any] says nothing'\n"
    )
    assert sorted(loose(ast.parse(text))) == [1, 2, 3]


def test_dictionaries_of_anything_stay_at_the_edge() -> None:
    found = {path.as_posix() for path, tree in modules() for _ in loose(tree)}
    assert found == set(EDGE)
