"""``train`` and ``threshold``: from the feature table to a bundle, and a new policy for a bundle."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from fraudctl.documents.results import as_json, as_object
from fraudctl.errors import DataError, ProjectError, UsageError
from fraudctl.features.proof.receipt import TrainingAudit
from fraudctl.policy.choose import PolicyChoice
from fraudctl.power import Power
from fraudctl.progress import Progress, Silent, Steps, Watch, unwatched
from fraudctl.project import Project
from fraudctl.text.plain import shown
from fraudctl.train.summary import TrainingSummary
from fraudctl.workflows.audit import audit_before_training
from fraudctl.workflows.definitions import load_definitions
from fraudctl.workflows.features import FeatureTable, build_features
from fraudctl.workflows.lineage import (
    choosing_project,
    own_project,
    recipe_facts,
    require_digest,
    say_differences,
)
from fraudctl.workflows.reference import Trained, frozen_reference, reference_with
from fraudctl.workflows.versions import open_bundle, write_noted

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.bundle import Bundle, BundleContents
    from fraudctl.challengers.program import Program
    from fraudctl.documents.types import JsonObject
    from fraudctl.split import Split
    from fraudctl.train import TrainedModel


SCHEMA_VERSION: Final = 1

_LABELLED_ONLY = (
    "{version} holds the fold predictions of labelled events only, as earlier versions wrote them: the report gives "
    "these the slots that other events took; `fraudctl train` writes all of them"
)


_POLICY_STEPS = 240
"""Steps of choosing a policy and counting the days before as_of, about: the bar ends early, and the notes go on."""


@dataclass(frozen=True)
class TrainResult:
    """A bundle that was written, and how it came about."""

    SCHEMA_VERSION: ClassVar = SCHEMA_VERSION

    path: Path
    """Folder of the bundle."""
    version: str
    """Version of the bundle."""
    summary: TrainingSummary
    """Folds, search, calibration and warnings; the same in every run on the same inputs."""
    policy: PolicyChoice
    """The chosen policy, and what it cost on the fold predictions."""
    timings: dict[str, float] = field(default_factory=dict)
    """Stage -> seconds of this run (training holds those of the partner); empty where only a policy was chosen."""
    peak_memory_mb: float | None = None
    """Most resident memory of this run, in 10^6 bytes; null where only a policy was chosen."""
    audit: TrainingAudit | None = None
    """What was recomputed before training, without a difference; null without a time."""
    test_period: Power | None = None
    """Frauds of the test period, and what they are enough for; null where only a policy was chosen."""


def train_model(
    project: Project,
    *,
    as_of: datetime | date | None = None,
    trials: int | None = None,
    fast: bool = False,
    challenger: str | None = None,
    twice: bool = False,
    by: str | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Build the features, tune, fit, calibrate, choose the policy and write a bundle.

    Parameters
    ----------
    as_of
        Overrides ``[split] as_of``.
    trials
        Overrides ``[train] trials``.
    fast
        A first look: no search, two folds at most, few and large steps.
    challenger
        Name of a ``[challengers.NAME]`` that is trained instead of CatBoost, on the same folds.
    twice
        Fit the latest fold of a challenger a second time: the scores must be the same.
    by
        Who trains, for the registry's log; by default the user of this process.

    Raises
    ------
    ProjectError, DataError, UsageError
        As building features, splitting and fitting do; there is no challenger of that name, or its program fails.
    """
    from fraudctl.data.outputs import require_writable
    from fraudctl.policy import check_expressions, choose_policy
    from fraudctl.power import power_of
    from fraudctl.split import make_split
    from fraudctl.train import fast_project, fit_challenger, fit_project

    program = None if challenger is None else _program(project, challenger, trials=trials)
    if twice and program is None:
        msg = "--twice is for a challenger: what CatBoost gives depends on its inputs and the seed alone"
        raise UsageError(msg, hint="name one with --challenger, or leave --twice out")
    if fast:
        project = fast_project(project)
    progress, clock = progress or Silent(), _Clock()
    table = build_features(project, progress=progress)
    check_expressions(project, table.hold(progress))
    clock.lap("features")
    audited = audit_before_training(project, table, progress=progress) if table.timed else None
    clock.lap("audit")
    progress.update(0, 2, "dividing the time")
    split = make_split(table.frame, project, known_until=table.known, as_of=as_of)
    progress.update(1, 2, "frauds of the test period")
    power = power_of(table.frame, project, known_until=table.known, as_of=as_of)
    if power.severity is not None:
        progress.warn(f"{power.sentence}. What helps: {power.hint}")
    keep = decision_columns(project, table)
    champion = _champion(project, table, progress=progress)
    if program is not None:
        trained = fit_challenger(
            table.frame, table.features, project, split, program, keep=keep, champion=champion, twice=twice,
            progress=progress,
        )  # fmt: skip
    else:
        journal = project.cache_dir / "tuning.journal"
        require_writable(journal)
        trained = fit_project(
            table.frame, table.features, project, split, trials=trials, journal=journal, keep=keep, champion=champion,
            progress=progress,
        )  # fmt: skip
    clock.lap("training")
    if trained.partner_seconds:
        clock.laps["partner"] = round(trained.partner_seconds, 3)
    progress.stage("Choosing the policy")
    y_prob = trained.predictions["y_prob"].to_numpy()
    watch = Steps(progress, _POLICY_STEPS).begin
    choice = choose_policy(project, trained.predictions, y_prob, watch=watch)
    clock.lap("policy")
    contents = bundle_contents(project, table, split, trained, choice, audited=audited, watch=watch)
    watch("files")
    path = write_noted(project, contents, event="train", parent=None, by=by)
    return TrainResult(path, path.name, trained.summary, choice, clock.laps, _peak_memory_mb(), audited, power)


