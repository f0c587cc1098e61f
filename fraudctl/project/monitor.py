"""``[monitor]``: bounds of harm after training, and what a person knows of the calendar: incidents and holidays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Final

from pydantic import Field, field_validator, model_validator

from fraudctl.project.decisions import LimitSection
from fraudctl.project.types import PositiveDuration, Section

LEAST_DAYS: Final = 28
"""A shorter reference says too little of how much days differ."""


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


class SavingsLimitSection(LimitSection):
    """A bound on savings: a number, or how much less than at promotion they may be."""

    no_worse_than: float | None = Field(default=None, ge=0.0, le=1.0)
    """Savings may be less by this than in the gate that the promotion of the deciding model rests on."""

    @model_validator(mode="after")
    def _one_side(self) -> SavingsLimitSection:
        if self.at_least is None and self.at_most is None and self.no_worse_than is None:
            msg = "needs no_worse_than, at_least or at_most"
            raise ValueError(msg)
        return self


class HarmSection(Section):
    """Bounds that figures of recent weeks must keep; each is held against an interval, never against the point."""

    fraud_loss_bps: LimitSection | None = None
    """Missed fraud money per 10,000 of the money of all events."""
    recall: LimitSection | None = None
    """Share of frauds that were flagged."""
    value_recall: LimitSection | None = None
    """Share of fraud money that was flagged."""
    precision: LimitSection | None = None
    """Share of flagged events that are fraud."""
    savings: SavingsLimitSection | None = None
    """Share of the cost of the cheapest constant action that was saved; also against the figure at promotion."""
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


_PROMISE = re.compile(r"(\d+(?:\.\d+)?) per (year|month|quarter)")
_PER_YEAR = {"year": 1.0, "quarter": 4.0, "month": 12.0}


class MonitorSection(Section):
    """What is watched after training."""

    false_alarms: str = "1 per year"
    """How many false alarms over everything that is watched are accepted, such as "1 per year" or "2 per quarter": the
    only dial of `fraudctl monitor`."""
    reference: PositiveDuration = Field(default_factory=lambda: PositiveDuration.parse("56d"))
    """How much time before as_of is what ordinary days look like, frozen in the bundle; at least 28d."""
    max_age: PositiveDuration = Field(default_factory=lambda: PositiveDuration.parse("2d"))
    """Decisions that are older than this at the time of a run are an alarm: nothing is seen."""
    harm: HarmSection = HarmSection()
    """Bounds; without one nothing is judged."""
    incidents: tuple[IncidentSection, ...] = ()
    """Known incidents: marks in charts, and no reference of ordinary days."""
    holidays: tuple[HolidaySection, ...] = ()
    """Marks in charts."""

    @field_validator("false_alarms")
    @classmethod
    def _is_a_promise(cls, value: str) -> str:
        found = _PROMISE.fullmatch(value.strip())
        if found is None or not 0.1 <= float(found[1]) * _PER_YEAR[found[2]] <= 50:
            msg = f'{value!r} is no rate of alarms; expected such as "1 per year", from 0.1 to 50 a year'
            raise ValueError(msg)
        return value.strip()

    @field_validator("reference")
    @classmethod
    def _is_long_enough(cls, value: PositiveDuration) -> PositiveDuration:
        if value.seconds < LEAST_DAYS * 86_400 or value.seconds % 86_400:
            msg = f"{value} is no reference; expected whole days, at least {LEAST_DAYS}d"
            raise ValueError(msg)
        return value

    @property
    def alarms_per_year(self) -> float:
        """Accepted false alarms a year."""
        number, unit = self.false_alarms.split(" per ")
        return float(number) * _PER_YEAR[unit]
