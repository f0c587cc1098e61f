"""The sentences of an evaluation: functions from typed values to text. Owns wording only."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

from fraudctl.costs import ConstantAction
from fraudctl.evaluate.result import Excluded, GateResult, Period, RuleResult
from fraudctl.overlap import Relabelled
from fraudctl.report.evaluation_figures import say, words
from fraudctl.report.facts import (
    Balance,
    ControlGroup,
    CurvePoints,
    EvaluationScope,
    Ids,
    ImmatureBounds,
    LossCurve,
    LowestRecall,
    Overlap,
    Paired,
    PairedDifferences,
    RandomTest,
    Rate,
    SharedIds,
    Worst,
)
from fraudctl.text.figures import count, day, listed, money, number, percent, signed, whole
from fraudctl.text.sentences import sentence
from fraudctl.uncertainty import Estimate

MAY: Final = {
    "pass": "This model may ship: ",
    "fail": "This model must not ship: ",
    "inconclusive": "It is not settled whether this model may ship: ",
    "refused": "The gate cannot judge this model: ",
    "none": "",
}


@sentence
def headline(gate: GateResult, balance: Balance | None) -> str:
    """State the verdict and what the model saves against the base that was used."""
    may = MAY[gate.verdict]
    if balance is None:
        return f"{may}its figures are not known" if may else "The figures of this model are not known"
    saved, base = balance.saved, balance.base
    share = f" ({percent(saved / base.cost)} of what “{base.words}” would cost)" if base.cost > 0 else ""
    amount = money(abs(saved), balance.currency)
    if saved == 0:
        text = f"it saves nothing against “{base.words}”, the cheapest constant action"
        return may + text if may else text[0].upper() + text[1:]
    text = f"it saves {amount}{share}" if saved >= 0 else f"it costs {amount} more than “{base.words}” would"
    return may + text if may else text[0].upper() + text[1:]


@sentence
def judged(item: EvaluationScope) -> str:
    """Return what was evaluated, and what the model knew."""
    known = "the others"
    if item.as_of is not None:
        known = f"what was known on {day(item.as_of.astimezone(ZoneInfo(item.timezone)))}"
    counts = f"{count(item.rows, 'event')} · {count(item.frauds, 'fraud')}"
    return f"{item.when} · {counts} · model {item.model}, trained on {known}"


@sentence
def costs(words: tuple[str, ...]) -> str:
    """State the cost model."""
    return f"Costs: {'; '.join(words)}."


@sentence
def rule_head(rule: RuleResult) -> str:
    """State the verdict of a rule."""
    return f"{rule.name}: {rule.verdict}."


@sentence
def saved(balance: Balance) -> str:
    """Name the base of savings, and what it costs."""
    return f"saved against “{balance.base.words}” ({money(balance.base.cost, balance.currency)})"


@sentence
def rate(item: Rate) -> str:
    """Return what a rate is, with its interval."""
    told = {"recall": "of frauds are alerted", "precision": "of alerts are fraud"}
    return told[item.name] + _between(item.estimate)


def _between(item: Estimate) -> str:
    return "" if item.low is None or item.high is None else f" ({percent(item.low)} to {percent(item.high)})"


@sentence
def recall_lead(item: Rate) -> str:
    """State the recall."""
    return f"It alerts on {percent(item.estimate.value or 0.0)} of the frauds{_between(item.estimate)}."


@sentence
def saving(balance: Balance) -> str:
    """Return what is saved, against what, and how much of what a perfect model would save."""
    if balance.saved == 0:
        return f"Nothing: it costs what “{balance.base.words}” would, the cheapest constant action."
    if balance.saved < 0:
        more = money(-balance.saved, balance.currency)
        return f"Nothing: it costs {more} more than “{balance.base.words}”, the cheapest constant action."
    perfect = balance.share_of_perfect
    of_perfect = f", {percent(perfect)} of what {balance.perfect} would save" if perfect is not None else ""
    amount = money(balance.saved, balance.currency)
    return f"{amount} against “{balance.base.words}”, the cheapest constant action{of_perfect}."


@sentence
def loss_curve(item: LossCurve) -> str:
    """State the lowest loss by one threshold, and what the policy lost."""
    return (
        f"Money lost by one threshold. Of {count(item.n, 'threshold')} the lowest is "
        f"{money(item.cost, item.currency)} at probability {number(item.threshold)}; within 1 % from "
        f"{number(item.low)} to {number(item.high)}. The policy in use loses {money(item.policy_cost, item.currency)}."
    )


@sentence
def loss_title(item: LossCurve) -> str:
    """Name the chart and what is shaded."""
    words = "Money lost if one threshold decided"
    if item.low == item.high:
        return f"{words}; no other threshold of the curve is within 1 % of the lowest"
    return f"{words}; shaded: {_range(item.low, item.high)}, within 1 % of the lowest"


def _range(low: float, high: float) -> str:
    digits = next((n for n in range(3, 9) if number(low, n) != number(high, n)), 9)
    return f"{number(low, digits)} to {number(high, digits)}"


@sentence
def at_confidence(words: str, item: Rate) -> str:
    """State the confidence of a table's intervals."""
    return f"{words}; intervals at {percent(item.confidence)}"


