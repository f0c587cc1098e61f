"""A command line gives the same in the process of the tests as in one of its own, so most tests need none."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from command_line import run_alone, run_in


def events(trained: Path) -> bytes:
    """Return two events as JSON lines, and a line that cannot be taken."""
    frame = pl.read_parquet(trained / "transactions.parquet").unique("transaction_id").sort("created_at")
    return frame.tail(2).drop("is_fraud", "label_available_at").write_ndjson().encode() + b"[1]\n"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--help",), 0),
        (("train", "--nonsense"), 2),
        (("evaluate", "--format", "pdf", "--json"), 2),
        (("check", "--json"), 0),
        (("models", "list"), 0),
        (("models", "show", "nope"), 4),
        (("score", "nowhere.parquet", "-o", "x.parquet"), 3),
        (("score", "-"), 3),
        (("evaluate", "--no-gate", "--format", "markdown", "--no-progress"), 0),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, tuple) else None,
)
def test_a_command_says_the_same_in_either(trained: Path, args: tuple[str, ...], code: int) -> None:
    sent = events(trained) if args == ("score", "-") else b""
    here, alone = run_in(trained, *args, sent=sent), run_alone(trained, *args, sent=sent)
    assert here == alone
    assert here.code == code, here.err
    assert here.out or here.err


def test_a_variable_of_the_environment_reaches_either(trained: Path) -> None:
    found = [run(trained, "models", "list", env={"COLUMNS": "40"}) for run in (run_in, run_alone)]
    assert found[0] == found[1]
    assert max(map(len, found[0].out.splitlines())) <= 40


def test_the_rows_of_a_table_are_the_same_from_either(trained: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.jsonl"
    new.write_bytes(events(trained)[: -len(b"[1]\n")])
    pl.DataFrame([json.loads(line) for line in new.read_bytes().splitlines()]).write_parquet(tmp_path / "new.parquet")
    for run in (run_in, run_alone):
        done = run(trained, "score", str(tmp_path / "new.parquet"), "-o", str(tmp_path / f"{run.__name__}.parquet"))
        assert done.code == 0, done.err
    here, alone = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("run_in", "run_alone"))
    assert here.equals(alone)
    assert here.height == 2
