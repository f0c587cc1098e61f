"""The sentences of a model card: functions from typed values to text. Owns wording only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fraudctl.account.card import CardEntry, CardGate, ModelCard, OwnerWord, PolicyOnFolds, TrainingData
from fraudctl.evaluate.result import ChampionOutcome, CostSums, Excluded
from fraudctl.features.proof.receipt import TrainingAudit
from fraudctl.text.figures import count, listed, moment, money, number, percent, period, whole
from fraudctl.text.sentences import sentence
from fraudctl.train.summary import CalibrationSummary, ChallengerSummary, TrainingSummary

MISSING = "missing: the project file does not say it"


@sentence
def headline(card: ModelCard) -> str:
    """Say what the model is, and whether it decides now."""
    what = f"The card of fraud model {card.version}"
    return f"{what}, the champion of {card.project}" if card.champion else f"{what} of {card.project}"


@sentence
def standing(card: ModelCard) -> str:
    """Say what the card lacks."""
    if not card.missing:
        return "Nothing that a complete card has is missing."
    lacking = listed(list(card.missing))
    return f"{count(len(card.missing), 'part')} of a complete card {_are(card.missing)} missing: {lacking}."


def _are(items: Sequence[str]) -> str:
    return "is" if len(items) == 1 else "are"


@sentence
def owner(word: OwnerWord) -> str:
    """Give the owner's words, or say that they are missing."""
    return word.text or MISSING


@sentence
def decides(card: ModelCard) -> str:
    """Say what comes out of the model."""
    actions = listed(list(card.policy.actions))
    return f"It gives each event a probability of fraud, and from that one of {actions}; section 6 says how."


@sentence
def in_money(sums: CostSums, currency: str) -> str:
    """Say what the decisions lost, and what doing the same to every event would have lost."""
    base = f"the cheapest constant action, {sums.baseline.words}, would have lost {money(sums.baseline.cost, currency)}"
    lost = f"Its decisions lost {money(sums.cost, currency)} on these events; {base}"
    return f"{lost}. A model that knows every outcome would have lost {money(sums.perfect_cost, currency)}."


@sentence
def against_champion(champion: ChampionOutcome) -> str:
    """Say how much more it saves than the champion of that time, and whether that is sure."""
    gap = champion.differences["savings"]
    head = f"On the same events, its savings less those of {champion.model}, the champion then"
    if gap.value is None or gap.low is None or gap.high is None:
        return f"{head}: not known ({gap.reason})."
    sure = "surely more" if gap.low > 0 else "surely less" if gap.high < 0 else "not surely more"
    ends = f"{percent(gap.low, 1)} to {percent(gap.high, 1)}"
    return f"{head}: {percent(gap.value, 1)} of the base ({ends}), {sure}."


@sentence
def left_out(found: Excluded) -> str:
    """Say which events of the test period no figure counts."""
    parts = {
        "without a known outcome": found.unlabelled, "too young for one": found.immature,
        "of entities whose fraud was known": found.block_known,
    }  # fmt: skip
    said = listed([f"{whole(n)} {what}" for what, n in parts.items() if n])
    return f"{said} are in no figure of section 2." if said else "no event of the test period"


@sentence
def promoted(entry: CardEntry, gate: CardGate | None) -> str:
    """Say who made it the champion, after which one, and on which evidence."""
    after = f"after {entry.previous}" if entry.previous else "as the first one"
    how = f" in the retraining {entry.run}" if entry.run else ""
    text = f"{entry.by} made it the champion on {moment(entry.at)} UTC, {after}{how}"
    if entry.forced:
        return f"{text}, against {count(len(entry.objections), 'objection')}: {'; '.join(entry.objections)}."
    if gate is None:
        return f"{text}."
    on = f", on {whole(gate.events)} events with {count(gate.frauds or 0, 'fraud')}" if gate.events is not None else ""
    return f"{text}, on the gate of {moment(gate.at)} UTC{on}: {gate.verdict}."


@sentence
def digests(gate: CardGate) -> str:
    """Give the digests of what the gate was judged on."""
    return f"evaluation SHA-256 {gate.evaluation or 'not kept'}; report SHA-256 {gate.report or 'not written'}"


@sentence
def worth(gate: CardGate) -> str:
    """Say what a gate said, on which events, and whether a promotion may rest on it."""
    on = f" on {whole(gate.events)} events with {count(gate.frauds or 0, 'fraud')}" if gate.events is not None else ""
    verdict = f"The gate says {gate.verdict}{on}: {gate.reason}."
    if gate.counts:
        return f"{verdict} It judged the model's own test period by the project's rules."
    why = f" ({'; '.join(gate.not_own)})" if gate.not_own else ""
    return f"{verdict} A promotion cannot rest on it{why}."


@sentence
def judged(gate: CardGate, data: TrainingData) -> str:
    """Say when and by whom a gate was run, and on which days."""
    text = f"Run {moment(gate.at)} UTC by {gate.by}"
    if gate.period is not None:
        text += f" on {period(gate.period.from_time, gate.period.until, data.timezone)}"
    return text + (f", compared with {gate.compared_with}." if gate.compared_with else ", without a champion.")


