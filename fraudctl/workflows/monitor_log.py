"""Runs of `monitor` and notes on alarms: one chained log in the folder ``monitor`` of the project."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from fraudctl.errors import BundleError, UsageError
from fraudctl.project import Project

if TYPE_CHECKING:
    from fraudctl.disk.chained import ChainedLog
    from fraudctl.documents.types import JsonObject
    from fraudctl.monitor.outcome import MonitorResult

FOLDER: Final = "monitor"
LOG: Final = "runs.jsonl"
HELD: Final = timedelta(days=28)
"""How long a note holds on an alarm that no figure is behind: a limit, missing decisions, the feed of labels."""
_EPOCH: Final = 719_163
"""Ordinal of 1970-01-01."""


@dataclass(frozen=True)
class AlarmRecord:
    """What a person wrote about an alarm."""

    id: str
    """Of the alarm."""
    at: str
    """When, ISO 8601."""
    by: str
    """Who."""
    note: str
    """What."""
    as_of: datetime
    """Of the run that showed the alarm."""
    model: str
    """That was watched."""
    what: str
    """What the alarm said."""
    series: tuple[str, ...]
    """Figures that moved; none for alarms of another kind."""
    since: int
    """Number of the first day of the change, from 1970-01-01."""
    until: int
    """Number of the last day that was judged."""


def _log(project: Project) -> ChainedLog:
    from fraudctl.disk.chained import ChainedLog

    return ChainedLog(project.root / FOLDER, LOG, ".runs.head", ".runs.lock", b"fraudctl monitor", "the log of runs")


def read_log(project: Project) -> Sequence[Mapping[str, Any]]:
    """Return the documents of the log, oldest first.

    Raises
    ------
    BundleError
        A line was changed, removed or cut.
    """
    log = _log(project)
    found = []
    for number, body in enumerate(log.read().bodies, start=1):
        try:
            document = json.loads(body)
        except ValueError as error:
            raise log.damaged(number, "is not a document") from error
        if not isinstance(document, dict) or document.get("kind") not in ("run", "note"):
            raise log.damaged(number, "is not an entry that this fraudctl knows")
        found.append(document)
    return found


def record_run(project: Project, result: MonitorResult) -> None:
    """Add a run to the log. What it says depends on the inputs of the run alone."""
    alarms = [
        {
            "id": item.id, "tier": item.tier, "kind": item.kind, "what": str(item.what),
            "series": [_series_name(moved.column, moved.figure) for moved in item.moved],
            "since": item.moved[0].first_day.toordinal() - _EPOCH if item.moved else 0,
            "noted": item.acknowledged is not None,
        }
        for item in result.alarms
    ]  # fmt: skip
    _append(
        project,
        {
            "kind": "run", "as_of": result.as_of.isoformat(), "model": result.model, "verdict": result.verdict,
            "reason": str(result.reason), "decisions": result.decisions,
            "last_day": 0 if result.last_day is None else result.last_day.toordinal() - _EPOCH, "alarms": alarms,
        },
    )  # fmt: skip


def _series_name(column: str, figure: str) -> str:
    return figure if column == "volume" else f"{column}: {figure}"


def _append(project: Project, document: Mapping[str, Any]) -> None:
    log = _log(project)
    with log.locked():
        log.append(log.read(), json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def acknowledge_alarm(project: Project, alarm: str, *, note: str, now: datetime, by: str) -> AlarmRecord:
    """Take note of an alarm: its figures are armed again at their present level.

    Parameters
    ----------
    alarm
        Id of an alarm of an earlier run.
    note
        Why it is no reason to act any more.
    now, by
        When and by whom.

    Raises
    ------
    UsageError
        There is no such alarm, or nothing is written about it.
    BundleError
        The log is damaged.
    """
    if not note.strip():
        msg = "a note on an alarm needs words"
        raise UsageError(msg, hint='say what it was: --note "campaign of a merchant"')
    runs = [item for item in read_log(project) if item["kind"] == "run"]
    found = [(run, item) for run in runs for item in run["alarms"] if item["id"] == alarm]
    if not found:
        known = list(dict.fromkeys(item["id"] for run in runs[-1:] for item in run["alarms"]))
        msg = f"no run of `monitor` showed an alarm {alarm!r}"
        raise UsageError(msg, hint=f"the latest run showed {', '.join(known) or 'none'}")
    run, item = found[-1]
    entry = AlarmRecord(
        id=alarm, at=now.isoformat(), by=by, note=note.strip(), as_of=datetime.fromisoformat(run["as_of"]),
        model=run["model"], what=item["what"], series=tuple(item["series"]), since=item["since"],
        until=run["last_day"],
    )  # fmt: skip
    _append(project, {"kind": "note", **_as_dict(entry)})
    return entry


def _as_dict(entry: AlarmRecord) -> JsonObject:
    return {
        "id": entry.id, "at": entry.at, "by": entry.by, "note": entry.note, "as_of": entry.as_of.isoformat(),
        "model": entry.model, "what": entry.what, "series": list(entry.series), "since": entry.since,
        "until": entry.until,
    }  # fmt: skip


def notes_of(project: Project) -> list[AlarmRecord]:
    """Return all notes, oldest first.

    Raises
    ------
    BundleError
        The log is damaged.
    """
    found = []
    for item in read_log(project):
        if item["kind"] == "note":
            fields = {key: value for key, value in item.items() if key != "kind"}
            try:
                fields["as_of"] = datetime.fromisoformat(fields["as_of"])
                found.append(AlarmRecord(**{**fields, "series": tuple(fields["series"])}))
            except (TypeError, ValueError, KeyError) as error:
                msg = f"{project.root / FOLDER / LOG} holds a note that this fraudctl does not know"
                raise BundleError(msg) from error
    return found
