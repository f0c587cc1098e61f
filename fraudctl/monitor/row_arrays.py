"""Arrays with a value for each row, in memory or in files: those in files take memory only while they are looked at.

Owns where such arrays lie. Whoever goes through many rows says `RowArrays.let_go` from time to time: the system then
takes the pages that were looked at for its own again, and reads them back from its cache when they are asked for.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from fraudctl.arrays import AnyArray
from fraudctl.disk.files import write_all

_ZEROS = bytes(1 << 20)


class RowArrays:
    """Makes arrays.

    Parameters
    ----------
    folder
        Where files lie, which have no name and are gone with the arrays; None for arrays in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._maps: list[mmap.mmap] = []

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> AnyArray:
        """Return an array whose values are not set yet.

        Raises
        ------
        OSError
            The disk has no room for it.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if self._folder is None or size == 0:
            return np.empty(shape, dtype)
        with TemporaryFile(dir=self._folder) as file:
            _take_room(file.fileno(), size, self._folder)
            self._maps.append(mmap.mmap(file.fileno(), size))
        return np.frombuffer(self._maps[-1], dtype).reshape(shape)

    def let_go(self) -> None:
        """Let the memory of what was looked at go; nothing for arrays in memory."""
        for item in self._maps:
            item.madvise(mmap.MADV_DONTNEED)


def _take_room(handle: int, size: int, folder: Path) -> None:
    """Give an empty file its size and its place on the disk: a full disk found later would end the process (SIGBUS)."""
    try:
        if not _reserved(handle, size):
            for first in range(0, size, len(_ZEROS)):
                write_all(handle, memoryview(_ZEROS)[: size - first])
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def _reserved(handle: int, size: int) -> bool:
    """Reserve room without writing; return whether the system and the file system can."""
    try:
        os.posix_fallocate(handle, 0, size)
    except AttributeError:  # macOS
        return False
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            return False
        raise
    return True
