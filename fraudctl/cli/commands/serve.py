"""``fraudctl serve``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fraudctl.cli.options import HERE, History, Model, NoProgress, ProjectPath, Quiet, SourceFiles, Verbose, named_paths

TOKEN = "FRAUDCTL_TOKEN"  # noqa: S105 - the name of a variable, not a secret


def serve(
    *,
    project: ProjectPath = HERE,
    model: Model = "latest",
    challenger: Annotated[
        str | None, typer.Option("--challenger", help="A model that decides in the shadow, and is only logged.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder that remembers; without it a restart forgets.")
    ] = None,
    history: History = None,
    source: SourceFiles = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    reasons: Annotated[str, typer.Option("--reasons", help="Decisions with reasons: all, alerts or none.")] = "all",
    with_features: Annotated[bool, typer.Option("--with-features", help="Answer with every feature too.")] = False,
    max_body: Annotated[int, typer.Option("--max-body", min=1024, help="Most bytes of a request.")] = 1 << 20,
    max_items: Annotated[int, typer.Option("--max-items", min=1, help="Most events in one request.")] = 1000,
    rate: Annotated[float | None, typer.Option("--rate", min=1.0, help="Most decisions per second.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that a request may take.")] = 5.0,
    max_connections: Annotated[int, typer.Option("--max-connections", min=1, help="Most connections at once.")] = 1000,
    max_ahead: Annotated[
        float, typer.Option("--max-ahead", min=0.0, help="Seconds that an event may lie ahead of the clock.")
    ] = 3600.0,
    snapshot_every: Annotated[
        int, typer.Option("--snapshot-every", min=100, help="Events between snapshots of the state.")
    ] = 50_000,
    durable: Annotated[
        bool, typer.Option("--durable", help="Flush each answer's log to the disk first: survives loss of power too.")
    ] = False,
    access_log: Annotated[bool, typer.Option("--access-log", help="Log every request, not only refused ones.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_progress: NoProgress = False,
) -> None:
    """Decide over HTTP. FRAUDCTL_TOKEN in the environment is what clients then have to bring.

    SIGTERM finishes what has begun; SIGHUP, and POST /admin/reload, open the models anew.
    """
    from fraudctl.cli.commands.score import explained_by
    from fraudctl.cli.session import Session
    from fraudctl.server.service import Limits
    from fraudctl.workflows.serve import Serving, serve_model

    session = Session(quiet=quiet, verbose=verbose, no_progress=no_progress)
    limits = Limits(
        body=max_body, items=max_items, rate=rate, seconds=timeout, connections=max_connections, ahead=max_ahead
    )
    serving = Serving(
        place=project, model=model, challenger=challenger, state=state, history=history or [],
        sources=named_paths(source or []), host=host, port=port, explained=explained_by(reasons),
        with_features=with_features, durable=durable, snapshot_every=snapshot_every, access_log=access_log,
        token=os.environ.get(TOKEN) or None,
    )  # fmt: skip
    with session.progress() as progress:
        serve_model(serving, limits, progress=progress)
