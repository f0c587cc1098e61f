"""The declared normal form of a table: applied to all its rows, or to one message, with equal results."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from fraudctl.errors import DataError
from fraudctl.normal import kinds, numbers, times
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from fraudctl.project.reading import EventId, NumberSection, ReadingSection, TimeSection

EXACT: Final = 2**53
"""Whole numbers up to this are exact as floats; beyond, two ids may be one."""
WIDE: Final = (pl.UInt64, pl.Int128, pl.UInt128)
TRUTHS: Final = {"true": True, "t": True, "yes": True, "y": True, "1": True, "false": False, "f": False, "no": False,
                 "n": False, "0": False}  # fmt: skip
Reader = tuple[Callable[[pl.Series], pl.Series], pl.DataType]
Readers = dict[str, Reader]
"""Column -> what reads it, and the type that comes out."""


@dataclass(frozen=True)
class Form:
    """What is declared of a table.

    Attributes
    ----------
    reading
        ``[data]`` or a table of ``[sources]``; None declares nothing.
    timezone
        Reads times without a zone.
    event_time
        The column with the time of the event, or that it is made into.
    event_id
        The column with the id of the event, or how it is made.
    ids
        Columns with ids, which are text where the file does not say a type, or holds integers beyond 64 bits.
    text
        Columns that are text where the file does not say a type.
    agreed
        Ids that are text in another table of the project, and so here.
    trained
        Types that columns of files without types are read as; the others are found.
    clocks
        Columns with times that have a role, which is read behind this: they stay text there.
    timed
        Whether rows without a time of the event are left out.
    """

    reading: ReadingSection | None = None
    timezone: str = "UTC"
    event_time: str | None = None
    event_id: EventId | None = None
    ids: frozenset[str] = frozenset()
    text: frozenset[str] = frozenset()
    agreed: frozenset[str] = frozenset()
    trained: tuple[tuple[str, pl.DataType], ...] = ()
    clocks: frozenset[str] = frozenset()
    timed: bool = False

    def as_trained(self, schema: Mapping[str, pl.DataType]) -> Form:
        """Return the form that reads files without types as a model was trained."""
        return replace(self, trained=tuple(schema.items()))

    @cached_property
    def time_forms(self) -> dict[str, TimeSection]:
        """Column -> how its times are written; without one that is joined."""
        if self.reading is None:
            return {}
        found = dict(self.reading.times)
        if self.reading.time is not None and not self.reading.time.columns and self.event_time is not None:
            found[self.event_time] = self.reading.time
        return found

    @property
    def joined(self) -> TimeSection | None:
        """How columns are joined to the time of the event, where they are."""
        form = None if self.reading is None else self.reading.time
        return form if form is not None and form.columns else None

    def missing(self, name: str) -> tuple[str | int | float, ...]:
        """Return the values that mean "missing" in a column."""
        if self.reading is None:
            return ()
        return (*self.reading.missing, *self.reading.missing_in.get(name, ()))

    @property
    def common(self) -> NumberSection | None:
        """How numbers are written in all columns of text; None for a plain point."""
        form = None if self.reading is None else self.reading.numbers
        return None if form is None or numbers.plain(form) else form

    def applied(self, raw: pl.LazyFrame, *, untyped: bool, place: str) -> pl.LazyFrame:
        """Return a table in its normal form, but for a row number.

        Parameters
        ----------
        raw
            As the files hold it; all columns are text where the files have no types.
        untyped
            Whether they have none.

        Raises
        ------
        DataError
            A declared column is missing, or holds what the declared notation does not read.
        """
        schema = raw.collect_schema()
        self._require(schema, place)
        raw = raw.with_columns([self._without(name, kind) for name, kind in schema.items() if self.missing(name)])
        raw = self._joined_time(raw, schema)
        readers = self._readers(raw, schema)
        changed = [pl.col(name).map_batches(read, return_dtype=kind) for name, (read, kind) in readers.items()]
        known = set(readers)
        raw = raw.with_columns(changed) if changed else raw
        if untyped:
            raw = self._typed(raw, [name for name in schema if name not in known])
        if self.timed and self.event_time is not None:
            raw = raw.filter(pl.col(self.event_time).is_not_null())
        return self._joined_id(raw)

    def numbered(self, frame: pl.LazyFrame, *, after: int = 0) -> pl.LazyFrame:
        """Return a table with the number of each row as its id, from ``after + 1``, where the id is declared so."""
        name = self.event_id
        if name is None or not name.row_number or str(name) in frame.collect_schema():
            return frame
        return frame.with_row_index(str(name), offset=after + 1).with_columns(pl.col(str(name)).cast(pl.Int64))

    def _require(self, schema: Mapping[str, pl.DataType], place: str) -> None:
        """Raise a DataError where a declared column is not there, or one that is made is there already."""
        if self.reading is None:
            return
        asked = [*(self.joined.columns if self.joined else ()), *(self.event_id.columns if self.event_id else ())]
        lost = [name for name in asked if name not in schema]
        if lost:
            msg = f"{place}: no column {', '.join(map(shown, lost))}, which [data] joins"
            raise DataError(msg, hint="correct the names in fraudctl.toml, or the file")
        made = [self.event_time] if self.joined and self.event_time is not None else []
        made += [str(self.event_id)] if self.event_id is not None and self.event_id.made else []
        twice = [name for name in made if name in schema]
        if twice:
            msg = f"{place}: a column {shown(twice[0])} is made from others, and the data have one of that name"
            hint = 'give the made time another name: event_time = "happened_at"; or name the column of the data'
            raise DataError(msg, hint=hint)

    def _without(self, name: str, kind: pl.DataType) -> pl.Expr:
        """Return a column with null for the values that mean "missing"."""
        words = self.missing(name)
        column = pl.col(name)
        if kind == pl.String or isinstance(kind, (pl.Categorical, pl.Enum)):
            texts = sorted({text for value in words for text in _spellings(value)})
            return pl.when(column.cast(pl.String).is_in(texts)).then(None).otherwise(column).alias(name)
        if kind.is_temporal():
            same = [column == moment for word in words if (moment := _moment(word, kind)) is not None]
            return pl.when(pl.any_horizontal(same)).then(None).otherwise(column).alias(name) if same else column
        if not kind.is_numeric():
            return column
        found = [value for value in words if not isinstance(value, str)]
        found = [value for value in found if not kind.is_integer() or float(value).is_integer()]
        if not found:
            return column
        same = [column == value for value in found]
        return pl.when(pl.any_horizontal(same)).then(None).otherwise(column).alias(name)

    def _joined_time(self, raw: pl.LazyFrame, schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        form, name = self.joined, self.event_time
        if form is None or name is None:
            return raw

        def read(parts: pl.Series) -> pl.Series:
            return times.declared(parts.alias(name), form, timezone=self.timezone, role="event_time")

        parts = [text_of(column, schema[column]) for column in form.columns]
        whole = pl.concat_str(parts, separator=" ").map_batches(read, return_dtype=times.UTC_US)
        return raw.with_columns(whole.alias(name))

    def _joined_id(self, raw: pl.LazyFrame) -> pl.LazyFrame:
        made = self.event_id
        if made is None or not made.columns:
            return raw
        schema = raw.collect_schema()
        parts = [text_of(column, schema[column]).fill_null("") for column in made.columns]
        return raw.with_columns(joined(parts).alias(str(made)))

    def _readers(self, raw: pl.LazyFrame, schema: Mapping[str, pl.DataType]) -> Readers:
        """Return how each column is read whose notation or type is declared, and what it then is."""
        out = self._declared_readers(schema)
        for name in self.ids | self.agreed:
            wide = name in schema and (schema[name] in WIDE or (name in self.agreed and schema[name] != pl.String))
            if wide and name not in out:
                out[name] = (to_text, pl.String())
        out |= {name: self._wide(raw, name) for name, kind in schema.items() if kind in WIDE and name not in out}
        for name, form in self.time_forms.items():
            if name in schema:
                role = "event_time" if name == self.event_time else "time"
                part = "data.time" if name == self.event_time else f"data.times.{name}"
                out[name] = (_times(form, self.timezone, role, part), times.UTC_US)
        return out

    def _declared_readers(self, schema: Mapping[str, pl.DataType]) -> Readers:
        """Return how columns are read whose numbers or types are declared."""
        out: Readers = {}
        if self.reading is None:
            return out
        for name, section in self.reading.numbers.columns.items():
            if schema.get(name) == pl.String:
                out[name] = (_numbers(section), pl.Float64())
        for name, kind in self.reading.types.items():
            found = self._declared(schema[name], kind) if name in schema and name not in out else None
            if found is not None:
                out[name] = found
        return out

    def _wide(self, raw: pl.LazyFrame, name: str) -> Reader:
        """Return how integers of more than 63 bits are read: as Int64 where all fit, else as text, as hashes are."""
        trained = dict(self.trained).get(name)
        if trained is None or isinstance(trained, pl.Unknown):
            low, high = raw.select(pl.col(name).min().alias("low"), pl.col(name).max().alias("high")).collect().row(0)
            as_text = name in self.text or (low is not None and not -(2**63) <= low <= high < 2**63)
        else:
            as_text = trained == pl.String
        return (to_text, pl.String()) if as_text else (_as_whole, pl.Int64())

    def _declared(self, dtype: pl.DataType, kind: str) -> Reader | None:
        if kind == "text":
            return None if dtype == pl.String else (to_text, pl.String())
        if kind == "number":
            form = self.common
            return (_numbers(form), pl.Float64()) if dtype == pl.String else (_as_number, pl.Float64())
        if kind == "whole":
            return (_as_whole, pl.Int64())
        if kind == "truth":
            return (_as_truth, pl.Boolean())
        zone = self.timezone
        return (lambda values: times.utc(values, timezone=zone, role="time"), times.UTC_US)

    def _typed(self, raw: pl.LazyFrame, names: Collection[str]) -> pl.LazyFrame:
        """Return columns of texts the types that all their rows have, or those of training."""
        fixed = {name: kind for name, kind in self.trained if name in names}
        as_text = (self.ids | self.text) - fixed.keys()
        open_names = [name for name in names if name not in as_text and name not in fixed]
        common = self.common
        found = kinds.find_kinds(raw, open_names)
        out: list[pl.Expr] = []
        ids = [name for name in names if name in self.ids and fixed.get(name, pl.String()) == pl.String]
        padded = raw.select(pl.col(ids).str.contains(r"^-?[0-9]+\.0$").all()).collect() if ids else pl.DataFrame()
        whole = [name for name in ids if padded[name][0]]  # whole numbers beside nulls, written as floats
        out += [pl.col(name).str.slice(0, pl.col(name).str.len_chars() - 2) for name in whole]
        for name in names:
            kind = fixed.get(name, found.get(name, pl.String()))
            if name in fixed and not (name in self.clocks and kind.is_temporal()):
                read = _as_trained(kind, common, self.timezone, is_id=name in self.ids)
                out.append(pl.col(name).map_batches(read, return_dtype=kind))
            elif name in fixed:
                continue
            elif kind != pl.String:
                out.append(kinds.typed(name, kind))
        texts = [name for name in open_names if found[name] == pl.String]
        if common is not None and texts:
            held = raw.select(texts).collect()
            fit = [name for name in texts if _all_numbers(held[name], common)]
            out += [pl.col(name).map_batches(_numbers(common), return_dtype=pl.Float64()) for name in fit]
        return raw.with_columns(out) if out else raw

    @cached_property
    def _message(self) -> list[tuple[str, Callable[[Any], Any]]]:
        """How the fields of a message are read whose notation is declared."""
        if self.reading is None:
            return []
        out: list[tuple[str, Callable[[Any], Any]]] = []
        for name, section in self.reading.numbers.columns.items():
            out.append((name, _one_number(section)))
        for name, kind in self.reading.types.items():
            if kind != "text":
                out.append((name, _one_declared(kind, self.common)))
        out += [(name, _one_time(form, self.timezone)) for name, form in self.time_forms.items()]
        return out

    @cached_property
    def idle(self) -> bool:
        """Whether a message is in its normal form as it comes."""
        reading = self.reading
        if reading is None:
            return True
        missing = bool(reading.missing or reading.missing_in)
        made = self.joined is not None or bool(self.event_id is not None and self.event_id.columns)
        return not (self._message or missing or made or self.common is not None)

    def row(self, raw: Mapping[str, Any], *, numeric: Collection[str] = ()) -> dict[str, object]:
        """Return one message in its normal form: what is not of its notation is left as it is, to be refused.

        Parameters
        ----------
        numeric
            Columns that are numbers, whose texts are read in the common notation.
        """
        out = dict(raw)
        for name, value in raw.items():
            if self.missing(name) and _is_missing(value, self.missing(name)):
                out[name] = None
        if self.joined is not None and self.event_time is not None and all(n in out for n in self.joined.columns):
            parts = [out[name] for name in self.joined.columns]
            if all(part is not None for part in parts):
                text = " ".join(map(id_text, parts))
                found = times.one_declared(text, self.joined, timezone=self.timezone)
                out[self.event_time] = text if found is None else found
        for name, read in self._message:
            if out.get(name) is not None:
                out[name] = read(out[name])
        if self.common is not None:
            for name in numeric:
                if isinstance(out.get(name), str):
                    out[name] = _one_number(self.common)(out[name])
        if self.event_id is not None and self.event_id.columns and all(n in out for n in self.event_id.columns):
            parts = ["" if out[name] is None else id_text(out[name]) for name in self.event_id.columns]
            out[str(self.event_id)] = one_joined(parts)
        return out


def _spellings(value: str | float) -> set[str]:
    if isinstance(value, str):
        return {value}
    return {str(value), repr(float(value))} | ({str(int(value))} if float(value).is_integer() else set())


def _moment(word: str | float, kind: pl.DataType) -> pl.Expr | None:
    """Return a declared ISO 8601 text as a value of a column of times; None where it is none."""
    if not isinstance(word, str) or not (kind == pl.Date or isinstance(kind, pl.Datetime)):
        return None
    try:
        moment = times.iso_one(word).replace(tzinfo=None)
    except ValueError:
        return None
    local = pl.lit(moment, dtype=pl.Datetime("us"))
    if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
        return local.dt.replace_time_zone(kind.time_zone)
    return local.cast(kind)


def _is_missing(value: Any, words: Collection[str | int | float]) -> bool:
    if isinstance(value, str):
        return any(value in _spellings(word) or _same_time(value, word) for word in words)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return any(not isinstance(word, str) and value == word for word in words)
    return False


def _same_time(value: str, word: str | float) -> bool:
    """Say whether two ISO 8601 texts are one time, zones aside: 9999-12-31 and 9999-12-31T00:00:00Z."""
    if not isinstance(word, str) or value[:10] != word[:10] or not re.match(times.ISO_DATE, word):
        return False
    try:
        return times.iso_one(value).replace(tzinfo=None) == times.iso_one(word).replace(tzinfo=None)
    except ValueError:
        return False


def id_text(value: Any) -> str:
    """Return a value as a part of an id or of a joined time: whole floats as whole numbers, times as ISO 8601.

    >>> id_text(7.0), id_text(0.5), id_text(True), id_text("007")
    ('7', '0.5', 'true', '007')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return str(int(value))
    return value.isoformat() if isinstance(value, (datetime, date, time)) else str(value)


