"""``init``: from data to a commented project file."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.documents.results import as_json
from fraudctl.errors import DataError, ProjectError
from fraudctl.progress import Progress, Silent, Steps
from fraudctl.project import FILE_NAME, Project, parse_project
from fraudctl.text.plain import shown
from fraudctl.workflows.definitions import load_definitions
from fraudctl.workflows.measure import measured
from fraudctl.workflows.sample import refuse_overwriting

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.data.tables import Events
    from fraudctl.documents.types import JsonObject
    from fraudctl.power import FoldPower, Power
    from fraudctl.propose import Flags, GivenTable, Proposal
    from fraudctl.split import Periods


@dataclass(frozen=True)
class InitResult:
    """The project file that was written, and the proposal behind it."""

    path: Path
    proposal: Proposal
    power: Power
    """What the test period of the project can show."""
    folds: FoldPower
    """What the folds can show that settings and policy are chosen on."""

    @property
    def notes(self) -> list[str]:
        """What the reader should know before trusting the file."""
        notes = [*self.proposal.notes]
        if self.power.severity is not None:
            notes.append(f"{self.power.sentence}. What helps: {self.power.hint}")
        if self.folds.few or self.power.severity == "warning":
            notes.append(self.folds.sentence)
        return notes

    def to_dict(self) -> JsonObject:
        """Return the result as the document of ``init --json``."""
        return {
            "project_file": str(self.path),
            **self.proposal.to_dict(),
            "notes": self.notes,
            "test_period": as_json(self.power),
        }


def init_project(
    data: list[str],
    *,
    place: Path,
    flags: Flags,
    measure: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> InitResult:
    """Look at the data, propose a project, and write its file.

    Parameters
    ----------
    data
        Files, globs or folders of the events table, relative to the working directory.
    place
        The project file to write, or its folder.
    flags
        What the user has settled.
    measure
        Fit models with and without further features on earlier periods, and propose those that pay in later ones.

    Raises
    ------
    UsageError
        The file exists and ``force`` was not given, or the data leave a choice that a flag must settle.
    DataError
        The data are missing, unreadable or unusable, or the proposed file would not fit them.
    """
    from fraudctl.checks import left_out_note
    from fraudctl.data import outputs, tables
    from fraudctl.disk import stores
    from fraudctl.normal import lake
    from fraudctl.propose import Questions, look, parse_labels, parse_sources, propose, render_project

    progress = progress or Silent()
    path = (place if place.suffix == ".toml" else place / FILE_NAME).resolve()
    refuse_overwriting([path], force=force)
    lake.begin()
    stores.begin(stores.Settings(), path.parent / ".fraudctl" / "objects")
    files = tables.find_files(tuple(data), root=Path.cwd(), what="DATA")
    beside = {
        name: (tables.scan(tables.find_files(text, root=Path.cwd(), what=f"--source {name}")), [_seen_from(path, text)])
        for name, text in parse_sources(flags.sources).items()
    }
    events = tuple(_seen_from(path, text) for text in data)
    progress.stage("Reading the data")
    questions = Questions()
    found = look(files, flags, questions)
    proposal = propose(
        found.raw, events=events, name=path.parent.name, flags=flags, sources=beside, reading=found,
        labels=_label_tables(parse_labels(flags.labels), flags, path), questions=questions, progress=progress,
    )  # fmt: skip
    left = tables.left_behind(tuple(data), root=Path.cwd())
    if left:
        proposal = replace(proposal, notes=(*proposal.notes, left_out_note(left)))
    sources = parse_sources(flags.sources) | parse_labels(flags.labels)

    read: dict[int, tuple[Proposal, Project]] = {}

    def parsed(shape: Proposal) -> Project:
        if id(shape) not in read:  # each is kept, so that its id stays its own
            read[id(shape)] = shape, _found_here(parse_project(render_project(shape), path=path), files, sources)
        return read[id(shape)][1]

    progress.stage("Holding the proposal against all rows")
    proposal, power, folds = _tried(proposal, parsed, found.raw, Steps(progress, 4))
    if measure and proposal.extras:
        proposal = measured(proposal, parsed, found.raw, progress)
    outputs.write_text(render_project(proposal), path)
    return InitResult(path, proposal, power, folds)


def _label_tables(given: dict[str, str], flags: Flags, path: Path) -> dict[str, GivenTable]:
    """Open tables of labels, with the notation that their files are found to have."""
    from fraudctl.data import tables
    from fraudctl.propose import Flags, GivenTable, Questions, look

    out, own = {}, Flags(random_split=True, time_formats=flags.time_formats)
    for name, text in given.items():
        files = tables.find_files(text, root=Path.cwd(), what=f"--labels {name}")
        found = look(files, own, Questions())
        out[name] = GivenTable(found.raw, (_seen_from(path, text),), found)
    return out


def _tried(
    proposal: Proposal, parsed: Callable[[Proposal], Project], raw: pl.LazyFrame, steps: Steps
) -> tuple[Proposal, Power, FoldPower]:
    """Return a proposal that can be trained, and what its test period can show.

    The proposal is held against all that it reads. Where the history is too short for the default test period, the
    proposal gets another one.

    Raises
    ------
    ProjectError, DataError
        It does not fit: with the reason, and the flag that leaves a column out.
    """
    from fraudctl.data import tables
    from fraudctl.data.entries import load_entries
    from fraudctl.power import power_of

    try:
        project = parsed(proposal)
        found = load_definitions(project)
        steps.begin("reading events")
        raw = tables.own_form(project).numbered(raw)
        tables.require_columns(
            tables.wanted_columns(project, found.carried), raw.collect_schema(), where=tables.place(found.files)
        )
        entries = load_entries(project)
        loaded = tables.normalise(raw, project=project, files=found.files, columns=(), entries=entries, ordered=False)
        steps.begin("reading other tables")
        found.load_sources(ordered=False)
        steps.begin("dividing the time")
        chosen, folds = _divided(proposal, parsed, loaded)
        steps.begin("counting frauds of the test period")
        return chosen, power_of(loaded.frame, parsed(chosen), known_until=loaded.newest), folds
    except (ProjectError, DataError) as error:
        msg = f"no file is written, for it would not fit the data: {error.message}"
        told = [name for name in raw.collect_schema() if shown(name) in error.message]
        leave = f"--ignore {shlex.quote(told[0])} leaves the column out" if told else None
        raise type(error)(msg, hint="; ".join(filter(None, [error.hint, leave])) or None) from error


def _divided(proposal: Proposal, parsed: Callable[[Proposal], Project], loaded: Events) -> tuple[Proposal, FoldPower]:
    """Return the proposal with the first division that leaves something to train and to validate on, and its folds.

    Raises
    ------
    DataError
        There is none: with the reason for the default division.
    """
    from fraudctl.power import FoldPower
    from fraudctl.split import make_split

    refused: DataError | None = None
    for shape in _divisions(proposal, parsed, loaded):
        try:
            split = make_split(loaded.frame, parsed(shape), known_until=loaded.newest)
        except DataError as error:
            refused = refused or error
        else:
            return shape, FoldPower.of(split, loaded.frame)
    raise refused or DataError("there are no events to train on")


def _divisions(proposal: Proposal, parsed: Callable[[Proposal], Project], loaded: Events) -> Iterator[Proposal]:
    """Yield the proposal as it is, then with other test periods, or with fewer random folds."""
    from fraudctl.split import periods

    if proposal.clock is None:
        yield proposal
        yield replace(proposal, folds=2)
        return
    usual = periods(loaded.frame, parsed(proposal), known_until=loaded.known_until)
    yield from _with_enough_frauds(proposal, loaded, usual)
    yield proposal
    hours = (usual.test_until - usual.as_of) // timedelta(hours=1)
    for part in (3 / 4, 1 / 2, 1 / 4, 3 / 2, 1 / 8, 2, 1 / 16):
        wanted = math.floor(hours * part)
        if wanted:
            yield replace(proposal, test=_length(wanted), test_reason=_LEAVES_NOTHING)


ENOUGH = 300
"""Frauds that a gate asks for."""
_LEAVES_NOTHING = "with the default, the history leaves nothing to validate on"


def _with_enough_frauds(proposal: Proposal, loaded: Events, usual: Periods) -> Iterator[Proposal]:
    """Yield the shortest test periods that hold enough frauds, where the default holds fewer; the most frauds first.

    Enough are 300, as a gate asks for, or a third of all.
    """
    frame = loaded.frame
    times = frame.filter((frame["label"] == 1) & (frame["event_time"] < usual.test_until))["event_time"].sort()
    wanted = min(ENOUGH, math.ceil(len(times) / 3))
    if len(times) < 3 or int((times >= usual.as_of).sum()) >= wanted:
        return
    for share in (1.0, 0.75, 0.5, 0.25):
        n_frauds = max(1, math.ceil(share * wanted))
        hours = math.ceil((usual.test_until - times[len(times) - n_frauds]) / timedelta(hours=1))
        if hours <= 0:
            continue
        reason = f"the shortest that holds {n_frauds:,} of the {len(times):,} frauds"
        for folds in (3, 2, 1):
            yield replace(proposal, test=_length(hours + 23 if hours >= 24 else hours), test_reason=reason, folds=folds)


def _length(hours: int) -> str:
    return f"{hours // 24}d" if hours >= 24 else f"{hours}h"


def _found_here(project: Project, files: list[str], others: dict[str, str]) -> Project:
    """Return the project with the files that were found, for its folder may not be there yet."""
    places = {name: str(Path.cwd() / text) if "://" not in text else text for name, text in others.items()}
    beside = {name: table.model_copy(update={"events": places[name]}) for name, table in project.sources.items()}
    verdicts = project.labels.tables.items()
    labels = {name: table.model_copy(update={"events": places[name]}) for name, table in verdicts}
    data = project.data.model_copy(update={"events": tuple(files)})
    told = project.labels.model_copy(update={"tables": labels})
    return project.model_copy(update={"data": data, "sources": beside, "labels": told})


def _seen_from(project_file: Path, text: str) -> str:
    """Return a path of the working directory as it is to stand in the project file."""
    return text if "://" in text else os.path.relpath(Path.cwd() / text, project_file.parent)
