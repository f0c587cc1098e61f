"""What a run of `monitor` says, as a value: the verdict, its alarms with their causes, and what was watched.

Owns the verdict. ``act`` where harm or data is in alarm and nobody took note of it, or drift where that was asked for;
``warn`` where drift alone is; ``cannot tell`` where nothing could be judged; else ``quiet``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import ClassVar, Final, Literal

from fraudctl.errors import ExitCode
from fraudctl.monitor.alarms import MovedGroup, MovedSeries, ShiftEffect
from fraudctl.monitor.harm import LimitVerdict
from fraudctl.monitor.series import Tier
from fraudctl.text.figures import count, day, days, listed, money, number, percent
from fraudctl.text.sentences import Sentence, sentence

MonitorVerdict = Literal["quiet", "warn", "act", "cannot tell"]
AlarmKind = Literal["shift", "limit", "blind", "parity", "unreadable", "labels", "late"]
MOST_NAMED: Final = 5


@dataclass(frozen=True)
class ScoreCause:
    """A feature's part in the change of the mean raw score."""

    feature: str
    """The feature; ``all others`` for the rest."""
    before: float
    """Mean contribution before the change, log-odds."""
    now: float
    """Mean contribution since, log-odds."""
    change: float
    """Difference; all of them add up to that of the mean raw score."""


@dataclass(frozen=True)
class AlarmNote:
    """What a person wrote about an alarm."""

    at: str
    """When, ISO 8601."""
    by: str
    """Who."""
    note: str
    """What."""


@dataclass(frozen=True)
class MonitorAlarm:
    """One alarm."""

    id: str
    """8 hex; `fraudctl monitor ack` takes it."""
    tier: Tier
    """``harm``, ``data`` or ``drift``."""
    kind: AlarmKind
    """What raised it."""
    what: str
    """What happened, in words."""
    moved: tuple[MovedSeries, ...] = ()
    """The figures that moved together, the one that is farthest out first."""
    effects: tuple[ShiftEffect, ...] = ()
    """What it does to alerts, cost and volume."""
    causes: tuple[ScoreCause, ...] = ()
    """Which features moved the score, the strongest first; none where they are not at hand."""
    money_per_day: float | None = None
    """Expected cost a day now, less what it was; null where it is not known, or neither score, action nor amount
    moved with the volume."""
    limit: LimitVerdict | None = None
    """The limit that is broken."""
    next: str = ""
    """The command to run next."""
    acknowledged: AlarmNote | None = None
    """Who took note of it; it then counts no more."""


@dataclass(frozen=True)
class ParityFeature:
    """A feature whose logged values are not those of a recomputation."""

    feature: str
    """The feature."""
    differing: int
    """Decisions of the sample in which it differs."""


@dataclass(frozen=True)
class ParityResult:
    """Logged answers against a recomputation from the raw data."""

    sampled: int
    """Decisions that were recomputed."""
    differing: int
    """Of these, decisions whose probability differs by more than a millionth."""
    missing: int
    """Sampled decisions whose events are not in the data."""
    largest: float
    """Largest difference of a probability."""
    features: tuple[ParityFeature, ...]
    """Features that differ, the most frequent first; none where the log has no values of features."""
    with_values: bool
    """Whether the log has values of features."""


@dataclass(frozen=True)
class MonitorResult:
    """What a run of `monitor` found."""

    SCHEMA_VERSION: ClassVar = 1

    project: str
    """Name of the project."""
    verdict: MonitorVerdict
    """``quiet``, ``warn``, ``act`` or ``cannot tell``."""
    reason: str
    """Why, in one sentence."""
    exit_code: int
    """0 quiet or warn, 1 act, 5 cannot tell."""
    fail_on_drift: bool
    """Whether drift alone is a reason to act."""
    as_of: datetime
    """Nothing later is known."""
    model: str
    """The model that is watched."""
    timezone: str
    """Zone of days."""
    currency: str
    """Of money."""
    decisions: int
    """Decisions of the model up to as_of."""
    last_decision: datetime
    """The latest of them."""
    first_day: date | None
    """First day that was judged; null where none was."""
    last_day: date | None
    """Last day that was judged: the unfinished day is not."""
    reference_days: int
    """Days of the reference."""
    series: int
    """Figures that are watched."""
    threshold: float | None
    """Largest standardised deviation that counts as chance; null without a reference."""
    false_alarms: str
    """Accepted false alarms."""
    alarms: tuple[MonitorAlarm, ...]
    """Harm, then data, then drift; those that nobody took note of first."""
    minor: tuple[MovedGroup, ...]
    """What moved beyond chance and neither changes alerts nor cost enough to matter."""
    limits: tuple[LimitVerdict, ...]
    """Each limit of ``[monitor.harm]``."""
    parity: ParityResult | None
    """Logged answers recomputed; null where that was not asked for."""
    left_out: Mapping[str, str]
    """Feature -> why it is not watched itself."""
    notes: tuple[str, ...]
    """What the reader should know of this run."""


