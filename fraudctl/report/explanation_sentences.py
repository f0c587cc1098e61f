"""The sentences of an explanation's sections: functions from its typed values to text.

Owns wording only. The findings at the head of a report have theirs in `fraudctl.explain.findings`.
"""

from __future__ import annotations

import math
from typing import Final

from fraudctl.explain.autopsy import Autopsy
from fraudctl.explain.campaigns import Campaign, CampaignTotal
from fraudctl.explain.causes import CauseTotal
from fraudctl.explain.clusters import Cluster
from fraudctl.explain.contrast import Contrast, ContributionDifference
from fraudctl.explain.decided import DecidedTotal
from fraudctl.explain.findings import CURES, CauseShare, Move
from fraudctl.explain.money import EntityTable
from fraudctl.explain.pairs import Pairs
from fraudctl.explain.result import BrokenFeature, Totals
from fraudctl.explain.scene import MISSED
from fraudctl.explain.slices import Slice, Slices
from fraudctl.explain.threshold import Sweep, ThresholdSetting
from fraudctl.report.facts import CauseLookback, Counts, Few, Listed, Parts, Span, Worst
from fraudctl.text.figures import count, day, listed, money, number, percent, period, signed, span, whole
from fraudctl.text.sentences import sentence
from fraudctl.text.wording import spoken

SHORT_CAUSE: Final = {
    "label_delay": "label not yet in",
    "near_miss": "near miss",
    "known": "fraud known before",
    "first_fraud": "no fraud in the look-back",
}
LITTLE: Final = 0.02
"""Share of today's loss up to which another threshold would not have cost noticeably less."""


@sentence
def verdict(t: Totals, when: Span, currency: str) -> str:
    """Return what was lost in a period, and what the largest part of it is."""
    length = span(when.start, when.until)
    if t.cost <= 0:
        return _no_loss(t, length, currency)
    worse = f", {money(-t.saved, currency)} more than “{t.base.words}” would have cost" if t.saved < 0 else ""
    parts = {
        "missed fraud": t.missed_cost,
        "false positives": t.false_alarm_cost,
        "handling caught fraud": t.caught_cost,
    }
    top = max(parts, key=lambda item: parts[item])
    share = f"; {percent(parts[top] / t.cost)} of it is {top}" if min(parts.values()) >= 0 else ""
    return f"The model lost {money(t.cost, currency)} in {length}{worse}{share}"


def _no_loss(t: Totals, length: str, currency: str) -> str:
    """State that decisions brought money, as those on refunds may, or cost nothing."""
    if t.cost == 0:
        return f"The model lost nothing in {length} ({count(t.n_frauds, 'fraud')})"
    worse = f", {money(-t.saved, currency)} less than “{t.base.words}” would have gained" if t.saved < 0 else ""
    errors = t.missed_cost + t.false_alarm_cost
    net = f", after {money(errors, currency)} lost on missed fraud and false positives" if errors > 0 else ""
    return f"The model gained {money(-t.cost, currency)} in {length}{worse}{net}"


@sentence
def judged(t: Totals, when: Span, model: str) -> str:
    """Return which events are explained."""
    counts = f"{count(t.n_events, 'event')} · {count(t.n_frauds, 'fraud')}"
    return f"{period(when.start, when.until, when.timezone)} · {counts} · model {model}"


@sentence
def costs(words: tuple[str, ...]) -> str:
    """State the cost model."""
    return f"What counts as lost: {'; '.join(words)}."


@sentence
def saved(t: Totals, currency: str) -> str:
    """Name the base that the saved money is measured against."""
    share = f" ({percent(t.saved / t.base.cost)})" if t.base.cost > 0 and t.saved > 0 else ""
    return f"saved{share} against “{t.base.words}”, which would have cost {money(t.base.cost, currency)}"


@sentence
def missed(t: Totals, currency: str) -> str:
    """Return how many frauds there were and what the missed ones cost."""
    return f"missed of {count(t.n_frauds, 'fraud')}: {money(t.missed_cost, currency)}"


@sentence
def false_alarms(t: Totals, currency: str) -> str:
    """Return what false positives cost."""
    return f"false positives: {money(t.false_alarm_cost, currency)}"


@sentence
def precision(t: Totals) -> str:
    """Return how many alerts there were."""
    return f"of {count(t.n_alerts, 'alert')} are fraud"


