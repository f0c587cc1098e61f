"""``consume``: decisions from topic to topic, each exactly once by its event id."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fraudctl.errors import ProjectError, UsageError
from fraudctl.progress import Progress, Silent
from fraudctl.project import load_project
from fraudctl.text.figures import count
from fraudctl.workflows.score import open_model
from fraudctl.workflows.shards import COUNTED, Shard, ShardTally
from fraudctl.workflows.steady import short_pauses
from fraudctl.workflows.stream import DroppedOutcomes
from fraudctl.workflows.versions import CHAMPION

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from fraudctl.project.stream import StreamSection
    from fraudctl.scoring.consumed import Place
    from fraudctl.scoring.decider import Explained
    from fraudctl.scoring.experiment import Experiment
    from fraudctl.stream.member import Member
    from fraudctl.workflows.score import Model

METRICS_EVERY: Final = 5.0
"""Seconds between two versions of the file of metrics."""
_POLL: Final = 0.2
"""Seconds that a loop waits for a message, at most, before it looks for signals."""
_IDLE: Final = 0.005
"""Seconds that a loop over several states waits where none had a message."""


@dataclass(frozen=True)
class Consuming:
    """What is read, by which model, on which state.

    Attributes
    ----------
    place
        Project file or its folder; its ``[stream]`` names the topics.
    state
        Folder that remembers; it belongs to this set of partitions from its first start on. Where the group assigns
        partitions, it holds such a folder for each, named by its number.
    model, expect
        Who decides, and the only version of it that may.
    new
        Whether a folder without a state begins empty.
    history, sources
        What a new state begins with, as for `build_state`.
    partitions
        Numbers of the partitions that the state takes, such as ``0-3,7``; None for all, or for those of the group.
    until_end
        Whether to stop where the topics ended at the start.
    properties
        File with settings of Kafka's clients.
    metrics
        File that gets metrics in Prometheus' text format.
    explained, with_features
        What answers hold.
    durable
        Whether each batch is flushed to the disk before it is produced.
    ahead
        Seconds that an event may lie ahead of the clock; None for any.
    experiment
        A control group that is let through; None for none. The cap of its loss is that of this state.
    """

    place: Path
    state: Path
    model: str = CHAMPION
    expect: str | None = None
    new: bool = False
    history: Sequence[str | Path] = ()
    sources: Mapping[str, Sequence[str | Path]] = field(default_factory=dict)
    partitions: str | None = None
    until_end: bool = False
    properties: Path | None = None
    metrics: Path | None = None
    explained: Explained = "alerts"
    with_features: bool = False
    durable: bool = False
    ahead: float | None = 3600.0
    experiment: Experiment | None = None


@dataclass(frozen=True)
class ConsumeResult:
    """What a run took and produced."""

    JSON = (
        "model", "policy", "events", "labels", "sources", "repeated", "dead_letters", "sent_again", "already_out",
        "waits_given_up", "batches", "actions", "n_dropped as dropped", "behind", "offsets",
    )  # fmt: skip

    model: str
    policy: str
    events: int
    labels: int
    sources: int
    repeated: int
    """Events that had been decided before, and got the same answer."""
    dead_letters: dict[str, int]
    """Messages that could not be taken, by the class of their error."""
    sent_again: int
    """Messages that the start produced again, because it was not known whether a broker had them."""
    already_out: int
    """Messages that were not produced, because the transaction with them had been committed before."""
    waits_given_up: int
    """Times that messages did not wait any longer for an earlier one of another partition."""
    batches: int
    actions: dict[str, int]
    dropped: DroppedOutcomes
    behind: int
    """Messages that are in the partitions and were not taken."""
    offsets: dict[str, int]
    """The next offset of each partition."""

    @property
    def n_dropped(self) -> int:
        """Outcomes that no feature counts."""
        return self.dropped.outcomes


def consume_topics(consuming: Consuming, *, progress: Progress | None = None) -> ConsumeResult:
    """Decide on the events of a topic until SIGTERM, or to its end, and produce the decisions.

    Parameters
    ----------
    consuming
        What is read, by which model, on which state.

    Raises
    ------
    ProjectError
        The project file has no ``[stream]``.
    UsageError
        The extra `kafka` is not installed, no broker answers, a topic is not there, other partitions are asked for than
        the state has, or the folder of the state cannot be had.
    DataError
        A broker no longer has the next offset, or more messages than allowed cannot be taken.
    BundleError
        The bundle or the state cannot be used.
    """
    require_package()
    progress = progress or Silent()
    project = load_project(consuming.place)
    if project.stream is None:
        msg = f"{project.path} has no [stream]"
        raise ProjectError(msg, hint="name events, decisions and dead_letters there; docs/stream.md shows a whole one")
    section = project.stream
    model = open_model(consuming.place, consuming.model, expect=consuming.expect, progress=progress)
    return _ConsumeRun(consuming, section, model, progress, root=project.root).run()


def require_package() -> None:
    """Refuse to begin without the extra `kafka`.

    Raises
    ------
    UsageError
        It is not installed.
    """
    if importlib.util.find_spec("confluent_kafka") is None:
        msg = "consuming needs confluent-kafka"
        raise UsageError(msg, hint="python -m pip install 'fraudctl[kafka]'")


class _ConsumeRun:
    """One run: its shards, its loop, what it says."""

    def __init__(
        self, consuming: Consuming, section: StreamSection, model: Model, progress: Progress, *, root: Path
    ) -> None:
        from fraudctl.stream import topics
        from fraudctl.stream.avro import AvroForm
        from fraudctl.stream.connect import Link
        from fraudctl.stream.lag import Meter

        self._consuming, self._section, self._model, self._progress = consuming, section, model, progress
        self._asked = None if consuming.partitions is None else topics.read_partitions(consuming.partitions)
        if self._asked is not None and section.assignment == "group":
            msg = "--partitions has no effect where the group assigns them"
            raise UsageError(msg, hint='leave it out, or write assignment = "manual" under [stream]')
        self._meter = Meter()
        self._link = Link(
            section, topics.read_properties(consuming.properties), self._meter, self._warn,
            until_end=consuming.until_end, ahead=consuming.ahead,
            forms={topic: AvroForm(root, topic, about) for topic, about in section.avro.items()},
        )  # fmt: skip
        self._told = self._written = 0.0
        self._total: int | None = None
        self._said: set[str] = set()
        self._problems, self._tally, self._behind_at_end, self._given_up = Counter[str](), ShardTally(), 0, 0
        self._shards: dict[int | None, Shard] = {}
        self._stopping = self._warmed = False
        self._steady = contextlib.ExitStack()

    def stop(self, *_: object) -> None:
        """End after the batch that has begun."""
        self._stopping = True
        for shard in self._shards.values():
            shard.flow.stopping = True

    def run(self) -> ConsumeResult:
        """Go on until a signal comes or the ends are reached."""
        self._progress.stage("Looking at the topics")
        with _stopped_by_signals(self), self._steady, contextlib.ExitStack() as stack:
            stack.push(self._abandon)
            if self._section.assignment == "group":
                self._as_member()
            else:
                self._alone()
            self._finish()
        return self._result()

    def _finish(self) -> None:
        """End what is still open."""
        self._write_metrics()
        self._behind_at_end = sum(self._behind().values())
        for key in tuple(self._shards):
            self._end(key)

    def _alone(self) -> None:
        shard = self._begin(None, self._consuming.state, self._asked)
        if self._consuming.until_end:
            self._total = shard.total
        self._write_metrics()
        self._progress.stage("Consuming")
        shard.flow.resend()
        while not shard.flow.stopping and not shard.flow.intake.done:
            shard.flow.step(_POLL)
            self._tick()

    def _as_member(self) -> None:
        """Take what the group assigns: a state for each partition, opened when it comes, closed before it goes."""
        from fraudctl.stream.member import Member

        member = Member(self._link, self._let_go)
        try:
            self._progress.stage("Joining the group")
            while not self._stopping and not self._all_done(member):
                took = self._open_assigned(member) + sum(shard.flow.step(0.0) for shard in self._shards.values())
                member.poll(0.0 if took else _IDLE)
                self._tick()
            self._finish()
        except BaseException:
            self._abandon(*sys.exc_info())  # before the group takes the partitions, which would end them in order
            raise
        finally:
            member.close()

    def _all_done(self, member: Member) -> bool:
        """Return whether everything that was assigned was taken up to its end; never without ``until_end``."""
        whole = member.assigned and self._shards.keys() == member.numbers
        return self._consuming.until_end and whole and all(item.flow.intake.done for item in self._shards.values())

    def _open_assigned(self, member: Member) -> int:
        """Open the state of one partition that was assigned, unless its last owner still writes it; say how many."""
        from fraudctl.scoring.store import StateInUseError

        for number in sorted(member.numbers - self._shards.keys()):
            folder = self._consuming.state / str(number)
            try:
                shard = self._begin(number, folder, frozenset({number}), member=member)
            except StateInUseError as error:
                self._warn_once(f"{error.message}; it is tried again")
                continue
            shard.flow.resend()
            return 1
        return 0

    def _begin(
        self, key: int | None, folder: Path, partitions: frozenset[int] | None, *, member: Member | None = None
    ) -> Shard:
        shard = Shard(self._consuming, self._model, folder, self._progress, seeded=member is not None)
        try:
            first = shard.connect(self._link, partitions, member, self._tick)
        except BaseException:
            shard.abandon(*sys.exc_info())
            raise
        self._shards[key] = shard
        self._warm(shard)
        if first:
            self._progress.note(f"{count(first, 'partition')} read for the first time")
        return shard

    def _warm(self, shard: Shard) -> None:
        """Load the loops before the first message, once for all shards: each would hold up the first that needs it."""
        if not self._warmed:
            shard.engine.live.warm()
            self._steady.enter_context(short_pauses())
            self._warmed = True
        shard.engine.live.index()

    def _end(self, key: int | None) -> None:
        """Finish with a shard: its offsets go to the group, its state to the disk."""
        shard = self._shards.pop(key)
        self._problems.update(shard.flow.intake.problems)
        self._given_up += shard.flow.intake.waits_given_up
        shard.end(snapshot=key is not None)
        self._tally.take(shard)

    def _let_go(self, gone: frozenset[int]) -> None:
        for key in gone & self._shards.keys():
            self._end(key)

    def _result(self) -> ConsumeResult:
        decider, tally, meter = self._model.decider, self._tally, self._meter
        return ConsumeResult(
            decider.model, decider.policy_version, **{name: tally.counts[name] for name in COUNTED},
            dead_letters=dict(meter.dead), sent_again=meter.sent_again, already_out=meter.already_out,
            waits_given_up=self._waits_given_up(), batches=meter.batches,
            actions={action: tally.actions[action] for action in decider.policy.actions},
            dropped=tally.dropped, behind=self._behind_at_end, offsets=dict(sorted(tally.offsets.items())),
        )  # fmt: skip

    def _abandon(self, *error: Any) -> None:
        """Close what is left after an error, writing nothing more than was written."""
        for shard in self._shards.values():
            shard.abandon(*error)
        self._shards.clear()

    def _warn(self, error: KafkaError) -> None:
        """Say what a client met; a broker that is away comes back, or the operator has to see to it."""
        self._problems[error.name()] += 1
        self._warn_once(f"a broker: {error.name()}; it is tried again")

    def _warn_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._progress.warn(text)

    def _behind(self) -> dict[Place, int]:
        return {place: n for shard in self._shards.values() for place, n in shard.flow.intake.behind().items()}

    def _waits_given_up(self) -> int:
        found = self._given_up + sum(shard.flow.intake.waits_given_up for shard in self._shards.values())
        if found:
            self._warn_once(
                "messages no longer waited for earlier ones of another partition (wait_seconds): what comes late is "
                "not in the features of those before it"
            )
        return found

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._told >= 1.0:
            self._told, meter = now, self._meter
            behind, dead = sum(self._behind().values()), meter.dead.total()
            self._waits_given_up()
            note = f"{behind:,} behind" + (f", {count(dead, 'dead letter')}" if dead else "")
            self._progress.update(meter.messages, self._total, note)
        if now - self._written >= METRICS_EVERY:
            try:
                self._write_metrics()
            except UsageError as error:  # what cannot be shown stops no decision
                self._warn_once(error.message)

    def _write_metrics(self) -> None:
        from fraudctl.data.outputs import whole_file

        self._written = time.monotonic()
        if self._consuming.metrics is None:
            return
        counts, problems = Counter[str](), Counter(self._problems)
        for shard in self._shards.values():
            counts.update(shard.engine.live.counts)
            problems.update(shard.flow.intake.problems)
        text = self._meter.text(
            self._behind(), counts, now=time.time(), problems=problems, waits_given_up=self._waits_given_up()
        )
        with whole_file(self._consuming.metrics, durable=False) as temporary:
            temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _stopped_by_signals(run: _ConsumeRun) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the run after the batch that has begun; signals reach the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = {number: signal.signal(number, run.stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
