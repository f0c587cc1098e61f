"""From the features of a project to what the state remembers, and to the program that answers an event.

Owns the layout of slots and logs: which entities there are, which logs each has, which columns a log holds and what
stands beside them, and the order in which kernels and row-level expressions have to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.definition import Feature, FeatureSet
from fraudctl.features.meaning.lookback import lookback_of
from fraudctl.features.meaning.specs import (
    HourSpec,
    LabelSpec,
    LinkSpec,
    LookupSpec,
    PairSpec,
    RawSpec,
    RecencySpec,
    SourceWindowSpec,
    WindowSpec,
)
from fraudctl.features.online import answers, arena, intake, logs
from fraudctl.features.rows.read import RowExpr

POSITIONS_KEPT = 1.35
"""Positions for which a log has room, for each that a window needs: those that are left behind when it is full next,
and the quarter that it grows by."""
ROUNDED = 1.05
"""Words of blocks for each word that is asked for."""
PAIR_BYTES, NAME_BYTES = 40, 200
"""Bytes of a pair with its index, and of a name with its entry in a dictionary."""
RECORD_ROOM = 1.5
"""Records for which the ring of remembered events has room, for each one: it doubles when it is full."""
COSINE, SINE, MINUTE = ".cosine", ".sine", ".minute"
"""Names of what hours are made of, beside the columns of the data."""
FRAUD_TIME, EVENT_TIME = ".fraud_time", ".event_time"
_DAY = 86_400_000_000
LABELS = ".labels"
"""The name under which outcomes have their logs, as other tables have under theirs; that of the events is empty."""

_OPERATIONS = {
    "count": answers.COUNTED, "nunique": answers.DISTINCT, "sum": answers.SUM, "mean": answers.MEAN,
    "std": answers.STD, "min": answers.MIN, "max": answers.MAX, "median": answers.MEDIAN, "mad": answers.MAD,
    "known_count": answers.COUNTED, "fraud_count": answers.FRAUD_COUNT, "fraud_rate": answers.FRAUD_RATE,
    "smoothed_rate": answers.SMOOTHED, "seconds_since_first_fraud": answers.FIRST_FRAUD,
    "seconds_since_last_fraud": answers.LATEST_FRAUD, "hour_distance": answers.HOUR_DISTANCE,
    "hour_concentration": answers.HOUR_CONCENTRATION,
}  # fmt: skip
_RECENCIES = {
    "seconds_since_last": answers.SINCE_LAST, "seconds_since_first": answers.SINCE_FIRST,
    "seconds_since_last_known_fraud": answers.SINCE_FRAUD, "seconds_since_fraud_run_began": answers.SINCE_RUN,
}  # fmt: skip
_PAIRS = {
    "first_time": answers.PAIR_NEW, "count": answers.PAIR_COUNT, "seconds_since_last": answers.PAIR_SINCE,
}  # fmt: skip
_LINKS = {
    "component_size": answers.LINK_SIZE, "component_age_seconds": answers.LINK_AGE,
    "component_fraud_rate": answers.LINK_RATE, "degree": answers.LINK_DEGREE,
}  # fmt: skip
_FLAGS = {
    "sum": logs.NUMBER | logs.SUMS, "mean": logs.NUMBER | logs.SUMS,
    "std": logs.NUMBER | logs.SUMS | logs.SQUARES, "max": logs.LARGEST, "min": logs.SMALLEST,
    "fraud_count": logs.NUMBER, "fraud_rate": logs.NUMBER, "smoothed_rate": logs.NUMBER,
    "seconds_since_first_fraud": logs.SMALLEST, "seconds_since_last_fraud": logs.LARGEST,
}  # fmt: skip


@dataclass
class Column:
    """A column of numbers of a log: what stands beside it, the windows that are kept sorted, where its header is."""

    flags: int = 0
    windows: list[int] = field(default_factory=list)
    header: int = 0


@dataclass
class Track:
    """One kind of log: whose, of what, over how long; its columns and codes, its place in a body and in the layout."""

    table: str
    space: int
    where: RowExpr | None
    window_us: int = 0
    columns: dict[str, Column] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    place: int = 0
    at: int = 0

    def column(self, name: str, flags: int = 0, window_us: int | None = None) -> None:
        """Ask for a column, and for what stands beside it."""
        column = self.columns.setdefault(name, Column())
        column.flags |= flags
        if window_us is not None and window_us not in column.windows:
            column.windows.append(window_us)

    @property
    def words(self) -> int:
        """Words of its header."""
        sorted_words = logs.SORTED_WORDS * sum(len(column.windows) for column in self.columns.values())
        return (
            logs.HEADER_WORDS
            + sum(logs.value_words(column.flags) for column in self.columns.values())
            + sorted_words
            + logs.DISTINCT_WORDS * len(self.codes)
        )

    def words_of_positions(self, n: float, n_logs: float) -> float:
        """Return the words that n positions in so many logs take, with what stands beside them."""
        beside = {logs.NUMBER: 1, logs.SUMS: 2, logs.SQUARES: 4, logs.LARGEST: 1, logs.SMALLEST: 1}
        code = 1.5 if n <= logs.SMALL / 2 * n_logs else 6.0
        words = 1.0 + code * len(self.codes)
        for column in self.columns.values():
            words += 1 + len(column.windows) + sum(size for flag, size in beside.items() if column.flags & flag)
        return words * (POSITIONS_KEPT * n + n_logs)


@dataclass
class Space:
    """The values of an entity, or of a pair of entities: whether they are kept for ever, and what their slots hold."""

    names: tuple[str, ...]
    kept: bool = False
    gaps: list[int] = field(default_factory=list)
    links: list[tuple[int, int]] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)

    @property
    def is_pair(self) -> bool:
        """Whether its values are pairs of entities."""
        return len(self.names) == 2

    @property
    def runs_at(self) -> int:
        """Where the runs of frauds begin in a slot."""
        return arena.SLOT_WORDS

    def link_at(self, i: int) -> int:
        """Where the node of its i-th link is in a slot."""
        return arena.SLOT_WORDS + arena.RUN_WORDS * len(self.gaps) + arena.LINK_WORDS * i

    @property
    def slot_words(self) -> int:
        """Words of a slot."""
        return self.link_at(len(self.links))


@dataclass
class Inputs:
    """What rows of one table have to bring: numbers and codes by the name of their column, and conditions."""

    numbers: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    wheres: dict[str, RowExpr] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """Give the place of a number."""
        return _place(self.numbers, name)

    def code(self, name: str) -> int:
        """Give the place of a code."""
        return _place(self.codes, name)

    def where(self, expr: RowExpr | None) -> int:
        """Give the place, among the codes, of a condition; -1 for none."""
        if expr is None:
            return -1
        self.wheres[expr.sql] = expr
        return _place(self.codes, f"where {expr.sql}")


def _place(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)


@dataclass(frozen=True)
class Round:
    """One turn of answering: steps whose answer the state knows, then those that are computed from one row."""

    program: np.ndarray[tuple[int, int], np.dtype[np.int64]]
    asked: tuple[str, ...]
    computed: tuple[str, ...]


class Plan:
    """What is remembered, and how an event is answered.

    Attributes
    ----------
    spaces, tracks
        The key spaces, and the logs of all of them.
    inputs
        By table (the events are ``""``): what its rows have to bring.
    layout
        The same for the compiled loops.
    links
        The families of links, for the compiled loops.
    rounds
        In which order an event's features are answered.
    lookups
        Other table and entity of each attribute that is looked up.
    lookback
        What all features together can see of the past.
    horizon_us
        How long an idle entity is remembered whole.
    needs_labels
        Whether outcomes matter at all.
    """

    def __init__(self, features: FeatureSet, *, wait_us: int) -> None:
        self.features = features
        self.places = {step.name: i for i, step in enumerate(_in_order(features))}
        self.spaces: list[Space] = []
        self.tracks: list[Track] = []
        self.inputs = {name: Inputs() for name in ("", LABELS, *features.sources)}
        self.inputs[LABELS].numbers += [FRAUD_TIME, EVENT_TIME]
        self._families: list[LinkSpec] = []
        self.lookups: list[tuple[str, str]] = []
        for step in features.steps:
            self._collect(step)
        self.lookback = lookback_of(features)
        for space in self.spaces:
            space.kept = any(set(space.names) <= set(key) for key in self.lookback.for_ever)
        self.needs_labels = self.lookback.outcomes
        self.horizon_us = max(self.lookback.longest_us, wait_us if self.needs_labels else 0)
        self._give_headers()
        self.layout = self._layout()
        self.links = np.array([self._family(spec) for spec in self._families], np.int64).reshape(
            -1, intake.FAMILY_WORDS
        )
        self.rounds = self._rounds()

    def tracks_of(self, table: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Give where the layout describes the logs that rows of a table go to."""
        return np.array([track.at for track in self.tracks if track.table == table], np.int64)

    def space(self, *names: str) -> int:
        """Give the number of a key space, which is made on its first mention."""
        for i, space in enumerate(self.spaces):
            if space.names == names:
                return i
        if len(self.spaces) == arena.MAX_SPACES:
            msg = f"features: more than {arena.MAX_SPACES} entities and pairs of entities have a history"
            raise ProjectError(msg)
        self.spaces.append(Space(names))
        return len(self.spaces) - 1

    def predicted_bytes(
        self,
        events_per_day: float,
        n_entities: Mapping[str, int],
        *,
        rows_per_day: float,
        wait_us: int,
        record_words: int,
    ) -> int:
        """See `OnlineFeatures.predicted_bytes`."""
        size = 0.0
        for track in self.tracks:
            n = (events_per_day if track.table in ("", LABELS) else rows_per_day) * track.window_us / _DAY
            n_logs = min(n, n_entities.get("+".join(self.spaces[track.space].names), 0))
            size += 8 * ROUNDED * (track.words_of_positions(n, n_logs) + track.words * n_logs)
        for space in self.spaces:
            n = n_entities.get("+".join(space.names), 0)
            words = space.slot_words + max(len(space.tracks), arena.SMALLEST)
            size += n * (PAIR_BYTES if space.is_pair else 8 * words + NAME_BYTES * (1 if space.kept else 2))
        return int(size + events_per_day * wait_us / _DAY * RECORD_ROOM * (8 * record_words + 8))

    # ------------------------------------------------------------ what is remembered

    def _collect(self, step: Feature) -> None:
        spec = step.spec
        if isinstance(spec, (WindowSpec, SourceWindowSpec)):
            table = spec.source if isinstance(spec, SourceWindowSpec) else ""
            track = self._track(table, spec.entity, spec.where, spec.window_us)
            if spec.kind == "nunique" and spec.column is not None:
                track.codes.setdefault(spec.column, 0)
            elif spec.column is not None:
                sorted_window = spec.window_us if spec.kind in {"median", "mad"} else None
                track.column(spec.column, _FLAGS.get(spec.kind, 0), sorted_window)
        elif isinstance(spec, HourSpec):
            track = self._track("", spec.entity, None, spec.window_us)
            for name in (COSINE, SINE):
                track.column(name, _FLAGS["sum"])
        elif isinstance(spec, LabelSpec):
            track = self._track(LABELS, spec.entity, None, spec.window_us)
            track.column(FRAUD_TIME, _FLAGS.get(spec.kind, 0))
            track.column(EVENT_TIME)
        elif isinstance(spec, RecencySpec):
            space = self.spaces[self.space(spec.entity)]
            if spec.kind == "seconds_since_fraud_run_began" and spec.gap_us not in space.gaps:
                space.gaps.append(spec.gap_us)
        elif isinstance(spec, (PairSpec, LinkSpec)):
            self._pair(spec)
        elif isinstance(spec, LookupSpec) and (spec.source, spec.entity) not in self.lookups:
            self.lookups.append((spec.source, spec.entity))

    def _track(self, table: str, entity: str, where: RowExpr | None, window_us: int) -> Track:
        number = self.space(entity)
        for track in self.spaces[number].tracks:
            same = (track.where and track.where.sql) == (where and where.sql)
            if track.table == table and same:
                break
        else:
            track = Track(table, number, where)
            self.spaces[number].tracks.append(track)
            self.tracks.append(track)
        track.window_us = max(track.window_us, window_us)
        return track

    def _pair(self, spec: PairSpec | LinkSpec) -> None:
        for names in ((spec.entities[0],), (spec.entities[1],), spec.entities):
            self.space(*names)
        if isinstance(spec, LinkSpec) and not any(_same_family(spec, other) for other in self._families):
            family = len(self._families)
            self._families.append(spec)
            for size, entity in ((1, spec.entities[0]), (0, spec.entities[1])):
                self.spaces[self.space(entity)].links.append((family, size))

    def _give_headers(self) -> None:
        for space in self.spaces:
            for place, track in enumerate(space.tracks):
                track.place = place
                inside = logs.HEADER_WORDS
                for column in track.columns.values():
                    column.header = inside
                    inside += logs.value_words(column.flags) + logs.SORTED_WORDS * len(column.windows)
                for name in track.codes:
                    track.codes[name] = inside
                    inside += logs.DISTINCT_WORDS

    # ------------------------------------------------------------ the layout

    def _layout(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Write everything down as the compiled loops read it; see `arena` and `logs` for the places."""
        spaces_at = arena.LAYOUT_WORDS
        words = [self.horizon_us, len(self.spaces), spaces_at]
        words += [0] * (arena.SPACE_WORDS * len(self.spaces))
        for track in self.tracks:
            track.at = len(words)
            words += self._track_words(track, spaces_at)
            columns_at = len(words)
            words += [0] * (logs.COLUMN_WORDS * len(track.columns))
            for i, (name, column) in enumerate(track.columns.items()):
                own = self.inputs[track.table].number(name)
                described = [
                    column.header,
                    own,
                    column.flags,
                    len(column.windows),
                    len(words),
                    logs.NO_LOW,
                    logs.NO_HIGH,
                    logs.value_words(column.flags),
                ]
                words[columns_at + i * logs.COLUMN_WORDS : columns_at + (i + 1) * logs.COLUMN_WORDS] = described
                words += column.windows
            words[track.at + logs.T_COLUMNS], words[track.at + logs.T_CODES] = columns_at, len(words)
            for name, header in track.codes.items():
                words += [header, self.inputs[track.table].code(name)]
        for number, space in enumerate(self.spaces):
            at = spaces_at + number * arena.SPACE_WORDS
            body = len(space.tracks)
            described = [space.slot_words, body, space.runs_at, len(space.gaps), len(words), int(space.kept)]
            words += space.gaps
            described += [len(space.links), len(words)]
            words += [word for i, (_, size) in enumerate(space.links) for word in (space.link_at(i), size)]
            described += [len(space.tracks), len(words)]
            described += [int(space.is_pair)]
            words += [track.at for track in space.tracks]
            words[at : at + arena.SPACE_WORDS] = described
        return np.array(words, np.int64)

    def _track_words(self, track: Track, spaces_at: int) -> list[int]:
        where = self.inputs[track.table].where(track.where)
        space_at = spaces_at + track.space * arena.SPACE_WORDS
        return [
            track.place, track.window_us, len(track.columns), len(track.codes), where, space_at, 0, 0, track.space,
            track.words,
        ]  # fmt: skip

    def _family(self, spec: LinkSpec) -> list[int]:
        numbers = [self.space(spec.entities[0]), self.space(spec.entities[1]), self.space(*spec.entities)]
        places = [self._node(spec, entity) for entity in spec.entities]
        return [*numbers, *places, spec.hub]

    def _node(self, spec: LinkSpec, entity: str) -> int:
        """Give where the node of a family is in the slots of an entity."""
        family = next(i for i, other in enumerate(self._families) if _same_family(spec, other))
        space = self.spaces[self.space(entity)]
        return space.link_at(next(i for i, (other, _) in enumerate(space.links) if other == family))

    # ------------------------------------------------------------ the program

    def _rounds(self) -> tuple[Round, ...]:
        """Put the steps in order: what the state knows as soon as it can be asked, and what one row is enough for."""
        wheres = {f"where {key}": expr.columns for key, expr in self.inputs[""].wheres.items()}
        there = {step.name for step in self.features.steps if isinstance(step.spec, RawSpec)}
        left = {step.name: _needs_now(step) for step in self.features.steps} | wheres
        left = {name: tuple(need for need in needs if need not in there) for name, needs in left.items()}
        done: set[str] = set()
        out: list[Round] = []
        while left:
            ready = [name for name, needs in left.items() if not (set(needs) & set(left)) and self._is_asked(name)]
            for name in ready:
                del left[name]
            computed: list[str] = []
            while more := [
                name for name, needs in left.items() if not (set(needs) & set(left)) and not self._is_asked(name)
            ]:
                computed += more
                for name in more:
                    del left[name]
            done.update(ready, computed)
            lines = sorted((self._line(name) for name in ready), key=_by_range)
            program = np.array(lines, np.int64).reshape(-1, answers.LINE_WORDS)
            out.append(Round(program, tuple(ready), tuple(computed)))
        return tuple(out)

    def _is_asked(self, name: str) -> bool:
        return name in self.places and isinstance(
            self.features[name].spec,
            (WindowSpec, SourceWindowSpec, LabelSpec, RecencySpec, PairSpec, LinkSpec, HourSpec),
        )

    def _line(self, name: str) -> list[int]:
        spec, out = self.features[name].spec, self.places[name]
        if isinstance(spec, RecencySpec):
            space = self.space(spec.entity)
            run = spec.gap_us in self.spaces[space].gaps and "run" in spec.kind
            more = (
                self.spaces[space].runs_at + arena.RUN_WORDS * self.spaces[space].gaps.index(spec.gap_us) if run else 0
            )
            return [_RECENCIES[spec.kind], out, space, 0, 0, 0, 0, -1, -1, more, 0]
        if isinstance(spec, PairSpec):
            return [_PAIRS[spec.kind], out, self.space(*spec.entities), 0, 0, 0, 0, -1, -1, 0, 0]
        if isinstance(spec, LinkSpec):
            first, second, pair, place_a, place_b, hub = self._family(spec)
            return [_LINKS[spec.kind], out, first, 0, 0, hub, 0, second, -1, place_a | place_b << 16, pair]
        if isinstance(spec, (WindowSpec, SourceWindowSpec)):
            return self._window_line(spec, out)
        if isinstance(spec, HourSpec):
            track = self._track("", spec.entity, None, 0)
            places = track.columns[COSINE].header, track.columns[SINE].header
            own = self.inputs[""].number(MINUTE)
            return [
                _OPERATIONS[spec.kind], out, track.space, track.place, places[0], spec.window_us, 0, own, -1,
                places[1], 0,
            ]  # fmt: skip
        if not isinstance(spec, LabelSpec):
            raise TypeError(name)
        track = self._track(LABELS, spec.entity, None, 0)
        strength = int(np.float64(spec.prior_strength).view(np.int64))
        place, more = track.columns[FRAUD_TIME].header, track.columns[EVENT_TIME].header
        return [
            _OPERATIONS[spec.kind], out, track.space, track.place, place, spec.window_us, answers.OF_OUTCOMES, -1, -1,
            more, strength,
        ]  # fmt: skip

    def _window_line(self, spec: WindowSpec | SourceWindowSpec, out: int) -> list[int]:
        table = spec.source if isinstance(spec, SourceWindowSpec) else ""
        track, inputs = self._track(table, spec.entity, spec.where, 0), self.inputs[table]
        current = int(isinstance(spec, WindowSpec) and spec.include_current)
        place, own, more = 0, -1, 0
        if spec.kind == "nunique" and spec.column is not None:
            place, own = track.codes[spec.column], inputs.code(spec.column)
        elif spec.column is not None:
            column = track.columns[spec.column]
            place, own = column.header, inputs.number(spec.column)
            if spec.kind in {"median", "mad"}:
                more = logs.value_words(column.flags) + logs.SORTED_WORDS * column.windows.index(spec.window_us)
        where = inputs.where(spec.where)
        return [
            _OPERATIONS[spec.kind], out, track.space, track.place, place, spec.window_us, current, own, where, more, 0
        ]  # fmt: skip


def _in_order(features: FeatureSet) -> Iterable[Feature]:
    """Give the features in the model's order, then the hidden steps."""
    return [*features.features, *(step for step in features.steps if step.hidden)]


def _same_family(a: LinkSpec, b: LinkSpec) -> bool:
    return a.entities == b.entities and a.hub == b.hub


def _needs_now(step: Feature) -> tuple[str, ...]:
    """Give what has to be there of the event itself before a step is answered."""
    spec = step.spec
    if isinstance(spec, WindowSpec):
        where = () if spec.where is None else (f"where {spec.where.sql}",)
        return (*spec.needs, *where) if spec.include_current else ()
    return () if isinstance(spec, SourceWindowSpec) else spec.needs


def _by_range(line: list[int]) -> tuple[int, ...]:
    """Put lines over one range together: by slot, log, window."""
    is_slot = line[answers.P_OP] >= answers.FIRST_OF_SLOT
    keys = (answers.P_SLOT, answers.P_HEADER, answers.P_WINDOW, answers.P_COLUMN, answers.P_OP)
    return (int(is_slot), *(line[key] for key in keys))
