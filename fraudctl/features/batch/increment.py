"""What of the past has to be kept so that later events get the features of a full build, bit for bit.

The kept past is a set of earlier events: those that `lookback` says a later event can see. What is dropped can change
no later feature; of its outcomes only their number is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from fraudctl.data.labels import last_label
from fraudctl.features.batch.engine import Dropped, Engine
from fraudctl.features.batch.loading import default_workers
from fraudctl.features.batch.schedule import run
from fraudctl.features.meaning.definition import FeatureSet
from fraudctl.features.meaning.lookback import lookback_of


@dataclass(frozen=True)
class Past:
    """Earlier events that still matter, with the features that windows look back on; and what was dropped."""

    events: pl.DataFrame
    dropped: Dropped


def remembered(features: FeatureSet) -> list[str]:
    """Return the features that others look back on: the past has to hold them."""
    features_of = {step.name for step in features.steps if not step.is_column}
    looking_back = [step.spec for step in features.steps if not step.spec.of_one_row]
    return list(dict.fromkeys(need for spec in looking_back for need in spec.needs if need in features_of))


def kept(past: Past, features: FeatureSet, *, before_us: int) -> Past:
    """Drop what no event at ``before_us`` (µs UTC) or later can look back on.

    Parameters
    ----------
    past
        Events in the order of time; those at ``before_us`` or later are left out.
    """
    events = past.events.filter(pl.col("event_time").dt.epoch("us") < before_us)
    seen = lookback_of(features).matters(before_us=before_us, columns=events.columns)
    flags = events.select(seen.alias("kept")).to_series()
    gone = events.filter(~flags).select(last_label(events.columns).alias("label"))["label"].drop_nulls()
    dropped = Dropped(past.dropped.known + len(gone), past.dropped.frauds + int((gone == 1).sum()))
    return Past(events.filter(flags), dropped)


def engine_after(
    past: Past, events: pl.DataFrame, features: FeatureSet, *, timezone: str, sources: Mapping[str, pl.DataFrame]
) -> Engine:
    """Return the engine for events that all come later than the past; columns are prepared, loops not loaded yet."""
    frame = pl.concat([past.events, events], how="diagonal_relaxed")
    engine = Engine(
        frame, features, timezone, sources, default_workers(), asking=(past.events.height, frame.height),
        dropped=past.dropped,
    )  # fmt: skip
    engine.look()
    return engine


def extend(engine: Engine, events: pl.DataFrame) -> pl.DataFrame:
    """Compute the features of the events that an engine was made for.

    Returns
    -------
    ``events`` with their features, as `batch.build` gives them, and then the hidden ones that `remembered` names.
    """
    run(engine)
    names = list(dict.fromkeys([*engine.features.names, *remembered(engine.features)]))
    done = pl.DataFrame([engine.results[name] for name in names])
    return pl.concat([events.drop(names, strict=False), done], how="horizontal")
