"""Which rows training may know: ``as_of``, maturity, the label delay as a gap, and prequential folds.

Owns every decision about time between the feature table and a fit: the training period, the periods of the folds, which
labels had arrived, and which events a block on known frauds would have kept out. Data without a time are split at
random, by a hash of the event id, where the project asks for that by name. It fits nothing and scores nothing.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from fraudctl.data.labels import known_labels, timed
from fraudctl.errors import DataError, UsageError
from fraudctl.maturity import block_since, instant, known_blocked, period_start
from fraudctl.text import figures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fraudctl.project import Duration, Project

FEW_FRAUDS = 30
"""Fewer frauds than this in a training period are warned about."""

NEVER_SCORES = (
    "a model of data without a time can be evaluated but never score: `score`, `state` and `serve` take events in the "
    "order of time and refuse it; if it is to decide, give [data] an event_time first"
)
"""Said before anything is trained."""

_LONGEST_DEFAULT_TEST = timedelta(days=30)
_LEAST_HISTORY = timedelta(days=7)
"""A fold with less history than this, or than its validation period, rehearses nothing."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEFAULT_TEST_SHARE = 0.2


@dataclass(frozen=True)
class TimeSplit:
    """A split by time: training knows what came before ``as_of``, and the test follows."""

    JSON = ("kind",)

    @property
    def kind(self) -> Literal["time"]:
        """A split by time."""
        return "time"


@dataclass(frozen=True)
class RandomSplit:
    """A split by chance: what it takes to find the test events again.

    An event belongs to the test by a hash of the seed and its id alone, whatever other events there are.
    """

    JSON = ("kind", "seed", "test_share")

    seed: int
    """Seed of the hash."""
    test_share: float
    """Share of the events that are the test."""

    def draws(self, event_id: pl.Series) -> NDArray[np.float64]:
        """Return a number in [0, 1) per event id, shape ``(n_events,)``; those below ``test_share`` are the test.

        >>> RandomSplit(0, 0.2).draws(pl.Series([1, 2])).round(3).tolist()
        [0.274, 0.877]
        """
        key = str(self.seed).encode()
        hashed = [hashlib.blake2b(str(name).encode(), digest_size=8, key=key).digest() for name in event_id.to_list()]
        whole = np.frombuffer(b"".join(hashed), dtype=">u8").astype(np.float64)
        return np.asarray(whole / 2.0**64 * (1.0 - 2.0**-53), dtype=np.float64)

    def test_rows(self, event_id: pl.Series) -> NDArray[np.bool_]:
        """Tell the events of the test, shape ``(n_events,)``."""
        return np.asarray(self.draws(event_id) < self.test_share, dtype=np.bool_)

    @property
    def kind(self) -> Literal["random"]:
        """A split by chance."""
        return "random"

    @classmethod
    def from_facts(cls, facts: Any) -> RandomSplit | None:
        """Read the split of a bundle from its manifest's facts; None where it was split by time."""
        found = facts.get("split")
        return cls(found["seed"], found["test_share"]) if found and found["kind"] == "random" else None


def random_split(project: Project) -> RandomSplit | None:
    """Return the random split that a project asks for, or None where it is split by time."""
    share = project.split.test_share
    if project.split.kind != "random":
        return None
    return RandomSplit(project.train.seed, DEFAULT_TEST_SHARE if share is None else share)


@dataclass(frozen=True)
class Periods:
    """The training period ``[train_from, train_until)`` and the test period ``[as_of, test_until)``, without folds.

    Attributes
    ----------
    as_of
        Training knows nothing later; the start of the test period.
    train_until
        ``as_of - label_delay``.
    """

    as_of: datetime
    test_until: datetime
    train_from: datetime
    train_until: datetime

    @classmethod
    def from_facts(cls, facts: Any, *, as_of: datetime) -> Periods:
        """Read the periods of a bundle from its manifest's facts."""
        until, start, end = (
            datetime.fromisoformat(facts[name]) for name in ("test_until", "train_from", "train_until")
        )
        return cls(as_of, until, start, end)


@dataclass(frozen=True)
class FoldPeriods:
    """The training period ``[train_from, train_until)`` and the validation period ``[valid_from, valid_until)``."""

    train_from: datetime
    train_until: datetime
    valid_from: datetime
    valid_until: datetime

    @property
    def as_of(self) -> datetime:
        """What the fold's model may know: the start of its validation period."""
        return self.valid_from


