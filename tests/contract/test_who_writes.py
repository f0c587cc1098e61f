"""Who writes files: nothing outlives a command unless it was written whole, by the few modules that may open files.

Whatever a module writes goes through `files.py` or `outputs.py`, or into the hidden path that `whole_file` and
`temporary_folder` give. The owners below write in ways of their own, each with its reason and its test of faults.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from source_code import modules, walk

OWNERS = {
    "disk/files.py": "the way that all others take",
    "data/outputs.py": "tables and texts, through files.py",
    "disk/kept.py": "writes to memory, then through files.py",
    "bundle.py": "a folder of files, each flushed, that gets its name at the end (tests/faults/test_writers.py)",
    "data/chunks.py": "parts in a folder that goes away; what it leaves goes through outputs.py",
    **{f"features/batch/{name}.py": "parts in a folder that goes away" for name in ("prior", "sources", "spilled")},
    **{
        f"monitor/{name}.py": "parts in the folder of the run, which goes away"
        for name in ("judged_rows", "located", "taken")
    },
    "train/tune.py": "a journal of lines with digests (tests/faults/test_writers.py)",
    "challengers/program.py": "a folder of the system's temporary place",
    **{
        f"challengers/{name}.py": "a program in a working folder that goes away"
        for name in ("runner", "logistic", "lightgbm", "xgboost", "gru")
    },
    "train/model.py": "a folder of the system's temporary place",
    "scoring/trees.py": "a folder of the system's temporary place",
    "workflows/export.py": "a folder of the system's temporary place",
    "workflows/pyfunc.py": "a folder of the system's temporary place",
    "workflows/score.py": "events in a folder that goes away",
    "workflows/state.py": "sound files of a state, into a new folder that counts once a snapshot is in it",
    "scoring/store.py": "the log, by descriptors (tests/faults/test_writers.py)",
    "cli/commands/demo.py": "a folder that the user keeps",
    "__main__.py": "the null device",
}
WRITES = frozenset({
    "write_text", "write_bytes", "write_parquet", "write_ipc", "write_csv", "write_ndjson", "write_json",
    "sink_parquet", "sink_ipc", "sink_csv", "copy", "copy2", "copyfile", "copytree", "move", "save_model", "save",
    "savez", "tofile", "NamedTemporaryFile", "TemporaryDirectory", "mkstemp", "mkdtemp",
})  # fmt: skip
SAFE = frozenset({"whole_file", "temporary_folder", "whole_object"})
OURS = frozenset({"outputs", "files", "disk"})
"""Names under which the modules that write safely are imported."""


def named(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def opens_for_writing(call: ast.Call) -> bool:
    texts = [item.value for item in [*call.args, *(keyword.value for keyword in call.keywords)] if is_text(item)]
    return named(call) == "open" and any(set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts)


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def writes(node: ast.AST, *, safe: bool = False) -> Iterator[ast.Call]:
    """Give the calls below a node that write a file, unless inside a block whose path is given by `SAFE`."""
    if isinstance(node, (ast.With, ast.AsyncWith)):
        calls = [found for item in node.items for found in ast.walk(item) if isinstance(found, ast.Call)]
        safe = safe or any(named(call) in SAFE for call in calls)
    if isinstance(node, ast.Call) and not safe:
        receiver = getattr(node.func, "value", None)
        ours = isinstance(node.func, ast.Name) or (isinstance(receiver, ast.Name) and receiver.id in OURS)
        path_like = named(node) in {"copy", "save"} and not (isinstance(receiver, ast.Name) and receiver.id in MODULES)
        if opens_for_writing(node) or (named(node) in WRITES and not ours and not path_like):
            yield node
    for child in ast.iter_child_nodes(node):
        yield from writes(child, safe=safe)


MODULES = frozenset({"shutil", "np", "numpy"})
"""Those whose ``copy`` and ``save`` are of files."""


def test_only_the_owners_write_in_ways_of_their_own() -> None:
    found = {path.as_posix(): [call.lineno for call in writes(tree)] for path, tree in modules()}
    unexpected = {name: lines for name, lines in found.items() if lines and name not in OWNERS}
    assert not unexpected, "use files.py or outputs.py"


def test_the_search_finds_what_it_looks_for() -> None:
    bad = 'p.write_text("x")\nopen(p, "w")\nframe.write_parquet(p)\nshutil.copy(a, b)\nwith open(p, mode="ab"): pass'
    good = (
        'open(path)\nfields.copy()\nwith outputs.whole_file(p) as t:\n    t.write_bytes(b"")\noutputs.write_text("", p)'
    )
    assert [call.lineno for call in writes(ast.parse(bad))] == [1, 2, 3, 4, 5]
    assert not list(writes(ast.parse(good)))


def test_what_vouches_for_a_kept_file_is_written_by_one_function() -> None:
    """`kept.keep` writes the file first and what vouches for it last; nobody else may take these steps apart."""
    calls = [
        (path.as_posix(), named(node))
        for path, tree in modules()
        for node in walk(tree)
        if isinstance(node, ast.Call) and named(node) == "vouch"
    ]
    assert calls == [("disk/kept.py", "vouch")]
