"""Decay: counts, sums and means of an entity's earlier events, each of which counts the less the older it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.families.aggregates import window_name
from fraudctl.features.meaning.families.base import (
    DAY,
    NO_TABLES,
    Draft,
    Family,
    Kind,
    OfEntity,
    OfKind,
    Types,
    span,
)
from fraudctl.features.meaning.lookback import Lookback
from fraudctl.project.types import Aggregate

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

BLOCK = 16
"""Half-lives of a block: blocks begin at whole multiples since 1970, and an event at t sees its own and the one before.

So an event counts for 16 half-lives at least, and for 32 at most; its weight is then below 2 ** -16. Sums begin anew
with every block, so that what is long past changes not a bit of them, wherever a history begins.
"""
_NO_VALUE = "null where no value of the last 16 to 32 half-lives is known"
_LESS = ", with a half-life of {half_life}"
KINDS = {
    "count": Kind(
        "number of earlier events of the {entity}" + _LESS, "float", "never null; 0 where no event counts any more"
    ),
    "sum": Kind("sum of {column} over earlier events of the {entity}" + _LESS, "float", _NO_VALUE),
    "mean": Kind("mean {column} of earlier events of the {entity}" + _LESS, "float", _NO_VALUE),
}


@dataclass(frozen=True)
class DecaySpec(OfEntity, OfKind):
    """A sum over earlier events of an entity with weights 2 ** -(age / half_life).

    It is computed event by event in the order of time, and of ids at one instant: the sum so far, times its decay since
    the event before, plus the new value.
    """

    title = "DecaySpec"
    always = ("entity", "half_life_us", "kind", "column")
    kinds = KINDS

    entity: str
    half_life_us: int
    kind: str
    column: str | None

    source_reads = NO_TABLES

    @property
    def named(self) -> Mapping[str, str]:
        """The entity, the half-life and the column."""
        return {"entity": self.entity, "half_life": span(self.half_life_us), "column": str(self.column)}

    @property
    def needs(self) -> tuple[str, ...]:
        """The column."""
        return () if self.column is None else (self.column,)

    @property
    def reads(self) -> tuple[str, ...]:
        """The entity and the column."""
        return (self.entity, *self.needs)

    @property
    def lookback(self) -> Lookback:
        """Events of two blocks."""
        return Lookback(within_us={self.entity: 2 * BLOCK * self.half_life_us})

    @property
    def interval(self) -> str:
        """By event_time."""
        return f"event_time in [b - {span(BLOCK * self.half_life_us)}, t), b the start of the block of t"

    def dtype(self, name: str, types: Types) -> str:
        """Return float; raise where the column has no numbers."""
        found = pl.Float64() if self.column is None else types.columns[self.column]
        if not (found.is_numeric() or found == pl.Boolean):
            msg = f"features: {name}: {self.kind}({self.column}) needs a number, but the column is {found}"
            raise ProjectError(msg)
        return super().dtype(name, types)


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("decay"):
        columns = reader.check_section(section, KINDS, place)
        for entity in section.by:
            for length in section.half_lives:
                for item, column in zip(section.aggregates, columns, strict=True):
                    name = window_name(entity, Aggregate(item.kind, column), str(length), tag="decayed")
                    yield Draft(name, "decay", entity, DecaySpec(entity, length.us, item.kind, column))


DECAY = Family(
    "decay",
    "fading activity",
    (DecaySpec,),
    _drafts,
    (
        (
            "`[[features.decay]]`",
            "earlier events of *v*, the less the older; blocks of 16 half-lives",
            DecaySpec("card", DAY // BLOCK, "count", None),
        ),
    ),
)
