"""Which models were written, judged and promoted: when, by whom and why.

Owns one append-only log, ``registry.jsonl``, in the folder of the bundles. Each line is a JSON document, ends with a
line feed alone, and carries a hash chained to the line before; ``.registry.head`` says how far the log reached at
least. A line that was altered, removed or cut is therefore found with its number. The champion is what the last
promotion or rollback says, and ``latest`` is what was written last. The module reads no bundle and evaluates nothing;
times and names are given.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, Literal, get_args

from fraudctl.costs import BASE_RULE, OLD_BASE_RULE
from fraudctl.disk.chained import ChainedLog, LogLines
from fraudctl.disk.stores import RacedError
from fraudctl.documents.types import JsonObject
from fraudctl.errors import BundleError, UsageError

LOG_NAME: Final = "registry.jsonl"
HEAD_NAME: Final = ".registry.head"
_TRIES: Final = 20
"""How often an entry is tried while other machines write a registry that is shared."""
_PAUSE: Final = 0.05
"""Seconds by which the longest pause grows from try to try: machines that tried in step would lose to each other."""
_LOCK_NAME: Final = ".registry.lock"

WrittenBy = Literal["train", "threshold", "refit"]
Event = Literal["train", "threshold", "refit", "gate", "promote", "rollback"]
_WRITTEN: Final = get_args(WrittenBy)


class PromotionError(UsageError):
    """Evidence, or the lack of it, speaks against a promotion (exit code 2)."""


@dataclass(frozen=True)
class Entry:
    """One line of the log."""

    at: str
    """When, ISO 8601 with its offset."""
    event: Event
    version: str
    """The model that was written, judged or promoted."""
    by: str
    """Who."""
    reason: str
    """Why: the gate's own sentence, or what a person wrote."""
    previous: str | None = None
    """The champion before, the model that the gate compared with, or the parent of a written version."""
    verdict: str | None = None
    """Of a gate."""
    forced: bool = False
    """Promoted against an objection."""
    savings_base: str | None = None
    """Of a gate: what its savings are measured against."""
    evidence: Mapping[str, Any] | None = None
    """Of a gate: period, events, frauds, rules, hashes, and under ``not_own`` what the person who ran it chose by hand.
    Of a promotion: the gate entry that it rests on with what that judged, and the objections that were overruled."""


@dataclass(frozen=True)
class _Log:
    """The log as it was read and verified."""

    lines: LogLines
    entries: tuple[Entry, ...]


def history(models_dir: Path) -> tuple[Entry, ...]:
    """Return the log, oldest entry first; empty where there is none.

    Raises
    ------
    BundleError
        A line cannot be read, was changed or was removed.
    """
    return _read(models_dir).entries


def _chained(models_dir: Path) -> ChainedLog:
    return ChainedLog(models_dir, LOG_NAME, HEAD_NAME, _LOCK_NAME, b"fraudctl registry", "the registry")


def _read(models_dir: Path) -> _Log:
    """Read the log and verify every line."""
    log = _chained(models_dir)
    lines = log.read()
    return _Log(lines, tuple(_entry(body, number, log) for number, body in enumerate(lines.bodies, start=1)))


def _entry(body: bytes, number: int, log: ChainedLog) -> Entry:
    try:
        entry = Entry(**_with_base(json.loads(body)))
    except (ValueError, TypeError) as error:
        raise log.damaged(number, "is not an entry of the registry") from error
    texts = (entry.at, entry.event, entry.version, entry.by, entry.reason)
    optional = (entry.previous, entry.verdict, entry.savings_base)
    sound = all(isinstance(item, str) for item in texts) and isinstance(entry.forced, bool)
    sound &= all(item is None or isinstance(item, str) for item in optional)
    sound &= entry.evidence is None or isinstance(entry.evidence, dict)
    if not sound or entry.event not in get_args(Event):
        raise log.damaged(number, "is not an entry that this fraudctl knows")
    return entry


