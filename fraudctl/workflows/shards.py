"""A shard of a stream: one state with its engine, its flow between topics, and its end.

Owns the order in which a shard ends: what it did goes to the group, its clients leave, its log and its snapshot are
written, its folder is free for the next owner.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.errors import FraudctlError
from fraudctl.progress import Progress
from fraudctl.workflows.state import engine_on, has_state, save_state
from fraudctl.workflows.stream import DroppedOutcomes

if TYPE_CHECKING:
    from fraudctl.scoring.engine import DecisionEngine
    from fraudctl.scoring.store import Store
    from fraudctl.stream.connect import Link
    from fraudctl.stream.flow import Flow
    from fraudctl.stream.member import Member
    from fraudctl.workflows.consume import Consuming
    from fraudctl.workflows.score import Model

COUNTED = ("events", "labels", "sources", "repeated")


class Shard:
    """One state of a stream, from its opening to its end.

    Parameters
    ----------
    consuming
        What a state begins with, and how it answers.
    model
        Who decides.
    folder
        The state.
    seeded
        Whether history is for a folder without a state alone, and not a mistake elsewhere.
    """

    flow: Flow
    total = 0
    """Messages up to the ends."""

    def __init__(
        self, consuming: Consuming, model: Model, folder: Path, progress: Progress, *, seeded: bool = False
    ) -> None:
        history = () if seeded and has_state(folder) else consuming.history
        self._stack = contextlib.ExitStack()
        self.engine: DecisionEngine = self._stack.enter_context(engine_on(
            model, folder, new=consuming.new, history=history, sources=consuming.sources if history else {},
            with_features=consuming.with_features, explained=consuming.explained, durable=consuming.durable,
            experiment=consuming.experiment, progress=progress,
        ))  # fmt: skip
        self._compaction = None if self.engine.store is None else Compaction(self.engine, self.engine.store, progress)
        self._before, self._dropped = dict(self.engine.live.counts), DroppedOutcomes.so_far(self.engine)
        self._connected = False

    def connect(
        self, link: Link, partitions: frozenset[int] | None, member: Member | None, waiting: Callable[[], object]
    ) -> int:
        """Connect to the topics; say how many partitions are read for the first time."""
        from fraudctl.stream.connect import connect

        opened = connect(self.engine, link, partitions, member=None if member is None else member.client)
        self.flow, self.total, self._connected = opened.flow, opened.total, True
        self.flow.waiting = waiting
        return opened.first

    def end(self, *, snapshot: bool) -> None:
        """Bring the group up to here, leave the brokers, and write the state.

        Parameters
        ----------
        snapshot
            Whether a snapshot is written in any case, so that the next owner need not replay the log.
        """
        with self._stack:
            self.flow.commit()
            self._leave()
            self.engine.flush()
            if self.engine.store is not None:
                save_state(self.engine.store, self.engine.live, always=snapshot)

    def abandon(self, *error: Any) -> None:
        """Leave after an error: what is in the log is there, and nothing else is written."""
        try:
            self._leave()
        finally:
            self._stack.__exit__(*error)

    def _leave(self) -> None:
        if self._connected:
            self.flow.intake.close()
        if self._compaction is not None:
            self._compaction.wait()

    def counts(self) -> dict[str, int]:
        """Return what was taken in since the opening."""
        return {key: self.engine.live.counts[key] - self._before.get(key, 0) for key in COUNTED}

    def dropped(self) -> DroppedOutcomes:
        """Return the outcomes since the opening that no feature counts."""
        return DroppedOutcomes.so_far(self.engine).since(self._dropped)


class ShardTally:
    """What shards did that have ended.

    Attributes
    ----------
    counts
        Events, labels, sources and repeated events.
    actions
        Decisions by action.
    dropped
        Outcomes that no feature counts.
    wait_days
        How long an event waits for its outcome.
    offsets
        The next offset of each partition.
    """

    def __init__(self) -> None:
        self.counts, self.actions = Counter[str](), Counter[str]()
        self.dropped = DroppedOutcomes(0, 0.0)
        self.offsets: dict[str, int] = {}

    def take(self, shard: Shard) -> None:
        """Add a shard."""
        engine, dropped = shard.engine, shard.dropped()
        self.counts.update(shard.counts())
        self.actions.update(engine.actions)
        self.dropped = DroppedOutcomes(self.dropped.outcomes + dropped.outcomes, dropped.wait_days)
        self.offsets.update({str(place): offset for place, offset in engine.live.consumed.offsets.items()})


class Compaction:
    """Closes log segments as they grow, and lets another process bring the snapshot forward through them.

    Parameters
    ----------
    engine
        Calls it after every so many records.
    store
        Its store.
    """

    def __init__(self, engine: DecisionEngine, store: Store, progress: Progress) -> None:
        self._engine, self._store, self._progress = engine, store, progress
        self._running: subprocess.Popen[bytes] | None = None
        engine.roll = self.begin

    def begin(self) -> None:
        """Begin a new segment; where that cannot be done, the old one goes on, and the operator is told."""
        if self._running is not None and self._running.poll() is None:
            return
        self._end()
        try:
            self._store.rotate()
        except FraudctlError as error:
            self._progress.warn(error.message)
            return
        self._engine.live.answers.rotated()
        command = [sys.executable, "-m", "fraudctl", "state", "compact", str(self._store.folder), "--quiet", "--json"]
        self._running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603

    def wait(self) -> None:
        """Wait for the process that runs, if one does."""
        if self._running is not None:
            self._running.wait()
            self._end()

    def _end(self) -> None:
        if self._running is None:
            return
        if self._running.returncode:
            told = f"`fraudctl state compact` ended with {self._running.returncode}; the log goes on growing"
            self._progress.warn(f"{told}; run it by hand to see why")
        else:
            self._engine.live.answers.exported()
        self._running = None
