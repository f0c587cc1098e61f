"""``features --spark`` and ``score --spark``: the tables of one process, made by an engine of a cluster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import UsageError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.text.figures import whole
from fraudctl.workflows.definitions import Definitions, load_definitions

if TYPE_CHECKING:
    from fraudctl.cluster.flow import Journey, Shuffles
    from fraudctl.cluster.told import Told
    from fraudctl.features.meaning.definition import FeatureSet

TASK_ROWS = 1_250_000
"""Most rows of a task, unless they cannot be parted: they take some 1.5 GB with 50 features."""
FILE_ROWS = 1_000_000
"""Rows of one file of a result."""
_LEAST_TASK = 20_000
"""Rows below which a value is not cut in time for balance."""


@dataclass(frozen=True)
class ClusterTable:
    """A feature table that was built on a cluster: a folder of Parquet files in the order of time.

    Attributes
    ----------
    rows
        Its events.
    known_until
        The latest event_time in the data.
    n_duplicates
        Exact duplicate rows that were dropped.
    files
        Parquet files in the folder.
    notes
        What the user should know of it.
    """

    JSON = ("rows", "known_until", "n_duplicates as duplicates", "files", "notes")

    rows: int
    known_until: datetime
    n_duplicates: int
    files: int
    features: FeatureSet
    notes: tuple[str, ...] = ()


def build_on(
    project: Project,
    engine: Shuffles,
    output: Path,
    *,
    task_rows: int | None = None,
    file_rows: int = FILE_ROWS,
    progress: Progress | None = None,
) -> ClusterTable:
    """Build the feature table of a project on a cluster, and write it as a folder of Parquet files.

    Parameters
    ----------
    engine
        Such as `fraudctl.cluster.session.open_engine` returns. Its workers have to see the project's files and the
        folder of ``output`` under the same paths.
    task_rows
        Most rows of a task; by default what gives every partition one, and `TASK_ROWS` at most.

    Raises
    ------
    UsageError
        Data without a time; a place that cannot be written; a worker that differs from this process.
    DataError, ProjectError
        As `fraudctl.workflows.features.build_features` does.
    """
    from fraudctl.cluster.task import Write

    progress = progress or Silent()
    if not project.data.has_time:
        msg = "--spark works on data with an event_time; these have none"
        raise UsageError(msg)
    found = load_definitions(project)
    with _folders(output) as (shared, parts):
        flow = _flow(engine, told_project(found), found, shared, task_rows, file_rows, progress)
        base = _ahead(flow, project, found.files)
        last = flow.by_time(base)
        write = Write(flow.desk, base, flow.known_until, str(parts))
        what = f"Building {len(found.features.names)} features for {whole(flow.world.rows)} events on a cluster"
        done = flow.through(base, last, write, what)
        for note in flow.notes:
            progress.warn(note)
        _require_all(parts, len(done))
        return ClusterTable(
            sum(item.rows for item in done), flow.known_until, flow.n_duplicates, len(done), found.features,
            tuple(flow.notes),
        )  # fmt: skip


def told_project(found: Definitions) -> Told:
    """Return what workers are told of a project."""
    from fraudctl.cluster.told import ToldProject
    from fraudctl.data import tables

    project = found.project
    beside = {
        name: dict(tables.scan(files, form=tables.form_of_source(project, name)).collect_schema())
        for name, files in found.beside.items()
    }
    return ToldProject(
        project.text, str(project.path.resolve()), dict(tables.load_schema(project)), beside, found.features.digest,
        found.carried, [name if "://" in name else str(Path(name).resolve()) for name in found.files],
    )  # fmt: skip


def _flow(
    engine: Shuffles,
    told: Told,
    found: Definitions,
    shared: Path,
    task_rows: int | None,
    file_rows: int,
    progress: Progress,
) -> Journey:
    """Put what all workers read into the shared folder, and have them take a first look."""
    import polars as pl

    from fraudctl.cluster.flow import Journey
    from fraudctl.cluster.plan import Sizes
    from fraudctl.cluster.task import ENTRIES_FILE, Desk, source_file
    from fraudctl.cluster.told import traits
    from fraudctl.data import outputs, tables

    entries = found.load_entries()
    if entries is not None:
        outputs.write_arrow(entries, shared / ENTRIES_FILE)
    for name, table in found.load_sources().items():
        outputs.write_arrow(table, shared / source_file(name))
    n_rows = int(tables.collect(told.raw().select(pl.len()), files=told.files).item())
    tables.refuse_no_rows(n_rows, told.files)
    n = len(engine.keys)
    each = task_rows or min(TASK_ROWS, max(-(-n_rows // n), _LEAST_TASK))
    return Journey(engine, Desk(told, traits(), str(shared)), Sizes(n, each, file_rows), n_rows, progress)


def _ahead(flow: Journey, project: Project, files: Sequence[str]) -> list[str]:
    """Settle what tasks need of all rows; return the columns that the events have."""
    from fraudctl.cluster.plan import RowRange
    from fraudctl.cluster.task import events_of
    from fraudctl.data import tables

    told = flow.desk.told
    flow.require_amounts(project)
    flow.ahead(lambda ids: tables.refuse_differing(told.raw(), ids, str(project.data.event_id), files))
    return events_of(flow.desk, RowRange(0, 0, 1), flow.desk.meaning.carried).columns


@contextlib.contextmanager
def _folders(output: Path) -> Iterator[tuple[Path, Path]]:
    """Make the folder that workers share and the one of the parts; the latter becomes ``output`` in the end."""
    from fraudctl.data import outputs
    from fraudctl.disk.files import temporary_folder

    outputs.require_folder(output)
    with temporary_folder(output.resolve().parent, f".{output.name}") as place:
        place.chmod(0o755)
        shared, parts = place / "shared", place / "parts"
        shared.mkdir()
        parts.mkdir()
        yield shared, parts
        outputs.publish_folder(parts, output)


def _require_all(parts: Path, expected: int) -> None:
    """Refuse a result whose files workers wrote to another machine's disk."""
    there = len(os.listdir(parts))  # noqa: PTH208 - names alone are wanted
    if there != expected:
        msg = f"workers wrote {expected} files, and {there} of them are in {parts}: they do not share its folder"
        raise UsageError(msg, hint="give a place that all workers and this command see under one path")
