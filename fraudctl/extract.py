"""Extracts: all frauds and a share of the other events, each with the number of events that it stands for.

Features of an extract look back on all events; which rows are kept changes no bit of them. An event is kept by a hash
of the seed and its id, whatever other events there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudctl.data.labels import CHANGES
from fraudctl.data.own import outside, shown_beside
from fraudctl.split import RandomSplit
from fraudctl.text.figures import exact
from fraudctl.weights import WEIGHT, event_weights

if TYPE_CHECKING:
    from fraudctl.project import Project


@dataclass(frozen=True)
class Extract:
    """Which events are kept of a table.

    Attributes
    ----------
    share
        Of the events that are not known to be fraud, in (0, 1].
    seed
        Of the hash.
    """

    share: float
    seed: int

    @property
    def text(self) -> str:
        """What is kept, in words."""
        return f"all frauds and {exact(self.share)} of the other events"

    def kept(self, frame: pl.DataFrame) -> NDArray[np.bool_]:
        """Return which rows are kept, shape ``(n_events,)``: those with label 1, and a share of all others.

        Parameters
        ----------
        frame
            With ``event_id``, and ``label`` as it is known at the end of the data; null is no known fraud.
        """
        found = (frame["label"] == 1).fill_null(value=False).to_numpy().copy()
        others = np.flatnonzero(~found)
        found[others] = RandomSplit(self.seed, self.share).test_rows(frame["event_id"].gather(others))
        return found

    def weighted(self, frame: pl.DataFrame, project: Project) -> pl.DataFrame:
        """Add ``event_weight``: how many events of all each one that was kept stands for.

        It is 1 for a fraud and ``1 / share`` for another event, times what the project itself says of weight and
        exposure.

        Raises
        ------
        DataError
            As `fraudctl.weights.event_weights` does.
        """
        known = event_weights(frame, project)
        times = np.where((frame["label"] == 1).fill_null(value=False).to_numpy(), 1.0, 1 / self.share)
        return frame.with_columns(pl.Series(WEIGHT, times if known is None else times * known))


def as_written(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a feature table with the columns and names that files have.

    Where an extract adds a column that the data have too, that of the data keeps its longer name.
    """
    own = [WEIGHT] if WEIGHT in frame.columns else []
    found = frame.drop(CHANGES, strict=False)
    return found.rename({name: shown_beside(name, own) if outside(name) != name else name for name in found.columns})
