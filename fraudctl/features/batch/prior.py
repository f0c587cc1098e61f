"""The fraud rate of all events, as of each, of events that are in parts: whole numbers are added up part by part.

An outcome changes the numbers of known outcomes and of frauds from an instant on: a step. Steps of some parts together
are as much as is in memory at a time, however outcomes arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from fraudctl.data.labels import spells
from fraudctl.features.batch.engine import PRIOR
from fraudctl.features.batch.groups import Array

STEP: Final = np.dtype([("time", np.int64), ("known", np.int64), ("frauds", np.int64)])


def outcome_steps(frame: pl.DataFrame) -> pl.DataFrame:
    """Return by how much events change the number of known outcomes and frauds, and from which instant on.

    Returns
    -------
    ``time`` (µs UTC: events at it or later count the change), ``known`` and ``frauds``, by row and change of label.
    """
    found = spells(frame)
    row, label = found["row"].to_numpy(), found["label"].cast(pl.Int64).to_numpy()
    again = np.append(False, row[1:] == row[:-1])[: len(row)]
    before = np.where(again, np.roll(label, 1), 0)
    happened = frame["event_time"].dt.epoch("us").to_numpy()[row]
    times = np.maximum(found["since"].dt.epoch("us").to_numpy(), happened + 1)
    return pl.DataFrame({"time": times, "known": (~again).astype(np.int64), "frauds": label - before})


@dataclass(frozen=True)
class PriorParts:
    """The rate of all events in files, one for each chunk of them."""

    folder: Path
    names: tuple[str, ...] = (PRIOR,)

    def columns(self, chunk: int, _names: Sequence[str]) -> pl.DataFrame:
        """Return the rate at the events of a chunk, by row; NaN before any outcome is known."""
        return pl.DataFrame({PRIOR: np.load(self.folder / f"prior{chunk}.npy")})


def write_prior(
    read: Callable[[int], pl.DataFrame], times: Callable[[int], Array], heights: Sequence[int], folder: Path, *,
    rows: int, tell: Callable[[int], None],
) -> PriorParts:  # fmt: skip
    """Compute what `Engine.known_fraud_rate` is, chunk by chunk.

    Parameters
    ----------
    read
        Gives ``event_time``, ``label``, ``label_time`` and, where labels were changed, all changes, of a chunk; chunks
        are in the order of time.
    times
        Gives µs of the events of a chunk.
    heights
        Rows of each chunk.
    folder
        Where the rates and, for the while, steps are written.
    rows
        So many events, of one chunk at least, and so many steps are in memory at a time.
    tell
        Hears how many rows are done; each is counted once.
    """
    groups = _groups(heights, rows)
    lasts = np.array([times(group[-1])[-1] for group in groups])
    half = 0
    for chunk, height in enumerate(heights):
        _write_steps(outcome_steps(read(chunk)), lasts, folder)
        half += height
        tell(half // 2)
    known = frauds = done = 0
    for number, group in enumerate(groups):
        at = np.concatenate([times(chunk) for chunk in group])
        n_known, n_frauds = _added(_steps_of(folder, number), at, rows)
        n_known[0] += known
        n_frauds[0] += frauds
        n_known, n_frauds = np.cumsum(n_known), np.cumsum(n_frauds)
        known, frauds = n_known[-1], n_frauds[-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = n_frauds / n_known
        _write_rates(rate, group, heights, folder)
        done += len(at)
        tell((half + done) // 2)
    return PriorParts(folder)


def _groups(heights: Sequence[int], rows: int) -> list[range]:
    """Return runs of chunks of at most so many rows, or of one chunk."""
    groups, first, held = [], 0, 0
    for chunk, height in enumerate(heights):
        if chunk > first and held + height > rows:
            groups.append(range(first, chunk))
            first, held = chunk, 0
        held += height
    return [*groups, range(first, len(heights))]


def _steps_of(folder: Path, group: int) -> Path:
    return folder / f"steps{group}.bin"


def _write_steps(steps: pl.DataFrame, lasts: Array, folder: Path) -> None:
    """Put each step with the first group that has an event which counts it; what comes after all counts nowhere."""
    steps, found = steps.sort("time"), np.empty(steps.height, STEP)
    for name in steps.columns:
        found[name] = steps[name].to_numpy()
    cuts = [0, *np.searchsorted(found["time"], lasts, side="right").tolist()]
    for group in np.flatnonzero(np.diff(cuts)).tolist():
        with _steps_of(folder, group).open("ab") as file:
            found[cuts[group] : cuts[group + 1]].tofile(file)


def _added(steps: Path, times: Array, rows: int) -> tuple[Array, Array]:
    """Return by how much outcomes and frauds grow at each event, from the event before it; the file is removed."""
    known, frauds = np.zeros(len(times), np.int64), np.zeros(len(times), np.int64)
    if not steps.exists():
        return known, frauds
    with steps.open("rb") as file:
        while len(piece := np.fromfile(file, STEP, count=rows)):
            at = np.searchsorted(times, piece["time"], side="left")
            np.add.at(known, at, piece["known"])
            np.add.at(frauds, at, piece["frauds"])
    steps.unlink()
    return known, frauds


def _write_rates(rate: Array, group: range, heights: Sequence[int], folder: Path) -> None:
    first = 0
    for chunk in group:
        np.save(folder / f"prior{chunk}.npy", rate[first : first + heights[chunk]])
        first += heights[chunk]
