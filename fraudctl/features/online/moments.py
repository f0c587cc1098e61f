"""What a date or a time of another table gives at an event: its age, its hour, whether it is of the event's second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def at_event(kind: str, timezone: str) -> Callable[[Any, int], Any]:
    """Return a function of a date or time and the µs of an event; null is None.

    Parameters
    ----------
    kind
        ``seconds_since``, ``hour`` or ``same_second``.
    timezone
        The project's zone, which times without a zone are local to.
    """
    zone = ZoneInfo(timezone)

    def at_event(value: date | None, time: int) -> float | int | bool | None:
        moment = None if value is None else _moment(value, zone)
        if moment is None:
            return None
        if kind == "hour":
            return moment.astimezone(zone).hour
        at = (moment - _EPOCH) // _MICROSECOND
        return at // 1_000_000 == time // 1_000_000 if kind == "same_second" else (time - at) / 1e6

    return at_event


def _moment(value: date, zone: ZoneInfo) -> datetime | None:
    """Return an instant: of local times that happen twice the earlier one, none of one that never happens."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value.tzinfo is not None:
        return value.astimezone(UTC)
    moment = value.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return moment if moment.astimezone(zone).replace(tzinfo=None) == value else None
