"""Fingerprints of data files, remembered by what the system says of each file.

A file is not read again while its size, inode and times of change are those of when it was. As in the index of git,
what changed within `RACY_NS` before it was read is not remembered: a later change could carry the same time. Only
whether a table is there already is answered from memory; whatever trains, judges or promotes reads all bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

from fraudctl.data import tables
from fraudctl.disk import files as disk
from fraudctl.documents.sealed import DocumentError, seal, unseal

RACY_NS: Final = 2_000_000_000
"""Nanoseconds between a change and the reading that may share one time on a coarse clock."""


def state_of(path: Path) -> dict[str, int]:
    """Return what the system says of a file, which any ordinary change of its content alters."""
    found = path.stat()
    return {
        "size": found.st_size,
        "inode": found.st_ino,
        "device": found.st_dev,
        "modified": found.st_mtime_ns,
        "changed": found.st_ctime_ns,
    }


class Prints:
    """Digests of files by path.

    Parameters
    ----------
    place
        File that remembers them; one that is missing or damaged remembers nothing.
    now_ns
        Nanoseconds since 1970, taken before the files are read.
    """

    def __init__(self, place: Path, *, now_ns: int) -> None:
        self._place, self._now = place, now_ns
        try:
            self._known: dict[str, object] = dict(unseal(place.read_bytes()))
        except (OSError, DocumentError):
            self._known = {}
        self._new = False

    def fingerprint(self, names: Collection[str]) -> str:
        """Return what `tables.fingerprint` does, reading only files that are not known."""
        if any("://" in name for name in names):  # addresses, and tables that say what they hold
            return tables.fingerprint(names)
        return hashlib.sha256(b"".join(map(self._digest, names))).hexdigest()

    def _digest(self, name: str) -> bytes:
        path = Path(name).absolute()
        state, known = state_of(path), self._known.get(str(path))
        if isinstance(known, dict) and known.get("state") == state and isinstance(known.get("sha256"), str):
            return bytes.fromhex(known["sha256"])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        settled = max(state["modified"], state["changed"]) < self._now - RACY_NS
        if settled and state_of(path) == state:
            self._known[str(path)], self._new = {"state": state, "sha256": digest.hex()}, True
        return digest

    def remember(self) -> None:
        """Write what is new; where that cannot be done, the files are read again next time."""
        if self._new:
            with disk.whole_file(self._place, durable=False) as temporary:
                disk.write_bytes(temporary, seal(self._known))
