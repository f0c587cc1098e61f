"""Who may turn probabilities into actions: nobody decides on a part of the events.

Under a capacity a decision depends on all events before it, so only the modules that own a whole period may call a
policy: everybody else asks `fraudctl.evaluate.Replay` and counts afterwards.
"""

from __future__ import annotations

import ast

from source_code import modules, walk

DECIDING = {"decide_arrays", "serve_arrays", "serve_in_turn", "serve_alone", "decide_alone"}
OWNERS = {
    "policy/places.py", "policy/decide.py", "policy/crowd.py", "policy/choose.py",
    "evaluate/replay.py",
    "scoring/decider.py",  # scores what comes, in the order in which it comes, with the state that it keeps
}  # fmt: skip


def is_policy(owner: ast.expr) -> bool:
    return ast.unparse(owner).endswith("policy")


def calls(tree: ast.Module) -> set[str]:
    """Names of the deciding functions that a module calls, and `decide` where it is a policy's."""
    found = set()
    for node in walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        of_policy = isinstance(node.func, ast.Attribute) and name == "decide" and is_policy(node.func.value)
        if name in DECIDING or of_policy:
            found.add(name)
    return found


def test_only_owners_of_whole_periods_decide() -> None:
    deciding = {path.as_posix() for path, tree in modules() if calls(tree)}
    assert deciding <= OWNERS
    assert "evaluate/replay.py" in deciding


def test_decide_frame_is_for_events_that_are_all_there_is() -> None:
    callers = {
        path.as_posix()
        for path, tree in modules()
        for node in walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "decide_frame"
    }
    assert callers == set()
