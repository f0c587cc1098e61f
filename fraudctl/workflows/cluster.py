"""``features --spark`` and ``score --spark``: the tables of one process, made by an engine of a cluster."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fraudctl.errors import UsageError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.text.figures import whole
from fraudctl.workflows.definitions import Definitions, load_definitions

if TYPE_CHECKING:
    from fraudctl.cluster.flow import Journey, Shuffles
    from fraudctl.cluster.told import Told
    from fraudctl.extract import Extract
    from fraudctl.features.meaning.definition import FeatureSet
    from fraudctl.scoring.decider import Explained
    from fraudctl.workflows.score import Model, ScoreResult

TASK_ROWS = 1_250_000
"""Most rows of a task, unless they cannot be parted."""
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
    extract: Extract | None = None,
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
    extract
        Which events the table holds; None for all. Features look back on all events either way.

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
        told = told_project(found)
        tables = _Tables(found.load_entries(), found.load_sources())
        flow = _flow(engine, told, tables, shared, task_rows, file_rows, progress, extract)
        base = _ahead(flow, project)
        last = flow.by_time(base)
        write = Write(flow.desk, base, flow.known_until, str(parts))
        what = f"Building {len(found.features.names)} features for {whole(flow.world.rows)} events on a cluster"
        done = flow.through(base, last, write, what)
        if not done:
            msg = "no event belongs to the extract: none is known to be fraud, and none was drawn"
            raise UsageError(msg, hint="draw a larger share")
        for note in flow.notes:
            progress.warn(note)
        _require_all(parts, len(done))
        return ClusterTable(
            sum(item.rows for item in done), flow.known_until, flow.n_duplicates, len(done), found.features,
            tuple(flow.notes),
        )  # fmt: skip


def score_on(
    model: Model,
    data: Sequence[str | Path],
    engine: Shuffles,
    output: Path,
    *,
    history: Sequence[str | Path] = (),
    sources: Mapping[str, Sequence[str | Path]] | None = None,
    with_features: bool = False,
    explained: Explained = "alerts",
    task_rows: int | None = None,
    file_rows: int = FILE_ROWS,
    progress: Progress | None = None,
) -> ScoreResult:
    """DecideParts on the events of files on a cluster, as `fraudctl.workflows.score.score_files` does in one process.

    Workers have to see the bundle, the files and the folder of ``output`` under the same paths.

    Raises
    ------
    UsageError
        A place that cannot be written; a worker that differs from this process.
    BundleError
        A worker that sees another bundle.
    DataError
        As `fraudctl.workflows.score.score_files` does.
    """
    from fraudctl.cluster.scores import NEW_FILE, DecideParts, ToldModel, period_edges
    from fraudctl.cluster.task import part_name
    from fraudctl.data import outputs
    from fraudctl.scoring.decider import answer_schema
    from fraudctl.scoring.tables import first_time, ids_of, open_new
    from fraudctl.workflows.score import ScoreResult, read_entries, read_sources, tell_extra
    from fraudctl.workflows.slots import lead_from

    progress, decider = progress or Silent(), model.decider
    project, schema, carried = decider.project, decider.schema, decider.carried
    before = open_new(history, project, schema, carried=carried, what="--history") if history else None
    new = open_new(data, project, schema, carried=carried, what="DATA", after=before)
    tell_extra(new, progress)
    told = ToldModel(
        str(decider.bundle.path.resolve()),
        decider.model,
        _absolute(new.files),
        _absolute(before.files if before else ()),
    )
    with _folders(output) as (shared, parts):
        beside = _Tables(read_entries(model, sources or {}), read_sources(model, sources or {}))
        if before is not None:
            outputs.write_arrow(ids_of(new, project).to_frame(), shared / NEW_FILE)
        flow = _flow(engine, told, beside, shared, task_rows, file_rows, progress)
        base = _ahead(flow, project)
        times = np.array([flow.world.first_time, flow.world.last_time])
        last = flow.by_time(base, period_edges(decider, times) if decider.policy.capacity else None)
        lead = lead_from(decider, first_time(new, project)) if before is not None else None
        decide = DecideParts(flow.desk, base, told.path, told.version, str(parts), lead, explained, with_features)
        done = flow.through(base, last, decide, f"Deciding on {whole(flow.world.rows)} events on a cluster")
        if not done:
            outputs.write_parquet(
                pl.DataFrame(schema=answer_schema(schema.events[project.data.event_id])), parts / part_name(0)
            )
        _require_all(parts, max(len(done), 1))
    counts: Counter[str] = Counter()
    for item in done:
        counts.update(item.counts)
    actions = {action: counts[action] for action in decider.policy.actions}
    rows = sum(item.rows for item in done)
    return ScoreResult(output, decider.model, decider.policy_version, rows, actions, flow.n_duplicates, new.extra)


def _absolute(files: Sequence[str]) -> tuple[str, ...]:
    return tuple(name if "://" in name else str(Path(name).resolve()) for name in files)


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
        found.carried, list(_absolute(found.files)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Tables:
    """What every worker reads besides the events: entries of labels, and other tables by name."""

    entries: pl.DataFrame | None
    sources: Mapping[str, pl.DataFrame]


def _flow(
    engine: Shuffles,
    told: Told,
    beside: _Tables,
    shared: Path,
    task_rows: int | None,
    file_rows: int,
    progress: Progress,
    extract: Extract | None = None,
) -> Journey:
    """Put what all workers read into the shared folder, and have them take a first look."""
    from fraudctl.cluster.flow import Journey
    from fraudctl.cluster.plan import Sizes
    from fraudctl.cluster.task import ENTRIES_FILE, Desk, source_file
    from fraudctl.cluster.told import traits
    from fraudctl.data import outputs, tables

    if beside.entries is not None:
        outputs.write_arrow(beside.entries, shared / ENTRIES_FILE)
    for name, table in beside.sources.items():
        outputs.write_arrow(table, shared / source_file(name))
    n_rows = int(tables.collect(told.raw().select(pl.len()), files=told.files).item())
    tables.refuse_no_rows(n_rows, told.files)
    n = len(engine.keys)
    each = task_rows or min(TASK_ROWS, max(-(-n_rows // n), _LEAST_TASK))
    return Journey(engine, Desk(told, traits(), str(shared), extract), Sizes(n, each, file_rows), n_rows, progress)


def _ahead(flow: Journey, project: Project) -> list[str]:
    """Settle what tasks need of all rows; return the columns that the events have."""
    from fraudctl.cluster.plan import RowRange
    from fraudctl.cluster.task import events_of
    from fraudctl.data import tables

    told = flow.desk.told
    flow.require_amounts(project)
    flow.ahead(lambda ids: tables.refuse_differing(told.raw(), ids, str(project.data.event_id), told.files))
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
