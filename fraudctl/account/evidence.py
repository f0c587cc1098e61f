"""A gate as the log of the registry has it: its verdict, what it judged, and by which rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fraudctl.evaluate.result import Period
from fraudctl.registry import Entry, counts


@dataclass(frozen=True)
class EvidenceRule:
    """One rule of a gate, with the figure that it was compared with."""

    name: str
    """Key path in the project file."""
    verdict: str
    """``pass``, ``fail`` or ``inconclusive``."""
    direction: str
    """``at_least`` or ``at_most``."""
    bound: float | None
    """What the end of the interval was compared with."""
    value: float | None
    """The figure."""
    low: float | None
    """Low end of its interval; null where there is none."""
    high: float | None
    """High end of its interval; null where there is none."""


@dataclass(frozen=True)
class CardGate:
    """A gate in the log."""

    at: datetime
    """When it was run."""
    by: str
    """Who ran it."""
    verdict: str
    """``pass``, ``fail``, ``inconclusive``, ``refused`` or ``none``."""
    reason: str
    """Why this verdict."""
    counts: bool
    """Whether it judged the model's own test period by the project's own rules."""
    not_own: tuple[str, ...]
    """What was chosen by hand."""
    compared_with: str | None
    """Version of the champion in that gate; null without one."""
    period: Period | None
    """The period that was judged; null for a random split, or where the log does not say."""
    events: int | None
    """Events that were judged; null where the log does not say."""
    frauds: int | None
    """Frauds among them; null where the log does not say."""
    confidence: float | None
    """Two-sided confidence of the intervals; null where the log does not say."""
    rules: tuple[EvidenceRule, ...]
    """The rules, in the order of the project file."""
    evaluation: str | None
    """SHA-256 of the evaluation; null where the log does not say."""
    report: str | None
    """SHA-256 of its report; null where none was written."""


def gate_of(entry: Entry) -> CardGate:
    """Return a gate of the log as a value; what an entry of an earlier version does not say is None."""
    found = entry.evidence or {}
    period = found.get("period")
    return CardGate(
        at=datetime.fromisoformat(entry.at),
        by=entry.by,
        verdict=entry.verdict or "none",
        reason=entry.reason,
        counts=counts(entry),
        not_own=tuple(found.get("not_own", ())),
        compared_with=entry.previous,
        period=period and Period(datetime.fromisoformat(period["from"]), datetime.fromisoformat(period["until"])),
        events=found.get("events"),
        frauds=found.get("frauds"),
        confidence=(found.get("gate") or {}).get("confidence"),
        rules=tuple(EvidenceRule(**rule) for rule in found.get("rules", ())),
        evaluation=found.get("evaluation"),
        report=found.get("report"),
    )
