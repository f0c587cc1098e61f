"""Fit a gated model again on the newest mature labels, with the same settings, and ask whether it still acts alike.

The gate judges a model on events after its as_of, and so ships one that does not know the newest labels. A refit knows
them, but there is nothing later to judge it on. It takes the gated model's place only where both act alike on the last
week; that it rests on another model's gate stands in the registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from fraudctl.errors import BundleError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.workflows.audit import audit_before_training
from fraudctl.workflows.decide import Decisions, Subject
from fraudctl.workflows.pooled import fit_again, found_recipe
from fraudctl.workflows.train import bundle_contents
from fraudctl.workflows.versions import user_name, write_noted

if TYPE_CHECKING:
    from fraudctl.bundle import Bundle

AGREEMENT: Final = 0.99
"""Share of the last week's events on which a refit must act as the gated model does."""
LAST: Final = timedelta(days=7)


@dataclass(frozen=True)
class Refit:
    """A refit, and how it acts on the last week.

    Attributes
    ----------
    version
        The bundle; None where it acts otherwise too often, and was not written.
    as_of
        What it knows: the latest event of the data.
    n_events, n_alike
        Events of the last week, and those on which both models act alike.
    """

    version: str | None
    as_of: datetime
    n_events: int
    n_alike: int

    @property
    def agreement(self) -> float:
        """Share of the events on which both act alike; 0 without any."""
        return self.n_alike / self.n_events if self.n_events else 0.0


def refit_model(
    project: Project,
    gated: Bundle,
    *,
    by: str | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Refit:
    """Fit a gated model again as of the latest event, and write it where it acts like that model.

    Parameters
    ----------
    gated
        A version that passed its gate; settings of the search are taken from it.
    by, now
        Who and when, for the registry's log.

    Raises
    ------
    BundleError
        The log has no gate of that version.
    DataError
        Splitting and fitting fail as they do in training.
    """
    from fraudctl.evaluate import Period
    from fraudctl.policy import choose_policy
    from fraudctl.split import make_split

    progress = progress or Silent()
    decisions = Decisions.of_bundle(project, gated, progress=progress)
    table, own = decisions.table, found_recipe(project, gated)
    split = make_split(table.frame, own, known_until=table.known_until, as_of=table.known_until)
    progress.stage("Fitting again on the newest labels")
    trained = fit_again(gated, own, table, split, progress=progress)
    choice = choose_policy(own, trained.predictions, trained.predictions["y_prob"].to_numpy())
    as_of = split.times.as_of
    week = Period(as_of - LAST, as_of + timedelta(microseconds=1))
    subject = Subject("refit", split.times, choice.policy, bundle=None)
    ours = decisions.decided(subject, week, trained)["action"]
    theirs = decisions.decided(decisions.subject(gated), week)["action"]
    found = Refit(None, as_of, len(ours), int((ours == theirs).sum()))
    if found.agreement < AGREEMENT:
        return found
    audited = audit_before_training(own, table, progress=progress)
    contents = bundle_contents(own, table, split, trained, choice, audited=audited, refit_of=gated.version)
    path = write_noted(project, contents, event="refit", parent=gated.version, by=by)
    _note(project, gated.version, Refit(path.name, found.as_of, found.n_events, found.n_alike), by=by, now=now)
    return Refit(path.name, found.as_of, found.n_events, found.n_alike)


def _note(project: Project, gated: str, refit: Refit, *, by: str | None, now: datetime | None) -> None:
    """Note in the registry that the refit rests on the gate of another version, and how alike both act."""
    from fraudctl import registry

    gate = registry.deciding_gate(registry.history(project.models_dir), gated)
    if gate is None or gate.evidence is None or refit.version is None:
        msg = f"the log has no gate of {gated}, on which a refit could rest"
        raise BundleError(msg, hint=f"`fraudctl evaluate --model {gated}`")
    registry.record_gate(
        project.models_dir,
        refit.version,
        verdict=gate.verdict or "none",
        reason=(
            f"acts as {gated} does on {refit.n_alike:,} of the {refit.n_events:,} events of the last week; "
            f"of {gated}: {gate.reason}"
        ),
        compared_with=gate.previous,
        now=now or datetime.now(UTC),
        by=by or user_name(),
        evidence={**gate.evidence, "refit_of": gated, "agreement": round(refit.agreement, 6)},
    )
