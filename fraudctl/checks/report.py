"""What `fraudctl check` found, as values: findings, weeks, columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import ClassVar, Final, Literal

from fraudctl.text.plain import described, masked

SCHEMA_VERSION: Final = 1

Severity = Literal["error", "warning", "info"]
_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes
    ----------
    id
        Stable name of the check, as in ``docs/check.md``.
    severity
        ``error``: no other command can work with this; ``warning``: a finding that ``--strict`` refuses; ``info``:
        worth knowing, and handled.
    where
        The column or section that it is about; a name that looks like the value of a cell is only described.
    what
        A sentence without cell values.
    counts
        The numbers behind it.
    hint
        What to do about it.
    """

    id: str
    severity: Severity
    where: str
    what: str
    counts: dict[str, float] = field(default_factory=dict)
    hint: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", described(self.where))
        object.__setattr__(self, "what", masked(self.what))
        object.__setattr__(self, "hint", None if self.hint is None else masked(self.hint))


@dataclass(frozen=True)
class Week:
    """One week, from a Monday in the project's zone on; ``n_frauds`` and ``fraud_rate`` are of mature outcomes."""

    JSON = ("start", "n_events", "n_labelled", "n_mature", "n_frauds", "fraud_rate")

    start: date
    """The Monday, a local date."""
    n_events: int
    """Events of the week."""
    n_labelled: int
    """Events with a label."""
    n_mature: int
    """Events with a mature label."""
    n_frauds: int
    """Frauds among those."""

    @property
    def fraud_rate(self) -> float | None:
        """Frauds among the mature outcomes of the week."""
        return self.n_frauds / self.n_mature if self.n_mature else None


@dataclass(frozen=True)
class ColumnFacts:
    """One column of the data: its type, its role in the project, its nulls (NaN included) and its distinct values.

    A name that looks like the value of a cell is only described.
    """

    name: str
    """Name of the column."""
    dtype: str
    """Its type."""
    role: str
    """Its role in the project."""
    n_null: int
    """Null and NaN values."""
    n_unique: int
    """Different values."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", described(self.name))
        object.__setattr__(self, "dtype", masked(self.dtype))


@dataclass(frozen=True)
class CheckReport:
    """Everything that was found.

    Attributes
    ----------
    findings
        Errors first, then warnings, then infos, each in the order of the checks.
    n_events
        Rows as they are in the files, duplicates included.
    first, last
        The period, UTC; None where times cannot be read.
    n_labelled, n_frauds, n_mature, n_immature
        Outcomes; mature ones are older than the label delay at the latest event. None where they cannot be read.
    label_delays
        Quantile such as ``p95`` -> days, over outcomes with a label_time; empty without any.
    weeks
        The weeks of the data.
    columns
        All columns, in the order of the file.
    """

    SCHEMA_VERSION: ClassVar = SCHEMA_VERSION
    JSON = (
        "verdict", "n_errors", "n_warnings", "findings", "n_events as rows", "period", "n_labelled as labelled",
        "n_frauds as frauds", "n_mature as mature_rows", "n_immature as immature_rows", "label_delays", "weeks",
        "columns",
    )  # fmt: skip

    findings: tuple[Finding, ...]
    n_events: int
    first: datetime | None = None
    last: datetime | None = None
    n_labelled: int | None = None
    n_frauds: int | None = None
    n_mature: int | None = None
    n_immature: int | None = None
    label_delays: dict[str, float] = field(default_factory=dict)
    weeks: tuple[Week, ...] = ()
    columns: tuple[ColumnFacts, ...] = ()

    @property
    def period(self) -> tuple[datetime, datetime] | None:
        """Time of the first and of the last event, UTC; null where times cannot be read."""
        return None if self.first is None or self.last is None else (self.first, self.last)

    @property
    def n_errors(self) -> int:
        """Findings that stop every other command: exit code 3."""
        return sum(item.severity == "error" for item in self.findings)

    @property
    def n_warnings(self) -> int:
        """Findings that ``--strict`` refuses: exit code 1."""
        return sum(item.severity == "warning" for item in self.findings)

    @property
    def verdict(self) -> Literal["errors", "warnings", "clean"]:
        """The worst severity found; infos are clean."""
        return "errors" if self.n_errors else "warnings" if self.n_warnings else "clean"


_MISLEADS: Final = ("column-drift", "one-class", "time-tells", "event-result", "leak-separates", "leak-values")
"""Findings that make a model wrong from its first day on; they come before the others of their severity."""


def worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """Order findings by severity, then those that mislead a model most, keeping the order of the checks within."""
    ranks = {name: place for place, name in enumerate(_MISLEADS)}

    def rank(item: Finding) -> tuple[int, int, float]:
        strength = -item.counts.get("auc", 0.0) if item.id == "column-drift" else 0.0
        return _ORDER[item.severity], ranks.get(item.id, len(ranks)), strength

    return tuple(sorted(findings, key=rank))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun: ``1 event``, ``12,000 events``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
