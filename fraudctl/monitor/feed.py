"""Whether the feed of labels is to be trusted: how many frauds it reports, and whether it rewrote what was known.

Owns three comparisons with what a model was trained on. The frauds that are reported in the latest four weeks, per
event, are held against those that had been reported before its as_of. Of these it is counted how many were taken back
since. And labels that training knew, as the bundle keeps them, are held against what the data say today was known then:
an outcome that changes later has a later time, so one that differs at the same instant was dated back, or its row is
gone. None of them judges a model; they say when labels may not judge one. Which single label is wrong cannot be known
here: a few that lie are no matter of the feed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import numpy as np
import polars as pl

from fraudctl.data.labels import as_known, known_labels
from fraudctl.text.figures import count, number, percent
from fraudctl.text.sentences import sentence

RECENT: Final = timedelta(days=28)
"""The latest time whose reports are judged."""
LEAST: Final = timedelta(days=14)
"""With less time since as_of they are not."""
LEAST_BEFORE: Final = timedelta(days=28)
"""Nor with less time before it in which outcomes could be known."""
LEAST_FRAUDS: Final = 10
"""Nor with fewer frauds reported in that time."""
MANY_TIMES: Final = 4.0
"""From so many times the usual reports on, more are no longer taken for more fraud without a person's word."""
FEW_TIMES: Final = 0.1
"""Up to this part of the usual reports, fewer are no longer taken for less fraud: what is blocked is not reported."""
SURELY: Final = 2.0
"""Reports have to be surely so many times as many, or as few, as usual."""
CHANCE: Final = 1e-3
"""Probability at which that is sure."""
MOST_TAKEN_BACK: Final = 0.5
"""Up to this part of the frauds may be taken back since."""
LEAST_CHANGED: Final = 5
"""Fewer labels that were rewritten are no matter of the feed."""
SHARE_CHANGED: Final = 0.05
"""Nor are fewer than this part of the frauds that were known."""

EventsBetween = Callable[[datetime, datetime], int]
"""Counts the events with times in ``[start, stop)``."""


@dataclass(frozen=True)
class LabelFlow:
    """Frauds reported of late, against those reported before the model's as_of."""

    reported: int
    """Frauds that became known in the latest time."""
    days: float
    """Its length."""
    expected: float
    """Frauds that its events would have had, with as many reports per event as before."""
    before: int
    """Frauds that had become known in the time before as_of."""
    dispersion: float
    """Variance of their weekly counts over the mean, at least 1: frauds are reported in campaigns and files."""

    @property
    def times(self) -> float:
        """How many times as many as usual."""
        return self.reported / self.expected

    @property
    def unusual(self) -> bool:
        """Whether this is beyond what fraud itself does: by far more or fewer, and surely so."""
        if FEW_TIMES < self.times < MANY_TIMES:
            return False
        return self._probability() < CHANCE

    def _probability(self) -> float:
        """Return the probability of so many, or so few, if twice, or half, as many as usual were to be expected.

        Given the sum of two Poisson counts, one of them is binomial; both are divided by the dispersion.
        """
        from scipy.special import betainc

        now, before = self.reported / self.dispersion, self.before / self.dispersion
        times = SURELY if self.times > 1 else 1 / SURELY
        rate = self.expected * times / (self.expected * times + self.before)
        if self.times > 1:
            return float(betainc(now, before + 1.0, rate))
        return float(betainc(before, now + 1.0, 1.0 - rate))


@dataclass(frozen=True)
class TakenBack:
    """Frauds that were known at a model's as_of, and whether they still are frauds."""

    frauds: int
    """Frauds that had become known in the time before as_of."""
    taken_back: int
    """Of these, frauds that are none any more, by an outcome that came since."""

    @property
    def unusual(self) -> bool:
        """Whether most of them were taken back: disputes that are won are fewer."""
        return self.frauds >= LEAST_FRAUDS and self.taken_back > MOST_TAKEN_BACK * self.frauds


@dataclass(frozen=True)
class RewrittenLabels:
    """Labels that a model was validated on, against what the data say today was known at its as_of."""

    rows: int
    """Events whose label was known then, and is said to have been."""
    frauds: int
    """Of these, frauds by what was known then."""
    taken_back: int
    """Frauds then that are said today to have been legitimate then."""
    reported: int
    """Legitimate events then that are said today to have been known as fraud."""

    @property
    def unusual(self) -> bool:
        """Whether they are too many for a correction of single rows."""
        changed = self.taken_back + self.reported
        return changed >= LEAST_CHANGED and changed > SHARE_CHANGED * self.frauds


