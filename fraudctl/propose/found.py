"""The notation of files as far as it is known, and the values that are looked at for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import polars as pl

from fraudctl.project.reading import CsvSection, NumberSection, NumbersSection, ReadingSection, TimeSection

SAMPLE: Final = 2_000
"""How many values of a column are looked at first."""


@dataclass
class FoundNotation:
    """Declarations found so far, each with its reason. `look` fills them in; the caller gets a `Look`."""

    csv: CsvSection | None = None
    time: TimeSection | None = None
    event_time: str | None = None
    times: dict[str, TimeSection] = field(default_factory=dict)
    numbers: dict[str, NumberSection] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    missing_in: dict[str, tuple[str, ...]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    span: float | None = None

    def section(self) -> ReadingSection:
        """Return the keys of ``[data]`` that say it."""
        return ReadingSection(
            csv=self.csv or CsvSection(), time=self.time, times=self.times,
            numbers=NumbersSection(columns=self.numbers), missing=tuple(self.missing),
            missing_in=dict(self.missing_in),
            types=self.types,  # type: ignore[arg-type]
        )  # fmt: skip


def first_values(raw: pl.LazyFrame, name: str) -> pl.Series:
    """Return the first values of a column that are not null, at most 2,000."""
    return raw.select(pl.col(name).drop_nulls().head(SAMPLE)).collect().to_series()


def all_values(raw: pl.LazyFrame, name: str) -> pl.Series:
    """Return all values of a column."""
    return raw.select(name).collect().to_series()
