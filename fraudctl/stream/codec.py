"""Messages of topics as an engine takes them: the same forms as the lines of ``score -``, as JSON or as Avro.

Owns which form a topic holds and the time that a message is ordered by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fraudctl.errors import DataError
from fraudctl.scoring import wire
from fraudctl.scoring.consumed import Place

if TYPE_CHECKING:
    from fraudctl.project.stream import StreamSection
    from fraudctl.scoring.engine import DecisionEngine
    from fraudctl.scoring.events import EventReader
    from fraudctl.stream.avro import AvroForm
    from fraudctl.stream.entries import EntryReader

    Forms = Mapping[str, AvroForm]

_LABEL, _ROW, _EVENT = range(3)
"""Order of messages of one instant: an outcome counts for events of that instant."""


@dataclass(slots=True)
class Message:
    """One message of a topic.

    Attributes
    ----------
    place, offset
        Where it stands.
    content, key
        As it came.
    raw
        The JSON document in it; None where ``problem`` says why there is none.
    time, rank
        The time that it is ordered by, in µs UTC, and its order among others of that instant; None where it says none.
    stamp
        When it was produced, in seconds since 1970; 0 where that is not known.
    """

    place: Place
    offset: int
    content: bytes | None
    key: bytes | None
    stamp: float = 0.0
    raw: Any = None
    problem: DataError | None = None
    time: int | None = None
    rank: int = _EVENT


class Codec:
    """Reads the messages of the topics of a stream.

    Parameters
    ----------
    section
        Which topic holds what.
    reader
        Reads events, labels and rows for the model that decides.
    entries
        Topic -> what reads the rows of a table of labels.
    avro
        Topic -> what reads its messages; others are JSON.
    """

    def __init__(
        self, section: StreamSection, reader: EventReader, *, entries: Mapping[str, EntryReader], avro: Forms
    ) -> None:
        self._reader, self._entries = reader, entries
        self._sources = {topic: name for name, topic in section.sources.items()}
        self._labels = section.labels if isinstance(section.labels, str) else None
        self._parse: dict[str, Callable[[bytes], Any]] = {topic: form.read for topic, form in avro.items()}

    def read(self, message: Message) -> Message:
        """Read the document and the time of a message; what cannot be read is its ``problem``."""
        if message.content is None:
            message.problem = DataError("a message without a value", hint="topics that are read must not be compacted")
            return message
        try:
            message.raw = self._parse.get(message.place.topic, wire.parse)(message.content)
            if message.place.topic in self._entries:
                message.raw = self._entries[message.place.topic].outcome(message.raw)
        except DataError as error:
            message.problem = error
            return message
        message.rank, message.time = self._order(message.place.topic, message.raw)
        return message

    def take(self, engine: DecisionEngine, message: Message) -> bytes | None:
        """Let an engine take a message; give the answer to an event, None for all others.

        Raises
        ------
        DataError
            It cannot be taken; nothing has changed.
        """
        if message.problem is not None:
            raise message.problem
        topic, raw = message.place.topic, message.raw
        if topic == self._labels or (topic in self._entries and raw is not None):
            engine.label(raw)
        elif topic in self._entries:
            return None  # an entry that says nothing
        elif topic in self._sources:
            engine.source(self._sources[topic], _row_of(raw, self._sources[topic]))
        else:
            return engine.take(raw)
        return None

    def _order(self, topic: str, raw: Any) -> tuple[int, int | None]:
        kind = raw.get("type") if isinstance(raw, dict) else None
        if topic == self._labels or topic in self._entries or (kind == "label" and topic not in self._sources):
            return _LABEL, self._time_of_label(raw)
        name = self._sources.get(topic) or (raw.get("source") if kind == "source" else None)
        if isinstance(name, str):
            return _ROW, self._time_of_row(name, raw)
        return _EVENT, self._reader.event_time(raw)

    def _time_of_label(self, raw: Any) -> int | None:
        try:
            return self._reader.label(raw)[2]
        except DataError:
            return None

    def _time_of_row(self, name: str, raw: Any) -> int | None:
        try:
            found: int = self._reader.source(name, _row_of(raw, name))["usable_time"]
        except DataError:
            return None
        return found


def _row_of(raw: Any, name: str) -> Any:
    """Return a row without the fields that lines of ``score -`` need to be told apart, where they say what is true."""
    if not isinstance(raw, Mapping) or raw.get("type") != "source" or raw.get("source") != name:
        return raw
    return {key: value for key, value in raw.items() if key not in {"type", "source"}}
