"""Events, labels and rows of other tables as they come: from the data's own column names to roles, one at a time.

Owns what `tables.normalise` does for a whole table, for one JSON object: every column that the model uses must be
there (null is a value), of the type it had in training; a field that training never saw is refused. Messages name
fields and types, never values.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from fraudctl.data import identities
from fraudctl.data.labels import DECLINED
from fraudctl.data.own import outside
from fraudctl.data.tables import own_form, source_form
from fraudctl.errors import DataError
from fraudctl.features.meaning.definition import FeatureSet
from fraudctl.money import LARGEST
from fraudctl.normal.nested import flat_row
from fraudctl.normal.times import iso_one
from fraudctl.project import Project
from fraudctl.scoring import wire
from fraudctl.scoring.schema import DataSchema, kind_of, time_column
from fraudctl.text.figures import exact
from fraudctl.text.plain import shown

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST: Final = 2**63 - 1
_FIRST, _LAST = (
    (datetime(*day, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) for day in ((1, 1, 2), (9999, 12, 31))
)
"""Times that every time zone can write: a day from the ends of what Python, Polars and ISO 8601 hold."""
LONGEST_ID: Final = 1024
"""Characters of an event id or an entity id: every one of them is kept in memory."""
_ALL_FIELDS: Final = "give every column that the model uses; null is a value"
_TYPES: Final = "send each field with the type of its column in training; ids that were read from a CSV file are text"
_OWN_ID: Final = "; rows were numbered in training: event_id is a whole number larger than the rows of the history"
_MOST_NAMED: Final = 5

Convert = Callable[[Any], Any]
Fields = tuple[tuple[str, str, Convert], ...]


class MisfitError(ValueError):
    """A value of another kind than expected; the text says which, without the value."""


class EventReader:
    """Reads events, labels and source rows for one feature set.

    Parameters
    ----------
    project
        Of the bundle: roles, entities, sources, time zone and label encoding.
    features
        What the columns are needed for.
    schema
        What the columns were in training.
    more
        Data columns, apart from those of the features, that rules read.
    priced
        Data columns that costs read; they must not be null.
    """

    def __init__(
        self,
        project: Project,
        features: FeatureSet,
        schema: DataSchema,
        *,
        more: Collection[str] = (),
        priced: Collection[str] = (),
    ) -> None:
        data = project.data
        self._form = own_form(project)
        self._source_forms = {name: source_form(project, name) for name in features.sources}
        self._numeric = frozenset(name for name, kind in schema.events.items() if kind.is_numeric())
        self._source_numeric = {
            name: frozenset(column for column, kind in schema.sources[name].items() if kind.is_numeric())
            for name in features.sources
        }
        self._zone = ZoneInfo(data.timezone)
        self._labels: Mapping[str, int | None] = data.label_values
        self.known = frozenset(schema.events)
        roles = [
            ("event_id", data.event_id, _id(schema.events[data.event_id])),
            ("event_time", time_column(project), self.time),
        ]
        if data.amount is not None:
            roles.append(("amount", data.amount, _number))
        plain = [(name, key.column) for name, key in project.entities.items() if not key.made]
        roles += [(name, column, _optional(_id(schema.events[column]))) for name, column in plain]
        carried = [(name, outside(name)) for name in dict.fromkeys([*features.carried, *more])]
        roles += [(name, column, self._plain(schema.events[column])) for name, column in carried]
        roles = [(name, column, _cost(read) if name in priced else read) for name, column, read in roles]
        self._event: Fields = tuple(roles)
        self._hint = _ALL_FIELDS + (_OWN_ID if data.event_id.row_number else "")
        self._declined = project.labels.declined
        self._made = [
            _MadeId(name, item, schema.events, self._plain) for name, item in identities.made_ids(project).items()
        ]
        self._read: Fields = (*self._event, *(field for item in self._made for field in item.fields))
        self.columns = tuple(dict.fromkeys(column for _, column, _ in self._read))
        """The data's columns that an event must have."""
        self.names = (*(name for name, _, _ in roles), *(item.name for item in self._made))
        """What they are called once they are read."""
        self._sources = {name: self._source_fields(project, features, schema, name) for name in features.sources}
        self._source_columns = {name: frozenset(schema.sources[name]) for name in features.sources}
        self._source_made = {
            name: [_MadeId(entity, item, schema.sources[name], self._plain) for entity, item in made.items()]
            for name in features.sources
            if (made := identities.made_in_source(project, name))
        }
        self._ids = ("event_id", *project.entities)
        self._money = tuple(name for name in self.names if name == "amount" or name in priced)
        self._source_ids = {name: tuple(project.sources[name].entities) for name in features.sources}

    @property
    def event_id_column(self) -> str:
        """The data's column that names each event."""
        return self._event[0][1]

    def event_id(self, raw: Any) -> int | str | None:
        """Return the id of an event as it came; None where it has none that can be read."""
        raw = self._normal(raw)
        if not isinstance(raw, dict) or raw.get(self.event_id_column) is None:
            return None
        try:
            found: int | str = self._event[0][2](raw[self.event_id_column])
        except MisfitError:
            return None
        return found

    def event_time(self, raw: Any) -> int | None:
        """Return the time of an event as it came, in µs UTC; None where it has none that can be read."""
        raw = self._normal(raw)
        _, column, read = self._event[1]
        try:
            found: int | None = read(raw[column]) if isinstance(raw, dict) and column in raw else None
        except MisfitError:
            return None
        return found

    def differing(self, first: Mapping[str, Any], again: Any) -> list[str]:
        """Return the columns of this reader that the first event has and that the other one lacks or has otherwise.

        Values are compared as they are read, so that an instant in another zone, or 5 and 5.0, are the same.
        """
        first = self._normal(first)
        held = self._normal(again) if isinstance(again, dict) else {}
        read = [(column, convert) for _, column, convert in self._read if column in first]
        return [name for name, convert in read if name not in held or not _equal(first[name], held[name], convert)]

    def _normal(self, raw: Any) -> Any:
        """Return an event in the normal form that the project declares; what is no object is left as it is."""
        if not isinstance(raw, dict):
            return raw
        raw = flat_row(raw, self.known)
        return raw if self._form.idle else self._form.row(raw, numeric=self._numeric)

    @property
    def source_names(self) -> tuple[str, ...]:
        """The other tables whose rows are taken."""
        return tuple(self._sources)

    def _source_fields(self, project: Project, features: FeatureSet, schema: DataSchema, name: str) -> Fields:
        section, columns = project.sources[name], schema.sources[name]
        fields: list[tuple[str, str, Convert]] = [("event_time", section.event_time, self.time)]
        if section.known_time is not None:
            fields.append(("usable_time", section.known_time, _optional(self.time)))
        plain = [(entity, key.column) for entity, key in section.entities.items() if not key.made]
        fields += [(entity, column, _optional(_id(columns[column]))) for entity, column in plain]
        fields += [(column, column, self._plain(columns[column])) for column in features.sources[name]]
        return tuple(fields)

    def event(self, raw: Any, *, strict: bool = True) -> Mapping[str, Any]:
        """Return an event under role names: times in µs UTC, numbers, entity ids, carried columns.

        Parameters
        ----------
        strict
            Whether fields that training never saw are refused; otherwise they are not looked at.

        Raises
        ------
        DataError
            A column is missing, unknown, or of a type that it did not have in training.
        """
        if not isinstance(raw, dict):
            msg = f"an event is {_said(raw)}; expected an object with the data's columns as fields"
            raise DataError(msg)
        raw = self._normal(raw)
        if strict and not raw.keys() <= self.known:
            raise _strangers(raw.keys() - self.known, self.known, "event")
        event = _read(self._event, raw, "event", hint=self._hint)
        for made in self._made:
            event[made.name] = made.id_of(raw, event, "event")
        if self._declined is not None:
            event[DECLINED] = json_text(raw.get(self._declined.column)) in self._declined.texts
        if strict:
            _require_short(event, self._ids, "event")
            _require_money(event, self._money, "event")
        return event

    def source(self, name: str, raw: Any, *, strict: bool = False) -> Mapping[str, Any]:
        """Return a row of another table under role names, with the time from which on events may see it.

        Parameters
        ----------
        strict
            Whether ids longer than `LONGEST_ID` are refused.

        Raises
        ------
        DataError
            There is no such source, or the row does not fit it.
        """
        if name not in self._sources:
            told = ", ".join(self._sources) or "none"
            msg = f"the model uses no source of that name; it uses: {told}"
            raise DataError(msg)
        if not isinstance(raw, dict):
            msg = f"a row of source {name} is {_said(raw)}; expected an object with the table's columns as fields"
            raise DataError(msg)
        form = self._source_forms[name]
        raw = flat_row(raw, self._source_columns[name])
        raw = raw if form.idle else form.row(raw, numeric=self._source_numeric[name])
        if not raw.keys() <= self._source_columns[name]:
            raise _strangers(raw.keys() - self._source_columns[name], self._source_columns[name], f"source {name}")
        row = _read(self._sources[name], raw, f"source {name}")
        for made in self._source_made.get(name, ()):
            row[made.name] = made.id_of(raw, row, f"source {name}")
        if strict:
            _require_short(row, self._source_ids[name], f"source {name}")
        row["usable_time"] = max(row["event_time"], row.get("usable_time") or row["event_time"])
        return row

    def label(self, raw: Any) -> tuple[Any, int | None, int]:
        """Return event id, outcome (1, 0 or None) and µs UTC of its arrival.

        Raises
        ------
        DataError
            A field is missing, unknown or of the wrong type, or the label is none that the project knows.
        """
        if not isinstance(raw, dict):
            msg = f"a label is {_said(raw)}; expected an object with event_id, label and label_time"
            raise DataError(msg)
        allowed = frozenset({"type", "event_id", "label", "label_time"})
        if not raw.keys() <= allowed:
            raise _strangers(raw.keys() - allowed, allowed - {"type"}, "label")
        if raw.get("type", "label") != "label":
            msg = "label: field 'type' is not 'label'"
            raise DataError(msg)
        fields = (
            ("event_id", "event_id", self._event[0][2]),
            ("label", "label", self.outcome),
            ("label_time", "label_time", self.time),
        )
        row = _read(fields, raw, "label")
        _require_short(row, ("event_id",), "label")
        return row["event_id"], row["label"], row["label_time"]

    def outcome(self, value: Any) -> int | None:
        """Read an outcome through ``[data.label_values]`` where there are any."""
        if self._labels:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if value is not None and text not in self._labels:
                told = "is none of the values of [data.label_values]"
                raise MisfitError(told)
            return None if value is None else self._labels[text]
        if value is None:
            return None
        if value in (0, 1):
            return int(value)
        told = "is none of 1, 0 and null"
        raise MisfitError(told)

    def time(self, value: Any) -> int:
        """Read an ISO 8601 time as µs since 1970 in UTC; without a zone it is local to the project.

        A local time that happens twice is the earlier one; one that never happens is refused.
        """
        if not isinstance(value, str):
            told = f"is {_said(value)}; expected a time as ISO 8601 text"
            raise MisfitError(told)
        try:
            moment = iso_one(value)
        except ValueError:
            told = "is no ISO 8601 time"
            raise MisfitError(told) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._zone)
        micros = (moment - EPOCH) // timedelta(microseconds=1)
        if not _FIRST <= micros < _LAST:
            told = "is a time outside the years 1 to 9999, less a day at each end"
            raise MisfitError(told)
        if moment.tzinfo is self._zone and self._zone.key != "UTC":
            existing = (EPOCH + timedelta(microseconds=micros)).astimezone(self._zone)
            if existing.replace(fold=0) != moment:
                told = "is a local time that does not exist (clocks went forward)"
                raise MisfitError(told)
        return micros

    def _plain(self, dtype: pl.DataType) -> Convert:
        """Return what reads a carried column of a type; null stays null."""
        if dtype.is_integer():
            return _optional(_whole)
        if dtype.is_numeric():
            return _number
        if dtype == pl.Boolean:
            return _optional(_truth)
        if isinstance(dtype, pl.Datetime):
            return _optional(self._moment if dtype.time_zone is not None else _naive)
        return _optional(_date if dtype == pl.Date else _text)

    def _moment(self, value: Any) -> datetime:
        return EPOCH + timedelta(microseconds=self.time(value))


