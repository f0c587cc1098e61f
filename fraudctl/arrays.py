"""Names of the array types that modules pass to each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
CodeArray = npt.NDArray[np.int8]
"""Positions of actions."""
AnyArray = npt.NDArray[Any]
SingleArray = npt.NDArray[np.float32]
WordArray = npt.NDArray[np.uint64]
ObjectArray = npt.NDArray[np.object_]


def as_read(array: AnyArray) -> AnyArray:
    """Return a view of an array that cannot be written, for a compiled loop that only reads it.

    A loop is compiled for arrays that can be written and again for those that cannot, such as columns of Polars, and
    for each mixture of several: with views, it is compiled once.
    """
    view = array.view()
    view.flags.writeable = False
    return view
