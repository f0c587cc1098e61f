"""The first things to know: what is weak beyond chance, then what costs most and what would help.

Owns their order and their sentences. Tested weaknesses come first; the rest describes and claims no significance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fraudctl.explain.autopsy import Autopsy
from fraudctl.explain.causes import CauseTotal
from fraudctl.explain.clusters import Cluster
from fraudctl.explain.result import BrokenFeature, Finding, Totals
from fraudctl.explain.scene import MISSED
from fraudctl.explain.slices import Slice, Slices
from fraudctl.explain.threshold import Sweep
from fraudctl.explain.wording import count, day, money, percent

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


def find_findings(
    *,
    totals: Totals,
    slices: Slices,
    broken: tuple[BrokenFeature, ...],
    causes: tuple[CauseTotal, ...],
    sweep: Sweep,
    clusters: tuple[Cluster, ...],
    autopsy: Autopsy | None,
    currency: str,
) -> tuple[Finding, ...]:
    """Order the statements: significant slices and days, broken features, then by money."""
    weak = [item for item in slices.items if item.significant]
    tested = [_slice(item, broken, currency) for item in sorted(weak, key=lambda item: (item.p_value, -item.excess))]
    told = {item.day for item in broken for found in weak if f"it is {day(item.day)}" in found.conditions}
    parts = [_broken(item, currency) for item in broken if item.day not in told][:2]
    rest = sorted(_described(totals, causes, sweep, clusters, autopsy, currency), key=lambda item: -item.cost)
    return tuple([*tested[:3], *parts, *rest][:MOST])


def _slice(item: Slice, broken: tuple[BrokenFeature, ...], currency: str) -> Finding:
    where = " and ".join(item.conditions) + (f" (mostly {' and '.join(item.mostly)})" if item.mostly else "")
    missed = item.kind == MISSED
    what = "Frauds are missed" if missed else "Legitimate events are stopped"
    noun = "missed frauds" if missed else "false alarms"
    text = (
        f"{item.n_errors:,} {noun} where {item.expected_errors:,.1f} would be usual at these scores: "
        f"{money(item.excess, currency)} more than elsewhere."
    )
    if item.confirmed:
        text += " It showed again in the later part of the period."
    for other in broken:
        if f"it is {day(other.day)}" in item.conditions:
            text += f" On that day {other.words} was unlike all other days."
            break
    kind = "slice" if item.confirmed is not None else "day"
    return Finding(
        kind, f"{what} more than their scores explain where {where}.", text, item.excess, item.p_value, significant=True
    )


def _broken(item: BrokenFeature, currency: str) -> Finding:
    head = f"{item.words} was unlike itself on {day(item.day)}."
    text = (
        f"{percent(item.distance)} of its values moved (on other days {percent(item.typical)}); "
        f"{count(item.n_missed, 'fraud')} worth {money(item.missed_cost, currency)} missed on that day."
    )
    return Finding("broken_feature", head, text, item.missed_cost, None, significant=False)


def _described(
    totals: Totals,
    causes: tuple[CauseTotal, ...],
    sweep: Sweep,
    clusters: tuple[Cluster, ...],
    autopsy: Autopsy | None,
    currency: str,
) -> Iterator[Finding]:
    top = max(causes, key=lambda item: item.cost, default=None)
    if top is not None and top.n_missed and totals.missed_cost > 0:
        share = percent(top.cost / totals.missed_cost)
        amount = money(top.cost, currency)
        text = f"{count(top.n_missed, 'fraud')} of {totals.n_missed:,} missed, {amount}. {CURES[top.cause]}"
        yield Finding(
            "cause",
            f"{share} of the missed money: {_lower(CAUSE_WORDS[top.cause])}.",
            text,
            top.cost,
            None,
            significant=False,
        )
    gain = sweep.today.cost - sweep.best.cost
    if gain > 0.05 * abs(sweep.today.cost):
        more = "more" if sweep.best.n_alerts > sweep.today.n_alerts else "fewer"
        head = f"A better line: {more} alerts would have cost {money(gain, currency)} less."
        text = (
            f"{sweep.best.alerts_per_day:,.0f} alerts a day instead of {sweep.today.alerts_per_day:,.0f}, in hindsight."
        )
        yield Finding("threshold", head, text, gain, None, significant=False)
    if clusters:
        worst = clusters[0]
        head = f"{count(worst.n, 'false alarm')} have one reason: {' and '.join(worst.rule) or worst.drivers[0][0]}."
        share_fraud = percent(worst.n_alert_frauds / max(worst.n_alerts, 1))
        text = f"They cost {money(worst.cost, currency)}; of all alerts like them {share_fraud} are fraud."
        yield Finding("cluster", head, text, worst.cost, None, significant=False)
    if autopsy is not None:
        yield _autopsy(autopsy)


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
