"""The vocabulary of the project file: durations, dates, aggregates, and the strict base of every section."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from fraudctl.project.messages import found

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_LONGEST = 36_525 * 86_400
_DURATION = re.compile(r"(\d+)([smhdw])")
_AGGREGATE = re.compile(r"([a-z_0-9]+)(?:\(\s*(\S|\S.*\S)\s*\))?", re.DOTALL)


class Section(BaseModel):
    """A table of the project file: immutable, and strict about keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, source: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say what each key means, in the words below it in the code.

        Pydantic can do so too, but when a class is made: every command would read and parse the code of all sections.
        """
        schema = handler(source)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for parent in reversed(cls.__mro__):
            if issubclass(parent, Section):
                for key, meaning in _meanings(parent):
                    properties[key]["description"] = meaning
        return schema


def _meanings(section: type) -> Iterator[tuple[str, str]]:
    """Yield the keys that a class defines with the text below each."""
    body = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    for pair in itertools.pairwise(getattr(body, "body", [])):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                yield key, inspect.cleandoc(text)


@dataclass(frozen=True, order=True)
class Duration:
    """An exact length of time; ``30d`` is 30 × 86,400 s, whatever the calendar says.

    >>> Duration.parse("7d").seconds
    604800
    >>> str(Duration.parse("90m"))
    '90m'
    >>> Duration.parse("1mo")
    Traceback (most recent call last):
    ValueError: '1mo' is not a duration; expected a whole number and one of s, m, h, d, w, such as "12h" or "7d"
    """

    seconds: int
    text: str = ""

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read ``<whole number><s|m|h|d|w>``; months and years are refused, for they have no fixed length."""
        match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            msg = f'{text!r} is not a duration; expected a whole number and one of s, m, h, d, w, such as "12h" or "7d"'
            if not isinstance(text, str):
                msg = f'is {found(text)}; expected a duration such as "7d"'
            raise ValueError(msg)
        seconds = int(match[1]) * _SECONDS[match[2]]
        if seconds > _LONGEST:
            msg = f"{text!r} is longer than a hundred years"
            raise ValueError(msg)
        return cls(seconds, match[0])

    @property
    def us(self) -> int:
        """The length in microseconds."""
        return self.seconds * 1_000_000

    @property
    def timedelta(self) -> timedelta:
        """The length as a standard-library timedelta."""
        return timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        return self.text or f"{self.seconds}s"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema()
        )  # fmt: skip

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^\d+[smhdw]$", "examples": ["12h", "7d", "30d"]}


class PositiveDuration(Duration):
    """A duration longer than nothing, as a window has to be."""

    @classmethod
    def parse(cls, text: object) -> PositiveDuration:
        """Read a duration and refuse zero."""
        base = Duration.parse(text)
        if base.seconds == 0:
            msg = f"{text!r} is no length of time; expected more than zero"
            raise ValueError(msg)
        return cls(base.seconds, base.text)


@dataclass(frozen=True)
class Aggregate:
    """What is computed over a window: ``count``, or ``sum(amount)`` and the like."""

    kind: str
    column: str | None = None

    @classmethod
    def parse(cls, text: object) -> Aggregate:
        """Read ``kind``, ``kind(column)`` or ``kind("column")``: any name, in quotes where spaces are part of it."""
        if not isinstance(text, str):
            msg = f'is {found(text)}; expected an aggregate such as "count" or "mean(amount)"'
            raise ValueError(msg)
        match = _AGGREGATE.fullmatch(text.strip())
        if match is None:
            msg = f'{text!r} is not an aggregate; expected "count" or a form such as "mean(amount)"'
            raise ValueError(msg)
        column = match[2]
        if column is not None and len(column) > 2 and column[0] == column[-1] == '"':
            column = column[1:-1]
        return cls(match[1], column)

    def __str__(self) -> str:
        """Return the text that is read as this aggregate.

        >>> str(Aggregate("mean", "Fee (EUR)")), str(Aggregate("share", " channel"))
        ('mean(Fee (EUR))', 'share(" channel")')
        """
        column = self.column
        if column is None:
            return self.kind
        plain = column == column.strip() and not column.startswith('"')
        return f"{self.kind}({column})" if plain else f'{self.kind}("{column}")'

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema()
        )  # fmt: skip

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "examples": ["count", "mean(amount)", "nunique(merchant)"]}
