"""Recount every typed value that a sentence is written from, out of the decided rows, in plain Python.

Written apart from the code that it checks: rows are dicts, a condition is read from its words, groups are counted one
row at a time. `RECOUNT` has one function for each type; a contract test holds it to the types that sentences take.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from typing import Any

from ground import Ground, Row, lost, meets, near
from recount_evaluation import RECOUNT_EVALUATION

from fraudctl import costs
from fraudctl.checks import Finding
from fraudctl.explain import (
    autopsy,
    campaigns,
    causes,
    clusters,
    contrast,
    decided,
    event,
    findings,
    money,
    pairs,
    slices,
    threshold,
)
from fraudctl.explain.result import BrokenFeature, Totals
from fraudctl.metrics.drift import Drift
from fraudctl.overlap import Relabelled
from fraudctl.report import facts


def cause_tests(ground: Ground, row: Row, alerts: dict[Any, bool]) -> tuple[bool, bool, bool, timedelta]:
    """Whether a label was pending, twice the odds would alert, a fraud was known; and the earliest pending label."""
    t = row["event_time"]
    pending = known = False
    wait = timedelta.max
    for other in ground.past_frauds:
        if not other["event_time"] < t:
            continue
        if not any(row[name] is not None and row[name] == other[name] for name in ground.entities):
            continue
        arrived = other["label_time"]
        if arrived > t and other["event_time"] > t - ground.lookback:
            pending, wait = True, min(wait, arrived - t)
        known |= t - ground.lookback < arrived <= t
    return pending, alerts[row["event_id"]], known, wait


def recount_totals(item: Totals, g: Ground) -> None:
    assert item.n_events == len(g.rows)
    assert item.n_frauds == sum(row["label"] for row in g.rows)
    assert (item.n_alerts, item.n_missed) == (len(g.alerts()), len(g.missed()))
    assert (item.n_caught, item.n_false_alarms) == (len(g.caught()), len(g.false_alarms()))
    assert item.cost == near(lost(g.rows))
    assert item.missed_cost == near(lost(g.missed()))
    assert item.false_alarm_cost == near(lost(g.false_alarms()))
    assert item.caught_cost == near(lost(g.caught()))
    recount_base(item.base, g)
    assert item.saved == near(item.base.cost - item.cost)


def recount_base(item: costs.ConstantAction, g: Ground) -> None:
    everything = [math.fsum(g.cost_of(factor)) for factor in (1e-12, 1e12)]
    assert item.cost <= min(everything) + 1e-6
    assert item.events == len(g.rows)
    if item.action in {"allow", "block"} and item.without_slot == 0:
        assert item.cost == near(everything[item.action == "block"])


def recount_cause(item: causes.CauseTotal, g: Ground) -> None:
    alerts = dict(zip((row["event_id"] for row in g.rows), g.decide(2.0), strict=True))
    names = ("label_delay", "near_miss", "known")
    found, waits = [], []
    for row in g.missed():
        *tests, wait = cause_tests(g, row, alerts)
        first = next((name for name, held in zip(names, tests, strict=True) if held), "first_fraud")
        if first == item.cause:
            found.append((row, tests))
            waits.append(wait)
    assert item.n_missed == len(found)
    assert item.cost == near(lost([row for row, _ in found]))
    for k, n in enumerate((item.n_pending, item.n_near, item.n_known)):
        assert n == sum(tests[k] for _, tests in found)
    if item.median_wait_days is not None:
        assert item.median_wait_days == near(statistics.median(wait / timedelta(days=1) for wait in waits))


def recount_share(item: findings.CauseShare, g: Ground) -> None:
    recount_cause(item.cause, g)
    assert (item.n_all, item.cost_all) == (len(g.missed()), near(lost(g.missed())))
    assert item.share is None or 0 <= item.share <= 1


def members(item: campaigns.Campaign, g: Ground) -> list[Row]:
    """Frauds of the campaign's entity, chained while no more than 14 days apart, around its start."""
    mine = sorted(
        (row for row in g.history if row["label"] == 1 and str(row[item.entity]) == item.value),
        key=lambda row: row["event_time"],
    )
    chains: list[list[Row]] = []
    for row in mine:
        if chains and row["event_time"] - chains[-1][-1]["event_time"] <= timedelta(days=14):
            chains[-1].append(row)
        else:
            chains.append([row])
    return next(chain for chain in chains if chain[0]["event_time"] == item.start)


