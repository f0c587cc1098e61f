"""The modules of fraudctl as syntax trees, parsed once in a process for all tests that look for something in them."""

from __future__ import annotations

import ast
import functools
import gc
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1] / "fraudctl"


@functools.cache
def modules() -> tuple[tuple[Path, ast.Module], ...]:
    """Return each module's path below `ROOT` and its tree, in order; nobody changes a tree.

    Garbage is not looked for among the nodes, neither while they are made nor later: that takes longer than to parse.
    """
    found = sorted(ROOT.rglob("*.py"))
    gc.collect()
    gc.disable()
    try:
        return tuple((path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))) for path in found)
    finally:
        gc.freeze()
        gc.enable()


@functools.cache
def walk(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Return all nodes of a tree, as `ast.walk` does, which takes as long as to parse it."""
    return tuple(ast.walk(tree))


def loops(tree: ast.Module) -> tuple[ast.FunctionDef, ...]:
    """Return the compiled loops of a module."""
    found = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    marks = {"jit", "jit_wide"}
    return tuple(
        node
        for node in found
        if marks & {getattr(mark, "id", getattr(mark, "attr", "")) for mark in node.decorator_list}
    )


def imported(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Return the names that are imported from fraudctl, with the whole names of what they are."""
    found = {}
    for item in (node for node in nodes if isinstance(node, ast.ImportFrom)):
        if item.module is not None and item.module.startswith("fraudctl"):
            found |= {name.asname or name.name: f"{item.module}.{name.name}" for name in item.names}
    return found


def called_from_python() -> set[str]:
    """Return the whole names of what modules use, of themselves or of others, but in loops."""
    found: set[str] = set()
    for path, tree in modules():
        own = ".".join((ROOT.name, *path.with_suffix("").parts))
        names, compiled = imported(walk(tree)), {id(loop) for loop in loops(tree)}
        for node in (node for part in tree.body if id(part) not in compiled for node in walk(part)):
            if isinstance(node, ast.Name):
                found.add(names.get(node.id, f"{own}.{node.id}"))
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
                found.add(f"{names[node.value.id]}.{node.attr}")
    return found
