"""``[data]``: where the events are, what their columns mean, and when their labels arrive."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from fraudctl.data.own import DataColumn
from fraudctl.project.messages import found
from fraudctl.project.reading import MADE_TIME, EventId, ReadingSection
from fraudctl.project.types import Duration

Paths = str | Annotated[tuple[str, ...], Field(min_length=1)]


def outcome_words(value: object) -> object:
    """Return words for outcomes with "unknown" as null; raise ValueError where one means nothing of 1, 0, "unknown"."""
    if not isinstance(value, dict):
        return value
    for key, item in value.items():
        if item not in (0, 1, "unknown"):
            msg = f'{key} is {found(item)}; expected 1, 0 or "unknown"'
            raise ValueError(msg)
    return {str(key): None if item == "unknown" else item for key, item in value.items()}


class DataSection(ReadingSection):
    """The events table: its place, the roles of its columns, and the maturity of its labels."""

    events: Paths
    """File, glob or hive-partitioned folder of Parquet, CSV or JSON lines, or the folder of a Delta or Iceberg table,
    relative to this file; one or several."""
    event_id: EventId
    """Column that names each event once; { row_number = true } where there is none, or { columns = ["a", "b"] } that
    together name an event."""
    event_time: str | None = None
    """Column with the instant of the event, or the name of what [data.time] columns are joined to. Data without one can
    only be split at random, which [split] has to say."""
    amount: str | None = None
    """Column with the amount in the project's currency; refunds are negative. Needed for costs with a `rate`."""
    label: str | None = None
    """Column with the outcome: 1 fraud, 0 legitimate, null unknown. Unknown is never counted as legitimate. Needed
    unless the labels are in tables of their own, [labels.NAME]."""
    label_values: dict[str, Literal[0, 1] | None] = Field(default_factory=dict)
    """Other encodings of the label: text of the value -> 1 or 0; a value mapped to "unknown" is null."""
    label_time: str | None = None
    """Column with the instant at which the label arrived, where known."""
    label_delay: Duration = Field(default_factory=lambda: Duration.parse("0s"))
    """The maturity horizon: an event counts once it is this old; a label without a label_time arrives then. Must be
    given where there is an event_time."""
    untimed: Literal["refuse", "leave out"] = "refuse"
    """What is done with rows of files whose event_time is null: refused, or left out of everything."""
    timezone: str = "UTC"
    """IANA zone that reads times without a zone and defines hours, days and dates."""
    ignore: tuple[str, ...] = ()
    """Columns known only after the outcome, or without meaning: never a feature."""
    weight: DataColumn | None = None
    """Column with a weight per event for training, calibration, policy and metrics (sampled extracts): how many events
    it stands for. Money is summed in these events; nothing else depends on the unit."""
    exposure_prob: DataColumn | None = None
    """Column with the probability that the event was let through, so that its outcome could be seen. Each event counts
    1 / exposure_prob times as much, at most 20 times; not a feature."""
    control_group: DataColumn | None = None
    """Column that is true where an event was let through at random, whatever a model said: evaluations give every
    metric on these alone too, for there no decision chose the outcomes that were seen. Not a feature."""

    decisions: Paths | None = None
    """Decisions as they were logged, such as "state/decisions" of `fraudctl serve --control`: exposure_prob and
    control_group of each event by its id, in place of columns. An event without such a decision was let through."""

    @property
    def has_time(self) -> bool:
        """Whether the data say when an event happened."""
        return self.event_time is not None

    @property
    def times_note(self) -> str | None:
        """What reports say of the times: that their origin is made up; None where it is not."""
        if self.time is None or self.time.invented_origin is None:
            return None
        origin = self.time.invented_origin
        return (
            f"the origin of the times is made up ({origin:%Y-%m-%d}): dates, weekdays and hours of the day mean nothing"
        )

    @model_validator(mode="before")
    @classmethod
    def _delay_goes_with_time(cls, value: Any) -> Any:
        """Ask for the delay where there is a time, and refuse what only a time gives meaning to where there is none."""
        if not isinstance(value, dict):
            return value
        time = value.get("time")
        if isinstance(time, dict) and time.get("columns") and value.get("event_time") is None:
            value = {**value, "event_time": MADE_TIME}
        elif time is not None and value.get("event_time") is None:
            msg = "time says how event_time is written, and event_time is missing"
            raise ValueError(msg)
        if value.get("event_time") is not None and "label_delay" not in value:
            msg = "label_delay is missing: how old must an event be before its outcome counts?"
            raise ValueError(msg)
        late = [key for key in ("label_delay", "label_time") if value.get("event_time") is None and key in value]
        if late:
            msg = (
                f"event_time is missing, and only with a time has {' and '.join(late)} a meaning; data without one "
                'can be split at random, which [split] has to ask for by name: kind = "random"'
            )
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _exposure_once(self) -> DataSection:
        """Refuse exposure that is told twice, and decisions that no event can be found for."""
        if self.decisions is None:
            return self
        both = [key for key in ("exposure_prob", "control_group") if getattr(self, key) is not None]
        if both:
            msg = f"decisions and {' and '.join(both)} both say which events were let through; expected one of them"
            raise ValueError(msg)
        if self.event_id.row_number:
            msg = "decisions name events by their id, and event_id is a row number; expected a column"
            raise ValueError(msg)
        return self

    @field_validator("label_values", mode="before")
    @classmethod
    def _unknown_is_null(cls, value: object) -> object:
        return outcome_words(value)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            msg = f'{value!r} is not a known time zone; expected an IANA name such as "Europe/Berlin"'
            raise ValueError(msg) from error
        return value
