"""From the sections of a project file to named specs: SQL, the names of columns, and "did you mean".

What a section means is known by its family (`families`); a `Reader` is what all of them read the project file with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import polars as pl

from fraudctl.data.own import inside
from fraudctl.errors import ProjectError
from fraudctl.features.meaning.families import FAMILIES
from fraudctl.features.meaning.families.base import Draft, Kind
from fraudctl.features.meaning.near import near
from fraudctl.features.rows.read import RowExpr, compile_row_sql
from fraudctl.project import Project
from fraudctl.project.types import Aggregate
from fraudctl.text.plain import shown

SourceTypes = Mapping[str, pl.DataType]
"""Column of another table -> its type."""


def drafts(project: Project, columns: Collection[str], sources: Mapping[str, SourceTypes]) -> list[Draft]:
    """Return all features that the project asks for, and those they are built on, in the order of the model.

    Parameters
    ----------
    columns
        Names of data columns, entities and roles that features may use.
    sources
        For each other table, the names and types of its columns and entities that features may use.

    Raises
    ------
    ProjectError
        Unknown entities, columns or aggregates; SQL that is refused.
    """
    names = [draft.name for draft in Reader(project, columns, sources, ()).read()]
    return Reader(project, columns, sources, names).read()


class Reader:
    """One pass over the sections. Without ``names`` (of features), row-level SQL is skipped: that pass finds names.

    Attributes
    ----------
    columns
        Names of data columns, entities and roles that features may use.
    known
        The same and the names of features.
    found
        The features that were read so far.
    finding_names
        Whether this is the pass that finds names.
    """

    def __init__(
        self,
        project: Project,
        columns: Collection[str],
        sources: Mapping[str, SourceTypes],
        names: Collection[str],
    ) -> None:
        self.project = project
        self.columns = columns
        self.sources = sources
        self.known = [*columns, *names]
        self.found: list[Draft] = []
        self.finding_names = not names

    def read(self) -> list[Draft]:
        """Return the features of all families."""
        for family in FAMILIES:
            self.found += list(family.drafts(self))
        return self.found

    def sections(self, key: str) -> Iterator[tuple[str, Any]]:
        """Yield the sections under a key of ``[features]``, each after its place in the project file."""
        for i, section in enumerate(getattr(self.project.features, key)):
            yield f"features.{key}[{i}]", section

    def source(self, source: str, entities: Collection[str], place: str) -> SourceTypes:
        """Return the columns of a source that features may use, entities among them, with their types; or raise."""
        if source not in self.sources:
            msg = f"{place}.source: no source {source!r}{near(source, list(self.sources))}"
            raise ProjectError(msg, hint=f"describe the table in [sources.{source}]")
        for entity in entities:
            if entity not in self.sources[source]:
                msg = f"{place}.by: source {source!r} has no entity {entity!r}"
                raise ProjectError(msg, hint=f"name its column in [sources.{source}] entities")
        return self.sources[source]

    def check_two(self, names: tuple[str, str], place: str) -> None:
        """Raise unless these are two entities."""
        self.check_entities(names, place)
        if names[0] == names[1]:
            msg = f"{place}: {names[0]!r} twice; expected two entities"
            raise ProjectError(msg)

    def check_entities(self, names: Collection[str], place: str) -> None:
        """Raise unless all of these are entities."""
        for name in names:
            if name not in self.project.entities:
                msg = f"{place}: no entity {name!r}{near(name, list(self.project.entities))}"
                raise ProjectError(msg)

    def check_section(self, section: Any, kinds: Mapping[str, Kind], place: str) -> list[str | None]:
        """Return the columns of a section's ``aggregates``; raise unless they and its ``by`` are right."""
        self.check_entities(section.by, f"{place}.by")
        return [self.checked(aggregate, kinds, f"{place}.aggregates") for aggregate in section.aggregates]

    def checked(
        self, aggregate: Aggregate, kinds: Mapping[str, Kind], place: str, *, known: Collection[str] | None = None
    ) -> str | None:
        """Return the column of an aggregate under the name it is known by, or raise.

        ``known`` are the columns that it may use, by default those of the events and the names of features. An
        aggregate takes a column where its words name one.
        """
        kind, column = aggregate.kind, aggregate.column
        if kind not in kinds:
            msg = f"{place}: no aggregate {kind!r}{near(kind, sorted(kinds))}"
            raise ProjectError(msg)
        takes_column = "{column}" in kinds[kind].words
        if takes_column != (column is not None):
            wanted = f"a column, such as {kind}(amount)" if takes_column else f"no column: {kind}"
            msg = f"{place}: {str(aggregate)!r}; {kind} takes {wanted}"
            raise ProjectError(msg)
        return None if column is None else self.named(column, f"{place}: {str(aggregate)!r};", known=known)

    def named(self, column: str, place: str, *, known: Collection[str] | None = None) -> str:
        """Return the name that a column of the events, or a feature, is known by, or raise; ``known`` as above."""
        if self.finding_names and known is None:
            return column
        known_as = column if known is not None else self._roles().get(column, inside(column))
        known = self.known if known is None else known
        if column not in known and known_as not in known:
            msg = f"{place} no column {shown(column)} that a feature may use{near(column, known)}"
            raise ProjectError(msg, hint=self._later(column))
        return column if column in known and inside(column) == column else known_as

    def _roles(self) -> dict[str, str]:
        """Return raw column name -> the name that it is known by, for entities and roles that may be used."""
        names = {key.column: name for name, key in self.project.entities.items() if not key.made}
        if self.project.data.amount is not None:
            names[self.project.data.amount] = "amount"
        if self.project.data.event_time is not None:
            names[self.project.data.event_time] = "event_time"
        return names

    def _later(self, column: str) -> str | None:
        data = self.project.data
        if column == "event_time" and not data.has_time:
            return "[data] has no event_time, so nothing can depend on it"
        if column in {data.label, data.label_time, "label", "label_time", *data.ignore}:
            return f"{shown(column)} is known only after the outcome, or ignored, and so never part of a feature"
        return None

    def sql(self, text: str, allowed: Collection[str], where: str) -> RowExpr:
        """Read SQL; point from a raw column name to the role that it is known by."""
        try:
            return compile_row_sql(text, allowed=allowed, where=where)
        except ProjectError as error:
            data = self.project.data
            roles = self._roles()
            for column in [*roles, data.label, data.label_time, "label", "label_time", *data.ignore]:
                if column is not None and f"no column {shown(column)}" in error.message:
                    known = (
                        f"the column {shown(column)} is known as {roles[column]!r} here" if column in roles else None
                    )
                    raise ProjectError(error.message, hint=known or self._later(column)) from error
            raise
