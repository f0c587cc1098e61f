"""Any input: every command ends with 0 to 5, without a traceback and without a value of a cell in its messages.

Seeded: a project is spoiled in many ways, and commands run in this process, so that hundreds of them take seconds.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from fraudctl.__main__ import main
from fraudctl.registry import LOG_NAME

CARD = "4111111111111111"
TOML = """
[project]
name = "any"
[data]
events = "x.csv"
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_delay = "1d"
[entities]
card = "card"
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count"]
[costs.actions]
allow.fraud = { fixed = 15 }
block.legit = { fixed = 8 }
"""
COMMANDS = [
    ["check"], ["features"], ["train"], ["audit"], ["evaluate"], ["explain"], ["threshold"], ["models", "list"],
    ["compare", "latest", "champion"], ["score", "x.csv", "-o", "out.parquet"], ["state", "show", "st"],
    ["state", "build", "st", "--history", "x.csv"], ["state", "compact", "st"], ["serve", "--state", "st"],
    ["models", "promote", "latest"], ["init", "x.csv"], ["features", "--since", "2024-01-20"], ["models", "rollback"],
]  # fmt: skip


def csv() -> bytes:
    start = datetime(2024, 1, 1)
    rows = [f"{i},{start + timedelta(hours=i)},{i % 9}.5,{int(i % 7 == 0)},{CARD}" for i in range(300)]
    return ("id,at,amount,fraud,card\n" + "\n".join(rows) + "\n").encode()


def _file(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return spoil


def _instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return spoil


def _toml(old: str, new: str) -> Callable[[Path], None]:
    return _file("fraudctl.toml", lambda content: content.replace(old.encode(), new.encode()))


def _state(content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "st").mkdir()
        for name in ("snapshot-000000000001.bin", "log-000000000001.bin"):
            (folder / "st" / name).write_bytes(content)

    return spoil


def _bundle(content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        place = folder / "models" / "2024-01-01-00000000"
        place.mkdir(parents=True)
        (place / "manifest.json").write_bytes(content)

    return spoil


def _registry(content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "models").mkdir()
        (folder / "models" / LOG_NAME).write_bytes(content)

    return spoil


def _column(text: str) -> Callable[[Path], None]:
    return _toml("[costs.actions]", f"[features.columns]\nodd = '''{text}'''\n[costs.actions]")


SPOILED: dict[str, Callable[[Path], None]] = {
    "nothing": lambda _: None,
    "no header": _file("x.csv", lambda content: content.partition(b"\n")[2]),
    "empty": _file("x.csv", lambda _: b""),
    "header alone": _file("x.csv", lambda content: content.partition(b"\n")[0]),
    "no UTF-8": _file("x.csv", lambda content: content.replace(b"4111", b"\xff\xfe11", 3)),
    "NUL": _file("x.csv", lambda content: content.replace(b"4111", b"\x0011", 3)),
    "ragged": _file("x.csv", lambda content: content.replace(b"\n", b",9,9\n", 5)),
    "quotes": _file("x.csv", lambda content: content.replace(b",4111", b',"4111', 1)),
    "text for numbers": _file("x.csv", lambda content: content.replace(b".5,", f".5 {CARD},".encode(), 9)),
    "odd time": _file("x.csv", lambda content: content.replace(b"2024-01-02 00:00:00", CARD.encode(), 1)),
    "one long cell": _file("x.csv", lambda content: content + b"9," + b"x" * 1_000_000),
    "folder for a file": _instead("x.csv", Path.mkdir),
    "loop": _instead("x.csv", lambda path: path.symlink_to(path)),
    "project: folder": _instead("fraudctl.toml", Path.mkdir),
    "project: loop": _instead("fraudctl.toml", lambda path: path.symlink_to(path)),
    "project: empty": _file("fraudctl.toml", lambda _: b""),
    "project: no UTF-8": _file("fraudctl.toml", lambda content: content + b"\xff\xfe"),
    "project: NUL": _file("fraudctl.toml", lambda content: content.replace(b"any", b"a\x00y")),
    "project: deep": _file("fraudctl.toml", lambda content: content + b"a = " + b"[" * 50_000),
    "project: deep tables": _file("fraudctl.toml", lambda content: content + b"[" + b"a." * 20_000 + b"b]\n"),
    "project: huge number": _toml('label_delay = "1d"', "label_delay = " + "9" * 5000),
    "project: long name": _toml('"any"', '"' + "n" * 5000 + '"'),
    "project: long path": _toml('"x.csv"', '"' + "n" * 5000 + '.csv"'),
    "project: NUL in a path": _toml('"x.csv"', '"x\\u0000.csv"'),
    "project: pattern": _toml('"x.csv"', '"[["'),
    "project: many patterns": _toml('"x.csv"', '"' + "**/" * 300 + '*.csv"'),
    "project: odd zone": _toml('label = "fraud"', 'label = "fraud"\ntimezone = "../../x"'),
    "project: far window": _toml('["1d"]', '["999999999999d"]'),
    "project: odd delay": _toml('"1d"\n[entities]', '"99999999999999999999d"\n[entities]'),
    "project: odd action": _toml("allow.fraud", '"a\\"b\\nc".fraud'),
    "SQL: and": _column("amount > 1" + " and amount > 1" * 600),
    "SQL: text": _column("'a'" + " || 'a'" * 600),
    "SQL: brackets": _column("(" * 5000 + "amount" + ")" * 5000),
    "SQL: nothing": _column(" "),
    "SQL: odd": _column("cast('x' as int) / 0"),
    "state: empty": _state(b""),
    "state: rubbish": _state(b"\x00" * 300),
    "state: long": _state(b"fraudctl state 4\n" + b"[" * 100_000),
    "bundle: empty": _bundle(b""),
    "bundle: deep": _bundle(b"[" * 100_000),
    "bundle: list": _bundle(b"[]"),
    "models: a file": lambda folder: (folder / "models").write_text("x"),
    "cache: a file": lambda folder: (folder / ".fraudctl").write_text("x"),
    "registry: rubbish": _registry(b"\xff[[["),
    "registry: deep": _registry(b"[" * 100_000 + b"\n"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(SPOILED))
def test_every_command_ends_as_it_says(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_bytes(csv())
    (tmp_path / "fraudctl.toml").write_text(TOML)
    SPOILED[kind](tmp_path)
    draw = random.Random(kind)  # noqa: S311 - no secret
    commands = [["check"], *draw.sample(COMMANDS[1:], 5)]
    for command in commands:
        if kind == "nothing" and command[0] == "serve":
            continue
        code = main([*command, "--quiet"])
        told = capfd.readouterr()
        assert code in range(6), (command, told.err)
        assert "Traceback" not in told.err, command
        assert CARD not in told.out + told.err, (command, told.err)
        assert not code or told.err.strip() or told.out.strip(), command
        assert all(len(line) < 20_000 for line in told.err.splitlines()), command


@pytest.mark.parametrize("name", ["n" * 5000, "a\0b", "../" * 3000, "\udcff", "", " ", "-"])
def test_names_that_no_file_can_have(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_bytes(csv())
    (tmp_path / "fraudctl.toml").write_text(TOML)
    for command in (["check", "-p", name], ["score", name, "-o", "o.parquet"], ["score", "x.csv", "-o", name],
                    ["evaluate", "-m", name], ["state", "show", name], ["init", name], ["features", "-o", name],
                    ["score", "-", "--state", name], ["models", "promote", name], ["explain", "--event", name],
                    ["state", "build", name, "--history", "x.csv"], ["compare", name, name]):  # fmt: skip
        code = main([*command, "--quiet"])
        told = capfd.readouterr()
        assert code in range(6), (command[:2], told.err[-2000:])
        assert "Traceback" not in told.err, command[:2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_bytes(csv())
    (tmp_path / "fraudctl.toml").write_text(TOML)
    tmp_path.chmod(0o500)
    try:
        assert main(["features", "--quiet"]) in range(6)
        assert main(["state", "build", "st", "--history", "x.csv", "--quiet"]) in range(6)
    finally:
        tmp_path.chmod(0o700)


def test_a_header_of_names_is_asked_for(tmp_path: Path) -> None:
    from fraudctl.data.tables import scan
    from fraudctl.errors import DataError
    from fraudctl.text.plain import looks_like_value, shown, shown_all

    names = {"id": 1, "V17": 2, "2": 3, "amount_30d": 4}
    pl.DataFrame(names).write_csv(tmp_path / "good.csv")
    assert scan([str(tmp_path / "good.csv")]).collect_schema().names() == list(names)
    (tmp_path / "bad.csv").write_text(f"{CARD},a@b.org,7.92\n1,2,3\n")
    with pytest.raises(DataError, match="3 of 3 column names look like values"):
        scan([str(tmp_path / "bad.csv")])
    for name in (CARD, "4111 1111-1111 1111", "a@b.org", "2024-02-01T04:26:34", "7.92", "x" * 200, "card 123456789"):
        assert looks_like_value(name)
        assert name not in shown(name) + shown_all([name, "amount"])
    assert shown_all(["amount", "card\x1b"]) == "amount, card\\x1b"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        ("models list --json >/dev/full", 2), ("models list >/dev/full", 2), ("models list --json >&-", 0),
        ("models show nope 2>/dev/full", 4), ("models show nope 2>&-", 4), ("models show nope >&- 2>&- <&-", 4),
        ("models list --json >/dev/full 2>/dev/full", 2),
    ],
)  # fmt: skip
def test_streams_that_cannot_be_written_change_no_code_to_that_of_a_gate(
    redirected: str, code: int, tmp_path: Path
) -> None:
    (tmp_path / "fraudctl.toml").write_text(
        '[data]\nevents = "e.parquet"\nevent_id = "a"\nevent_time = "b"\nlabel = "c"\nlabel_delay = "7d"\n'
    )
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m fraudctl {redirected}"], check=False, cwd=tmp_path, capture_output=True
    )
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
