"""Rows of other tables: reading them, and looking up their attributes as of an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from fraudctl.features.batch.groups import Array
from fraudctl.features.meaning.definition import FeatureSet
from fraudctl.features.meaning.families.lookups import LookupSpec
from fraudctl.features.online.plan import Plan
from fraudctl.features.online.reading import LOCAL, brought
from fraudctl.features.online.saved_keys import Hashed, LatestRows, Row
from fraudctl.features.online.values import coercion, from_json, local_clock, micros, refused, to_json
from fraudctl.features.rows.compile import compile_row


class Other:
    """One table of ``[sources]``.

    Attributes
    ----------
    latest
        By entity: for each of its values the row that is valid now; those that were replaced or came last stand last.
    """

    def __init__(self, name: str, features: FeatureSet, plan: Plan, timezone: str, hashed: Hashed) -> None:
        self.types: dict[str, pl.DataType] = {**features.types[name], "event_time": LOCAL}
        inputs = plan.inputs[name]
        wheres = {f"where {key}": expr for key, expr in inputs.wheres.items()}
        self.places = {column: i for i, column in enumerate([*self.types, *wheres])}
        self.columns = [(column, coercion(dtype)) for column, dtype in self.types.items() if column != "event_time"]
        self._wheres = [(self.places[key], compile_row(expr, self.types, self.places)) for key, expr in wheres.items()]
        self._brought = brought(inputs, self.places)
        self._local = local_clock(timezone)
        self.entities = [column for column in self.types if column in features.entities]
        self.kept = [column for column in features.sources[name] if column in self.types]
        self.latest = {
            entity: LatestRows(hashed, self._written, self._read_back)
            for source, entity in plan.lookups
            if source == name
        }
        self._ages = {entity: _longest_age(features, name, entity) for entity in self.latest}
        self._horizon_us = plan.horizon_us

    def read(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (since when it is valid, since when usable, its values in the order of `columns`)."""
        valid = micros(row.get("event_time"))
        usable = row.get("usable_time")
        known = valid if usable is None else max(valid, micros(usable, name="usable_time"))
        try:
            return (valid, known, *(take(row.get(column)) for column, take in self.columns))
        except TypeError:
            raise refused(row, [(name, dtype) for name, dtype in self.types.items() if name != "event_time"]) from None

    def take(self, content: tuple[Any, ...]) -> tuple[Mapping[str, Any], Array, Array]:
        """Take a row in as what is looked up; give its entities, numbers and codes."""
        values = self._values(content)
        for place, function in self._wheres:
            values[place] = function(values)
        for entity in self.latest:
            self._keep(entity, content, values)
        entities = {name: values[self.places[name]] for name in self.entities}
        return entities, self._brought.own(values), self._brought.coded(values)

    def _values(self, content: tuple[Any, ...]) -> list[Any]:
        values: list[Any] = [None] * len(self.places)
        for (column, _), value in zip(self.columns, content[2:], strict=True):
            values[self.places[column]] = value
        values[self.places["event_time"]] = self._local(content[0])
        return values

    def keep(self, content: tuple[Any, ...], *, only: str) -> None:
        """Take a row in as what is looked up of one entity."""
        self._keep(only, content, self._values(content))

    def _keep(self, entity: str, content: tuple[Any, ...], values: list[Any]) -> None:
        value, found = values[self.places[entity]], self.latest[entity]
        if value is None:
            return
        kept = tuple(values[self.places[column]] for column in self.kept)
        row = _row(content[0], content[1], [values[self.places[name]] for name in self.entities], kept)
        before = found.get(value)
        if before is None or _after(row[0], before[0]):
            found.put(value, row)

    def _written(self, row: Row) -> list[Any]:
        """Return a row as JSON values: since when it is valid and usable, its entities, and its columns."""
        order, kept = row
        ids = [item for _, item in order[2 : 2 + len(self.entities)]]
        return [*order[:2], *map(to_json, ids), *map(to_json, kept)]

    def _read_back(self, saved: list[Any]) -> Row:
        valid, usable, *values = map(from_json, saved)
        n = len(self.entities)
        return _row(valid, usable, values[:n], tuple(values[n:]))

    def forget(self, now: int, *, most: int) -> None:
        """Forget up to ``most`` rows of each entity that are older than every ``max_age``, and than every window."""
        for entity, found in self.latest.items():
            age = self._ages[entity]
            for _ in range(most if age is not None else 0):
                first = found.first()
                if first is None or first[0][0] > now - max(age or 0, self._horizon_us):
                    break
                found.forget_first()

    def looked_up(self, spec: LookupSpec, value: Any, time: int) -> Any:
        """Return an attribute of the row that is valid for a value of an entity at a time; None where there is none."""
        found = None if value is None else self.latest[spec.entity].get(value)
        if found is None or found[0][1] >= time:
            return None
        if spec.max_age_us is not None and found[0][0] <= time - spec.max_age_us:
            return None
        return found[1][self.kept.index(spec.column)]


def _row(valid: int, usable: int, ids: Sequence[Any], kept: tuple[Any, ...]) -> Row:
    """Return a row with its order among rows: by validity, use, then contents."""
    return (valid, usable, *((item is not None, item) for item in (*ids, *kept))), kept


def _longest_age(features: FeatureSet, source: str, entity: str) -> int | None:
    """Return how old a row may be that is looked up by an entity, in µs; None where one look-up has no limit."""
    specs = (step.spec for step in features.steps if isinstance(step.spec, LookupSpec))
    ages = [spec.max_age_us for spec in specs if (spec.source, spec.entity) == (source, entity)]
    return None if None in ages else max((age for age in ages if age is not None), default=0)


def _after(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Return whether a row comes after another: by validity, use, then contents, null first."""
    for a, b in zip(one, other, strict=True):
        if a != b:
            if isinstance(a, tuple) and a[0] != b[0]:
                return bool(a[0])
            return bool(a > b)
    return False
