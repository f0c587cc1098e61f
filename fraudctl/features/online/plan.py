"""Compile the features of a project into a memory layout and a program that answers an event.

Owns the layout of slots and logs (entities, logs of each, columns of a log and their derived arrays), and the order in
which kernels and row-level expressions run. The requests of each family are in `hooks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.definition import Feature, FeatureSet
from fraudctl.features.meaning.lookback import lookback_of
from fraudctl.features.online import answers, arena, hops, intake, log_words, sorted_blocks, texts
from fraudctl.features.online.hooks import ONLINE, LinkFamily
from fraudctl.features.online.tracks import (
    EVENT_TIME,
    FRAUD_TIME,
    LABELS,
    NAME_BYTES,
    PAIR_BYTES,
    RECORD_ROOM,
    ROUNDED,
    Inputs,
    Space,
    Track,
)
from fraudctl.features.rows.read import RowExpr

_DAY = 86_400_000_000


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
    second_hops, hops
        Numbers of the families of links whose second hop is asked for; the same for the compiled loops.
    decays
        The fading sums, for the compiled loops: see `intake.take_event`.
    rounds
        In which order an event's features are answered.
    texts
        Columns of texts that answers give again, each with the longest window that does, in µs.
    lookups
        Other table and entity of each attribute that is looked up.
    lookback
        What all features together can see of the past.
    horizon_us
        How long an idle entity is remembered whole.
    needs_labels
        Whether outcomes matter at all.
    in_order
        Whether any answer depends on the order of events of one instant, which is that of their ids.
    """

    def __init__(self, features: FeatureSet, *, wait_us: int) -> None:
        self.features = features
        self.places = {step.name: i for i, step in enumerate(_in_order(features))}
        self.spaces: list[Space] = []
        self.tracks: list[Track] = []
        self.inputs = {name: Inputs() for name in ("", LABELS, *features.sources)}
        self.inputs[LABELS].numbers += [FRAUD_TIME, EVENT_TIME]
        self.link_families: list[LinkFamily] = []
        self.second_hops: list[int] = []
        self.lookups: list[tuple[str, str]] = []
        self.texts: dict[str, int] = {}
        for step in features.steps:
            ONLINE[type(step.spec)].remember(self, step.spec)
        self.lookback = lookback_of(features)
        for space in self.spaces:
            space.kept = any(set(space.names) <= set(key) for key in self.lookback.for_ever)
        self.in_order = any(track.in_order for track in self.tracks) or any(
            space.decays or space.hops for space in self.spaces
        )
        self.needs_labels = self.lookback.outcomes
        self.horizon_us = max(self.lookback.longest_us, wait_us if self.needs_labels else 0)
        self._give_headers()
        self.layout = self._layout()
        families = [self.link_words(family) for family in self.link_families]
        self.links = np.array(families, np.int64).reshape(-1, intake.FAMILY_WORDS)
        self.decays = np.array(list(self._decays()), np.int64).reshape(-1, 4)
        families = [self.hop_words(self.link_families[number]) for number in self.second_hops]
        self.hops = np.array(families, np.int64).reshape(-1, hops.HOP_WORDS)
        self.rounds = self._rounds()

    def tracks_of(self, table: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return where the layout describes the logs that rows of a table go to."""
        return np.array([track.at for track in self.tracks if track.table == table], np.int64)

    def space(self, *names: str) -> int:
        """Return the number of a key space, which is made on its first mention."""
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
        size += sum(texts.OBJECT * n_entities.get(name, 0) for name in self.texts)
        for space in self.spaces:
            n = n_entities.get("+".join(space.names), 0)
            words = space.slot_words + max(len(space.tracks), arena.SMALLEST)
            size += n * (PAIR_BYTES if space.is_pair else 8 * words + NAME_BYTES * (1 if space.kept else 2))
        return int(size + events_per_day * wait_us / _DAY * RECORD_ROOM * (8 * record_words + 8))

    # ------------------------------------------------------------ what is remembered

    def track(self, table: str, entity: str, where: RowExpr | None, window_us: int) -> Track:
        """Return the log of a table's rows that meet a condition, which is made on its first mention."""
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

    def _give_headers(self) -> None:
        for space in self.spaces:
            for place, track in enumerate(space.tracks):
                track.place = place
                inside = log_words.HEADER_WORDS
                for column in track.columns.values():
                    column.header = inside
                    inside += log_words.value_words(column.flags) + log_words.SORTED_WORDS * len(column.windows)
                for name in track.codes:
                    track.codes[name] = inside
                    inside += log_words.DISTINCT_WORDS

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
            words += [0] * (log_words.COLUMN_WORDS * len(track.columns))
            for i, (name, column) in enumerate(track.columns.items()):
                own = self.inputs[track.table].number(name)
                described = [
                    column.header,
                    own,
                    column.flags,
                    len(column.windows),
                    len(words),
                    log_words.NO_LOW,
                    log_words.NO_HIGH,
                    log_words.value_words(column.flags),
                ]
                at = columns_at + i * log_words.COLUMN_WORDS
                words[at : at + log_words.COLUMN_WORDS] = described
                words += column.windows
            words[track.at + log_words.T_COLUMNS], words[track.at + log_words.T_CODES] = columns_at, len(words)
            for name, header in track.codes.items():
                copies = sorted_blocks.CODED if name in track.sorted_codes else 0
                words += [header, self.inputs[track.table].code(name) | copies]
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

    def link_words(self, family: LinkFamily) -> list[int]:
        """Return a family of links as the compiled loops read it: spaces, places of nodes in slots, and the hub."""
        entities, hub = family
        numbers = [self.space(entities[0]), self.space(entities[1]), self.space(*entities)]
        return [*numbers, *(self._node(family, entity) for entity in entities), hub]

    def _decays(self) -> Iterable[list[int]]:
        """Return the fading sums: key space, place in its slots, place of the number (-1: events count), half-life."""
        for number, space in enumerate(self.spaces):
            if space.slot_words > arena.MAX_SLOT:
                msg = f"features.decay: more fading sums of {space.names[0]!r} than a state can hold"
                raise ProjectError(msg, hint="use fewer half-lives or columns")
            for i, (half_life, column) in enumerate(space.decays):
                own = -1 if column is None else self.inputs[""].number(column)
                yield [number, space.decay_at(i), own, half_life]

    def hop_words(self, family: LinkFamily) -> list[int]:
        """Return the second hop of a family of links as the compiled loops read it: see `hops`."""
        first, second, pair, *_, hub = self.link_words(family)
        number = self.link_families.index(family)
        places = [space.hop_at(space.hops.index(number)) for space in (self.spaces[first], self.spaces[second])]
        return [first, second, pair, *places, hub]

    def _node(self, family: LinkFamily, entity: str) -> int:
        """Return where the node of a family is in the slots of an entity."""
        number = self.link_families.index(family)
        space = self.spaces[self.space(entity)]
        return space.link_at(next(i for i, (other, _) in enumerate(space.links) if other == number))

    # ------------------------------------------------------------ the program

    def _rounds(self) -> tuple[Round, ...]:
        """Return the steps in rounds: what the state can be asked by then, then what is computed from the row."""
        wheres = {f"where {key}": expr.columns for key, expr in self.inputs[""].wheres.items()}
        steps = self.features.steps
        there = {step.name for step in steps if step.is_column}
        left = {step.name: ONLINE[type(step.spec)].needs_now(step.spec) for step in steps} | wheres
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
        return name in self.places and ONLINE[type(self.features[name].spec)].line is not None

    def _line(self, name: str) -> list[int]:
        spec = self.features[name].spec
        line = ONLINE[type(spec)].line
        if line is None:
            raise TypeError(name)
        return line(self, spec, self.places[name])


def _in_order(features: FeatureSet) -> Iterable[Feature]:
    """Return the features in the model's order, then the hidden steps."""
    return [*features.features, *(step for step in features.steps if step.hidden)]


def _by_range(line: list[int]) -> tuple[int, ...]:
    """Return a sort key that puts lines over one range together: by slot, log, window."""
    is_slot = line[answers.P_OP] >= answers.FIRST_OF_SLOT
    keys = (answers.P_SLOT, answers.P_HEADER, answers.P_WINDOW, answers.P_COLUMN, answers.P_OP)
    return (int(is_slot), *(line[key] for key in keys))
