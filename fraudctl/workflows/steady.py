"""What a process needs that answers in milliseconds for as long as it runs: short pauses."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Final

_OFTEN: Final = 10_000
"""New objects after which reference cycles are looked for among them: some 3 ms, where ten times as many take 30."""


@contextlib.contextmanager
def short_pauses() -> Iterator[None]:
    """Look for reference cycles often, and among new objects alone, while the block runs.

    What is there when the block begins is not looked through until its end: a model and its libraries stay, and looking
    through all of them would be one long pause.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OFTEN, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
