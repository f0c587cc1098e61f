"""The modules of fraudctl as syntax trees, parsed once in a process for all tests that look for something in them."""

from __future__ import annotations

import ast
import functools
import gc
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
