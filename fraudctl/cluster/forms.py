"""How the numbers of a column are packed: in fewer bytes where all of them fit, else by LZ4 where that pays.

Counts, and money in whole cents that is held in floats, are most of what features are made of; as small whole numbers
they take a half or a quarter of the bytes, for less work than LZ4. What comes back is the same to the last bit.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fraudctl.arrays import as_read
from fraudctl.cluster.whole import multiples
from fraudctl.features.batch.groups import Array

_WORTH: Final = 0.75
"""Share of its bytes that a column may have after LZ4; of more, it is kept as it is."""
_TRIED: Final = 2048
"""Values that LZ4 is tried on before all: most columns that do not shrink show it there."""
_SCALES: Final = (1, 100)
"""What floats are tried to be whole multiples of: ones, and hundredths."""
_LZ4: Final = "lz4"
_AS_IT_IS: Final = ""


def pack(values: Array, arrow: pa.DataType) -> tuple[str, Any]:
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
            whole = _whole(values, scale)
            if whole is not None:
                return f"{whole.dtype.str}/{scale}", whole
    return _by_lz4(values)


def unpack(held: pa.Buffer, form: str, out: Array) -> None:
    """Write the values that `pack` packed to ``out``, as unsigned integers, shape ``(n,)``."""
    if form == _LZ4:
        out[:] = np.frombuffer(memoryview(_codec().decompress(held, out.nbytes, asbytes=False)), out.dtype)
        return
    name, _, scale = form.partition("/")
    found = np.frombuffer(memoryview(held), name or out.dtype)
    if scale:
        np.divide(found, np.float64(scale), out=out.view(np.float64))
    else:
        out[:] = found


def _narrow(values: Array, largest: int) -> Array | None:
    """Return whole numbers in half of their bytes or fewer; None where they need more."""
    kind = np.min_scalar_type(largest)
    return values.astype(kind) if 2 * kind.itemsize <= values.itemsize else None


def _whole(values: Array, scale: int) -> Array | None:
    """Return doubles times ``scale`` as whole numbers; None unless each comes back to the last bit."""
    found = np.empty(len(values), np.uint32)
    largest = multiples(as_read(values.view(np.float64)), as_read(values), float(scale), found)
    if largest < 0:
        return None
    narrow = _narrow(found, largest)
    return found if narrow is None else narrow


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