def text_of(name: str, kind: pl.DataType) -> pl.Expr:
    """Return the expression for `id_text` of a column."""
    column = pl.col(name)
    if kind == pl.String or kind.is_integer():
        return column.cast(pl.String)
    return column.map_batches(id_texts, return_dtype=pl.String())


def id_texts(values: pl.Series) -> pl.Series:
    """Return `id_text` of every value; null stays null."""
    if values.dtype.is_float() and bool(((values == values.floor()) & (values.abs() <= EXACT)).all()):
        return values.cast(pl.Int64).cast(pl.String)
    if values.dtype == pl.String or values.dtype.is_integer():
        return values.cast(pl.String)
    return pl.Series(values.name, [None if v is None else id_text(v) for v in values], dtype=pl.String)


def joined(parts: Sequence[pl.Expr]) -> pl.Expr:
    """Return texts joined so that no two rows of different parts are one text; null where a part is.

    A bar stands between parts, and a backslash before bars and backslashes within them.
    """
    escaped = [
        part.str.replace_all("\\", "\\\\", literal=True).str.replace_all("|", "\\|", literal=True) for part in parts
    ]
    return pl.concat_str(escaped, separator="|")


def one_joined(parts: Sequence[str]) -> str:
    r"""Return what `joined` gives for one row.

    >>> print(one_joined(["a", "bc"]), one_joined(["a|b", "c"]))
    a|bc a\|b|c
    """
    return "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)


