"""``fraudctl monitor``."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, Date, ProjectPath, moment
from fraudctl.errors import UsageError

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


class MonitorFormat(StrEnum):
    """What ``monitor`` writes to stdout."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"
    MARKDOWN = "markdown"


class FailOn(StrEnum):
    """What ends with 1 besides harm and data."""

    DRIFT = "drift"


@command(
    "fraudctl monitor state",
    "fraudctl monitor week.parquet --as-of 2026-03-01 --fail-on drift",
    "fraudctl monitor state --parity 500 --prometheus /var/lib/node_exporter/fraudctl.prom",
    'fraudctl monitor ack 1a2b3c4d --note "campaign of a merchant"',
)
def monitor(
    session: Session,
    decisions: Annotated[
        list[str] | None,
        typer.Argument(help="Folder of a state, or Parquet of decisions. Default: state. Or: ack ID."),
    ] = None,
    *,
    project: ProjectPath = HERE,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Version, path, latest or champion. Default: what decided."),
    ] = None,
    as_of: Annotated[Date, typer.Option("--as-of", help="Nothing later is known. Default: the latest event.")] = None,
    fail_on: Annotated[FailOn | None, typer.Option(help="drift: drift alone ends with 1 too.")] = None,
    parity: Annotated[
        int | None, typer.Option(metavar="N", help="Recompute N logged decisions from the raw data.")
    ] = None,
    output_format: Annotated[
        MonitorFormat, typer.Option("--format", help="What stdout gets: tables, JSON, or a form for CI.")
    ] = MonitorFormat.TEXT,
    prometheus: Annotated[
        Path | None, typer.Option("--prometheus", help="Also write a text file for Prometheus' node exporter.")
    ] = None,
    note: Annotated[str | None, typer.Option("--note", help="With ack: why the alarm is no reason to act.")] = None,
) -> None:
    """Watch a model after training: harm, data, drift; what moved, since when, why, and what it costs."""
    from fraudctl.project import load_project
    from fraudctl.workflows.monitor import monitor_model, monitor_text, write_monitor_summary, write_prometheus

    places = list(decisions or [])
    if places[:1] == ["ack"]:
        _acknowledge(session, project, places[1:], note)
        return
    if note is not None:
        msg = "--note goes with `monitor ack ID`"
        raise UsageError(msg)
    if session.as_json and output_format not in (MonitorFormat.TEXT, MonitorFormat.JSON):
        msg = f"--json and --format {output_format.value} contradict each other"
        raise UsageError(msg)
    session.as_json = session.as_json or output_format == MonitorFormat.JSON
    with session.progress() as progress:
        result = monitor_model(
            load_project(project), places, model=model, as_of=moment(as_of), fail_on_drift=fail_on is not None,
            parity=parity, progress=progress,
        )  # fmt: skip
    if prometheus is not None:
        write_prometheus(result, prometheus)
    session.emit(result)
    if output_format in (MonitorFormat.TEXT, MonitorFormat.JSON):
        from fraudctl.cli.watch import monitor_tables

        for table in monitor_tables(result):
            session.show(table)
    else:
        typer.echo(monitor_text(result, output_format.value), nl=False)
    write_monitor_summary(result, output_format.value)
    raise typer.Exit(result.exit_code)


def _acknowledge(session: Session, project: Path, names: list[str], note: str | None) -> None:
    """Take note of one alarm."""
    from fraudctl.project import load_project
    from fraudctl.workflows.monitor_log import acknowledge_alarm
    from fraudctl.workflows.versions import user_name

    if len(names) != 1 or note is None:
        msg = f"`monitor ack` takes one id and --note; got {len(names)} ids{'' if note else ' and no note'}"
        raise UsageError(msg, hint='fraudctl monitor ack ID --note "what it was"')
    found = acknowledge_alarm(load_project(project), names[0], note=note, now=datetime.now(UTC), by=user_name())
    session.emit(found)
    session.show(f"noted {found.id}: {found.what}")