@dataclass(frozen=True)
class LabelFeed:
    """What there is to say of a feed of labels; None where there is too little to say it of."""

    flow: LabelFlow | None
    taken_back: TakenBack
    rewritten: RewrittenLabels | None

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield what is not as it should be (``flow``, ``taken back`` or ``rewritten``), and the sentence."""
        if self.flow is not None and self.flow.unusual:
            yield "flow", str(flow_words(self.flow))
        if self.taken_back.unusual:
            yield "taken back", str(taken_back_words(self.taken_back))
        if self.rewritten is not None and self.rewritten.unusual:
            yield "rewritten", str(rewritten_words(self.rewritten))


def label_feed(
    events: pl.DataFrame,
    judged: pl.DataFrame,
    *,
    as_of: datetime,
    until: datetime,
    reference: timedelta,
    between: EventsBetween | None = None,
) -> LabelFeed:
    """Compare the labels of today with those of a model's training.

    Parameters
    ----------
    events
        All events with ``event_id``, ``event_time``, ``label``, ``label_time`` and changes of labels.
    judged
        ``event_id``, ``fold`` and ``label`` of the events that the model was validated on, as its bundle keeps them.
    as_of
        The model knew what was known then.
    until
        Nothing later is known.
    reference
        Time before as_of whose reports are usual.
    between
        Counts all events of a time, where ``events`` are only those that were ever fraud or whose label was changed,
        and those that are ``judged``.
    """
    return LabelFeed(
        label_flow(events, as_of=as_of, until=until, reference=reference, between=between),
        frauds_taken_back(events, as_of=as_of, until=until, reference=reference),
        rewritten_labels(events, judged, as_of=as_of),
    )


def label_flow(
    events: pl.DataFrame,
    *,
    as_of: datetime,
    until: datetime,
    reference: timedelta,
    between: EventsBetween | None = None,
) -> LabelFlow | None:
    """Hold frauds reported of late against those reported before as_of, per event; None with too few of them.

    What counts is a fraud by what was known at the end of each time, at the instant since which it has been one: an
    outcome that was taken back by then is none. Where reports come in files, the latest time is at least twice the
    longest gap between two of them.
    """
    before = reported_at(events, as_of)
    started = before.min()
    if not isinstance(started, datetime):
        return None
    began = max(as_of - reference, started)
    before = before.filter(before >= began)
    if len(before) < LEAST_FRAUDS or as_of - began < LEAST_BEFORE:
        return None
    gap: timedelta = before.diff().max()  # type: ignore[assignment]
    since = max(as_of, until - max(RECENT, 2 * gap))
    if until - since < max(LEAST, 2 * gap):
        return None
    after = reported_at(events, until)
    counted = between or partial(_between, events["event_time"])
    n_before, n_after = counted(began, as_of), counted(since, until)
    if not n_before or not n_after:
        return None
    return LabelFlow(
        int((after > since).sum()), (until - since) / timedelta(days=1), len(before) * n_after / n_before, len(before),
        _dispersion(before, as_of, as_of - began),
    )  # fmt: skip


def _between(times: pl.Series, start: datetime, stop: datetime) -> int:
    return int(times.is_between(start, stop, closed="left").sum())


def reported_at(events: pl.DataFrame, at: datetime) -> pl.Series:
    """Return since when each event has been known as fraud, of those that are by an instant, in the order of time."""
    known = as_known(events, at)
    return known.filter((pl.col("label") == 1) & (pl.col("label_time") <= at))["label_time"].sort()


def _dispersion(reported: pl.Series, end: datetime, length: timedelta) -> float:
    """Return the variance of the counts of whole weeks before an instant over their mean, at least 1."""
    n = length // timedelta(weeks=1)
    week = (end - reported).dt.total_days().to_numpy() // 7
    counts = np.bincount(week[week < n], minlength=n)
    return max(1.0, float(counts.var(ddof=1) / counts.mean())) if counts.any() else 1.0


def frauds_taken_back(events: pl.DataFrame, *, as_of: datetime, until: datetime, reference: timedelta) -> TakenBack:
    """Count the frauds reported within ``reference`` before as_of, and those that an outcome took back by ``until``."""
    then = as_known(events, as_of)
    frauds = (then["label"] == 1) & then["label_time"].is_between(as_of - reference, as_of)
    frauds = frauds.fill_null(value=False)
    now = pl.Series(known_labels(events, until))
    return TakenBack(int(frauds.sum()), int((frauds & (now == 0)).sum()))


def rewritten_labels(events: pl.DataFrame, judged: pl.DataFrame, *, as_of: datetime) -> RewrittenLabels | None:
    """Count the labels that a model was validated on which are said today to have been others at its as_of."""
    then = judged.filter((pl.col("fold") > 0) & pl.col("label").is_not_null()).select("event_id", then="label")
    if then.is_empty():
        return None
    now = events.select("event_id").with_columns(now=pl.Series(known_labels(events, as_of)))
    found = then.with_columns(pl.col("event_id").cast(events["event_id"].dtype)).join(now, on="event_id")
    found = found.filter(pl.col("now") >= 0)
    return RewrittenLabels(
        found.height,
        int((found["then"] == 1).sum()),
        int(((found["then"] == 1) & (found["now"] == 0)).sum()),
        int(((found["then"] == 0) & (found["now"] == 1)).sum()),
    )


@sentence
def flow_words(item: LabelFlow) -> str:
    """State how many frauds are reported, and how many were to be expected."""
    return (
        f"the label feed reported {count(item.reported, 'fraud')} in the latest {number(item.days, 2)} days, where "
        f"{number(item.expected, 2)} were to be expected by the time before training"
    )


@sentence
def taken_back_words(item: TakenBack) -> str:
    """State how many frauds were taken back."""
    return (
        f"the label feed took back {item.taken_back:,} of {count(item.frauds, 'fraud')} that were reported in the time "
        "before training"
    )


@sentence
def rewritten_words(item: RewrittenLabels) -> str:
    """State how many labels were rewritten."""
    changed = item.taken_back + item.reported
    return (
        f"the label feed rewrote what was known at training: of {count(item.rows, 'label')} "
        f"{count(changed, 'is another one', 'are others')} ({percent(changed / item.rows)}), {item.taken_back:,} of "
        f"{count(item.frauds, 'fraud')} taken back and {item.reported:,} legitimate events reported as of then"
    )
