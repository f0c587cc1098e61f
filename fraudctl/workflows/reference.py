"""The reference that is frozen in a bundle: what the days before as_of were like, as counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from fraudctl.progress import Watch, unwatched
from fraudctl.project import Project
from fraudctl.project.monitor import LEAST_DAYS

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from fraudctl.arrays import IntArray
    from fraudctl.bundle import Bundle
    from fraudctl.documents.types import JsonObject
    from fraudctl.policy import Policy
    from fraudctl.split import Split
    from fraudctl.train import TrainedModel
    from fraudctl.workflows.features import FeatureTable


@dataclass(frozen=True)
class Trained:
    """What has just been trained, as far as a reference needs it."""

    project: Project
    table: FeatureTable
    split: Split
    model: TrainedModel
    policy: Policy


def frozen_reference(trained: Trained, *, watch: Watch = unwatched) -> JsonObject:
    """Return the reference of a training as JSON; empty where the data have no time.

    Features are counted on all events of the reference. Scores and actions are those of events that a model had not
    been trained on: what the final model says of the events between its training period and as_of, and what the latest
    folds predicted, as many as it takes to have four weeks. Earlier folds knew less, and score otherwise. ``watch`` is
    called with the name of each step before it begins.
    """
    from fraudctl.monitor.reference import freeze, plan

    project, table, split = trained.project, trained.table, trained.split
    if split.as_of is None:
        return {}
    time = table.spine["event_time"]
    days = reference_days(project, split.as_of, time[0])
    if not len(days):
        return {}
    watch("days before as_of: reading")
    rows = table.rows((time >= instant_of(days[0], project)) & (time < instant_of(days[-1] + 1, project)))
    chosen = plan(table.features, set(trained.model.columns.names), rows.schema, days=len(days))
    watch("days before as_of: decisions")
    decided = _decided(trained)
    frozen = freeze(
        rows,
        chosen,
        decided,
        days=days,
        timezone=project.data.timezone,
        borders=borders(trained.policy),
        actions=trained.policy.actions,
        watch=watch,
    )
    return frozen.to_dict()


def reference_days(project: Project, as_of: datetime, first: datetime) -> IntArray:
    """Return the whole local days of the reference: those before as_of that the data have, as many as are asked for."""
    import numpy as np
    import polars as pl

    from fraudctl.policy.bids import local_period

    ends = pl.Series([first, as_of], dtype=pl.Datetime("us", "UTC"))
    begun, stop = (int(value) for value in local_period(ends, "day", project.data.timezone))
    wanted = project.monitor.reference.seconds // 86_400
    return np.arange(max(begun + 1, stop - wanted), stop)


def instant_of(day: int, project: Project) -> datetime:
    """Return the instant at which a local day begins."""
    from datetime import UTC, date, datetime, time
    from zoneinfo import ZoneInfo

    local = date(1970, 1, 1) + timedelta(days=int(day))
    return datetime.combine(local, time(), ZoneInfo(project.data.timezone)).astimezone(UTC)


def borders(policy: Policy) -> list[float]:
    """Return the probabilities at which a policy by thresholds changes its action."""
    tables = [policy.thresholds, *(policy.segments.thresholds.values() if policy.segments is not None else ())]
    return sorted({float(value) for table in tables for value in table.values() if value is not None})


def _decided(trained: Trained) -> pl.DataFrame:
    """Return decided events of the folds and of the days between the training period and as_of."""
    import polars as pl

    from fraudctl.train import predict

    table, split = trained.table, trained.split
    folds = _latest_folds(trained.model.predictions, split.times.as_of)
    time = table.spine["event_time"]
    gap = table.rows((time >= split.times.train_until) & (time < split.times.as_of))
    gap = gap.with_columns(pl.Series("y_prob", predict(trained.model, gap, whole=table.frame)[1]))
    shared = [name for name in folds.columns if name in gap.columns]
    both = pl.concat([folds.select(shared), gap.select(shared)], how="vertical_relaxed")
    return decided_events(both.sort("event_time", "event_id"), trained.policy, trained.project)


def _latest_folds(predictions: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """Return what the latest folds predicted, so many that with the days after them there are enough days."""
    import polars as pl

    found = predictions.filter(pl.col("fold") > 0)
    start = as_of - timedelta(days=LEAST_DAYS)
    late = found.group_by("fold").agg(pl.col("event_time").max().alias("last")).filter(pl.col("last") >= start)
    numbers = late["fold"] if late.height else found["fold"].unique().sort().tail(1)
    return found.filter(pl.col("fold").is_in(numbers.implode()))


def decided_events(scored: pl.DataFrame, policy: Policy, project: Project) -> pl.DataFrame:
    """Return scored events with ``action``, ``alert`` and ``expected_cost``, as a policy decides them.

    Parameters
    ----------
    scored
        All events of a period in the order of time, with ``y_prob`` and what costs, rules and segments read.
    """
    from fraudctl.evaluate import Replay

    found = Replay.of(scored.drop("y_prob"), scored["y_prob"].to_numpy(), policy).decided(project)
    return with_expected_cost(found, policy)


def with_expected_cost(decided: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Add ``alert`` and ``expected_cost``, the expected money of the action taken by the costs of the policy."""
    import numpy as np
    import polars as pl

    from fraudctl.costs import expected_cost

    matrix = policy.matrix
    codes = decided["action"].replace_strict(
        {name: matrix.code(name) for name in matrix.actions}, return_dtype=pl.Int64
    )
    taken = codes.to_numpy()
    money = expected_cost(matrix.per_event(decided), decided["y_prob"].to_numpy())
    cost = money[np.arange(decided.height), taken]
    return decided.with_columns(pl.Series("alert", taken != matrix.pass_code), pl.Series("expected_cost", cost))


def reference_with(bundle: Bundle, policy: Policy, project: Project) -> JsonObject:
    """Return the reference of a bundle with the scores and actions of another policy, on what its folds predicted."""
    from fraudctl.monitor.counts import DayCounts
    from fraudctl.monitor.reference import FrozenReference, count_decided, score_cells

    if not bundle.reference:
        return {}
    old = FrozenReference.from_dict(bundle.reference)
    folds = _latest_folds(bundle.predictions(), bundle.knows_until)
    decided = decided_events(folds.sort("event_time", "event_id"), policy, project)
    cells = score_cells(decided["y_prob"].to_numpy(), borders(policy), policy.actions)
    kept = tuple(item for item in old.watched if item.kind not in ("score", "action"))
    found = count_decided(decided, cells, timezone=old.timezone, days=old.counts.days)
    shared = {name: rows for name, rows in old.counts.cells.items() if name not in ("score", "action")}
    counts = DayCounts(old.counts.days, old.counts.events, {**shared, **found.cells}, found.sums)
    return replace(old, watched=(*kept, *cells), counts=counts).to_dict()
