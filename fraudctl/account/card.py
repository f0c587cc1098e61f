"""The model card as a value: everything that is known of a model without its data.

Owns what a card holds and what is missing from it. It takes a bundle, the log of the registry and the owner's words; it
reads no data and computes no metric. Its figures are those of the training summary, of the gates in the log, and of an
evaluation whose digest stands in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final

from fraudctl.account.evidence import CardGate, EvidenceRule, gate_of
from fraudctl.costs import CostMatrix
from fraudctl.evaluate.result import Evaluation
from fraudctl.features.proof.receipt import TrainingAudit
from fraudctl.policy import Policy
from fraudctl.registry import Entry
from fraudctl.train.summary import TrainingSummary

if TYPE_CHECKING:
    from fraudctl.bundle import Bundle
    from fraudctl.project import Project
    from fraudctl.project.card import CardSection

__all__ = ["CardFeature", "CardGate", "EvidenceRule", "ModelCard", "OwnerWord", "PolicyOnFolds", "TrainingData"]

TITLES: Final = {
    "owner": "Owner",
    "contact": "Contact",
    "purpose": "Used for",
    "not_for": "Not to be used for",
    "materiality": "Materiality",
    "oversight": "Human oversight",
    "limits": "Limits named by the owner",
    "monitoring": "Monitoring",
    "next_review": "Next review",
}
"""Key of ``[card]`` -> what it is called."""


@dataclass(frozen=True)
class OwnerWord:
    """One key of ``[card]``."""

    key: str
    """Key in the project file."""
    title: str
    """What it is called in the card."""
    text: str | None
    """The owner's words; null where they are missing."""


@dataclass(frozen=True)
class TrainingData:
    """The data that a model was trained on."""

    events: int
    """Events in the data, labelled or not."""
    known_until: datetime | None
    """Instant of the last event; null without times."""
    as_of: datetime | None
    """Training knew nothing later; null for a random split."""
    start: datetime | None
    """Start of the training period; null for a random split."""
    until: datetime | None
    """End of the training period, itself excluded; null for a random split."""
    rows: int
    """Rows with a known label that the final model was fitted on."""
    frauds: int
    """Frauds among them."""
    label_delay: str
    """How old an event must be before its outcome counts."""
    timezone: str
    """Zone of days and hours."""
    test_until: datetime | None
    """End of the model's own test period; null for a random split."""
    test_events: int
    """Events of the test period when the model was trained."""
    entities: tuple[str, ...]
    """Who or what has a history."""
    sources: tuple[str, ...]
    """Other tables that features are made of."""
    ignored: tuple[str, ...]
    """Columns that no feature may use."""
    fingerprint: str
    """SHA-256 of the data as they were read."""


@dataclass(frozen=True)
class CardFeature:
    """One feature of the model."""

    name: str
    """Name in the feature table."""
    words: str
    """What it is."""
    family: str
    """Kind of feature."""
    interval: str
    """Which earlier events it sees."""


@dataclass(frozen=True)
class CardEntry:
    """One line of the log on this version."""

    at: datetime
    """When."""
    event: str
    """``train``, ``threshold``, ``gate``, ``promote`` or ``rollback``."""
    version: str
    """The model that was written, judged or promoted."""
    by: str
    """Who."""
    reason: str
    """Why."""
    verdict: str | None
    """Of a gate; null for other events."""
    forced: bool
    """Whether it was promoted against an objection."""
    objections: tuple[str, ...]
    """The objections that were overruled."""
    previous: str | None
    """Of a promotion and of a rollback, the champion before; of a gate, the champion that it was compared with."""
    run: str | None
    """Of a promotion, the retraining that made it; null where a person did."""


@dataclass(frozen=True)
class PolicyOnFolds:
    """What the policy did on the fold predictions that it was chosen on."""

    currency: str
    """Currency of the project."""
    events: int
    """Events of the fold predictions."""
    frauds: int
    """Frauds among them."""
    cost: float
    """Money lost on them."""
    actions: dict[str, int]
    """Action -> events that got it."""


