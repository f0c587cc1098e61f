"""What a run of `retrain` came to: its outcome, the exit code, and a value for each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, Literal

from fraudctl.errors import ExitCode
from fraudctl.workflows.situation import InputFile

Outcome = Literal[
    "promoted", "passed", "gate failed", "inconclusive", "refused", "check failed", "data alarm", "objected",
    "superseded", "not due", "running", "stopped", "planned",
]  # fmt: skip
EXITS: Final[Mapping[Outcome, ExitCode]] = {
    "gate failed": ExitCode.NO,
    "check failed": ExitCode.NO,
    "objected": ExitCode.NO,
    "stopped": ExitCode.NO,
    "data alarm": ExitCode.NO,
    "refused": ExitCode.USAGE,
    "inconclusive": ExitCode.INCONCLUSIVE,
}
"""Outcome -> exit code; every other ends with 0."""


@dataclass(frozen=True)
class RetrainStep:
    """One step of a run that is done; what a step does not say is null."""

    JSON = (
        "step", "at", "by", "version", "previous", "verdict", "rows", "events", "frauds", "alike", "errors",
        "report", "note",
    )  # fmt: skip

    step: str
    """``inputs``, ``check``, ``train``, ``gate``, ``refit``, ``promote``, ``end`` or ``acknowledged``."""
    at: str
    """When, ISO 8601 with its offset."""
    by: str
    """Who ran it."""
    facts: Mapping[str, Any]
    """What it found or made, all that its receipt says."""

    @property
    def version(self) -> str | None:
        """The version that was trained, gated, refitted (null where it was not written), promoted, or ships."""
        return self.facts.get("version")

    @property
    def previous(self) -> str | None:
        """Of a promotion: the champion before."""
        return self.facts.get("previous")

    @property
    def verdict(self) -> str | None:
        """Of the check and of the gate."""
        return self.facts.get("verdict")

    @property
    def rows(self) -> int | None:
        """Of training: rows of the final fit."""
        return self.facts.get("rows")

    @property
    def events(self) -> int | None:
        """Events that the gate judged, or of the last week for a refit."""
        return self.facts.get("events")

    @property
    def frauds(self) -> int | None:
        """Frauds that were trained on, or that the gate judged."""
        return self.facts.get("frauds")

    @property
    def alike(self) -> int | None:
        """Of a refit: events on which it acts as the gated model does."""
        return self.facts.get("alike")

    @property
    def errors(self) -> int | None:
        """Of the check: errors that it found."""
        found = self.facts.get("errors")
        return None if found is None else len(found)

    @property
    def report(self) -> str | None:
        """Of the gate: SHA-256 of the HTML report."""
        return self.facts.get("report")

    @property
    def note(self) -> str | None:
        """Of an acknowledgement, what a person wrote; of the end, its sentence."""
        note: str | None = self.facts.get("note", self.facts.get("sentence"))
        return note


@dataclass(frozen=True)
class RetrainResult:
    """What a retraining did, or why it did nothing."""

    SCHEMA_VERSION: ClassVar = 1
    JSON = (
        "outcome", "sentence", "exit_code", "conditions", "run", "known_until", "as_of", "champion", "version", "steps",
        "inputs",
    )  # fmt: skip

    outcome: Outcome
    """``promoted``; ``passed``: the gate lets it ship, and nobody asked to promote; ``gate failed``, ``inconclusive``,
    ``refused``, ``check failed``; ``data alarm``: `monitor` says that the data are not as they were, so that nothing is
    promoted; ``objected``: the registry refused the promotion; ``superseded``: the inputs changed
    before an earlier run was done; ``not due``, ``running``, ``stopped``: nothing was done; ``planned``: a dry run."""
    sentence: str
    """What happened and why."""
    conditions: tuple[str, ...] = ()
    """Each condition of ``--if``, with what was found; empty where none was looked at."""
    run: str | None = None
    """Name of the run, its folder in ``runs/``; null where none was begun."""
    known_until: datetime | None = None
    """The latest event; null where the data were not read."""
    as_of: datetime | None = None
    """What the new model may know; null where the data were not read."""
    champion: str | None = None
    """The champion that it is held against; null without one."""
    version: str | None = None
    """The version that ships if anything does; null before training."""
    steps: tuple[RetrainStep, ...] = ()
    """The receipts, in their order."""
    inputs: tuple[InputFile, ...] = ()
    """The data that the run is made of."""

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return int(EXITS.get(self.outcome, ExitCode.OK))