@dataclass(frozen=True)
class Fold:
    """One rehearsal of training and use: fitted on what was known at its ``as_of``, judged on the period after it.

    Attributes
    ----------
    number
        1 for the earliest fold.
    periods
        None where the data have no time, and the fold was drawn by chance.
    train, valid
        Masks over the rows of the feature table, shape ``(n_events,)``.
    n_blocked
        Validation events left out because their entity was known to be defrauded.
    others
        Further events of the validation period, whose label is not known and that no block keeps out: they take slots
        of a capacity, shape ``(n_events,)``.
    lead
        Of the earliest fold, events before its validation period from the start of the local week (Monday): they had
        taken slots when it began. None for other folds.
    """

    number: int
    periods: FoldPeriods | None
    train: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    n_blocked: int
    others: NDArray[np.bool_]
    lead: NDArray[np.bool_] | None = None

    @property
    def n_unknown(self) -> int:
        """Number of `others`."""
        return int(self.others.sum())

    @property
    def times(self) -> FoldPeriods:
        """Its periods, where the data have a time; else a ValueError."""
        return timed(self.periods)

    @property
    def as_of(self) -> datetime | None:
        """What the fold's model may know, the start of its validation period; None without a time."""
        return None if self.periods is None else self.periods.as_of


@dataclass(frozen=True)
class Split:
    """What the final fit may know, its folds from the earliest to the latest, and the test period.

    Attributes
    ----------
    layout
        The training and the test period; the random split where the data have no time.
    train
        Mask over the rows of the feature table: mature and labelled at ``as_of``, shape ``(n_events,)``.
    folds
        The prequential folds, at least one.
    warnings
        Sentences about what the data did not allow.
    """

    layout: Periods | RandomSplit
    train: NDArray[np.bool_]
    folds: tuple[Fold, ...]
    warnings: tuple[str, ...]

    @property
    def by_chance(self) -> RandomSplit | None:
        """The random split; None where the data have a time."""
        return self.layout if isinstance(self.layout, RandomSplit) else None

    @property
    def periods(self) -> Periods | None:
        """The training and the test period; None where the data have no time."""
        return self.layout if isinstance(self.layout, Periods) else None

    @property
    def times(self) -> Periods:
        """The training and the test period, where the data have a time; else a ValueError."""
        return timed(self.periods)

    @property
    def as_of(self) -> datetime | None:
        """What training may know; None without a time."""
        return None if self.periods is None else self.periods.as_of


def make_split(
    frame: pl.DataFrame, project: Project, *, known_until: datetime | None, as_of: datetime | date | None = None
) -> Split:
    """Lay out the training period, the folds and the test period of a project.

    Parameters
    ----------
    frame
        The feature table: ``event_time``, ``label``, ``label_time`` and the entities; sorted by event_time.
    project
        Gives ``[split]``, ``label_delay`` and ``[evaluate] block_known``.
    known_until
        Latest instant that the data know of; None where they have no time.
    as_of
        Overrides ``[split] as_of``. Default: ``known_until - label_delay - test``.

    Raises
    ------
    DataError
        No rows, a training period without frauds or without legitimate rows, or not one usable fold.
    UsageError
        ``as_of`` lies after ``known_until``, or the split is a random one and knows no ``as_of``.
    """
    if frame.is_empty():
        msg = "there are no events to train on"
        raise DataError(msg, hint="check [data] events and its filters with `fraudctl check`")
    by_chance = random_split(project)
    if by_chance is not None:
        if as_of is not None:
            msg = "the project is split at random, and so has no as_of"
            raise UsageError(msg, hint="leave --as-of out")
        return _random_layout(frame, by_chance, project.split.folds)
    return _Layout(frame, project, timed(known_until), as_of).split()


def layout_of(
    frame: pl.DataFrame, project: Project, *, known_until: datetime | None, as_of: datetime | date | None = None
) -> Periods | RandomSplit:
    """Return the training and the test period of a project, or its random split; see `make_split`.

    No fold is laid out and no outcome is counted: scores from elsewhere need neither.
    """
    by_chance = random_split(project)
    return by_chance or periods(frame, project, known_until=timed(known_until), as_of=as_of)


