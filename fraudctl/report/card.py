"""A model card as a document: use, worth, data, features, training, decisions, evidence, limits, integrity.

Owns sentences and layout. Every figure is the card's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from fraudctl.account.card import CardEntry, EvidenceRule, ModelCard
from fraudctl.catalogue import metric_names
from fraudctl.evaluate.result import Evaluation
from fraudctl.report import card_sentences as said
from fraudctl.report.document import (
    Block,
    Card,
    Cell,
    Document,
    Fact,
    Facts,
    ReportSection,
    ReportTable,
    TableColumn,
    Text,
    Tone,
)
from fraudctl.report.evaluation import VERDICT_TONES
from fraudctl.report.evaluation_figures import (
    figure,
    interval,
    say,
    segment_columns,
    segment_rows,
    words,
)
from fraudctl.text.figures import moment, number, percent, whole
from fraudctl.text.sentences import Sentence, fixed
from fraudctl.text.wording import cost_words, policy_words

HEADLINE_METRICS: Final = (
    "savings", "recall", "value_recall", "precision", "false_positive_rate", "alert_rate", "average_precision",
    "roc_auc", "log_loss",
)  # fmt: skip
SEGMENT_METRICS: Final = ("recall", "precision", "false_positive_rate")

INDEX: Final = (
    ("Purpose, use and materiality", "purpose", "Model inventory; model use", "Annex IV, point one"),
    ("Performance and its uncertainty", "worth", "Validation: outcomes analysis", "Annex IV, points three and four"),
    ("Data and their quality", "data", "Development: data", "Annex IV, point two"),
    ("Inputs", "features", "Development: data and design", "Annex IV, point two"),
    ("Method, assumptions, benchmarks", "training", "Development: design and testing", "Annex IV, point two"),
    ("Decision rule and costs", "decisions", "Model use", "Annex IV, points one and three"),
    ("Independent checks and approvals", "evidence", "Validation; governance", "Annex IV, points two, five and six"),
    ("Limits", "limits", "Limitations and compensating controls", "Annex IV, point three"),
    ("Monitoring", "watched", "Ongoing monitoring", "Annex IV, point nine"),
    ("Reproduction", "proof", "Documentation", "Annex IV, point two"),
    ("Standards applied, declaration of conformity", "", "not in this card", "Annex IV, points seven and eight"),
)
"""What a reviewer asks for, the section that has it, and where rules for models ask for it."""


def card_document(card: ModelCard) -> Document:
    """Lay out a model card."""
    gate = card.gate
    sections = (
        _purpose(card), _worth(card), _data(card), _features(card), _training(card), _decisions(card), _evidence(card),
        _limits(card), _watched(card), _proof(card),
    )  # fmt: skip
    return Document(
        title=said.headline(card),
        subtitle=(said.trained(card.data), said.standing(card)),
        cards=_cards(card),
        sections=(*sections, _index(sections)),
        kicker=f"{card.project} · model card",
        verdict=None if gate is None else (gate.verdict, VERDICT_TONES.get(gate.verdict, "muted")),
        footer=f"fraudctl models card · model {card.version}",
    )


def _cards(card: ModelCard) -> tuple[Card, ...]:
    found = card.evaluation
    if found is None:
        return ()
    names = [name for name in ("savings", "recall", "precision") if name in found.metrics]
    return tuple(Card(figure(name, found.metrics[name].value, found).text, said.quoted(words(name))) for name in names)


def _owner(card: ModelCard, *keys: str) -> list[Fact]:
    return [Fact(word.title, said.owner(word)) for word in card.words if word.key in keys]


def _purpose(card: ModelCard) -> ReportSection:
    facts = _owner(card, "purpose", "not_for", "materiality", "owner", "contact", "oversight")
    owner = Text(fixed("What it may be used for, in the words of its owner:"))
    return ReportSection("purpose", "What may it be used for?", said.decides(card), (owner, Facts(tuple(facts))))


def _worth(card: ModelCard) -> ReportSection:
    title, gate, found = "What is it worth, and how sure is that?", card.gate, card.evaluation
    lead = fixed("No gate has judged this version.") if gate is None else said.worth(gate)
    blocks: list[Block] = []
    if gate is not None:
        blocks.append(Text(said.judged(gate, card.data), note=True))
    if found is not None:
        blocks += [*_money(found), _metrics(found), *_segments(found)]
    else:
        blocks.append(Text(fixed("Metrics by segment are missing: run `fraudctl evaluate` on this version.")))
    return ReportSection("worth", title, lead, tuple(blocks))


def _money(e: Evaluation) -> Iterator[Text]:
    """Yield what the decisions were worth in money, and against the champion of that time."""
    if e.money.sums is not None:
        yield Text(said.in_money(e.money.sums, e.money.currency))
    if e.champion is not None and "savings" in e.champion.differences:
        yield Text(said.against_champion(e.champion))


def _metrics(e: Evaluation) -> ReportTable:
    columns = (TableColumn("Metric"), TableColumn("Figure", "number"), TableColumn("Interval", "number"))
    rows = tuple(
        (Cell(words(name)), figure(name, e.metrics[name].value, e), interval(name, e.metrics[name], e))
        for name in HEADLINE_METRICS
        if name in e.metrics
    )
    caption = said.quoted(f"Test period, intervals at {percent(e.confidence)} confidence")
    return ReportTable("metrics", caption, columns, rows)


def _segments(e: Evaluation) -> Iterator[ReportTable]:
    for column, rows in e.tables.by_segment.items():
        columns, body = segment_columns(column, SEGMENT_METRICS), segment_rows(rows, SEGMENT_METRICS, e)
        yield ReportTable(f"segments-{column}", said.quoted(f"By {column}"), columns, body)


def _data(card: ModelCard) -> ReportSection:
    data = card.data
    facts = [
        Fact("Test period", said.test_period(data)),
        Fact("Data", said.available(data)),
        Fact("Maturity", said.maturity(data)),
        Fact("Entities", _names(data.entities)),
        Fact("Other tables", _names(data.sources)),
        Fact("Columns that no feature may use", _names(data.ignored)),
    ]
    return ReportSection("data", "What was it trained on?", said.trained(data), (Facts(tuple(facts)),))


def _names(names: tuple[str, ...]) -> Sentence:
    return said.quoted(", ".join(names)) if names else fixed("none")


def _features(card: ModelCard) -> ReportSection:
    kinds = Counter(item.family for item in card.features)
    by_kind = ReportTable(
        "families",
        fixed("By kind"),
        (TableColumn("Kind"), TableColumn("Features", "number")),
        tuple((Cell(kind), Cell(whole(n), n)) for kind, n in kinds.most_common()),
    )
    columns = (TableColumn("Feature", "code"), TableColumn("What it is"), TableColumn("What it sees"))
    rows = tuple((Cell(item.name), Cell(item.words), Cell(item.interval)) for item in card.features)
    every = ReportTable("features", fixed("Every feature"), columns, rows, tools=True, folded=True)
    facts = Facts(
        (
            Fact("Proof that it knew no more", said.audited(card.audit) if card.audit else fixed("none was kept")),
            Fact("Protected columns, which reports never name as a reason", _names(card.protected)),
        )
    )
    return ReportSection("features", "What does it look at?", said.looked_at(card), (facts, by_kind, every))


def _training(card: ModelCard) -> ReportSection:
    training = card.training
    columns = (
        TableColumn("Fold", "number"),
        TableColumn("Training rows", "number"),
        TableColumn("Judged rows", "number"),
        TableColumn("Frauds", "number"),
        TableColumn("Trees", "number"),
        TableColumn(training.metric or "Metric", "number"),
    )
    rows = tuple(
        (
            Cell(whole(item.fold), item.fold),
            Cell(whole(item.train.rows)),
            Cell(whole(item.valid.rows)),
            Cell(whole(item.valid.frauds)),
            Cell("–" if training.challenger is not None else whole(item.best_trees)),
            Cell(_or_dash(item.figures.get(training.metric))),
        )
        for item in training.folds
    )
    facts = (
        Fact("Settings", said.settings(training)),
        *([] if training.challenger is None else [Fact("Repeats itself", said.repeats(training.challenger))]),
        Fact("Calibration", said.calibrated(training.calibration)),
        Fact("Baselines", said.baselines(training)),
    )
    folds = ReportTable("folds", fixed("Each fold was judged on events after those it was fitted on"), columns, rows)
    return ReportSection("training", "How was it trained?", said.fitted(training), (folds, Facts(facts)))


def _or_dash(value: float | None) -> str:
    return "–" if value is None else number(value, 4)


def _decisions(card: ModelCard) -> ReportSection:
    facts = [Fact("Policy", said.quoted(" ".join(policy_words(card.policy))))]
    facts += [Fact("Cost", said.quoted(text)) for text in cost_words(card.costs)]
    title = "How does it decide?"
    return ReportSection("decisions", title, said.on_folds(card.policy_on_folds), (Facts(tuple(facts)),))


def _evidence(card: ModelCard) -> ReportSection:
    blocks: list[Block] = []
    if card.gate is not None:
        blocks.append(Facts((Fact("Judged by", said.digests(card.gate)),)))
    if card.gate is not None and card.gate.rules:
        columns = (
            TableColumn("Rule", "code"),
            TableColumn("Verdict"),
            TableColumn("Figure", "number"),
            TableColumn("Interval", "number"),
            TableColumn("Must be"),
        )
        rules = tuple(_rule(rule, card.costs.currency) for rule in card.gate.rules)
        blocks.append(ReportTable("rules", fixed("Rules of that gate"), columns, rules))
    columns = (
        TableColumn("When"),
        TableColumn("What"),
        TableColumn("Version", "code"),
        TableColumn("By"),
        TableColumn("Why"),
    )
    log = tuple(_entry(item) for item in card.log)
    blocks.append(ReportTable("log", fixed("What the log of the registry says"), columns, log))
    blocks.append(
        Text(
            fixed("The log is a chain of hashes: a line that was changed or removed is found (models verify)."),
            note=True,
        )
    )
    lead = fixed("Nobody has made it the champion.")
    if card.promotion is not None:
        lead = said.promoted(card.promotion, card.gate)
    return ReportSection("evidence", "Who let it through, and on what evidence?", lead, tuple(blocks))


def _rule(rule: EvidenceRule, currency: str) -> tuple[Cell, ...]:
    sign = "≥" if rule.direction == "at_least" else "≤"
    value, low, high, bound = (_figure(rule, item, currency) for item in (rule.value, rule.low, rule.high, rule.bound))
    ends = f"{low} to {high}" if rule.low is not None and rule.high is not None else "–"
    tone: Tone = VERDICT_TONES.get(rule.verdict, "plain")
    return Cell(rule.name), Cell(rule.verdict, tone=tone), Cell(value), Cell(ends), Cell(f"{sign} {bound}")


def _figure(rule: EvidenceRule, value: float | None, currency: str) -> str:
    """Write a figure of a rule: as its metric is written, where the rule is named after one."""
    name = rule.name.split(".")[0]
    return say(name, value, currency) if value is not None and name in metric_names(()) else _or_dash(value)


def _entry(item: CardEntry) -> tuple[Cell, ...]:
    what = f"{item.event}: {item.verdict}" if item.verdict else item.event
    why = (item.reason, *(f"against the objection: {text}" for text in item.objections))
    tone: Tone = "warn" if item.forced else VERDICT_TONES.get(item.verdict or "", "plain")
    return (
        Cell(moment(item.at)),
        Cell(f"{what}, forced" if item.forced else what, tone=tone),
        Cell(item.version),
        Cell(item.by),
        Cell("", lines=why),
    )


def _limits(card: ModelCard) -> ReportSection:
    trees = fixed("Contributions of features say what moved a score. They do not say what causes fraud.")
    program = fixed("The scores are those of a program, which does not say what moved them.")
    facts = _owner(card, "limits")
    facts += [Fact("Training", said.quoted(text)) for text in card.training.warnings]
    if card.evaluation is not None:
        facts += [Fact("Left out of its figures", said.left_out(card.evaluation.excluded))]
        facts += [Fact("Evaluation", said.quoted(text)) for text in card.evaluation.warnings]
    facts += [
        Fact("Labels", fixed("Fraud that was never reported is not in the labels.")),
        Fact("Selection", fixed("Events that were blocked have no outcome unless a control group let them through.")),
        Fact("Change", fixed("Figures are of one past period. Fraudsters adapt, and the next period may differ.")),
        Fact("Causes", trees if card.training.challenger is None else program),
    ]
    lead = fixed("Read this before its figures are used.")
    return ReportSection("limits", "What does it not see?", lead, (Facts(tuple(facts)),))


def _watched(card: ModelCard) -> ReportSection:
    facts = _owner(card, "monitoring", "next_review")
    return ReportSection("watched", "How is it watched?", fixed("In the words of its owner."), (Facts(tuple(facts)),))


def _proof(card: ModelCard) -> ReportSection:
    packages = ", ".join(f"{name} {version}" for name, version in card.packages.items())
    found = [
        Fact("Packages", said.quoted(packages)),
        Fact("Seed", said.quoted(whole(card.seed))),
        Fact("Project file", said.quoted(f"SHA-256 {card.project_file}")),
    ]
    challenger = card.training.challenger
    if challenger is not None:
        found.append(Fact("Program, which the bundle does not hold", said.program_files(challenger)))
        found.append(Fact("Packages of the program", said.ran_on(challenger)))
    facts = Facts(tuple(found))
    columns = (TableColumn("File", "code"), TableColumn("SHA-256", "code"))
    files = tuple((Cell(name), Cell(digest)) for name, digest in card.files.items())
    same = fixed(
        "The same data, project file and versions give the same bytes. Every file is checked before it is used."
    )
    program = fixed(
        "With the same data, project file, program and versions, as far as the program repeats itself. Every file, and "
        "the program, is checked before it is used."
    )
    lead = same if challenger is None else program
    table = ReportTable("files", fixed("Files of the bundle"), columns, files)
    return ReportSection("proof", "Can it be made again?", lead, (facts, table))


def _index(sections: tuple[ReportSection, ...]) -> ReportSection:
    numbers = {section.name: f"{i}. {section.title}" for i, section in enumerate(sections, 1)}
    columns = (
        TableColumn("What a reviewer asks for"),
        TableColumn("Section"),
        TableColumn("Model risk guidance (SR 26-2)"),
        TableColumn("EU AI Act, voluntarily"),
    )
    rows = tuple(
        (Cell(what), Cell(numbers.get(name, "–")), Cell(guidance), Cell(act)) for what, name, guidance, act in INDEX
    )
    lead = fixed("An index, no statement that any rule is met. Parts that a person must write are named as such.")
    note = Text(
        fixed("Fraud detection is left out of the high-risk uses of the EU AI Act (Annex III, point five, letter b)."),
        note=True,
    )
    table = ReportTable("index", fixed("Where each part stands"), columns, rows)
    return ReportSection("index", "Where is what a reviewer asks for?", lead, (table, note))
