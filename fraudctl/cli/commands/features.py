"""``fraudctl features``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import (
    HERE,
    Partitions,
    ProjectPath,
    Spark,
    memory_size,
    moment,
    partitions_of,
    refuse_beside_spark,
    shown_path,
)
from fraudctl.errors import UsageError

if TYPE_CHECKING:
    from datetime import date, datetime

    from fraudctl.cli.session import Session
    from fraudctl.extract import Extract
    from fraudctl.project import Project
    from fraudctl.workflows.features import FeatureFile, FeatureTable


@command(
    "fraudctl features --describe",
    "fraudctl features -o features.parquet --memory 2GB",
    "fraudctl features -o new.parquet --since 2026-01-01",
    "fraudctl features -o features --spark sc://spark.internal:15002 --partitions 64",
    stores=("output",),
)
def features(
    session: Session,
    *,
    project: ProjectPath = HERE,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Parquet file to write the table to; with --spark a folder of them."),
    ] = None,
    describe: Annotated[
        bool, typer.Option("--describe", help="Say what each feature means, and how it looks.")
    ] = False,
    memory: Annotated[
        str | None, typer.Option(help="Build in parts within so much memory, such as 2GB; the table is the same.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only the events at or after this date, from the state kept of earlier ones.")
    ] = None,
    keep_negatives: Annotated[
        float | None,
        typer.Option(help="Write all frauds and this share of the other events, with event_weight; features see all."),
    ] = None,
    spark: Spark = None,
    partitions: Partitions = None,
) -> None:
    """Build the point-in-time features, or reuse those built before."""
    from fraudctl.data.outputs import require_folder, require_no_input, require_parquet_path
    from fraudctl.project import load_project

    _refuse_contradictions(since=since, memory=memory, output=output, describe=describe)
    refuse_beside_spark(
        spark, partitions, output,
        {"--since": since is not None, "--memory": memory is not None, "--describe": describe},
    )  # fmt: skip
    opened, day = load_project(project), moment(since)
    extract = _extract(keep_negatives, opened, output, since)
    if output is not None:
        (require_parquet_path if spark is None else require_folder)(output)
        require_no_input(output, opened)
    if spark is not None and output is not None:
        _on_cluster(opened, spark, partitions, output, extract, session)
    elif day is not None and output is not None:
        _since(opened, day, output, session)
    else:
        _all(opened, memory, output, extract, session, describe=describe)


def _extract(share: float | None, project: Project, output: Path | None, since: str | None) -> Extract | None:
    """Return which events are to be written; None for all."""
    from fraudctl.extract import Extract
    from fraudctl.text.figures import exact

    if share is None:
        return None
    if not 0 < share <= 1:
        msg = f"--keep-negatives is {exact(share)}; expected a share above 0, and 1 at most"
        raise UsageError(msg)
    if output is None or since is not None:
        msg = "--keep-negatives needs --output" if output is None else "--since and --keep-negatives exclude each other"
        raise UsageError(msg, hint="an extract is a file of its own: -o extract.parquet, of all events")
    return Extract(share, project.train.seed)


def _refuse_contradictions(*, since: str | None, memory: str | None, output: Path | None, describe: bool) -> None:
    if since is not None and (memory is not None or describe):
        msg = f"--since and {'--memory' if memory is not None else '--describe'} exclude each other"
        raise UsageError(msg, hint="--since reads new events only; leave the other option out")
    if since is not None and output is None:
        msg = "--since needs --output: the table of the new events is kept nowhere else"
        raise UsageError(msg, hint="add -o new.parquet")


def _on_cluster(
    project: Project, spark: str, partitions: int | None, output: Path, extract: Extract | None, session: Session
) -> None:
    """Build the features of all events on a cluster."""
    from fraudctl.cluster.session import open_engine
    from fraudctl.documents.results import as_object
    from fraudctl.workflows.cluster import build_on

    with session.progress() as progress:
        progress.stage(f"Opening {spark}")
        with open_engine(spark, partitions=partitions_of(partitions)) as engine:
            found = build_on(project, engine, output, extract=extract, progress=progress)
    names = found.features.names
    session.emit({**as_object(found), "output": output, "features": names})
    session.show(f"built {len(names)} features for {found.rows:,} events{_of(extract)}")
    session.show(f"wrote {output} ({found.files:,} {'file' if found.files == 1 else 'files'})")


def _since(project: Project, day: datetime | date, output: Path, session: Session) -> None:
    """Build the features of the events since a day, and write them."""
    from fraudctl.data.outputs import write_parquet
    from fraudctl.documents.results import as_object
    from fraudctl.workflows.increment import build_since

    with session.progress() as progress:
        found = build_since(project, day, progress=progress)
    write_parquet(found.frame, output)
    session.emit({**as_object(found), "output": shown_path(output), "features": found.features})
    if found.frame.is_empty():
        session.show(f"no event is at or after {found.since}: the table has no rows")
    else:
        session.show(f"built {len(found.features)} features for {found.frame.height:,} events since {found.since}")
    session.show(f"wrote {shown_path(output)}")


def _of(extract: Extract | None) -> str:
    return "" if extract is None else f": {extract.text}"


def _all(
    project: Project,
    memory: str | None,
    output: Path | None,
    extract: Extract | None,
    session: Session,
    *,
    describe: bool,
) -> None:
    """Build the features of all events, or reuse those built before."""
    from fraudctl.cli.render import feature_table
    from fraudctl.documents.results import as_object
    from fraudctl.workflows.features import (
        build_features,
        build_features_file,
        describe_features,
        find_features,
        require_memory,
        write_extract,
        write_features,
    )

    if memory is not None:
        require_memory(memory_size(memory))
    table: FeatureTable | FeatureFile
    with session.progress() as progress:
        progress.stage("Looking for features built before")
        known = find_features(project, read=output is not None or describe)
        if known is not None:
            table = known
        elif memory is None:
            table = build_features(project, progress=progress)
        else:
            table = build_features_file(project, memory=memory_size(memory), progress=progress)
    written = None
    if output is not None and extract is None:
        write_features(table, output)
    elif output is not None and extract is not None:
        written = write_extract(table, output, extract, project)
    described = describe_features(table) if describe else None
    named = table.features.names if described is None else described.to_dict()["features"]
    facts = as_object(table)
    session.emit({**facts, "output": None if output is None else shown_path(output), "features": named})
    if described is not None:
        session.show(feature_table(described))
        for note in table.notes:
            session.show(note)
    how = "reused" if table.reused else "built"
    session.show(f"{how} {len(table.features.names)} features for {facts['rows']:,} events")
    if output is not None:
        of = "" if written is None else f" ({written:,} events{_of(extract)})"
        session.show(f"wrote {shown_path(output)}{of}")
