"""What a build of features is made from: the project, its features, the columns they read, tables and files."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fraudctl.progress import Watch, unwatched
from fraudctl.project import Project

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.data.tables import Events
    from fraudctl.features.meaning.definition import FeatureSet

_T = TypeVar("_T")
_CACHE_VERSION = 2
_TIMELESS_VERSION = 3
"""The same for data without a time, whose times are null in the table."""
"""Raised when the normalisation of tables or the meaning of a feature changes: old caches are then rebuilt."""


@dataclass(frozen=True)
class BuildPlan:
    """What is to be built, and from what: settled before any table is read.

    Attributes
    ----------
    features
        The definitions.
    carried
        Data columns that travel along.
    fingerprint
        SHA-256 of the events' files, and of those of other tables, labels and decisions where there are any.
    definitions
        Where all of it comes from.
    """

    project: Project
    features: FeatureSet
    carried: list[str]
    fingerprint: str
    definitions: Definitions

    @property
    def key(self) -> str:
        """Digest of everything that the feature table depends on."""
        settings = {
            "version": _CACHE_VERSION if self.project.data.has_time else _TIMELESS_VERSION,
            "data": self.project.data.model_dump(mode="json", exclude={"events", "table_as_of", "decisions"}),
            "entities": {name: key.plain() for name, key in self.project.entities.items()},
            "features": self.features.digest,
            "carried": self.carried,
            "fingerprint": self.fingerprint,
        }
        if self.project.labels.tables:
            settings["labels"] = self.project.labels.model_dump(
                mode="json", exclude={"tables": {"__all__": {"events", "table_as_of"}}}
            )
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def load(self, *, watch: Watch = unwatched) -> Events:
        """Load the events with every column that travels along; ``watch`` is called with each step before it begins."""
        from fraudctl.data import tables

        entries = self.definitions.load_entries()
        return tables.load_events(self.project, columns=self.carried, entries=entries, watch=watch)

    def load_sources(self) -> dict[str, pl.DataFrame]:
        """Load the other tables, normalised."""
        return self.definitions.load_sources()


@dataclass(frozen=True)
class Definitions:
    """The definitions of a project as they fit its data, and the files of both; no data are read for it."""

    project: Project
    features: FeatureSet
    carried: list[str]
    files: list[str]
    beside: dict[str, list[str]]
    verdicts: dict[str, list[str]]
    """Files of each table of labels."""

    def load_entries(self) -> pl.DataFrame | None:
        """Load the entries of the tables of labels; None where labels are a column."""
        from fraudctl.data.entries import load_entries

        return load_entries(self.project, self.verdicts)

    def load_sources(self, *, ordered: bool = True) -> dict[str, pl.DataFrame]:
        """Load the other tables, normalised; not ``ordered``, their rows stand as in the files."""
        from fraudctl.features.batch.sources import normalise_source

        return self._each_source(functools.partial(normalise_source, ordered=ordered))

    def spill_sources(self, folder: Path, rows: int) -> dict[str, list[Path]]:
        """Write the other tables, normalised, to files of about ``rows`` rows in ``folder``."""
        from fraudctl.features.batch.sources import spill_source

        return self._each_source(functools.partial(spill_source, folder=folder, rows=rows))

    def _each_source(self, take: Callable[..., _T]) -> dict[str, _T]:
        from fraudctl.data import tables

        zone, columns, found = self.project.data.timezone, self.features.sources, {}
        for name, files in self.beside.items():
            if name in columns:
                scan = tables.scan(files, form=tables.form_of_source(self.project, name))
                with tables.explained([f"[sources.{name}]"]):
                    section = self.project.sources[name]
                    found[name] = take(scan, section, name=name, timezone=zone, columns=columns[name])
        return found


def load_definitions(project: Project, *, also: Sequence[str] = ()) -> Definitions:
    """Read the definitions and fit them to the columns of the data.

    Parameters
    ----------
    also
        Further data columns that travel along.

    Raises
    ------
    DataError, ProjectError
        Files that are missing or unreadable; definitions that do not fit the data.
    """
    from fraudctl.data import tables
    from fraudctl.data.entries import label_files
    from fraudctl.features.meaning.definition import SourceTable, define

    files = tables.event_files(project)
    schema = tables.load_schema(project)
    beside = {name: tables.source_files(project, name) for name in project.sources}
    others = {
        name: SourceTable(
            project.sources[name], tables.scan(found, form=tables.form_of_source(project, name)).collect_schema()
        )
        for name, found in beside.items()
    }
    features = define(project, schema, sources=others)
    carried = carried_columns(project, features, schema, also=also)
    return Definitions(project, features, carried, files, beside, label_files(project))


def plan_features(
    project: Project, *, also: Sequence[str] = (), fingerprint: Callable[[list[str]], str] | None = None
) -> BuildPlan:
    """Settle what is to be built from what, and take the fingerprint of all data.

    Parameters
    ----------
    fingerprint
        Takes the fingerprint of files; by default their bytes are read.

    Raises
    ------
    DataError, ProjectError
        As `load_definitions` does.
    """
    from fraudctl.data import tables

    found = load_definitions(project, also=also)
    take = fingerprint or tables.fingerprint
    prints = [take(found.files)]
    prints += [take(found.beside[name]) for name in sorted(found.beside)]
    prints += [take(found.verdicts[name]) for name in sorted(found.verdicts)]
    decided = tables.decision_files(project)
    prints += [take(decided)] if decided else []
    joined = prints[0] if len(prints) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest()
    return BuildPlan(project, found.features, found.carried, joined, found)


def carried_columns(
    project: Project, features: FeatureSet, schema: Mapping[str, pl.DataType], *, also: Sequence[str] = ()
) -> list[str]:
    """Return the data columns that travel with the features: for the features, rules, costs, segments and weights."""
    from fraudctl.data.own import inside
    from fraudctl.dependence import judged_columns, of_project
    from fraudctl.features.meaning.definition import usable_columns

    usable = [*usable_columns(project, schema), *features.names]
    wanted = [*of_project(project, features, readable=usable).data, *judged_columns(project), *also]
    present = {*tables_roles(project), *(set(features.names) - set(map(inside, schema)))}
    return [name for name in dict.fromkeys(wanted) if name not in present]


def tables_roles(project: Project) -> set[str]:
    """Return the names of the columns that every feature table of the project has."""
    from fraudctl.data.tables import ROLES

    return {*ROLES, *project.entities}
