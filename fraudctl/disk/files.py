"""The only place that opens, writes, flushes and renames files: whole or not at all, flushed before a name means them.

A file is prepared under a hidden name in the folder where it belongs, flushed to the disk, renamed, and the folder is
flushed. A process that dies, or a disk that fails, in between leaves what was there before. `Folder` reaches its files
through a descriptor of its own, so that a folder that is renamed while it is in use stays the same folder.

Nothing here closes a descriptor before the one that takes its place is open, and nothing turns an `OSError` into
another error: callers know what the file meant.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from typing import Final

_LIBRARIES: Final = ("polars", "_catboost")
"""Where exceptions come from that may stand for an error of the system."""
_UNLOCKABLE: Final = frozenset({errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL})
"""What file systems answer that know no locks on folders."""
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
"""Errors of a write for which a disk, a limit or a quota has no room."""
_UNWRITTEN: Final = "Invalid thrift: transport error"
"""What Polars says, without a number, where the end of a Parquet file cannot be written."""
_NUMBERED: Final = re.compile(r"\(os error (\d+)\)|^\(Error (\d+): ")
"""How Polars and CatBoost write the number of a system error in the text of their own."""
_ADDRESS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
"""A scheme of at least two letters, and what follows; `Path` has made one slash of two."""


def address_of(path: PurePath) -> str | None:
    """Return the address that a path was made of, such as ``s3://bucket/x``; None of a path on this machine.

    >>> address_of(Path("s3://bucket/x")), address_of(Path("a:b/c")), address_of(Path("/tmp/s3:/x"))
    ('s3://bucket/x', None, None)
    """
    found = _ADDRESS.fullmatch(str(path))
    return None if found is None else f"{found[1]}://{found[2]}"


def system_error(error: BaseException) -> OSError | None:
    """Return the error of the system that an exception stands for, whichever library raised it; None for another.

    Polars and CatBoost write files by themselves, and report a full or failing disk as an error of their own, or as
    an `OSError` without its number.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error
    may = isinstance(error, OSError) or type(error).__module__.startswith(_LIBRARIES)
    number = _NUMBERED.search(str(error)) if may else None
    if may and number is None and _UNWRITTEN in str(error):
        return OSError(errno.EIO, os.strerror(errno.EIO))
    if number is None:
        return error if isinstance(error, OSError) else None
    code = int(number[1] or number[2])
    return OSError(code, os.strerror(code))


def no_room(error: BaseException) -> OSError | None:
    """Return the error of a write for which a disk, a quota or a limit leaves no room; None where it is another."""
    found = system_error(error)
    return found if found is not None and found.errno in _NO_ROOM else None


@contextlib.contextmanager
def system_errors() -> Iterator[None]:
    """Raise an `OSError` for whatever a library calls an error of the system."""
    try:
        yield
    except Exception as error:
        found = system_error(error)
        if found is None or found is error:
            raise
        raise found from error


