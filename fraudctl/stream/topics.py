"""Settings of Kafka's clients, and which partitions a state reads from which offset on.

Owns what stands between the project file and a broker: settings and secrets (a properties file, variables of the
environment), the set of partitions that belongs to a state, and the refusal of offsets that a broker no longer has.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fraudctl.errors import DataError, UsageError
from fraudctl.scoring.consumed import Consumed, Place
from fraudctl.text.figures import length

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from fraudctl.project.stream import StreamSection

ENVIRONMENT: Final = "FRAUDCTL_KAFKA_"
"""``FRAUDCTL_KAFKA_SASL_PASSWORD`` sets ``sasl.password``."""
OWNED: Final = frozenset({
    "group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset", "enable.partition.eof",
    "enable.idempotence", "transactional.id", "enable.gapless.guarantee", "partition.assignment.strategy",
})  # fmt: skip
"""Settings that the promises rest on: nobody else sets them."""
SECONDS: Final = 15.0
"""How long a broker may take to say what it has, at the start."""
_AGAIN: Final = 0.2
_NO_LEADER: Final = frozenset({"NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE"})
CHANGED: Final = (
    "nothing is skipped in silence: build a state from history that has what was lost (`fraudctl state build`)"
)


def read_properties(path: Path | None, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return settings of Kafka's clients from a properties file and from the environment, which comes last.

    Parameters
    ----------
    path
        Lines ``key=value``; lines that begin with # say nothing.
    environment
        By default that of the process.

    Raises
    ------
    UsageError
        The file cannot be read, a line is no setting, or a setting is one that fraudctl owns.
    """
    found: dict[str, str] = {}
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{path} cannot be read: {type(error).__name__}"
            raise UsageError(msg) from error
        for number, line in enumerate(map(str.strip, lines), start=1):
            if line and not line.startswith("#"):
                key, sign, value = line.partition("=")
                if not sign or not key.strip():
                    msg = f"{path}, line {number}: expected key=value"
                    raise UsageError(msg)
                found[key.strip()] = value.strip()
    for name, value in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT):
            found[name.removeprefix(ENVIRONMENT).lower().replace("_", ".")] = value
    for key in found:
        if key.removeprefix("consumer.").removeprefix("producer.") in OWNED:
            msg = f"the setting {key} is fraudctl's own: exactly-once decisions rest on it"
            raise UsageError(msg, hint="leave it out; the group is named in [stream]")
    return found


def settings(properties: Mapping[str, str], section: StreamSection, part: str) -> dict[str, str]:
    """Return the settings of the ``consumer`` or the ``producer``: properties of that name, or of none.

    Raises
    ------
    UsageError
        No broker is named.
    """
    other = {"consumer": "producer.", "producer": "consumer."}[part]
    own = {key.removeprefix(f"{part}."): value for key, value in properties.items() if not key.startswith(other)}
    found = ({} if section.bootstrap is None else {"bootstrap.servers": section.bootstrap}) | own
    if not found.get("bootstrap.servers"):
        msg = "no broker is named"
        raise UsageError(msg, hint='write brokers = "host:9092" under [stream], or bootstrap.servers in --properties')
    return found


def read_partitions(text: str) -> frozenset[int]:
    """Read ``0-3,7`` as a set of partitions.

    >>> sorted(read_partitions("0-2,7"))
    [0, 1, 2, 7]

    Raises
    ------
    UsageError
        It is no such list.
    """
    found: set[int] = set()
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            low, high = int(first), int(last or first)
            if not 0 <= low <= high < 100_000:
                raise ValueError
            found.update(range(low, high + 1))
    except ValueError:
        msg = "--partitions: expected numbers and ranges, such as 0-3,7"
        raise UsageError(msg) from None
    return frozenset(found)


def partitions_of(client: Consumer, topics: Iterable[str]) -> dict[str, frozenset[int]]:
    """Return the partitions that each topic has.

    Raises
    ------
    UsageError
        No broker answers, or a topic is not there.
    """
    from confluent_kafka import KafkaException

    found = {}
    for topic in topics:
        try:
            about = client.list_topics(topic, timeout=SECONDS).topics[topic]
        except KafkaException as error:
            msg = f"no broker answers: {error.args[0].name()}"
            raise UsageError(
                msg, hint="compare brokers under [stream] and the security settings with the cluster"
            ) from error
        if about.error is not None or not about.partitions:
            reason = "" if about.error is None else f": {about.error.name()}"
            msg = f"the topic {topic} cannot be read{reason}"
            raise UsageError(msg, hint="create it, correct its name under [stream], or allow this client to read it")
        found[topic] = frozenset(about.partitions)
    return found


