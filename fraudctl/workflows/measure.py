"""``init --measure``: which further features pay in later periods, by a quick fit with and without each family.

Features are built once, with all of them. Models are fitted on the training periods of the folds that the proposal
has, and judged on the periods after. Large data are thinned by the ids of the payer, each with all of its events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fraudctl.progress import Progress
from fraudctl.project import Project
from fraudctl.text.figures import number
from fraudctl.workflows.definitions import load_definitions

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.arrays import BoolArray, FloatArray
    from fraudctl.data.tables import Events
    from fraudctl.propose import Proposal
    from fraudctl.propose.extras import Extra
    from fraudctl.split import Split
    from fraudctl.train.summary import Gain
    from fraudctl.workflows.definitions import Definitions

MOST_EVENTS: Final = 150_000
MOST_LEGITIMATE: Final = 40_000
"""Legitimate events that a model is fitted on; all frauds are."""
TREES: Final = 150
FEW_FRAUDS: Final = 30
"""With fewer frauds in later periods nothing is measured."""


def measured(
    proposal: Proposal, parsed: Callable[[Proposal], Project], raw: pl.LazyFrame, progress: Progress
) -> Proposal:
    """Return the proposal with its further features held against later periods.

    Parameters
    ----------
    parsed
        Turns a proposal into its project.
    raw
        The events in their normal form.
    """
    from fraudctl.data.labels import as_known
    from fraudctl.features.batch.build import build
    from fraudctl.split import make_split

    project = parsed(replace(proposal, extras=tuple(replace(item, active=True) for item in proposal.extras)))
    found = load_definitions(project)
    progress.stage(
        f"Building {len(found.features.names)} features to hold {len(proposal.extras)} kinds against later periods"
    )
    events, one_in = _events(found, raw, proposal.plan.payer)
    table = build(events, found.features, timezone=project.data.timezone, sources=found.load_sources())
    split = make_split(table, project, known_until=events.known_until)
    table = as_known(table, split.as_of)
    extras = _judged(proposal.extras, table, split, found, progress)
    thinned = "" if one_in == 1 else f", on one {proposal.plan.payer} in {one_in}"
    return replace(proposal, extras=tuple(replace(item, reason=item.reason + thinned) for item in extras))


def _events(found: Definitions, raw: pl.LazyFrame, payer: str | None) -> tuple[Events, int]:
    """Load the events, of large data those of some ids of the payer; give them, and one in how many ids they are."""
    from fraudctl.data import tables

    project = found.project
    raw = tables.own_form(project).numbered(raw)
    events = tables.normalise(
        raw, project=project, files=found.files, columns=found.carried, entries=found.load_entries()
    )
    one_in = -(-events.frame.height // MOST_EVENTS)
    if one_in == 1 or payer is None:
        return events, 1
    kept = events.frame[payer].hash(seed=3) % one_in == 0
    return replace(events, frame=events.frame.filter(kept)), one_in


def _judged(
    extras: Sequence[Extra], table: pl.DataFrame, split: Split, found: Definitions, progress: Progress
) -> list[Extra]:
    """Return the extras with what the folds say of each by itself."""
    import numpy as np

    from fraudctl.train.objective import entity_groups, judge_rows, make_objective, paired_gain

    objective = make_objective(found.project)
    group = entity_groups(table, cluster=next(iter(found.project.entities), None))
    features = found.features.features
    base = [one.name for one in features if not any(item.owns(one.family, one.entity) for item in extras)]
    judged = []
    for fold in split.folds:
        rows = table.filter(fold.valid)
        judged.append(judge_rows(rows, objective=objective, weight=np.ones(rows.height), group=group[fold.valid]))
    n_frauds = sum(int(rows.y_true.sum()) for rows in judged)
    if n_frauds < FEW_FRAUDS:
        told = f"not measured: later periods have {n_frauds} frauds, too few to tell"
        return [replace(item, reason=told) for item in extras]
    progress.stage("Fitting with and without")
    total = len(split.folds) * (1 + len(extras))
    without, out = _scores(table, base, split, found), []
    for i, item in enumerate(extras, start=1):
        progress.update(i * len(split.folds), total, item.family)
        names = [one.name for one in features if one.name in base or item.owns(one.family, one.entity)]
        gain = paired_gain(objective, judged, _scores(table, names, split, found), without)
        out.append(_said(item, gain, n_frauds=n_frauds, n_folds=len(split.folds)))
    return out


def _said(item: Extra, gain: Gain | None, *, n_frauds: int, n_folds: int) -> Extra:
    """Return an extra with what was measured: active where the interval of the gain lies above zero."""
    if gain is None:
        return replace(item, reason="not measured: the figure is not defined in later periods")
    where = (
        f"{n_folds} later periods with {n_frauds:,} frauds"
        if n_folds > 1
        else f"a later period with {n_frauds:,} frauds"
    )
    figures = f"average precision {_signed(gain.value)} ({_signed(gain.low)} to {_signed(gain.high)}, 90 %) in {where}"
    active = gain.low > 0
    return replace(item, active=active, reason=figures if active else f"{figures}: not surely more")


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "−") + number(abs(value), 2)


def _scores(table: pl.DataFrame, names: Sequence[str], split: Split, found: Definitions) -> list[FloatArray]:
    """Fit on the training period of each fold and return the scores of the period after."""
    from fraudctl.train import fit_model, learn_columns, make_pool, params_of, quantize
    from fraudctl.train.model import raw_score

    settings, out = found.project.train, []
    kinds = [name for name in names if name in found.features.categorical]
    for fold in split.folds:
        rows = _thinned(fold.train, table)
        columns = learn_columns(table, names=names, categorical=kinds, max_categories=50, rows=rows)
        pool = make_pool(columns, table, rows=rows, label=table["label"].filter(rows).to_numpy())
        model = fit_model(quantize(pool), params_of(settings.params), settings=settings, iterations=TREES, seed=0)
        out.append(raw_score(model, make_pool(columns, table, rows=fold.valid)))
    return out


def _thinned(rows: BoolArray, table: pl.DataFrame) -> BoolArray:
    """Keep all frauds of a training period, and at most `MOST_LEGITIMATE` of its legitimate events."""
    import numpy as np

    label = table["label"].to_numpy()
    legit = np.random.default_rng(0).permutation(np.flatnonzero(rows & (label == 0)))[:MOST_LEGITIMATE]
    kept = rows & (label == 1)
    kept[legit] = True
    return np.asarray(kept, dtype=np.bool_)
