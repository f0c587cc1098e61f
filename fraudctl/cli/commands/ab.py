"""``fraudctl ab``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, Date, ProjectPath, moment
from fraudctl.errors import UsageError

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command(
    "fraudctl ab exp7 --decisions state",
    "fraudctl ab exp7 --decisions state --as-of 2026-06-01 --margin 0.01",
    "fraudctl ab plan --decisions state --unit card --split champion=90,challenger=10 --loss 0.02",
    stores=("decisions",),
)
def ab(
    session: Session,
    name: Annotated[str, typer.Argument(help="The experiment (its --salt); or `plan`: how long one would take.")],
    *,
    decisions: Annotated[list[Path], typer.Option("--decisions", help="Folder of a state, or files of decisions.")],
    project: ProjectPath = HERE,
    as_of: Annotated[Date, typer.Option("--as-of", help="What was known then. Default: the latest event.")] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", help="Savings it may lose. Default: that of [gate] champion, or 0.02.")
    ] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="Of intervals, however often one looks.")] = 0.95,
    unit: Annotated[str | None, typer.Option("--unit", help="plan: entity that would be drawn by.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="plan: the shares, champion=90,challenger=10.")] = None,
    loss: Annotated[float | None, typer.Option("--loss", help="plan: savings that are to be lost.")] = None,
) -> None:
    """Compare the arms of `serve --split`; exit as a gate does, and 3 where the arms are not shared as planned."""
    from fraudctl.cli.life import ab_tables, plan_text
    from fraudctl.project import load_project
    from fraudctl.scoring.experiment import RESERVED
    from fraudctl.workflows.ab import MARGIN, compare_experiment, plan_experiment

    planning = name == RESERVED
    _refuse(planning, {"--as-of": as_of, "--margin": margin}, {"--unit": unit, "--split": split, "--loss": loss})
    opened = load_project(project)
    with session.progress() as progress:
        if planning:
            if unit is None or split is None:
                msg = "ab plan needs --unit and --split"
                raise UsageError(msg, hint="such as --unit card --split champion=90,challenger=10")
            plan = plan_experiment(
                opened, decisions=decisions, unit=unit, split=split, loss=MARGIN if loss is None else loss,
                confidence=confidence, progress=progress,
            )  # fmt: skip
            session.emit(plan)
            session.show(plan_text(plan))
            return
        result = compare_experiment(
            opened, name, decisions=decisions, as_of=moment(as_of), margin=margin, confidence=confidence,
            progress=progress,
        )  # fmt: skip
    session.emit(result)
    for table in ab_tables(result):
        session.show(table)
    raise typer.Exit(result.exit_code)


def _refuse(planning: bool, of_result: dict[str, object], of_plan: dict[str, object]) -> None:  # noqa: FBT001
    """Refuse options that mean nothing to what was asked for."""
    given = [name for name, value in (of_result if planning else of_plan).items() if value is not None]
    if given:
        msg = f"{' and '.join(given)} {'does not go with' if planning else 'goes with'} `ab plan`"
        raise UsageError(msg)
