"""What a state took from the topics of a stream: where it goes on, and which of its answers may not be out yet.

Owns three kinds of log records and their part of a snapshot. ``assigned``: partitions belong to this state from an
offset on. ``batch``: the next offsets after a batch of messages, and what has to be produced for it; it stands in one
write of the log with the events of the batch. ``sent``: everything up to a batch was produced. A batch without its
``sent`` is produced again, with the same bytes: answers come from the log.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fraudctl.documents.types import JsonObject
from fraudctl.scoring.answers import EventId

KINDS: Final = ("assigned", "batch", "sent")


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Output(NamedTuple):
    """One message that has to be produced for a message that was read: an answer, or a dead letter.

    Attributes
    ----------
    place, offset
        Of the message that was read.
    event_id
        Of the event that was answered; None for a dead letter.
    error, message
        Class and text of the error of a dead letter; the text holds no value of the message.
    content, key
        What a dead letter holds, byte for byte; None where it held nothing, or more than can be sent on.
    size
        Bytes of the content, also where it is left out.
    """

    place: Place
    offset: int
    event_id: EventId | None = None
    error: str | None = None
    message: str = ""
    content: bytes | None = None
    key: bytes | None = None
    size: int = 0

    def to_list(self) -> list[Any]:
        """Return it as JSON."""
        if self.error is None:
            return [*self.place, self.offset, self.event_id]
        return [
            *self.place,
            self.offset,
            None,
            self.error,
            self.message,
            _text(self.content),
            _text(self.key),
            self.size,
        ]

    @classmethod
    def from_list(cls, parts: Sequence[Any]) -> Output:
        """Read what `to_list` gave."""
        topic, partition, offset, event_id, *rest = parts
        if not rest:
            return cls(Place(topic, partition), offset, event_id)
        error, message, content, key, size = rest
        return cls(Place(topic, partition), offset, None, error, message, _bytes(content), _bytes(key), size)


def _text(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


@dataclass
class Consumed:
    """Where a state goes on in each partition, and what it may not have sent.

    Attributes
    ----------
    offsets
        The next offset of each partition that belongs to the state.
    whole
        Whether it takes all partitions of its topics, new ones too; None before the first start.
    unsent
        Number of a batch -> what has to be produced for it, for batches that may not be out.
    last
        Number of the last batch.
    """

    offsets: dict[Place, int] = field(default_factory=dict)
    whole: bool | None = None
    unsent: dict[int, tuple[Output, ...]] = field(default_factory=dict)
    last: int = 0

    def assigned(self, whole: bool, offsets: Iterable[Sequence[Any]]) -> None:  # noqa: FBT001 - a part of a record
        """Take partitions over, from these offsets on."""
        self.whole = whole
        self._move(offsets)

    def batch(self, number: int, offsets: Iterable[Sequence[Any]], outputs: Iterable[Sequence[Any]]) -> None:
        """Go on after a batch; what it has to produce is not sent yet."""
        self._move(offsets)
        self.last = number
        self.unsent[number] = tuple(map(Output.from_list, outputs))

    def sent(self, number: int) -> None:
        """Record that everything up to a batch was produced."""
        self.unsent = {key: outputs for key, outputs in self.unsent.items() if key > number}

    def _move(self, offsets: Iterable[Sequence[Any]]) -> None:
        for topic, partition, offset in offsets:
            self.offsets[Place(topic, partition)] = offset

    def to_dict(self) -> JsonObject:
        """Return it as JSON."""
        return {
            "whole": self.whole,
            "offsets": as_list(self.offsets),
            "last": self.last,
            "unsent": [[number, [item.to_list() for item in outputs]] for number, outputs in self.unsent.items()],
        }

    def read_dict(self, document: Mapping[str, Any]) -> None:
        """Take what `to_dict` gave."""
        self.whole, self.last = document["whole"], document["last"]
        self._move(document["offsets"])
        self.unsent = {number: tuple(map(Output.from_list, outputs)) for number, outputs in document["unsent"]}


def as_list(offsets: Mapping[Place, int]) -> list[list[Any]]:
    """Return offsets as JSON."""
    return [[*place, offset] for place, offset in offsets.items()]
