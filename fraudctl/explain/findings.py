"""The first things to know: what costs most, where more is lost than chance explains, and what would help.

Owns their order and their sentences. Findings come by the money that they name, tested and untested alike; those that
were tested and are beyond chance are marked, and the rest describe and claim no significance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fraudctl.explain.autopsy import Autopsy, Separation
from fraudctl.explain.campaigns import CampaignTotal
from fraudctl.explain.causes import CauseTotal
from fraudctl.explain.clusters import Cluster
from fraudctl.explain.decided import DecidedTotal
from fraudctl.explain.result import BrokenFeature, ReportFinding, Totals
from fraudctl.explain.scene import MISSED
from fraudctl.explain.slices import Slice, Slices
from fraudctl.explain.threshold import Sweep, ThresholdSetting
from fraudctl.text.figures import count, day, listed, money, number, percent, whole
from fraudctl.text.sentences import sentence

CAUSE_WORDS: Final = {
    "label_delay": "An earlier fraud of the same entity had happened, and its label had not arrived",
    "near_miss": "Near the threshold: the policy alerts at twice its odds",
    "known": "A fraud of the same entity was known, and twice the odds are not enough for an alert",
    "first_fraud": "No fraud of its entities was known or pending within the look-back, and it is no near miss",
}
"""What the test of each cause found. Classes overlap; the words deny no other one."""
CURES: Final = {
    "label_delay": "Faster labels, or signals that need no label.",
    "near_miss": "A threshold at half the odds, at its price: see the section on the threshold.",
    "known": "The signal was there and weighed too little: a matter for the model and its features.",
    "first_fraud": "Signals of the event itself and of velocity.",
}
MOST: Final = 6
MOST_TESTED: Final = 3
"""Slices, and days with broken features, that are listed; the rest stand in their own section."""
LEAST_GAIN: Final = 0.05
"""Share of today's loss from which another threshold is worth a finding."""


@dataclass(frozen=True)
class CauseShare:
    """A cause among all missed frauds.

    Attributes
    ----------
    n_all, cost_all
        All missed frauds and the money lost by them; those of the cause are a part of these.
    """

    cause: CauseTotal
    n_all: int
    cost_all: float

    @property
    def share(self) -> float | None:
        """Share of the missed money; None where some causes cost less than nothing, so that shares mean nothing."""
        return self.cause.cost / self.cost_all if 0 <= self.cause.cost <= self.cost_all and self.cost_all > 0 else None


@dataclass(frozen=True)
class Broken:
    """Features that broke on one day, the most broken first; all have the day's money."""

    items: tuple[BrokenFeature, ...]


@dataclass(frozen=True)
class SliceOfDay:
    """A weak slice, and the features that broke on the day that it names."""

    item: Slice
    broken: tuple[BrokenFeature, ...]


@dataclass(frozen=True)
class Move:
    """Today's setting and another one."""

    today: ThresholdSetting
    other: ThresholdSetting

    @property
    def gain(self) -> float:
        """Money that the other setting would have saved."""
        return self.today.cost - self.other.cost


def find_findings(
    *,
    totals: Totals,
    slices: Slices,
    broken: tuple[BrokenFeature, ...],
    causes: tuple[CauseTotal, ...],
    campaigns: CampaignTotal | None,
    sweep: Sweep,
    clusters: tuple[Cluster, ...],
    autopsy: Autopsy | None,
    decided: tuple[DecidedTotal, ...] = (),
    currency: str,
) -> tuple[ReportFinding, ...]:
    """Order the statements by the money behind them, and keep the first six.

    Of slices beyond chance and of days on which features broke the costliest three each are taken. A broken feature
    of a day that is itself a weak slice is named with that slice.
    """
    tested = sorted((item for item in slices.items if item.significant), key=lambda item: -item.excess)[:MOST_TESTED]
    told = {item.value for found in tested for item in found.where if item.is_day}
    days = {item.day for item in broken if item.day.isoformat() not in told}
    mended = [_broken(Broken(tuple(item for item in broken if item.day == at)), currency) for at in sorted(days)]
    found = [_slice(item, broken, currency) for item in tested]
    found += sorted(mended, key=lambda item: -item.cost)[:MOST_TESTED]
    found += _described(totals, causes, campaigns, sweep, clusters, autopsy, currency)
    found += [_rule(item, currency) for item in decided if item.rule is not None and item.n_false_alarms]
    return tuple(sorted(found, key=lambda item: -item.cost)[:MOST])


def _slice(item: Slice, broken: tuple[BrokenFeature, ...], currency: str) -> ReportFinding:
    kind = "slice" if item.confirmed is not None else "day"
    days = {where.value for where in item.where if where.is_day}
    told = SliceOfDay(item, tuple(other for other in broken if other.day.isoformat() in days))
    return ReportFinding(
        kind, slice_head(item), slice_text(told, currency), item.excess, item.p_value, significant=True
    )


@sentence
def slice_head(item: Slice) -> str:
    """Return where more is lost than the scores account for."""
    said = " and ".join(item.conditions)
    where = f"on {said.removeprefix('it is ')}" if item.confirmed is None else f"where {said}"
    what = "Fraud slips through" if item.kind == MISSED else "Legitimate events are stopped too often"
    return f"{what} {where}."