def to_text(values: pl.Series) -> pl.Series:
    """Return ids as text; whole floats become whole numbers, and one that a float cannot hold exactly is an error."""
    if values.dtype.is_float():
        return exact_whole(values).cast(pl.String)
    if isinstance(values.dtype, pl.Decimal):
        text = values.cast(pl.String)
        return text.str.replace(r"\.0+$", "")
    return values.cast(pl.String)


def exact_whole(values: pl.Series) -> pl.Series:
    """Return floats as Int64, NaN as null; a DataError where one is not whole, or beyond what floats hold exactly."""
    values = values.fill_nan(None)
    largest = EXACT if values.dtype == pl.Float64 else 2**24
    whole = values.cast(pl.Int64, strict=False)
    broken = int((whole.is_null() & values.is_not_null()).sum()) + int((whole.cast(values.dtype) != values).sum())
    if broken:
        what = f"is {values.dtype}, and {broken} ids are not whole numbers"
        msg = f"column {shown(values.name)}: {what}; expected integers or text"
        raise DataError(msg)
    beyond = int((values.abs() > largest).sum())
    if beyond:
        msg = (
            f"column {shown(values.name)}: {beyond} ids are {values.dtype} beyond {largest:,}, where neighbouring ids "
            "are one number; expected integers or text"
        )
        raise DataError(msg, hint="the digits were lost when the file was written: write the ids as integers or text")
    return whole


