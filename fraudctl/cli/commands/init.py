"""``fraudctl init``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import HERE, ProjectPath, there

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command(
    "fraudctl init transactions.parquet",
    'fraudctl init "data/*.csv" --time-format "%d/%m/%Y %H:%M" --label is_fraud',
    "fraudctl init payments.parquet --entity card=card_id --source logins=logins.parquet",
    "fraudctl init payments.parquet --labels chargebacks=chargebacks.csv --labels disputes=disputes.csv",
)
def init(
    session: Session,
    data: Annotated[
        list[str], typer.Argument(help="Parquet, CSV or JSON lines: files, globs or folders with the events.")
    ],
    *,
    project: ProjectPath = HERE,
    event_id: Annotated[str | None, typer.Option(help="Column that names each event once, or row-number.")] = None,
    event_time: Annotated[
        str | None, typer.Option(help="Column with the instant of the event, or several to join, with commas.")
    ] = None,
    time_format: Annotated[
        list[str] | None, typer.Option(help="How times are written in text, such as %d/%m/%Y %H:%M; tried in order.")
    ] = None,
    time_unit: Annotated[
        str | None, typer.Option(help="What the event time counts: s, ms, us, ns, min, h or d.")
    ] = None,
    time_origin: Annotated[
        str | None, typer.Option(help="The date that it counts from, or unknown; by default 1970 in UTC.")
    ] = None,
    decimal: Annotated[str | None, typer.Option(help="The sign before decimals, where data leave it open.")] = None,
    amount: Annotated[str | None, typer.Option(help="Column with the amount.")] = None,
    label: Annotated[str | None, typer.Option(help="Column with the outcome.")] = None,
    label_value: Annotated[
        list[str] | None, typer.Option(help="What a word of the outcome means: WORD=1, WORD=0 or WORD=unknown.")
    ] = None,
    label_time: Annotated[str | None, typer.Option(help="Column with the time at which the label arrived.")] = None,
    label_delay: Annotated[str | None, typer.Option(help="How late labels arrive, such as 7d.")] = None,
    entity: Annotated[list[str] | None, typer.Option(help="NAME=COLUMN of who or what has a history.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="Column that must never be a feature.")] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PATH of a table of labels, such as chargebacks; no label column then."),
    ] = None,
    labels_id: Annotated[
        list[str] | None, typer.Option(help="NAME=COLUMN of a table of labels that names the event.")
    ] = None,
    labels_time: Annotated[
        list[str] | None, typer.Option(help="NAME=COLUMN that says when an entry was known here.")
    ] = None,
    labels_outcome: Annotated[
        list[str] | None, typer.Option(help="NAME=COLUMN with the outcome, or NAME=1 or NAME=0 for every row.")
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="NAME=PATH of another table, such as logins.")] = None,
    random_split: Annotated[
        bool, typer.Option("--random-split", help="The data have no time: split them at random.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Fit with and without further features, and take in those that pay.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a project file that is there.")] = False,
) -> None:
    """Look at the data and write a commented fraudctl.toml."""
    from fraudctl.cli.render import proposal_table
    from fraudctl.propose import Flags
    from fraudctl.workflows.init import init_project

    flags = Flags(
        event_id=event_id,
        event_time=event_time,
        amount=amount,
        label=label,
        label_time=label_time,
        label_delay=label_delay,
        entities=tuple(entity or ()),
        ignore=tuple(ignore or ()),
        sources=tuple(source or ()),
        random_split=random_split,
        time_formats=tuple(time_format or ()),
        time_unit=time_unit,
        time_origin=time_origin,
        decimal=decimal,
        label_values=tuple(label_value or ()),
        labels=tuple(labels or ()),
        labels_ids=tuple(labels_id or ()),
        labels_times=tuple(labels_time or ()),
        labels_outcomes=tuple(labels_outcome or ()),
    )
    with session.progress() as progress:
        result = init_project(data, place=project, flags=flags, measure=measure, force=force, progress=progress)
    session.emit(result.to_dict())
    session.show(proposal_table(result.proposal))
    for text in result.notes:
        session.note(text)
    session.show(f"wrote {result.path}")
    where = there(project)
    costs = "read it, put your costs into [costs]"
    session.note(f"next: {costs}, then `fraudctl check{where}` and `fraudctl train{where}`")