def recount_campaign(item: campaigns.Campaign, g: Ground) -> None:
    ids = {row["event_id"] for row in members(item, g)}
    missed = [row for row in g.missed() if row["event_id"] in ids]
    assert item.size == len(ids)
    assert (item.n_missed, item.cost) == (len(missed), near(lost(missed)))
    assert item.n_caught == sum(row["event_id"] in ids for row in g.caught())
    assert item.n_events == sum(
        row["label"] is not None and str(row[item.entity]) == item.value and item.start <= row["event_time"] <= item.end
        for row in g.history
    )


def recount_campaigns(item: campaigns.CampaignTotal, g: Ground) -> None:
    assert g.explanation is not None
    several = [one for one in g.explanation.campaigns if one.n_missed > 1]
    missed = {row["event_id"]: row for row in g.missed()}
    times = Counter(row["event_id"] for one in several for row in members(one, g) if row["event_id"] in missed)
    assert item.n_campaigns == len(several)
    assert dict(item.kinds) == dict(Counter(one.entity for one in several))
    assert item.n_missed == len(times) <= item.n_all == len(missed)
    assert item.cost == near(lost([missed[name] for name in times]))
    assert item.n_shared == sum(n > 1 for n in times.values())
    worst = max(one.cost for one in several)
    assert item.worst.cost == worst
    assert item.n_worst == sum(one.cost == worst for one in several)
    recount_campaign(item.worst, g)


def recount_cluster(item: clusters.Cluster, g: Ground) -> None:
    assert g.explanation is not None
    k = next(i for i, other in enumerate(g.explanation.clusters) if other is item or other == item)
    ids = {error.event_id for error in g.explanation.errors if error.cluster == k}
    mine = [row for row in g.false_alarms() if row["event_id"] in ids]
    assert (item.n, item.cost) == (len(mine), near(lost(mine)))
    met = [row for row in g.alerts() if all(meets(g, words, row) for words in item.rule)]
    false = [row for row in met if row["label"] == 0]
    assert item.n_alerts == len(met)
    assert item.n_alert_frauds == len(met) - len(false)
    assert (item.n_false_met, item.cost_met) == (len(false), near(lost(false)))
    assert item.n_met == sum(row["event_id"] in ids for row in false)
    assert item.precision == near(item.n_met / max(item.n_false_met, 1))
    assert item.recall == near(item.n_met / item.n)


def recount_slice(item: slices.Slice, g: Ground) -> None:
    missed = item.kind == "false_negative"
    side = [row for row in g.rows if (row["action"] == "allow") == missed]
    inside = [row for row in side if all(meets(g, words, row) for words in item.conditions)]
    mine = [row for row in inside if row["label"] == (1 if missed else 0)]
    assert item.n_events == len(inside)
    assert (item.n_errors, item.cost) == (len(mine), near(lost(mine)))
    for part in item.mostly:
        assert part.n_errors == sum(meets(g, part.words, row) for row in mine)
        assert part.n_errors >= 0.6 * len(mine)
    assert item.expected_errors <= len(inside)
    assert item.excess == near(item.cost - item.expected_cost)


def recount_slice_of_day(item: findings.SliceOfDay, g: Ground) -> None:
    recount_slice(item.item, g)
    for one in item.broken:
        recount_broken(one, g)
        assert f"it is {one.day:%-d %b %Y}" in item.item.conditions


def by_day(g: Ground) -> dict[date, float]:
    out: dict[date, float] = defaultdict(float)
    for row in g.rows:
        out[g.local(row).date()] += 0.0
    for row in g.errors():
        out[g.local(row).date()] += row["lost"]
    return dict(out)


