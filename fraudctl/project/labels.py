"""``[labels]``: tables of their own that say how events turned out, several entries per event, some taken back."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from fraudctl.project.data import Paths, outcome_words
from fraudctl.project.reading import CsvSection, EventId, Kind, Missing, ReadingSection, TimeSection, VersionedSection
from fraudctl.project.types import Section


class VerdictSection(Section):
    """Which column of a table of labels holds the outcome, and what its values mean."""

    column: str
    """Column with the outcome."""
    values: dict[str, Literal[0, 1] | None] = Field(default_factory=dict)
    """Text of the value -> 1 fraud, 0 legitimate, or "unknown": an entry that says nothing. Without it the column holds
    1, 0 or null."""

    @field_validator("values", mode="before")
    @classmethod
    def _unknown_is_null(cls, value: object) -> object:
        return outcome_words(value)


class LabelTableSection(VersionedSection):
    """``[labels.NAME]``: one table of entries, such as chargebacks, disputes or verdicts."""

    events: Paths
    """File, glob or folder of Parquet, CSV or JSON lines, relative to this file; one or several."""
    event_id: EventId
    """Column with the id of the event that the entry is about, or { columns = ["a", "b"] } as in [data]."""
    time: str
    """Column with the instant at which the entry was known here."""
    label: Literal[0, 1] | VerdictSection
    """What each entry says: 1 fraud, 0 legitimate, or { column = "outcome", values = { lost = 1, won = 0 } }."""
    csv: CsvSection = CsvSection()
    times: dict[str, TimeSection] = Field(default_factory=dict)
    """Column -> how its times are written, as in [data]."""
    missing: Missing = ()
    """Values that mean "missing" wherever they stand; they are read as null."""
    missing_in: dict[str, Missing] = Field(default_factory=dict)
    """Column -> values that mean "missing" in it alone."""
    types: dict[str, Kind] = Field(default_factory=dict)
    """Column -> "text", "number", "whole", "truth" or "time", as in [data]."""

    @property
    def reading(self) -> ReadingSection:
        """How the table is written."""
        return ReadingSection(
            csv=self.csv, times=self.times, missing=self.missing, missing_in=self.missing_in, types=self.types
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        verdict = (self.label.column,) if isinstance(self.label, VerdictSection) else ()
        return (str(self.event_id), self.time, *verdict)

    @field_validator("event_id")
    @classmethod
    def _names_events(cls, value: EventId) -> EventId:
        if value.row_number:
            msg = "a row number names no event; expected the column with the id of the event"
            raise ValueError(msg)
        return value


class DeclinedSection(Section):
    """Which events were declined: nobody can report them, so that silence says nothing."""

    column: str
    """Column of the events."""
    values: tuple[str | int | bool, ...] = Field(min_length=1)
    """Its values where the event was declined, such as ["declined", "reversed"]."""

    @property
    def texts(self) -> frozenset[str]:
        """The values as text: truth values as true and false."""
        return frozenset(str(value).lower() if isinstance(value, bool) else str(value) for value in self.values)


class LabelTablesSection(Section):
    """Tables of labels, and what an event without an entry is."""

    legit_after: Literal["label_delay", "never"] = "label_delay"
    """When an event without an entry becomes legitimate: once it is as old as [data] label_delay, or never where only
    verdicts count."""
    declined: DeclinedSection | None = None
    """Events that are never legitimate by silence, for example { column = "status", values = ["declined"] }."""
    tables: dict[str, LabelTableSection] = Field(default_factory=dict)
    """Name -> table. In the file each is a section of its own: [labels.chargebacks]."""

    @property
    def by_silence(self) -> bool:
        """Whether events become legitimate without an entry."""
        return self.legit_after == "label_delay"

    @model_validator(mode="before")
    @classmethod
    def _tables_stand_directly(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        own = set(cls.model_fields) - {"tables"}
        tables = {key: item for key, item in value.items() if key not in own and isinstance(item, dict)}
        return {**{key: item for key, item in value.items() if key not in tables}, "tables": tables}