@sentence
def slice_text(told: SliceOfDay, currency: str) -> str:
    """Return how many errors a slice has and how many its scores account for, in the same events."""
    item = told.item
    noun = ("missed fraud", "allowed event") if item.kind == MISSED else ("false positive", "alert")
    text = (
        f"{count(item.n_errors, noun[0])} in {count(item.n_events, noun[1])}; at the rates of the whole period, events "
        f"of the same scores would have {number(item.expected_errors)}: {money(item.excess, currency)} more than "
        "expected."
    )
    text += "".join(f" In {whole(part.n_errors)} of them {part.words}." for part in item.mostly)
    if item.confirmed:
        text += " It showed again in the last part of the period, by itself."
    if told.broken:
        text += f" On that day {_names(told.broken)} unlike all other days."
    return text


def _names(broken: tuple[BrokenFeature, ...]) -> str:
    """Name broken features with their verb, the most broken first."""
    names = [item.words for item in broken[:3]]
    more = [f"{len(broken) - 3} more features"] if len(broken) > 3 else []
    return f"{listed([*names, *more])} {'was' if len(broken) == 1 else 'were'}"


def _broken(found: Broken, currency: str) -> ReportFinding:
    item = found.items[0]
    cost = item.day_cost - item.usual_cost
    return ReportFinding(
        "broken_feature", broken_head(found), broken_text(found, currency), cost, None, significant=False
    )


@sentence
def broken_head(found: Broken) -> str:
    """Name the features that broke on one day."""
    itself = "itself" if len(found.items) == 1 else "themselves"
    verb = "A feature broke" if len(found.items) == 1 else "Features broke"
    return f"{verb}: {_names(found.items)} unlike {itself} on {day(found.items[0].day)}."


@sentence
def broken_text(found: Broken, currency: str) -> str:
    """Return how far the most broken feature moved, and what the errors of that day cost."""
    item = found.items[0]
    return (
        f"{percent(item.distance)} of the values of {item.words} moved; on the median of the other days "
        f"{percent(item.typical)} do. Errors cost {money(item.day_cost, currency)} on that day, and "
        f"{money(item.usual_cost, currency)} on the median of the others."
    )


def _described(
    totals: Totals,
    causes: tuple[CauseTotal, ...],
    campaigns: CampaignTotal | None,
    sweep: Sweep,
    clusters: tuple[Cluster, ...],
    autopsy: Autopsy | None,
    currency: str,
) -> Iterator[ReportFinding]:
    """Return what is not tested: each says what costs most of its kind."""
    top = max(causes, key=lambda item: item.cost, default=None)
    if top is not None and top.n_missed and totals.missed_cost > 0:
        told = CauseShare(top, totals.n_missed, totals.missed_cost)
        yield ReportFinding("cause", cause_head(told), cause_text(told, currency), top.cost, None, significant=False)
    move = Move(sweep.today, sweep.best)
    if move.gain > LEAST_GAIN * abs(sweep.today.cost):
        yield ReportFinding("threshold", move_head(move, currency), move_text(move), move.gain, None, significant=False)
    if campaigns is not None:
        head, text = campaign_head(campaigns), campaign_text(campaigns, currency)
        yield ReportFinding("campaign", head, text, campaigns.cost, None, significant=False)
    if clusters:
        item = clusters[0]
        head, text = cluster_head(item, currency), cluster_text(item, currency)
        yield ReportFinding("cluster", head, text, item.cost, None, significant=False)
    if autopsy is not None:
        best = found_by(autopsy)
        head, text = autopsy_head(autopsy), autopsy_text(autopsy, currency)
        yield ReportFinding("autopsy", head, text, best.cost_recovered, None, significant=False)


def _rule(item: DecidedTotal, currency: str) -> ReportFinding:
    return ReportFinding(
        "rule", rule_head(item), rule_text(item, currency), item.false_alarm_cost, None, significant=False
    )


@sentence
def rule_head(item: DecidedTotal) -> str:
    """Return how many of all false positives a rule made."""
    return f"The rule {item.rule!r} made {whole(item.n_false_alarms)} of {count(item.n_all_false, 'false positive')}."


@sentence
def rule_text(item: DecidedTotal, currency: str) -> str:
    """Return what the false positives of a rule cost, and what all its decisions brought."""
    gain = item.gain or 0.0
    against = f"{money(abs(gain), currency)} {'less' if gain >= 0 else 'more'}"
    return (
        f"They cost {money(item.false_alarm_cost, currency)}. All {count(item.n_events, 'decision')} of the rule, "
        f"which caught {count(item.n_caught, 'fraud')}, cost {against} than the actions that they replaced."
    )


@sentence
def cause_head(told: CauseShare) -> str:
    """Return what share of the missed money, or of the missed frauds, has a cause."""
    words = CAUSE_WORDS[told.cause.cause]
    part = f"{whole(told.cause.n_missed)} of {count(told.n_all, 'missed fraud')}"
    part = part if told.share is None else f"{percent(told.share)} of the missed money"
    return f"{part}: {words[:1].lower()}{words[1:]}."


