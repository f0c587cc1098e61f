"""``fraudctl evaluate``."""

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


class OutputFormat(StrEnum):
    """What ``evaluate`` writes to stdout."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"
    MARKDOWN = "markdown"


@command(
    "fraudctl evaluate",
    "fraudctl evaluate --require-gate --format github   # for CI",
    "fraudctl evaluate --scores other-model.parquet --no-gate",
    stores=("scores",),
)
def evaluate(
    session: Session,
    *,
    project: ProjectPath = HERE,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Version, path, latest or champion.")] = None,
    champion: Annotated[str | None, typer.Option(help="Model to compare with on the same events.")] = None,
    scores: Annotated[Path | None, typer.Option(help="Parquet or CSV with event_id and y_prob to judge.")] = None,
    from_: Annotated[Date, typer.Option("--from", help="Start of the period. Default: as_of.")] = None,
    to: Annotated[Date, typer.Option("--to", help="End of the period, itself left out.")] = None,
    pooled: Annotated[
        int | None, typer.Option(help="Test periods to judge together; both models are refitted for earlier ones.")
    ] = None,
    predictions: Annotated[Path | None, typer.Option(help="Write label, y_prob, action and cost per event.")] = None,
    output_format: Annotated[
        OutputFormat, typer.Option("--format", help="What stdout gets: tables, JSON, or a gate's verdict for CI.")
    ] = OutputFormat.TEXT,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Only report; the gate has no say.")] = False,
    require_gate: Annotated[bool, typer.Option("--require-gate", help="Refuse a project without [gate].")] = False,
) -> None:
    """Judge a model on a period that it cannot have seen, and apply the gate."""
    from fraudctl.cli.render import evaluation_tables, gate_text
    from fraudctl.data.outputs import require_no_input, require_parquet_path
    from fraudctl.project import load_project
    from fraudctl.workflows.evaluate import evaluate_model, write_predictions, write_step_summary
    from fraudctl.workflows.versions import user_name

    if no_gate and require_gate:
        msg = "--no-gate and --require-gate contradict each other"
        raise UsageError(msg)
    if session.as_json and output_format not in (OutputFormat.TEXT, OutputFormat.JSON):
        msg = f"--json and --format {output_format.value} contradict each other"
        raise UsageError(msg)
    if predictions is not None:
        require_parquet_path(predictions)
    session.as_json = session.as_json or output_format == OutputFormat.JSON
    opened = load_project(project)
    if predictions is not None:
        require_no_input(predictions, opened, also=[] if scores is None else [str(scores)])
    with session.progress() as progress:
        result = evaluate_model(
            opened,
            model=model,
            champion=champion,
            scores=scores,
            from_time=moment(from_),
            until=moment(to),
            gate=not no_gate,
            require_gate=require_gate,
            pooled=pooled,
            now=datetime.now(UTC),
            by=user_name(),
            progress=progress,
        )
    if predictions is not None:
        write_predictions(result, predictions)
    session.emit(result)
    if output_format in (OutputFormat.TEXT, OutputFormat.JSON):
        for table in evaluation_tables(result.evaluation):
            session.show(table)
        session.show(f"report: {result.report}")
    else:
        typer.echo(gate_text(result.evaluation, output_format.value), nl=False)
    write_step_summary(result.evaluation, output_format.value)
    raise typer.Exit(result.evaluation.gate.exit_code)
