"""What a test period can show: its frauds, counted before hours are spent on a model, and what they are enough for.

`init`, `check` and `train` say so in the same words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from fraudctl.data.labels import as_known
from fraudctl.maturity import immature
from fraudctl.project.evaluation import GateSection
from fraudctl.split import RandomSplit, layout_of, least_history
from fraudctl.text.figures import whole

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.project import Project
    from fraudctl.split import Split

FEW = 30
"""Fewer frauds than this are warned about even where no gate asks for more."""
_Z = 1.959963984540054


def recall_half_width(n_frauds: int) -> float:
    """Return half the width of the 95 % interval of a recall of 50 % (Wilson 1927), frauds being independent."""
    return _Z / (2.0 * math.sqrt(n_frauds + _Z * _Z))


@dataclass(frozen=True)
class FoldPower:
    """What the folds can show that settings, calibration and policy are chosen on.

    Attributes
    ----------
    frauds
        Mature frauds that each fold validates on, in the order of time.
    """

    frauds: tuple[int, ...]

    @classmethod
    def of(cls, split: Split, frame: pl.DataFrame) -> FoldPower:
        """Count the frauds of the folds of a table that was split, by the labels that training would know."""
        fraud = (as_known(frame, split.as_of)["label"] == 1).fill_null(value=False).to_numpy()
        return cls(tuple(int((fraud & fold.valid).sum()) for fold in split.folds))

    @property
    def few(self) -> bool:
        """Whether the folds together hold under 30 frauds."""
        return sum(self.frauds) < FEW

    @property
    def sentence(self) -> str:
        """What the folds hold, in one sentence."""
        each = [f"{n:,}" for n in self.frauds]
        listed = " and ".join([", ".join(each[:-1]), each[-1]] if len(each) > 1 else each)
        known = f"± {whole(100 * recall_half_width(sum(self.frauds)))} percentage points (95 %)"
        folds = "the only fold validates" if len(each) == 1 else f"the {len(each)} folds validate"
        return f"{folds} on {listed} frauds: what is chosen on them knows a recall to {known}"


@dataclass(frozen=True)
class Power:
    """What the events that a model will be judged on can show.

    Attributes
    ----------
    n_frauds, n_legit
        Mature outcomes in the test period; with ``[gate] pooled_folds``, in all periods that are judged together.
    needed
        Frauds that ``[gate] min_frauds`` asks for, or would ask for by default.
    gated
        Whether the project has a gate.
    test
        Length of all periods together; None where the split is random.
    span
        From the first event to the end of the test period, less two label delays: what training, the validation of one
        fold and the test share. None where the split is random.
    first, last
        The period, local dates of its first and its last day; None where the split is random.
    """

    JSON = (
        "first as from", "last as to", "n_frauds", "n_legit", "half_width as recall_half_width", "needed as min_frauds",
        "met as min_frauds_met",
    )  # fmt: skip

    n_frauds: int
    n_legit: int
    needed: int
    gated: bool
    test: timedelta | None
    span: timedelta | None
    first: date | None
    last: date | None

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval of a recall of 50 %, frauds being independent (Wilson 1927).

        In [0, 0.5], not less than that of any other recall; 0.5 says that nothing is known.

        >>> round(Power(96, 4000, 300, True, None, None, None, None).half_width, 3)
        0.098
        """
        return recall_half_width(self.n_frauds)

    @property
    def severity(self) -> Literal["warning", "info"] | None:
        """How much it matters: a warning where the gate cannot pass or under 30 frauds, nothing where all is met."""
        if self.n_frauds < FEW or not self.n_legit or (self.gated and self.n_frauds < self.needed):
            return "warning"
        return "info" if self.n_frauds < self.needed else None

    @property
    def sentence(self) -> str:
        """What the period can show, in one sentence."""
        when = f" from {self.first} to {self.last}" if self.first else ""
        if not self.n_frauds:
            return f"the test period{when} has no fraud with a mature outcome: no recall and no savings can be measured"
        if not self.n_legit:
            return f"the test period{when} has frauds only: no false positive and no savings can be measured"
        counted = "1 fraud" if self.n_frauds == 1 else f"{self.n_frauds:,} frauds"
        known = f"recall will be known to ± {whole(100 * self.half_width)} percentage points (95 %)"
        told = f"the test period{when} has {counted}: {known}"
        if self.n_frauds >= self.needed:
            return told
        asked = f"the gate needs {self.needed:,} (min_frauds)" if self.gated else f"a gate asks for {self.needed:,}"
        return f"{told}; {asked}"

    @property
    def hint(self) -> str | None:
        """What would help; None where nothing is missing."""
        if self.severity is None:
            return None
        if not self.n_legit:
            return "are legitimate events missing from these days? another as_of, or a longer [split] test"
        ways = ["more history", "another as_of"] if not self.n_frauds else ["more history"]
        if self.test is not None and self.span is not None and self.n_frauds:
            needed = self.test * (self.needed / self.n_frauds)
            days = math.ceil(needed / timedelta(days=1))
            if 2 * timedelta(days=days) + least_history(timedelta(days=days)) <= self.span:
                ways.insert(0, f'test = "{days}d" would hold some {self.needed:,} frauds at this rate')
        if self.test is not None and self.gated:
            ways.append("[gate] pooled_folds, which judges several periods together")
        return "; ".join(ways)

    @property
    def met(self) -> bool:
        """Whether there are as many frauds as the gate asks for."""
        return self.n_frauds >= self.needed


def power_of(
    frame: pl.DataFrame, project: Project, *, known_until: datetime | None, as_of: datetime | date | None = None
) -> Power:
    """Return what the test period of a project can show.

    Parameters
    ----------
    frame
        ``event_id``, ``event_time`` (µs UTC), ``label`` and ``label_time``, any order, at least one row.
    known_until
        Latest instant that the data know of; None where they have no time.
    as_of
        Overrides ``[split] as_of``.

    Raises
    ------
    DataError, UsageError
        As `split.layout_of` does: no event is mature, or as_of lies after the data.
    """
    found = layout_of(frame, project, known_until=known_until, as_of=as_of)
    gate = project.gate or GateSection()
    gated = project.gate is not None
    if isinstance(found, RandomSplit):
        labels = frame.filter(found.test_rows(frame["event_id"]))["label"]
        test = span = first = last = None
    else:
        test = (found.test_until - found.as_of) * gate.pooled_folds
        start = found.test_until - test
        young = immature(frame, label_delay=project.data.label_delay, known_until=known_until)
        times = frame["event_time"]
        earliest = times.min()
        delays = 2 * project.data.label_delay.timedelta
        span = found.test_until - earliest - delays if isinstance(earliest, datetime) else None
        labels = frame.filter((times >= start) & (times < found.test_until) & ~young)["label"]
        first, last = _local(start, project), _local(found.test_until - timedelta(microseconds=1), project)
    n_frauds, n_legit = int((labels == 1).sum()), int((labels == 0).sum())
    return Power(n_frauds, n_legit, gate.min_frauds, gated, test, span, first, last)


def _local(moment: datetime, project: Project) -> date:
    from zoneinfo import ZoneInfo

    return moment.astimezone(ZoneInfo(project.data.timezone)).date()