@sentence
def hint(item: Few, one: str) -> str:
    """State that there are too few errors to conclude from."""
    return f"Only {count(item.n, one)}: a hint at most." if item.n < item.least else ""


@sentence
def cause_lead(told: CauseShare) -> str:
    """Return which cause lost most."""
    part = f"{whole(told.cause.n_missed)} of {count(told.n_all, 'missed fraud')}"
    part = part if told.share is None else f"{percent(told.share)} of the missed money"
    return f"{part}: {SHORT_CAUSE[told.cause.cause]}. {CURES[told.cause.cause]}"


@sentence
def cause_parts(parts: Parts, currency: str) -> str:
    """State the missed money and frauds of each cause."""
    said = "; ".join(f"{name} {money(item.cost, currency)} · {whole(item.n)}" for name, item in parts.items)
    return f"Missed money and frauds by cause: {said}"


@sentence
def cause_wait(item: CauseTotal) -> str:
    """Return how soon the label that was missing came."""
    if item.median_wait_days is None:
        return ""
    return f"Its first label came {number(item.median_wait_days)} days after the event (median)."


@sentence
def cause_caption(causes: tuple[CauseTotal, ...], lookback: CauseLookback) -> str:
    """Return how causes are counted."""
    counted = count(sum(item.n_missed for item in causes), "missed fraud")
    return (
        f"{counted} by cause, each counted once, under the first that holds; looking back {number(lookback.days)} days"
    )


@sentence
def worst_days(item: Worst, currency: str) -> str:
    """Return which day or week lost most."""
    what = "day" if item.unit == "day" else "week from"
    worst = f"the worst is the {what}" if len(item.at) == 1 else f"the worst are the {what}"
    return (
        f"Money lost on errors over {count(item.n, item.unit)}; {worst} {_days(item)} with "
        f"{money(item.cost, currency)}{'' if len(item.at) == 1 else ' each'}."
    )


def _days(item: Worst) -> str:
    shown = [day(at) for at in item.at[:3]]
    return listed([*shown, f"{len(item.at) - 3} more"] if len(item.at) > 3 else shown)


@sentence
def concentrated(item: EntityTable) -> str:
    """Return how few ids carry the money."""
    return (
        f"{count(len(item.rows), item.entity)} of {whole(item.n_values)} carry {percent(item.share_of_top)} of the "
        f"money lost on errors with a known {item.entity}; half of it lies with "
        f"{count(item.half_of_loss, item.entity)}."
    )


@sentence
def concentration(items: tuple[EntityTable, ...]) -> str:
    """State with how many ids half of the loss lies."""
    said = "; ".join(f"half of it lies with {count(item.half_of_loss, item.entity)}" for item in items)
    return f"Share of the loss over the number of costliest ids: {said}."


@sentence
def entity_caption(item: EntityTable) -> str:
    """Return what share of the loss the listed ids have."""
    return (
        f"The costliest of {count(item.n_values, item.entity)}: {percent(item.share_of_top)} of what errors with a "
        f"known {item.entity} cost"
    )


@sentence
def segment_caption(words: str) -> str:
    """Name the column of a table of segments."""
    return f"By {words}, the costliest first"


@sentence
def threshold_lead(move: Move, swept: Sweep, currency: str) -> str:
    """Return whether another threshold would have cost less."""
    if move.gain <= LITTLE * abs(move.today.cost):
        n = len(swept.curve) + len(swept.near)
        return f"No: none of the {whole(n)} other settings would have cost noticeably less."
    change = move.other.n_alerts - move.today.n_alerts
    alerts = f"{'more' if change > 0 else 'fewer'} alerts" if change else "as many alerts, on other events"
    than = f" instead of {whole(move.today.n_alerts)}" if change else ""
    share = f" ({percent(move.gain / abs(move.today.cost))})" if move.today.cost else ""
    return (
        f"Partly: with {alerts} ({whole(move.other.n_alerts)}{than}) the loss would have been "
        f"{money(move.gain, currency)} lower{share}, in hindsight."
    )


@sentence
def threshold_curve(move: Move, currency: str) -> str:
    """Return what today's setting and the cheapest one cost."""
    return (
        f"Money lost against alerts per day. Today {number(move.today.alerts_per_day)} alerts a day cost "
        f"{money(move.today.cost, currency)}; the lowest is {money(move.other.cost, currency)} at "
        f"{number(move.other.alerts_per_day)}."
    )


