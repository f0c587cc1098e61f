"""``models`` and ``compare``: the versions of a project, its champion, and two models side by side."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.documents.results import as_object
from fraudctl.errors import DataError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.workflows.decide import Decisions
from fraudctl.workflows.evidence import section_digests
from fraudctl.workflows.lineage import judging_project
from fraudctl.workflows.versions import open_bundle, user_name, warn_of_newer

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.bundle import Bundle
    from fraudctl.compare import Comparison
    from fraudctl.documents.types import JsonObject
    from fraudctl.registry import Entry


@dataclass(frozen=True)
class ModelEntry:
    """One version of a project."""

    version: str
    """Its name."""
    as_of: datetime | None
    """What its training knew; null for a random split."""
    parent: str | None
    """The version whose policy was chosen again; null for a trained one."""
    policy: str
    """Kind of its policy."""
    gate: str | None
    """Verdict of its latest gate; null without one."""
    savings_base: str | None
    """What the savings of that gate are measured against."""
    gate_counts: bool
    """Whether a promotion may rest on that gate."""
    latest: bool
    """Whether it is the version that was written last."""
    champion: bool
    """Whether it is the champion."""


@dataclass(frozen=True)
class ModelsResult:
    """The versions of a project in the order in which they were written, and who is champion."""

    JSON = ("champion", "champion_missing", "models", "log")

    champion: str | None
    """Version of the champion; null without one."""
    models: tuple[ModelEntry, ...]
    """The versions in the order in which they were written."""
    log: tuple[Entry, ...]
    """The registry's log, oldest entry first."""

    @property
    def champion_missing(self) -> bool:
        """Whether the registry names a champion whose folder is not there."""
        return self.champion is not None and all(item.version != self.champion for item in self.models)


def list_models(project: Project) -> ModelsResult:
    """List the bundles of a project with the latest verdict of each."""
    from fraudctl import registry
    from fraudctl.bundle import list_bundles, load_bundle

    entries = registry.history(project.models_dir)
    champion = registry.champion(project.models_dir)
    gates = {entry.version: entry for entry in entries if entry.event == "gate"}
    models = []
    unknown, written = registry.in_order_of_writing(entries, [path.name for path in list_bundles(project.models_dir)])
    for version in [*unknown, *written]:
        bundle = load_bundle(project.models_dir / version)
        gate = gates.get(bundle.version)
        models.append(
            ModelEntry(
                version=bundle.version,
                as_of=bundle.as_of,
                parent=bundle.facts.get("parent"),
                policy=bundle.policy["kind"],
                gate=None if gate is None else gate.verdict,
                savings_base=None if gate is None else gate.savings_base,
                gate_counts=gate is not None and registry.counts(gate),
                latest=version == [*unknown, *written][-1] and bool(written or len(unknown) == 1),
                champion=bundle.version == champion,
            )
        )
    return ModelsResult(champion, tuple(models), entries)


def show_model(project: Project, reference: str, *, progress: Progress | None = None) -> JsonObject:
    """Return everything that a bundle's manifest says, its policy, and its entries in the log.

    ``facts.training.savings_base`` says what savings in the training summary are measured against, in old bundles too.

    Parameters
    ----------
    reference
        A version, a path, ``latest`` or ``champion``.
    """
    from fraudctl import registry
    from fraudctl.train.summary import savings_base_of

    bundle = open_bundle(project, reference, progress=progress)
    log = [as_object(entry) for entry in registry.history(project.models_dir) if entry.version == bundle.version]
    manifest = {key: value for key, value in bundle.manifest.items() if key != "project_file"}
    training = bundle.facts["training"]
    manifest["facts"] = {**bundle.facts, "training": {**training, "savings_base": savings_base_of(training)}}
    return {"version": bundle.version, "path": str(bundle.path), **manifest, "policy": bundle.policy, "log": log}


