"""``sample``: synthetic tables on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import UsageError
from fraudctl.progress import Progress, Silent, Steps
from fraudctl.project import FILE_NAME

if TYPE_CHECKING:
    import polars as pl

N_EVENTS, DAYS, SEED = 80_000, 120, 7
"""The sample that the project itself ships in ``sample_data/``."""

_LOOKUP = """
# One more feature, as an example of a lookup: whether the customer's latest login within a week succeeded.
[[features.lookup]]
source = "logins"
by = "customer"
columns = ["success"]
max_age = "7d"
"""

_GATE = """
# The floors of the sample: far below what the model reaches, and far above what shuffled scores do.
[gate]
savings = { at_least = 0.30 }
recall = { at_least = 0.30 }
false_positive_rate = { at_most = 0.10 }
confidence = 0.90
min_frauds = 300
"""


@dataclass(frozen=True)
class SampleResult:
    """Where the synthetic tables are, and how many rows and frauds they hold."""

    folder: Path
    transactions: Path
    logins: Path
    project_file: Path
    truth: Path | None
    label_tables: tuple[Path, ...]
    """Chargebacks and disputes, where labels are in tables of their own."""
    n_events: int
    n_frauds: int


def write_sample(
    folder: Path,
    *,
    n_events: int = N_EVENTS,
    days: int = DAYS,
    seed: int = SEED,
    truth: Path | None = None,
    label_tables: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> SampleResult:
    """Generate synthetic events, and write them as Parquet with the project file that ``init`` proposes for them.

    Parameters
    ----------
    folder
        Where the files are written.
    n_events
        Payments, before the duplicates that the sample adds.
    days
        Length of the period that they cover.
    seed
        The same seed gives the same files.
    truth
        A Parquet file for what the generator knows: the fraud pattern of each event; None writes none.
    label_tables
        Write the labels as tables of chargebacks and disputes, some taken back, instead of as columns of the payments.
    force
        Replace files that are there.

    Raises
    ------
    UsageError
        A file is already there and ``force`` was not given.
    """
    from fraudctl.data.outputs import whole_file, write_parquet, write_text
    from fraudctl.sample import STEPS, generate
    from fraudctl.sample.draws import Draws
    from fraudctl.sample.verdicts import label_tables as split_labels

    progress = progress or Silent()
    transactions, logins, project_file = (
        folder / name for name in ("transactions.parquet", "logins.parquet", FILE_NAME)
    )
    verdicts = tuple(folder / f"{name}.parquet" for name in ("chargebacks", "disputes") if label_tables)
    targets = [transactions, logins, *verdicts, project_file] + ([truth] if truth is not None else [])
    refuse_overwriting(targets, force=force)
    progress.stage(f"Making {n_events:,} events")
    made = generate(n_events=n_events, days=days, seed=seed, tell=Steps(progress, STEPS).begin)
    frames = {transactions: made.transactions, logins: made.logins}
    if label_tables:
        found = split_labels(made.transactions, Draws(seed, "chargebacks and disputes"))
        frames = dict(zip(frames, (found.transactions, made.logins), strict=True))
        frames |= dict(zip(verdicts, (found.chargebacks, found.disputes), strict=True))
    with contextlib.ExitStack() as stack:  # all of them, or none; the project file gets its name last
        order = [project_file, *(path for path in targets if path != project_file)]
        hidden = {path: stack.enter_context(whole_file(path)) for path in order}
        for place, frame in frames.items():
            progress.stage(f"Writing {place.name}")
            _write(frame, hidden[place], progress, smallest=n_events <= N_EVENTS)
        if truth is not None:
            write_parquet(made.truth, hidden[truth])
        write_text(_proposed({path.name: frame for path, frame in frames.items()}, progress), hidden[project_file])
    n_frauds = int((made.transactions["is_fraud"] == 1).sum())
    return SampleResult(
        folder, transactions, logins, project_file, truth, verdicts, made.transactions.height, n_frauds
    )  # fmt: skip


def _write(frame: pl.DataFrame, place: Path, progress: Progress, *, smallest: bool) -> None:
    """Write a table; as small as can be takes twenty times as long, and is for the sample that is shipped."""
    from fraudctl.data.chunks import write_chunks
    from fraudctl.data.outputs import ROW_GROUP, write_parquet

    if smallest:
        write_parquet(frame, place, smallest=True)
        return

    def pieces() -> Iterator[pl.DataFrame]:
        for start in range(0, frame.height, 5 * ROW_GROUP):
            progress.update(start, frame.height, "rows")
            yield frame[start : start + 5 * ROW_GROUP]

    write_chunks(pieces, place)


def _proposed(frames: Mapping[str, pl.DataFrame], progress: Progress) -> str:
    """Return what ``init --source logins=... --labels ...`` proposes for the sample, with a lookup and a gate.

    ``frames`` are the tables by the names of their files: the payments, the logins, and those of labels.
    """
    from fraudctl.propose import Flags, GivenTable, propose, render_project

    (transactions, payments), (logins, beside), *verdicts = frames.items()
    proposal = propose(
        payments.lazy(),
        events=(transactions,),
        name="sample",
        flags=Flags(sources=(f"logins={logins}",), labels=tuple(f"{Path(name).stem}={name}" for name, _ in verdicts)),
        sources={"logins": (beside.lazy(), [logins])},
        labels={Path(name).stem: GivenTable(frame.lazy(), (name,)) for name, frame in verdicts},
        progress=progress,
    )
    return render_project(proposal).rstrip() + "\n" + _LOOKUP + _GATE


def refuse_overwriting(targets: list[Path], *, force: bool) -> None:
    """Raise a UsageError where a target exists and ``force`` was not given."""
    there = [str(path) for path in targets if path.exists()]
    if there and not force:
        msg = f"{', '.join(there)} exists already"
        raise UsageError(msg, hint="--force replaces it")
