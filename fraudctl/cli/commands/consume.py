"""``fraudctl consume``."""

from __future__ import annotations

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
    Salt,
    SourceFiles,
    named_paths,
)

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command(
    "fraudctl consume --state state",
    "fraudctl consume --state shard-0 --partitions 0-3 --properties kafka.properties --metrics consume.prom",
    "fraudctl consume --state state --new --history transactions.parquet --until-end --json",
    stores=("history",),
)
def consume(
    session: Session,
    *,
    project: ProjectPath = HERE,
    state: Annotated[
        Path, typer.Option("--state", help="Folder that remembers features, answers and the next offsets.")
    ],
    model: Model = "champion",
    expect: Expect = None,
    new: New = False,
    history: History = None,
    source: SourceFiles = None,
    partitions: Annotated[
        str | None,
        typer.Option("--partitions", help="Partitions of this state, such as 0-3,7; for ever. Default: all."),
    ] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop where the topics end now, instead of waiting for more.")
    ] = False,
    properties: Annotated[
        Path | None,
        typer.Option("--properties", help="Settings and secrets of Kafka's client: lines key=value."),
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help="File that gets metrics for Prometheus, every 5 s.")
    ] = None,
    reasons: Annotated[str, typer.Option("--reasons", help="Decisions with reasons: all, alerts or none.")] = "alerts",
    with_features: Annotated[bool, typer.Option("--with-features", help="Answer with every feature too.")] = False,
    control: Control = None,
    control_cap: ControlCap = None,
    salt: Salt = None,
    max_ahead: Annotated[
        float, typer.Option("--max-ahead", min=0.0, help="Seconds that an event may lie ahead of the clock.")
    ] = 3600.0,
    durable: Annotated[
        bool, typer.Option("--durable", help="Flush each batch to the disk first: survives loss of power too.")
    ] = False,
) -> None:
    """Decide on the events of a Kafka topic, and produce the decisions: the topics of [stream] in the project file.

    SIGTERM finishes the batch that has begun. After a crash it goes on where it was; a decision that comes twice has
    the same key and the same bytes. Security settings also come from the environment: FRAUDCTL_KAFKA_SASL_PASSWORD sets
    sasl.password.
    """
    from fraudctl.cli.commands.score import explained_by
    from fraudctl.scoring.experiment import experiment_of
    from fraudctl.workflows.consume import Consuming, consume_topics

    consuming = Consuming(
        place=project, state=state, model=model, expect=expect, new=new, history=history or [],
        sources=named_paths(source or []), partitions=partitions, until_end=until_end, properties=properties,
        metrics=metrics, explained=explained_by(reasons), with_features=with_features, durable=durable, ahead=max_ahead,
        experiment=experiment_of(salt=salt, split=None, unit=None, control=control, control_cap=control_cap),
    )  # fmt: skip
    with session.progress() as progress:
        result = consume_topics(consuming, progress=progress)
    session.emit(result)
    actions = ", ".join(f"{count:,} {action}" for action, count in result.actions.items())
    dead = sum(result.dead_letters.values())
    session.show(f"{result.events:,} events: {actions}; {result.labels:,} labels; {dead:,} dead letters")
    if result.dropped.words is not None:
        session.warn(result.dropped.words)
