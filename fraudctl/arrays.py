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