def recount_broken(item: BrokenFeature, g: Ground) -> None:
    days = by_day(g)
    mine = [row for row in g.missed() if g.local(row).date() == item.day]
    assert (item.n_missed, item.missed_cost) == (len(mine), near(lost(mine)))
    assert item.day_cost == near(days.pop(item.day))
    assert item.usual_cost == near(statistics.median(days.values()))
    assert 0 <= item.typical <= item.distance <= 1


def recount_days_broken(item: findings.Broken, g: Ground) -> None:
    assert len({one.day for one in item.items}) == 1
    assert [one.distance for one in item.items] == sorted((one.distance for one in item.items), reverse=True)
    for one in item.items:
        recount_broken(one, g)


def recount_setting(item: threshold.ThresholdSetting, g: Ground) -> None:
    alerts, cost = g.decide(item.factor), g.cost_of(item.factor)
    both = list(zip(g.rows, alerts, cost, strict=True))
    missed = [money for row, alert, money in both if row["label"] == 1 and not alert]
    false = [money for row, alert, money in both if row["label"] == 0 and alert]
    assert item.n_alerts == sum(alerts)
    if g.explanation is not None:
        length = (g.explanation.until - g.explanation.start) / timedelta(days=1)
        assert item.alerts_per_day == near(sum(alerts) / length)
    assert (item.n_missed, item.missed_cost) == (len(missed), near(math.fsum(missed)))
    assert (item.n_false_alarms, item.false_alarm_cost) == (len(false), near(math.fsum(false)))
    assert item.cost == near(math.fsum(cost))


def recount_sweep(item: threshold.Sweep, g: Ground) -> None:
    for one in (item.today, item.best, *item.near):
        recount_setting(one, g)
    assert item.best.cost == min(one.cost for one in (*item.curve, *item.near, item.today))


def recount_move(item: findings.Move, g: Ground) -> None:
    recount_setting(item.today, g)
    recount_setting(item.other, g)
    assert item.gain == near(item.today.cost - item.other.cost)


def recount_autopsy(item: autopsy.Autopsy, g: Ground) -> None:
    passed = sum(row["label"] == 0 and row["action"] == "allow" for row in g.rows)
    assert item.n_missed == len(g.missed())
    assert item.n_passed == min(passed, autopsy.MOST_LEGIT, g.sample)
    for one in (item.model, item.refit, item.hindsight):
        assert 0 <= one.recall <= 1
        assert -1e-6 <= one.cost_recovered <= lost(g.missed()) + 1e-6
        assert (one.recall == 0) == (abs(one.cost_recovered) < 1e-9)


def recount_entities(item: money.EntityTable, g: Ground) -> None:
    worst: dict[Any, float] = defaultdict(float)
    for row in g.errors():
        if row[item.entity] is not None:
            worst[row[item.entity]] += row["lost"]
    ranked = sorted(worst.values(), reverse=True)
    total = math.fsum(ranked)
    assert item.n_values == len({row[item.entity] for row in g.rows} - {None})
    assert item.share_of_top == near(math.fsum(ranked[: len(item.rows)]) / total)
    need = next(n for n in range(1, len(ranked) + 1) if math.fsum(ranked[:n]) >= 0.5 * total - 1e-9)
    assert item.half_of_loss == need


def recount_contrast(item: contrast.Contrast, g: Ground) -> None:
    assert {item.n_errors} <= {len(g.missed()), len(g.false_alarms())}
    for rows in (item.features, item.families):
        sizes = [abs(row.value) for row in rows]
        assert sizes == sorted(sizes, reverse=True)
        for row in rows:
            recount_difference(row, g)
    assert math.fsum(row.value for row in item.features) == near(math.fsum(row.value for row in item.families))


def recount_difference(item: contrast.ContributionDifference, g: Ground) -> None:
    assert item.value == near(item.mean_errors - item.mean_peers)
    assert item.low is None or item.high is None or item.low <= item.high


def recount_slices(item: slices.Slices, g: Ground) -> None:
    assert item.n_conditions <= item.n_possible


def recount_pairs(item: pairs.Pairs, g: Ground) -> None:
    assert item.n_missed == min(len(g.missed()), pairs.MOST_ERRORS)
    assert item.n_false_alarms == min(len(g.false_alarms()), pairs.MOST_ERRORS)