@sentence
def precision_recall(item: CurvePoints) -> str:
    """Return where the curve begins, and where the policy stands."""
    now = "" if item.here is None else f" This policy: {percent(item.here.y)} at {percent(item.here.x)}."
    return f"Precision against recall at all thresholds, from {percent(item.points[0].y)} at the highest.{now}"


@sentence
def reliability(item: CurvePoints) -> str:
    """State the observed share of fraud by predicted probability."""
    points = "; ".join(f"{number(point.x)} → {number(point.y)}" for point in item.points)
    return f"Observed share of fraud against predicted probability: {points}"


@sentence
def off(item: Rate) -> str:
    """Return how far probabilities are off."""
    error = number(100 * (item.estimate.value or 0.0), 2)
    return (
        f"Probabilities are off by {error} percentage points on average over bins of equal size; the diagonal is "
        "perfect."
    )


@sentence
def worst_days(item: Worst, currency: str) -> str:
    """Return which day lost most, and on how many days the model cost more than the base of savings."""
    shown = [day(at) for at in item.at[:3]]
    days = listed([*shown, f"{len(item.at) - 3} more"] if len(item.at) > 3 else shown)
    each = "" if len(item.at) == 1 else " each"
    worst = "The worst day is" if len(item.at) == 1 else "The worst days are"
    lead = f"{worst} {days} with {money(item.cost, currency)} lost{each}."
    if not item.n_worse or item.base is None:
        return lead
    return f"{lead} On {count(item.n_worse, 'day')} of {whole(item.n)} the model cost more than “{item.base.words}”."


@sentence
def pooled(parts: tuple[Period, ...]) -> str:
    """Return how many periods are judged together, and how."""
    return (
        f"{count(len(parts), 'period')} are judged together. For all but the last, model and champion were refitted on "
        "what was known before the period, with the settings that they have; the settings themselves were searched "
        "later."
    )


@sentence
def lowest_recall(item: LowestRecall) -> str:
    """Name the segments with the lowest recall."""
    names = listed([*item.names[:3], f"{len(item.names) - 3} more"] if len(item.names) > 3 else list(item.names))
    each = "its" if len(item.names) == 1 else "their"
    share = f"{percent(item.value)} of {each} frauds are alerted"
    return f"Of {count(item.n, 'segment')}, recall is lowest for {names}: {share}."


@sentence
def gate_lead(gate: GateResult) -> str:
    """Return why the verdict is what it is."""
    text = gate.reason or f"The verdict is {gate.verdict}."
    return text[0].upper() + text[1:].removesuffix(".") + "."


@sentence
def gate_note(text: str) -> str:
    """Repeat a warning or hint of the gate, or a warning of the evaluation."""
    return text


@sentence
def control(gate: GateResult) -> str:
    """Return what shuffled scores do under the same rules."""
    told = "pass, so these rules cannot tell a model from noise"
    return f"Negative control: shuffled scores {told if gate.control == 'pass' else 'do not pass, as they should'}."


@sentence
def rows_timed(item: EvaluationScope, when: Period) -> str:
    """Return which events count, to the second."""
    span = f"from {when.from_time.isoformat()} until before {when.until.isoformat()}"
    return f"{count(item.rows, 'mature, labelled event')} {span}."


@sentence
def rows_by_chance(item: RandomTest) -> str:
    """Return which events count under a random split."""
    share = percent(item.share)
    return (
        f"{count(item.rows, 'labelled event')}: those of a random {share} (seed {item.seed}) that were not trained on."
    )


@sentence
def left_out(out: Excluded) -> str:
    """Return how many events of the period were left out."""
    known = f"{whole(out.block_known)} of entities already known to be defrauded"
    return (
        f"{whole(out.immature)} immature, {whole(out.unlabelled)} unlabelled, {known}, {whole(out.duplicates)} "
        "duplicate rows of the data. None of them is scored as legitimate."
    )


@sentence
def known_at(item: EvaluationScope) -> str:
    """Return what the model knew."""
    return "" if item.as_of is None else f"The model was trained on what was known at {item.as_of.isoformat()}."