def _refuse_texts(before: pl.Series, after: pl.Series, what: str) -> pl.Series:
    lost = after.null_count() - before.null_count()
    if lost > 0:
        msg = f"column {shown(before.name)}: {lost} of {len(before)} values are no {what}"
        hint = "declare the notation in [data.numbers], values that mean nothing in [data] missing, or another type"
        raise DataError(msg, hint=hint)
    return after


def _numbers(form: NumberSection | None) -> Callable[[pl.Series], pl.Series]:
    def read(values: pl.Series) -> pl.Series:
        if form is None:
            return _refuse_texts(values, values.str.strip_chars(" ").cast(pl.Float64, strict=False), "numbers")
        return _refuse_texts(values, numbers.many(values, form), "numbers of the declared notation")

    return read


def _all_numbers(values: pl.Series, form: NumberSection) -> bool:
    return values.null_count() < len(values) and numbers.many(values, form).null_count() == values.null_count()


def _as_number(values: pl.Series) -> pl.Series:
    return _refuse_texts(values, values.cast(pl.Float64, strict=False), "numbers")


def _as_whole(values: pl.Series) -> pl.Series:
    if values.dtype.is_float():
        return exact_whole(values)
    text = values.str.strip_chars(" ").str.replace(r"\.0+$", "") if values.dtype == pl.String else values
    return _refuse_texts(values, text.cast(pl.Int64, strict=False), "whole numbers of 64 bits")


