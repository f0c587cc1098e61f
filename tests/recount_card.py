"""Recount what the sentences of a model card were written from, out of the bundle's files and the log as JSON."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from fraudctl.account import card
from fraudctl.evaluate import result
from fraudctl.features.proof import receipt
from fraudctl.report.document import Document
from fraudctl.train import summary


class Papers:
    """The files of the one bundle of a project, and its log."""

    def __init__(self, project: Path) -> None:
        (folder,) = (path for path in (project / "models").iterdir() if path.is_dir())
        self.version = folder.name
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.features = json.loads((folder / "features.json").read_text())["definition"]["features"]
        self.facts = self.manifest["facts"]
        self.log = [json.loads(line) for line in (project / "models" / "registry.jsonl").read_text().splitlines()]
        self.evaluation = json.loads((project / "reports" / f"evaluation-{self.version}.json").read_text())
        self.digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def recount_model(item: card.ModelCard, papers: Papers) -> None:
    assert item.version == papers.version
    assert item.champion == any(line["event"] == "promote" for line in papers.log)
    assert {one.name for one in item.features} == {one["name"] for one in papers.features}
    assert item.files == {name: papers.digests[name] for name in papers.manifest["files"]}
    assert item.gates == sum(line["event"] == "gate" for line in papers.log)


def recount_word(item: card.OwnerWord, papers: Papers) -> None:
    assert item.key in card.TITLES


def recount_gate(item: card.CardGate, papers: Papers) -> None:
    line = [line for line in papers.log if line["event"] == "gate"][-1]
    assert (item.verdict, item.reason, item.by) == (line["verdict"], line["reason"], line["by"])
    assert item.counts == (line["evidence"]["not_own"] == [])
    assert (item.events, item.frauds) == (line["evidence"]["events"], line["evidence"]["frauds"])
    assert [rule.value for rule in item.rules] == [rule["value"] for rule in line["evidence"]["rules"]]


def recount_data(item: card.TrainingData, papers: Papers) -> None:
    train = papers.facts["training"]["train"]
    assert (item.rows, item.frauds, item.events) == (train["rows"], train["frauds"], papers.facts["rows"])
    assert item.start == datetime.fromisoformat(train["from"])
    assert item.until == datetime.fromisoformat(train["until"])
    assert item.test_events == papers.facts["test_events"]
    assert item.fingerprint == papers.facts["data_fingerprint"]


def recount_audit(item: receipt.TrainingAudit, papers: Papers) -> None:
    assert vars(item) == papers.facts["audit"]
    assert item.features == len(papers.features)


def recount_training(item: summary.TrainingSummary, papers: Papers) -> None:
    training = papers.facts["training"]
    assert (item.trees, item.features, item.params) == (training["trees"], training["features"], training["params"])
    name = item.metric
    assert [fold.figures.get(name) for fold in item.folds] == [fold.get(name) for fold in training["folds"]]
    assert {key: one.value for key, one in item.baselines.items()} == {
        key: one["value"] for key, one in training["baselines"].items()
    }


def recount_challenger(item: summary.ChallengerSummary, papers: Papers) -> None:
    found = papers.facts["training"]["challenger"]
    assert (item.name, item.program, item.seed, item.repeated) == tuple(
        found[key] for key in ("name", "program", "seed", "repeated")
    )
    assert (item.settings, item.files, item.versions) == (found["settings"], found["files"], found["versions"])


def recount_calibration(item: summary.CalibrationSummary, papers: Papers) -> None:
    found = papers.facts["training"]["calibration"]
    assert (item.method, item.reason, item.report.ece) == (found["method"], found["reason"], found["ece"])


def recount_folds(item: card.PolicyOnFolds, papers: Papers) -> None:
    found = papers.facts["policy_report"]
    assert (item.events, item.frauds, item.cost) == (found["events"], found["frauds"], found["cost"])
    assert sum(item.actions.values()) == item.events


def recount_sums(item: result.CostSums, papers: Papers) -> None:
    money, base = papers.evaluation["money"], papers.evaluation["metrics"]["savings"]["base"]
    assert (item.cost, item.perfect_cost) == (money["cost"], money["perfect_cost"])
    assert item.cost == papers.evaluation["metrics"]["cost"]["value"]
    assert (item.baseline.words, item.baseline.cost) == (base["words"], base["cost"])


def recount_champion(item: result.ChampionOutcome, papers: Papers) -> None:
    found = papers.evaluation["champion"]
    gap, wanted = item.differences["savings"], found["differences"]["savings"]
    assert (item.model, gap.value) == (found["model"], wanted["value"])
    assert (gap.low, gap.high) == (wanted["low"], wanted["high"])


def recount_excluded(item: result.Excluded, papers: Papers) -> None:
    assert vars(item) == papers.evaluation["excluded"]


def recount_entry(item: card.CardEntry, papers: Papers) -> None:
    line = [line for line in papers.log if line["event"] == item.event and line["version"] == item.version][-1]
    assert (item.by, item.previous, item.forced) == (line["by"], line["previous"], line["forced"])
    assert item.at == datetime.fromisoformat(line["at"])
    assert list(item.objections) == line["evidence"]["objections"]
    assert item.run == line["evidence"].get("run")


RECOUNT_CARD: dict[type, Any] = {
    card.CardEntry: recount_entry,
    result.CostSums: recount_sums,
    result.ChampionOutcome: recount_champion,
    result.Excluded: recount_excluded,
    card.ModelCard: recount_model,
    card.OwnerWord: recount_word,
    card.CardGate: recount_gate,
    card.TrainingData: recount_data,
    receipt.TrainingAudit: recount_audit,
    summary.TrainingSummary: recount_training,
    summary.CalibrationSummary: recount_calibration,
    summary.ChallengerSummary: recount_challenger,
    card.PolicyOnFolds: recount_folds,
}


def recount_card(document: Document, project: Path) -> int:
    """Recount each value that a sentence of a card was written from; return how many were."""
    papers, n = Papers(project), 0
    for sentence in document.sentences():
        for source in sentence.sources:
            for value in source.values:
                if not isinstance(value, str):
                    RECOUNT_CARD[type(value)](value, papers)
                    n += 1
    return n