def periods(
    frame: pl.DataFrame, project: Project, *, known_until: datetime, as_of: datetime | date | None = None
) -> Periods:
    """Return the training and the test period of a project that is split by time, as `layout_of` does."""
    layout = _Layout(frame, project, known_until, as_of)
    start, end = layout.train_period(layout.as_of)
    return Periods(layout.as_of, layout.as_of + layout.test, start, end)


def _random_layout(frame: pl.DataFrame, by_chance: RandomSplit, n_folds: int) -> Split:
    """Lay out a random split: the same draw says which events are the test, and which fold the others belong to."""
    labels = frame["label"].fill_null(-1).to_numpy()
    draws = by_chance.draws(frame["event_id"])
    rest = (draws >= by_chance.test_share) & (labels >= 0)
    part = np.floor((draws - by_chance.test_share) / (1.0 - by_chance.test_share) * n_folds).astype(np.int64)
    part = np.minimum(part, n_folds - 1)
    groups = [rest, *(rest & (part == k) for k in range(n_folds)), *(rest & (part != k) for k in range(n_folds))]
    counts = [int((labels[rows] == 1).sum()) for rows in groups]
    if not all(0 < n_fraud < int(rows.sum()) for n_fraud, rows in zip(counts, groups, strict=True)):
        msg = f"{counts[0]} frauds in {int(rest.sum())} events are too few for {n_folds} random folds"
        raise DataError(msg, hint="each needs frauds and legitimate events: fewer [split] folds, or more data")
    few = counts[0] < FEW_FRAUDS
    warnings = ["the split is random: it says how well the model knows this data, and nothing about the future"]
    warnings.append(NEVER_SCORES)
    warnings += [f"only {counts[0]} frauds to train on; every figure about them is uncertain"] if few else []
    nobody = np.zeros(frame.height, dtype=np.bool_)
    folds = tuple(Fold(k + 1, None, groups[1 + n_folds + k], groups[1 + k], 0, nobody) for k in range(n_folds))
    return Split(by_chance, rest, folds, tuple(warnings))


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _long(span: timedelta) -> str:
    return figures.length(span / timedelta(seconds=1))


def least_history(validated: timedelta) -> timedelta:
    """Return the training period without which a fold that validates this length rehearses nothing."""
    return min(validated, _LEAST_HISTORY)


def _default_test(span: timedelta) -> timedelta:
    """Return a fifth of the mature span, at most 30 days, in whole days where there are any."""
    fifth = min(span / 5, _LONGEST_DEFAULT_TEST)
    whole = timedelta(days=fifth.days)
    return whole or fifth