@sentence
def cause_text(told: CauseShare, currency: str) -> str:
    """Return the missed frauds of a cause in words: their number, their loss, their other causes, and what helps."""
    item = told.cause
    amount = money(item.cost, currency)
    text = f"{whole(item.n_missed)} of {count(told.n_all, 'missed fraud')}, {amount}."
    overlap = overlap_words(item)
    return f"{text}{f' {overlap}.' if overlap else ''} {CURES[item.cause]}"


def overlap_words(item: CauseTotal) -> str:
    """State of how many frauds of a cause the condition of a cause that is tried later holds too; "" of none."""
    parts = []
    if item.cause == "label_delay" and item.n_near:
        parts.append(f"{whole(item.n_near)} would be alerted at twice the odds")
    if item.cause in {"label_delay", "near_miss"} and item.n_known:
        parts.append(f"{whole(item.n_known)} had another fraud of the same entity that was known")
    return f"Of these, {listed(parts)}" if parts else ""


@sentence
def move_head(move: Move, currency: str) -> str:
    """State that another threshold would have cost less."""
    return f"Another threshold: {_more(move)} would have cost {money(move.gain, currency)} less."


def _more(move: Move) -> str:
    change = move.other.n_alerts - move.today.n_alerts
    return f"{'more' if change > 0 else 'fewer'} alerts" if change else "as many alerts, on other events,"


@sentence
def move_text(move: Move) -> str:
    """Return how many alerts two settings have."""
    today, other = move.today, move.other
    if today.n_alerts == other.n_alerts:
        return f"{count(other.n_alerts, 'alert')} as today ({number(other.alerts_per_day)} a day), in hindsight."
    return (
        f"{count(other.n_alerts, 'alert')} instead of {whole(today.n_alerts)} ({number(other.alerts_per_day)} instead "
        f"of {number(today.alerts_per_day)} a day), in hindsight."
    )


@sentence
def campaign_head(total: CampaignTotal) -> str:
    """Return how many missed frauds lie in campaigns; one that lies in two counts once."""
    hang = "that hangs on one entity" if total.n_campaigns == 1 else "that hang on one entity each"
    return (
        f"{whole(total.n_missed)} of {count(total.n_all, 'missed fraud')} come in "
        f"{count(total.n_campaigns, 'campaign')} {hang}."
    )


@sentence
def campaign_text(total: CampaignTotal, currency: str) -> str:
    """Return what the frauds of campaigns cost, and which campaign cost most."""
    worst = total.worst
    most = "The costliest" if total.n_worst == 1 else f"One of the {whole(total.n_worst)} costliest"
    shared = f" {whole(total.n_shared)} of them lie in more than one." if total.n_shared else ""
    return (
        f"They cost {money(total.cost, currency)}.{shared} {most}: {worst.entity} {worst.value}, "
        f"{whole(worst.n_missed)} missed and {whole(worst.n_caught)} caught, {money(worst.cost, currency)}."
    )


@sentence
def cluster_head(item: Cluster, currency: str) -> str:
    """Return how many false positives form a group, and what they cost."""
    reason = f", most of all {item.drivers[0][0]}" if item.drivers else ""
    return f"{count(item.n, 'false positive')} that cost {money(item.cost, currency)} have the same reasons{reason}."


@sentence
def cluster_text(item: Cluster, currency: str) -> str:
    """Return the counts of events that match a group's rule: alerts, frauds, false positives, and the group's own."""
    if not item.rule:
        return "No rule over single features describes them."
    return (
        f"{count(item.n_alerts, 'alert')} of the model {'comes' if item.n_alerts == 1 else 'come'} where "
        f"{' and '.join(item.rule)}: "
        f"{count(item.n_alert_frauds, 'fraud')} and {count(item.n_false_met, 'false positive')} "
        f"({money(item.cost_met, currency)}), {whole(item.n_met)} of them in this group."
    )


def found_by(item: Autopsy) -> Separation:
    """Return the separation that a verdict speaks of."""
    return item.refit if item.verdict == "better_model" else item.hindsight


@sentence
def autopsy_head(item: Autopsy) -> str:
    """Return what would find more of the missed frauds."""
    heads = {
        "better_model": "A better model would help: a refit on today's features finds far more of the missed frauds.",
        "better_data": "Better data before a better model: labels in hindsight find far more of the missed frauds.",
        "new_signals": "Find new signals: neither a refit nor labels in hindsight find far more of the missed frauds.",
    }
    return heads[item.verdict]


@sentence
def autopsy_text(item: Autopsy, currency: str) -> str:
    """Return what three scores find of the missed frauds at the same share of false positives."""
    return (
        "In diagnosis, at one false positive per hundred passed events: today's scores "
        f"{_found(item.model, currency)} of {count(item.n_missed, 'missed fraud')}, a refit "
        f"{_found(item.refit, currency)}, labels in hindsight {_found(item.hindsight, currency)}."
    )


def _found(item: Separation, currency: str) -> str:
    return f"{percent(item.recall)} ({money(item.cost_recovered, currency)})"