@sentence
def trained(data: TrainingData) -> str:
    """Say which rows the model was fitted on, and what it knew."""
    rows = f"{whole(data.rows)} events with {count(data.frauds, 'fraud')}"
    if data.start is None or data.until is None or data.as_of is None:
        return f"Fitted on {rows}, drawn at random: the data have no time."
    when = period(data.start, data.until, data.timezone)
    return f"Fitted on {rows}, {when}. It knew nothing that came after {_at(data.as_of)} UTC."


def _at(value: datetime) -> str:
    return moment(value)


@sentence
def available(data: TrainingData) -> str:
    """Say how many events the data had, and until when."""
    until = "" if data.known_until is None else f", the last at {_at(data.known_until)} UTC"
    return f"{count(data.events, 'event')}{until}; SHA-256 {data.fingerprint}."


@sentence
def maturity(data: TrainingData) -> str:
    """Say when an outcome counts."""
    return f"An outcome counts once the event is {data.label_delay} old. A label that is not known is never legitimate."


@sentence
def test_period(data: TrainingData) -> str:
    """Say which events the model is judged on."""
    if data.as_of is None or data.test_until is None:
        return "A random part of the events was kept for the test."
    when = period(data.as_of, data.test_until, data.timezone)
    return f"{when}: {count(data.test_events, 'event')}, none of which was known in training."


@sentence
def looked_at(card: ModelCard) -> str:
    """Say how many features there are."""
    kinds = len({item.family for item in card.features})
    return f"{count(len(card.features), 'feature')} of {count(kinds, 'kind')}, each known at the time of the event."


@sentence
def audited(found: TrainingAudit) -> str:
    """Say what was recomputed before training, and how much of it was not."""
    text = (
        f"Before training, {count(found.features, 'feature')} of {count(found.events, 'event')} were recomputed from "
        "what was known at each event, and "
        f"{count(found.future_events, 'latest event')} were built again with another future: nothing differed."
    )
    if found.passed_over:
        text += f" {count(found.passed_over, 'value')} would have taken too long and were not recomputed."
    return text if found.digest is None else f"{text} SHA-256 of the recomputed values: {found.digest}."


@sentence
def fitted(training: TrainingSummary) -> str:
    """Say what the model is, and how well it ranked on the folds."""
    models = f"{count(training.models, 'model')} of " if training.models > 1 else ""
    if training.challenger is not None:
        program = f"the challenger {training.challenger.name}, {training.challenger.program}"
        return _with_folds(f"A program of the owner's: {program}; {count(training.features, 'feature')}", training)
    text = f"CatBoost: {models}{count(training.trees, 'tree')}, {count(training.features, 'feature')}"
    if training.partner is not None and training.partner.weight:
        share = percent(training.partner.weight)
        text += f"; LightGBM: {count(training.partner.trees, 'tree')} on the numeric features, {share} of the log-odds"
    return _with_folds(text, training)


def _with_folds(text: str, training: TrainingSummary) -> str:
    folds = [item.figures.get(training.metric) for item in training.folds]
    known = [value for value in folds if value is not None]
    if not known:
        return f"{text}."
    figures = listed([number(value) for value in known])
    return f"{text}. On {count(len(known), 'fold')} of later events: {training.metric} {figures}."


@sentence
def settings(training: TrainingSummary) -> str:
    """Give the settings of the fit."""
    if training.challenger is not None:
        given = training.challenger.settings
        return ", ".join(f"{name} {value}" for name, value in given.items()) or "none were given to its program"
    return ", ".join(f"{name} {number(value)}" for name, value in training.params.items())


@sentence
def repeats(challenger: ChallengerSummary) -> str:
    """Say whether a program gives the same scores again."""
    if challenger.repeated is None:
        return "not tried (`train --twice` fits the latest fold again)"
    same = "the same scores" if challenger.repeated else "other scores"
    return f"a second fit of the latest fold, with the same seed, gave {same}"


@sentence
def ran_on(challenger: ChallengerSummary) -> str:
    """Give the versions that a program says it ran on."""
    return ", ".join(f"{name} {version}" for name, version in challenger.versions.items()) or "its program does not say"


@sentence
def program_files(challenger: ChallengerSummary) -> str:
    """Give the digest of each file of a program."""
    return ", ".join(f"{name} {digest}" for name, digest in challenger.files.items())


@sentence
def calibrated(found: CalibrationSummary) -> str:
    """Say how scores become probabilities."""
    error = f"expected calibration error {number(found.report.ece)}"
    chance = f"{number(found.report.ece_if_perfect.low)} to {number(found.report.ece_if_perfect.high)}"
    return f"{found.method}: {found.reason}. On the folds: {error}, {chance} if the probabilities were perfect."


@sentence
def baselines(training: TrainingSummary) -> str:
    """Say what simple scores reach on the same rows."""
    parts = [
        f"{name} {number(item.value)}, the model {item.gain.words()} more" for name, item in training.baselines.items()
    ]
    return "; ".join(parts) or "no baseline could be computed"


@sentence
def on_folds(found: PolicyOnFolds) -> str:
    """Say what the policy did on the events that it was chosen on."""
    actions = listed([f"{name} {whole(n)}" for name, n in found.actions.items()])
    rows = f"{whole(found.events)} events with {count(found.frauds, 'fraud')}"
    return f"On the fold predictions ({rows}): {actions}; {money(found.cost, found.currency)} lost."


@sentence
def quoted(text: str) -> str:
    """Return a text of the training summary or of the log."""
    return text
