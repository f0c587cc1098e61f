"""What every family of features says about itself: a section of the project file, specs, words, types, and a look-back.

A `Spec` is one feature as the engines compute it, without its name. It has no defaults: a family that leaves one of its
questions open cannot be made. A `Family` reads its section of the project file and yields named specs.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.frozen import written
from fraudctl.features.meaning.lookback import Lookback
from fraudctl.features.rows.read import RowExpr

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

DAY = 86_400_000_000
"""Microseconds of a day."""
NO_TABLES: Mapping[str, tuple[str, ...]] = MappingProxyType({})
_UNITS = ((DAY, "day"), (3_600_000_000, "hour"), (60_000_000, "minute"), (1_000_000, "second"))


class Spec(ABC):
    """One feature, as the engines compute it; subclasses are frozen dataclasses.

    Attributes
    ----------
    title, always
        Name and fields of the spec in the text that digests are taken of (see `frozen.written`): never changed.
    """

    title: ClassVar[str]
    always: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """Features that have to be computed first, if they are features and not columns of the data."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Columns of the events, or features, whose values are used."""

    @property
    @abstractmethod
    def source_reads(self) -> Mapping[str, tuple[str, ...]]:
        """Other table -> its columns whose values are used."""

    @property
    @abstractmethod
    def grouped_by(self) -> tuple[str, ...]:
        """Entities by which the batch engine groups the events; none where it does not."""

    @property
    @abstractmethod
    def partitioned_by(self) -> str | None:
        """Entity of which all rows have to be in one partition; None where all rows have to be."""

    @property
    @abstractmethod
    def lookback(self) -> Lookback:
        """What of the past an event can see through the feature."""

    @abstractmethod
    def meaning(self, name: str, others: Mapping[str, Spec]) -> str:
        """Return what the feature of that name means, in words; ``others`` are all specs of the set by name."""

    @property
    @abstractmethod
    def interval(self) -> str:
        """Which instants the feature takes in, t being the event's time."""

    @property
    @abstractmethod
    def nulls(self) -> str:
        """When the feature is null."""

    @abstractmethod
    def dtype(self, name: str, types: Types) -> str:
        """Return the feature's type: int, float, bool or category.

        Raises
        ------
        ProjectError
            The columns that it reads have types that it cannot be computed from.
        """

    @functools.cached_property
    def text(self) -> str:
        """The text that digests are taken of."""
        return written(self.title, self.always, self)

    @functools.cached_property
    def of_one_row(self) -> bool:
        """Whether the event's own row is enough, and other features of it."""
        return self.lookback == Lookback()


@dataclass(frozen=True)
class Kind:
    """One aggregate of a family: its words and null rule, in which names of the spec are filled in, and its type."""

    words: str
    dtype: str
    nulls: str


class OfKind(Spec):
    """A spec with an aggregate out of a table of them."""

    kinds: ClassVar[Mapping[str, Kind]]
    kind: str

    @property
    @abstractmethod
    def named(self) -> Mapping[str, str]:
        """What is filled into the words of a kind."""

    def meaning(self, _name: str, _others: Mapping[str, Spec]) -> str:
        """Return the words of the kind."""
        return self.kinds[self.kind].words.format_map(self.named)

    @property
    def nulls(self) -> str:
        """The null rule of the kind."""
        return self.kinds[self.kind].nulls.format_map(self.named)

    def dtype(self, _name: str, _types: Types) -> str:
        """Return the type of the kind."""
        return self.kinds[self.kind].dtype


class OfEntity(Spec):
    """A spec of the history of one entity."""

    entity: str

    @property
    def named(self) -> Mapping[str, str]:
        """The entity, and the window where there is one."""
        return {"entity": self.entity, "last": last(getattr(self, "window_us", 0))}

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """The entity."""
        return (self.entity,)

    @property
    def partitioned_by(self) -> str:
        """The entity."""
        return self.entity


class InWindow(OfEntity):
    """A spec of the earlier events of one entity in a window."""

    window_us: int

    @property
    def lookback(self) -> Lookback:
        """Events of the window."""
        return Lookback(within_us={self.entity: self.window_us})

    @property
    def interval(self) -> str:
        """By event_time; both ends are open."""
        return f"event_time in (t - {span(self.window_us)}, t)"


class OfSource(Spec):
    """A spec of rows of another table about one entity."""

    source: str
    entity: str

    needs = ()
    grouped_by = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """The entity; all else is in the other table."""
        return (self.entity,)

    @property
    def partitioned_by(self) -> str:
        """The entity."""
        return self.entity


class OfTwo(OfKind):
    """A spec of two entities that events share."""

    entities: tuple[str, str]

    @property
    def named(self) -> Mapping[str, str]:
        """The first and the second entity."""
        return {"first": self.entities[0], "second": self.entities[1]}


@dataclass(frozen=True)
class Draft:
    """A feature by name, family, entity and spec; without its type and words."""

    name: str
    family: str
    entity: str | None
    spec: Spec


@dataclass(frozen=True)
class Family:
    """One section of ``[features]``.

    Attributes
    ----------
    key
        The key of the section.
    heading
        What reports call the features of the family together.
    specs
        The types of its specs.
    drafts
        Reads the section: yields its features in the order of the model.
    examples
        ``(section, what it takes in, spec)``: the rows of the table of intervals in the docs. A length of a day stands
        for any window.
    """

    key: str
    heading: str
    specs: tuple[type[Spec], ...]
    drafts: Callable[[Reader], Iterator[Draft]]
    examples: tuple[tuple[str, str, Spec], ...]


@dataclass(frozen=True)
class Types:
    """What the type of a feature is found from: types of columns and earlier features, of other tables' columns."""

    columns: Mapping[str, pl.DataType]
    sources: Mapping[str, Mapping[str, pl.DataType]]
    categorical: frozenset[str]

    def of(self, expr: RowExpr) -> pl.DataType:
        """Return the type of an expression over columns of the events."""
        return result_type(expr, self.columns)

    def named(self, name: str, dtype: pl.DataType) -> str:
        """Return the feature type of a column, or raise where it is none."""
        if name in self.categorical:
            return "category"
        if dtype.is_numeric():
            return "float" if dtype.is_float() else "int"
        if dtype == pl.Boolean:
            return "bool"
        text = dtype == pl.String
        hint = f'add "{name}" to [features] categorical' if text else "turn it into numbers in [features.columns]"
        msg = f"features: {name!r} is {dtype}; expected a number, a truth value or a category"
        raise ProjectError(msg, hint=hint)


def result_type(expr: RowExpr, types: Mapping[str, pl.DataType]) -> pl.DataType:
    """Return the type of an expression over columns of these types."""
    empty = pl.DataFrame(schema={name: types[name] for name in expr.columns})
    return expr.apply(empty).dtype


def is_column(name: str, spec: Spec) -> bool:
    """Return whether a feature is a column of the data as it is: needs no other, and reads the column of its name."""
    return spec.of_one_row and not spec.needs and name in spec.reads


def span(us: int) -> str:
    """Return a length of time in words.

    >>> span(7 * 86_400_000_000), span(3_600_000_000)
    ('7 days', '1 hour')
    """
    for unit, name in _UNITS:
        if us % unit == 0:
            return f"{us // unit} {name}" + ("" if us == unit else "s")
    return f"{us / 1_000_000:g} seconds"


def last(us: int) -> str:
    """Return a length of time as it follows "the last": "day" rather than "1 day"."""
    return span(us).removeprefix("1 ")
