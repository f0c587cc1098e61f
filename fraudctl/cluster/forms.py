"""How the numbers of a column are packed: in fewer bytes where all of them fit, else by LZ4 where that pays.

Counts, and money in whole cents that is held in floats, are most of what features are made of; as small whole numbers
they take a half or a quarter of the bytes, for less work than LZ4. What comes back is the same to the last bit.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fraudctl.features.batch.groups import Array

_WORTH: Final = 0.75
"""Share of its bytes that a column may have after LZ4; of more, it is kept as it is."""
_TRIED: Final = 2048
"""Values that are looked at before all: most columns that do not fit, or do not shrink, show it there."""
_SCALES: Final = (1, 100)
"""What floats are tried to be whole multiples of: ones, and hundredths."""
_LZ4: Final = "lz4"
_AS_IT_IS: Final = ""


def packed(values: Array, arrow: pa.DataType) -> tuple[str, Any]:
    """Return how values are packed, and the bytes.

    Parameters
    ----------
    values
        As unsigned integers of the same bytes, shape ``(n,)``, zero where they are null.
    arrow
        The type of the column.
    """
    if pa.types.is_integer(arrow):
        narrow = _narrow(values, int(values.max(initial=0)))
        if narrow is not None:
            return narrow.dtype.str, narrow
    if pa.types.is_float64(arrow):
        for scale in _SCALES:
            whole = _whole(values[:_TRIED], scale)
            whole = whole if whole is None or len(values) <= _TRIED else _whole(values, scale)
            if whole is not None:
                return f"{whole.dtype.str}/{scale}", whole
    return _by_lz4(values)


def unpacked(held: pa.Buffer, form: str, kind: np.dtype[Any], n: int) -> Array:
    """Return the values that `packed` packed; small integers still have fewer bytes than their kind.

    Parameters
    ----------
    kind
        Of the values, as unsigned integers.
    n
        How many there are.
    """
    if form == _LZ4:
        return np.frombuffer(memoryview(_codec().decompress(held, n * kind.itemsize, asbytes=False)), kind)
    name, _, scale = form.partition("/")
    found = np.frombuffer(memoryview(held), name or kind)
    return _floats(found, int(scale)).view(kind) if scale else found


def _narrow(values: Array, largest: int) -> Array | None:
    """Return whole numbers in half of their bytes or fewer; None where they need more."""
    kind = np.min_scalar_type(largest)
    return values.astype(kind) if 2 * kind.itemsize <= values.itemsize else None


def _whole(values: Array, scale: int) -> Array | None:
    """Return doubles times ``scale`` as whole numbers; None unless each comes back to the last bit."""
    with np.errstate(all="ignore"):
        found = np.rint(values.view(np.float64) * scale)
    largest = found.max(initial=0.0)
    if not (found.min(initial=0.0) >= 0 and largest < 1 << 32):  # not so with any NaN
        return None
    whole = _narrow(found, int(largest))
    assert whole is not None  # noqa: S101 - below 2**32
    return whole if np.array_equal(_floats(whole, scale).view(values.dtype), values) else None


def _floats(whole: Array, scale: int) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = whole.astype(np.float64)
    found /= scale
    return found


def _by_lz4(values: Array) -> tuple[str, Any]:
    if len(values) > 2 * _TRIED and not _pays(_codec().compress(values[:_TRIED], asbytes=False), values[:_TRIED]):
        return _AS_IT_IS, values
    found = _codec().compress(values, asbytes=False)
    return (_LZ4, found) if _pays(found, values) else (_AS_IT_IS, values)


def _pays(found: pa.Buffer, values: Array) -> bool:
    return found.size <= _WORTH * values.nbytes


@functools.cache
def _codec() -> pa.Codec:
    return pa.Codec("lz4_raw")
