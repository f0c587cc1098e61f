"""``[monitor]``: bounds of harm after training, and what a person knows of the calendar: incidents and holidays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from pydantic import Field, model_validator

from fraudctl.project.decisions import LimitSection
from fraudctl.project.types import Section


class IncidentSection(Section):
    """A stretch of days that was not ordinary: an attack, an outage, a late feed of labels."""

    name: str = Field(min_length=1, max_length=80)
    """What reports call it."""
    start: date
    """Its first local day."""
    until: date | None = None
    """The first local day after it. Default: the day after `start`."""

    @model_validator(mode="after")
    def _ends_later(self) -> IncidentSection:
        if self.until is not None and self.until <= self.start:
            msg = f"until = {self.until} is not after start = {self.start}"
            raise ValueError(msg)
        return self


class HolidaySection(Section):
    """A holiday: a mark in charts, no excuse for a figure."""

    name: str = Field(min_length=1, max_length=80)
    """What reports call it."""
    day: date
    """The local day."""


class HarmSection(Section):
    """Bounds that figures of recent weeks must keep; each compares an end of an interval, never the point."""

    fraud_loss_bps: LimitSection | None = None
    """Missed fraud money per 10,000 of the money of all events."""
    recall: LimitSection | None = None
    """Share of frauds that were flagged."""
    value_recall: LimitSection | None = None
    """Share of fraud money that was flagged."""
    precision: LimitSection | None = None
    """Share of flagged events that are fraud."""
    savings: LimitSection | None = None
    """Share of the cost of the cheapest constant action that was saved."""
    false_positives_per_1000: LimitSection | None = None
    """Flagged legitimate events per 1,000 legitimate events."""
    alerts_per_day: LimitSection | None = None
    """Flagged events a day."""

    def limits(self) -> Iterator[tuple[str, LimitSection]]:
        """Yield each figure that has a bound, in the order of the class."""
        for name in type(self).model_fields:
            limit = getattr(self, name)
            if isinstance(limit, LimitSection):
                yield name, limit


class MonitorSection(Section):
    """What is watched after training."""

    harm: HarmSection = HarmSection()
    """Bounds; without one nothing is judged."""
    incidents: tuple[IncidentSection, ...] = ()
    """Known incidents: marks in charts, and no reference of ordinary days."""
    holidays: tuple[HolidaySection, ...] = ()
    """Marks in charts."""
