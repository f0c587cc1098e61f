"""Events with known outcomes: what every count, rate, sum and interval over them needs.

Owns the arrays that evaluation, the choice of a policy and its constraints share. Each of these adds what it alone
needs: `EvaluatedEvents` (`fraudctl.evaluate.judged`), `Ground` and `AlertOutcomes` (`fraudctl.policy`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraudctl.arrays import FloatArray
from fraudctl.uncertainty import Clusters


@dataclass(frozen=True)
class KnownOutcomes:
    """Events whose outcome is known, arrays of shape ``(n_events,)``.

    Attributes
    ----------
    y_true
        1 fraud, 0 legitimate; no nulls.
    weight
        How many events each stands for.
    amount
        Amount, NaN where null; None where the project declares none.
    clusters
        Which events belong together, for intervals.
    """

    y_true: npt.NDArray[np.int8]
    weight: FloatArray
    amount: FloatArray | None
    clusters: Clusters

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.y_true)

    @property
    def n_frauds(self) -> int:
        """Number of frauds."""
        return int(self.y_true.sum())

    @property
    def fraud_value(self) -> FloatArray | None:
        """Amount of each fraud, weights included; 0 for legitimate events, null and negative amounts."""
        if self.amount is None:
            return None
        return np.asarray(
            np.maximum(np.nan_to_num(self.amount), 0.0) * self.weight * (self.y_true == 1), dtype=np.float64
        )
