"""A page that another process writes, sent as it was last written.

Owns how often the file is looked at. A server never makes the page itself: that reads all decisions, and would take
time and memory from the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 1.0
"""Between two looks at the file."""
LARGEST: Final = 16 * 2**20
"""Bytes of a page beyond which it is not sent."""


class WrittenPage:
    """The bytes of a file, read again when it was replaced.

    Parameters
    ----------
    path
        The file.
    clock
        Seconds that only grow.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._looked = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self._content: bytes | None = None

    def content(self) -> bytes | None:
        """Return the page; None where there is none, it cannot be read or is larger than `LARGEST`."""
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return self._content
        self._looked = now
        try:
            about = self.path.stat()
            seen = (about.st_ino, about.st_mtime_ns, about.st_size)
            if seen != self._seen:
                self._content = self.path.read_bytes() if about.st_size <= LARGEST else None
                self._seen = seen
        except OSError:
            self._content = self._seen = None
        return self._content