def diff_models(project: Project, a: str, b: str, *, progress: Progress | None = None) -> JsonObject:
    """State in what the project files, the features, the policies and the fits of two bundles differ.

    Parameters
    ----------
    a, b
        Each a version, a path, ``latest`` or ``champion``.
    """
    one, other = _open_both(project, a, b, progress or Silent())
    names = [{item["name"] for item in bundle.features["features"]} for bundle in (one, other)]
    files = [_flat(tomllib.loads(bundle.manifest["project_file"])) for bundle in (one, other)]
    changed = {key: [files[0].get(key), files[1].get(key)] for key in sorted({*files[0], *files[1]})}
    return {
        "a": one.version,
        "b": other.version,
        "as_of": [None if bundle.as_of is None else bundle.as_of.isoformat() for bundle in (one, other)],
        "project_file": {key: pair for key, pair in changed.items() if pair[0] != pair[1]},
        "features_only_in_a": sorted(names[0] - names[1]),
        "features_only_in_b": sorted(names[1] - names[0]),
        "same_model": one.trees == other.trees,
        "policy": [dict(one.policy), dict(other.policy)] if one.policy != other.policy else None,
    }


def _flat(tree: Any, prefix: str = "") -> JsonObject:
    """Return the leaves of nested tables and lists by their key paths."""
    if isinstance(tree, dict):
        parts = [_flat(item, f"{prefix}.{key}" if prefix else key) for key, item in tree.items()]
    elif isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        parts = [_flat(item, f"{prefix}[{index}]") for index, item in enumerate(tree)]
    else:
        return {prefix: tree}
    return {key: item for part in parts for key, item in part.items()}


def promote_model(
    project: Project,
    reference: str,
    *,
    now: datetime | None = None,
    by: str | None = None,
    force_reason: str | None = None,
    progress: Progress | None = None,
) -> Entry:
    """Make a version the champion.

    Its latest gate must have passed on its own test period, by rules that are still those of the project file.

    Parameters
    ----------
    reference
        A version, a path, or ``latest``.
    now, by
        When and by whom, for the registry's log; by default now, and the user of this process.
    force_reason
        Why it is promoted although its gate does not allow it; None refuses that.

    Raises
    ------
    UsageError, BundleError
        As `fraudctl.registry.promote` does.
    """
    from fraudctl import registry

    bundle = open_bundle(project, reference, progress=progress)
    if bundle.challenger is not None and progress is not None:
        progress.warn(f"{bundle.version} is of a challenger: it decides in batch, and `serve` and `state` refuse it")
    return registry.promote(
        project.models_dir,
        bundle.version,
        now=now or datetime.now(UTC),
        by=by or user_name(),
        force_reason=force_reason,
        sections=section_digests(judging_project(bundle, project)),
    )


def rollback_model(project: Project, *, reason: str, now: datetime | None = None, by: str | None = None) -> Entry:
    """Make the champion before this one the champion again.

    Parameters
    ----------
    reason
        Why, for the registry's log.
    now, by
        When and by whom; by default now, and the user of this process.

    Raises
    ------
    UsageError
        There was no champion before this one.
    """
    from fraudctl import registry

    return registry.rollback(project.models_dir, reason=reason, now=now or datetime.now(UTC), by=by or user_name())


