"""Read a message into a row of values by place, run the program round by round, and collect the values for the logs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from fraudctl.errors import DataError
from fraudctl.features.batch.groups import Array
from fraudctl.features.batch.hooks import CIRCLE
from fraudctl.features.meaning.definition import POLARS_TYPES, Feature, FeatureSet
from fraudctl.features.meaning.families.lookups import VALUE, LookupSpec
from fraudctl.features.online import moments
from fraudctl.features.online.hooks import ONLINE, Getter
from fraudctl.features.online.plan import Plan, Round
from fraudctl.features.online.texts import Texts
from fraudctl.features.online.tracks import COSINE, MINUTE, SINE, Inputs
from fraudctl.features.online.values import as_text, code_of, coercion, local_clock, micros, refused
from fraudctl.features.rows.compile import compile_row
from fraudctl.features.rows.read import RowExpr

LOCAL = pl.Datetime("us")
_NAN = math.nan
_COSINES, _SINES = (axis.tolist() for axis in CIRCLE)


@dataclass(slots=True)
class Seen:
    """An event that was answered: µs, values by place, and what it brings to the logs."""

    time: int
    row: list[Any]
    own: Array
    codes: Array


@dataclass(frozen=True)
class Turn:
    """A `plan.Round`, made ready to run.

    Attributes
    ----------
    program
        What the state is asked.
    uses_event
        Whether the program looks at what the event itself brings.
    asked
        (place in the answers, place in the row, type) of answers that others use, and of texts.
    computed
        (function of the row, place in the row, place in the answers or -1) of what one row is enough for.
    """

    program: Array
    uses_event: bool
    asked: tuple[tuple[int, int, str], ...]
    computed: tuple[tuple[Getter, int, int], ...]


@dataclass(frozen=True)
class Brought:
    """How the numbers and codes of rows of one table are read from their values."""

    numbers: tuple[int, ...]
    codes: tuple[Getter, ...]

    def own(self, row: list[Any]) -> Array:
        """Return the numbers that a row brings."""
        values = [row[place] for place in self.numbers]
        return np.array([_NAN if value is None else value for value in values], np.float64)

    def coded(self, row: list[Any]) -> Array:
        """Return the codes that a row brings, and which conditions it meets."""
        return np.array([take(row) for take in self.codes], np.int64)


def brought(inputs: Inputs, places: Mapping[str, int]) -> Brought:
    """Return how the rows of a table are read; ``places`` are those of columns and conditions."""
    codes = tuple(_met(places[name]) if name.startswith("where ") else _coded(places[name]) for name in inputs.codes)
    return Brought(tuple(places[name] for name in inputs.numbers), codes)


def _met(place: int) -> Getter:
    return lambda row: 1 if row[place] is True else 0


def _coded(place: int) -> Getter:
    return lambda row: code_of(row[place])


class Reader:
    """Reads events: knows where in a row each column and each feature has its place."""

    def __init__(self, features: FeatureSet, plan: Plan, timezone: str) -> None:
        self.features = features
        self.plan = plan
        self.timezone = timezone
        self.local = local_clock(timezone)
        self.types: dict[str, pl.DataType] = {**features.types.get("", {}), "event_time": LOCAL}
        self.types |= {step.name: POLARS_TYPES[step.dtype] for step in features.steps}
        wheres = {f"where {key}": expr for key, expr in plan.inputs[""].wheres.items()}
        names = [*self.types, *wheres, COSINE, SINE, MINUTE]
        self.places = {name: i for i, name in enumerate(dict.fromkeys(names))}
        self.width = len(self.places)
        self._columns = [self._column(name, dtype) for name, dtype in self._data_types()]
        self._keeps_hours = MINUTE in plan.inputs[""].numbers or COSINE in plan.inputs[""].numbers
        self._raw = [
            (self.places[step.name], plan.places[step.name])
            for step in features.steps
            if step.is_column and step.dtype != "category"
        ]
        self._categories = [
            (step.name, self.places[step.name]) for step in features.features if step.dtype == "category"
        ]
        self.brought = brought(plan.inputs[""], self.places)
        self.turns = tuple(self._turn(item, wheres) for item in plan.rounds)
        self._event_time = self.places["event_time"]
        self._hours = tuple(self.places[name] for name in (COSINE, SINE, MINUTE))

    def _data_types(self) -> list[tuple[str, pl.DataType]]:
        return [(name, dtype) for name, dtype in self.features.types.get("", {}).items() if name != "event_time"]

    def _column(self, name: str, dtype: pl.DataType) -> tuple[str, int, Callable[[Any], Any]]:
        take = coercion(dtype)
        if self.types[name] == pl.String and dtype != pl.String:
            text = as_text(dtype)
            return name, self.places[name], lambda value: text(take(value))
        return name, self.places[name], take

    # ------------------------------------------------------------ making ready

    def _turn(self, item: Round, wheres: Mapping[str, RowExpr]) -> Turn:
        used = self._used()
        dtypes = {name: self.features[name].dtype for name in item.asked}
        asked = tuple(
            (self.plan.places[name], self.places[name], dtype)
            for name, dtype in dtypes.items()
            if name in used or dtype == "category"
        )
        computed = [self._computed(name, wheres) for name in item.computed]
        from fraudctl.features.online import answers

        current = item.program[:, answers.P_CURRENT] == 1
        hours = item.program[:, answers.P_OP] >= answers.HOUR_DISTANCE
        hours &= item.program[:, answers.P_OP] < answers.FIRST_OF_SLOT
        return Turn(item.program, bool((current | hours).any()), asked, tuple(one for one in computed if one))

    def _used(self) -> set[str]:
        """Return the names whose values others use."""
        inputs = self.plan.inputs[""]
        used = {need for step in self.features.steps for need in step.spec.needs}
        return used | {*inputs.numbers, *inputs.codes}

    def _computed(self, name: str, wheres: Mapping[str, RowExpr]) -> tuple[Getter, int, int] | None:
        place = self.places[name]
        if name in wheres:
            return compile_row(wheres[name], self.types, self.places), place, -1
        step = self.features[name]
        answer = -1 if step.dtype == "category" else self.plan.places[name]
        make = ONLINE[type(step.spec)].row
        return None if make is None else (make(self, step, step.spec), place, answer)

    # ------------------------------------------------------------ reading and answering

    def read(self, event: Mapping[str, Any]) -> tuple[int, list[Any]]:
        """Return the µs of an event and its values by place."""
        row: list[Any] = [None] * self.width
        get = event.get
        try:
            for name, place, take in self._columns:
                row[place] = take(get(name))
        except TypeError:
            raise refused(event, self._data_types()) from None
        time = micros(event.get("event_time"))
        row[self._event_time] = local = self._clock(time)
        if self._keeps_hours:
            minute = local.hour * 60 + local.minute
            for place, value in zip(self._hours, (_COSINES[minute], _SINES[minute], minute), strict=True):
                row[place] = value
        return time, row

    def _clock(self, time: int) -> datetime:
        try:
            return self.local(time)
        except (OverflowError, ValueError):
            msg = "event_time: lies outside the years 1 to 9999"
            raise DataError(msg) from None

    def answer(
        self, time: int, row: list[Any], ask: Callable[[Array, Array, Array, Array], None], out: Array, texts: Texts
    ) -> Seen:
        """Run all rounds: fill ``row`` and ``out``, and give what the event brings.

        ``ask`` takes a program, the event's numbers and codes, and the answers to write.
        """
        for place, at in self._raw:
            if row[place] is not None:
                out[at] = row[place]
        own, codes, complete = _NO_NUMBERS, _NO_CODES, False
        for turn in self.turns:
            if turn.uses_event:
                own, codes, complete = self.brought.own(row), self.brought.coded(row), True
            if len(turn.program):
                ask(turn.program, own, codes, out)
            if turn.asked:
                found = out.tolist()
                for at, place, dtype in turn.asked:
                    row[place] = texts.taken(out, at) if dtype == "category" else _typed(found[at], dtype)
            complete = complete and not turn.asked and not turn.computed
            for function, place, at in turn.computed:
                value = function(row)
                row[place] = value
                if at >= 0 and value is not None:
                    out[at] = value
        if not complete:
            own, codes = self.brought.own(row), self.brought.coded(row)
        return Seen(time, row, own, codes)

    def categories(self, row: list[Any]) -> dict[str, str | None]:
        """Return the features of a row that are categories."""
        return {name: row[place] for name, place in self._categories}

    def lookups(self) -> list[tuple[LookupSpec, int, int, Callable[[Any, int], Any]]]:
        """Return each look-up, its places in row and answers (-1 for a category), and how its value becomes typed.

        The function takes the value and the µs of the event.
        """
        out = []
        for step in self.features.steps:
            if isinstance(step.spec, LookupSpec):
                answer = -1 if step.dtype == "category" else self.plan.places[step.name]
                out.append((step.spec, self.places[step.name], answer, self._looked_up(step, step.spec)))
        return out

    def _looked_up(self, step: Feature, spec: LookupSpec) -> Callable[[Any, int], Any]:
        if spec.kind != VALUE:
            return moments.at_event(spec.kind, self.timezone)
        found = self.features.types[spec.source][spec.column]
        if step.dtype != "category" or found == pl.String:
            return _same
        text = as_text(found)
        return lambda value, _time: text(value)


_NO_NUMBERS, _NO_CODES = np.empty(0), np.empty(0, np.int64)


def _same(value: Any, _time: int) -> Any:
    return value


def _typed(number: float, dtype: str) -> Any:
    if number != number:
        return None
    return number if dtype == "float" else int(number) if dtype == "int" else bool(number)