def recount_span(item: facts.Span, g: Ground) -> None:
    assert all(item.start <= row["event_time"] < item.until for row in g.rows)
    assert item.timezone == g.timezone


def recount_few(item: facts.Few, g: Ground) -> None:
    e = g.explanation
    assert e is not None
    assert item.n in {len(g.missed()), len(g.errors()), len(g.false_alarms()), e.n_unstable_clusters}


def recount_worst(item: facts.Worst, g: Ground) -> None:
    days = by_day(g)
    if g.evaluation is not None:
        days = defaultdict(float)
        for row in g.rows:
            days[g.local(row).date()] += row["lost"]
    if item.unit == "week":
        weeks: dict[date, float] = defaultdict(float)
        for at, cost in days.items():
            weeks[at - timedelta(days=at.weekday())] += cost
        days = weeks
    most = max(days.values())
    assert item.n == len(days)
    assert item.cost == near(most)
    assert set(item.at) <= {at for at, cost in days.items() if cost == near(most)}
    if item.n_worse is not None:
        assert item.n_worse <= item.n


def recount_parts(item: facts.Parts, g: Ground) -> None:
    e = g.explanation
    assert e is not None
    shown = [one for one in e.causes if one.n_missed and one.cost > 0]
    assert [(part.n, part.cost) for _, part in item.items] == [(one.n_missed, one.cost) for one in shown]
    assert sum(part.n for _, part in item.items) <= len(g.missed())


def recount_listed(item: facts.Listed, g: Ground) -> None:
    ranked = sorted((row["cost"] for row in g.errors()), reverse=True)
    assert item.n_all == len(ranked)
    assert item.cost_all == near(math.fsum(ranked))
    assert item.cost == near(math.fsum(ranked[: item.n]))


def recount_counts(item: facts.Counts, g: Ground) -> None:
    assert item.n_events == len(g.rows)
    assert item.n_searched <= item.n_events
    assert item.sampled == (item.n_searched < item.n_events)


def recount_balance(item: facts.Balance, g: Ground) -> None:
    assert item.cost == near(lost(g.rows))
    recount_base(item.base, g)
    assert item.saved == near(item.base.cost - item.cost)


def recount_finding(item: Finding, g: Ground) -> None:
    """Check what a reader sees; figures of checks are recounted in the tests of the checks."""
    assert g.rows
    assert item.where
    assert item.what


def recount_drift(item: Drift, g: Ground) -> None:
    """Check that effects agree with their own figures; the null distributions have tests of their own."""
    assert g.rows
    for effect in item.effects:
        assert effect.matters == (effect.change > effect.floor)


def recount_ids(item: facts.Ids, g: Ground) -> None:
    assert item.n == len({row[item.entity] for row in g.rows if row["label"] == 1})


def recount_overlap(item: facts.Overlap, g: Ground) -> None:
    assert 0 <= item.events <= len(g.rows)


def recount_relabelled(item: Relabelled, g: Ground) -> None:
    assert g.rows
    assert 0 <= item.taken_back + item.reported <= item.rows


def recount_shared(item: facts.SharedIds, g: Ground) -> None:
    assert item.ids == len({row[item.entity] for row in g.rows} - {None})
    assert item.seen <= item.ids
    assert 0 <= item.share_of_events <= 1


def recount_lookback(item: facts.CauseLookback, g: Ground) -> None:
    assert timedelta(days=item.days) == g.lookback


def recount_amount(item: facts.Amount, g: Ground) -> None:
    assert item.n >= 0


def recount_decided(item: decided.DecidedTotal, g: Ground) -> None:
    def part(row: Row) -> tuple[str, str | None]:
        by = row.get("decided_by") or {"kind": "expected_cost", "rule": None}
        kind = by["kind"] if by["kind"] in {"rule", "capacity", "constraint"} else "model"
        return kind, by["rule"] if kind == "rule" else None

    mine = [row for row in g.rows if part(row) == (item.kind, item.rule)]
    alerts = [row for row in mine if row["action"] != "allow"]
    false = [row for row in alerts if row["label"] == 0]
    assert (item.n_events, item.n_alerts, item.n_false_alarms) == (len(mine), len(alerts), len(false))
    assert item.n_caught == len(alerts) - len(false)
    assert item.n_missed == sum(row["label"] == 1 for row in mine) - item.n_caught
    assert item.n_all_false == len(g.false_alarms())
    assert (item.cost, item.false_alarm_cost) == (near(lost(mine)), near(lost(false)))