@sentence
def curve_title(first: ThresholdSetting, last: ThresholdSetting) -> str:
    """Name the chart and what is shaded."""
    words = "Money lost as the number of alerts changes"
    low, high = sorted((first.alerts_per_day, last.alerts_per_day))
    if first.factor == last.factor:
        return f"{words}; no other setting of the curve is within 1 % of the lowest"
    if number(low) == number(high):
        return f"{words}; all settings within 1 % of the lowest have {number(low)} alerts a day"
    return f"{words}; shaded: {number(low)} to {number(high)} alerts a day, within 1 % of the lowest"


@sentence
def contrasted(item: Contrast, kind: str) -> str:
    """Return what parts errors from their peers, as a factor on the odds of fraud."""
    sides = {
        "missed": "Frauds that the model missed differ from those that it caught",
        "false": "The model's false positives differ from legitimate events that it passed",
    }
    top = item.families[0]
    factor = f"{number(math.exp(min(abs(top.value), 50.0)))} times {'lower' if top.value < 0 else 'higher'}"
    return (
        f"{sides[kind]} most by “{top.words}”, which makes their odds of fraud {factor} on average; of single "
        f"features, by “{spoken(item.features[0].words)}”."
    )


@sentence
def differences(rows: tuple[ContributionDifference, ...], kind: str, words: str) -> str:
    """State the mean contributions that a chart shows."""
    return f"Mean contribution by {kind}, {words}: " + "; ".join(_difference(row) for row in rows) + "."


def _difference(row: ContributionDifference) -> str:
    interval = "" if row.low is None or row.high is None else f" ({signed(row.low, 2)} to {signed(row.high, 2)})"
    return f"{row.words} {signed(row.value, 2)}{interval}"


@sentence
def absent(side: str, reason: str) -> str:
    """Return why a part is not there."""
    return f"{side}: {reason}."


@sentence
def drawn_by(entity: str) -> str:
    """Return what the intervals of contributions are drawn over."""
    return (
        f"Mean contributions to the score; whiskers are 90 % intervals that redraw whole {entity} ids. A difference "
        "shows where the scores differ, not why."
    )


@sentence
def pairs_caption(pairs: Pairs) -> str:
    """State of how many errors pairs of features are summarised."""
    return (
        f"What pairs of features add to the scores of {count(pairs.n_missed, 'missed fraud')} and "
        f"{count(pairs.n_false_alarms, 'false positive')} beyond each by itself, mean in log-odds"
    )


@sentence
def groups(items: tuple[Cluster, ...], decided: tuple[DecidedTotal, ...], currency: str) -> str:
    """Return the number of the model's false positives in groups; groups are disjoint and hold no error of a rule."""
    n, worst = sum(item.n for item in items), items[0]
    n_false = sum(item.n_false_alarms for item in decided if item.by_model)
    reason = f", most of all {worst.drivers[0][0]}" if worst.drivers else ""
    most = "the costliest" if sum(item.cost == worst.cost for item in items) == 1 else "one of the costliest"
    return (
        f"{whole(n)} of {count(n_false, 'false positive')} of the model fall into {count(len(items), 'group')}; {most} "
        f"has {whole(worst.n)} ({money(worst.cost, currency)}){reason}."
    )


@sentence
def unstable(hidden: Few) -> str:
    """Return how the groups were made, and how many are not shown."""
    more = f" {count(hidden.n, 'group')} did not come back and are not shown." if hidden.n else ""
    return f"Grouped by why the model alerted.{more}"


@sentence
def in_campaigns(total: CampaignTotal, currency: str) -> str:
    """Return how many missed frauds lie in campaigns, each counted once."""
    kinds = listed([count(n, name) for name, n in total.kinds])
    shared = f" {whole(total.n_shared)} of them lie in more than one." if total.n_shared else ""
    return (
        f"{whole(total.n_missed)} of {count(total.n_all, 'missed fraud')} ({money(total.cost, currency)}) lie in "
        f"{count(total.n_campaigns, 'campaign')}, which hang on {kinds}.{shared}"
    )


@sentence
def outside_campaigns(total: CampaignTotal) -> str:
    """Return how many missed frauds lie in no campaign, and with what knowledge campaigns were found."""
    return (
        "Found with labels in hindsight, on both sides of each event: nobody had them then. Missed frauds in none of "
        f"these campaigns: {whole(total.n_all - total.n_missed)}."
    )


