"""Whether doubles are whole multiples of a hundredth, or of one, in one pass; compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fraudctl.features.batch.jit import jit

_STEP = 1024
"""Values between two looks at whether one of them was none."""
_END = 4294967296.0
"""Where 32 bits end."""


@jit
def multiples(
    values: npt.NDArray[np.float64], bits: npt.NDArray[np.uint64], scale: float, out: npt.NDArray[np.uint32]
) -> int:
    """Write values times a scale as whole numbers; return the largest, -1 unless each comes back to the last bit.

    Parameters
    ----------
    bits
        The same values as integers: a negative zero is told from zero.
    """
    largest = np.uint32(0)
    for begin in range(0, len(values), _STEP):
        odd = False
        for i in range(begin, min(begin + _STEP, len(values))):
            found = np.rint(values[i] * scale)
            inside = 0.0 <= found < _END
            whole = np.uint32(found) if inside else np.uint32(0)
            same = inside and whole / scale == values[i] and (whole != 0 or bits[i] == 0)
            odd |= not same
            largest = max(largest, whole)
            out[i] = whole
        if odd:
            return -1
    return int(largest)