def recount_event(item: event.EventExplanation, g: Ground) -> None:
    (row,) = [row for row in g.rows if row["event_id"] == item.event_id]
    assert (item.y_prob, item.action) == (near(row["y_prob"]), row["action"])
    assert (item.amount, item.label) == (row["amount"], row["label"])
    assert item.event_time == row["event_time"]
    for known in item.known:
        recount_known(known, g, before=item.event_time)


def recount_known(item: event.KnownEntity, g: Ground, before: datetime | None = None) -> None:
    past = [row for row in g.history if item.value is not None and row[item.entity] == item.value]
    if before is None:
        assert item.n_events <= len(past)
        return
    past = [row for row in past if row["event_time"] < before]
    arrived = [row["label"] for row in past if row["label_time"] is not None and row["label_time"] <= before]
    assert (item.n_events, item.n_known_frauds) == (len(past), sum(label == 1 for label in arrived))
    assert item.n_pending == len(past) - sum(label is not None for label in arrived)


def recount_change(item: event.Change, g: Ground) -> None:
    """Check the size; that the number of the sentence flips the decision has a test of its own."""
    assert g.words[item.words] == item.feature
    assert item.size > 0
    assert item.needed != item.value


RECOUNT: dict[type, Callable[[Any, Ground], None]] = {
    Totals: recount_totals,
    costs.ConstantAction: recount_base,
    causes.CauseTotal: recount_cause,
    findings.CauseShare: recount_share,
    campaigns.Campaign: recount_campaign,
    campaigns.CampaignTotal: recount_campaigns,
    clusters.Cluster: recount_cluster,
    slices.Slice: recount_slice,
    findings.SliceOfDay: recount_slice_of_day,
    BrokenFeature: recount_broken,
    findings.Broken: recount_days_broken,
    threshold.ThresholdSetting: recount_setting,
    threshold.Sweep: recount_sweep,
    findings.Move: recount_move,
    autopsy.Autopsy: recount_autopsy,
    money.EntityTable: recount_entities,
    contrast.Contrast: recount_contrast,
    contrast.ContributionDifference: recount_difference,
    slices.Slices: recount_slices,
    pairs.Pairs: recount_pairs,
    facts.Span: recount_span,
    facts.Few: recount_few,
    facts.Worst: recount_worst,
    facts.Parts: recount_parts,
    facts.Listed: recount_listed,
    facts.Counts: recount_counts,
    facts.Balance: recount_balance,
    Finding: recount_finding,
    Drift: recount_drift,
    facts.Ids: recount_ids,
    facts.Overlap: recount_overlap,
    Relabelled: recount_relabelled,
    facts.SharedIds: recount_shared,
    decided.DecidedTotal: recount_decided,
    event.EventExplanation: recount_event,
    event.KnownEntity: recount_known,
    event.Change: recount_change,
    facts.CauseLookback: recount_lookback,
    facts.Amount: recount_amount,
    **RECOUNT_EVALUATION,
}


def recount(value: Any, ground: Ground) -> int:
    """Recount a value that a sentence was written from, and each of a tuple; return how many were recounted."""
    if value is None or isinstance(value, str):
        return 0
    if isinstance(value, tuple):
        return sum(recount(item, ground) for item in value)
    assert is_dataclass(value)
    assert fields(value)
    RECOUNT[type(value)](value, ground)
    return 1


def numbers_that_exceed(text: str) -> list[str]:
    """Return each "N of M" in a text with N larger than M."""
    pairs_found = re.findall(r"(?<![\d.,])([\d,]+) of (?:the )?([\d,]+)(?![\d.])", text)
    return [f"{a} of {b}" for a, b in pairs_found if int(a.replace(",", "")) > int(b.replace(",", ""))]
