"""Columns of a raw table, read in groups: one scan of the files gives many columns, and what was read is kept.

Owns how often the files are opened. A table that fits into `HOLD` bytes is read once; of a larger one as many columns
as fit are kept, and the others are read again, a group at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import polars as pl

from fraudctl.data import tables

Found = TypeVar("Found")

HOLD: Final = 1 << 30
"""Bytes of columns that are kept where a half of the available memory is as much."""
MOST: Final = 4 << 30
"""Bytes of columns that are kept at most, where a quarter of the available memory is more than `HOLD`."""
GROUP: Final = 1 << 28
"""Bytes of columns that one scan reads, where a quarter of what is kept is not more."""
_TEXT, _OTHER = 24, 8
"""Bytes of a cell in memory, about."""
_LIMITS: Final = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)  # fmt: skip
"""Files that say how much memory a container may take, takes, and for what: control groups, version 2 and 1."""


def room() -> int:
    """Return the bytes of columns that are kept: a quarter of the available memory, within half of it and `MOST`.

    Where a quarter is less than `HOLD`, it is that, or half of what is available, whichever is less.
    """
    free = available()
    return min(MOST, max(free // 4, min(HOLD, free // 2)))


def available(*, meminfo: str = "/proc/meminfo", limits: Sequence[tuple[str, str, str]] = _LIMITS) -> int:
    """Return the bytes of memory that this process may still take: of the machine's, and of its container's.

    What the system holds of files only to be quick counts as available. `4 * MOST` where the system does not say.
    """
    found = [4 * MOST]
    for line in _text(meminfo).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            found.append(int(value.split()[0]) * 1024)
    for limit, used, uses in limits:
        most, now = _text(limit).strip(), _text(used).strip()
        words = dict(line.split() for line in _text(uses).splitlines())
        idle = int(words.get("total_inactive_file", words.get("inactive_file", 0)))
        if most.isdecimal() and now.isdecimal():
            found.append(max(0, int(most) - int(now) + idle))
    return min(found)


def _text(place: str) -> str:
    try:
        return Path(place).read_text(encoding="ascii")
    except (OSError, ValueError):  # systems that do not say
        return ""


def hold(raw: pl.LazyFrame, *, files: Collection[str], budget: int | None = None) -> pl.LazyFrame:
    """Return the table in memory if it fits into ``budget`` bytes (by default `room`), else as it is.

    Raises
    ------
    DataError
        The files cannot be read.
    """
    row = sum(map(_cell, raw.collect_schema().values()))
    n_rows = int(tables.collect(raw.select(pl.len()), files=files).item())
    fits = n_rows * row <= (room() if budget is None else budget)
    return tables.collect(raw, files=files).lazy() if fits else raw


def _cell(dtype: pl.DataType) -> int:
    return _TEXT if dtype in (pl.String, pl.Binary) or dtype.is_nested() else _OTHER


class Columns:
    """Columns of a table by name.

    Parameters
    ----------
    raw
        The table as `fraudctl.data.tables.scan` or `hold` opens it.
    place
        What messages call it.
    """

    def __init__(self, raw: pl.LazyFrame, *, place: str, hold: int | None = None, group: int | None = None) -> None:
        self.schema = raw.collect_schema()
        self.n_rows = int(tables.collect(raw.select(pl.len()), files=[place]).item())
        self._raw, self._place, self._hold = raw, place, room() if hold is None else hold
        self._group = max(GROUP, self._hold // 4) if group is None else group
        self._kept: dict[str, pl.Series] = {}
        self._sizes = {name: self.n_rows * _cell(dtype) for name, dtype in self.schema.items()}

    def __getitem__(self, name: str) -> pl.Series:
        """Return one column; those that follow it in the files are read with it, as many as make a group."""
        if name not in self._kept:
            self._read(self._following(name))
        return self._kept[name]

    def frame(self, names: Collection[str]) -> pl.DataFrame:
        """Return several columns, read in one scan."""
        missing = [name for name in names if name not in self._kept]
        read = tables.collect(self._raw.select(missing), files=[self._place])
        return pl.DataFrame([self._kept[name] if name in self._kept else read[name] for name in names])

    def each(self, names: Collection[str], work: Callable[[pl.Series], Found]) -> Iterator[tuple[str, Found]]:
        """Do the same work on several columns, side by side on all processors; results come in the order of the names.

        ``work`` must not read other columns.
        """
        with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
            for group in self._groups(names):
                values = [self[name] for name in group]
                yield from zip(group, pool.map(work, values), strict=True)

    def _groups(self, names: Collection[str]) -> Iterator[list[str]]:
        group: list[str] = []
        left = self._group
        for name in names:
            if group and self._sizes[name] > left:
                yield group
                group, left = [], self._group
            group.append(name)
            left -= self._sizes[name]
        if group:
            yield group

    def _following(self, name: str) -> list[str]:
        chosen, left = [name], self._group - self._sizes[name]
        names = list(self.schema)
        for other in names[names.index(name) + 1 :]:
            if other in self._kept:
                continue
            left -= self._sizes[other]
            if left < 0:
                break
            chosen.append(other)
        return chosen

    def _read(self, names: list[str]) -> None:
        room = self._hold - sum(self._sizes[name] for name in names)
        held = sum(self._sizes[name] for name in self._kept)
        for oldest in list(self._kept):
            if held <= room:
                break
            held -= self._sizes[oldest]
            del self._kept[oldest]
        for values in tables.collect(self._raw.select(names), files=[self._place]):
            self._kept[values.name] = values
