"""``[entities]``: what names the party to an event: one column, several that are joined, or row-level SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from fraudctl.project.messages import found

_EXPECTED = 'a column, { columns = ["a", "b"] } or { sql = "substr(a, 1, 6)" }'


@dataclass(frozen=True)
class EntityKey:
    """How the id of an entity is found in a row. Exactly one of the three is given.

    Attributes
    ----------
    column
        The column that holds it.
    columns
        Columns whose texts are joined to it; it is null where one of them is.
    sql
        A row-level expression whose result it is.

    Examples
    --------
    >>> EntityKey.parse("card_id").made, EntityKey.parse({"columns": ["card", "zip"]}).made
    (False, True)
    """

    column: str = ""
    columns: tuple[str, ...] = ()
    sql: str = ""

    @property
    def made(self) -> bool:
        """Whether no column of the data holds the id."""
        return not self.column

    @property
    def words(self) -> str:
        """What it is, for messages and tables: the column, the columns, or the expression."""
        return self.column or " + ".join(self.columns) or self.sql

    def plain(self) -> str | dict[str, str | list[str]]:
        """Return the key as the project file has it."""
        if self.column:
            return self.column
        return {"columns": list(self.columns)} if self.columns else {"sql": self.sql}

    def __repr__(self) -> str:
        """Return the text that digests are taken of; a plain column is the text that it was before there were others.

        >>> EntityKey.parse("card_id")
        'card_id'
        """
        return repr(self.plain())

    @classmethod
    def parse(cls, value: object) -> EntityKey:
        """Read a column name, ``{ columns = [...] }`` or ``{ sql = "..." }``."""
        if isinstance(value, EntityKey):
            return value
        if isinstance(value, str) and value:
            return cls(column=value)
        if isinstance(value, dict) and set(value) == {"columns"}:
            names = value["columns"]
            if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) and name for name in names):
                if len(set(names)) < len(names):
                    msg = "columns: names one column twice"
                    raise ValueError(msg)
                return cls(columns=tuple(names))
        if isinstance(value, dict) and set(value) == {"sql"} and isinstance(value["sql"], str) and value["sql"].strip():
            return cls(sql=value["sql"])
        msg = f"is {found(value)}; expected {_EXPECTED}"
        raise ValueError(msg)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(cls.plain)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        def table(key: str, value: JsonSchemaValue) -> JsonSchemaValue:
            return {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}

        many = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        return {"anyOf": [{"type": "string"}, table("columns", many), table("sql", {"type": "string"})]}