def chosen(
    consumed: Consumed, there: Mapping[str, frozenset[int]], asked: Collection[int] | None
) -> tuple[bool, list[Place]]:
    """Return whether a state takes all partitions, and the partitions that it reads now.

    Parameters
    ----------
    consumed
        What the state says: its set of partitions never changes, but for new ones where it takes all.
    there
        Topic -> its partitions; of topics that the state has not read before, it takes the same numbers.
    asked
        ``--partitions``; None where it was not given.

    Raises
    ------
    UsageError
        Others are asked for than the state has, or a topic lacks one.
    """
    held = frozenset(place.partition for place in consumed.offsets)
    whole = (asked is None) if consumed.whole is None else consumed.whole
    if consumed.whole is not None and asked is not None and (whole or frozenset(asked) != held):
        has = "all partitions" if whole else f"partitions {_named(held)}"
        msg = f"--partitions {_named(asked)}: this state reads {has}, and that never changes"
        raise UsageError(msg, hint="leave the option out, or build a state of its own for each set of partitions")
    if whole:
        return True, [Place(topic, number) for topic, numbers in there.items() for number in sorted(numbers)]
    wanted = sorted(held or asked or ())
    for topic, numbers in there.items():
        lacking = [number for number in wanted if number not in numbers]
        if lacking:
            msg = f"the topic {topic} has {len(numbers)} partitions; {_named(lacking)} of those asked for are not there"
            raise UsageError(msg, hint="topics that are read in shards need the same keys and number of partitions")
    return False, [Place(topic, number) for topic in there for number in wanted]


def _named(numbers: Collection[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def ends_of(client: Consumer, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
    """Return the first offset that each partition still has, and the one after its last.

    Raises
    ------
    UsageError
        No broker answers.
    """
    return {place: _ends(client, place, until=time.monotonic() + SECONDS) for place in places}


def _ends(client: Consumer, place: Place, *, until: float) -> tuple[int, int]:
    """Ask for the ends of a partition, again where brokers have just started and its leader is not known yet."""
    from confluent_kafka import KafkaException, TopicPartition

    while True:
        try:
            ends = client.get_watermark_offsets(TopicPartition(*place), timeout=SECONDS)
        except KafkaException as error:
            name = error.args[0].name()
            if name in _NO_LEADER and time.monotonic() < until:
                time.sleep(_AGAIN)
                continue
            msg = f"{place}: the broker does not say which offsets it has: {name}"
            raise UsageError(msg) from error
        if ends is None:
            msg = f"{place}: the broker does not say which offsets it has within {length(SECONDS)}"
            raise UsageError(msg)
        return ends


def committed(client: Consumer, places: Iterable[Place]) -> dict[Place, int]:
    """Return the offset that the group has committed for each partition, where it has one.

    Raises
    ------
    KafkaException
        No broker answers.
    """
    from confluent_kafka import TopicPartition

    found = client.committed([TopicPartition(*place) for place in places], timeout=SECONDS)
    return {Place(item.topic, item.partition): item.offset for item in found if item.offset >= 0}


def commit(client: Consumer, offsets: Mapping[Place, int]) -> None:
    """Note for the group how far it is, without waiting; where that fails, nothing depends on it."""
    from confluent_kafka import KafkaException, TopicPartition

    with contextlib.suppress(KafkaException):
        client.commit(offsets=[TopicPartition(*place, at) for place, at in offsets.items()], asynchronous=True)


def starts_of(consumed: Consumed, ends: Mapping[Place, tuple[int, int]], *, latest: bool) -> dict[Place, int]:
    """Return the offset to begin at in each partition that the state has never read.

    Parameters
    ----------
    latest
        Whether a state that has never read anything begins at the ends. Partitions and topics that come later are read
        from their beginning.

    Raises
    ------
    DataError
        The broker no longer has the next offset of a partition that the state has read.
    """
    for place, (low, high) in ends.items():
        offset = consumed.offsets.get(place)
        if offset is not None and not low <= offset <= high:
            raise lost(place, offset, f"it has those from {low} to before {high}")
    first = consumed.whole is None
    return {
        place: high if latest and first else low for place, (low, high) in ends.items() if place not in consumed.offsets
    }


def lost(place: Place, offset: int, found: str) -> DataError:
    """Return the error of an offset that a broker no longer has."""
    msg = f"{place}: the state goes on at offset {offset}, and the broker does not have it: {found}"
    return DataError(msg, hint=CHANGED)
