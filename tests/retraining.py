"""A project whose training and gate are played: real bundles, registry and receipts, and no model is fitted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_bundle import contents

from fraudctl import registry
from fraudctl.bundle import BundleContents, load_bundle
from fraudctl.checks.report import CheckReport, Finding
from fraudctl.project import Project, parse_project
from fraudctl.workflows import monitor_log, refit, retrain
from fraudctl.workflows.evidence import section_digests
from fraudctl.workflows.lineage import judging_project, recipe_facts
from fraudctl.workflows.retrain import retrain_model
from fraudctl.workflows.retrained import RetrainResult
from fraudctl.workflows.situation import InputFile, Situation, monitor_state
from fraudctl.workflows.versions import write_noted

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
TOML = """
[project]
name = "played"
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "is_fraud"
label_delay = "14d"
[entities]
card = "card_id"
[costs]
[costs.actions]
allow.fraud = { fixed = 15 }
block.legit = { fixed = 8 }
[gate]
savings = { at_least = 0.3 }
champion = { metric = "savings", no_worse_than = 0.02 }
"""


@dataclass
class World:
    """What the data and the gate say, and what was called.

    Attributes
    ----------
    folder
        Of the project.
    known_until
        The latest event.
    verdict
        What the gate says of the next model.
    data
        Digest of the data.
    calls
        Names of the steps that did their work.
    """

    folder: Path
    made: BundleContents
    known_until: datetime = FIRST + timedelta(days=90)
    verdict: str = "pass"
    data: str = "d" * 64
    errors: tuple[Finding, ...] = ()
    calls: list[str] = field(default_factory=list)
    changes: bool = False
    """Whether the data change while a model is trained."""

    @property
    def project(self) -> Project:
        return parse_project(TOML, path=self.folder / "fraudctl.toml")

    @property
    def log(self) -> tuple[registry.Entry, ...]:
        return registry.history(self.project.models_dir)

    def promotions(self) -> list[str]:
        return [entry.version for entry in self.log if entry.event == "promote"]

    def retrain(self, **options: Any) -> RetrainResult:
        return retrain_model(self.project, now=lambda: NOW, by="tests", **options)

    def write(self, as_of: datetime, data: str, *, refit_of: str | None = None) -> str:
        """Write the bundle of an as_of; the same arguments give the same bytes."""
        train = {"rows": 1000, "frauds": 50}
        facts = {
            "project": "played", "data_fingerprint": data, "recipe": recipe_facts(self.project), "parent": None,
            "training": {"train": train}, "train_until": as_of.isoformat(), "test_until": as_of.isoformat(),
            "known_until": (as_of + timedelta(days=44)).isoformat(),
            **({"refit_of": refit_of} if refit_of else {}),
        }  # fmt: skip
        made = replace(self.made, as_of=as_of, facts=facts, project_file=self.project.text, timezone="UTC")
        event: Any = "refit" if refit_of else "train"
        return write_noted(self.project, made, event=event, parent=refit_of, by="tests").name

    def crown(self) -> str:
        """Make a first champion by hand."""
        version = self.write(FIRST, "c" * 64)
        registry.promote(self.project.models_dir, version, now=NOW, by="tests", force_reason="the first")
        return version

    # ------------------------------------------------------------ what is played

    def look(self, project: Project) -> Situation:
        version = registry.champion(project.models_dir)
        champion = None if version is None else load_bundle(project.models_dir / version)
        as_of = self.known_until - timedelta(days=44)
        files = (InputFile("events.parquet", 10, self.data),)
        return Situation(self.known_until, as_of, champion, 40, files, self.data, monitor_state(project))

    def watch(self, *tiers: str, noted: bool = False, again: str = "") -> None:
        """Note a run of `monitor` with an alarm of each tier."""
        same = {"kind": "shift", "series": [], "since": 0, "noted": noted}
        alarms = [{"id": tier + again, "tier": tier, "what": f"{tier} moved", **same} for tier in tiers]
        run = {"kind": "run", "as_of": self.known_until.isoformat(), "model": "m", "verdict": "act", "reason": "r"}
        monitor_log._append(self.project, {**run, "decisions": 1, "last_day": 0, "alarms": alarms})

    def acknowledge(self, tier: str) -> None:
        """Take note of the alarm of a tier."""
        monitor_log.acknowledge_alarm(self.project, tier, note="known", now=NOW, by="Ada")

    def check(self, project: Project, **_: object) -> CheckReport:
        self.calls.append("check")
        return CheckReport(self.errors, n_events=1000)

    def train(self, project: Project, *, as_of: datetime, **_: object) -> Any:
        self.calls.append("train")
        return SimpleNamespace(version=self.write(as_of, "e" * 64 if self.changes else self.data))

    def evaluate(self, project: Project, *, model: str, champion: str | None, **_: object) -> None:
        self.calls.append("gate")
        judging = judging_project(load_bundle(project.models_dir / model), project)
        evidence = {
            "not_own": [], "period": {"from": "a", "until": "b"}, "events": 900, "frauds": 300, "evaluation": "1" * 64,
            "report": "2" * 64, "data": self.data, "sections": section_digests(judging),
            "project_file": retrain.frozen(project, self.look(project), refit=False, promote=False)["project_file"],
        }  # fmt: skip
        registry.record_gate(
            project.models_dir, model, verdict=self.verdict, reason="as it was played", compared_with=champion, now=NOW,
            by="tests", evidence=evidence,
        )  # fmt: skip

    def refit(self, project: Project, gated: Any, **_: object) -> refit.Refit:
        self.calls.append("refit")
        version = self.write(self.known_until, self.data, refit_of=gated.version)
        found = refit.Refit(version, self.known_until, 1000, 995)
        refit._note(project, gated.version, found, by="tests", now=NOW)
        return found


@contextmanager
def played(world: World) -> Iterator[World]:
    """Play data, training and gate of a world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrain, "look", world.look)
        patch.setattr(retrain, "check_data", world.check)
        patch.setattr(retrain, "train_model", world.train)
        patch.setattr(retrain, "evaluate_model", world.evaluate)
        patch.setattr(retrain, "refit_model", world.refit)
        yield world


def copied(world: World, folder: Path) -> World:
    """Return the same world in a copy of its folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world.folder, folder)
    return replace(world, folder=folder, calls=[])


def small_contents() -> BundleContents:
    """Return a bundle's contents whose model is bytes already, so that writing one is cheap."""
    made = contents()
    state: Any = made.model.__getstate__()  # type: ignore[union-attr]
    return replace(made, model=bytes(state["__model"]))
