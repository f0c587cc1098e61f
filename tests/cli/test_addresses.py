"""No command takes an address for a folder of this machine: it goes to the store, or is refused."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run_in

from fraudctl.cli.commands import COMMANDS
from fraudctl.cli.commands.models import MODELS
from fraudctl.cli.commands.state import STATE
from fraudctl.data import outputs
from fraudctl.disk.files import address_of
from fraudctl.disk.stores import is_address
from fraudctl.errors import UsageError
from fraudctl.scoring.store import Store

ADDRESSES = (
    "s3://bucket/x.parquet",
    "gs://bucket/a/b",
    "abfss://c@account.net/x",
    "https://host/x",
    "S3://b",
    "file:///x",
)


IN_STORES = {
    ("features", "output"), ("score", "output"), ("score", "history"), ("serve", "history"), ("consume", "history"),
    ("state build", "history"), ("audit", "features"), ("evaluate", "scores"), ("compare", "decisions"),
    ("dashboard", "decisions"), ("ab", "decisions"),
}  # fmt: skip
"""Options whose path may be an address; `tests/cli/test_stores.py` runs some of them."""


def path_options() -> list[tuple[str, str]]:
    """Every option and argument of every command that is a path: (command, parameter)."""
    named = {**COMMANDS, **{f"models {n}": f for n, f in MODELS.items()}, **{f"state {n}": f for n, f in STATE.items()}}
    return [
        (name, parameter.name)
        for name, function in named.items()
        for parameter in inspect.signature(function).parameters.values()
        if "Path" in str(getattr(parameter.annotation, "__origin__", parameter.annotation))
    ]


@pytest.mark.parametrize(("name", "parameter"), path_options())
def test_every_path_of_every_command_refuses_an_address_or_takes_it(name: str, parameter: str, tmp_path: Path) -> None:
    named: dict[str, Any] = {**COMMANDS, **{f"models {n}": f for n, f in MODELS.items()}}
    named |= {f"state {n}": f for n, f in STATE.items()}
    if parameter in named[name].stores:
        assert (name, parameter) in IN_STORES
        return
    with pytest.raises(UsageError, match="is an address; expected a path on this machine"):
        named[name](**{parameter: Path("s3://bucket/x")})


def test_there_are_paths() -> None:
    assert len(path_options()) > 30
    assert set(path_options()) > IN_STORES


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_output_to_an_address_makes_no_folder(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if not is_address(text):  # of a store, where it is written or refused: test_stores.py
        with pytest.raises(UsageError, match="is an address"):
            outputs.write_parquet(pl.DataFrame({"x": [1]}), Path(text))
    with pytest.raises(UsageError, match="is an address"):
        Store(Path(text))
    done = run_in(tmp_path, "sample", text, "--events", "5000")
    assert done.code == 2
    assert "hint:" in done.err
    assert list(tmp_path.iterdir()) == []


def test_paths_of_this_machine_are_none() -> None:
    for text in ("a", "/a/b", "a:b", "C:/data", "/data/s3:/x", "a b:/c"):
        assert address_of(Path(text)) is None
    assert address_of(Path("s3://bucket/x")) == "s3://bucket/x"
