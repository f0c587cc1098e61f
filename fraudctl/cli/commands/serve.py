"""``fraudctl serve``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import (
    HERE,
    Control,
    ControlCap,
    Expect,
    History,
    Model,
    New,
    ProjectPath,
    SourceFiles,
    memory_size,
    named_paths,
)
from fraudctl.errors import UsageError

if TYPE_CHECKING:
    from fraudctl.cli.session import Session

TOKEN = "FRAUDCTL_TOKEN"  # noqa: S105 - the name of a variable, not a secret


@command(
    "fraudctl serve --state state --new --history transactions.parquet",
    "fraudctl serve --state state --challenger latest --model champion --split champion=90,challenger=10 --unit card "
    "--salt exp7 --control 0.5% --control-cap 2000",
    "FRAUDCTL_TOKEN=... fraudctl serve --state state --host 0.0.0.0 --challenger latest --model champion",
    json="never",
    stores=("history",),
)
def serve(
    session: Session,
    *,
    project: ProjectPath = HERE,
    model: Model = "latest",
    expect: Expect = None,
    challenger: Annotated[
        str | None, typer.Option("--challenger", help="A model that decides in the shadow, and is only logged.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder that remembers; without it a restart forgets.")
    ] = None,
    new: New = False,
    split: Annotated[
        str | None, typer.Option("--split", help="The challenger answers a part: champion=90,challenger=10.")
    ] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="Entity that --split draws by, such as card.")] = None,
    salt: Annotated[str | None, typer.Option("--salt", help="Name of the experiment, and key of its draws.")] = None,
    control: Control = None,
    control_cap: ControlCap = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Reload when the registry names another latest or champion.")
    ] = False,
    history: History = None,
    source: SourceFiles = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    reasons: Annotated[str, typer.Option("--reasons", help="Decisions with reasons: all, alerts or none.")] = "all",
    with_features: Annotated[bool, typer.Option("--with-features", help="Answer with every feature too.")] = False,
    max_body: Annotated[int, typer.Option("--max-body", min=1024, help="Most bytes of a request.")] = 1 << 20,
    max_items: Annotated[int, typer.Option("--max-items", min=1, help="Most events in one request.")] = 1000,
    rate: Annotated[
        float | None, typer.Option("--rate", min=1.0, help="Most events, labels and rows per second together.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds from the first byte of a request to its last.")
    ] = 5.0,
    idle_timeout: Annotated[
        float, typer.Option("--idle-timeout", min=0.1, help="Seconds that a connection may wait for its next request.")
    ] = 30.0,
    max_connections: Annotated[int, typer.Option("--max-connections", min=1, help="Most connections at once.")] = 1000,
    max_peer_connections: Annotated[
        int | None,
        typer.Option("--max-peer-connections", min=1, help="Most connections of one address. Default: 4/5 of all."),
    ] = None,
    max_ahead: Annotated[
        float, typer.Option("--max-ahead", min=0.0, help="Seconds that an event may lie ahead of the clock.")
    ] = 3600.0,
    max_wait: Annotated[
        float, typer.Option("--max-wait", min=0.0, help="Seconds that a label or a row may lie ahead of the clock.")
    ] = 31 * 86_400.0,
    max_waiting: Annotated[
        int, typer.Option("--max-waiting", min=1, help="Most messages that wait for the time at which they count.")
    ] = 1_000_000,
    memory: Annotated[
        str | None,
        typer.Option("--memory", help="Take nothing more (503) once the process takes so much memory, such as 2GB."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let everyone in who reaches an address beyond this machine.")
    ] = False,
    snapshot_every: Annotated[
        int, typer.Option("--snapshot-every", min=100, help="Events between snapshots of the state.")
    ] = 50_000,
    durable: Annotated[
        bool, typer.Option("--durable", help="Flush each answer's log to the disk first: survives loss of power too.")
    ] = False,
    access_log: Annotated[bool, typer.Option("--access-log", help="Log every request, not only refused ones.")] = False,
) -> None:
    """Decide over HTTP. Clients have to send the token that FRAUDCTL_TOKEN in the environment holds.

    SIGTERM finishes open requests; SIGHUP and POST /admin/reload load the models again, and --follow does so whenever
    a promotion or a training changes what they are called.
    """
    from fraudctl.cli.commands.score import explained_by
    from fraudctl.scoring.experiment import experiment_of
    from fraudctl.server.service import Limits
    from fraudctl.workflows.serve import Serving, serve_model

    if new and state is None:
        msg = "--new makes a state in a folder, and --state names none"
        raise UsageError(msg)
    limits = Limits(
        body=max_body, items=max_items, rate=rate, seconds=timeout, idle=idle_timeout, connections=max_connections,
        peer_connections=max_peer_connections, ahead=max_ahead, wait=max_wait, waiting=max_waiting,
        memory=None if memory is None else memory_size(memory),
    )  # fmt: skip
    serving = Serving(
        place=project, model=model, expect=expect, challenger=challenger, state=state, new=new, history=history or [],
        sources=named_paths(source or []), host=host, port=port, explained=explained_by(reasons),
        with_features=with_features, durable=durable, snapshot_every=snapshot_every, access_log=access_log,
        token=os.environ.get(TOKEN), insecure=insecure, verbose=session.verbose, follow=follow,
        experiment=experiment_of(salt=salt, split=split, unit=unit, control=control, control_cap=control_cap),
    )  # fmt: skip
    with session.progress() as progress:
        serve_model(serving, limits, progress=progress)