class _MadeId:
    """Makes the id of an entity that no column holds, of one message.

    Parameters
    ----------
    schema
        Types of the columns in training.
    plain
        Gives what reads a column of a type.
    """

    def __init__(
        self,
        name: str,
        made: identities.Made,
        schema: Mapping[str, pl.DataType],
        plain: Callable[[pl.DataType], Convert],
    ) -> None:
        self.name = name
        self.fields: Fields = tuple((column, column, plain(schema[column])) for column in made.columns)
        self._roles = [(part, made.roles[part]) for part in made.parts if part in made.roles]
        self._answer = made.of_one(schema)

    def id_of(self, raw: Mapping[str, Any], row: Mapping[str, Any], what: str) -> str | None:
        """Return the id; ``row`` holds the roles as they were read.

        Raises
        ------
        DataError
            A column is missing or of another type than in training.
        """
        parts = _read(self.fields, raw, what)
        for part, role in self._roles:
            parts[part] = row[role]
        return self._answer(parts)


def json_text(value: Any) -> str | None:
    """Return a value of an event as the project file writes it: truth values as true and false, 5.0 as 5."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return None if value is None else str(value)


def _equal(one: Any, other: Any, convert: Convert) -> bool:
    """Return whether two values are read alike; where one cannot be read, whether they are the same JSON."""
    try:
        return bool(convert(one) == convert(other))
    except MisfitError:
        return wire.dumps(one) == wire.dumps(other)


def _read(fields: Fields, raw: Mapping[str, Any], what: str, *, hint: str = _ALL_FIELDS) -> dict[str, Any]:
    out: dict[str, Any] = {}
    try:
        for name, column, convert in fields:
            out[name] = convert(raw[column])
    except KeyError:
        missing = [column for _, column, _ in fields if column not in raw]
        msg = f"{what}: no field {', '.join(map(shown, missing[:_MOST_NAMED]))}, which the model was trained with"
        raise DataError(msg, hint=hint) from None
    except MisfitError as problem:
        msg = f"{what}: field {shown(column)} {problem}"
        raise DataError(msg, hint=_TYPES) from None
    return out


def _strangers(found: Collection[str], known: Collection[str], what: str) -> DataError:
    """Return the error for fields that training never saw; their names are shown as far as they look like names."""
    told = []
    for name in sorted(found)[:_MOST_NAMED]:
        near = difflib.get_close_matches(name[:200], known, n=1)
        told.append(shown(name) + (f" (did you mean {shown(near[0])}?)" if near else ""))
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    msg = f"{what}: unknown field {', '.join(told)}{more}"
    return DataError(msg, hint="leave out what was not among the columns that the model was trained with")


def _said(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _expected(value: Any, dtype: pl.DataType) -> MisfitError:
    return MisfitError(f"is {_said(value)}; expected {kind_of(dtype)}")


def _optional(convert: Convert) -> Convert:
    def read(value: Any) -> Any:
        return None if value is None else convert(value)

    return read


def _cost(convert: Convert) -> Convert:
    def read(value: Any) -> Any:
        found = convert(value)
        if found is None:
            told = "is null; a cost must be known for every event"
            raise MisfitError(told)
        return found

    return read


def _id(dtype: pl.DataType) -> Convert:
    return _whole if dtype.is_numeric() else _text


def _require_short(row: Mapping[str, Any], names: Collection[str], what: str) -> None:
    """Raise a DataError where an id is longer than `LONGEST_ID`, or that of an event is text of spaces alone.

    Only messages are held to it: a log that was written without the limit is read back as it is.
    """
    for name in names:
        value = row[name]
        if name == "event_id" and type(value) is str and not value.strip():
            msg = f"{what}: event_id is empty; expected every event to have an id"
            raise DataError(msg, hint="give each event an id of its own")
        if type(value) is str and len(value) > LONGEST_ID:
            msg = f"{what}: {name} is an id of {len(value)} characters; expected at most {LONGEST_ID}"
            raise DataError(msg)


def _require_money(row: Mapping[str, Any], names: Collection[str], what: str) -> None:
    """Raise a DataError where an amount or a cost is larger than `LARGEST`; held as `_require_short` is."""
    for name in names:
        if row[name] is not None and abs(row[name]) > LARGEST:
            msg = f"{what}: {shown(name)} is money beyond {exact(LARGEST)}"
            raise DataError(msg, hint="sums of such numbers lose whole units of money")


def _whole(value: Any) -> int:
    if type(value) is float and value.is_integer() and abs(value) <= _LARGEST:
        return int(value)
    if type(value) is not int:
        raise _expected(value, pl.Int64())
    if abs(value) > _LARGEST:
        told = "is a number beyond 64 bits"
        raise MisfitError(told)
    return value


def _number(value: Any) -> float | None:
    if type(value) is float:
        return value if math.isfinite(value) else None
    if value is None:
        return None
    if type(value) is not int:
        raise _expected(value, pl.Float64())
    try:
        return float(value)
    except OverflowError:
        told = "is a number beyond 64 bits"
        raise MisfitError(told) from None


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _expected(value, pl.String())
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise _expected(value, pl.Boolean())
    return value


def _naive(value: Any) -> datetime:
    found: datetime = _iso(datetime.fromisoformat, value)
    return found.replace(tzinfo=None)


def _date(value: Any) -> date:
    found: date = _iso(date.fromisoformat, value)
    return found


def _iso(parse: Callable[[str], Any], value: Any) -> Any:
    if type(value) is not str:
        raise _expected(value, pl.Date())
    try:
        return parse(value)
    except ValueError:
        told = "is no ISO 8601 time"
        raise MisfitError(told) from None