@dataclass(frozen=True)
class ModelCard:
    """Everything that a card says."""

    SCHEMA_VERSION: ClassVar = 1
    JSON = (
        "project", "version", "parent", "champion", "words", "missing", "data", "audit", "training", "features",
        "protected",
        "policy", "costs", "policy_on_folds", "gate", "gates", "evaluation", "log", "files", "packages", "seed",
        "project_file",
    )  # fmt: skip

    project: str
    """Name of the project."""
    version: str
    """Version of the model: its as_of and a hash of its content."""
    parent: str | None
    """Version whose policy was chosen again; null for a trained one."""
    champion: bool
    """Whether it is the champion now."""
    words: tuple[OwnerWord, ...]
    """The owner's words, key by key."""
    data: TrainingData
    """The data that it was trained on."""
    audit: TrainingAudit | None
    """The audit of its features before training; null without times, and in bundles from before it was kept."""
    training: TrainingSummary
    """Folds, search, calibration, baselines and warnings."""
    features: tuple[CardFeature, ...]
    """Its features, in the order of the model."""
    protected: tuple[str, ...]
    """Columns that reports never name as a reason."""
    policy: Policy
    """From probabilities to actions."""
    costs: CostMatrix
    """What decisions cost when the policy was chosen."""
    policy_on_folds: PolicyOnFolds
    """What the policy did on the fold predictions."""
    gate: CardGate | None
    """The gate that a promotion rests on: the latest that counts, otherwise the latest of all; null without one."""
    gates: int
    """Gates of this version in the log."""
    evaluation: Evaluation | None
    """Metrics and segments, where an evaluation was given; its digest is that of ``gate`` or of another in the log."""
    log: tuple[CardEntry, ...]
    """The log's entries on this version and those that ended its reign, oldest first."""
    files: dict[str, str]
    """File of the bundle -> SHA-256."""
    packages: dict[str, str]
    """Package -> version that trained the model."""
    seed: int
    """Seed of the training."""
    project_file: str
    """SHA-256 of the project file in the bundle."""

    @property
    def promotion(self) -> CardEntry | None:
        """The latest promotion of this version; None where nobody has promoted it."""
        mine = [item for item in self.log if item.event == "promote" and item.version == self.version]
        return mine[-1] if mine else None

    @property
    def missing(self) -> tuple[str, ...]:
        """What a complete card has and this one lacks."""
        lacking = [f"[card] {item.key}" for item in self.words if item.text is None]
        if self.gate is None or not self.gate.counts:
            lacking.append("a gate on the model's own test period")
        if self.evaluation is None:
            lacking.append("an evaluation with metrics by segment")
        return tuple(lacking)


def model_card(
    bundle: Bundle,
    *,
    own: Project,
    words: CardSection,
    entries: Sequence[Entry],
    champion: str | None,
    evaluation: Evaluation | None,
    project_file: str,
) -> ModelCard:
    """Return the card of a model.

    Parameters
    ----------
    bundle
        The model.
    own
        The project that the bundle was written with.
    words
        The owner's words.
    entries
        The whole log of the registry, oldest first.
    champion
        Version of the champion; None without one.
    evaluation
        An evaluation of this model whose digest was found in the log; None without one.
    project_file
        SHA-256 of the bundle's project file.
    """
    from fraudctl.registry import deciding_gate

    policy, version = Policy.from_dict(dict(bundle.policy)), bundle.version
    gate = deciding_gate(entries, version)
    return ModelCard(
        project=own.project.name,
        version=version,
        parent=bundle.facts.get("parent"),
        champion=version == champion,
        words=tuple(OwnerWord(key, title, getattr(words, key)) for key, title in TITLES.items()),
        data=_data(bundle, own),
        audit=TrainingAudit(**bundle.facts["audit"]) if "audit" in bundle.facts else None,
        training=TrainingSummary.from_dict(bundle.facts["training"]),
        features=tuple(
            CardFeature(item["name"], item["words"], item["family"], item["interval"])
            for item in bundle.features["features"]
        ),
        protected=tuple(own.features.protected),
        policy=policy,
        costs=policy.matrix,
        policy_on_folds=_on_folds(bundle),
        gate=None if gate is None else gate_of(gate),
        gates=sum(item.event == "gate" and item.version == version for item in entries),
        evaluation=evaluation,
        log=tuple(_entry(item) for item in entries if version in (item.version, item.previous)),
        files=dict(bundle.manifest["files"]),
        packages=dict(bundle.manifest["packages"]),
        seed=bundle.facts["seed"],
        project_file=project_file,
    )


def _entry(item: Entry) -> CardEntry:
    found = item.evidence or {}
    return CardEntry(
        datetime.fromisoformat(item.at), item.event, item.version, item.by, item.reason, item.verdict, item.forced,
        tuple(found.get("objections", ())), item.previous, found.get("run"),
    )  # fmt: skip


def _data(bundle: Bundle, own: Project) -> TrainingData:
    facts, training = bundle.facts, bundle.facts["training"]["train"]
    timed = bundle.as_of is not None  # older bundles of data without a time give 1970
    return TrainingData(
        events=facts["rows"],
        known_until=_instant(facts["known_until"]) if timed else None,
        as_of=bundle.as_of,
        start=_instant(training["from"]),
        until=_instant(training["until"]),
        rows=training["rows"],
        frauds=training["frauds"],
        label_delay=str(own.data.label_delay),
        timezone=own.data.timezone,
        test_until=_instant(facts.get("test_until")) if timed else None,
        test_events=facts.get("test_events", 0),
        entities=tuple(own.entities),
        sources=tuple(own.sources),
        ignored=tuple(own.data.ignore),
        fingerprint=facts["data_fingerprint"],
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _on_folds(bundle: Bundle) -> PolicyOnFolds:
    report = bundle.facts["policy_report"]
    return PolicyOnFolds(
        report["currency"], report["events"], report["frauds"], report["cost"], dict(report["actions"])
    )
