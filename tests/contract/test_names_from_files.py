"""Names that come from a file are not trusted to be names: no command prints one that is a value of a cell."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from fraudctl.__main__ import main
from fraudctl.checks.report import ColumnFacts, Finding
from fraudctl.errors import BundleError, DataError, FraudctlError, ProjectError, UsageError
from fraudctl.text.plain import masked

CARD, GAPPED, MAIL, IBAN = "4111111111111111", "5500 0000 0000 0004", "max.muster@example.org", "GB29NWBK60161331926819"
LONG = "surname " * 625
ODD = (CARD, GAPPED, MAIL, IBAN, LONG, "x" * 5000)
PROJECT = """
[project]
name = "names"
[data]
events = "x.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_delay = "1d"
[entities]
card = "{entity}"
[sources.logins]
events = "y.parquet"
event_time = "{time}"
entities = {{ card = "card" }}
[features]
raw = ["{raw}"]
[features.columns]
odd = "{sql}"
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count", "{aggregate}"]
[[features.window]]
by = "card"
source = "logins"
windows = ["1d"]
aggregates = ["{beside}"]
[split]
folds = 2
[train]
trials = 0
iterations = 10
threads = 1
[costs.actions]
allow.fraud = {{ column = "{cost}" }}
block.legit = {{ fixed = 8 }}
"""
SOUND = {
    "entity": "card", "time": "at", "raw": "amount", "sql": "amount + 1", "aggregate": "mean(amount)",
    "beside": "count", "cost": "amount",
}  # fmt: skip
"""A project file that fits, and what may be wrong in it: each wrong name makes another place list the columns."""
WRONG = {
    "nothing": {}, "entity": {"entity": "crad"}, "time": {"time": "when"}, "raw": {"raw": "411111111111111"},
    "sql": {"sql": "amonut + 1"}, "aggregate": {"aggregate": "mean(amonut)"}, "beside": {"beside": "mean(amonut)"},
    "cost": {"cost": "amuont"},
}  # fmt: skip
GIVEN = ["--label-delay", "1d", "--entity", "card=card"]
COMMANDS = [
    ["check"], ["check", "--json"], ["check", "--strict"], ["features"], ["features", "--json"], ["train"], ["audit"],
    ["evaluate"], ["explain"], ["threshold"], ["score", "x.parquet", "-o", "out.parquet"],
    ["state", "build", "st", "--history", "x.parquet"], ["evaluate", "--predictions", "x.parquet"],
    ["init", "x.parquet", "--force", *GIVEN], ["init", "x.parquet", "--force", "--json", *GIVEN],
    ["init", "x.parquet", "--force", "--label", "nosuch"], ["init", "x.parquet", "--force", "--amount", CARD[:-1]],
    ["init", "x.parquet", "--force", "--source", "logins=y.parquet", *GIVEN], ["compare", "latest", "champion"],
]  # fmt: skip


def _events(*, n: int = 1500) -> pl.DataFrame:
    start = datetime(2024, 1, 1)
    columns = {
        "id": list(range(n)), "at": [start + timedelta(hours=i) for i in range(n)],
        "amount": [i % 9 + 0.5 for i in range(n)], "fraud": [int(i * 7919 % 13 == 0) for i in range(n)],
        "card": [i % 40 for i in range(n)],
    }  # fmt: skip
    odd = {name: [float(i % 5) if place % 2 else None for i in range(n)] for place, name in enumerate(ODD)}
    return pl.DataFrame(columns | odd)


def _no_value_of_a_cell(text: str) -> bool:
    folded = "".join(text.split())
    return not any("".join(name.split())[:200] in folded for name in ODD)


@pytest.mark.parametrize("wrong", list(WRONG))
def test_no_command_prints_them(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = _events()
    frame.write_parquet(tmp_path / "x.parquet")
    frame.rename({"amount": "value"}).write_parquet(tmp_path / "y.parquet")
    text = PROJECT.format(**(SOUND | WRONG[wrong]))
    for command in COMMANDS if wrong == "nothing" else COMMANDS[:4]:
        (tmp_path / "fraudctl.toml").write_text(text)
        code = main(command)
        told = capfd.readouterr()
        assert code in range(6), (command, told.err[-3000:])
        assert _no_value_of_a_cell(told.out), (command, told.out[-3000:])
        assert _no_value_of_a_cell(told.err), (command, told.err[-3000:])
        if command[0] == "init":
            assert _no_value_of_a_cell((tmp_path / "fraudctl.toml").read_text()), command


def test_a_proposal_leaves_them_out_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _events().write_parquet(tmp_path / "x.parquet")
    assert main(["init", "x.parquet", *GIVEN, "--json"]) == 0
    told = capfd.readouterr()
    assert f"{len(ODD)} of the data's columns have names that look like values" in told.out + told.err
    assert main(["check", "--json"]) in (0, 1)
    assert "a name of 16 characters" in capfd.readouterr().out


@pytest.mark.parametrize("kind", [FraudctlError, UsageError, ProjectError, DataError, BundleError])
def test_every_error_is_masked_whoever_writes_it(kind: type[FraudctlError]) -> None:
    for name in ODD[:4]:
        error = kind(f"no column {name!r} here", hint=f"rename {name}")
        assert name not in f"{error}{error.message}{error.hint}{error.args}"
    finding = Finding("x", "info", CARD, f"{MAIL} is null", hint=IBAN)
    assert not {CARD, MAIL, IBAN} & {finding.where, *finding.what.split(), str(finding.hint)}
    assert ColumnFacts(LONG, "String", "raw", 0, 1).name == f"a name of {len(LONG)} characters"


@pytest.mark.parametrize(
    "text",
    ["1,234,567,890 rows of 12 files", "9223372036854775807 is too large", "at 2026-01-31T23:59:59.123456+00:00",
     "model 2026-01-31-0123abcd", "/data/a@b.org/x.parquet cannot be read", "SHA-256 is 2d711642b726b044",
     "columns amount_30d, V17, card_country", "1767225600000000 microseconds"],
)  # fmt: skip
def test_what_is_no_value_stays(text: str) -> None:
    assert masked(text) == text


def test_texts_of_native_libraries_go_nowhere(tmp_path: Path) -> None:
    """What is written to descriptor 2 behind Python's back, as a panic of Polars is, is not shown; errors are."""
    code = (
        "import os, sys\n"
        "import fraudctl.__main__ as entry, fraudctl.cli.app as app\n"
        "def run(args):\n"
        f"    os.write(2, b'thread panicked: {CARD}')\n"
        "    print('a note', file=sys.stderr)\n"
        "    from fraudctl.errors import DataError\n"
        "    raise DataError('no such thing')\n"
        "app.run = run\n"
        "sys.exit(entry.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path,
        env={**os.environ},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "a note\nerror: no such thing\n")