@sentence
def courses(shown: tuple[Campaign, ...]) -> str:
    """State the missed and caught frauds of the campaigns that are drawn."""
    said = "; ".join(
        f"{item.entity} {item.value} {whole(item.n_missed)} missed, {whole(item.n_caught)} caught" for item in shown
    )
    return f"Frauds of the costliest campaigns over time: {said}."


@sentence
def campaigns_caption(shown: tuple[Campaign, ...], total: CampaignTotal) -> str:
    """Return which campaigns a table lists."""
    first = f"The {whole(len(shown))} costliest of " if len(shown) < total.n_campaigns else ""
    return f"{first}{count(total.n_campaigns, 'campaign')} with at least two missed frauds"


@sentence
def weak(strong: tuple[Slice, ...]) -> str:
    """Name the slice that stands out most, or say that none does."""
    if not strong:
        return "Nothing that was searched stands out beyond chance."
    top = strong[0]
    what = "frauds are missed" if top.kind == MISSED else "legitimate events are stopped"
    more = f" {whole(len(strong) - 1)} more below." if len(strong) > 1 else ""
    return f"Beyond chance, {what} more often than their scores account for where {' and '.join(top.conditions)}.{more}"


@sentence
def broke(item: BrokenFeature) -> str:
    """Return how far a feature moved on a day."""
    return (
        f"On {day(item.day)}, {item.words} was unlike all other days ({percent(item.distance)} of its values moved; on "
        f"the median of the other days {percent(item.typical)} do)."
    )


@sentence
def searched(item: Slices) -> str:
    """Return what the search for weak slices covered."""
    return (
        f"{whole(item.n_conditions)} of {whole(item.n_possible)} conditions, up to three joined; found on the first "
        f"60 % of the events and tested again on the rest. Permutation test with {whole(item.n_permutations)} searches "
        "on errors permuted among equal scores. Counts and money are of all events of the period."
    )


@sentence
def not_searched(kind: str, reason: str) -> str:
    """Return why one kind of error was not searched."""
    return f"{'Missed frauds' if kind == MISSED else 'False positives'} were not searched: {reason}."


@sentence
def autopsy_caption(item: Autopsy) -> str:
    """Describe the groups that the autopsy separates."""
    return (
        f"{count(item.n_missed, 'missed fraud')} against {count(item.n_passed, 'passed legitimate event')}, at 1 % of "
        "the latter alerted"
    )


@sentence
def costliest(item: Listed) -> str:
    """Return what share of the loss the listed errors have."""
    share = f", {percent(item.cost / item.cost_all)} of what errors cost" if 0 < item.cost <= item.cost_all else ""
    return (
        f"The top {whole(item.n)} of {count(item.n_all, 'error')}{share}. In a terminal, “fraudctl explain --event "
        f"{item.first}” tells the first in full."
    )


@sentence
def looked_at(item: Counts) -> str:
    """Return which events were looked at."""
    sampled = (
        f"Of {count(item.n_events, 'event')} {whole(item.n_searched)} were searched closely (all frauds, all alerts, "
        "and a random sample of the rest, weighted)."
        if item.sampled
        else f"All {count(item.n_events, 'event')} were searched."
    )
    weighted = " Money counts every event by its weight; numbers are of events in the data." if item.weighted else ""
    return f"{sampled} Contributions of {whole(item.n_explained)}. Only labelled, mature events count.{weighted}"


@sentence
def looked_back(lookback: CauseLookback) -> str:
    """Return how causes are tested."""
    return (
        f"An event's frauds are looked back for {number(lookback.days)} days. Label not yet in: an earlier fraud of "
        "one of its entities whose label arrived after the event; near miss: alerted at twice the odds; fraud known "
        "before: such a label had arrived. The first that holds counts; later ones may hold as well."
    )


@sentence
def contributed(item: Counts) -> str:
    """Return what contributions are."""
    return (
        f"SHAP values of the model's trees over {count(item.n_features, 'feature')}, in log-odds; they add up to the "
        "score exactly. They say how this model came to its score, not what causes fraud; features that carry the same "
        "information share the credit."
    )


@sentence
def seeded(item: Counts) -> str:
    """State the seed."""
    return f"{item.seed}; {count(item.n_permutations, 'permutation')}. The same inputs give the same bytes."


@sentence
def noted(text: str) -> str:
    """Repeat a fact of the method as it stands there."""
    return text
