"""A disk that fails: calls of `os` on files below a folder are counted, and one of them fails or is the last.

`Faults` stands between the project and the system. The n-th call below its folder raises an error, writes only a part,
or is the moment at which the process dies: from then on no call reaches the disk, neither of the code under test nor of
what cleans up after it, and what it had opened is closed as a system closes it. Python's own files (`open`,
`Path.write_text`) go the same way.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import functools
import io
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import polars as pl

CALLS = (
    "open", "write", "pwrite", "fsync", "rename", "replace", "ftruncate", "truncate", "unlink", "remove", "mkdir",
    "rmdir", "chmod", "link", "sendfile",
)  # fmt: skip
ERRORS = {"full": errno.ENOSPC, "broken": errno.EIO, "read-only": errno.EROFS, "no descriptors": errno.EMFILE}
KINDS = (*ERRORS, "short", "death")


class Died(BaseException):
    """The process ended here."""


@dataclass
class Faults:
    """What happens at the n-th call below a folder.

    Attributes
    ----------
    folder
        Calls elsewhere are not looked at.
    at
        Which call, from 0; -1 for none.
    kind
        One of `KINDS`.
    for_good
        Whether all calls after it fail too.
    names
        The calls so far.
    """

    folder: Path
    at: int = -1
    kind: str = "full"
    for_good: bool = False
    names: list[str] = field(default_factory=list)
    _dead: bool = False
    _opened: list[int] = field(default_factory=list)
    _real: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def happened(self) -> bool:
        """Whether the call has come."""
        return 0 <= self.at < len(self.names)

    def concerns(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Say whether a call is about something below the folder."""
        place = kwargs.get("dir_fd", kwargs.get("src_dir_fd"))
        if place is not None:
            return self._below(place)
        return any(self._below(item) for item in args[: 2 if name in {"rename", "replace", "link"} else 1])

    def _below(self, item: Any) -> bool:
        if isinstance(item, int):
            with contextlib.suppress(OSError):
                item = Path(f"/proc/self/fd/{item}").readlink()
        return not isinstance(item, int) and str(os.fspath(item)).startswith(str(self.folder))

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Make a call, or let it fail."""
        real = self._real[name]
        if not self.concerns(name, args, kwargs):
            return real(*args, **kwargs)
        if self._dead:
            raise Died
        number = len(self.names)
        self.names.append(name)
        if number == self.at or (self.for_good and 0 <= self.at < number):
            self._fail(name, args)
        found = real(*args, **kwargs)
        if name == "open":
            self._opened.append(found)
        return found

    def opened(self, real: Callable[..., Any], file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """Open a file as `open` does; where it writes below the folder, by the calls of `os` that are looked at."""
        if isinstance(file, int) or not set(mode) & set("wax+") or not self._below(file):
            return real(file, mode, *args, **kwargs)
        raw = _Raw(file, mode.translate({ord("b"): None, ord("t"): None}), opener=lambda p, f: os.open(p, f, 0o666))
        raw.faults = self
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        text = {key: kwargs.get(key) for key in ("encoding", "errors", "newline")}
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **text)  # type: ignore[arg-type]

    def _fail(self, name: str, args: tuple[Any, ...]) -> None:
        if name in {"write", "pwrite"} and self.kind in {"short", "death"}:
            content = bytes(args[1])
            self._real[name](args[0], content[: len(content) // 2], *args[2:])
        if self.kind == "death":
            self._dead = True
            raise Died
        code = ERRORS.get(self.kind, errno.ENOSPC)
        raise OSError(code, os.strerror(code))

    def close_all(self, close: Callable[[int], None]) -> None:
        """Close what a dead process had opened: its locks end with it."""
        for handle in self._opened:
            if self._below(handle):
                with contextlib.suppress(OSError):
                    close(handle)


class _Raw(io.FileIO):
    """What stands under a file of Python's own: it writes through the layer."""

    faults: Faults

    def write(self, content: Any) -> int:
        return int(self.faults.call("write", self.fileno(), content))


@contextlib.contextmanager
def faulty(faults: Faults) -> Iterator[Faults]:
    """Let calls go through ``faults``; a death ends the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            faults._real[name] = getattr(os, name)
            patch.setattr(os, name, lambda *args, _name=name, **kwargs: faults.call(_name, *args, **kwargs))
        patch.setattr(io, "open", functools.partial(faults.opened, io.open))
        patch.setattr(builtins, "open", functools.partial(faults.opened, builtins.open))
        try:
            yield faults
        except Died:
            pass
        finally:
            faults.at, at = -1, faults.at
            patch.undo()
            faults.at = at
    if faults.kind == "death":
        faults.close_all(os.close)


def every_fault(
    run: Callable[[Path], None], folder: Callable[[], Path], kinds: tuple[str, ...] = KINDS, *, most: int = 1000
) -> Iterator[tuple[Faults, BaseException | None]]:
    """Run something once without a fault, then for every call and kind of fault; give each and its error.

    Parameters
    ----------
    run
        Writes below the folder it is given.
    folder
        Makes a new folder with what ``run`` needs.
    most
        How many calls at most, spread over all; the last three are always among them.
    """
    with faulty(Faults(folder())) as counted:
        run(counted.folder)
    assert counted.names, "nothing goes through the layer"
    n_calls = len(counted.names)
    points = {round(at * (n_calls - 1) / max(1, most - 1)) for at in range(most)} if n_calls > most else range(n_calls)
    for kind in kinds:
        for at in sorted({*points, *range(max(0, n_calls - 3), n_calls)}):
            name = counted.names[at]
            if kind == "short" and name not in {"write", "pwrite"}:
                continue
            faults, error = Faults(folder(), at, kind), None
            try:
                with faulty(faults):
                    run(faults.folder)
            except Exception as caught:  # noqa: BLE001 - the test looks at it
                error = caught
            assert faults.happened, (kind, at, name)
            yield faults, error


@contextlib.contextmanager
def no_larger_files(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a number of bytes: a write is cut there, and the next one fails.

    Unlike `Faults` this also reaches what Polars, CatBoost and Python's own files write without `os`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def kept_table(place: Path) -> tuple[pl.DataFrame, Any] | None:
    """Return the feature table that is kept at a place, and its facts, if its file is what was written."""
    from fraudctl.data import tables
    from fraudctl.progress import Silent
    from fraudctl.workflows import features

    facts = features._facts(place, Silent())
    return None if facts is None else (tables.read_parquet(place), facts)
