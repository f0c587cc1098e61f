"""Tables beside the events: which of their columns say when, which say whom, and the windows over them.

Owns the proposal for one table of ``[sources]``. Like for the events it does not guess: a table whose time or whose
entities are in doubt is refused with what was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from fraudctl.data import typed
from fraudctl.documents.types import JsonObject
from fraudctl.errors import UsageError
from fraudctl.propose import names, roles
from fraudctl.propose.facts import DAY
from fraudctl.propose.flags import Flags
from fraudctl.propose.plan import Group
from fraudctl.propose.profile import ProfiledColumn, Table
from fraudctl.propose.proposal import Clock
from fraudctl.propose.rest import MAX_CATEGORIES, few_values
from fraudctl.propose.roles import Choice, Entity
from fraudctl.text.plain import shown_all

_WINDOWS = {"1h": DAY / 24, "1d": DAY, "7d": 7 * DAY}
MOST_ATTRIBUTES = 8
"""Columns of a table that are proposed as attributes, the first ones."""
_BY_HAND = "describe the table under [sources] by hand; docs/features.md tells how"


@dataclass(frozen=True)
class Source:
    """One proposed table of ``[sources]``.

    Attributes
    ----------
    name
        Name of the source, part of the names of its features.
    events
        Its paths as they are to stand in the project file.
    event_time
        Column with the instant at which something happened.
    entities
        Entity of the events -> column here.
    groups
        The windows over it.
    attributes
        Columns that may be looked up: truth values, numbers, text with few values, dates and times.
    texts_of_times
        Those of them whose times are in text.
    """

    name: str
    events: tuple[str, ...]
    event_time: Choice
    entities: dict[str, str]
    groups: tuple[Group, ...]
    attributes: tuple[str, ...] = ()
    texts_of_times: tuple[str, ...] = ()

    def to_dict(self) -> JsonObject:
        """Give the source as JSON values."""
        return {"events": list(self.events), "event_time": self.event_time.column, "entities": self.entities}


def propose_source(
    name: str, table: Table, *, paths: Sequence[str], events: Table, entities: Sequence[Entity], clock: Clock
) -> Source:
    """Look at a table beside the events and propose its time, its entities and its windows.

    An entity is found by the column's own name, or by a name that speaks of the same party, where the ids are of the
    same type. Each one found is counted in an hour, a day and a week, with how many different others it came; a window
    has to go three times into the events' period.

    Raises
    ------
    UsageError
        No column, or more than one, could be the time or one of the entities; or none is an entity of the events.
    """
    time = _time(name, table)
    found = dict(_entities(name, table, events, entities, taken={time.column}))
    if not found:
        known = shown_all([item.column for item in entities])
        msg = f"source {name!r}: no column of {table.place} holds the ids of an entity; the events have {known}"
        raise UsageError(msg, hint=f"name the columns alike in both tables, or {_BY_HAND}")
    span = (clock.last - clock.first).total_seconds()
    windows = tuple(window for window, seconds in _WINDOWS.items() if 3 * seconds <= span)
    truths = [item.name for item in table.columns.values() if item.kind == "bool" and item.n_unique > 1]
    attributes = [item for item in table.columns.values() if item.name not in {time.column, *found.values()}]
    attributes = [item for item in attributes if _may_be_looked_up(item)][:MOST_ATTRIBUTES]
    texts = tuple(item.name for item in attributes if item.kind == "time" and item.dtype == pl.String)
    groups = tuple(_groups(name, list(found), windows, truths))
    return Source(name, tuple(paths), time, found, groups, tuple(item.name for item in attributes), texts)


def _may_be_looked_up(column: ProfiledColumn) -> bool:
    """Say whether a column can be an attribute: known before an outcome or a decision, with values that come back."""
    if column.n_unique < 2 or names.tells_outcome(column.name) or names.tells_decision(column.name):
        return False
    if column.kind == "text":
        return column.dtype == pl.String and few_values(column, MAX_CATEGORIES)
    is_id = names.party(column.name) is not None or names.event_id_rank(column.name) > 1
    return column.kind in {"bool", "number", "time"} or (column.kind == "whole" and not is_id)


def _time(name: str, table: Table) -> Choice:
    try:
        return roles.choose_event_time(table, Flags())
    except UsageError as error:
        msg = f"source {name!r}: {error.message}"
        raise UsageError(msg, hint=_BY_HAND) from error


def _entities(
    name: str, table: Table, events: Table, entities: Sequence[Entity], *, taken: set[str]
) -> Iterator[tuple[str, str]]:
    for entity in (item for item in entities if not item.made):
        dtype = typed.to_id(events[entity.column].head(0)).dtype
        fits = [
            item.name
            for item in table.columns.values()
            if item.name not in taken
            and item.kind in {"whole", "text"}
            and (item.name == entity.column or names.party(item.name) == entity.name)
            and typed.to_id(table[item.name].head(0)).dtype == dtype
        ]
        same = [column for column in fits if column == entity.column] or fits
        if len(same) > 1:
            msg = f"source {name!r}: {shown_all(same)} could both be the entity {entity.name!r}"
            raise UsageError(msg, hint=_BY_HAND)
        if same:
            yield entity.name, same[0]


def _groups(source: str, entities: list[str], windows: tuple[str, ...], truths: list[str]) -> Iterator[Group]:
    if not windows:
        return
    yield Group(tuple(entities), ("count",), windows, source)
    for entity in entities:
        others = tuple(f"nunique({other})" for other in entities if other != entity)
        if others:
            yield Group((entity,), others, windows[-1:], source)
    if truths:
        yield Group(tuple(entities), tuple(f"mean({column})" for column in truths), windows[-2:], source)


def with_sources(window: tuple[Group, ...], sources: Sequence[Source]) -> tuple[Group, ...]:
    """Put the windows over sources behind those over the events."""
    return (*window, *(group for source in sources for group in source.groups))


Tables = Mapping[str, tuple[pl.LazyFrame, Sequence[str]]]
"""Name of a source -> its table, and its paths as they are to stand in the project file."""
