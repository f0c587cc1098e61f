"""A stand-in for a Kafka cluster inside of this process: librdkafka's mock cluster, which listens on loopback.

It makes a topic of 4 partitions when it is first asked for, keeps the newest 5 MB of a partition, and forgets all with
the process. It shows aborted transactions to readers, which nothing here depends on.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 4
_names = itertools.count(1)


class Cluster:
    """A cluster that lives as long as this object, or a real one at an address."""

    def __init__(self, servers: str | None = None) -> None:
        self._host = None
        self.real = servers is not None
        if servers is None:
            self._host = Producer({"test.mock.num.brokers": 1, "log_level": 2})
            brokers = self._host.list_topics(timeout=30).brokers.values()
            servers = ",".join(f"{item.host}:{item.port}" for item in brokers)
        self.servers: str = servers
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 2})
        self._admin = AdminClient({"bootstrap.servers": servers, "log_level": 2})

    def topic(self, name: str) -> str:
        """Make a topic under a name of its own, and return that name."""
        name = f"{name}-{os.getpid()}-{next(_names)}"
        if self._host is not None:
            self._producer.list_topics(name, timeout=30)
            return name
        for done in self._admin.create_topics([NewTopic(name, PARTITIONS)]).values():
            done.result(60)
        while len(self._producer.list_topics(name, timeout=30).topics[name].partitions) < PARTITIONS:
            time.sleep(0.1)  # a broker that has just started learns of it later
        return name

    def produce(self, topic: str, values: Iterable[bytes | None], *, partitions: Sequence[int] = (0,)) -> None:
        """Produce messages to partitions in turn, and wait until all are there."""
        for value, partition in zip(values, itertools.cycle(partitions), strict=False):
            self._producer.produce(topic, value=value, partition=partition)
            self._producer.poll(0)
        assert self._producer.flush(60) == 0

    def forget(self, topic: str) -> None:
        """Make the cluster delete the first messages of partition 0, but not its last."""
        if self._host is not None:  # the mock cluster keeps 5 MB of a partition
            self.produce(topic, [b"[" + b" " * 900_000 + b"]"] * 8)
            return
        self.produce(topic, [b"[]"] * 8)
        for done in self._admin.delete_records([TopicPartition(topic, 0, 8)]).values():
            done.result(60)

    def read(self, topic: str, *, isolation: str = "read_committed") -> list[Message]:
        """Return all messages of a topic; those of one partition are in order, those of several are not."""
        consumer = Consumer({
            "bootstrap.servers": self.servers, "group.id": "look", "enable.auto.commit": False, "log_level": 2,
            "enable.partition.eof": True, "fetch.wait.max.ms": 10, "auto.offset.reset": "earliest",
            "isolation.level": isolation,
        })  # fmt: skip
        numbers = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        out, ended = [], 0
        while ended < len(numbers):
            message = consumer.poll(30)
            assert message is not None
            if message.error():
                ended += 1
            else:
                out.append(message)
        consumer.close()
        return out

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the offsets that a group has committed for a topic."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": group, "log_level": 2})
        numbers = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        found = consumer.committed([TopicPartition(topic, number) for number in numbers], timeout=30)
        consumer.close()
        return {item.partition: item.offset for item in found if item.offset >= 0}

    def commit(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit offsets for a group."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": group, "log_level": 2})
        consumer.commit(offsets=[TopicPartition(*at, offset) for at, offset in offsets.items()], asynchronous=False)
        consumer.close()

    def answers(self, topic: str) -> list[dict[str, Any]]:
        """Return the documents of a topic."""
        return [json.loads(message.value() or b"null") for message in self.read(topic)]
