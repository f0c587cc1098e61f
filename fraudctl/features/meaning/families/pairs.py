"""Pairs: whether, how often and when two entities have met before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.base import NO_TABLES, Draft, Family, Kind, OfTwo
from fraudctl.features.meaning.lookback import Lookback

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

_EITHER = "null where either of the two is null"
KINDS = {
    "first_time": Kind("whether the {first} meets the {second} for the first time", "bool", _EITHER),
    "count": Kind("number of earlier events of the {first} with the same {second}", "int", _EITHER),
    "seconds_since_last": Kind(
        "seconds since the last earlier event of the {first} with the same {second}",
        "float",
        f"{_EITHER}; null where there is none",
    ),
}


@dataclass(frozen=True)
class PairSpec(OfTwo):
    """What is known of earlier events that share two entities with this one."""

    title = "PairSpec"
    always = ("entities", "kind")
    kinds = KINDS

    entities: tuple[str, str]
    kind: str

    needs = ()
    source_reads = NO_TABLES
    interval = "event_time < t"

    @property
    def reads(self) -> tuple[str, ...]:
        """The two entities."""
        return self.entities

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """The two entities."""
        return self.entities

    @property
    def partitioned_by(self) -> str:
        """The first entity: it keeps all events of a pair together."""
        return self.entities[0]

    @property
    def lookback(self) -> Lookback:
        """The last event of a pair, or all of them where they are counted."""
        key = frozenset({self.entities})
        return Lookback(everything=key) if self.kind == "count" else Lookback(last=key)


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("pairs"):
        reader.check_two(section.of, f"{place}.of")
        for item in section.aggregates:
            reader.checked(item, KINDS, f"{place}.aggregates")
            yield Draft("_".join([*section.of, item.kind]), "pairs", section.of[0], PairSpec(section.of, item.kind))


PAIRS = Family(
    "pairs",
    "first meetings",
    (PairSpec,),
    _drafts,
    (("`[[features.pairs]]`", "earlier events with the same two entities", PairSpec(("card", "shop"), "count")),),
)
