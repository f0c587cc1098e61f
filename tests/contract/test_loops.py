"""What is compiled into a loop is what its kept code is renewed with: its own folder, and `jit.COMPILED_IN`."""

from __future__ import annotations

import ast
from pathlib import Path

from source_code import ROOT, imported, loops, modules, walk

from fraudctl.features.batch import jit

ALLOWED = {path.relative_to(ROOT) for path in jit.COMPILED_IN}


def place(name: str) -> Path:
    """The module, below `ROOT`, that a whole name is, or is of."""
    parts = name.split(".")[1:]
    whole = Path(*parts[:-1], f"{parts[-1]}.py")
    return whole if (ROOT / whole).exists() else Path(*parts[:-2], f"{parts[-2]}.py") if len(parts) > 1 else Path()


def used(nodes: list[ast.stmt]) -> set[str]:
    return {node.id for stmt in nodes for node in walk(stmt) if isinstance(node, ast.Name)}


def constants(tree: ast.Module) -> dict[str, set[str]]:
    """Names that a module gives to values, and the names that these are made of."""
    found: dict[str, set[str]] = {}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        for target in targets:
            for name in (each.id for each in walk(target) if isinstance(each, ast.Name)):
                found[name] = used([ast.Expr(value)]) if value is not None else set()
    return found


def test_loops_use_what_their_kept_code_is_renewed_with() -> None:
    seen, wrong = 0, []
    for path, tree in modules():
        names, made = imported(tree.body), constants(tree)
        for loop in loops(tree):
            seen += 1
            reached, todo = set(), used(loop.body)
            while todo:
                name = todo.pop()
                if name not in reached:
                    reached.add(name)
                    todo |= made.get(name, set())
            places = {place(names[name]) for name in reached if name in names}
            wrong += [(path, loop.name, at) for at in places if at.parent not in {path.parent, *ALLOWED}]
    assert seen > 100
    assert wrong == []
