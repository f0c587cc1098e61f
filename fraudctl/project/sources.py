"""``[sources]``: tables beside the events, whose rows are used as of the event (logins, sessions, account changes)."""

from __future__ import annotations

from pydantic import field_validator

from fraudctl.project.data import Paths
from fraudctl.project.entities import EntityKey
from fraudctl.project.reading import ReadingSection


class SourceSection(ReadingSection):
    """A table with its own times, and the entities that its rows are about."""

    events: Paths
    """File, glob or folder of Parquet, CSV or JSON lines, relative to this file; one or several."""
    event_time: str
    """Column with the instant at which something happened, or from which on an attribute is valid; or the name of what
    its [time] columns are joined to."""
    known_time: str | None = None
    """Column with the instant at which the row became known, where that is later; it is never used before."""
    entities: dict[str, EntityKey]
    """Entity name -> column of this table with its id, or { columns = [...] } or { sql = "..." } of this table."""

    @field_validator("entities")
    @classmethod
    def _some_entity(cls, value: dict[str, EntityKey]) -> dict[str, EntityKey]:
        if not value:
            msg = 'needs at least one entity, such as { customer = "customer_id" }'
            raise ValueError(msg)
        return value
