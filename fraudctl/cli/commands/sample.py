"""``fraudctl sample``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.cli.options import length_of_days, there

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command(
    "fraudctl sample payments",
    "fraudctl sample big --events 1000000 --days 365",
    "fraudctl sample teams --label-tables",
    "fraudctl sample life --after 16w --change attack --change clock=2026-04-06",
)
def sample(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="Where the tables go.")] = Path("sample_data"),
    *,
    events: Annotated[int, typer.Option(min=1_000, help="How many transactions.")] = 80_000,
    days: Annotated[int, typer.Option(min=30, max=3_650, help="How many days they span.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same events.")] = 7,
    truth: Annotated[Path | None, typer.Option(help="Also write each fraud's hidden pattern to this file.")] = None,
    label_tables: Annotated[
        bool,
        typer.Option(
            "--label-tables",
            help="Write labels as five tables: chargebacks, disputes, verdicts of analysts, reports of customers and "
            "of card issuers.",
        ),
    ] = False,
    after: Annotated[
        str | None,
        typer.Option(metavar="LENGTH", help="Also write the weeks after, such as 16w, as further files of the tables."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=WHEN]",
            help="With --after: attack, dead-feature, clock, volume, label-delay or poisoned-labels, from a day "
            "(2026-03-16) or a time after the sample (9w) on; or none. Default: all, one after the other, in the "
            "second half.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Make synthetic card events with known fraud patterns.

    The same options give the same events; any size.
    """
    from fraudctl.workflows.sample import write_sample

    later = 0 if after is None else length_of_days(after, "--after")
    with session.progress() as progress:
        result = write_sample(
            folder, n_events=events, days=days, seed=seed, truth=truth, label_tables=label_tables,
            after_days=later, changes=change or (), force=force,
            progress=progress,
        )  # fmt: skip
    session.emit(result)
    session.show(
        f"{result.n_events:,} events over {days + later} days, {result.n_frauds:,} of them labelled fraud, in "
        f"{result.folder}"
    )
    for planted in result.changes:
        session.show(f"from {planted.begins}: {planted.name}: {planted.what}")
    session.note(f"next: fraudctl train{there(folder)}")
