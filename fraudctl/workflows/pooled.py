"""Pooled periods: the same question asked of several test periods, each with models refitted at its start.

One period often cannot tell two models apart. So the recipes of model and champion (project file, features, searched
settings, policy) are refitted on what was known earlier, and judged on the period that followed. The champion's refit
is as much older than the model's as the champion itself is, so that every period asks what the last one asks. Refits
are kept in the project's cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.documents.results import as_object
from fraudctl.errors import DataError, UsageError
from fraudctl.project import Project
from fraudctl.workflows.decide import DecidedPeriod, Decisions, Subject
from fraudctl.workflows.features import FeatureTable
from fraudctl.workflows.lineage import own_project, table_as_of
from fraudctl.workflows.train import decision_columns
from fraudctl.workflows.versions import open_bundle

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.bundle import Bundle
    from fraudctl.evaluate import Period
    from fraudctl.evaluate.result import PooledPeriod
    from fraudctl.progress import Progress
    from fraudctl.split import Split
    from fraudctl.train import TrainedModel


_KEPT_FORM = 3
"""Form of what is kept of a refit; another form is computed again."""


@dataclass(frozen=True)
class Pooled:
    """Several periods as one.

    Attributes
    ----------
    decided
        The model's decisions on all of them; the subject is the model itself.
    rival
        The champion's on the same events, or None.
    periods
        What was judged where, from the earliest.
    parts
        The model's decisions on each period, each with the subject that was fitted for it.
    """

    decided: DecidedPeriod
    rival: DecidedPeriod | None
    periods: tuple[PooledPeriod, ...]
    parts: list[DecidedPeriod]


def pool_periods(decisions: Decisions, decided: DecidedPeriod, champion: str | None, *, n_periods: int) -> Pooled:
    """Refit both recipes for the periods before the one that was decided, and put all of them together.

    Parameters
    ----------
    decisions
        The project's table.
    decided
        The model's own test period, the last of those that are pooled.
    champion
        Reference of the champion, or None.
    n_periods
        How many periods, the last one included.

    Raises
    ------
    UsageError
        Scores from a file or data without a time: nothing there can be refitted.
    DataError
        There is too little history for this number of periods.
    """
    bundle = decided.subject.bundle
    if bundle is None or decided.subject.name != bundle.version or decided.subject.by_chance is not None:
        msg = "periods can only be pooled for a bundle on data with a time: models are refitted for the earlier ones"
        raise UsageError(msg, hint="leave --pooled and [gate] pooled_folds out")
    rival = None if champion is None else decisions.of_rival(champion, decided)
    old = None if champion is None else open_bundle(decisions.present, champion)
    length = decided.span.until - decided.span.from_time
    ours, theirs = [decided], [] if rival is None else [rival]
    for back in range(1, n_periods):
        period = _earlier(decided.span, back * length)
        decisions.progress.stage(f"Refitting for {period.from_time.date()} to {period.until.date()}")
        ours.append(_replayed(decisions, bundle, period, bundle.knows_until - back * length, None))
        if old is not None:
            as_of = old.knows_until - back * length
            theirs.append(_replayed(decisions, old, period, as_of, ours[-1].subject.times.train_from))
    project = decisions.project
    joined = _together(ours, project)
    joined_rival = _together(theirs, project) if theirs else None
    facts = list(_facts(project, ours, [joined] if joined_rival is None else [joined, joined_rival]))
    return Pooled(joined, joined_rival, tuple(facts[::-1]), ours)


def _earlier(period: Period, by: timedelta) -> Period:
    return replace(period, from_time=period.from_time - by, until=period.until - by)


def _together(parts: list[DecidedPeriod], project: Project) -> DecidedPeriod:
    """Put periods together and decide them again in time order, so that slots run on where periods meet."""
    import polars as pl

    from fraudctl.evaluate import chained

    last = parts[0]
    replay = chained([part.replay for part in parts])
    decided = replay.decided(project)
    counted = {
        name: sum(getattr(part.excluded, name) for part in parts) for name in ("immature", "unlabelled", "block_known")
    }
    young = decided["event_id"].is_in(pl.concat([part.young["event_id"] for part in parts]).implode())
    return replace(
        last,
        period=replace(last.span, from_time=min(part.span.from_time for part in parts)),
        excluded=replace(last.excluded, **counted),
        scored=decided.filter(replay.judged),
        young=decided.filter(young),
        replay=replay,
    )


def _facts(project: Project, ours: list[DecidedPeriod], joined: list[DecidedPeriod]) -> Iterator[PooledPeriod]:
    """Yield what each period says by itself, the last first, from the decisions that were pooled."""
    import polars as pl

    from fraudctl.evaluate import prepare
    from fraudctl.evaluate.estimates import ratio_of
    from fraudctl.evaluate.result import PooledPeriod

    for place, part in enumerate(ours):
        inside = pl.col("event_time").is_between(part.span.from_time, part.span.until, closed="left")
        judged = [prepare(item.scored.filter(inside), project) for item in joined]
        found = [ratio_of("savings", item) for item in judged]
        saved = [None if ratio is None or ratio.reason else ratio.value for ratio in found]
        yield PooledPeriod(
            part.span,
            as_of=part.subject.times.as_of,
            refitted=place > 0,
            rows=part.scored.height,
            frauds=int(part.scored["label"].sum()),
            savings=saved[0],
            savings_of_champion=saved[1] if len(saved) > 1 else None,
            savings_base=judged[0].base.chosen,
        )


def _replayed(
    decisions: Decisions, bundle: Bundle, period: Period, as_of: datetime, block_from: datetime | None
) -> DecidedPeriod:
    """Decide a period with a recipe refitted as of an earlier time; refits are kept and reused."""
    from fraudctl.policy import Policy
    from fraudctl.split import Periods

    own = found_recipe(decisions.present, bundle)
    table = table_as_of(bundle, decisions.present, progress=decisions.progress)
    split = _split(own, table, as_of)
    start = split.times.train_from if block_from is None else block_from
    place = decisions.project.cache_dir / "pooled" / f"{_key(bundle, table, as_of, period)}.parquet"
    scores, document = _kept(place, decisions.progress) or _refit(bundle, own, table, split, period, place, decisions)
    policy = Policy.from_dict(document)
    name = f"{bundle.version} as of {as_of.date()}"
    subject = Subject(name, Periods(as_of, period.until, start, split.times.train_until), policy, None)
    return decisions.of_known(subject, period, scores)


def found_recipe(project: Project, bundle: Bundle) -> Project:
    """Return the project that a bundle was trained with, on the present data, with the settings its search found."""
    theirs = own_project(bundle, project)
    found = theirs.train.params.model_copy(update=dict(bundle.facts["training"]["params"]))
    train = theirs.train.model_copy(update={"params": found, "trials": 0})
    return theirs.model_copy(update={"train": train})


def fit_again(bundle: Bundle, own: Project, table: FeatureTable, split: Split, *, progress: Progress) -> TrainedModel:
    """Fit the recipe of a bundle on another split: CatBoost with the settings its search found, or its challenger.

    Parameters
    ----------
    own
        From `found_recipe`.

    Raises
    ------
    BundleError
        The bundle is of a challenger whose program is not there any more.
    """
    from fraudctl.train import fit_challenger, fit_project

    keep = decision_columns(own, table)
    if bundle.challenger is None:
        return fit_project(table.frame, table.features, own, split, trials=0, keep=keep, progress=progress)
    program = bundle.challenger.program_now()
    return fit_challenger(table.frame, table.features, own, split, program, keep=keep, progress=progress)


def _split(own: Project, table: FeatureTable, as_of: datetime) -> Split:
    from fraudctl.split import make_split

    try:
        return make_split(table.frame, own, known_until=table.known_until, as_of=as_of)
    except DataError as error:
        msg = f"too little history to refit as of {as_of.date()}: {error.message}"
        raise DataError(msg, hint="pool fewer periods, or give the project more history") from error


def _key(bundle: Bundle, table: FeatureTable, as_of: datetime, period: Period) -> str:
    moments = [as_of.isoformat(), period.from_time.isoformat(), period.until.isoformat()]
    told = [_KEPT_FORM, bundle.version, table.key, *moments]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _kept(place: Path, progress: Progress) -> tuple[pl.DataFrame, Mapping[str, Any]] | None:
    """Return scores and policy of a fit that was made before, if its file is what was written."""
    from fraudctl.data import tables
    from fraudctl.disk.kept import DamagedError, verified

    try:
        policy = verified(place)
        return None if policy is None else (tables.read_parquet(place), policy)
    except DamagedError as error:
        progress.warn(f"{error}: the model of that period is fitted again")
        return None


def _refit(
    bundle: Bundle, own: Project, table: FeatureTable, split: Split, period: Period, place: Path, decisions: Decisions
) -> tuple[pl.DataFrame, Mapping[str, Any]]:
    """Fit, calibrate and choose the policy; score every event of the period and of the day or week it begins in."""
    import polars as pl

    from fraudctl.data import outputs
    from fraudctl.disk.kept import keep
    from fraudctl.evaluate import lead_from
    from fraudctl.policy import choose_policy
    from fraudctl.train import predict

    trained = fit_again(bundle, own, table, split, progress=decisions.progress)
    y_prob = trained.predictions["y_prob"].to_numpy()
    policy = choose_policy(own, trained.predictions, y_prob).policy
    start = lead_from(period.from_time, policy, decisions.project)
    events = table.frame.filter(pl.col("event_time").is_between(start, period.until, closed="left"))
    scores = events.select(
        "event_id", y_prob=pl.Series(predict(trained, events, whole=table.frame)[1], dtype=pl.Float64)
    )
    known = keep(place, write=lambda path: outputs.write_parquet(scores, path), facts=lambda: as_object(policy))
    return scores, known