@sentence
def policy(words: tuple[str, ...]) -> str:
    """State the policy."""
    return " ".join(words)


@sentence
def clustered(ids: tuple[Ids, ...], coarse: tuple[str, ...], left: tuple[str, ...], item: Rate) -> str:
    """Return what intervals are drawn over."""
    if not ids:
        return f"{percent(item.confidence)}, two-sided, by event."
    counted = "; ".join(f"{whole(one.n)} {one.entity} ids with fraud" for one in ids)
    wider = f" Wider where the few ids of {' and '.join(coarse)} differ by more." if coarse else ""
    few = f" Not by {' or '.join(left)}: too few ids, or one of them holds too many events." if left else ""
    return (
        f"{percent(item.confidence)}, two-sided, by entity: the events of one {' or '.join(one.entity for one in ids)} "
        f"stand and fall together. {counted}.{wider}{few}"
    )


@sentence
def savings_rule(base: ConstantAction | None) -> str:
    """Return what savings are measured against."""
    rule = (
        "1 - cost / cost of the cheapest constant action: each action taken for all events, as far as its capacity "
        "reaches. A model that only equals it saves nothing; each segment has its own."
    )
    return rule if base is None else f"{rule} On these events it is “{base.words}”."


@sentence
def overlap(item: Overlap) -> str:
    """Return how many events are in training and test, and how far apart the two are."""
    gap = item.gap_days
    trained = f"{count(item.events, 'event')} of the test {'was' if item.events == 1 else 'were'} trained on."
    if gap is None:
        return trained
    return f"{trained} Between the last event trained on and the first evaluated lie {number(gap)} days."


@sentence
def relabelled(item: Relabelled) -> str:
    """Return how many labels of the training were changed since."""
    return (
        f"Of {count(item.rows, 'event')} trained on, {whole(item.taken_back + item.reported)} have another label now: "
        f"{whole(item.taken_back)} reported as fraud and taken back, {whole(item.reported)} reported since."
    )


@sentence
def shared_ids(item: SharedIds) -> str:
    """Return how many ids of the test were in training."""
    share = "" if item.share_of_frauds is None else f" and {percent(item.share_of_frauds)} of the frauds"
    return (
        f"{whole(item.seen)} of {whole(item.ids)} {item.entity} ids were in training; they have "
        f"{percent(item.share_of_events)} of the events{share}."
    )


@sentence
def immature(item: ImmatureBounds) -> str:
    """Return what savings would be at both ends of what immature events may turn out to be."""
    return (
        f"Savings would be {percent(item.legit, 1)} (against “{item.legit_base}”) if all immature events were "
        f"legitimate, {percent(item.fraud, 1)} (against “{item.fraud_base}”) if all were fraud."
    )


@sentence
def control_group(item: ControlGroup) -> str:
    """Return how many events were let through at random."""
    return (
        f"{count(item.rows, 'event')} with {count(item.frauds, 'fraud')} were let through at random, so no decision "
        "chose the outcomes that were seen."
    )


@sentence
def alone(item: Rate, currency: str) -> str:
    """State a metric of the control group."""
    found, name = item.estimate, item.name
    if found.value is None or found.low is None or found.high is None:
        return f"{words(name)}, on these alone: {found.reason or 'no interval'}."
    ends = f"{say(name, found.low, currency)} to {say(name, found.high, currency)}"
    return f"{words(name)}, on these alone: {say(name, found.value, currency)} ({ends})."


@sentence
def compared(item: Paired) -> str:
    """Return how much more or less of the base's cost the model saves than the champion."""
    side = "more" if item.value >= 0 else "less"
    clear = item.low is not None and item.high is not None and (item.low > 0 or item.high < 0)
    sure = "beyond what chance allows" if clear else "within what chance allows"
    of = f" of what “{item.base}” would cost" if item.base else ""
    return f"It saves {percent(abs(item.value), 1)} {side}{of} than champion {item.champion}, {sure}."


@sentence
def same_events(champion: str) -> str:
    """Name the champion that the model is compared with."""
    return f"Compared with champion {champion} on the same events."


@sentence
def against(champion: str) -> str:
    """Name the champion of a table."""
    return f"Against champion {champion}"


@sentence
def paired(items: PairedDifferences) -> str:
    """State the differences that a chart shows."""
    return "Differences from the champion: " + "; ".join(f"{row.metric} {signed(row.value)}" for row in items.items)


@sentence
def other_costs(changed: tuple[str, ...]) -> str:
    """Name the costs under which the other model would save more."""
    return f"With other costs the other model would save more: {', '.join(changed)}."
