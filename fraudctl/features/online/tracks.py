"""What the plan of a state is made of: key spaces, the logs of each, and what rows of a table bring to them."""

from __future__ import annotations

from dataclasses import dataclass, field

from fraudctl.features.batch import fading
from fraudctl.features.online import arena, hops, log_words, sorted_blocks
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
"""Names of the inputs of hours; columns of the data have none that begin with a dot."""
FRAUD_TIME, EVENT_TIME = ".fraud_time", ".event_time"
EVERY_FRAUD = -1
"""Gap of runs in which every known fraud is a run of its own: kept where a fraud may be taken back."""
LABELS = ".labels"
"""The name under which outcomes have their logs, as other tables have under theirs; that of the events is empty."""


@dataclass
class Column:
    """A column of numbers of a log: what is kept with it, the windows that are kept sorted, the place of its header."""

    flags: int = 0
    windows: list[int] = field(default_factory=list)
    header: int = 0


@dataclass
class Track:
    """One kind of log: whose, of what, over how long; its columns and codes, its place in a body and in the layout.

    ``sorted_codes`` are the codes whose blocks are sorted; ``in_order`` says whether events of one instant have to
    stand in the order of their ids.
    """

    table: str
    space: int
    where: RowExpr | None
    window_us: int = 0
    columns: dict[str, Column] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    sorted_codes: set[str] = field(default_factory=set)
    place: int = 0
    at: int = 0
    in_order: bool = False

    def column(self, name: str, flags: int = 0, window_us: int | None = None) -> None:
        """Add a column, or what is kept with it, to the log."""
        column = self.columns.setdefault(name, Column())
        column.flags |= flags
        if window_us is not None and window_us not in column.windows:
            column.windows.append(window_us)

    @property
    def words(self) -> int:
        """Words of its header."""
        sorted_words = log_words.SORTED_WORDS * sum(len(column.windows) for column in self.columns.values())
        return (
            log_words.HEADER_WORDS
            + sum(log_words.value_words(column.flags) for column in self.columns.values())
            + sorted_words
            + log_words.DISTINCT_WORDS * len(self.codes)
        )

    def words_of_positions(self, n: float, n_logs: float) -> float:
        """Return the words that ``n`` positions in ``n_logs`` logs take, with all that is kept with them."""
        extra = {
            sorted_blocks.SORTED: 1,
            log_words.NUMBER: 0.5,
            log_words.SUMS: 2,
            log_words.SQUARES: 4,
            log_words.LARGEST: 1,
            log_words.SMALLEST: 1,
        }
        code = 1.5 if n <= log_words.SMALL / 2 * n_logs else 6.0
        words = 1.0 + code * len(self.codes) + len(self.sorted_codes)
        for column in self.columns.values():
            words += 1 + len(column.windows) + sum(size for flag, size in extra.items() if column.flags & flag)
        return words * (POSITIONS_KEPT * n + n_logs)


@dataclass
class Space:
    """The values of an entity, or of a pair of entities: whether they are kept for ever, and what their slots hold."""

    names: tuple[str, ...]
    kept: bool = False
    gaps: list[int] = field(default_factory=list)
    links: list[tuple[int, int]] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    decays: list[tuple[int, str | None]] = field(default_factory=list)
    hops: list[int] = field(default_factory=list)

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
        return self.hop_at(len(self.hops))

    def hop_at(self, i: int) -> int:
        """Where the partners of its i-th second hop are in a slot."""
        return self.decay_at(len(self.decays)) + hops.PARTNER_WORDS * i

    def decay_at(self, i: int) -> int:
        """Where the i-th of its fading sums, each of a half-life and a column, is in a slot."""
        return self.link_at(len(self.links)) + fading.CELL_WORDS * i


@dataclass
class Inputs:
    """What rows of one table have to bring: numbers and codes by the name of their column, and conditions."""

    numbers: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    wheres: dict[str, RowExpr] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """Return the place of a number."""
        return _place(self.numbers, name)

    def code(self, name: str) -> int:
        """Return the place of a code."""
        return _place(self.codes, name)

    def where(self, expr: RowExpr | None) -> int:
        """Return the place, among the codes, of a condition; -1 for none."""
        if expr is None:
            return -1
        self.wheres[expr.sql] = expr
        return _place(self.codes, f"where {expr.sql}")


def _place(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)
