"""From a state and the topics of a stream to a flow that is ready: clients, partitions, offsets, the way out.

Owns which client reads, which produces, and which speaks for the group. A state reads its partitions by manual
assignment, also where a group says which partitions these are: then a member of the group speaks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from fraudctl.errors import UsageError
from fraudctl.scoring import wire
from fraudctl.scoring.consumed import Place, as_list
from fraudctl.stream import topics, transactions
from fraudctl.stream.codec import Codec
from fraudctl.stream.entries import EntryReader
from fraudctl.stream.flow import Flow
from fraudctl.stream.intake import CONSUMER, Intake
from fraudctl.stream.lag import Meter
from fraudctl.stream.outbox import PRODUCER, Outbox

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer

    from fraudctl.project import Project
    from fraudctl.project.stream import StreamSection
    from fraudctl.scoring.engine import DecisionEngine
    from fraudctl.stream.avro import AvroForm

T = TypeVar("T")


@dataclass(frozen=True)
class Link:
    """How to reach the brokers, and what to do with the topics.

    Attributes
    ----------
    section
        ``[stream]``.
    properties
        Settings of Kafka's clients.
    meter
        Counts what all flows of a run do.
    warn
        Gets errors of brokers that pass.
    until_end
        Whether to stop where the topics ended at the start.
    ahead
        Seconds that an event may lie ahead of the clock; None for any.
    forms
        Topic -> its form in Avro.
    """

    section: StreamSection
    properties: Mapping[str, str]
    meter: Meter
    warn: Callable[[KafkaError], object]
    until_end: bool = False
    ahead: float | None = None
    forms: Mapping[str, AvroForm] = field(default_factory=dict)

    def consumer(self, base: Mapping[str, Any] | None = None) -> Consumer:
        """Return a consumer without an assignment.

        Raises
        ------
        UsageError
            Its settings are refused.
        """
        from confluent_kafka import Consumer

        given = topics.settings(self.properties, self.section, "consumer")
        return _made(Consumer, {**(base or CONSUMER), **given, "group.id": self.section.group}, self.warn)

    def producer(self, transactional: str | None) -> Producer:
        """Return an idempotent producer; with a transactional id, one that has to be begun.

        Raises
        ------
        UsageError
            Its settings are refused.
        """
        from confluent_kafka import Producer

        given = topics.settings(self.properties, self.section, "producer")
        if transactional is None:
            return _made(Producer, {**PRODUCER, **given}, self.warn)
        own = {"enable.idempotence": True, "transactional.id": transactional}
        return _made(Producer, {**transactions.PRODUCER, **given, **own}, self.warn)


def _made(
    kind: Callable[[dict[str, object]], T], settings: Mapping[str, object], warn: Callable[[KafkaError], object]
) -> T:
    from confluent_kafka import KafkaException

    try:
        return kind({**settings, "error_cb": warn})
    except KafkaException as error:
        msg = f"the settings of Kafka's client are refused: {error.args[0].str()}"
        raise UsageError(msg, hint="correct [stream], --properties or the FRAUDCTL_KAFKA_ variables") from error


@dataclass(frozen=True)
class Opened:
    """A flow, and what its opening found.

    Attributes
    ----------
    flow
        Ready to resend what may not be out, and to take batches.
    first
        Number of partitions that are read for the first time.
    total
        Messages up to the ends.
    """

    flow: Flow
    first: int
    total: int


def connect(
    engine: DecisionEngine, link: Link, partitions: Collection[int] | None, *, member: Consumer | None = None
) -> Opened:
    """Find out where a state goes on, and connect it.

    Parameters
    ----------
    engine
        On a state with a store.
    partitions
        Numbers that are asked for; None where none are.
    member
        The consumer that speaks for the group; by default the one that reads.

    Raises
    ------
    UsageError
        No broker answers, a topic is not there, or other partitions are asked for than the state has.
    DataError
        A broker no longer has the next offset.
    """
    client = link.consumer()
    try:
        return _connected(engine, link, partitions, client, member or client)
    except BaseException:
        client.close()
        raise


def _connected(
    engine: DecisionEngine, link: Link, partitions: Collection[int] | None, client: Consumer, member: Consumer
) -> Opened:
    section, consumed = link.section, engine.live.consumed
    there = topics.partitions_of(client, [topic for _, topic in section.inputs()])
    whole, places = topics.chosen(consumed, there, partitions)
    ends = topics.ends_of(client, places)
    starts = topics.starts_of(consumed, ends, latest=section.start == "latest")
    outbox = _outbox(link, client, member, places, whole=whole)
    if starts:
        engine.note("assigned", whole, as_list(starts))
        engine.flush()
    offsets, highs = {place: consumed.offsets[place] for place in places}, {place: ends[place][1] for place in places}
    codec = Codec(section, engine.champion.reader, entries=_entries(section, engine.champion.project), avro=link.forms)
    intake = Intake(client, offsets, highs, codec, wait=section.wait_seconds, until_end=link.until_end)
    flow = Flow(
        engine, intake, codec, outbox, link.meter, dead_per_minute=section.dead_per_minute, ahead=link.ahead
    )  # fmt: skip
    return Opened(flow, len(starts), sum(max(highs[place] - offset, 0) for place, offset in offsets.items()))


def _entries(section: StreamSection, project: Project) -> dict[str, EntryReader]:
    """Return what reads the topics with rows of tables of labels.

    Raises
    ------
    UsageError
        The model was trained without one of the tables.
    """
    lacking = section.label_tables.keys() - project.labels.tables.keys()
    if lacking:
        msg = f"stream.labels.{min(lacking)}: the model was trained without that table"
        raise UsageError(msg, hint="train a model with it, or leave its topic out")
    return {topic: EntryReader(project, name) for name, topic in section.label_tables.items()}


def _encoded(form: AvroForm | None) -> Callable[[bytes], bytes] | None:
    return None if form is None else lambda answer: form.write(wire.loads(answer))


def _outbox(link: Link, client: Consumer, member: Consumer, places: list[Place], *, whole: bool) -> Outbox:
    found = _way_out(link, client, member, places, whole=whole)
    found.encode = _encoded(link.forms.get(link.section.decisions))
    return found


def _way_out(link: Link, client: Consumer, member: Consumer, places: list[Place], *, whole: bool) -> Outbox:
    section = link.section
    if section.exactly_once == "event_id":
        held = frozenset(places)
        return Outbox(
            link.producer(None), section.decisions, section.dead_letters,
            lambda offsets: topics.commit(member, {place: at for place, at in offsets.items() if place in held}),
        )  # fmt: skip
    numbers = None if whole else sorted({place.partition for place in places})
    found = transactions.Transactions(
        link.producer(transactions.named(section.group, section.events, numbers)), section.decisions,
        section.dead_letters, member.consumer_group_metadata, link.meter.transactions,
    )  # fmt: skip
    found.begin(lambda: topics.committed(client, places))
    return found
