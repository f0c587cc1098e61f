"""``fraudctl score``."""

from __future__ import annotations

import itertools
import sys
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
    Partitions,
    ProjectPath,
    Salt,
    SourceFiles,
    Spark,
    memory_size,
    named_paths,
    partitions_of,
    refuse_beside_spark,
    shown_path,
)
from fraudctl.errors import DataError, UsageError

if TYPE_CHECKING:
    from fraudctl.cli.session import Session
    from fraudctl.scoring.decider import Explained
    from fraudctl.workflows.stream import StreamResult


@command(
    "fraudctl score new.parquet --history transactions.parquet -o decisions.parquet",
    "fraudctl score - --state state < events.jsonl",
    "fraudctl score new.parquet --history transactions.parquet -o decisions --spark sc://spark.internal:15002",
    stores=("output", "history"),
)
def score(
    session: Session,
    data: Annotated[list[str], typer.Argument(help="Parquet or CSV files with new events, or - for JSON lines.")],
    *,
    project: ProjectPath = HERE,
    model: Model = "latest",
    expect: Expect = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Parquet file for the decisions; with --spark a folder."),
    ] = None,
    history: History = None,
    source: SourceFiles = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder that remembers what was scored before, and now this.")
    ] = None,
    new: New = False,
    with_features: Annotated[bool, typer.Option("--with-features", help="Add the value of every feature.")] = False,
    reasons: Annotated[
        str, typer.Option("--reasons", help="Which decisions get reasons: all, alerts or none.")
    ] = "alerts",
    memory: Annotated[
        str | None, typer.Option("--memory", help="Build features in parts within so much memory, such as 2GB.")
    ] = None,
    control: Control = None,
    control_cap: ControlCap = None,
    salt: Salt = None,
    spark: Spark = None,
    partitions: Partitions = None,
) -> None:
    """Decide on new events: a file at once, or JSON lines as they come."""
    from fraudctl.data.outputs import require_no_input
    from fraudctl.scoring.experiment import experiment_of
    from fraudctl.workflows.score import open_model, read_entries, score_files
    from fraudctl.workflows.state import engine_on
    from fraudctl.workflows.stream import score_stream, score_through

    explained = explained_by(reasons)
    if output is None and data != ["-"]:
        msg = "score needs a file to write to"
        raise UsageError(msg, hint="name one with -o FILE.parquet, or give - to read JSON lines from stdin")
    if data == ["-"] and (output is not None or session.as_json):
        msg = "with - decisions go to stdout as JSON lines; --output and --json are for files"
        raise UsageError(msg)
    if memory is not None and (output is None or state is not None):
        msg = "--memory is for files that are scored at once; events one by one need none"
        raise UsageError(msg)
    if new and state is None:
        msg = "--new makes a state in a folder, and --state names none"
        raise UsageError(msg)
    experiment = experiment_of(salt=salt, split=None, unit=None, control=control, control_cap=control_cap)
    if experiment is not None and state is None:
        msg = "a control group is remembered in a state, and --state names none"
        raise UsageError(msg, hint="--state FOLDER, with --new where there is none yet")
    refuse_beside_spark(
        spark, partitions, output, {"--state": state is not None, "--memory": memory is not None, "-": data == ["-"]}
    )
    budget = None if memory is None else memory_size(memory)
    with session.progress() as progress:
        at_once = output is not None and state is None
        opened = open_model(project, model, expect=expect, batch=at_once, progress=progress)
        before, beside = history or [], named_paths(source or [])
        if output is not None:
            require_no_input(
                output, opened.project, also=[*data, *map(str, before), *itertools.chain(*beside.values())]
            )
        if output is not None and spark is not None:
            from fraudctl.cluster.session import open_engine
            from fraudctl.workflows.cluster import score_on

            with open_engine(spark, partitions=partitions_of(partitions)) as cluster:
                result = score_on(
                    opened, data, cluster, output, history=before, sources=beside, with_features=with_features,
                    explained=explained, progress=progress,
                )  # fmt: skip
        elif output is not None and at_once:
            result = score_files(
                opened, data, output=output, history=before, sources=beside, with_features=with_features,
                explained=explained, memory=budget, progress=progress,
            )  # fmt: skip
        else:
            with engine_on(
                opened, state, new=new, history=before, sources=beside, with_features=with_features,
                explained=explained, experiment=experiment, progress=progress,
            ) as engine:  # fmt: skip
                if output is None:
                    _tell(session, score_stream(engine, sys.stdin.buffer, _print_line))
                    return
                entries = read_entries(opened, beside) if opened.knows_labels(beside) else None
                result = score_through(engine, data, output=output, entries=entries, progress=progress)
    session.emit(result)
    session.show(f"wrote {shown_path(output)}: {_actions(result.actions)}")


def _tell(session: Session, result: StreamResult) -> None:
    """Report the counts of a stream; raise DataError if lines could not be read."""
    session.note(f"{result.events:,} events: {_actions(result.actions)}; {result.labels:,} labels")
    if result.dropped.words is not None:
        session.warn(result.dropped.words)
    if result.refused:
        msg = f"{result.refused:,} lines could not be taken; each was answered with its error"
        raise DataError(msg, hint="the answers name the lines")


def explained_by(text: str) -> Explained:
    """Read which decisions get reasons."""
    from fraudctl.scoring.decider import EXPLAINED

    found = next((item for item in EXPLAINED if item == text), None)
    if found is None:
        msg = f"--reasons {text}: expected one of {', '.join(EXPLAINED)}"
        raise UsageError(msg)
    return found


def _print_line(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _actions(actions: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {action}" for action, count in actions.items())