def _with_base(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name the base of savings in gates that were noted before it was part of the log."""
    old = document.get("event") == "gate" and "savings_base" not in document
    return {**document, "savings_base": OLD_BASE_RULE} if old else document


def champion(models_dir: Path) -> str | None:
    """Return the version that is champion now, or None where none has been promoted."""
    return _champion(history(models_dir))


def _champion(entries: Sequence[Entry]) -> str | None:
    return next((item.version for item in reversed(_reigns(entries))), None)


def _reigns(entries: Sequence[Entry]) -> list[Entry]:
    return [item for item in entries if item.event in ("promote", "rollback")]


def in_order_of_writing(entries: Sequence[Entry], versions: Collection[str]) -> tuple[list[str], list[str]]:
    """Split versions into those the log does not know, by name, and the others in the order of their last writing."""
    last = {item.version: place for place, item in enumerate(entries) if item.event in _WRITTEN}
    unknown = sorted(set(versions) - set(last))
    return unknown, sorted(set(versions) & set(last), key=last.__getitem__)


def latest(entries: Sequence[Entry], versions: Collection[str]) -> str:
    """Return the version that was written last, of those that are there.

    A version that the log does not know (written by an older fraudctl, or copied) counts as older than every version
    that it knows. If it knows none of several, their order is unknown.

    Parameters
    ----------
    entries
        Of `history`.
    versions
        Names of the bundles that are there.

    Raises
    ------
    BundleError
        There is no version, or the order of several is unknown.
    """
    unknown, written = in_order_of_writing(entries, versions)
    if written:
        return written[-1]
    if not unknown:
        msg = "there is no bundle"
        raise BundleError(msg, hint="`fraudctl train` writes one")
    if len(unknown) > 1:
        msg = f"`latest` is ambiguous: the log does not say which of these was written last: {', '.join(unknown)}"
        raise BundleError(msg, hint=f"name one, such as --model {unknown[-1]}; the log has what is trained from now on")
    return unknown[0]


def record_written(
    models_dir: Path, version: str, *, event: WrittenBy, parent: str | None, now: datetime, by: str
) -> Entry:
    """Record that a version was written; it is `latest` until the next one is."""
    again = "fitted again on newer labels" if event == "refit" else "policy of {parent} chosen again"
    reason = "trained" if parent is None else again.format(parent=parent)
    return _add(models_dir, Entry(now.isoformat(), event, version, by, reason, previous=parent))


def record_gate(
    models_dir: Path,
    version: str,
    *,
    verdict: str,
    reason: str,
    compared_with: str | None,
    now: datetime,
    by: str,
    evidence: Mapping[str, Any] | None = None,
) -> Entry:
    """Record the verdict of a gate, so that a promotion can rest on it.

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
    evidence
        As JSON: what was judged by which rules. ``not_own`` lists what was chosen by hand instead of taken from the
        model and the project; ``sections`` has a digest of each section of the project file that decides a verdict.
    """
    entry = Entry(
        now.isoformat(), "gate", version, by, reason, previous=compared_with, verdict=verdict, savings_base=BASE_RULE,
        evidence=evidence,
    )  # fmt: skip
    return _add(models_dir, entry)


def _add(models_dir: Path, entry: Entry) -> Entry:
    for number in range(1, _TRIES + 1):
        with _chained(models_dir).locked(), contextlib.suppress(RacedError):
            _append(models_dir, _read(models_dir), entry)
            return entry
        time.sleep(SystemRandom().uniform(0, number * _PAUSE))
    msg = f"other machines have written the registry {_TRIES} times meanwhile; nothing was noted"
    raise UsageError(msg, hint="run the command again")


def promote(
    models_dir: Path,
    version: str,
    *,
    now: datetime,
    by: str,
    force_reason: str | None = None,
    sections: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Entry:
    """Make a version the champion.

    It must have passed its latest gate on its own test period by the project's own rules, these rules must still be
    those of the project file, and the gate must have compared it with today's champion where there is one.
    ``force_reason`` promotes it all the same; reason and objections stand in the log.

    Parameters
    ----------
    sections
        Digests of the sections of the present project file, as in the evidence of a gate; None compares none.
    facts
        What else the entry's evidence says, as JSON.

    Raises
    ------
    PromotionError
        There is an objection and no reason, or the version is the champion already.
    UsageError
        The log cannot be written.
    BundleError
        There is no such bundle, or the log is damaged.
    """
    _must_exist(models_dir, version)
    reason = (force_reason or "").strip()
    with _chained(models_dir).locked(), _nobody_else(models_dir, version):
        log = _read(models_dir)
        before = _champion(log.entries)
        if before == version:
            msg = f"{version} is the champion already"
            raise PromotionError(msg)
        gate = deciding_gate(log.entries, version)
        problems = list(_objections(log.entries, gate, version, before, sections or {}))
        if problems and not reason:
            raise PromotionError("; ".join(problems), hint=_REMEDY)
        why = reason if problems or gate is None else gate.reason
        evidence = {**_judged_on(gate), "objections": problems, "sections": dict(sections or {}), **(facts or {})}
        entry = Entry(
            now.isoformat(), "promote", version, by, why, previous=before, forced=bool(problems), evidence=evidence
        )
        _append(models_dir, log, entry)
    return entry


@contextlib.contextmanager
def _nobody_else(models_dir: Path, version: str) -> Iterator[None]:
    """Raise a PromotionError where another machine has written the shared registry first: its word holds."""
    try:
        yield
    except RacedError as error:
        last = _read(models_dir).entries[-1]
        what = f"{last.by} noted {last.event} of {last.version} at {last.at}"
        msg = f"another machine wrote the registry first ({what}); {version} was not promoted"
        raise PromotionError(msg, hint="look at `fraudctl models list`, and decide again") from error


_JUDGED = ("period", "events", "frauds", "evaluation", "report", "refit_of", "agreement")


def _judged_on(gate: Entry | None) -> JsonObject:
    """Return what a promotion was judged on: the gate's entry, its period, its counts and the hashes of its papers."""
    if gate is None:
        return {"gate_at": None}
    found = gate.evidence or {}
    judged = {name: found[name] for name in _JUDGED if found.get(name) is not None}
    return {"gate_at": gate.at, "verdict": gate.verdict, "judged": judged}


_REMEDY = (
    "run `fraudctl evaluate -m VERSION` (with --champion champion where there is one), without a period or scores of "
    'your own; or say why it is promoted all the same: --force "REASON"'
)


def counts(gate: Entry) -> bool:
    """Return whether a gate judged the model's own test period by the project's own rules, as far as the log says."""
    return gate.evidence is not None and not gate.evidence.get("not_own", ["unknown"])


def deciding_gate(entries: Sequence[Entry], version: str) -> Entry | None:
    """Return the latest gate that counts; where none does, the latest of all."""
    gates = [item for item in reversed(entries) if item.event == "gate" and item.version == version]
    return next((item for item in gates if counts(item)), gates[0] if gates else None)


def _objections(
    entries: Sequence[Entry], gate: Entry | None, version: str, before: str | None, sections: Mapping[str, str]
) -> Iterator[str]:
    """Yield what speaks against a promotion that rests on a gate."""
    if gate is None:
        yield f"{version} has not been through a gate"
        return
    if gate.evidence is None:
        yield f"the gate of {version} was noted without its period and rules, by an earlier fraudctl"
    elif not counts(gate):
        yield f"the gate of {version} does not count: {'; '.join(gate.evidence.get('not_own', ['unknown']))}"
    if gate.verdict != "pass":
        yield f"the latest gate of {version} says {gate.verdict}: {gate.reason}"
        if any(item.version == version and item.verdict == "pass" for item in entries[entries.index(gate) + 1 :]):
            yield "a later gate passed by rules or on events that were chosen by hand, and does not count"
    elif gate.savings_base != BASE_RULE:
        then = f"its savings were measured against the {gate.savings_base}, and now are against the {BASE_RULE}"
        yield f"{version} passed a gate that no longer counts: {then}"
    elif before is not None and gate.previous != before:
        yield f"{version} passed a gate that did not compare it with the champion {before}"
    noted = (gate.evidence or {}).get("sections", {})
    edited = [f"[{name}]" for name, digest in sections.items() if name in noted and noted[name] != digest]
    if edited:
        yield f"{' and '.join(edited)} of the project file changed after the gate of {version}"


def rollback(models_dir: Path, *, reason: str, now: datetime, by: str) -> Entry:
    """Make the champion before this one the champion again; a second rollback goes one further back.

    Raises
    ------
    UsageError
        There is no earlier champion, or no reason is given.
    BundleError
        The earlier champion's bundle is gone, or the log is damaged.
    """
    if not reason.strip():
        msg = "a rollback needs a reason"
        raise UsageError(msg, hint="say why with --reason")
    with _chained(models_dir).locked(), _nobody_else(models_dir, "nothing"):
        log = _read(models_dir)
        line = succession(log.entries)
        if len(line) < 2:
            msg = "there is no earlier champion to go back to"
            raise UsageError(msg)
        _must_exist(models_dir, line[-2])
        entry = Entry(now.isoformat(), "rollback", line[-2], by, reason.strip(), previous=line[-1])
        _append(models_dir, log, entry)
    return entry


def succession(entries: Sequence[Entry]) -> list[str]:
    """Return the line of champions that rollbacks go back along, the present one last."""
    line: list[str] = []
    for item in _reigns(entries):
        if item.event == "promote":
            line.append(item.version)
        elif line:
            line.pop()
    return line


def _must_exist(models_dir: Path, version: str) -> None:
    if not (models_dir / version / "manifest.json").is_file():
        msg = f"no bundle {version!r} in {models_dir}"
        raise BundleError(msg, hint="`fraudctl models list` names those that are there")


def _append(models_dir: Path, log: _Log, entry: Entry) -> None:
    """Add a line: the log is written whole and flushed before it takes its name, then the head."""
    document = {key: value for key, value in asdict(entry).items() if key != "evidence" or value is not None}
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
    _chained(models_dir).append(log.lines, body)