def _program(project: Project, name: str, *, trials: int | None) -> Program:
    """Return the program of a challenger, before anything is built."""
    from fraudctl.challengers.program import read_program

    section = project.challengers.get(name)
    if section is None:
        there = ", ".join(sorted(project.challengers)) or "none"
        msg = f"--challenger {shown(name)}: the project file has no such section; there is: {there}"
        raise UsageError(msg, hint="write [challengers.NAME] with a command or an entry")
    if trials:
        msg = f"--trials {trials}: a challenger is not searched"
        raise UsageError(msg, hint="leave --trials out; its settings are [challengers.NAME.params]")
    return read_program(name, section, project.root)


def choose_threshold(
    project: Project, *, model: str = "latest", by: str | None = None, progress: Progress | None = None
) -> TrainResult:
    """Choose a new policy for a bundle with the project's present costs, and write it as a new version.

    The choice is made on the bundle's own fold predictions, never on a test period.

    Parameters
    ----------
    model
        A version, a path, ``latest`` or ``champion``.
    by
        Who chooses, for the registry's log; by default the user of this process.

    Raises
    ------
    BundleError
        The bundle is missing, damaged or of another project.
    DataError
        The present costs read a column that the fold predictions do not have.
    ProjectError
        The present rules or segments do.
    """
    from fraudctl.policy import choose_policy

    progress = progress or Silent()
    bundle = open_bundle(project, model, progress=progress)
    say_differences(bundle, project, progress=progress)
    progress.stage("Choosing the policy")
    project = choosing_project(bundle, project)
    predictions = bundle.predictions()
    _require_carried(project, predictions, bundle.version)
    share = float(bundle.facts.get("known_share", 1.0))
    if share < 1.0 and project.policy.capacity:
        progress.warn(_LABELLED_ONLY.format(version=bundle.version))
    y_prob, watch = predictions["y_prob"].to_numpy(), Steps(progress, _POLICY_STEPS).begin
    choice = choose_policy(project, predictions, y_prob, known_share=share, watch=watch)
    watch("days before as_of")
    summary = TrainingSummary.from_dict(bundle.facts["training"])
    facts = {**bundle.facts, "policy_report": as_json(choice.report), "parent": bundle.version}
    contents = bundle.contents(policy=as_object(choice.policy), project_file=project.text, facts=facts)
    contents = replace(contents, reference=reference_with(bundle, choice.policy, project))
    watch("files")
    path = write_noted(project, contents, event="threshold", parent=bundle.version, by=by)
    return TrainResult(path, path.name, summary, choice)


def _require_carried(project: Project, predictions: pl.DataFrame, version: str) -> None:
    """Refuse rules and segments that read what the fold predictions of a bundle do not hold."""
    from fraudctl.features.rows.read import compile_row_sql
    from fraudctl.policy.expressions import readable

    for where, text in project.expressions:
        try:
            compile_row_sql(text, allowed=readable(predictions), where=where)
        except ProjectError as error:
            more = f"bundle {version} holds what its own costs, rules and segments read; for more, `fraudctl train`"
            raise ProjectError(error.message, hint=error.hint or more) from error


