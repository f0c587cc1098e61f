"""How a table is written: CSV dialect, times, numbers, missing values, types. Part of ``[data]`` and ``[sources]``."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from fraudctl.normal.formats import FormatError, compile_format
from fraudctl.project.messages import found
from fraudctl.project.types import Section

Unit = Literal["ns", "us", "ms", "s", "min", "h", "d", "w", "month"]
Kind = Literal["text", "number", "whole", "truth", "time"]
Missing = tuple[str | int | float, ...]
PLACE = frozenset({"events", "csv", "table_as_of"})
"""Keys of a table that say where it is and how it is stored, and not what it means."""
MADE_ID = "event_id"
"""Name of the column that an event id is made into."""
MADE_TIME = "event_time"
"""Name of the column that joined columns are made into, unless ``event_time`` gives another."""


class VersionedSection(Section):
    """A table that may be a version of a Delta or Iceberg table."""

    table_as_of: datetime | date | int | None = None
    """Which version of a Delta or Iceberg table is read: the number of a Delta version, the id of an Iceberg snapshot,
    or an instant, for the version that held then. By default the newest, when the project file is read."""

    @field_validator("table_as_of", mode="before")
    @classmethod
    def _a_version(cls, value: object) -> object:
        return instant_or_number(value)


def instant_or_number(value: object) -> object:
    """Return a version of a table as a whole number or an instant; raise ValueError for what is neither."""
    if isinstance(value, str):
        try:
            return int(value) if value.isdigit() else datetime.fromisoformat(value)
        except ValueError as error:
            msg = 'is a text; expected the number of a version, or an instant such as "2026-03-01T00:00:00Z"'
            raise ValueError(msg) from error
    if value is None or (isinstance(value, (int, date)) and not isinstance(value, bool)):
        return value
    msg = f"is {found(value)}; expected the number of a version, or an instant"
    raise ValueError(msg)


class CsvSection(Section):
    """``[data.csv]``: the dialect of CSV files; other files do not heed it."""

    separator: str | None = Field(default=None, min_length=1, max_length=1)
    """What stands between two columns; by default a comma, and a tab in files named .tsv."""
    quote: str = Field(default='"', max_length=1)
    """What encloses texts that hold a separator; "" where nothing does."""
    encoding: str = "utf-8"
    """How text is encoded: "utf-8", "latin-1", "cp1252" or another codec of Python."""

    @field_validator("encoding")
    @classmethod
    def _known_codec(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError as error:
            msg = f'{value!r} is no encoding; expected one such as "utf-8" or "latin-1"'
            raise ValueError(msg) from error
        return value


class NumberSection(Section):
    """How numbers are written in text."""

    decimal: Literal[".", ","] = "."
    """What stands before the decimals."""
    grouping: str = Field(default="", max_length=1)
    """What stands between groups of three digits; "" where nothing does."""
    prefix: str = ""
    """What may stand before the number, such as "$"."""
    suffix: str = ""
    """What may stand behind the number, such as " EUR"."""
    accounting: bool = False
    """Whether a number in parentheses is negative: (12.00) is -12."""

    @model_validator(mode="after")
    def _marks_differ(self) -> NumberSection:
        if self.grouping == self.decimal or self.grouping.isdigit() or self.grouping in {"-", "+"}:
            msg = f"grouping is {self.grouping!r}; expected a sign other than the decimal mark, digits and signs"
            raise ValueError(msg)
        return self


class NumbersSection(NumberSection):
    """``[data.numbers]``: how numbers are written in text, in all columns of CSV, or by column in any file."""

    columns: dict[str, NumberSection] = Field(default_factory=dict)
    """Column -> how its numbers are written, where that differs."""


class TimeSection(Section):
    """How times of one column, or of several that are joined, are written."""

    columns: tuple[str, ...] = ()
    """Columns whose texts, joined by one space, are the time: date and time, or year, month, day and time."""
    format: str | Annotated[tuple[str, ...], Field(min_length=1)] = ()
    """The format of texts (%Y %m %d %H:%M:%S and so on; docs/data.md lists all), or several, tried in order."""
    unit: Unit | None = None
    """Numbers count these since the origin: "ns", "us", "ms", "s", "min", "h", "d", "w" or "month" (whole months)."""
    origin: date | datetime | None = None
    """What numbers count from, in [data] timezone; by default 1970-01-01 in UTC."""
    invented_origin: date | datetime | None = None
    """An origin that nobody knows and that was made up: dates, weekdays and hours of the day mean nothing then, and
    reports say so."""

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats, in the order in which they are tried."""
        return (self.format,) if isinstance(self.format, str) else self.format

    @model_validator(mode="after")
    def _one_way(self) -> TimeSection:
        if bool(self.formats) == (self.unit is not None):
            msg = 'expected either format = "..." (of texts) or unit = "..." (of numbers)'
            raise ValueError(msg)
        if self.columns and self.unit is not None:
            msg = "columns are joined as text, and need a format; unit is for one column of numbers"
            raise ValueError(msg)
        if self.unit is None and (self.origin is not None or self.invented_origin is not None):
            msg = "an origin is what numbers count from, and needs a unit"
            raise ValueError(msg)
        if self.origin is not None and self.invented_origin is not None:
            msg = "origin and invented_origin exclude each other"
            raise ValueError(msg)
        for text in self.formats:
            try:
                compile_format(text)
            except FormatError as error:
                raise ValueError(str(error)) from error
        return self


