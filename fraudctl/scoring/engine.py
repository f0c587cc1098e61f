"""Events in order to answers: what a stream and a server have in common.

Owns the order of things: read, take into the state, decide, note in the log; an answer counts only after `flush`. The
champion answers; a challenger decides the same events in its shadow and is only logged, unless an experiment has it
answer a part of them. An event that is sent again gets the answer that it got.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fraudctl.errors import DataError, UsageError
from fraudctl.policy.provenance import DecidedBy
from fraudctl.scoring import wire
from fraudctl.scoring.answers import Answered
from fraudctl.scoring.experiment import Arm, Experiment, agreed
from fraudctl.scoring.live import CONTROL, ROLES, LiveState, RepeatedEventError
from fraudctl.scoring.store import Store, frame

if TYPE_CHECKING:
    from fraudctl.documents.types import JsonObject
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


def _row_of(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in raw.items() if key not in {"type", "source"}}


@dataclass(frozen=True)
class _Decided:
    """A decision, by whom, and on what."""

    decider: Decider
    event: Mapping[str, Any]
    row: OnlineRow
    decision: Decision


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
    experiment
        Which model answers which events, and which are let through; None: the champion answers all.

    Raises
    ------
    UsageError
        The salt of the experiment was used for another one on this state, or it needs a challenger.
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
        experiment: Experiment | None = None,
    ) -> None:
        self.champion, self.challenger = champion, challenger
        self.live = live
        self.experiment = experiment
        self.drawn = Counter[str]()
        """What the experiment drew: events by arm, null units, control group."""
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
        self._agree(champion, challenger)

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
        drawn_arm = self._arm(event)
        arm = drawn_arm or "champion"
        found = [_Decided(champion, event, rows[digest], decision)]
        found += self._other(raw, rows, explained=self.explained if arm == "challenger" else "none")
        places: JsonObject = {
            role: item.decision.place
            for role, item in zip(ROLES, found, strict=False)
            if item.decision.place is not None
        }
        if arm == "challenger" and len(found) == 2:
            found = found[::-1]
        found[0], drawn = self._controlled(found[0], places)
        answer = wire.dumps(self._document(found[0]) | self._drawn(drawn_arm) | drawn)
        shadow = wire.dumps(self._document(found[1], plain=True)) if len(found) == 2 else b"null"
        self._note(b'["event",%b,%b,%b,%b,%b]' % (content, answer, shadow, wire.dumps(places), told))
        self.live.answers.add(event["event_id"], Answered(content, answer, digest, more))
        for counter, item in zip((self.actions, self.shadow_actions), found, strict=False):
            counter[item.decision.action] += 1
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

    def read(self, raw: Any) -> Mapping[str, Any]:
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

    def _document(self, answer: _Decided, *, plain: bool = False) -> JsonObject:
        """Return an answer as JSON; ``plain`` is without features."""
        decider = answer.decider
        document = answer.decision.to_dict(model=decider.model, policy=decider.policy_version)
        if self.with_features and not plain:
            document["features"] = decider.feature_values(answer.row)
        return document

    def _other(self, raw: Any, rows: Mapping[str, OnlineRow], *, explained: Explained) -> list[_Decided]:
        """Let the challenger decide; whatever it meets, the champion's decision stands."""
        challenger = self.challenger
        if challenger is None or challenger.features.digest not in rows:
            return []
        row = rows[challenger.features.digest]
        try:
            event = challenger.reader.event(raw, strict=False)
            decision = challenger.decide(event, row, used=self.live.used["challenger"], explained=explained)
        except DataError:
            self.live.counts["shadow_failed"] += 1
            return []
        return [_Decided(challenger, event, row, decision)]

    # ------------------------------------------------------------ experiments

    def _agree(self, champion: Decider, challenger: Decider | None) -> None:
        """Note what the salt of the experiment stands for, or refuse one that stands for something else."""
        experiment = self.experiment
        if experiment is None or not experiment.challenger:
            return
        if challenger is None:
            msg = "--split needs a challenger"
            raise UsageError(msg, hint="name it with --challenger")
        names = {"champion": champion.model, "challenger": challenger.model}
        now = agreed(self.live.experiments, experiment, **names)
        if experiment.unit not in champion.project.entities:
            known = ", ".join(champion.project.entities) or "none"
            msg = f"--unit {experiment.unit} is no entity of {champion.model}; it has {known}"
            raise UsageError(msg)
        if experiment.salt not in self.live.experiments:
            self.live.experiments[experiment.salt] = now
            self._note(wire.dumps(["experiment", experiment.salt, now]))

    def _arm(self, event: Mapping[str, Any]) -> Arm | None:
        """Return the arm of an event; None without an experiment, or without a unit."""
        experiment = self.experiment
        if experiment is None or experiment.unit is None:
            return None
        unit = event[experiment.unit]
        arm = None if unit is None else experiment.arm(unit)
        self.drawn[arm or "null_unit"] += 1
        return arm

    def _drawn(self, arm: Arm | None) -> JsonObject:
        split = self.experiment is not None and self.experiment.challenger > 0
        return {"experiment": self.experiment.facts(arm)} if self.experiment is not None and split else {}

    def _controlled(self, answer: _Decided, places: JsonObject) -> tuple[_Decided, JsonObject]:
        """Let a blocked event through if it is drawn; never one that a rule blocked, or that may cost too much."""
        experiment = self.experiment
        if experiment is None or not experiment.control:
            return answer, {}
        event, decision, decider = answer.event, answer.decision, answer.decider
        matrix, drawn = decider.policy.matrix, experiment.drawn(answer.event["event_id"])
        if decision.action != matrix.actions[matrix.block_code]:
            return answer, {"control_group": drawn, "exposure_prob": 1.0}
        loss = decision.probability * max(decider.single.let_through_cost(event), 0.0)
        day = decider.single.local_day(event)
        may = decision.decided_by.kind != "rule" and loss <= self.live.control.left(day, experiment.control_cap)
        if not (drawn and may):
            self.drawn["control_capped"] += drawn
            return answer, {"control_group": False, "exposure_prob": experiment.exposure if may else 0.0}
        self.drawn["control"] += 1
        self.live.control.add(day, loss)
        places[CONTROL] = [day, loss]
        by = DecidedBy("control", instead_of=decision.action)
        through = replace(decision, action=matrix.actions[matrix.pass_code], decided_by=by, reasons=())
        return replace(answer, decision=through), {"control_group": True, "exposure_prob": experiment.exposure}

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
        UsageError
            An experiment compares the present bundles; nothing has changed.
        """
        for decider in (champion, challenger):
            if decider is not None:
                self.live.require(decider, where="this process")
        self._agree(champion, challenger)
        self.champion, self.challenger = champion, challenger
