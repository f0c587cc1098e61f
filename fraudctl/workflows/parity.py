"""Logged answers recomputed in batch from the raw data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fraudctl.monitor.outcome import MonitorAlarm, ParityFeature, ParityResult, parity_words
from fraudctl.text.figures import rounded_figure

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.arrays import IntArray
    from fraudctl.monitor.taken import LoggedValues
    from fraudctl.workflows.watched import Watching

TOLERANCE: Final = 1e-6
"""Probabilities that differ by less are the same."""


def check_parity(watched: Watching, values: LoggedValues | None, n: int) -> ParityResult:
    """Recompute decisions that are spread evenly over time, and compare what was logged.

    Where the values of features are known of some decisions only, half of the sample is of these.

    Parameters
    ----------
    values
        Values of features that were logged.
    n
        Decisions to recompute; all of them where there are fewer.
    """
    import numpy as np

    from fraudctl.data.labels import same_ids
    from fraudctl.train import predict

    blocks, order = watched.taken.blocks, watched.in_order
    rows = _spread(order, n)
    if values is not None and values.height < len(order):
        ids = same_ids(values.ids, blocks.id_type)
        valued = order[blocks.frame(order, ["event_id"])["event_id"].is_in(ids.implode()).to_numpy()]
        own = {*_spread(order, n - n // 2).tolist(), *_spread(valued, n // 2).tolist()}
        rows = order[np.isin(order, list(own))]
    sample = blocks.frame(rows, ["event_id", "y_prob"]).rename({"y_prob": ".logged"})
    table = watched.recomputed(sample["event_id"])
    both = table.join(sample, on="event_id", how="inner", maintain_order="left")
    whole = None if watched.bundle.challenger is None else watched.whole
    found = np.abs(predict(watched.bundle, both, whole=whole)[1] - both[".logged"].to_numpy())
    features = () if values is None else _differing(both, values.of(both["event_id"]), watched)
    wrong = found > TOLERANCE
    return ParityResult(
        sampled=both.height,
        differing=int(wrong.sum()),
        missing=sample.height - both.height,
        largest=rounded_figure(float(found.max(initial=0.0))),
        features=features,
        with_values=values is not None,
    )


def _spread(places: IntArray, n: int) -> IntArray:
    """Return n of the places, spread evenly; all of them where there are fewer."""
    import numpy as np

    if not len(places) or n == 0:
        return places[:0]
    at = np.unique(np.linspace(0, len(places) - 1, min(n, len(places))).round().astype(np.int64))
    return np.asarray(places[at], dtype=np.int64)


def _differing(both: pl.DataFrame, values: pl.DataFrame, watched: Watching) -> tuple[ParityFeature, ...]:
    """Return the features whose logged values are not the recomputed ones, the most frequent first."""
    import polars as pl

    from fraudctl.data.labels import same_ids

    names = [name for name in watched.bundle.columns.names if name in values.columns]
    values = values.with_columns(same_ids(values["event_id"], both.schema["event_id"]))
    own = values.select("event_id", *(pl.col(name).alias(f".{name}") for name in names))
    joined = both.select("event_id", *names).join(own, on="event_id", how="inner")
    found = []
    for name in names:
        a, b = (side.cast(pl.Int8) if side.dtype == pl.Boolean else side for side in (joined[name], joined[f".{name}"]))
        if a.dtype.is_numeric() and b.dtype.is_numeric():
            a, b = a.cast(pl.Float64).fill_nan(None), b.cast(pl.Float64).fill_nan(None)
            near = (a - b).abs() <= TOLERANCE * pl.Series([1.0]).append((a.abs()).fill_null(0.0)).tail(len(a)).clip(1.0)
            same = near.fill_null(value=False) | (a.is_null() & b.is_null())
        else:
            same = a.cast(pl.String).eq_missing(b.cast(pl.String))
        differing = int((~same).sum())
        if differing:
            found.append(ParityFeature(name, differing))
    return tuple(sorted(found, key=lambda item: (-item.differing, item.feature)))


def alarm_of_parity(found: ParityResult, model: str) -> MonitorAlarm:
    """Return the alarm that logged answers are not what a recomputation gives."""
    from fraudctl.monitor.alarms import alarm_id

    return MonitorAlarm(
        id=alarm_id(model, "data", "parity", ""),
        tier="data",
        kind="parity",
        what=parity_words(found),
        next="fraudctl audit",
    )
