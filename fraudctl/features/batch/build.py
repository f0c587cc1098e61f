"""The front door of the batch engine: all features of all events, in memory, on compiled loops."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from fraudctl.data.tables import Events
from fraudctl.features.batch.engine import Engine
from fraudctl.features.batch.loading import COMPILING, compiled_before, default_workers
from fraudctl.features.batch.schedule import Progress, run
from fraudctl.features.meaning.definition import FeatureSet


def build(
    events: Events,
    features: FeatureSet,
    *,
    timezone: str,
    sources: Mapping[str, pl.DataFrame] | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> pl.DataFrame:
    """Compute all features of all events.

    Parameters
    ----------
    events
        Sorted by event_time, then event_id, as `tables.load_events` gives them.
    features
        From `definition.define` of the same project.
    timezone
        The project's zone: row-level columns and hours see event_time in it.
    sources
        The tables of `FeatureSet.sources`, as `sources.normalise_source` gives them.
    progress
        Called with the name of a feature that is done, features done, and features in all; with `COMPILING` first
        where the loops have not been compiled on this machine yet.
    threads
        The most threads; default: one for each processor, at most 8. The result does not depend on it.

    Returns
    -------
    ``events.frame`` with one column per feature: Int64, Float64 (finite or null), String or Boolean. A raw feature
    takes the place of the column that it is. Columns come in chunks of 16,384 rows or more (see `blocks`).
    """
    workers = default_workers(threads)
    engine = Engine(events.frame, features, timezone, sources or {}, workers)
    if progress is not None and not compiled_before():
        progress(COMPILING, 0, len(features.steps))
    run(engine, progress=progress)
    names = set(features.names)
    out = [series for series in events.frame.get_columns() if series.name not in names]
    return pl.DataFrame([*out, *(engine.results[name] for name in features.names)])
