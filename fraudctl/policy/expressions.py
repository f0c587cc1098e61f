"""What the row-level expressions of a policy, of rules and of segments, may read."""

from __future__ import annotations

from typing import Final

import polars as pl

from fraudctl.weights import WEIGHT

_UNREADABLE: Final = frozenset({"label", "label_time", "y_score", "y_prob", "fold", WEIGHT})


def readable(frame: pl.DataFrame) -> list[str]:
    """Return the columns that an expression may read: nothing of the outcome, and nothing of the model."""
    return [name for name in frame.columns if name not in _UNREADABLE]
