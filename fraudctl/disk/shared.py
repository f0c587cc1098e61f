"""Folders of models that several machines share through an object store: what is there, fetched and put.

A folder of models stays the place where models are read and written; with an address it is a copy. Bundles are never
changed, so a version that is missing here is fetched, and one that is written is put before the registry names it. The
registry itself is written on the condition that nobody has written it since it was read (`fraudctl.disk.chained`).
"""

from __future__ import annotations

from pathlib import Path

from fraudctl.disk import files as disk
from fraudctl.disk import stores

MARK = "manifest.json"
"""The file of a bundle that is put last: a version without it is being written, or was left by a dead process."""
_addresses: dict[Path, str] = {}
_whole: dict[Path, set[str]] = {}


def begin(folder: Path, address: str | None) -> None:
    """Say which address a folder is a copy of; None for a folder of this machine alone."""
    _whole.pop(folder, None)
    if address is None:
        _addresses.pop(folder, None)
    else:
        _addresses[folder] = address.rstrip("/")


def address_of(folder: Path) -> str | None:
    """Return the address that a folder is a copy of; None where it is not shared."""
    return _addresses.get(folder)


def forget(folder: Path) -> None:
    """Ask again which versions are there: the registry has changed."""
    _whole.pop(folder, None)


def fetch(folder: Path) -> None:
    """Fetch the versions that are at the address of a folder and not in it; nothing where it is not shared.

    Raises
    ------
    DataError
        The store cannot be asked, or a file was replaced, which those of a bundle never are.
    """
    address = _addresses.get(folder)
    if address is None or folder in _whole:
        return
    stores.found.cache_clear()
    versions: dict[str, list[str]] = {}
    for item in stores.found(f"{address}/"):
        name, _, file = item.address.removeprefix(f"{address}/").partition("/")
        if file:
            versions.setdefault(name, []).append(file)
    for name, files in versions.items():
        if MARK in files and not (folder / name).exists():
            _fetch(folder, address, name, files)
    _whole[folder] = set(versions)


def _fetch(folder: Path, address: str, name: str, files: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with disk.temporary_folder(folder, ".fetching") as place:
        (place / name).mkdir()
        for file in files:
            (place / name / file).parent.mkdir(parents=True, exist_ok=True)
            stores.local(f"{address}/{name}/{file}").rename(place / name / file)
            disk.flush(place / name / file)
        if not (folder / name).exists():  # another process was faster
            (place / name).rename(folder / name)
    disk.flush(folder)


def put(complete: Path, folder: Path, name: str) -> None:
    """Put the files of a complete version, the mark last; what is there already is of the same content.

    Raises
    ------
    UsageError
        The store refuses.
    """
    address = _addresses.get(folder)
    if address is None:
        return
    files = [path for path in sorted(complete.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == MARK):
        with stores.whole_object(f"{address}/{name}/{path.relative_to(complete)}") as temporary:
            temporary.write_bytes(path.read_bytes())
