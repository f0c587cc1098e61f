"""Where the tables of a project are: the files behind paths, globs and folders, and which version of a table is meant.

Whatever reads a table of a project finds its files here, so that ``table_as_of`` holds everywhere.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, time
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from fraudctl.disk.files import address_of
from fraudctl.normal import files as finding
from fraudctl.normal import lake
from fraudctl.normal.lake import AsOf
from fraudctl.project import Project
from fraudctl.project.data import DataSection
from fraudctl.project.labels import LabelTableSection
from fraudctl.project.sources import SourceSection

_Table = TypeVar("_Table", SourceSection, LabelTableSection)


def find_files(events: str | tuple[str, ...], *, root: Path, what: str = "[data] events") -> list[str]:
    """Return the files behind one or several paths, globs or folders, sorted within each; URLs are returned unchanged.

    Raises
    ------
    DataError
        A path that does not exist, a glob or folder without a single file, or with files of several kinds.
    """
    return _found_files(events, root, what, None)


def given_files(paths: Collection[Path | str], *, what: str) -> list[str]:
    """Return what `find_files` does for paths that a command was given, relative to the working directory."""
    texts = [address_of(Path(path)) or str(path) for path in paths]
    return find_files(tuple(text if "://" in text else str(Path(text).resolve()) for text in texts), root=Path.cwd(),
                      what=what)  # fmt: skip


def event_files(project: Project) -> list[str]:
    """Return the files of a project's events, in the version that is declared; raises as `find_files` does."""
    return _files_of(project, project.data, "[data] events")


def source_files(project: Project, name: str) -> list[str]:
    """Return the files of a table of ``[sources]``, as `event_files` does."""
    return _files_of(project, project.sources[name], f"[sources.{name}] events")


def label_files(project: Project, name: str) -> list[str]:
    """Return the files of a table of ``[labels]``, as `event_files` does."""
    return _files_of(project, project.labels.tables[name], f"[labels.{name}] events")


def decision_files(project: Project) -> list[str]:
    """Return the files of ``[data] decisions``, none where the project names none; raises as `find_files` does."""
    named = project.data.decisions
    return [] if named is None else _found_files(named, project.root, "[data] decisions", None)


def _files_of(project: Project, section: DataSection | SourceSection | LabelTableSection, what: str) -> list[str]:
    as_of = section.table_as_of
    if isinstance(as_of, date):
        as_of = as_of if isinstance(as_of, datetime) else datetime.combine(as_of, time())
        as_of = as_of if as_of.tzinfo is not None else as_of.replace(tzinfo=ZoneInfo(project.data.timezone))
    return _found_files(section.events, project.root, what, as_of)


def _found_files(events: str | tuple[str, ...], root: Path, what: str, as_of: AsOf | None) -> list[str]:
    paths = (events,) if isinstance(events, str) else events
    return [name for text in paths for name in finding.find(text, root=root, what=what, as_of=as_of).files]


def in_version(project: Project, as_of: AsOf) -> Project:
    """Return a project that reads another version of its Delta and Iceberg tables.

    Parameters
    ----------
    as_of
        Number of a version of the events; or an instant, which all tables of such kinds are read as of.

    Raises
    ------
    DataError
        The events are no table with versions.
    """

    def read(section: _Table, files: list[str]) -> _Table:
        return section.model_copy(update={"table_as_of": as_of}) if lake.is_lake(files[0]) else section

    data = project.data.model_copy(update={"table_as_of": as_of})
    if isinstance(as_of, int):
        return project.model_copy(update={"data": data})
    sources = {name: read(section, source_files(project, name)) for name, section in project.sources.items()}
    told = {name: read(section, label_files(project, name)) for name, section in project.labels.tables.items()}
    labels = project.labels.model_copy(update={"tables": told})
    return project.model_copy(update={"data": data, "sources": sources, "labels": labels})


def versions(project: Project) -> dict[str, list[str]]:
    """Return which version of each table is read, such as ``{"data": ["delta 12"]}``; only of Delta and Iceberg."""
    found = {"data": event_files(project)}
    found |= {f"sources.{name}": source_files(project, name) for name in project.sources}
    found |= {f"labels.{name}": label_files(project, name) for name in project.labels.tables}
    return {
        table: [f"{finding.kind_of(name)} {lake.version_of(name)}" for name in names]
        for table, names in found.items()
        if lake.is_lake(names[0])
    }


def left_behind(events: str | tuple[str, ...], *, root: Path) -> list[str]:
    """Return the files of folders and globs that `find_files` leaves out: hidden ones, and those of unknown kinds."""
    paths = (events,) if isinstance(events, str) else events
    return [name for text in paths for name in finding.find(text, root=root, what="events").left_out]