def _champion(project: Project, table: FeatureTable, *, progress: Progress) -> Bundle | None:
    """Return the champion to be compared with on the folds, where its features are defined as in the project."""
    from fraudctl.registry import champion

    if champion(project.models_dir) is None or not project.data.has_time:
        return None
    bundle = open_bundle(project, "champion")
    try:
        other = _redefined(bundle, project, table)
    except (DataError, ProjectError) as error:
        progress.warn(f"the champion {bundle.version} is not compared on the folds: {error.message}")
        return None
    if other:
        shown = ", ".join(other[:5]) + (" and more" if len(other) > 5 else "")
        progress.warn(
            f"the champion {bundle.version} is not compared on the folds: the project defines {len(other)} of its "
            f"features otherwise ({shown}); `fraudctl evaluate --champion champion` computes both"
        )
    return None if other else bundle


def _redefined(bundle: Bundle, project: Project, table: FeatureTable) -> list[str]:
    """Return the features of a bundle that the project lacks or defines otherwise."""
    from fraudctl.features.meaning.definition import redefined

    own = own_project(bundle, project)
    if (own.data, own.entities, own.sources) != (project.data, project.entities, project.sources):
        return list(bundle.columns.names)
    theirs = load_definitions(own).features
    require_digest(bundle, theirs.digest)
    return redefined(theirs, table.features, bundle.columns.names)


def decision_columns(project: Project, table: FeatureTable) -> list[str]:
    """Return the columns other than roles and scores that costs, rules and segments read."""
    from fraudctl.dependence import of_project

    found = of_project(project, table.features, readable=table.frame.columns).policy
    return [name for name in found if name not in {"event_time", "amount"}]


def _period_facts(table: FeatureTable, split: Split) -> JsonObject:
    """Return the training and the test period, and how many events the test had; null where the data have no time."""
    from fraudctl.workflows.evidence import events_between

    times = split.periods
    if times is None:
        return {"train_from": None, "train_until": None, "test_until": None, "test_events": 0}
    return {
        "train_from": times.train_from.isoformat(),
        "train_until": times.train_until.isoformat(),
        "test_until": times.test_until.isoformat(),
        "test_events": events_between(table.frame, times.as_of, times.test_until),
    }


def _facts(
    project: Project, table: FeatureTable, split: Split, trained: TrainedModel, choice: PolicyChoice
) -> JsonObject:
    """Return what the manifest of a bundle says of its data, its training and its policy."""
    from fraudctl.data.located import versions
    from fraudctl.split import TimeSplit

    read = versions(project)
    return {
        "project": project.project.name,
        "data_fingerprint": table.fingerprint,
        **({"table_versions": read} if read else {}),
        "rows": table.frame.height,
        "known_until": None if table.known is None else table.known.isoformat(),
        "seed": project.train.seed,
        "split": as_json(split.by_chance or TimeSplit()),
        **_period_facts(table, split),
        "training": as_json(trained.summary),
        "recipe": recipe_facts(project),
        "policy_report": as_json(choice.report),
        "parent": None,
    }


def bundle_contents(
    project: Project,
    table: FeatureTable,
    split: Split,
    trained: TrainedModel,
    choice: PolicyChoice,
    *,
    audited: TrainingAudit | None,
    refit_of: str | None = None,
    watch: Watch = unwatched,
) -> BundleContents:
    """Return what a bundle holds.

    Parameters
    ----------
    audited
        The receipt of the audit of its features; None without times.
    refit_of
        The version whose settings were fitted again on newer labels.
    watch
        Called with each step of the reference of ordinary days before it begins.
    """
    from fraudctl.bundle import BundleContents
    from fraudctl.scoring.schema import data_schema

    facts = _facts(project, table, split, trained, choice)
    facts |= {} if audited is None else {"audit": as_json(audited)}
    facts |= {} if refit_of is None else {"refit_of": refit_of}
    return BundleContents(
        as_of=split.as_of,
        model=trained.fitted,
        columns=trained.columns,
        calibrator=trained.calibrator,
        policy=as_object(choice.policy),
        features={**definition_document(table), "schema": data_schema(project).to_dict()},
        predictions=trained.predictions,
        project_file=project.text,
        timezone=project.data.timezone,
        facts=facts,
        reference=frozen_reference(Trained(project, table, split, trained, choice.policy), watch=watch),
        partner=trained.partner,
    )


def definition_document(table: FeatureTable) -> JsonObject:
    """Return the definitions of the features as JSON: what each means, and the digest of all."""
    shown = ("name", "family", "words", "entity", "dtype", "interval", "nulls")
    return {
        "digest": table.features.digest,
        "features": [{key: getattr(feature, key) for key in shown} for feature in table.features.features],
    }


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self._last = round(now - self._last, 3), now


def _peak_memory_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
