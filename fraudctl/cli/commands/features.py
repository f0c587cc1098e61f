"""``fraudctl features``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudctl.cli.options import HERE, AsJson, NoProgress, ProjectPath, Quiet, Verbose, memory_size


def features(
    *,
    project: ProjectPath = HERE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Parquet file to write the table to.")] = None,
    describe: Annotated[
        bool, typer.Option("--describe", help="Say what each feature means, and how it looks.")
    ] = False,
    memory: Annotated[
        str | None, typer.Option(help="Build in parts within so much memory, such as 2GB; the table is the same.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_progress: NoProgress = False,
) -> None:
    """Build the point-in-time features, or reuse those built before."""
    from fraudctl.cli.render import feature_table
    from fraudctl.cli.session import Session
    from fraudctl.project import load_project
    from fraudctl.tables import require_parquet_path
    from fraudctl.workflows.features import build_features, build_features_file, describe_features, write_features

    if output is not None:
        require_parquet_path(output)
    session = Session(as_json=as_json, quiet=quiet, verbose=verbose, no_progress=no_progress)
    with session.progress() as progress:
        table = (
            build_features(load_project(project), progress=progress)
            if memory is None
            else build_features_file(load_project(project), memory=memory_size(memory), progress=progress)
        )
    if output is not None:
        write_features(table, output)
    described = describe_features(table) if describe else None
    named = table.features.names if described is None else described.to_dict()["features"]
    session.emit({**table.to_dict(), "output": output, "features": named})
    if described is not None:
        session.show(feature_table(described))
    how = "reused" if table.reused else "built"
    session.show(f"{how} {len(table.features.names)} features for {table.to_dict()['rows']:,} events")
    if output is not None:
        session.show(f"wrote {output}")