def compare_models(
    project: Project,
    a: str,
    b: str,
    *,
    from_time: datetime | date | None = None,
    until: datetime | date | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two models on the same events.

    Parameters
    ----------
    a, b
        Each a version, a path, ``latest`` or ``champion``; differences are A minus B.
    from_time, until
        Period ``[from_time, until)``; by default the test period of the model with the later as_of.

    Raises
    ------
    UsageError
        The period begins before the later as_of.
    DataError
        The period has no events that can be judged.
    BundleError
        A bundle is missing, damaged or of another project.
    """
    from fraudctl.compare import compare

    progress = progress or Silent()
    bundles = _open_both(project, a, b, progress)
    younger = _younger(bundles)
    decisions = Decisions.of_bundle(project, younger, progress=progress)
    progress.stage("Comparing")
    leading = decisions.of_model(since=from_time, until=until)
    both = [leading if bundle is younger else decisions.of_rival(bundle, leading) for bundle in bundles]
    return compare(
        both[0].scored,
        both[1].scored,
        project=decisions.project,
        names=(both[0].subject.name, both[1].subject.name),
        period=leading.period,
        split=leading.subject.by_chance,
        seed=decisions.project.train.seed,
    )


def _younger(bundles: tuple[Bundle, Bundle]) -> Bundle:
    """Return the bundle with the later as_of; the first where the data have no time."""
    one, other = bundles
    return other if one.as_of is not None and other.as_of is not None and other.as_of > one.as_of else one


def _open_both(project: Project, a: str, b: str, progress: Progress) -> tuple[Bundle, Bundle]:
    """Open two bundles, say which they are, and warn of a newer one than both, or where both names mean one model."""
    one = open_bundle(project, a, progress=progress, role="A", newer=False)
    other = open_bundle(project, b, progress=progress, role="B", newer=False)
    if one.version == other.version:
        progress.warn(f"A and B are one model: {a} and {b} both mean {one.version}")
    warn_of_newer(project, [one.version, other.version], progress)
    return one, other


def compare_logged(
    project: Project,
    a: str,
    b: str,
    decisions: Path,
    *,
    from_time: datetime | date | None = None,
    until: datetime | date | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Put two models side by side by what they decided when the events came, as scoring logged it.

    Nothing is scored again. Events that both decided count, the first decision of each; outcomes and costs are those of
    the project's data and file.

    Parameters
    ----------
    decisions
        Folder or file of logged decisions: ``decisions/`` in a state.
    from_time, until
        Period ``[from_time, until)``; by default all that was logged.

    Raises
    ------
    DataError
        No such file, a model that decided nothing, or no event whose outcome is known.
    """
    import polars as pl

    from fraudctl.compare import compare, read_logged, spanned
    from fraudctl.evaluate import price_frame
    from fraudctl.maturity import instant, mature
    from fraudctl.policy.constant import with_order
    from fraudctl.workflows.definitions import plan_features

    progress = progress or Silent()
    bundles = _open_both(project, a, b, progress)
    project = judging_project(_younger(bundles), project)
    progress.stage("Comparing")
    names = tuple(bundle.version for bundle in bundles)
    logged = [read_logged(decisions, name) for name in names]
    known = plan_features(project).load()
    delay = project.data.label_delay
    events = with_order(_decided_by_both(known.frame, logged), project)
    events = events.filter(mature(events, label_delay=delay, known_until=known.newest))
    zone = project.data.timezone
    if from_time is not None:
        events = events.filter(pl.col("event_time") >= instant(from_time, timezone=zone))
    if until is not None:
        events = events.filter(pl.col("event_time") < instant(until, timezone=zone))
    if events.is_empty():
        msg = "no event whose outcome is known was decided by both models"
        raise DataError(msg, hint="wait until outcomes have arrived in the project's data, or widen the period")
    span = spanned(events)
    span = replace(
        span,
        from_time=span.from_time if from_time is None else instant(from_time, timezone=zone),
        until=span.until if until is None else instant(until, timezone=zone),
    )
    both = [events.join(item, on="event_id", how="left", maintain_order="left") for item in logged]
    return compare(
        price_frame(both[0], project),
        price_frame(both[1], project),
        project=project,
        names=(names[0], names[1]),
        period=span,
        seed=project.train.seed,
    )


def _decided_by_both(events: pl.DataFrame, logged: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the events that two logs have decided."""
    events = events.join(logged[0].select("event_id"), on="event_id", how="semi", maintain_order="left")
    return events.join(logged[1].select("event_id"), on="event_id", how="semi", maintain_order="left")
