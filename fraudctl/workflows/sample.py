"""``sample``: synthetic tables on disk."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.documents.results import as_json
from fraudctl.errors import UsageError
from fraudctl.progress import Progress, Silent, Steps
from fraudctl.project import FILE_NAME

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.sample import SampleChange

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
class PlantedChange:
    """A change of the weeks after the sample, from a day on to their end."""

    JSON = ("name", "begins as from", "what")

    name: str
    begins: date
    what: str


@dataclass(frozen=True)
class PlantedWeeks:
    """The days after the sample, ``[start, until)``, and what was planted in them."""

    start: date
    until: date
    changes: tuple[PlantedChange, ...]

    @property
    def days(self) -> int:
        """How many there are."""
        return (self.until - self.start).days

    def planted(self) -> list[SampleChange]:
        """Return the changes as the generator takes them."""
        from fraudctl.sample import SampleChange

        return [SampleChange(change.name, (change.begins - self.start).days) for change in self.changes]


@dataclass(frozen=True)
class SampleResult:
    """Where the synthetic tables are, and how many rows and frauds they hold."""

    folder: Path
    transactions: Path
    logins: Path
    project_file: Path
    truth: Path | None
    label_tables: tuple[Path, ...]
    """Chargebacks, disputes and others, where labels are in tables of their own."""
    n_events: int
    n_frauds: int
    after: tuple[Path, ...] = ()
    """Further files of the tables: the weeks after the sample."""
    changes_file: Path | None = None
    """The truth about what was planted in them."""
    changes: tuple[PlantedChange, ...] = ()


def write_sample(
    folder: Path,
    *,
    n_events: int = N_EVENTS,
    days: int = DAYS,
    seed: int = SEED,
    truth: Path | None = None,
    label_tables: bool | Sequence[str] = False,
    after_days: int = 0,
    changes: Sequence[str] = (),
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
        Write the labels as tables of their own, some taken back, instead of as columns of the payments: the names of
        `fraudctl.sample.verdicts.LABEL_TABLES`, or True for all five.
    after_days
        Days after the sample, at least 14, written as further files of the tables; 0 writes none. Labels are then those
        that had arrived by the end of these days, also of the sample's own events.
    changes
        What is planted there: names of `fraudctl.sample.CHANGES`, each alone or as ``NAME=WHEN`` with a day or the time
        since the end of the sample; ``none`` for nothing. By default all of them, one after the other, in the second
        half. Their truth is written to ``changes.json``.
    force
        Replace files that are there.

    Raises
    ------
    UsageError
        A file is already there and ``force`` was not given; or a change cannot be planted.
    """
    from fraudctl.data.outputs import whole_file, write_parquet, write_text
    from fraudctl.sample.verdicts import LABEL_TABLES

    progress = progress or Silent()
    weeks = plan_weeks(changes, days=days, after_days=after_days)
    verdicts = _label_tables(tuple(LABEL_TABLES) if label_tables is True else label_tables or ())
    names = ["transactions", "logins", *verdicts]
    tables = [folder / f"{name}.parquet" for name in names]
    later = [folder / f"{name}_after.parquet" for name in names] if after_days else []
    project_file, changes_file = folder / FILE_NAME, folder / "changes.json" if after_days else None
    targets = [*tables, *later, project_file, *(path for path in (truth, changes_file) if path is not None)]
    refuse_overwriting(targets, force=force)
    progress.stage(f"Making {n_events:,} events")
    made = _make(n_events, days, seed, weeks, verdicts=verdicts, progress=progress)
    with contextlib.ExitStack() as stack:  # all of them, or none; the project file gets its name last
        order = [project_file, *(path for path in targets if path != project_file)]
        hidden = {path: stack.enter_context(whole_file(path)) for path in order}
        for place, frame in zip([*tables, *later], [*made.tables, *made.later], strict=True):
            progress.stage(f"Writing {place.name}")
            _write(frame, hidden[place], progress, smallest=n_events <= N_EVENTS)
        if truth is not None:
            write_parquet(made.truth, hidden[truth])
        if changes_file is not None:
            write_text(json.dumps(as_json(weeks), indent=2) + "\n", hidden[changes_file])
        write_text(_proposed(made.whole(names), progress), hidden[project_file])
    return SampleResult(
        folder, tables[0], tables[1], project_file, truth, tuple(tables[2:]), made.n_events, made.n_frauds,
        tuple(later), changes_file, weeks.changes,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Made:
    """The tables in their order, further rows of each (or none at all), and the truth about frauds."""

    tables: list[pl.DataFrame]
    later: list[pl.DataFrame]
    truth: pl.DataFrame
    n_events: int
    n_frauds: int

    def whole(self, names: Sequence[str]) -> dict[str, pl.DataFrame]:
        """Return each table with its further rows, by the file or glob that reads both."""
        import polars as pl

        if not self.later:
            return {f"{name}.parquet": frame for name, frame in zip(names, self.tables, strict=True)}
        both = zip(names, self.tables, self.later, strict=True)
        return {f"{name}*.parquet": pl.concat([frame, more]) for name, frame, more in both}


def _label_tables(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the tables of labels in their order."""
    from fraudctl.sample.verdicts import LABEL_TABLES

    for name in names:
        if name not in LABEL_TABLES:
            msg = f"the sample has no table of labels named {name!r}; it has {', '.join(LABEL_TABLES)}"
            raise UsageError(msg, hint="name some of these, or True for all")
    return tuple(name for name in LABEL_TABLES if name in names)


def _make(
    n_events: int, days: int, seed: int, weeks: PlantedWeeks, *, verdicts: Sequence[str], progress: Progress
) -> _Made:
    """Make the sample, and the weeks after it."""
    import polars as pl

    from fraudctl.sample import STEPS, generate, generate_after
    from fraudctl.sample.draws import Draws
    from fraudctl.sample.verdicts import label_tables, later_label_tables

    def streams(name: str) -> Draws:
        return Draws(seed, name)

    made = generate(n_events=n_events, days=days, seed=seed, tell=Steps(progress, STEPS).begin)
    payments, truth = [made.transactions], [made.truth]
    tables, further = [made.transactions, made.logins], []
    if weeks.days:
        progress.stage(f"Making the {weeks.days} days after them")
        later = generate_after(weeks.days, weeks.planted(), n_events=n_events, days=days, seed=seed)
        payments, truth = [later.sample, later.transactions], [made.truth, later.truth]
        tables, further = [later.sample, made.logins], [later.transactions, later.logins]
    if verdicts and weeks.days:
        found, more = later_label_tables(made.transactions, made.truth, later, streams, names=verdicts)
        tables = [found.transactions, made.logins, *found.tables.values()]
        further = [more.transactions, later.logins, *more.tables.values()]
    elif verdicts:
        found = label_tables(made.transactions, made.truth, streams, names=verdicts)
        tables = [found.transactions, made.logins, *found.tables.values()]
    n_frauds = sum(int((frame["is_fraud"] == 1).sum()) for frame in payments)
    return _Made(tables, further, pl.concat(truth), sum(frame.height for frame in payments), n_frauds)


def plan_weeks(changes: Sequence[str], *, days: int, after_days: int) -> PlantedWeeks:
    """Read which changes are planted in the days after a sample, and from when.

    Texts are ``NAME``, ``NAME=2026-03-02`` or ``NAME=9w``, counted from the end of the sample. Without a day they share
    the second half; none at all are all of them, and ``none`` is nothing.

    Raises
    ------
    UsageError
        There is no such change, it is named twice, or its day is not within the days after.
    """
    from fraudctl.sample import CHANGES, START

    start = (START + timedelta(days=days)).date()
    if changes and not after_days:
        msg = "a change is planted in the weeks after the sample, and there are none"
        raise UsageError(msg, hint="--after 16w makes them")
    texts = [] if list(changes) == ["none"] or not after_days else list(changes or CHANGES)
    named = [text.partition("=") for text in texts]
    waiting = [name for name, _, when in named if not when]
    found = []
    for name, _, when in named:
        if name not in CHANGES or [item[0] for item in named].count(name) > 1:
            msg = f"--change {name}: expected each of {', '.join(CHANGES)} at most once, or none alone"
            raise UsageError(msg)
        share = 0.5 + 0.5 * waiting.index(name) / len(waiting) if not when else 0.0
        day = _day(name, when, start) if when else int(after_days * share)
        if not 0 < day < after_days:
            last = start + timedelta(days=after_days - 1)
            msg = f"--change {name}={when}: expected a day from {start + timedelta(days=1)} to {last}"
            raise UsageError(msg)
        found.append(PlantedChange(name, start + timedelta(days=day), CHANGES[name]))
    found.sort(key=lambda change: change.begins)
    return PlantedWeeks(start, start + timedelta(days=after_days), tuple(found))


def _day(name: str, when: str, start: date) -> int:
    """Return the day of a change, counted from ``start``."""
    from fraudctl.project.types import Duration

    with contextlib.suppress(ValueError):
        return (date.fromisoformat(when) - start).days
    with contextlib.suppress(ValueError):
        return Duration.parse(when).seconds // 86_400
    msg = f"--change {name}={when}: expected a day such as {start + timedelta(weeks=9)}, or a time such as 9w"
    raise UsageError(msg)


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
