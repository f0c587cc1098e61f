"""Counts of decisions by day, a piece of their files at a time; what was counted once is not read again.

A piece is counted on its own: its decisions, the events of these and the values that were logged with them. Its counts
are kept under everything that they follow from: the state of its file and of the files of its events, the reference and
the policy of the bundle, and which of its decisions count. Sums of money are added up exactly rounded, so
that they are the same in any order, counted now or before.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fraudctl.data.pieces import digest
from fraudctl.documents.sealed import canonical
from fraudctl.monitor.counts import Cells, DayCounts, added, count_days
from fraudctl.monitor.decisions import with_events
from fraudctl.monitor.reference import known_days, sum_decided
from fraudctl.monitor.taken import WIDE_BATCH, TakenPiece
from fraudctl.policy.bids import local_period
from fraudctl.workflows.reference import with_expected_cost

if TYPE_CHECKING:
    from fraudctl.arrays import BoolArray, FloatArray, IntArray
    from fraudctl.data.pieces import KeptPieces
    from fraudctl.monitor.reference import FrozenReference
    from fraudctl.workflows.watched import Watching

SUMS: Final = ("alerts", "expected_cost", "decided")
_SCHEMA: Final = {
    "entry": pl.String(), "day": pl.Int64(), "events": pl.Int64(), "cells": pl.Binary(),
    **dict.fromkeys(SUMS, pl.Float64()),
}  # fmt: skip
"""A row for each day of a piece; ``cells`` are 64-bit numbers, all columns one after the other; sums are null where the
costs of the policy cannot be read of a decision of the piece."""


@dataclass(frozen=True)
class PieceCounts:
    """Counts of the pieces of decisions.

    Attributes
    ----------
    watched
        The decisions with their pieces.
    reference
        What is counted.
    kept
        Counts of earlier runs.
    """

    watched: Watching
    reference: FrozenReference
    kept: KeptPieces

    def of(self, days: IntArray, inside: BoolArray) -> DayCounts:
        """Return the counts of days.

        Parameters
        ----------
        inside
            Decisions that are counted, shape ``(n_decisions,)``: all of them have their events in known chunks.
        """
        pieces = [piece for piece in self.watched.taken.pieces if inside[piece.rows].any()]
        entries = [self._entry(piece, inside[piece.rows]) for piece in pieces]
        name = f"counts-{self._about}"
        found = self.kept.read(name)
        before = pl.DataFrame(schema=_SCHEMA) if found is None else found[0]
        there = set(before["entry"].unique().to_list())
        missing = [(entry, piece) for entry, piece in zip(entries, pieces, strict=True) if entry not in there]
        with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
            counted = list(pool.map(lambda pair: self._count(pair[0], pair[1], inside), missing))
        rows = pl.concat([before.filter(pl.col("entry").is_in(entries)), *counted])
        lasting = rows.filter(pl.col("entry").str.starts_with("-").not_())
        if lasting.height and (missing or lasting.height < before.height):
            self.kept.write(name, lasting, {})
        return self._together(rows, days)

    @cached_property
    def _about(self) -> str:
        """Digest of all that counts of any piece follow from."""
        reference = hashlib.sha256(canonical(self.reference.to_dict())).hexdigest()
        policy = str(self.watched.bundle.manifest["files"]["policy.json"])
        return digest(reference, policy, [item.name for item in self._logged])

    def _entry(self, piece: TakenPiece, inside: BoolArray) -> str:
        """Return the name of the counts of a piece; one that begins with ``-`` is for this run alone."""
        chunks = [self.watched.events.names[number] for number in piece.events or ()]
        if piece.name is None or not all(chunks):
            return f"-{piece.start}"
        which = "all" if inside.all() else hashlib.sha256(np.packbits(inside).tobytes()).hexdigest()
        return digest(piece.name, chunks, which)

    @cached_property
    def _scored(self) -> list[Cells]:
        return [item for item in self.reference.watched if item.kind in ("score", "action")]

    @cached_property
    def _logged(self) -> list[Cells]:
        logged = self.watched.logged
        names = () if logged is None else logged.names
        return [item for item in self.reference.watched if item not in self._scored and item.name in names]

    @cached_property
    def _beside(self) -> list[Cells]:
        return [item for item in self.reference.watched if item not in self._scored and item not in self._logged]

    def _count(self, entry: str, piece: TakenPiece, inside: BoolArray) -> pl.DataFrame:
        """Count a piece."""
        own, zone = inside[piece.rows], self.reference.timezone
        frame = self._with_events(piece, own)
        first, last = local_period(frame["event_time"][[0, -1]], "day", zone).tolist()
        span = np.arange(first, last + 1)
        plain = count_days(frame, self._beside, timezone=zone, days=span)
        if self.watched.priced(frame):
            decided = sum_decided(
                with_expected_cost(frame, self.watched.policy), self._scored, timezone=zone, days=span
            )
        else:
            decided = count_days(frame.with_columns(score="y_prob"), self._scored, timezone=zone, days=span)
        cells = {**plain.cells, **decided.cells, **self._of_log(piece, own, span)}
        ordered = np.concatenate([cells[item.name] for item in self.reference.watched], axis=1).astype(np.int64)
        sums = {name: decided.sums.get(name, [None] * len(span)) for name in SUMS}
        columns = {"entry": [entry] * len(span), "day": span, "events": plain.events}
        return pl.DataFrame({**columns, "cells": [row.tobytes() for row in ordered], **sums}, schema=_SCHEMA)

    def _with_events(self, piece: TakenPiece, inside: BoolArray) -> pl.DataFrame:
        """Return decisions of a piece with their events, in the order of time."""
        columns = [*(item.name for item in self._beside if item.name != "hour"), *self.watched.policy.matrix.columns]
        wanted = list(dict.fromkeys(columns))
        events = [self.watched.events.chunk(number, wanted) for number in piece.events or ()]
        decided = self.watched.taken.rows(np.flatnonzero(inside) + piece.start)
        return with_events(decided, pl.concat(events, how="diagonal"), columns=wanted).frame

    def _of_log(self, piece: TakenPiece, inside: BoolArray, days: IntArray) -> Mapping[str, IntArray]:
        """Count the values that were logged with the decisions of a piece."""
        logged = self.watched.logged
        if logged is None or not self._logged:
            return {}
        time = self.watched.taken.blocks.frame(np.arange(piece.start, piece.stop), ["event_time"])
        total, start = None, 0
        for part in piece.piece.parts(WIDE_BATCH):
            batch = logged.of_piece(part, [item.name for item in self._logged])
            rows = slice(start, start + batch.height)
            start = rows.stop
            frame = batch.hstack(time[rows])
            if not inside[rows].all():
                frame = frame.filter(pl.Series(inside[rows]))
            found = count_days(frame, self._logged, timezone=self.reference.timezone, days=days)
            total = found if total is None else added(total, found)
        return {} if total is None else total.cells

    def _together(self, rows: pl.DataFrame, days: IntArray) -> DayCounts:
        """Add up the counts of pieces."""
        sizes = [item.n for item in self.reference.watched]
        ends = np.cumsum(sizes)
        total = np.zeros((len(days), int(ends[-1])), np.int64)
        known, events = np.zeros(len(sizes), dtype=np.bool_), np.zeros(len(days), np.int64)
        place = rows["day"].to_numpy() - int(days[0])
        for row, content, n in zip(place, rows["cells"], rows["events"], strict=True):
            cells = np.frombuffer(content, np.int64)
            known |= cells[ends - sizes] >= 0
            total[row] += np.maximum(cells, 0)
            events[row] += n
        found = {
            item.name: total[:, end - size : end] if there else np.full((len(days), size), -1, np.int64)
            for item, size, end, there in zip(self.reference.watched, sizes, ends, known, strict=True)
        }
        if rows["decided"].null_count():
            return DayCounts(days, events, found)
        return self._masked(DayCounts(days, events, found, _sums(rows, place, len(days))))

    def _masked(self, counts: DayCounts) -> DayCounts:
        """Return counts in which scores and actions of a day without a decision are not known."""
        cells = {item.name: counts.cells[item.name] for item in self._scored}
        masked = known_days(replace(counts, cells=cells))
        return replace(masked, cells={**counts.cells, **masked.cells})


def _sums(rows: pl.DataFrame, place: Sequence[int] | IntArray, n_days: int) -> Mapping[str, FloatArray]:
    """Return the exactly rounded sum of what pieces have of each day."""
    out = {}
    for name in SUMS:
        parts: dict[int, list[float]] = defaultdict(list)
        for row, value in zip(place, rows[name].to_list(), strict=True):
            parts[int(row)].append(value)
        out[name] = np.array([math.fsum(parts[row]) for row in range(n_days)])
    return out
