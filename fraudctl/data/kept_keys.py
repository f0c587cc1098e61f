"""Whether ids of many pieces are distinct; what was compared in earlier runs is not compared again.

Owns the sorted keys of pieces as kept tables: one of most pieces, which is written anew where pieces that it does not
hold have become many. Two keys that are equal may be one id: whoever asks looks at the ids themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import polars as pl

from fraudctl.arrays import AnyArray
from fraudctl.data.pieces import KeptPieces

_MORE: Final = 16
"""The table is written anew where the keys that it lacks are more than one for so many that it has."""


def distinct_keys(pieces: Mapping[str, Callable[[], AnyArray]], kept: KeptPieces, name: str) -> bool:
    """Return whether no key stands in the pieces twice.

    Parameters
    ----------
    pieces
        Name -> keys, 64-bit numbers of one type, for each piece. A name that begins with ``-`` is for this run alone;
        under any other, a piece always has the same keys.
    name
        Under which sorted keys are kept.
    """
    found = kept.read(name)
    before = [] if found is None else list(found[1]["pieces"])
    whole: AnyArray = np.zeros(0, np.uint64)
    if found is not None and set(before) <= set(pieces):
        whole = found[0]["key"].to_numpy()
    else:
        before = []
    inside = set(before)
    more = {piece: keys for piece, keys in pieces.items() if piece not in inside}
    if not more:
        return True
    fresh = np.concatenate([keys() for keys in more.values()])
    fresh.sort()
    if _twice(fresh) or (len(whole) and _among(fresh, whole)):
        return False
    if len(fresh) * _MORE >= len(whole) and not any(piece.startswith("-") for piece in more):
        merged = np.insert(whole, np.searchsorted(whole, fresh), fresh) if len(whole) else fresh
        kept.write(name, pl.DataFrame({"key": merged}), {"pieces": [*before, *more]})
    return True


def _twice(ordered: AnyArray) -> bool:
    """Return whether a key stands in a sorted array twice; looked at in blocks, so that no second array is made."""
    step = 1 << 20
    blocks = (ordered[start : start + step + 1] for start in range(0, len(ordered), step))
    return any(bool((block[1:] == block[:-1]).any()) for block in blocks)


def _among(fresh: AnyArray, whole: AnyArray) -> bool:
    at = np.minimum(np.searchsorted(whole, fresh), len(whole) - 1)
    return bool((whole[at] == fresh).any())