def verdict_of(
    alarms: tuple[MonitorAlarm, ...], *, judged: bool, fail_on_drift: bool
) -> tuple[MonitorVerdict, str, ExitCode]:
    """Return verdict, reason and exit code.

    Parameters
    ----------
    judged
        Whether anything could be judged: a day against the reference, or a limit.
    fail_on_drift
        Whether drift is a reason to act.
    """
    open_ = [item for item in alarms if item.acknowledged is None]
    acting = [item for item in open_ if item.tier != "drift" or fail_on_drift]
    if acting:
        return "act", "; ".join(item.what for item in acting[:MOST_NAMED]), ExitCode.NO
    if not judged:
        return "cannot tell", "no day could be judged, and no limit", ExitCode.INCONCLUSIVE
    if open_:
        return "warn", "; ".join(item.what for item in open_[:MOST_NAMED]), ExitCode.OK
    noted = len(alarms)
    said = f"nothing new: {count(noted, 'alarm')} that somebody took note of" if noted else "nothing moved that matters"
    return "quiet", said, ExitCode.OK


@sentence
def shift_words(group: MovedGroup, currency: str) -> str:
    """State what moved, since when, with what, and what it does."""
    first = group.leading
    since = f"since {day(first.first_day)}"
    if first.first_day_low != first.first_day_high:
        since += f" (between {day(first.first_day_low)} and {day(first.first_day_high)})"
    if first.or_before:
        since += " or before, as far as these days say"
    text = f"{_moved_words(first)} {since}"
    others = list(dict.fromkeys(item.column for item in group.moved[1:] if item.column != first.column))
    if others:
        rest = [f"{len(others) - MOST_NAMED} more"] if len(others) > MOST_NAMED else []
        text += f", together with {listed([*others[:MOST_NAMED], *rest])}"
    said = [
        f"{item.name} {number(item.before)} to {number(item.now)} ({_signed(item.change)})"
        for item in group.effects
        if item.matters
    ]
    if said:
        text += f": {', '.join(said)}"
    if group.money_per_day is not None and any(item.matters for item in group.effects):
        more = "more" if group.money_per_day > 0 else "less"
        text += f", {money(abs(group.money_per_day), currency)} a day {more}"
    return text


def _signed(change: float) -> str:
    return f"{'+' if change >= 0 else '−'}{percent(abs(change))}"


def _moved_words(item: MovedSeries) -> str:
    """Say what one figure did, in the words of its kind."""
    name, before, now = item.column, item.before or 0.0, item.now or 0.0
    if name == "volume":
        return f"events a day went from {number(before)} to {number(now)}"
    if name == "hour":
        return "the times of day of events moved"
    if item.figure in ("level", "spread"):
        if item.figure == "spread":
            return f"values of {name} moved {'apart' if now > before else 'together'}"
        rank = percent((now + 1) / 2, 1)
        return f"values of {name} became {'larger' if now > before else 'smaller'} (mean rank {rank} of the reference)"
    return f"{name}: {item.figure} went from {percent(before, 2)} to {percent(now, 2)}"


@sentence
def limit_words(item: LimitVerdict) -> str:
    """State a broken limit."""
    high = item.high if item.sure is None else item.sure.high
    low = item.at_least is not None and high is not None and high < item.at_least
    bound, side = (item.at_least, "at least") if low else (item.at_most, "at most")
    figure = item.figure.replace("_", " ")
    limit = f"the limit is {side} {number(bound)}{_promise(item)}"
    if item.sure is None:
        return f"{figure} of the latest 28 days is {number(item.value)}; {limit}"
    sure = item.sure
    when = days(sure.first_day, sure.until_day - timedelta(days=1))
    interval = f"{number(sure.low)} to {number(sure.high)}, however often one looks"
    return f"{figure} of {when} is {number(sure.value)} ({interval}); {limit}{_by_estimate(item)}"


def _promise(item: LimitVerdict) -> str:
    if item.promised is None or item.no_worse_than is None:
        return ""
    return f" ({number(item.promised)} at promotion, no worse than by {number(item.no_worse_than)})"


def _by_estimate(item: LimitVerdict) -> str:
    """Say that labels which are yet to come decide, where they do."""
    if not item.estimate_alone or item.sure is None:
        return ""
    return f"; by the estimate alone, with {percent(item.sure.matured)} of its frauds known"


@sentence
def parity_words(item: ParityResult) -> str:
    """State what a recomputation of logged answers found."""
    text = f"{item.differing} of {count(item.sampled, 'logged decision')} are not what a recomputation gives"
    if item.features:
        named = [f"{each.feature} ({each.differing})" for each in item.features[:MOST_NAMED]]
        return f"{text}; features that differ: {listed(named)}"
    if item.with_values:
        return f"{text}, with the same values of all features"
    return f"{text}; the log has no values of features to say which"


__all__ = [
    "AlarmNote", "MonitorAlarm", "MonitorResult", "ParityFeature", "ParityResult", "ScoreCause", "Sentence",
    "limit_words", "parity_words", "shift_words", "verdict_of",
]  # fmt: skip
