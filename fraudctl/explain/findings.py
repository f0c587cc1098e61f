"""The first things to know: what is weak beyond chance, then what costs most and what would help.

Owns their order and their sentences. Tested weaknesses come first; the rest describes and claims no significance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fraudctl.explain.autopsy import Autopsy
from fraudctl.explain.campaigns import Campaign
from fraudctl.explain.causes import CauseTotal
from fraudctl.explain.clusters import Cluster
from fraudctl.explain.result import BrokenFeature, Finding, Totals
from fraudctl.explain.scene import MISSED
from fraudctl.explain.slices import Slice, Slices
from fraudctl.explain.threshold import Sweep
from fraudctl.figures import count, day, money, percent

CAUSE_WORDS: Final = {
    "label_delay": "An earlier fraud of the same entity had happened, but its label had not arrived",
    "near_miss": "Just below the line: alerted if its odds were twice as high",
    "known": "Fraud of the same entity was known, and the score still low",
    "first_fraud": "First fraud: nothing was known against any of its entities",
}
CURES: Final = {
    "label_delay": "No known label could show it. Shorten the label delay, or add signals that need no label.",
    "near_miss": "A slightly lower line would catch it: see what that costs in the section on the threshold.",
    "known": "The signal was there and weighed too little: a matter for the model and its features.",
    "first_fraud": "A cold start: only signals of the event itself and of velocity can help.",
}
MOST: Final = 6
MOST_TESTED: Final = 3
MATERIAL: Final = 0.02
"""Share of what errors cost from which a tested weakness comes before all else."""


def find_findings(
    *,
    totals: Totals,
    slices: Slices,
    broken: tuple[BrokenFeature, ...],
    causes: tuple[CauseTotal, ...],
    campaigns: tuple[Campaign, ...],
    sweep: Sweep,
    clusters: tuple[Cluster, ...],
    autopsy: Autopsy | None,
    currency: str,
) -> tuple[Finding, ...]:
    """Order the statements.

    First, by money, what is beyond chance and costs `MATERIAL` of what errors cost; then days on which features broke,
    for somebody can mend them; then all others by the money behind them.
    """
    enough = MATERIAL * (totals.missed_cost + totals.false_alarm_cost)
    tested = sorted((item for item in slices.items if item.significant), key=lambda item: -item.excess)
    first = [item for item in tested if item.excess >= enough][:MOST_TESTED]
    told = {words for item in first for words in item.conditions}
    days = {item.day for item in broken if f"it is {day(item.day)}" not in told}
    mended = [_broken([item for item in broken if item.day == at], currency) for at in sorted(days)]
    rest = [_slice(item, broken, currency) for item in tested if item not in first]
    rest += _described(totals, causes, campaigns, sweep, clusters, autopsy, currency)
    top = [_slice(item, broken, currency) for item in first]
    top += sorted(mended, key=lambda item: -item.cost)[:MOST_TESTED]
    return tuple([*top, *sorted(rest, key=lambda item: -item.cost)][:MOST])


def _slice(item: Slice, broken: tuple[BrokenFeature, ...], currency: str) -> Finding:
    missed = item.kind == MISSED
    kind = "slice" if item.confirmed is not None else "day"
    said = " and ".join(item.conditions)
    where = f"on {said.removeprefix('it is ')}" if kind == "day" else f"where {said}"
    what = "Fraud slips through" if missed else "Legitimate events are stopped too often"
    noun = "missed frauds" if missed else "false alarms"
    text = (
        f"{item.n_errors:,} {noun} where {item.expected_errors:,.1f} would be usual at these scores: "
        f"{money(item.excess, currency)} more than elsewhere."
    )
    if item.mostly:
        text += f" Mostly {' and '.join(item.mostly)}."
    if item.confirmed:
        text += " It showed again in the later part of the period."
    mended = [other for other in broken if f"it is {day(other.day)}" in item.conditions]
    if mended:
        text += f" On that day {_names(mended)} unlike all other days."
    return Finding(kind, f"{what} {where}.", text, item.excess, item.p_value, significant=True)


def _names(broken: list[BrokenFeature]) -> str:
    """Name broken features with their verb, the most broken first."""
    names = [item.words for item in broken[:3]]
    more = f" and {len(broken) - 3} more features" if len(broken) > 3 else ""
    joined = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{joined}{more} {'was' if len(broken) == 1 else 'were'}"


def _broken(items: list[BrokenFeature], currency: str) -> Finding:
    """Tell the features that broke on one day."""
    item = items[0]
    itself = "itself" if len(items) == 1 else "themselves"
    head = f"A feature broke: {_names(items)} unlike {itself} on {day(item.day)}."
    text = (
        f"{percent(item.distance)} of its values moved (on other days {percent(item.typical)}). Errors cost "
        f"{money(item.day_cost, currency)} on that day, where {money(item.usual_cost, currency)} is usual."
    )
    return Finding("broken_feature", head, text, item.day_cost - item.usual_cost, None, significant=False)


def _described(
    totals: Totals,
    causes: tuple[CauseTotal, ...],
    campaigns: tuple[Campaign, ...],
    sweep: Sweep,
    clusters: tuple[Cluster, ...],
    autopsy: Autopsy | None,
    currency: str,
) -> Iterator[Finding]:
    """Give what is not tested: each says what costs most of its kind."""
    top = max(causes, key=lambda item: item.cost, default=None)
    if top is not None and top.n_missed and totals.missed_cost > 0:
        yield _cause(top, totals, currency)
    gain = sweep.today.cost - sweep.best.cost
    if gain > 0.05 * abs(sweep.today.cost):
        yield _line(sweep, gain, currency)
    several = [item for item in campaigns if item.n_missed > 1]
    if several:
        yield _campaign(several, totals, currency)
    if clusters:
        yield _cluster(clusters[0], currency)
    if autopsy is not None:
        yield _autopsy(autopsy)


def _cause(top: CauseTotal, totals: Totals, currency: str) -> Finding:
    head = f"{percent(top.cost / totals.missed_cost)} of the missed money: {_lower(CAUSE_WORDS[top.cause])}."
    amount = money(top.cost, currency)
    text = f"{count(top.n_missed, 'fraud')} of {totals.n_missed:,} missed, {amount}. {CURES[top.cause]}"
    return Finding("cause", head, text, top.cost, None, significant=False)


def _line(sweep: Sweep, gain: float, currency: str) -> Finding:
    more = "more" if sweep.best.n_alerts > sweep.today.n_alerts else "fewer"
    head = f"A better line: {more} alerts would have cost {money(gain, currency)} less."
    text = f"{sweep.best.alerts_per_day:,.0f} alerts a day instead of {sweep.today.alerts_per_day:,.0f}, in hindsight."
    return Finding("threshold", head, text, gain, None, significant=False)


def _campaign(several: list[Campaign], totals: Totals, currency: str) -> Finding:
    """Tell the campaigns together and the costliest by name."""
    n, cost = sum(item.n_missed for item in several), sum(item.cost for item in several)
    worst = several[0]
    head = (
        f"{n:,} of {totals.n_missed:,} missed frauds come in {count(len(several), 'campaign')} that hang on one entity."
    )
    text = (
        f"They cost {money(cost, currency)}. The costliest: {worst.entity} {worst.value}, {worst.n_missed:,} missed "
        f"and {worst.n_caught:,} caught, {money(worst.cost, currency)}."
    )
    return Finding("campaign", head, text, cost, None, significant=False)


def _cluster(worst: Cluster, currency: str) -> Finding:
    head = f"{count(worst.n, 'false alarm')} have one reason: {' and '.join(worst.rule) or worst.drivers[0][0]}."
    share_fraud = percent(worst.n_alert_frauds / max(worst.n_alerts, 1))
    text = f"They cost {money(worst.cost, currency)}; of all alerts like them {share_fraud} are fraud."
    return Finding("cluster", head, text, worst.cost, None, significant=False)


def _autopsy(item: Autopsy) -> Finding:
    heads = {
        "better_model": "Today's features could tell many of the missed frauds: a better model would help.",
        "better_data": "Better data before a better model: only later labels tell the missed frauds apart.",
        "new_signals": "Neither today's features nor later labels tell the missed frauds apart: find new signals.",
    }
    best = {"better_model": item.refit, "better_data": item.hindsight, "new_signals": item.hindsight}[item.verdict]
    text = (
        f"In diagnosis, {percent(best.recall)} of them stand out at one false alarm per hundred passed events "
        f"({percent(item.refit.recall)} with today's features)."
    )
    return Finding("autopsy", heads[item.verdict], text, best.cost_recovered, None, significant=False)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
