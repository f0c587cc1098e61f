"""Memory that is no longer used, given back to the system: what a process takes is then what it holds.

The C library keeps what arrays leave, and grows what it keeps. Where it is another than GNU's, nothing is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from typing import Any, Final

_TRIM, _MMAP, _ARENAS = -1, -3, -8
"""Settings of ``mallopt``: bytes kept at the end of the heap, bytes from which on memory is mapped, heaps at most."""
_KEPT: Final = 1 << 20


@functools.cache
def _library() -> ctypes.CDLL | None:
    with contextlib.suppress(OSError):
        found = ctypes.CDLL("libc.so.6")
        if hasattr(found, "mallopt") and hasattr(found, "malloc_trim"):
            return found
    return None


def spare_memory() -> None:
    """Let the process keep little of what arrays leave, from now on."""
    library = _library()
    if library is not None:
        for setting, value in ((_ARENAS, 2), (_MMAP, _KEPT), (_TRIM, _KEPT)):
            library.mallopt(setting, value)


def give_back() -> None:
    """Give back what is kept of freed memory now."""
    import pyarrow as pa

    library = _library()
    if library is not None:
        library.malloc_trim(0)
    found: Any = pa  # its types leave this function out
    found.default_memory_pool().release_unused()