def _as_truth(values: pl.Series) -> pl.Series:
    if values.dtype == pl.Boolean:
        return values
    words = values.cast(pl.String).str.to_lowercase().str.replace(r"\.0$", "")
    found = words.replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)
    return _refuse_texts(values, found, "truth values")


def _times(form: TimeSection, timezone: str, role: str, part: str) -> Callable[[pl.Series], pl.Series]:
    def read(values: pl.Series) -> pl.Series:
        return times.declared(values, form, timezone=timezone, role=role, part=part)

    return read


def _as_trained(
    kind: pl.DataType, common: NumberSection | None, timezone: str, *, is_id: bool
) -> Callable[[pl.Series], pl.Series]:
    """Return what reads texts as the type that a column had in training."""

    def read(values: pl.Series) -> pl.Series:
        if kind.is_float():
            return _numbers(common)(values)
        if kind.is_integer():
            n_padded = int(values.str.contains(kinds.LEADING_ZERO).sum()) if is_id else 0
            if n_padded:
                msg = f"column {shown(values.name)}: {n_padded} ids have leading zeros; in training they were numbers"
                raise DataError(msg, hint="write them as they were written for training")
            return _as_whole(values)
        if kind == pl.Boolean:
            return _as_truth(values)
        if isinstance(kind, pl.Datetime):
            instants = times.utc(values, timezone=timezone, role="time")
            local = instants.dt.convert_time_zone(kind.time_zone or timezone)
            return (local if kind.time_zone else local.dt.replace_time_zone(None)).cast(kind)
        if kind == pl.Date:
            return _refuse_texts(values, values.str.strip_chars().str.to_date("%Y-%m-%d", strict=False), "dates")
        return values

    return read


def _one_number(form: NumberSection) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        found = numbers.one(value, form) if isinstance(value, str) else None
        return value if found is None else found

    return read


def _one_declared(kind: str, common: NumberSection | None) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if kind == "truth":
            found = TRUTHS.get(id_text(value).lower())
            return value if found is None else found
        if not isinstance(value, str) or kind == "time":
            return value
        try:
            if kind == "whole":
                return int(value.strip(" ").removesuffix(".0"))
            number = float(value.strip(" ")) if common is None else numbers.one(value, common)
        except ValueError:
            return value
        return number if number is not None and math.isfinite(number) else value

    return read


def _one_time(form: TimeSection, timezone: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        found = times.one_declared(value, form, timezone=timezone)
        return value if found is None else found

    return read