class _Layout:
    """The moments of one split, and the masks that follow from them."""

    def __init__(
        self, frame: pl.DataFrame, project: Project, known_until: datetime, as_of: datetime | date | None
    ) -> None:
        self.frame, self.project = frame, project
        self.times = frame["event_time"].to_physical().to_numpy()
        self.first = _EPOCH + timedelta(microseconds=int(self.times.min()))
        self.delay = project.data.label_delay.timedelta
        self.warnings: list[str] = []
        self.lost: list[str] = []
        """Why folds are left out: "history", "frauds" or "legitimate events", one each."""
        self.given = as_of is not None
        self.test = self._test_length(known_until)
        self.as_of = self._as_of(known_until, as_of)

    def _test_length(self, known_until: datetime) -> timedelta:
        if self.project.split.test is not None:
            return self.project.split.test.timedelta
        span = known_until - self.delay - self.first
        if span <= timedelta(0):
            spanned = _long(known_until - self.first)
            msg = f"no event is mature: the data span {spanned}, the label delay is {_long(self.delay)}"
            raise DataError(msg, hint="more history is needed, or [data] label_delay is too long")
        return _default_test(span)

    def _as_of(self, known_until: datetime, given: datetime | date | None) -> datetime:
        wanted = given if given is not None else self.project.split.as_of
        if wanted is None:
            return known_until - self.delay - self.test
        moment = instant(wanted, timezone=self.project.data.timezone)
        if moment > known_until:
            msg = f"as_of {moment.isoformat()} lies after the latest event, {known_until.isoformat()}"
            raise UsageError(msg, hint="as_of must be a time that the data reach; mind [data] timezone")
        return moment

    def split(self) -> Split:
        start, end = self.train_period(self.as_of)
        if end <= self.first:
            raise self._no_history(end)
        train = self._known_rows(start, end, known_at=self.as_of)
        n_fraud, n_legit = self._counts(train, known_at=self.as_of)
        if not n_fraud or not n_legit:
            raise self._one_class("the training period", start, end, n_fraud=n_fraud, n_legit=n_legit)
        if n_fraud < FEW_FRAUDS:
            self._warn(
                f"the training period has only {figures.count(n_fraud, 'fraud')}; every figure about them is uncertain"
            )
        folds = tuple(self._folds())
        if not folds:
            raise self._no_fold()
        if not any(self._counts(fold.valid, known_at=self.as_of)[0] for fold in folds):
            msg = (
                f"no fold has a fraud to validate on: {figures.count(len(folds), 'fold')} of {_long(self.test)} before "
                f"{self.as_of - self.delay:%Y-%m-%d}, {figures.count(n_fraud, 'fraud')} to train on. Without "
                "one, no model, calibration or threshold can be chosen"
            )
            raise DataError(msg, hint="longer periods ([split] test), another as_of, or more history")
        if len(folds) < self.project.split.folds:
            self._warn(f"{len(folds)} of the {self.project.split.folds} folds are possible with this history")
        return Split(Periods(self.as_of, self.as_of + self.test, start, end), train, folds, tuple(self.warnings))

    def _no_history(self, end: datetime) -> DataError:
        """Return the error of an as_of whose training period ends before the first event."""
        msg = (
            f"no event is left to train on: as of {figures.moment(self.as_of)} (UTC) those before "
            f"{figures.moment(end)} are mature, and the first is at {figures.moment(self.first)}"
        )
        delay, given = _long(self.delay), self.given or self.project.split.as_of is not None
        long = f"[data] label_delay, {delay}, is too long: training and test each end that long before what is known"
        return DataError(msg, hint=f"a later as_of, or {long}" if given else f"more history is needed, or {long}")

    def _no_fold(self) -> DataError:
        """Return the error of a history without a fold: the cause that applies, and a remedy that works."""
        lacking = [what for what in ("frauds", "legitimate events") if what in self.lost]
        if lacking:
            n_folds = sum(what in lacking for what in self.lost)
            msg = (
                f"no fold is possible: there are no {' and no '.join(lacking)} with a mature outcome in or before "
                f"{figures.count(n_folds, 'validation period')} of {_long(self.test)}, the last of which ends at "
                f"{figures.moment(self.as_of - self.delay)} (UTC)"
            )
        else:
            msg = (
                f"no fold is possible: the first event is of {figures.moment(self.first)}, as_of is "
                f"{figures.moment(self.as_of)} (UTC), and a fold needs a training period, the label delay twice "
                f"({_long(self.delay)} each) and {_long(self.test)} to validate"
            )
        return DataError(msg, hint="\n".join([*self.warnings, self._remedy(lacking)]))

    def _remedy(self, lacking: Sequence[str]) -> str:
        """Return what makes a fold possible: a shorter test period where one does, else what is missing."""
        from fraudctl.project import Duration

        for part in (2, 4, 8, 16):
            hours = math.floor(self.test / timedelta(hours=part))
            length = f"{hours // 24}d" if hours >= 24 else f"{hours}h"
            if hours and self._folds_with(Duration.parse(length)):
                return f'[split] test = "{length}" leaves a fold'
        if lacking:
            return f"are the {' and '.join(lacking)} of these days missing from the data? add them"
        return "a later as_of or more history helps, and no shorter test period does"

    def _folds_with(self, test: Duration) -> bool:
        """Say whether a test period of another length leaves a fold with a fraud to validate on."""
        split = self.project.split.model_copy(update={"test": test})
        known_until, moved = self.as_of + self.delay + self.test, self.project.split.as_of is None and not self.given
        as_of = known_until - self.delay - test.timedelta if moved else self.as_of
        other = _Layout(self.frame, self.project.model_copy(update={"split": split}), known_until, as_of)
        return any(other._counts(fold.valid, known_at=other.as_of)[0] for fold in other._folds())

    def _warn(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def train_period(self, as_of: datetime) -> tuple[datetime, datetime]:
        end = as_of - self.delay
        length = self.project.split.train
        return (min(self.first, end) if length is None else end - length.timedelta), end

    def _between(self, start: datetime, end: datetime) -> NDArray[np.bool_]:
        return (self.times >= _microseconds(start)) & (self.times < _microseconds(end))

    def _known_rows(self, start: datetime, end: datetime, *, known_at: datetime) -> NDArray[np.bool_]:
        rows: NDArray[np.bool_] = self._between(start, end) & (self._labels(known_at) >= 0)
        return rows

    @functools.cache  # noqa: B019 - lives as long as one split is laid out
    def _labels(self, known_at: datetime) -> NDArray[np.int8]:
        return known_labels(self.frame, known_at)

    def _counts(self, rows: NDArray[np.bool_], *, known_at: datetime) -> tuple[int, int]:
        labels = self._labels(known_at)[rows]
        return int((labels == 1).sum()), int((labels == 0).sum())

    def _folds(self) -> Iterator[Fold]:
        found = [self._fold(back) for back in range(self.project.split.folds, 0, -1)]
        usable = [fold for fold in found if fold is not None]
        yield from (replace(usable[0], lead=self._lead(usable[0])) for _ in usable[:1])
        yield from usable[1:]

    def _lead(self, fold: Fold) -> NDArray[np.bool_]:
        times = fold.times
        start = period_start(times.valid_from, "week", self.project.data.timezone)
        before = self._between(start, times.valid_from)
        return before & ~self._blocked(times.valid_from, times.train_from)

    def _fold(self, back: int) -> Fold | None:
        """Return the fold on the ``back``-th last validation period, or None with a warning where it cannot be."""
        valid_from = self.as_of - self.delay - back * self.test
        start, end = self.train_period(valid_from)
        name = f"the fold validated from {valid_from:%Y-%m-%d}"
        length = self.project.split.train
        wanted = min([least_history(self.test), *([] if length is None else [length.timedelta])])
        history = end - max(start, self.first)
        if history < wanted:
            had, least = (figures.number(max(part, timedelta(0)) / timedelta(days=1)) for part in (history, wanted))
            self._warn(f"{name} is left out: it has {had} days of history, and needs {least}")
            self.lost.append("history")
            return None
        train = self._known_rows(start, end, known_at=valid_from)
        n_fraud, n_legit = self._counts(train, known_at=valid_from)
        if not n_fraud or not n_legit:
            had = f"{figures.count(n_fraud, 'fraud')} and {figures.count(n_legit, 'legitimate row')}"
            self._warn(f"{name} is left out: {had} to train on")
            self.lost.append("legitimate events" if n_fraud else "frauds")
            return None
        valid_until = valid_from + self.test
        valid = self._known_rows(valid_from, valid_until, known_at=self.as_of)
        inside, blocked = self._between(valid_from, valid_until), self._blocked(valid_from, start)
        others = inside & ~valid & ~blocked
        blocked &= valid
        n_valid_fraud, n_valid_legit = self._counts(valid & ~blocked, known_at=self.as_of)
        if not n_valid_legit:
            self._warn(f"{name} is left out: no legitimate row to validate on")
            self.lost.append("legitimate events")
            return None
        if not n_valid_fraud:
            self._warn(f"{name} has no fraud to validate on: it counts for calibration, not for ranking")
        elif n_fraud < FEW_FRAUDS:
            self._warn(f"{name} trains on only {figures.count(n_fraud, 'fraud')}")
        number = self.project.split.folds - back + 1
        during = FoldPeriods(start, end, valid_from, valid_until)
        return Fold(number, during, train, valid & ~blocked, int(blocked.sum()), others)

    def _blocked(self, as_of: datetime, train_from: datetime) -> NDArray[np.bool_]:
        block = self.project.evaluate.block_known
        if block is None:
            return np.zeros(len(self.times), dtype=np.bool_)
        since = block_since(self.project, as_of=as_of, split_as_of=self.as_of, train_from=train_from)
        return known_blocked(self.frame, entity=block.entity, since=since, timezone=self.project.data.timezone)

    def _one_class(self, what: str, start: datetime, end: datetime, *, n_fraud: int, n_legit: int) -> DataError:
        msg = (
            f"{what} [{start.isoformat()}, {end.isoformat()}) has {n_fraud} frauds and {n_legit} legitimate rows "
            f"whose label had arrived by {self.as_of.isoformat()}; both are needed"
        )
        return DataError(msg, hint="check [split] as_of and train, [data] label and label_delay with `fraudctl check`")
