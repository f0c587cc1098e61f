"""Events in order to answers: what a stream and a server have in common.

Owns the order of things: read, take into the state, decide, note in the log; an answer counts only after `flush`. The
champion answers; a challenger decides the same events in its shadow and is only logged. An event that is sent again
gets the answer that it got.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fraudctl.errors import DataError
from fraudctl.scoring import wire
from fraudctl.scoring.answers import Answered
from fraudctl.scoring.live import LiveState, RepeatedEventError
from fraudctl.scoring.store import Store, frame

if TYPE_CHECKING:
    from fraudctl.features.online import OnlineRow
    from fraudctl.scoring.decider import Decider, Decision, Explained

ROLL_AFTER: Final = 50_000
"""Log records after which a stream begins a new segment; about as many answers are in memory at most."""
T = TypeVar("T")


def each(items: Sequence[Any], check: Callable[[Any], T]) -> list[T]:
    """Check all items before any is taken; give what each check gave.

    Raises
    ------
    DataError
        One does not fit; of several items, the message says which.
    """
    out = []
    for at, item in enumerate(items):
        try:
            out.append(check(item))
        except DataError as error:
            msg = f"item {at}: {error.message}" if len(items) > 1 else error.message
            raise DataError(msg, hint=error.hint) from None
    return out


def _is_label(raw: Any) -> bool:
    return (
        isinstance(raw, dict)
        and raw.get("type") == "label"
        and raw.keys() <= {"type", "event_id", "label", "label_time"}
    )


def _is_row(raw: Any) -> bool:
    return isinstance(raw, dict) and raw.get("type") == "source" and isinstance(raw.get("source"), str)


def _row_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in {"type", "source"}}


class DecisionEngine:
    """Decides event after event.

    Parameters
    ----------
    champion
        The bundle that answers.
    live
        What is remembered; holds the features of both bundles.
    challenger
        A bundle that decides in the shadow.
    store
        Where everything that comes is logged; None forgets with the process.
    explained
        Which decisions get reasons.
    with_features
        Whether answers hold the value of every feature.
    """

    def __init__(
        self,
        champion: Decider,
        live: LiveState,
        *,
        challenger: Decider | None = None,
        store: Store | None = None,
        explained: Explained = "all",
        with_features: bool = False,
    ) -> None:
        self.champion, self.challenger = champion, challenger
        self.live = live
        self.store = store
        self.explained: Explained = explained
        self.with_features = with_features
        self.actions = Counter[str]()
        self.shadow_actions = Counter[str]()
        self.not_after: int | None = None
        """Latest event_time that is taken, in µs UTC; a time far ahead would make every later event a late one."""
        self._pending: list[bytes] = []
        self.logged = 0
        """Records since the last snapshot or rotation."""
        self.roll: Callable[[], None] | None = None
        """Closes the log segment and writes its answers to a file; called after `ROLL_AFTER` records."""

    def event(self, raw: Any) -> bytes:
        """Decide on an event under the data's own column names; give the answer as one line of JSON.

        Raises
        ------
        DataError
            The event does not fit the model's data; nothing was taken in.
        """
        before = self.answered(raw)
        if before is not None:
            return before
        champion, event = self.champion, self.read(raw)
        digest, more = champion.features.digest, champion.dependence.beyond_features
        content = wire.dumps(raw)
        rows = self.live.observe(raw, event, digest)
        told = champion.read_for
        try:
            decision = champion.decide(event, rows[digest], used=self.live.used["champion"], explained=self.explained)
        except DataError:
            self._note(b'["event",%b,null,null,{},%b]' % (content, told))
            raise
        answer = self._answer(decision, rows[digest])
        shadow, places = self._shadow(raw, rows)
        if decision.place is not None:
            places["champion"] = decision.place
        self._note(b'["event",%b,%b,%b,%b,%b]' % (content, answer, shadow, wire.dumps(places), told))
        self.live.answers.add(event["event_id"], Answered(content, answer, digest, more))
        self.actions[decision.action] += 1
        return answer

    def answered(self, raw: Any) -> bytes | None:
        """Return the answer that an event got before, whichever model gave it; None for a new event.

        Raises
        ------
        RepeatedEventError
            Its id was answered for an event with other values.
        """
        reader = self.champion.reader
        event_id = reader.event_id(raw)
        if event_id is None:
            return None
        try:
            return self.live.answered(raw, event_id, reader)
        except RepeatedEventError:
            self.read(raw)  # an event that does not fit is refused for that first
            raise

    def check(self, raw: Any) -> None:
        """Check that an event can be answered, without taking it in.

        Raises
        ------
        DataError
            As `read` does, for an event whose id was not answered before.
        """
        event_id = self.champion.reader.event_id(raw)
        if event_id is None or self.live.answers.get(event_id) is None:
            self.read(raw)

    def read(self, raw: Any) -> dict[str, Any]:
        """Read an event for the champion, without taking it in.

        Raises
        ------
        DataError
            It does not fit, or lies after `not_after`.
        """
        event = self.champion.reader.event(raw)
        if self.not_after is not None and event["event_time"] > self.not_after:
            msg = "event: its time lies ahead of the clock by more than is allowed"
            raise DataError(msg, hint="correct the clock that stamps the events, or raise --max-ahead")
        return event

    def _answer(self, decision: Decision, row: OnlineRow) -> bytes:
        champion = self.champion
        document = decision.to_dict(model=champion.model, policy=champion.policy_version)
        if self.with_features:
            document["features"] = champion.feature_values(row)
        return wire.dumps(document)

    def _shadow(self, raw: Any, rows: Mapping[str, OnlineRow]) -> tuple[bytes, dict[str, tuple[str, int]]]:
        """Let the challenger decide; whatever it meets, the champion's answer stands."""
        challenger = self.challenger
        if challenger is None or challenger.features.digest not in rows:
            return b"null", {}
        try:
            event = challenger.reader.event(raw, strict=False)
            decision = challenger.decide(
                event, rows[challenger.features.digest], used=self.live.used["challenger"], explained="none"
            )
        except DataError:
            self.live.counts["shadow_failed"] += 1
            return b"null", {}
        self.shadow_actions[decision.action] += 1
        document = decision.to_dict(model=challenger.model, policy=challenger.policy_version)
        place = {} if decision.place is None else {"challenger": decision.place}
        return wire.dumps(document), place

    def label(self, raw: Any) -> None:
        """Take in one outcome; see `labels`."""
        self.labels([raw])

    def source(self, name: str, raw: Any) -> None:
        """Take in one row of another table; see `sources`."""
        self.sources(name, [raw])

    def labels(self, items: Sequence[Any]) -> None:
        """Take in outcomes (event_id, label, label_time): all of them, or none.

        Raises
        ------
        DataError
            One is not of that form, or is dated before its event.
        """
        read = self.champion.reader.label

        def checked(item: Any) -> tuple[Any, int | None, int]:
            found = read(item)
            self.live.check_label(*found)
            return found

        for found in each(items, checked):
            self.live.label(*found)
            self._note(wire.dumps(["label", *found]))

    def sources(self, name: str, items: Sequence[Any]) -> None:
        """Take in rows of another table under its own column names: all of them, or none.

        Raises
        ------
        DataError
            No model uses that table, or a row does not fit it.
        """
        each(items, lambda item: self.live.check_source(name, item))
        for item in items:
            self.live.source(name, item)
            self._note(wire.dumps(["source", name, item]))

    def take(self, raw: Any) -> bytes | None:
        """Take whatever a stream brings: a label, a row of another table, or an event, which alone is answered."""
        if _is_label(raw):
            self.label(raw)
        elif _is_row(raw):
            self.source(raw["source"], _row_of(raw))
        else:
            return self.event(raw)
        return None

    def check_any(self, raw: Any) -> None:
        """Check that `take` can take a message, without taking it in.

        Raises
        ------
        DataError
            It does not fit, by itself.
        """
        if _is_label(raw):
            self.champion.reader.label(raw)
        elif _is_row(raw):
            self.live.check_source(raw["source"], _row_of(raw))
        else:
            self.check(raw)

    def note(self, kind: str, *parts: Any) -> None:
        """Take in and log what the reader of a stream says of itself (`consumed.KINDS`), with the events so far."""
        self.live.note(kind, *parts)
        self._note(wire.dumps([kind, *parts]))

    def _note(self, record: bytes) -> None:
        if self.store is not None:
            self._pending.append(frame(record))

    def flush(self) -> None:
        """Write what has come since the last call to the log: only now do its answers count.

        Raises
        ------
        UsageError
            The log cannot be written; the next call tries again.
        """
        if self.store is not None and self._pending:
            self.store.append(self._pending)
            self.logged += len(self._pending)
            self._pending = []
            if self.roll is not None and self.logged >= ROLL_AFTER:
                self.roll()
                self.logged = 0

    def swap(self, champion: Decider, challenger: Decider | None) -> None:
        """Go on with other bundles.

        Raises
        ------
        BundleError
            The state does not hold the features of one of them; nothing has changed.
        """
        for decider in (champion, challenger):
            if decider is not None:
                self.live.require(decider, where="this process")
        self.champion, self.challenger = champion, challenger
