"""CatBoost's trees and a partner's as one: scores and contributions of both, with the face of `trees.Forest`.

Owns the reading of a bundle's trees and the proof that they were read rightly. One row and many give the same bits, as
with one family of trees: each family adds in one order, and their log-odds are mixed by the same two products and sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray, IntArray, SingleArray
from fraudctl.scoring.trees import Forest, read_forest
from fraudctl.train.partner import Partner

if TYPE_CHECKING:
    from fraudctl.bundle import Bundle
    from fraudctl.train.model import ModelColumns


@dataclass(frozen=True)
class Blend:
    """The trees of a bundle with a partner.

    Attributes
    ----------
    forest
        CatBoost's trees.
    partner
        LightGBM's, and their share of the log-odds.
    """

    forest: Forest
    partner: Partner

    @property
    def columns(self) -> ModelColumns:
        """The model's columns; a row is given in their order."""
        return self.forest.columns

    @property
    def codes(self) -> Mapping[str, Mapping[str, int]]:
        """Category -> known value -> its code."""
        return self.forest.codes

    @property
    def n_trees(self) -> int:
        """Number of trees of both."""
        return self.forest.n_trees + len(self.partner.trees.trees)

    @property
    def base(self) -> float:
        """The expected score: contributions and it add up to the score."""
        return self.partner.mixed(self.forest.base, self.partner.trees.base)

    def score(
        self, numbers: Sequence[float] | FloatArray, categories: Mapping[str, str | None]
    ) -> tuple[float, IntArray]:
        """Return the raw score of one row as `Forest.score` does, with the places and turns in all trees."""
        known, n = np.asarray(numbers, dtype=np.float64), self.forest.n_trees
        found = np.empty(self.n_trees, dtype=np.int64)
        own = self.forest.score_into(found[:n], known, categories)
        return self.partner.mixed(own, self.partner.trees.score_into(found[n:], known, self.partner.positions)), found

    def explain(self, places: IntArray) -> FloatArray:
        """Return the contribution of each column, in log-odds, of the row with these places and turns."""
        from fraudctl.scoring.kernels import add_partner

        n, partner = self.forest.n_trees, self.partner
        values = self.forest.explain(places[:n])
        add_partner(values, partner.trees.explain(places[n:]), partner.positions, partner.weight)
        return values

    def score_frame(self, frame: pl.DataFrame, *, threads: int | None = None) -> FloatArray:
        """Return the raw scores of many rows, shape ``(n_events,)``; bit by bit those of `score`.

        Parameters
        ----------
        frame
            The model's columns, checked by `ModelColumns.require`, in any order.
        threads
            Most threads to use; default: the processors. The result does not depend on it.
        """
        own = self.forest.score_frame(frame, threads=threads)
        return self.partner.mixed(own, self.partner.trees.score_rows(self._numbers(frame), threads=threads))

    def explain_frame(self, frame: pl.DataFrame) -> FloatArray:
        """Return the contributions of many rows, shape ``(n_events, n_columns)``; bit by bit those of `explain`."""
        own = self.forest.explain_frame(frame)
        return self.partner.explained(own, self.partner.trees.explain_rows(self._numbers(frame)))

    def _numbers(self, frame: pl.DataFrame) -> SingleArray:
        return self.partner.numbers(self.columns.matrix(frame))


def read_trees(bundle: Bundle) -> Forest | Blend:
    """Read all trees of a bundle, and prove on probe rows that they were read rightly.

    Raises
    ------
    BundleError
        As `read_forest` and `Partner.prove` do.
    UsageError
        As `read_forest` does.
    """
    forest = read_forest(bundle.model, bundle.columns)
    if bundle.partner is None:
        return forest
    bundle.partner.prove()
    return Blend(forest, bundle.partner)
