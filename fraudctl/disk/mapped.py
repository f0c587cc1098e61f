"""Files as memory of this process: a page is read when it is touched, and copied when it is written; the file stays.

An array that `mapped` gives can be made longer without moving it (`lengthened`): address space for it is reserved.
Where a system cannot map a file so, there is none, and the caller reads it.

The pages are those that the system holds of the file. Whoever writes such a file has to replace it by another under its
name: one that is cut while it is mapped ends the process (SIGBUS).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from typing import Any, Final

import numpy as np

from fraudctl.arrays import IntArray

PAGE: Final = 1 << 14
"""Where in a file a part that is mapped begins: at a multiple of this, which pages of most systems divide."""
_ROOM: Final = 1 << 35
"""Bytes of address space that are reserved for an array; what is not used costs nothing."""
_NOTHING, _FIXED = 0, 0x10
"""PROT_NONE and MAP_FIXED, which are the same on Linux and macOS."""
_READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_ANONYMOUS: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_FAILED: Final = ctypes.c_void_p(-1).value


class _Memory:
    """Reserved addresses, the first of which are pages of a file."""

    def __init__(self, handle: int, at: int, n_bytes: int) -> None:
        self._system = ctypes.CDLL(None, use_errno=True)
        self._system.mmap.restype = ctypes.c_void_p
        self._system.mmap.argtypes = (
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64,
        )  # fmt: skip
        self._system.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        never_kept = getattr(mmap, "MAP_NORESERVE", 0)
        self._begin = self._map(None, _ROOM, _NOTHING, _ANONYMOUS | never_kept, -1, 0)
        weakref.finalize(self, self._system.munmap, self._begin, _ROOM).atexit = False  # others may still read then
        self._map(self._begin, n_bytes, _READ_WRITE, mmap.MAP_PRIVATE | _FIXED, handle, at)
        self._n_bytes = n_bytes

    def _map(self, *wanted: Any) -> int:
        found = self._system.mmap(*wanted)
        if found is None or found == _FAILED:
            raise OSError(ctypes.get_errno(), "a file cannot be mapped")
        return int(found)

    def words(self, n_bytes: int) -> IntArray:
        """Return the first bytes as words; the array keeps the memory."""
        self._shown = n_bytes
        return np.asarray(self)

    @property
    def __array_interface__(self) -> dict[str, object]:
        return {"version": 3, "typestr": "<i8", "shape": (self._shown // 8,), "data": (self._begin, False)}

    def lengthen(self, n_bytes: int) -> IntArray | None:
        """Return the memory with zeros after what there was; None where there is no room."""
        if n_bytes > _ROOM:
            return None
        page = mmap.PAGESIZE
        whole, wanted = -(-self._n_bytes // page) * page, -(-n_bytes // page) * page
        ctypes.memset(self._begin + self._n_bytes, 0, whole - self._n_bytes)
        if wanted > whole:
            self._map(self._begin + whole, wanted - whole, _READ_WRITE, _ANONYMOUS | _FIXED, -1, 0)
        self._n_bytes = wanted
        return self.words(n_bytes)


def mapped(handle: int, at: int, n_bytes: int) -> IntArray | None:
    """Return words of a file that nobody changes while they are in use, as an array that can be written.

    Parameters
    ----------
    handle
        Descriptor of the file, which may be closed afterwards.
    at, n_bytes
        Where the words lie: from a multiple of `PAGE` on, to no further than the file's end.

    Returns
    -------
    None where this system or file system cannot do so.
    """
    if PAGE % mmap.PAGESIZE or os.fstat(handle).st_size < at + n_bytes:
        return None
    try:
        return _Memory(handle, at, n_bytes).words(n_bytes)
    except (OSError, AttributeError):
        return None


def lengthened(array: IntArray, n_words: int) -> IntArray | None:
    """Return a mapped array made longer in its place, with zeros at its end; None for any other array.

    The arrays that were given for the memory before see what is written to the new one.
    """
    memory = array.base
    return memory.lengthen(8 * n_words) if isinstance(memory, _Memory) else None
