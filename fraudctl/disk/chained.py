"""An append-only log of JSON documents whose lines are chained: what was altered, removed or cut is found.

Each line is a JSON object, ends with a line feed alone, and carries a hash chained to the line before under its last
key ``chain``. A small file beside it, the head, says how far the log reached at least. The log is written whole and
flushed before it takes its name, then the head; one process at a time writes. Lines of before there were chains may
stand at its start.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fraudctl.data import outputs
from fraudctl.disk import files, shared, stores
from fraudctl.errors import BundleError, UsageError

_CHAINED: Final = re.compile(rb'(\{.*), "chain": "([0-9a-f]{64})"\}', re.DOTALL)


@dataclass(frozen=True)
class LogLines:
    """A log as it was read and verified.

    Attributes
    ----------
    content
        All of it.
    bodies
        The documents, oldest first, without their chains.
    chain
        Hash after the last line.
    etag
        Of the object that it was read from, where several machines share the log; null where there was none.
    """

    content: bytes
    bodies: tuple[bytes, ...]
    chain: str
    etag: str | None = None


@dataclass(frozen=True)
class ChainedLog:
    """A chained log in a folder.

    Attributes
    ----------
    folder
        Made when it is first written.
    name, head, lock
        Names of the log, its head, and the lock file.
    seed
        What the first hash is taken of.
    what
        What messages call it.
    """

    folder: Path
    name: str
    head: str
    lock: str
    seed: bytes
    what: str

    @property
    def address(self) -> str | None:
        """Address of the log, where several machines share it."""
        return shared.address_of(self.folder)

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / self.name

    def read(self) -> LogLines:
        """Read the log and verify every line. The head is read first: a writer replaces the log before the head.

        Raises
        ------
        BundleError
            It cannot be read, or a line was changed, removed or cut.
        """
        head, content, etag = self._read_head(), self._content(), None
        if self.address is not None:
            content, etag = self._shared(content)
        lines = content.split(b"\n")
        last = lines.pop()
        if last:
            lines.append(last)
        bodies, chains, chained = [], [hashlib.sha256(self.seed).hexdigest()], False
        for number, line in enumerate(lines, start=1):
            found = _CHAINED.fullmatch(line)
            if found is None and chained:
                raise self.damaged(number, "was changed: it has no valid chain")
            body = line if found is None else found[1] + b"}"
            chains.append(_link(chains[-1], body))
            if found is not None and found[2].decode() != chains[-1]:
                raise self.damaged(
                    number, "does not follow from the lines before it: it, or one before it, was changed"
                )
            bodies.append(body)
            chained = found is not None
        if last and chained:
            raise self.damaged(len(lines), "is cut: its end is missing")
        if head is not None and (head[0] >= len(chains) or chains[head[0]] != head[1]):
            cut = head[0] >= len(chains)
            what = f"is missing: the log had {head[0]:,} lines" if cut else "is not the one that was written"
            raise self.damaged(min(head[0], len(chains)), what)
        return LogLines(content, tuple(bodies), chains[-1], etag)

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            msg = f"{self.path} cannot be read: {error.strerror or type(error).__name__}"
            raise BundleError(msg) from error

    def _shared(self, own: bytes) -> tuple[bytes, str | None]:
        """Return the log that is shared, and its ETag; it goes on where the copy here ended, and replaces it.

        The copy was read before: whoever writes writes the log that is shared first.
        """
        there = stores.read(f"{self.address}/{self.name}")
        if there is None and own:
            msg = f"{self.what} is in {self.folder}, and there is none at {self.address}"
            raise BundleError(msg, hint="copy the folder there first, such as with `aws s3 cp --recursive`")
        if there is None:
            return b"", None
        content, etag = there
        if not content.startswith(own):
            msg = f"{self.what} at {self.address} does not go on from the one in {self.folder}"
            raise BundleError(
                msg, hint="one of them was changed or belongs to another project; restore it from a backup"
            )
        if content != own:
            shared.forget(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(self.path, content)
        return content, etag

    def damaged(self, number: int, what: str) -> BundleError:
        """Return the error of a line that is not what was written."""
        hint = f"restore {self.name} and {self.head} from version control or a backup"
        return BundleError(
            f"{self.path}, line {number}: {what}", hint=f"{hint}; to keep a shorter log, delete {self.head}"
        )

    def append(self, lines: LogLines, body: bytes) -> None:
        """Add a document, a JSON object as bytes, while the log is locked.

        Raises
        ------
        RacedError
            The log is shared, and another machine has written it since it was read; nothing was written.
        """
        before = lines.content
        if before and not before.endswith(b"\n"):
            before += b"\n"
        chain = _link(lines.chain, body)
        line = body[:-1] + f', "chain": "{chain}"}}\n'.encode()
        head = {"lines": len(lines.bodies) + 1, "chain": chain}
        if self.address is not None:
            stores.replace(f"{self.address}/{self.name}", before + line, seen=lines.etag)
        _replace(self.path, before + line)
        _replace(self.folder / self.head, json.dumps(head).encode() + b"\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while the log is read and written.

        The folder itself is locked too, so that deleting the lock file lets nobody in.

        Raises
        ------
        UsageError
            The folder cannot be locked.
        """
        held = []
        try:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                held.append(files.locked(self.folder / self.lock, wait=True))
                held.append(files.locked(self.folder, wait=True, create=False))
            except OSError as error:
                msg = f"{self.what} in {self.folder} cannot be locked: {error.strerror or type(error).__name__}"
                raise UsageError(msg, hint="check space and permissions of the folder") from error
            yield
        finally:
            for handle in held:
                if handle is not None:
                    os.close(handle)

    def _read_head(self) -> tuple[int, str] | None:
        """Return the least number of lines that the log has, and the hash after that line."""
        path = self.folder / self.head
        try:
            document = json.loads(path.read_bytes())
            lines, chain = document["lines"], document["chain"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._bad_head(path) from error
        if type(lines) is not int or lines < 0 or not isinstance(chain, str):
            raise self._bad_head(path)
        return lines, chain

    def _bad_head(self, path: Path) -> BundleError:
        hint = f"restore it from a backup; delete it only if {self.name} is known to be whole"
        return BundleError(f"{path} is damaged: expected a number of lines and a hash", hint=hint)


def _link(chain: str, body: bytes) -> str:
    return hashlib.sha256(chain.encode() + b"\n" + body).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    with outputs.whole_file(path) as temporary:
        files.write_bytes(temporary, content)
