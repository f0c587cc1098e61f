"""The sentences of the dashboard: functions from typed values to text. Owns wording only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fraudctl.monitor.dashboard import Dashboard, DashboardAlarm, DashboardModel, HealthFinding
from fraudctl.monitor.harm import LimitVerdict
from fraudctl.monitor.performance import (
    LabelDelays,
    LabelledFigure,
    Performance,
    PerformanceCohort,
    PerformanceGroup,
)
from fraudctl.monitor.rhythm import WeekRhythm
from fraudctl.text.figures import count, day, days, exact, listed, moment, money, number, percent, whole
from fraudctl.text.sentences import sentence

WORDS = {
    "fraud_loss_bps": "missed fraud money per 10,000",
    "recall": "recall",
    "value_recall": "recall by money",
    "precision": "precision",
    "savings": "savings",
    "false_positives_per_1000": "false positives per 1,000",
    "alerts_per_day": "alerts a day",
}
"""Key of ``[monitor.harm]`` -> what it is called."""
MEANING = {
    "recall": " (the share of frauds that were flagged)",
    "value_recall": " (the share of fraud money that was flagged)",
    "precision": " (the share of flagged events that are fraud)",
}
"""What a reader of a reason may not know of it."""
_SHARES = {"recall", "value_recall", "precision", "savings"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class ShownCohorts:
    """How many cohorts are final, open and hidden, and which period they are."""

    first: date
    last: date
    every: str
    final: int
    open: int
    hidden: int
    running: int
    """Of the hidden ones, how many are not over."""
    unsettled: date | None
    """First day of the oldest that is not final; None where all are."""


@dataclass(frozen=True)
class MoneyFigure:
    """A figure of money and its currency."""

    figure: LabelledFigure
    currency: str


@dataclass(frozen=True)
class CohortOf:
    """A cohort with what it takes to name it."""

    cohort: PerformanceCohort
    every: str
    currency: str


def shown_cohorts(found: Performance) -> ShownCohorts:
    """Count the cohorts of a dashboard."""
    statuses = [cohort.status for cohort in found.cohorts]
    return ShownCohorts(
        found.cohorts[0].first_day,
        found.cohorts[-1].until_day,
        found.every,
        statuses.count("final"),
        statuses.count("open"),
        statuses.count("hidden"),
        sum(not cohort.complete for cohort in found.cohorts),
        next((cohort.first_day for cohort in found.cohorts if cohort.status != "final"), None),
    )


def figure_text(name: str, value: float) -> str:
    """Write a figure of a limit."""
    return percent(value, 1) if name in _SHARES else number(value)


def _range(name: str, low: float, high: float) -> str:
    first, last = figure_text(name, low), figure_text(name, high)
    return f"{first}" if first == last else f"between {first} and {last}"


@sentence
def headline(group: PerformanceGroup | None, found: Performance) -> str:
    """Say what was lost and what was caught."""
    if group is None:
        return f"No {found.every} can be judged yet: labels take {number(found.label_delay_days)} days"
    missed, caught = group.outcomes.missed_loss, group.outcomes.caught_loss
    text = f"{money(missed.value or 0.0, found.currency)} of fraud got through"
    if caught.value is None:
        return f"{text}; how much was caught cannot be seen"
    return f"{text}, {money(caught.value, found.currency)} was caught"


@sentence
def period_line(shown: ShownCohorts, found: Performance) -> str:
    """Say which period it is, and how much of it is known."""
    from datetime import timedelta

    parts = []
    if shown.final:
        parts.append(f"{count(shown.final, shown.every)} final")
    if shown.open:
        since = "" if shown.unsettled is None else f", the oldest from {day(shown.unsettled)}"
        parts.append(f"{shown.open} still open (hatched, with intervals{since})")
    if shown.hidden:
        young = shown.hidden - shown.running
        parts += [f"{young} too young to show"] if young else []
        parts += [f"{shown.running} not over yet"] if shown.running else []
    text = days(shown.first, shown.last - timedelta(days=1))
    return f"{text}: {listed(parts)}. As of {moment(found.as_of)} UTC."


@sentence
def lost_card(item: MoneyFigure) -> str:
    """Say within which bounds the lost money lies."""
    low, high = item.figure.low or 0.0, item.figure.high or 0.0
    if low == high:
        return "of fraud got through"
    ends = f"{money(low, item.currency)} to {money(high, item.currency)}"
    return f"of fraud got through: {ends} once all labels have come"


@sentence
def caught_card(item: MoneyFigure) -> str:
    """Say what the caught money is."""
    low, high = item.figure.low or 0.0, item.figure.high or 0.0
    if low == high:
        return "of fraud was flagged"
    return f"of fraud was flagged: {money(low, item.currency)} to {money(high, item.currency)}"


@sentence
def savings_card(group: PerformanceGroup, found: Performance) -> str:
    """Say how much was saved, and what it is measured against."""
    cost, share = group.outcomes.cost.value, group.outcomes.savings.value
    saved = ""
    if cost is not None and share is not None and share < 1.0:
        saved = f": {money(cost * share / (1.0 - share), found.currency)}"
    return f"saved{saved}, compared with {found.base_action} for all {whole(group.events)} events"


@sentence
def open_card(shown: ShownCohorts) -> str:
    """Say how many cohorts may still change."""
    unit = shown.every if shown.open + shown.hidden == 1 else f"{shown.every}s"
    oldest = "" if shown.unsettled is None else f": the oldest begins on {day(shown.unsettled)}"
    return f"{unit} of {shown.final + shown.open + shown.hidden} may still change as labels arrive{oldest}"


@sentence
def limit_reason(item: LimitVerdict) -> str:
    """Say what the latest 28 days say of a limit."""
    name = WORDS[item.figure] + MEANING.get(item.figure, "")
    bound = f"at least {figure_text(item.figure, item.at_least)}" if item.at_least is not None else ""
    if item.at_most is not None:
        bound += (" and " if bound else "") + f"at most {figure_text(item.figure, item.at_most)}"
    if item.promised is not None and item.no_worse_than is not None:
        was = figure_text(item.figure, item.promised)
        bound += f" ({was} at promotion, no worse than by {figure_text(item.figure, item.no_worse_than)})"
    if item.state == "broken":
        return _broken_reason(item, name, bound)
    if item.value is None or item.low is None or item.high is None:
        return f"{name} cannot be told ({item.reason}); the limit is {bound}"
    where = _range(item.figure, item.low, item.high)
    verb = "within the limit" if item.state == "kept" else "which may or may not keep the limit"
    return f"{name} of the latest 28 days is {where}, {verb} of {bound}"


def _broken_reason(item: LimitVerdict, name: str, bound: str) -> str:
    """Say over which days a limit is broken, and whether labels that are yet to come decide."""
    from datetime import timedelta

    sure = item.sure
    low, high = (item.low or 0.0, item.high or 0.0) if sure is None else (sure.low, sure.high)
    side = "below" if item.at_least is not None and high < item.at_least else "above"
    when = "the latest 28 days" if sure is None else days(sure.first_day, sure.until_day - timedelta(days=1))
    alone = (
        f", by the estimate alone: {percent(sure.matured)} of its frauds are known"
        if sure is not None and item.estimate_alone
        else ""
    )
    return f"{name} of {when} is {_range(item.figure, low, high)}, {side} the limit of {bound}{alone}"


@sentence
def health_reason(item: HealthFinding) -> str:
    """Say what weakens the figures."""
    texts = {
        "labels slow": f"labels now take {number(item.value, 2)} times as long as before",
        "labels missing": f"{percent(item.value, 1)} of the events older than the label delay have no label",
        "decisions missing": f"the last decision is {number(item.value, 2)} days older than the date of this page",
        "nothing final": "no week is final yet",
        "blocked unseen": f"{whole(item.value)} blocked events have no outcome, and there is no control group: "
        "recall, precision and savings cannot be told",
    }
    return texts[item.kind]


@sentence
def alarm_reason(item: DashboardAlarm) -> str:
    """Give an alarm in its own words."""
    return f"{item.tier} alarm, first raised on {day(item.first)}: {item.what}"


@sentence
def monitored_line(board: Dashboard) -> str:
    """Say when `monitor` ran last, and what its latest run showed."""
    if board.monitored is None:
        return "`fraudctl monitor` has not run: drift and data are not watched."
    current = [item for item in board.alarms if item.current]
    noted = sum(item.noted for item in current)
    text = f"`fraudctl monitor` looked at {day(board.monitored)} last, with {count(len(current), 'alarm')}"
    return f"{text}, {noted} of them noted." if noted else f"{text}."


@sentence
def all_kept(board: Dashboard) -> str:
    """Say that all limits are kept, or that there is none."""
    if not board.limits:
        return "no limit is set; [monitor.harm] of the project file takes them, such as recall = { at_least = 0.6 }"
    names = listed([WORDS[item.figure] for item in board.limits])
    return f"{names} of the latest 28 days {'is' if len(board.limits) == 1 else 'are'} within the limits"


@sentence
def loss_lead(group: PerformanceGroup | None, found: Performance) -> str:
    """Say how much of the money of all events was missed."""
    if group is None:
        return "Nothing can be judged yet."
    bps = group.outcomes.missed_bps
    missed = group.outcomes.missed_loss
    text = f"{money(missed.value or 0.0, found.currency)} got through"
    if bps.value is not None:
        text += f", {number(bps.value)} per 10,000 of the money of all events"
    share = group.outcomes.value_recall
    if share.value is not None:
        text += f"; {percent(share.value, 1)} of the fraud money was flagged"
    return f"{text}."


@sentence
def worst(item: CohortOf) -> str:
    """Name the cohort in which most got through."""
    missed = item.cohort.outcomes.missed_loss
    still = " so far as can be told" if item.cohort.status == "open" else ""
    start = day(item.cohort.first_day)
    when = f"on {start}" if item.every == "day" else f"in the week from {start}"
    return f"Most got through {when}: {money(missed.value or 0.0, item.currency)}{still}."


@sentence
def loss_alt(found: Performance, group: PerformanceGroup | None) -> str:
    """Describe the chart of losses."""
    if group is None:
        return "No week is old enough to be drawn."
    total = group.outcomes.missed_loss.value or 0.0
    return (
        f"Missed and caught fraud money of each {found.every}, stacked: {money(total, found.currency)} missed in all. "
        "Open ones are hatched, with the interval of what was missed and a line for what labels say so far."
    )


@sentence
def quality_lead(group: PerformanceGroup | None) -> str:
    """Say recall and precision of the period."""
    if group is None:
        return "Nothing can be judged yet."
    recall, precision = group.outcomes.recall, group.outcomes.precision
    if recall.value is None or precision.value is None:
        return f"Recall or precision cannot be told: {recall.reason or precision.reason}."
    return (
        f"{percent(recall.value, 1)} of the frauds were flagged, and {percent(precision.value, 1)} of the flagged "
        "events were fraud."
    )


@sentence
def quality_alt(group: PerformanceGroup | None) -> str:
    """Describe the chart of recall and precision."""
    if group is None or group.outcomes.recall.value is None or group.outcomes.precision.value is None:
        return "Recall and precision by time; none can be told yet."
    return (
        f"Recall and precision by time with 90 % intervals, {percent(group.outcomes.recall.value, 1)} and "
        f"{percent(group.outcomes.precision.value, 1)} over the period; hollow dots are open."
    )


@sentence
def customers_lead(group: PerformanceGroup | None, found: Performance) -> str:
    """Say how many customers were disturbed, and what it cost."""
    if group is None:
        return "Nothing can be judged yet."
    wrong, rate = group.outcomes.false_positives, group.outcomes.false_positives_per_1000
    flagged = f"{percent(group.flag_rate, 2)} of the events were flagged"
    if wrong.value is None or rate.value is None:
        return f"{flagged}; false positives are {wrong.reason}."
    cost = group.outcomes.false_positive_cost
    return (
        f"{flagged}. {whole(wrong.value)} legitimate events were flagged, {number(rate.value)} of 1,000, "
        f"which cost {money(cost.value or 0.0, found.currency)}."
    )


@sentence
def customers_alt(group: PerformanceGroup | None) -> str:
    """Describe the charts of disturbed customers."""
    if group is None:
        return "Share of events by action."
    return f"Share of events by action over time; {percent(group.flag_rate, 2)} flagged over the period."


@dataclass(frozen=True)
class ActionTotal:
    """How often an action was taken over the period, and on how many days its places were all taken."""

    action: str
    events: int
    capacity: float | None
    days_full: int
    cohorts: int
    every: str


@sentence
def work_lead(items: tuple[ActionTotal, ...]) -> str:
    """Say how much work there was, and where it met its capacity."""
    texts = []
    for item in items:
        text = f"{item.action}: {count(item.events, 'event')}"
        if item.capacity:
            text += f", {percent(item.events / item.capacity)} of its capacity"
            text += f", all places taken on {count(item.days_full, 'day')}" if item.days_full else ""
        texts.append(text)
    return f"{'; '.join(texts)}." if texts else "No action but allow was taken."


@sentence
def work_alt(item: ActionTotal) -> str:
    """Describe a chart of workload."""
    capacity = "; the line is its capacity" if item.capacity else ""
    return f"{item.action} by {item.every}: {count(item.events, 'event')} in all{capacity}."


@sentence
def maturity_lead(shown: ShownCohorts, delays: LabelDelays) -> str:
    """Say which cohorts are open, and how long labels take."""
    n_all = shown.final + shown.open + shown.hidden
    text = f"{shown.open + shown.hidden} of {count(n_all, shown.every)} may still change."
    if delays.flagged_days is not None and delays.allowed_days is not None:
        text += (
            f" Half of the flagged frauds are known within {number(delays.flagged_days, 2)} days, half of the missed "
            f"ones within {number(delays.allowed_days, 2)}."
        )
    return text


@sentence
def maturity_alt(shown: ShownCohorts) -> str:
    """Describe the chart of maturity."""
    counts = f"{shown.final} final, {shown.open} open, {shown.hidden} hidden"
    return f"Share of frauds expected to be known by {shown.every}: {counts}."


@sentence
def health_lead(board: Dashboard) -> str:
    """Say how many limits are kept, and what was found."""
    kept = sum(item.state == "kept" for item in board.limits)
    text = f"{kept} of {count(len(board.limits), 'limit')} kept" if board.limits else "No limit is set"
    return f"{text}; {count(len(board.health), 'finding')} on labels and decisions."


@sentence
def trend_lead(items: tuple[WeekRhythm, ...]) -> str:
    """Say where events and alerts are going."""
    texts = []
    for item in items:
        trend = item.trend
        if trend is None:
            continue
        if trend.direction == "level":
            texts.append(f"{item.name} show no trend beyond chance")
        else:
            verb = "grow" if trend.direction == "rising" else "fall"
            size = percent(abs(trend.per_week), 1)
            texts.append(f"{item.name} {verb} by {size} a week")
    if not texts:
        return "There are too few whole weeks to name a trend."
    return f"{listed(texts)[0].upper()}{listed(texts)[1:]}."


@sentence
def busiest(item: WeekRhythm) -> str:
    """Name the weekday with most."""
    known = [(factor, number) for number, factor in enumerate(item.weekdays) if factor is not None]
    if not known:
        return f"Weekdays of {item.name} are not known yet."
    factor, number_ = max(known)
    return f"{WEEKDAYS[number_]} has most {item.name}: {number(factor)} times the mean of its week."


@sentence
def models_lead(models: tuple[DashboardModel, ...]) -> str:
    """Say how many models decided."""
    last = models[-1]
    return f"{count(len(models), 'model')} decided; the last one is {last.version}, with {count(last.events, 'event')}."


@sentence
def groups_lead(groups: tuple[PerformanceGroup, ...], found: Performance) -> str:
    """Name the group in which most got through."""
    most = max(groups, key=lambda item: item.outcomes.missed_loss.value or 0.0)
    return (
        f"Most got through in {most.name}: {money(most.outcomes.missed_loss.value or 0.0, found.currency)} of "
        f"{count(len(groups), 'group')} by {found.by}."
    )


@sentence
def groups_caption(found: Performance) -> str:
    """Say what is grouped, and over which cohorts."""
    return f"By {found.by}, over all final and open {found.every}s"


@sentence
def bound(item: LimitVerdict) -> str:
    """Write the bound of a limit."""
    texts = [f"at least {exact(item.at_least)}"] if item.at_least is not None else []
    texts += [f"at most {exact(item.at_most)}"] if item.at_most is not None else []
    return listed(texts)
