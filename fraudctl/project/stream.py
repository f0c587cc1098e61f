"""``[stream]``: the topics that `consume` reads and writes. Secrets never stand here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fraudctl.project.types import Section

Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class AvroFile(Section):
    """The schema of a topic in Avro."""

    file: str
    """File with the schema as JSON, relative to this file."""
    id: int | None = Field(default=None, ge=0, lt=2**32)
    """Id of the schema in a registry, where messages begin with a zero byte and that id; others are dead letters."""


class StreamSection(Section):
    """Kafka topics: events, outcomes and rows of other tables in; decisions and dead letters out."""

    brokers: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Addresses of brokers, such as "localhost:9092"; `bootstrap.servers` of a properties file comes before them."""
    group: str = Field(default="fraudctl", min_length=1, max_length=249)
    """Group that offsets are committed under for tools that show lag. What decides where to go on is the state."""
    events: Topic
    """Topic with the events: one JSON object a message, under the data's own column names."""
    labels: Topic | dict[str, Topic] | None = None
    """Topic with outcomes as they arrive: event_id, label, label_time; or table -> topic with the rows of [labels.NAME]
    under their own column names, such as { chargebacks = "cb", disputes = "disputes" }."""
    sources: dict[str, Topic] = Field(default_factory=dict)
    """Source name -> topic with the rows of that table."""
    decisions: Topic
    """Topic that gets one decision for each event; its key is the event id."""
    dead_letters: Topic
    """Topic that gets messages that cannot be taken, byte for byte, with the reason in their headers."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a state begins in a partition that it has never read."""
    exactly_once: Literal["event_id", "transactions"] = "event_id"
    """What makes decisions exactly-once: "event_id": one that is produced twice, after a crash, has the same key and
    bytes; "transactions": readers of committed messages (`isolation.level=read_committed`) see each once."""
    assignment: Literal["manual", "group"] = "manual"
    """Who says which partitions a process takes: "manual": all, or `--partitions`; "group": the brokers, among all
    processes of the group, with a state for each partition below `--state` on a disk that they share."""
    dead_per_minute: int = Field(default=60, ge=0)
    """Dead letters in a minute, above which the run stops with exit code 3."""
    wait_seconds: float = Field(default=0.5, ge=0, le=60, allow_inf_nan=False)
    """How long messages wait for an earlier one of a partition that lags behind, so that they come in order of time."""

    avro: dict[Topic, str | AvroFile] = Field(default_factory=dict)
    """Topic -> file with its Avro schema, or { file = "payment.avsc", id = 7 }; topics that are not named are JSON."""

    @property
    def label_tables(self) -> dict[str, str]:
        """Table of labels -> topic with its rows."""
        return dict(self.labels) if isinstance(self.labels, dict) else {}

    @property
    def bootstrap(self) -> str | None:
        """The addresses as Kafka's clients take them."""
        return self.brokers if self.brokers is None or isinstance(self.brokers, str) else ",".join(self.brokers)

    def inputs(self) -> Iterator[tuple[str, str]]:
        """Yield each key that names a topic that is read, and the topic."""
        yield "events", self.events
        if isinstance(self.labels, str):
            yield "labels", self.labels
        yield from ((f"labels.{name}", topic) for name, topic in self.label_tables.items())
        yield from ((f"sources.{name}", topic) for name, topic in self.sources.items())

    @model_validator(mode="after")
    def _topics_differ(self) -> StreamSection:
        seen: dict[str, str] = {}
        for key, topic in (*self.inputs(), ("decisions", self.decisions), ("dead_letters", self.dead_letters)):
            if topic in seen:
                msg = f"{key} and {seen[topic]} name one topic; each needs a topic of its own"
                raise ValueError(msg)
            seen[topic] = key
        for topic in self.avro:
            if topic not in seen or topic == self.dead_letters:
                msg = f"avro.{topic}: expected a topic that is read, or that of decisions"
                raise ValueError(msg)
        return self
