"""Which model is the champion, who said so, when and why.

Owns one append-only log, ``registry.jsonl``, beside the bundles: gate verdicts, promotions and rollbacks. The champion
is whatever the last promotion or rollback says. It reads no bundle and evaluates nothing; times and names are given.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from fraudctl import tables
from fraudctl.costs import BASE_RULE, OLD_BASE_RULE
from fraudctl.errors import BundleError, UsageError

LOG_NAME = "registry.jsonl"
_LOCK_NAME = ".registry.lock"


@dataclass(frozen=True)
class Entry:
    """One line of the log."""

    at: str
    """When, ISO 8601 with its offset."""
    event: Literal["gate", "promote", "rollback"]
    version: str
    """The model that was judged or became champion."""
    by: str
    """Who."""
    reason: str
    """Why: the gate's own sentence, or what a person wrote."""
    previous: str | None = None
    """The champion before, or the one that the gate compared with."""
    verdict: str | None = None
    """Of a gate."""
    forced: bool = False
    """Promoted without a passed gate."""
    savings_base: str | None = None
    """Of a gate: what its savings are measured against."""


def history(models_dir: Path) -> tuple[Entry, ...]:
    """Give the log, oldest first; empty where there is none.

    Raises
    ------
    BundleError
        A line cannot be read.
    """
    path = models_dir / LOG_NAME
    if not path.is_file():
        return ()
    return tuple(_entry(line, number, path) for number, line in enumerate(_lines(path), start=1))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {type(error).__name__}"
        raise BundleError(msg) from error


def _entry(line: str, number: int, path: Path) -> Entry:
    try:
        return Entry(**_with_base(json.loads(line)))
    except (json.JSONDecodeError, TypeError) as error:
        msg = f"{path}, line {number}: is not an entry of the registry"
        raise BundleError(msg, hint="restore the file from version control or a backup") from error


def _with_base(document: dict[str, Any]) -> dict[str, Any]:
    """Name the base of savings in gates that were noted before it was part of the log."""
    old = document.get("event") == "gate" and "savings_base" not in document
    return {**document, "savings_base": OLD_BASE_RULE} if old else document


def champion(models_dir: Path) -> str | None:
    """Give the version that is champion now, or None where none has been promoted."""
    return next((item.version for item in reversed(_reigns(history(models_dir)))), None)


def _reigns(entries: tuple[Entry, ...]) -> list[Entry]:
    return [item for item in entries if item.event != "gate"]


def record_gate(
    models_dir: Path,
    version: str,
    *,
    verdict: str,
    reason: str,
    compared_with: str | None,
    now: datetime,
    by: str,
) -> Entry:
    """Note the verdict of a gate, so that a promotion can rest on it.

    Parameters
    ----------
    models_dir
        Folder of the bundles.
    version
        The model that was judged.
    verdict, reason
        Of `fraudctl.evaluate.GateResult`.
    compared_with
        Version of the champion in that gate, or None.
    now
        An instant with its zone.
    by
        Who ran it.
    """
    entry = Entry(
        now.isoformat(), "gate", version, by, reason, previous=compared_with, verdict=verdict, savings_base=BASE_RULE
    )
    with _locked(models_dir):
        _append(models_dir, entry)
    return entry


def promote(models_dir: Path, version: str, *, now: datetime, by: str, force_reason: str | None = None) -> Entry:
    """Make a version the champion.

    It must have passed its latest gate, and that gate must have compared it with today's champion where there is one;
    ``force_reason`` promotes it all the same, and stands in the log.

    Raises
    ------
    UsageError
        The latest gate of the version did not pass, there was none, or it compared with another champion.
    BundleError
        There is no such bundle.
    """
    _must_exist(models_dir, version)
    with _locked(models_dir):
        entries = history(models_dir)
        before = next((item.version for item in reversed(_reigns(entries))), None)
        if before == version:
            msg = f"{version} is the champion already"
            raise UsageError(msg)
        problem = _objection(entries, version, before)
        if problem is not None and not (force_reason or "").strip():
            raise UsageError(problem, hint='evaluate it against the champion first, or say why not: --force "REASON"')
        why = force_reason.strip() if force_reason is not None and problem is not None else _last_gate(entries, version)
        forced = problem is not None
        entry = Entry(now.isoformat(), "promote", version, by, why, previous=before, forced=forced)
        _append(models_dir, entry)
    return entry


def _objection(entries: tuple[Entry, ...], version: str, before: str | None) -> str | None:
    gate = next((item for item in reversed(entries) if item.event == "gate" and item.version == version), None)
    if gate is None:
        return f"{version} has not been through a gate"
    if gate.verdict != "pass":
        return f"the latest gate of {version} says {gate.verdict}: {gate.reason}"
    if gate.savings_base != BASE_RULE:
        then = f"its savings were measured against the {gate.savings_base}, and now are against the {BASE_RULE}"
        return f"{version} passed a gate that no longer counts: {then}"
    if before is not None and gate.previous != before:
        return f"{version} passed a gate that did not compare it with the champion {before}"
    return None


def _last_gate(entries: tuple[Entry, ...], version: str) -> str:
    return next(item.reason for item in reversed(entries) if item.event == "gate" and item.version == version)


def rollback(models_dir: Path, *, reason: str, now: datetime, by: str) -> Entry:
    """Give the crown back to the champion before this one; a second rollback goes one further back.

    Raises
    ------
    UsageError
        There is no earlier champion, or no reason is given.
    BundleError
        The earlier champion's bundle is gone.
    """
    if not reason.strip():
        msg = "a rollback needs a reason"
        raise UsageError(msg, hint="say why with --reason")
    with _locked(models_dir):
        line = succession(history(models_dir))
        if len(line) < 2:
            msg = "there is no earlier champion to go back to"
            raise UsageError(msg)
        _must_exist(models_dir, line[-2])
        entry = Entry(now.isoformat(), "rollback", line[-2], by, reason.strip(), previous=line[-1])
        _append(models_dir, entry)
    return entry


def succession(entries: tuple[Entry, ...]) -> list[str]:
    """Give the line of champions that rollbacks go back along, the present one last."""
    line: list[str] = []
    for item in _reigns(entries):
        if item.event == "promote":
            line.append(item.version)
        else:
            line.pop()
    return line


def _must_exist(models_dir: Path, version: str) -> None:
    if not (models_dir / version / "manifest.json").is_file():
        msg = f"no bundle {version!r} in {models_dir}"
        raise BundleError(msg, hint="`fraudctl models list` names those that are there")


def _append(models_dir: Path, entry: Entry) -> None:
    path = models_dir / LOG_NAME
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    tables.write_text(before + json.dumps(asdict(entry), ensure_ascii=False) + "\n", path)


@contextmanager
def _locked(models_dir: Path) -> Iterator[None]:
    """Keep other processes out while the log is read and written."""
    models_dir.mkdir(parents=True, exist_ok=True)
    with (models_dir / _LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def to_dict(models_dir: Path) -> dict[str, Any]:
    """Give champion and log as JSON."""
    return {"champion": champion(models_dir), "log": [asdict(item) for item in history(models_dir)]}