def write_all(handle: int, content: bytes | memoryview) -> None:
    """Write all bytes at the end of an open file; an interrupted write is continued."""
    written = os.write(handle, content)
    while written < len(content):
        written += os.write(handle, memoryview(content)[written:])


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def whole_file(path: Path, *, durable: bool = True, mode: int = 0o644) -> Iterator[Path]:
    """Yield a hidden path in the folder of ``path``; it is renamed to ``path`` if the block succeeds, else removed.

    Parameters
    ----------
    durable
        Whether content and name are flushed to the disk. A cache whose content is verified on reading needs none.
    mode
        Permissions of the file; until it has its name, only its owner can read it.
    """
    remove_left_over(path)
    handle, temporary = _begun(path)
    try:
        with system_errors():
            yield temporary
        temporary.chmod(mode)
        if durable:
            flush(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first failure is the one to report
            temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    if durable:
        flush(path.parent)


def _begun(path: Path) -> tuple[int, Path]:
    """Make the hidden file and lock it, so that it is known whether its writer still lives."""
    while True:
        handle, name = tempfile.mkstemp(prefix=_hidden_start(path), suffix=".tmp", dir=path.parent)
        with contextlib.suppress(OSError):  # without locks, nobody takes it for left over
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:  # else another process took it for left over before it was locked
            return handle, Path(name)
        os.close(handle)


def _hidden_start(path: Path) -> str:
    return f".{path.name[:100]}."


def remove_left_over(path: Path) -> None:
    """Remove what processes that died while they wrote ``path`` have left; whatever is still written is locked."""
    pattern = re.compile(re.escape(_hidden_start(path)) + r"[a-z0-9_]{8}\.tmp")
    with contextlib.suppress(OSError):
        for name in filter(pattern.fullmatch, os.listdir(path.parent)):  # noqa: PTH208 - names alone are wanted
            left = path.parent / name
            handle = locked_strictly(left)
            if handle is not None:
                left.unlink(missing_ok=True)
                os.close(handle)


def locked_strictly(place: Path) -> int | None:
    """Lock a file or folder that exists; None where it is locked, or where the system cannot say."""
    handle = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


@contextlib.contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """Return a folder that goes away at the end; those that dead processes have left under this name go first.

    Parameters
    ----------
    name
        What its name starts with. The folder is locked while its process lives, in whatever way that ends.
    """
    with contextlib.suppress(OSError):
        for left in parent.glob(f"{glob.escape(name)}-*"):
            _remove_folder_of_the_dead(left)
    handle, folder = _begun_folder(parent, name)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(handle)


def _remove_folder_of_the_dead(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        handle = locked_strictly(folder)
        if handle is not None:
            _remove(folder)
            os.close(handle)


def _remove(folder: Path) -> None:
    """Remove a folder as far as that is possible, and what one failed call has left of it, at a second attempt."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def _begun_folder(parent: Path, name: str) -> tuple[int, Path]:
    """Make the folder and lock it, so that it is known whether its process still lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another process took it for left over before it was locked
            continue
        with contextlib.suppress(OSError):  # without locks, nobody takes it for left over
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.is_dir():
            return handle, folder
        os.close(handle)


def publish_folder(prepared_folder: Path, path: Path) -> None:
    """Rename a folder of finished files, flushed first, to its final name.

    A folder that has the name is moved away and removed; if the process dies between the two renames, it is beside
    the place under a hidden name.
    """
    for file in sorted(prepared_folder.iterdir()):
        flush(file)
    flush(prepared_folder)
    old = None
    if path.is_dir():
        old = Path(tempfile.mkdtemp(prefix=_hidden_start(path), suffix=".old", dir=path.parent))
        path.replace(old)
    try:
        prepared_folder.rename(path)
    except OSError:
        if old is not None:
            old.replace(path)
        raise
    flush(path.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def append_whole(path: Path, content: bytes) -> None:
    """Add bytes to the end of a file that others write too; where that fails, it is as long as before."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(handle).st_size
        try:
            write_all(handle, content)
        except BaseException:
            with contextlib.suppress(OSError):  # the first failure is the one to report
                os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write bytes to a file that nobody knows yet, such as one of a folder that is renamed when it is complete."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        write_all(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)


def locked(place: Path | int, *, wait: bool = False, create: bool = True) -> int | None:
    """Take an exclusive lock on a file or folder; give its descriptor.

    The lock ends with the process, or when the descriptor is closed. None means that another process has it.

    Parameters
    ----------
    place
        A path, or the descriptor of an open folder: then a descriptor of its own is opened.
    wait
        Whether to wait until the lock is free.
    create
        Whether the file is made where it is missing; otherwise it is only read.
    """
    if isinstance(place, int):
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=place)
    else:
        handle = os.open(place, os.O_RDWR | os.O_CREAT if create else os.O_RDONLY, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        if (isinstance(place, int) or not create) and error.errno in _UNLOCKABLE:
            return handle
        os.close(handle)
        raise
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[Callable[[], bool]]:
    """Mark a folder as used by this process; yield whether nobody else uses it, to be asked at the end.

    From a yes on, whoever comes waits until the folder is not used any more; after a no, it is not marked any more.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def alone() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # without locks, others are not known
            return error.errno in _UNLOCKABLE
        return True

    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield alone
    finally:
        os.close(handle)


class Folder:
    """An open folder. Names are those of files in it; a prepared file has a hidden name until it is published."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def names(self) -> list[str]:
        """Return the names in the folder, sorted."""
        return sorted(os.listdir(self.handle))  # noqa: PTH208 - by its descriptor

    def open(self, name: str, flags: int) -> int:
        """Open a file; give its descriptor."""
        return os.open(name, flags, 0o600, dir_fd=self.handle)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with os.fdopen(self.open(name, os.O_RDONLY), "rb") as file:
            return file.read()

    def prepare(self, name: str, parts: Iterable[bytes | memoryview]) -> int:
        """Write a file under its hidden name and flush it; give its descriptor, which appends.

        What a dead process has left under that name is replaced: only one process at a time prepares a file.
        """
        hidden = prepared(name)
        handle = self.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        try:
            for part in parts:
                write_all(handle, part)
            os.fsync(handle)
        except BaseException:
            os.close(handle)
            with contextlib.suppress(OSError):
                self.remove(hidden)
            raise
        return handle

    def publish(self, name: str) -> None:
        """Rename a prepared file to its final name, in one step. The folder is not flushed yet: see `flush`."""
        try:
            os.rename(prepared(name), name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except OSError:
            if self.has(prepared(name)) or not self.has(name):
                raise

    def has(self, name: str) -> bool:
        """Return whether there is a file of that name."""
        try:
            os.stat(name, dir_fd=self.handle)
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.handle)

    def flush(self) -> None:
        """Flush the names to the disk."""
        os.fsync(self.handle)

    def close(self) -> None:
        """Close the folder."""
        os.close(self.handle)


def prepared(name: str) -> str:
    """Return the hidden name under which a file is prepared."""
    return f".{name}.tmp"
