"""Receipts of retraining: what each step of a run did, so that a killed run goes on and no step is done twice.

Owns the folder ``runs/``: a lock, and a folder for each run with one sealed document for each step that is done. A
receipt holds the SHA-256 of the one before; the first receipt of a run that of the last receipt of the run before. A
receipt is written when its step is done, whole or not at all. The module trains and judges nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from fraudctl.data import outputs
from fraudctl.disk import files
from fraudctl.documents.sealed import DocumentError, seal, unseal
from fraudctl.errors import BundleError, UsageError

FOLDER: Final = "runs"
_LOCK: Final = ".lock"
_NAME: Final = re.compile(r"(\d{4})-(\d{4}-\d{2}-\d{2})-[0-9a-f]{8}")
_RECEIPT: Final = re.compile(r"(\d{2})-([a-z]+)\.json")
Step = Literal["inputs", "check", "train", "gate", "refit", "promote", "end", "acknowledged"]
"""What a run does, in this order; ``end`` says how it ended, and ``acknowledged`` that a person saw that."""


@dataclass(frozen=True)
class Receipt:
    """One step that is done."""

    step: Step
    """Which."""
    at: str
    """When, ISO 8601 with its offset."""
    by: str
    """Who ran it."""
    facts: Mapping[str, Any]
    """What it found or made, as JSON."""


@dataclass(frozen=True)
class Run:
    """A run as its receipts say.

    Attributes
    ----------
    folder
        Where the receipts are; its name is ``<number>-<as_of>-<8 hex of its inputs>``.
    receipts
        In the order in which they were written.
    last
        SHA-256 of the last receipt.
    """

    folder: Path
    receipts: tuple[Receipt, ...]
    last: str

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.name

    @property
    def number(self) -> int:
        """1 for the first run."""
        return int(self.name[:4])

    def get(self, step: Step) -> Receipt | None:
        """Return the receipt of a step; None where it is not done."""
        return next((item for item in reversed(self.receipts) if item.step == step), None)

    def facts(self, step: Step) -> Mapping[str, Any]:
        """Return what the receipt of a step says; empty where it is not done."""
        receipt = self.get(step)
        return {} if receipt is None else receipt.facts

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.get("end") is not None


def key_of(inputs: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a run depends on, as JSON.

    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keep other runs out; yield False where one is under way. The lock ends with the process, however that ends.

    Raises
    ------
    UsageError
        The folder cannot be made or locked.
    """
    handle = None
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = files.locked(folder / _LOCK)
        except OSError as error:
            msg = f"{folder} cannot be locked: {error.strerror or type(error).__name__}"
            raise UsageError(msg, hint="check space and permissions of the folder") from error
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def history(folder: Path) -> tuple[Run, ...]:
    """Return all runs, the first one first; a folder in which the first receipt was never written is no run.

    Raises
    ------
    BundleError
        A receipt was changed, removed, or does not follow from the one before.
    """
    places = folder.iterdir() if folder.is_dir() else iter(())
    names = sorted(path.name for path in places if _NAME.fullmatch(path.name) and _receipts(path))
    for number, name in enumerate(names, start=1):
        if int(name[:4]) != number:
            msg = f"{folder}: run {number:04d} is missing"
            raise BundleError(msg, hint=_RESTORE)
    found: list[Run] = []
    for name in names:
        found.append(_read(folder / name, found[-1].last if found else ""))
    return tuple(found)


_RESTORE: Final = "restore the folder runs/ from a backup; to begin a new history, move it away as a whole"


def _receipts(place: Path) -> list[str]:
    """Return the names of a run's receipts in their order; none where it died before the first."""
    return sorted(path.name for path in place.iterdir() if _RECEIPT.fullmatch(path.name))


def _read(place: Path, after_run: str) -> Run:
    """Read the receipts of a run."""
    receipts: list[Receipt] = []
    last = after_run
    for number, name in enumerate(_receipts(place), start=1):
        path = place / name
        try:
            content = path.read_bytes()
            document = unseal(content)
            step, after = document["step"], document["after"]
            receipts.append(Receipt(step, document["at"], document["by"], document["facts"]))
        except (OSError, DocumentError, KeyError) as error:
            reason = getattr(error, "strerror", None) or (
                str(error) if isinstance(error, DocumentError) else "no receipt"
            )
            msg = f"{path}: {reason}"
            raise BundleError(msg, hint=_RESTORE) from error
        if name != f"{number:02d}-{step}.json" or after != last:
            msg = f"{path} does not follow from the receipt before it: one was changed or removed"
            raise BundleError(msg, hint=_RESTORE)
        last = hashlib.sha256(content).hexdigest()
    return Run(place, tuple(receipts), last)


def begin(
    folder: Path, before: Sequence[Run], *, as_of: datetime, inputs: Mapping[str, Any], now: datetime, by: str
) -> Run:
    """Begin a run with the receipt of its inputs.

    Parameters
    ----------
    folder
        ``runs/``, locked.
    before
        Of `history`.
    as_of
        What the new model may know.
    inputs
        What the run depends on, as JSON; ``key`` is their digest.
    """
    number = len(before) + 1
    place = folder / f"{number:04d}-{as_of:%Y-%m-%d}-{inputs['key'][:8]}"
    _clear_unbegun(folder, number)
    try:
        place.mkdir()
    except OSError as error:
        msg = f"{place} cannot be made: {error.strerror or type(error).__name__}"
        raise UsageError(msg, hint="check space and permissions of the folder") from error
    return add(Run(place, (), before[-1].last if before else ""), "inputs", inputs, now=now, by=by)


def _clear_unbegun(folder: Path, number: int) -> None:
    """Remove folders of this number that a process made and died before its first receipt."""
    for left in folder.glob(f"{number:04d}-*"):
        for part in left.iterdir():
            part.unlink()
        left.rmdir()


def add(run: Run, step: Step, facts: Mapping[str, Any], *, now: datetime, by: str) -> Run:
    """Write the receipt of a step, whole or not at all; return the run with it.

    Raises
    ------
    UsageError
        It cannot be written.
    """
    receipt = Receipt(step, now.isoformat(), by, facts)
    content = seal({"step": step, "at": receipt.at, "by": by, "facts": facts, "after": run.last})
    place = run.folder / f"{len(run.receipts) + 1:02d}-{step}.json"
    with outputs.whole_file(place) as temporary:
        files.write_bytes(temporary, content)
    files.flush(run.folder.parent)
    read = unseal(content)["facts"]
    return Run(run.folder, (*run.receipts, Receipt(step, receipt.at, by, read)), hashlib.sha256(content).hexdigest())


def failures_in_a_row(runs: Sequence[Run]) -> int:
    """Return how many of the last runs that reached a gate ended with its fail, up to the last acknowledged one."""
    n = 0
    for run in reversed(runs):
        if run.get("acknowledged") is not None:
            break
        verdict = run.facts("gate").get("verdict")
        if verdict == "fail":
            n += 1
        elif verdict is not None:
            break
    return n
