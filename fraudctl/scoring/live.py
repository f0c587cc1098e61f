"""What scoring remembers between events: features, places taken, answers given; saved as parts, rebuilt from a log.

Owns the meaning of a snapshot's parts and of a log record. A state explains itself: it holds the project file and the
columns behind each feature set, so that it can be brought forward without any bundle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from fraudctl.errors import BundleError, DataError, FraudctlError
from fraudctl.features.meaning.definition import FeatureSet, SourceTable, define
from fraudctl.policy import CapacityUse
from fraudctl.project import Project, parse_project
from fraudctl.scoring import wire
from fraudctl.scoring.answers import Answered, Answers, EventId
from fraudctl.scoring.consumed import Consumed
from fraudctl.scoring.events import EventReader
from fraudctl.scoring.experiment import ControlBudget
from fraudctl.scoring.schema import DataSchema
from fraudctl.scoring.snapshots import Part, bytes_of

if TYPE_CHECKING:
    from fraudctl.documents.types import JsonObject
    from fraudctl.features.online import OnlineFeatures, OnlineRow
    from fraudctl.scoring.decider import Decider

ROLES: Final = ("champion", "challenger")
CONTROL: Final = "control"
"""Where the places of a log record have what the control group cost."""

_FEATURES: Final = "features:"
_WARM_EVENTS: Final = 40
_WARM_STEP: Final = 40_000_000_000_000
"""µs between them: more than a year, so that the loops that forget are called too."""


class RepeatedEventError(DataError):
    """An event id has been decided before, on an event with other values."""


class OnlineSettings(TypedDict):
    """What the online features of a project are told beside their definitions, as keyword arguments."""

    timezone: str
    label_delay_us: int


@dataclass(frozen=True)
class Definition:
    """A feature set, by what it is built from.

    Attributes
    ----------
    digest
        `FeatureSet.digest`.
    project_file
        Text of the project file.
    schema
        `DataSchema` as JSON.
    """

    digest: str
    project_file: str
    schema: Mapping[str, Any]

    @classmethod
    def of(cls, decider: Decider) -> Definition:
        """Return the definition behind a bundle."""
        return cls(decider.features.digest, decider.bundle.manifest["project_file"], decider.schema.to_dict())

    def to_dict(self) -> JsonObject:
        """Return the definition as JSON."""
        return {"digest": self.digest, "project_file": self.project_file, "schema": self.schema}

    @cached_property
    def project(self) -> Project:
        """The project file, parsed."""
        return parse_project(self.project_file, path=Path("fraudctl.toml").resolve())

    @cached_property
    def features(self) -> FeatureSet:
        """The feature set.

        Raises
        ------
        BundleError
            This version of fraudctl understands it differently.
        """
        try:
            schema = DataSchema.from_dict(self.schema)
            others = {name: SourceTable(self.project.sources[name], schema.sources[name]) for name in schema.sources}
            found = define(self.project, schema.events, sources=others)
        except FraudctlError as error:
            msg = f"the features behind the state cannot be rebuilt: {error.message}"
            raise BundleError(msg, hint="build the state again from history") from error
        if found.digest != self.digest:
            msg = "the features behind the state mean something else in this version of fraudctl"
            raise BundleError(msg, hint="build the state again from history")
        return found

    @cached_property
    def reader(self) -> EventReader:
        """What reads events for it."""
        return self.reader_of(())

    def reader_of(self, more: tuple[str, ...]) -> EventReader:
        """Return the reader of events for a decision that depends on more data columns than the features do."""
        if more not in self._readers:
            schema = DataSchema.from_dict(self.schema)
            self._readers[more] = EventReader(self.project, self.features, schema, more=more)
        return self._readers[more]

    @cached_property
    def _readers(self) -> dict[tuple[str, ...], EventReader]:
        return {}

    @property
    def settings(self) -> OnlineSettings:
        """What `OnlineFeatures` has to be told."""
        data = self.project.data
        return OnlineSettings(timezone=data.timezone, label_delay_us=data.label_delay.seconds * 1_000_000)


class LiveState:
    """Features of one or several sets, places taken, the latest answers, and what was taken from topics.

    Parameters
    ----------
    definitions
        Of the feature sets.
    features
        Their states, by digest; by default empty ones.
    """

    def __init__(self, definitions: Iterable[Definition], features: Mapping[str, OnlineFeatures] | None = None) -> None:
        from fraudctl.features.online import OnlineFeatures

        self.definitions = {item.digest: item for item in definitions}
        self.features: dict[str, OnlineFeatures] = {
            digest: (features or {}).get(digest) or OnlineFeatures(item.features, **item.settings)
            for digest, item in self.definitions.items()
        }
        self.used = {role: CapacityUse() for role in ROLES}
        self.control = ControlBudget()
        self.experiments: dict[str, Mapping[str, Any]] = {}
        """Salt -> what it was used for."""
        self.answers = Answers()
        self.counts = Counter[str]()
        self.consumed = Consumed()
        self._kinds: dict[str, tuple[Callable[..., None], range]] = {
            "event": (self._apply_event, range(5, 7)),
            "label": (self.label, range(3, 4)),
            "source": (self.source, range(2, 3)),
            "assigned": (self.consumed.assigned, range(2, 3)),
            "batch": (self.consumed.batch, range(3, 4)),
            "sent": (self.consumed.sent, range(1, 2)),
            "experiment": (self.experiments.__setitem__, range(2, 3)),
        }
        """Every kind of log record: what takes it in, and how many parts it may have."""

    # ------------------------------------------------------------ what comes

    def observe(self, raw: Mapping[str, Any], event: Mapping[str, Any], digest: str) -> dict[str, OnlineRow]:
        """Take an event into every feature set; give its features by digest.

        Parameters
        ----------
        raw
            As it came.
        event
            As it was read for the feature set of ``digest``. A set whose columns the event does not have is left out,
            and counted.
        """
        rows = {digest: self.features[digest].observe(event)}
        for other, item in self.definitions.items():
            if other != digest:
                try:
                    rows[other] = self.features[other].observe(item.reader.event(raw, strict=False))
                except DataError:
                    self.counts["unread"] += 1
        self.counts["events"] += 1
        return rows

    def warm(self) -> None:
        """Load or compile the loops of every feature set on a few events of a state that is thrown away.

        On a new machine compiling takes many seconds, for which no request should have to wait.
        """
        from fraudctl.features.online import OnlineFeatures

        for item in self.definitions.values():
            features = OnlineFeatures(item.features, **item.settings)
            row: dict[str, object] = dict.fromkeys(item.reader.names)
            kinds = item.features.types[""]
            ids: dict[str, object] = {name: 1 if kinds[name].is_numeric() else "1" for name in item.features.entities}
            for number in range(1, _WARM_EVENTS + 1):
                time = number * _WARM_STEP
                for name, columns in item.features.sources.items():
                    features.source(name, {**dict.fromkeys(columns), **ids, "event_time": time})
                features.observe({**row, **ids, "event_id": number, "event_time": time})
                features.label(number, 1, time)
                features.label(number, 0, time + 1)  # a label that is taken back, where labels may change
            features.observe({**row, **ids, "event_id": 0, "event_time": time - 1})  # one that comes late

    def index(self) -> None:
        """Make the indexes of what is remembered, for which no request should wait."""
        for features in self.features.values():
            features.index()

    def check_label(self, event_id: int | str, label: int | None, label_time: int) -> None:
        """Check that `label` can be taken.

        Raises
        ------
        DataError
            It is dated before its event.
        """
        for features in self.features.values():
            features.check_label(event_id, label, label_time)

    def label(self, event_id: int | str, label: int | None, label_time: int) -> None:
        """Take in an outcome: into every feature set, or none.

        Raises
        ------
        DataError
            It is dated before its event.
        """
        self.check_label(event_id, label, label_time)
        for features in self.features.values():
            features.label(event_id, label, label_time)
        self.counts["labels"] += 1

    def check_source(self, name: str, raw: Any) -> list[tuple[str, Mapping[str, Any]]]:
        """Read a row of another table for every feature set that uses it; give digest and row of each.

        Raises
        ------
        DataError
            None uses it, or the row does not fit.
        """
        using = [item for item in self.definitions.values() if name in item.reader.source_names]
        if not using:
            known = sorted({other for item in self.definitions.values() for other in item.reader.source_names})
            msg = f"no model uses a source of that name; known are: {', '.join(known) or 'none'}"
            raise DataError(msg)
        rows = [(item.digest, item.reader.source(name, raw)) for item in using]
        for digest, row in rows:
            self.features[digest].check_source(name, row)
        return rows

    def source(self, name: str, raw: Any) -> None:
        """Take a row of another table into every feature set that uses it, or into none.

        Raises
        ------
        DataError
            As `check_source` does.
        """
        for digest, row in self.check_source(name, raw):
            self.features[digest].source(name, row)
        self.counts["sources"] += 1

    def answered(self, raw: Any, event_id: EventId, now: EventReader) -> bytes | None:
        """Return the answer that an event got before; None where its id was not answered.

        Parameters
        ----------
        raw
            The event as it came.
        now
            The reader of the model that decides now.

        Raises
        ------
        RepeatedEventError
            The event that was answered under this id differs from it, in a column that the answer depended on or that
            a decision now would depend on. What had no part in either does not count.
        """
        found = self.answers.get(event_id)
        if found is None:
            return None
        definition, first = self.definitions.get(found.features), wire.loads(found.event)
        then = now if definition is None else definition.reader_of(found.more)
        differing = list(dict.fromkeys([*then.differing(first, raw), *now.differing(first, raw)]))
        if differing:
            told = ", ".join(map(repr, differing[:3])) + (" and others" if len(differing) > 3 else "")
            msg = f"an event with this id was decided before, with another value of {told}"
            raise RepeatedEventError(msg, hint="give every event an id of its own; an event sent again must not change")
        self.counts["repeated"] += 1
        return found.answer

    # ------------------------------------------------------------ log records

    def apply(self, record: bytes) -> None:
        """Take in what a log record says, as it was taken in when it was written.

        What is in the log was checked before it was written, so it applies. The one exception are logs of versions
        that took an outcome dated before its event, or a row that does not fit: such a record is left out, as it is
        now refused, and counted as ``skipped``.

        Raises
        ------
        BundleError
            It is of a kind that this version does not know, or not of the form of its kind.
        """
        try:
            kind, *rest = wire.loads(record)
            take, lengths = self._kinds[kind]
        except (DataError, KeyError, TypeError, ValueError) as error:
            msg = "the log holds a record of a kind that this version of fraudctl does not know"
            raise BundleError(msg, hint="use the version that wrote it") from error
        if len(rest) not in lengths:
            msg = f"the log holds a record of kind {kind!r} with {len(rest)} parts; expected {max(lengths)}"
            raise BundleError(msg, hint="use the version that wrote it")
        try:
            take(*rest)
        except DataError:
            self.counts["skipped"] += 1

    def note(self, kind: str, *parts: Any) -> None:
        """Take in what the reader of a stream says of itself: a record of a kind in `consumed.KINDS`."""
        self._kinds[kind][0](*parts)

    def _apply_event(
        self, raw: Any, answer: Any, _shadow: Any, places: Mapping[str, Any], digest: str, more: Iterable[str] = ()
    ) -> None:
        if digest not in self.definitions:
            msg = "the log holds an event that was read for features which the state does not hold"
            raise BundleError(msg, hint="build the state again from history: `fraudctl state build --force`")
        event = self.definitions[digest].reader.event(raw, strict=False)
        self.observe(raw, event, digest)
        for role, place in places.items():
            (self.control if role == CONTROL else self.used[role]).add(*place)
        if answer is not None:
            self.answers.add(event["event_id"], Answered(wire.dumps(raw), wire.dumps(answer), digest, tuple(more)))

    def answers_in(self, records: Iterable[bytes]) -> Iterator[tuple[EventId, Answered]]:
        """Return the answered events of log records by their id; of one id that was answered twice, both."""
        for record in records:
            kind, *rest = wire.loads(record)
            if kind == "event" and rest[1] is not None:
                raw, answer, _, _, digest, *more = rest
                event_id = self.definitions[digest].reader.event_id(raw)
                if event_id is not None:
                    item = Answered(wire.dumps(raw), wire.dumps(answer), digest, tuple(more[0]) if more else ())
                    yield event_id, item

    # ------------------------------------------------------------ parts

    def to_parts(self) -> dict[str, Part]:
        """Return the state as named parts: bytes, and arrays of the state itself, which change when it goes on."""
        from fraudctl.features.online import to_parts

        about = {
            "definitions": [item.to_dict() for item in self.definitions.values()],
            "used": {role: used.to_list() for role, used in self.used.items()},
            "counts": dict(self.counts),
            "control": self.control.to_list(),
            "experiments": self.experiments,
        }
        if self.consumed.offsets:
            about["stream"] = self.consumed.to_dict()
        features = {
            f"{_FEATURES}{digest}:{name}": part
            for digest, item in self.features.items()
            for name, part in to_parts(item).items()
        }
        return {"about": wire.dumps(about), "answers": wire.dumps(self.answers.to_list()), **features}

    @classmethod
    def from_parts(cls, parts: Mapping[str, Part]) -> LiveState:
        """Read what `to_parts` gave; the arrays are taken, not copied.

        Raises
        ------
        BundleError
            The parts are of another version, or a feature set means something else now.
        """
        from fraudctl.features.online import from_parts

        about = wire.loads(bytes_of(parts, "about"))
        definitions = [Definition(**item) for item in about["definitions"]]
        features = {}
        for item in definitions:
            start = f"{_FEATURES}{item.digest}:"
            own = {name.removeprefix(start): part for name, part in parts.items() if name.startswith(start)}
            features[item.digest] = from_parts(own, item.features, **item.settings)
        state = cls(definitions, features)
        state.used = {role: CapacityUse.from_list(taken) for role, taken in about["used"].items()}
        state.counts.update(about["counts"])
        if "stream" in about:
            state.consumed.read_dict(about["stream"])
        day, spent = about.get("control", (0, 0.0))
        state.control.add(int(day), float(spent))
        state.experiments.update(about.get("experiments", {}))
        state.answers.read_list(wire.loads(bytes_of(parts, "answers")))
        return state

    def require(self, decider: Decider, *, where: str) -> None:
        """Refuse a bundle whose features this state does not hold.

        Raises
        ------
        BundleError
            They are others.
        """
        if decider.features.digest not in self.definitions:
            msg = f"the state in {where} was built for other features than those of bundle {decider.model}"
            raise BundleError(msg, hint="`fraudctl state build` makes one for this bundle from history")
