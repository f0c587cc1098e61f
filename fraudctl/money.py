"""How large money and weights may be: the limits that every amount, cost and weight is held to where it enters.

Money is summed, multiplied by weights, and its sums are squared. Within these limits every such number is finite, and
an amount is known to better than one unit of the currency. Features are no money: their columns have no limit.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fraudctl.errors import DataError
from fraudctl.text.figures import exact

LARGEST: Final = 1e15
"""Largest size of an amount or a cost. Neighbouring double precision numbers are an eighth of a unit apart here."""
LARGEST_RATE: Final = 1e6
"""Largest size of the rate of a cost."""
LARGEST_WEIGHT: Final = 1e15
"""Largest weight of an event; ``1 / LARGEST_WEIGHT`` is the smallest."""
NEGLIGIBLE: Final = 1e-100
"""Share of the largest money at stake below which a base is nothing: ratios to it would not be finite when squared."""

Money = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
"""Money in the project file."""
Rate = Annotated[float, Field(ge=-LARGEST_RATE, le=LARGEST_RATE, allow_inf_nan=False)]
"""Money per unit of the amount in the project file."""


def refuse_beyond(values: npt.NDArray[Any], *, where: str) -> None:
    """Raise a DataError where amounts or costs are larger than `LARGEST`; NaN and infinities are not looked at.

    Parameters
    ----------
    values
        Money, shape ``(n_events,)``.
    where
        What the message names first, such as ``column 'eur' (amount)``.
    """
    with np.errstate(invalid="ignore"):
        if bool((np.abs(values) <= LARGEST).all()):
            return
        beyond = int(((np.abs(values) > LARGEST) & np.isfinite(values)).sum())
    if beyond:
        msg = f"{where}: {beyond} of {len(values)} values are larger than {exact(LARGEST)}; expected amounts of money"
        hint = "sums of such numbers lose whole units of money; correct these rows, make them null, or leave them out"
        raise DataError(msg, hint=hint)
