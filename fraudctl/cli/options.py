"""Options that several commands share, declared once."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from datetime import MAXYEAR, MINYEAR, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from fraudctl.errors import UsageError

ProjectPath = Annotated[
    Path, typer.Option("--project", "-p", help="Project file, or the folder that holds fraudctl.toml.")
]
Model = Annotated[str, typer.Option("--model", "-m", help="A version, a path, `latest` or `champion`.")]
Expect = Annotated[
    str | None, typer.Option("--expect", metavar="VERSION", help="Refuse a bundle of any other version than this.")
]
New = Annotated[bool, typer.Option("--new", help="Begin with an empty state where --state holds none.")]
History = Annotated[
    list[Path] | None,
    typer.Option("--history", help="Parquet or CSV with the events before: what the windows look back on."),
]
SourceFiles = Annotated[
    list[str] | None,
    typer.Option("--source", help="NAME=FILE for a table of [sources]. Default: where the project file says."),
]

Spark = Annotated[
    str | None,
    typer.Option(
        "--spark",
        metavar="WHERE",
        help="Compute on a cluster: a master such as local[4], a server as sc://HOST:PORT, or sail for one of its own.",
    ),
]
Partitions = Annotated[
    int | None,
    typer.Option(
        min=1, max=100_000, help="Tasks that a cluster works on at a time. Default: twice this machine's processors."
    ),
]
Control = Annotated[
    str | None, typer.Option("--control", help="Share of events let through if they would be blocked: 0.5%.")
]
ControlCap = Annotated[
    float | None, typer.Option("--control-cap", help="Most expected loss of the control group a day, in money.")
]
Salt = Annotated[str | None, typer.Option("--salt", help="Name of the control group, and key of its draw.")]

Date = str | None

HERE = Path()


def there(project: Path) -> str:
    """Return what a command that is named to the user needs to find the project: empty in its own folder.

    >>> there(HERE), there(Path("my folder"))
    ('', " --project 'my folder'")
    """
    return "" if project == HERE else f" --project {shlex.quote(str(project))}"


def shown_path(path: Path) -> str:
    """Return a path as the user wrote it: `Path` makes one slash of the two of an address.

    >>> shown_path(Path("s3://bucket/x.parquet")), shown_path(Path("x.parquet"))
    ('s3://bucket/x.parquet', 'x.parquet')
    """
    from fraudctl.disk.files import address_of

    return address_of(path) or str(path)


def partitions_of(given: int | None) -> int:
    """Return the partitions that were asked for; by default twice the processors of this machine."""
    return given or 2 * (os.cpu_count() or 1)


def refuse_beside_spark(
    spark: str | None, partitions: int | None, output: Path | None, others: Mapping[str, bool]
) -> None:
    """Reject options that mean nothing on a cluster, and ``--partitions`` without one.

    Parameters
    ----------
    others
        By option: whether it was given.
    """
    given = [name for name, is_given in others.items() if is_given]
    if spark is None:
        if partitions is not None:
            msg = "--partitions is for --spark; one process needs none"
            raise UsageError(msg, hint="leave it out, or name a cluster with --spark")
        return
    if given:
        msg = f"--spark and {given[0]} exclude each other"
        raise UsageError(msg, hint=f"leave {given[0]} out: one process knows it")
    if output is None:
        msg = "--spark needs --output: a cluster writes its table as files"
        raise UsageError(msg, hint="name a folder that all workers see with -o FOLDER")


def moment(text: str | None) -> datetime | date | None:
    """Read a date, or a time in ISO 8601; both are local to the project where they name no zone."""
    if text is None:
        return None
    try:
        found = date.fromisoformat(text) if len(text) == len("2026-06-01") else datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{text!r} is neither a date nor a time; expected a form such as 2026-06-01 or 2026-06-01T12:00:00+02:00"
        raise UsageError(msg) from error
    if not MINYEAR < found.year < MAXYEAR:  # a day more, or another time zone, may be beyond
        msg = f"{text!r} is out of range; expected a year from {MINYEAR + 1} to {MAXYEAR - 1}"
        raise UsageError(msg)
    return found


def file_or_version(text: str | None, *, timezone: str) -> tuple[Path | None, int | datetime | None]:
    """Read a file or folder that exists, or else a version of a table: a number, or an instant.

    >>> file_or_version("12", timezone="UTC")
    (None, 12)
    """
    from zoneinfo import ZoneInfo

    if text is None:
        return None, None
    if Path(text).exists():
        return Path(text), None
    if text.isdigit():
        return None, int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{text!r} is no file, and neither the number of a version nor an instant such as 2026-06-01T12:00:00Z"
        raise UsageError(msg) from error
    return None, at if at.tzinfo is not None else at.replace(tzinfo=ZoneInfo(timezone))


def length_of_days(text: str, option: str) -> int:
    """Read a length of time in whole days, at least one.

    >>> length_of_days("26w", "--period")
    182
    """
    from fraudctl.project.types import PositiveDuration

    try:
        seconds = PositiveDuration.parse(text).seconds
    except ValueError as error:
        msg = f"{option}: {error}"
        raise UsageError(msg, hint=f"give a length of at least a day, such as {option} 16w") from error
    if seconds % 86_400:
        msg = f"{option}: {text!r} is no whole number of days"
        raise UsageError(msg)
    return seconds // 86_400


def named_paths(texts: list[str]) -> dict[str, list[str]]:
    """Read ``NAME=FILE``, several of one name together."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            msg = f"{text!r} is not of the form NAME=FILE"
            raise UsageError(msg)
        found.setdefault(name, []).append(path)
    return found


_UNITS = {"MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}


def memory_size(text: str) -> int:
    """Read an amount of memory in bytes.

    >>> memory_size("1.5GB")
    1500000000
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([A-Za-z]+)", text.strip())
    if match is None or match[2].upper() not in _UNITS:
        msg = f"--memory: {text!r} is not an amount of memory; expected a number and MB, GB, MiB or GiB, such as 2GB"
        raise UsageError(msg)
    return int(float(match[1]) * _UNITS[match[2].upper()])
