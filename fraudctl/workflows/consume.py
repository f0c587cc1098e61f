"""``consume``: decisions from topic to topic, each exactly once by its event id."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fraudctl.errors import FraudctlError, ProjectError, UsageError
from fraudctl.progress import Progress, Silent
from fraudctl.project import load_project
from fraudctl.text.figures import count
from fraudctl.workflows.score import open_model
from fraudctl.workflows.state import engine_on
from fraudctl.workflows.stream import DroppedOutcomes
from fraudctl.workflows.versions import CHAMPION

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from fraudctl.project.stream import StreamSection
    from fraudctl.scoring.consumed import Place
    from fraudctl.scoring.decider import Explained
    from fraudctl.scoring.engine import DecisionEngine
    from fraudctl.scoring.store import Store
    from fraudctl.stream.flow import Flow

METRICS_EVERY: Final = 5.0
"""Seconds between two versions of the file of metrics."""
_POLL: Final = 0.2
"""Seconds that a loop waits for a message, at most, before it looks for signals."""


@dataclass(frozen=True)
class Consuming:
    """What is read, by which model, on which state.

    Attributes
    ----------
    place
        Project file or its folder; its ``[stream]`` names the topics.
    state
        Folder that remembers; it belongs to this set of partitions from its first start on.
    model, expect
        Who decides, and the only version of it that may.
    new
        Whether a folder without a state begins empty.
    history, sources
        What a new state begins with, as for `build_state`.
    partitions
        Numbers of the partitions that the state takes, such as ``0-3,7``; None for all.
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


@dataclass(frozen=True)
class ConsumeResult:
    """What a run took and produced."""

    JSON = (
        "model", "policy", "events", "labels", "sources", "repeated", "dead_letters", "sent_again", "batches",
        "actions", "n_dropped as dropped", "behind", "offsets",
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
    with engine_on(
        model, consuming.state, new=consuming.new, history=consuming.history, sources=consuming.sources,
        with_features=consuming.with_features, explained=consuming.explained, durable=consuming.durable,
        progress=progress,
    ) as engine:  # fmt: skip
        run = _ConsumeRun(consuming, section, engine, progress)
        try:
            return run.run()
        finally:
            run.close()


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
    """One run: its clients, its loop, what it says."""

    def __init__(
        self, consuming: Consuming, section: StreamSection, engine: DecisionEngine, progress: Progress
    ) -> None:
        self._consuming, self._section, self._engine, self._progress = consuming, section, engine, progress
        self._before, self._dropped = dict(engine.live.counts), DroppedOutcomes.so_far(engine)
        self._compaction = None if engine.store is None else _Compaction(engine, engine.store, progress)
        self._told = self._written = 0.0
        self._total: int | None = None
        self._said: set[str] = set()
        self._flow: Flow | None = None

    def run(self) -> ConsumeResult:
        """Go on until a signal comes or the ends are reached."""
        flow = self._flow = self._open()
        flow.waiting = self._tick
        self._write_metrics()
        self._progress.stage("Consuming")
        with _stopped_by_signals(flow):
            flow.resend()
            while not flow.stopping and not flow.intake.done:
                flow.step(_POLL)
                self._tick()
        flow.commit()
        self._write_metrics()
        return self._result(flow)

    def _open(self) -> Flow:
        """Connect, and find out where to go on."""
        from confluent_kafka import Consumer, KafkaException, Producer

        from fraudctl.scoring.consumed import as_list
        from fraudctl.stream import topics
        from fraudctl.stream.codec import Codec
        from fraudctl.stream.flow import Flow
        from fraudctl.stream.intake import CONSUMER, Intake
        from fraudctl.stream.lag import Meter
        from fraudctl.stream.outbox import PRODUCER, Outbox

        given, section, engine = self._consuming, self._section, self._engine
        asked = None if given.partitions is None else topics.read_partitions(given.partitions)
        properties = topics.read_properties(given.properties)
        told = {"error_cb": self._warn}
        try:
            client = Consumer({
                **CONSUMER, **topics.settings(properties, section, "consumer"), "group.id": section.group, **told
            })  # fmt: skip
            producer = Producer({**PRODUCER, **topics.settings(properties, section, "producer"), **told})
        except KafkaException as error:
            msg = f"the settings of Kafka's client are refused: {error.args[0].str()}"
            raise UsageError(msg, hint="correct [stream], --properties or the FRAUDCTL_KAFKA_ variables") from error
        self._progress.stage("Looking at the topics")
        try:
            consumed = engine.live.consumed
            there = topics.partitions_of(client, [topic for _, topic in section.inputs()])
            whole, places = topics.chosen(consumed, there, asked)
            ends = topics.ends_of(client, places)
            starts = topics.starts_of(consumed, ends, latest=section.start == "latest")
            if starts:
                engine.note("assigned", whole, as_list(starts))
                engine.flush()
                self._progress.note(f"{count(len(starts), 'partition')} read for the first time")
            offsets, highs = {place: consumed.offsets[place] for place in places}, {p: ends[p][1] for p in places}
            codec = Codec(section, engine.champion.reader)
            intake = Intake(client, offsets, highs, codec, wait=section.wait_seconds, until_end=given.until_end)
        except BaseException:
            client.close()
            raise
        if given.until_end:
            self._total = sum(max(highs[place] - offset, 0) for place, offset in offsets.items())
        outbox = Outbox(producer, section.decisions, section.dead_letters)
        return Flow(
            engine, intake, codec, outbox, Meter(), dead_per_minute=section.dead_per_minute, ahead=given.ahead
        )  # fmt: skip

    def _warn(self, error: KafkaError) -> None:
        """Say what a client met; a broker that is away comes back, or the operator has to see to it."""
        if self._flow is not None:
            self._flow.intake.problems[error.name()] += 1
        self._warn_once(f"a broker: {error.name()}; it is tried again")

    def _warn_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._progress.warn(text)

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._told >= 1.0 and self._flow is not None:
            self._told, meter = now, self._flow.meter
            behind, dead = sum(self._flow.intake.behind().values()), meter.dead.total()
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
        if self._consuming.metrics is None or self._flow is None:
            return
        flow, engine = self._flow, self._engine
        text = flow.meter.text(
            flow.intake.behind(), engine.live.counts, now=time.time(), problems=flow.intake.problems
        )  # fmt: skip
        with whole_file(self._consuming.metrics, durable=False) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _result(self, flow: Flow) -> ConsumeResult:
        engine, decider = self._engine, self._engine.champion
        names = ("events", "labels", "sources", "repeated")
        now = {key: engine.live.counts[key] - self._before.get(key, 0) for key in names}
        return ConsumeResult(
            decider.model, decider.policy_version, **now,
            dead_letters=dict(flow.meter.dead), sent_again=flow.meter.sent_again, batches=flow.meter.batches,
            actions={action: engine.actions[action] for action in decider.policy.actions},
            dropped=DroppedOutcomes.so_far(engine).since(self._dropped), behind=sum(flow.intake.behind().values()),
            offsets=_named(engine.live.consumed.offsets),
        )  # fmt: skip

    def close(self) -> None:
        """Leave the brokers; wait for a compaction that runs."""
        if self._flow is not None:
            self._flow.intake.close()
        if self._compaction is not None:
            self._compaction.wait()


def _named(offsets: Mapping[Place, int]) -> dict[str, int]:
    return {str(place): offset for place, offset in sorted(offsets.items())}


@contextlib.contextmanager
def _stopped_by_signals(flow: Flow) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the run after the batch that has begun; signals reach the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        flow.stopping = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Compaction:
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
