"""What every worker is told, and what it refuses: another code, another definition, another clock.

A worker gets the text of the project file and the types of the tables, defines the features itself, and compares their
digest with the one that the command has. Each process does so once.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import polars as pl

from fraudctl.errors import UsageError
from fraudctl.project import Project, parse_project

if TYPE_CHECKING:
    from fraudctl.features.meaning.definition import FeatureSet


@dataclass(frozen=True)
class Meaning:
    """What features are computed of which rows: rebuilt by each worker from what it was told."""

    project: Project
    features: FeatureSet
    carried: list[str]

    @property
    def timezone(self) -> str:
        """The project's zone."""
        return self.project.data.timezone


class Told(Protocol):
    """What a worker is told: picklable, small, and enough to know what the command knows."""

    @property
    def files(self) -> list[str]:
        """The files of the events, for messages."""

    @property
    def key(self) -> str:
        """What the meaning is remembered by, in one process."""

    def meaning(self) -> Meaning:
        """Rebuild the definitions, and refuse them where they are not those of the command."""

    def raw(self) -> pl.LazyFrame:
        """Open the events under their own names."""


@dataclass(frozen=True)
class ToldProject:
    """A project, and what its files looked like when the command began.

    Attributes
    ----------
    text, path
        The project file and where it stands: all paths of the project are relative to its folder.
    schema, sources
        Columns and types of the events, and of the other tables by name.
    digest
        Of the features (`FeatureSet.digest`).
    """

    text: str
    path: str
    schema: Mapping[str, pl.DataType]
    sources: Mapping[str, Mapping[str, pl.DataType]]
    digest: str
    carried: list[str]
    files: list[str]

    @property
    def key(self) -> str:
        """The digest of the features, and of the text."""
        return self.digest + hashlib.sha256(f"{self.path} {self.carried} {self.text}".encode()).hexdigest()

    def meaning(self) -> Meaning:
        """Define the features of the text for the types, and compare the digest."""
        from fraudctl.features.meaning.definition import SourceTable, define

        project = parse_project(self.text, path=Path(self.path))
        sources = {name: SourceTable(project.sources[name], schema) for name, schema in self.sources.items()}
        features = define(project, self.schema, sources=sources)
        if features.digest != self.digest:
            msg = "a worker defines the features of the project otherwise than this command"
            raise UsageError(msg, hint="install the same fraudctl on every worker")
        return Meaning(project, features, self.carried)

    def raw(self) -> pl.LazyFrame:
        """Open the project's files in their normal form."""
        from fraudctl.data import tables

        return tables.scan(self.files, form=tables.form_of(parse_project(self.text, path=Path(self.path))))


_known: dict[str, Meaning] = {}


def meaning_of(told: Told) -> Meaning:
    """Return the definitions that a worker was told, rebuilt once in a process."""
    if told.key not in _known:
        _known[told.key] = told.meaning()
    return _known[told.key]


@functools.cache
def traits() -> tuple[tuple[str, str], ...]:
    """Return what has to be equal on all machines for the same bits: versions, hashes, and the clock of a zone."""
    import numba
    import numpy as np
    import pyarrow as pa

    from fraudctl import __version__

    texts = pl.Series(["a", "card-17", None, ""]).hash(seed=1).to_list()
    numbers = pl.Series([1, 17, None, -(2**40)]).hash(seed=1).to_list()
    moments = pl.Series(["2024-03-10 07:30", "2024-11-03 06:30"]).str.to_datetime(time_zone="UTC", time_unit="us")
    local = moments.dt.convert_time_zone("America/New_York").dt.to_string().to_list()
    return (
        ("fraudctl", __version__),
        ("Python", ".".join(platform.python_version_tuple()[:2])),
        ("polars", pl.__version__),
        ("numpy", np.__version__),
        ("numba", numba.__version__),
        ("pyarrow", pa.__version__),
        ("hashes of ids", hashlib.sha256(repr((texts, numbers)).encode()).hexdigest()[:8]),
        ("clocks of time zones", hashlib.sha256(repr(local).encode()).hexdigest()[:8]),
    )


def require_like(expected: tuple[tuple[str, str], ...]) -> None:
    """Raise a UsageError where this process differs from the command in what the bits depend on."""
    own = dict(traits())
    for name, value in expected:
        if own.get(name) != value:
            msg = f"a worker has {name} {own.get(name)}; this command has {value}"
            raise UsageError(msg, hint="give every worker the same environment: results would not be the same bits")
