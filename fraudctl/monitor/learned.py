"""What was learned of a reference, as a table that can be kept: the numbers of `fraudctl.monitor.engine.Watch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.monitor.engine import MEMORIES, Watch
from fraudctl.monitor.series import WEEK, Expected, Series


def watch_to_frame(watch: Watch) -> tuple[pl.DataFrame, Mapping[str, Any]]:
    """Return the numbers of each series, and those of all of them; both together are all but the series."""
    expected = watch.expected
    columns = {
        "between": expected.between, "within": expected.within, "rate": expected.rate,
        **{f"mean {day}": expected.mean[day] for day in range(WEEK)},
        **{f"usual {day}": expected.usual[day] for day in range(WEEK)},
        **{f"scale {days}": watch.scale[at] for at, days in enumerate(MEMORIES)},
    }  # fmt: skip
    return pl.DataFrame(columns), {"threshold": watch.threshold.hex(), "block": watch.block}


def watch_from_frame(series: Sequence[Series], frame: pl.DataFrame, facts: Mapping[str, Any]) -> Watch:
    """Return what `watch_to_frame` was given."""

    def rows(name: str, keys: Sequence[int]) -> FloatArray:
        return np.stack([frame[f"{name} {key}"].to_numpy() for key in keys])

    week = range(WEEK)
    expected = Expected(
        mean=rows("mean", week), between=frame["between"].to_numpy(), within=frame["within"].to_numpy(),
        rate=frame["rate"].to_numpy(), usual=rows("usual", week),
    )  # fmt: skip
    return Watch(
        tuple(series), expected, rows("scale", MEMORIES), float.fromhex(facts["threshold"]), int(facts["block"])
    )