class ReadingSection(VersionedSection):
    """How a table is written."""

    csv: CsvSection = CsvSection()
    time: TimeSection | None = None
    """How event_time is written; without it, as timestamps, dates or ISO 8601 text."""
    times: dict[str, TimeSection] = Field(default_factory=dict)
    """Column -> how other times are written (label_time, signup times, ...)."""
    numbers: NumbersSection = NumbersSection()
    missing: Missing = ()
    """Values that mean "missing" wherever they stand, such as ["?", "NA", -999]; they are read as null."""
    missing_in: dict[str, Missing] = Field(default_factory=dict)
    """Column -> values that mean "missing" in it alone, such as amount = [-1]."""
    types: dict[str, Kind] = Field(default_factory=dict)
    """Column -> "text", "number", "whole", "truth" or "time". In files without types (CSV), ids and categories are text
    unless said here, and other columns are what all their rows are."""

    @model_validator(mode="after")
    def _joined_once(self) -> ReadingSection:
        joined = [name for name, form in self.times.items() if form.columns]
        if joined:
            msg = f"times.{joined[0]}: only event_time can be joined from several columns, under [data.time]"
            raise ValueError(msg)
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Yield what the meaning of the table hangs on: not how CSV is written, nor what nobody declared.

        Digests of features are made from it; they do not change where a key is added that a project does not use.
        """
        fields = type(self).model_fields
        for name, value in super().__repr_args__():
            added = name in {*ReadingSection.model_fields, "untimed"}
            if not added or (name not in PLACE and value != fields[str(name)].get_default(call_default_factory=True)):
                yield name, value


class EventId(str):
    """The column that names each event once, or how its content is made.

    >>> EventId("txn_id").made, EventId(row_number=True).made
    (False, True)
    """

    __slots__ = ("columns", "row_number")
    row_number: bool
    columns: tuple[str, ...]

    def __new__(cls, name: str = MADE_ID, *, row_number: bool = False, columns: tuple[str, ...] = ()) -> Self:
        """Return a name that knows how its column is made; a plain one is a column of the data."""
        self = super().__new__(cls, name)
        self.row_number, self.columns = row_number, columns
        return self

    @property
    def made(self) -> bool:
        """Whether no column of the data holds it."""
        return self.row_number or bool(self.columns)

    def __repr__(self) -> str:
        return repr(self._plain()) if self.made else super().__repr__()

    def __reduce__(self) -> tuple[Any, ...]:
        return _event_id, (str(self), self.row_number, self.columns)

    def _plain(self) -> str | dict[str, bool | list[str]]:
        if not self.made:
            return str(self)
        return {"row_number": True} if self.row_number else {"columns": list(self.columns)}

    @classmethod
    def parse(cls, value: object) -> EventId:
        """Read a column name, ``{ row_number = true }`` or ``{ columns = [...] }``."""
        if isinstance(value, EventId):
            return value
        if isinstance(value, str):
            return cls(value)
        if value == {"row_number": True}:
            return cls(row_number=True)
        if isinstance(value, dict) and set(value) == {"columns"}:
            names = value["columns"]
            if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
                return cls(columns=tuple(names))
        msg = f'is {found(value)}; expected a column, {{ row_number = true }} or {{ columns = ["a", "b"] }}'
        raise ValueError(msg)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(cls._plain)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        row_number = {"type": "object", "properties": {"row_number": {"const": True}}, "additionalProperties": False}
        columns = {
            "type": "object", "properties": {"columns": {"type": "array", "items": {"type": "string"}}},
            "additionalProperties": False,
        }  # fmt: skip
        return {"anyOf": [{"type": "string"}, row_number, columns]}


def _event_id(name: str, row_number: bool, columns: tuple[str, ...]) -> EventId:  # noqa: FBT001 - called by pickle
    return EventId(name, row_number=row_number, columns=columns)
