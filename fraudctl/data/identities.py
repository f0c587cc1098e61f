"""Ids of entities that no column of the data holds: joined columns, and results of row-level SQL.

Owns the one meaning of such an id, for tables and for single rows: text, null where one of the joined columns or the
result is null, and equal for two rows exactly where the joined columns are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from fraudctl.data.distinct import coded, comes_back
from fraudctl.data.own import outside
from fraudctl.errors import DataError, ProjectError
from fraudctl.normal.form import id_text, id_texts, joined, one_joined
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from fraudctl.features.rows.read import RowExpr
    from fraudctl.project import Project
    from fraudctl.project.entities import EntityKey

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ROLE_TYPES: Final[Mapping[str, pl.DataType]] = {"amount": pl.Float64(), "event_time": pl.Datetime("us", "UTC")}
Getter = Callable[[str], pl.Series]


@dataclass(frozen=True)
class Made:
    """One entity whose ids are made.

    Attributes
    ----------
    key
        What they are made of.
    where
        Where it stands in the project file, for messages.
    roles
        Columns of the data, and names, that stand for ``amount`` or ``event_time``: name -> that role.
    timezone
        The project's; SQL sees times as they are on the wall there.
    """

    key: EntityKey
    where: str
    roles: Mapping[str, str]
    timezone: str

    @cached_property
    def expr(self) -> RowExpr | None:
        """The expression, where the ids are the results of one.

        Raises
        ------
        ProjectError
            The SQL is refused, or reads no column.
        """
        if not self.key.sql:
            return None
        from fraudctl.features.rows.read import compile_row_sql

        found = compile_row_sql(self.key.sql, allowed=None, where=self.where)
        if not found.columns:
            msg = f"{self.where}: reads no column; every event would have the same id"
            raise ProjectError(msg)
        return found

    @property
    def parts(self) -> tuple[str, ...]:
        """The columns that are read, as the project file calls them."""
        return self.key.columns if self.expr is None else tuple(map(outside, self.expr.columns))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the data that are read beside the roles."""
        return tuple(name for name in self.parts if name not in self.roles)

    def types(self, schema: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
        """Return the types of the parts, from those of the data's columns."""
        return {name: _ROLE_TYPES[self.roles[name]] if name in self.roles else schema[name] for name in self.parts}

    def check(self, schema: Mapping[str, pl.DataType]) -> None:
        """Check that ids can be made of columns of these types.

        Raises
        ------
        DataError
            A type that no id can be made of, or that the SQL does not fit.
        """
        types = self.types(schema)
        for name, dtype in types.items() if self.expr is None else ():
            if isinstance(dtype, pl.Datetime) or dtype.is_nested():
                msg = f"{self.where}: {shown(name)} is {dtype}; expected text, numbers, dates or truth values"
                raise DataError(msg, hint='SQL makes an id of a time, such as { sql = "cast(event_time AS DATE)" }')
        found = self.ids(lambda name: pl.Series(name, [], dtype=types[name])).dtype
        assert found == pl.String  # noqa: S101 - `ids` makes nothing else

    def ids(self, column: Getter) -> pl.Series:
        """Return the ids as String, null where a part or the result is null.

        Parameters
        ----------
        column
            Gives a part of all rows: roles in their normalised form, columns as the normal form of the file has them.
        """
        parts = [_plain(column(name)) for name in self.parts]
        if self.expr is None:
            texts = pl.DataFrame([id_texts(part).alias(str(place)) for place, part in enumerate(parts)])
            return texts.select(joined([pl.col(name) for name in texts.columns])).to_series()
        found = self._evaluated(parts)
        if isinstance(found.dtype, pl.Datetime):
            msg = f"{self.where}: the result is a time; expected text, a number, a date or a truth value"
            raise DataError(msg, hint="cast(... AS DATE) makes a date of it")
        return id_texts(found)

    def _evaluated(self, parts: Sequence[pl.Series]) -> pl.Series:
        """Return the result of the SQL; that of one column whose values come back is computed once for each value."""
        assert self.expr is not None  # noqa: S101 - `ids` asks for nothing else
        rows = None
        if len(parts) == 1 and comes_back(parts[0]):
            rows, values = coded(parts[0])
            parts = [values]
        frame = pl.DataFrame([part.alias(name) for name, part in zip(self.expr.columns, parts, strict=True)])
        found = self.expr.apply(frame, timezone=self.timezone)
        return found if rows is None else found.gather(rows)

    def of_one(self, schema: Mapping[str, pl.DataType]) -> Callable[[Mapping[str, Any]], str | None]:
        """Return a function that makes the id of one row, equal to what `ids` gives.

        It takes the parts by name: columns as read for their type, ``event_time`` in µs UTC.
        """
        parts = self.parts
        if self.expr is None:
            return lambda row: _one(parts, row)
        from fraudctl.features.rows.compile import compile_row
        from fraudctl.features.rows.read import wide_dtype

        named = dict(zip(self.expr.columns, self.types(schema).values(), strict=True))
        types = {name: _local(wide_dtype(dtype)) for name, dtype in named.items()}
        function = compile_row(self.expr, types, {name: place for place, name in enumerate(types)})
        zone, roles = ZoneInfo(self.timezone), self.roles

        def answer(row: Mapping[str, Any]) -> str | None:
            values = [_on_the_wall(row[name], zone, is_time=roles.get(name) == "event_time") for name in parts]
            found = function(values)
            return None if found is None else id_text(found)

        return answer


def made_ids(project: Project) -> dict[str, Made]:
    """Return the entities of the events whose ids are made, by name."""
    data = project.data
    roles = {column: role for role in ("amount", "event_time") if (column := getattr(data, role)) is not None}
    roles |= {role: role for role in tuple(roles.values())}
    made = {name: key for name, key in project.entities.items() if key.made}
    return {name: Made(key, f"entities.{name}", roles, data.timezone) for name, key in made.items()}


def made_in_source(project: Project, source: str) -> dict[str, Made]:
    """Return the same for the rows of a table of ``[sources]``."""
    return made_in(project.sources[source].entities, f"sources.{source}.entities", project.data.timezone)


def made_in(keys: Mapping[str, EntityKey], where: str, timezone: str) -> dict[str, Made]:
    """Return those of some keys that are made, of rows without roles; ``where`` is their place in the project file."""
    return {name: Made(key, f"{where}.{name}", {}, timezone) for name, key in keys.items() if key.made}


def id_columns(keys: Mapping[str, EntityKey], made: Mapping[str, Made]) -> dict[str, tuple[str, ...]]:
    """Return by entity the columns of the data that its ids are read from."""
    return {name: made[name].columns if name in made else (key.column,) for name, key in keys.items()}


def event_columns(project: Project) -> dict[str, tuple[str, ...]]:
    """Return `id_columns` of the events.

    Raises
    ------
    ProjectError
        SQL that is refused, or that reads the outcome.
    """
    made, outcome = made_ids(project), {project.data.label, project.data.label_time}
    for name, item in made.items():
        if outcome.intersection(item.columns):
            msg = f"entities.{name}: reads the label or its time, and so names nobody"
            raise ProjectError(msg)
    return id_columns(project.entities, made)


def source_columns(project: Project, source: str) -> dict[str, tuple[str, ...]]:
    """Return `id_columns` of a table of ``[sources]``."""
    return id_columns(project.sources[source].entities, made_in_source(project, source))


def flat(columns: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield the columns of all entities."""
    for names in columns.values():
        yield from names


def _one(parts: Collection[str], row: Mapping[str, Any]) -> str | None:
    values = [row[name] for name in parts]
    return None if any(value is None for value in values) else one_joined([id_text(value) for value in values])


def _plain(values: pl.Series) -> pl.Series:
    """Return a part in the type that it is computed with; floats that are not finite are null."""
    dtype = values.dtype
    if dtype.is_float() or isinstance(dtype, pl.Decimal):
        values = values.cast(pl.Float64)
        return values.set(~values.is_finite().fill_null(value=True), None)
    return values.cast(pl.String) if dtype == pl.Categorical or isinstance(dtype, pl.Enum) else values


def _local(dtype: pl.DataType) -> pl.DataType:
    return pl.Datetime(dtype.time_unit) if isinstance(dtype, pl.Datetime) else dtype


def _on_the_wall(value: Any, zone: ZoneInfo, *, is_time: bool) -> Any:
    if is_time:
        value = _EPOCH + timedelta(microseconds=value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(zone).replace(tzinfo=None)
    return value
