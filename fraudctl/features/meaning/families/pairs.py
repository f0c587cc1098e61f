"""Pairs: whether, how often and when two entities have met before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.base import NO_TABLES, Draft, Family, Spec, Types
from fraudctl.features.meaning.lookback import Lookback

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

_WORDS = {
    "first_time": "whether the {first} meets the {second} for the first time",
    "count": "number of earlier events of the {first} with the same {second}",
    "seconds_since_last": "seconds since the last earlier event of the {first} with the same {second}",
}
_TYPES = {"first_time": "bool", "count": "int", "seconds_since_last": "float"}


@dataclass(frozen=True)
class PairSpec(Spec):
    """What is known of earlier events that share two entities with this one."""

    title = "PairSpec"
    always = ("entities", "kind")

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

    def meaning(self, _name: str, _others: Mapping[str, Spec]) -> str:
        """Return the aggregate and the two entities."""
        return _WORDS[self.kind].format(first=self.entities[0], second=self.entities[1])

    @property
    def nulls(self) -> str:
        """A pair with a null is none."""
        none = "; null where there is none" if self.kind == "seconds_since_last" else ""
        return f"null where either of the two is null{none}"

    def dtype(self, _name: str, _types: Types) -> str:
        """Return bool, int or float, by aggregate."""
        return _TYPES[self.kind]


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("pairs"):
        reader.check_two(section.of, f"{place}.of")
        for item in section.aggregates:
            reader.checked(item, _WORDS, f"{place}.aggregates")
            yield Draft("_".join([*section.of, item.kind]), "pairs", section.of[0], PairSpec(section.of, item.kind))


PAIRS = Family(
    "pairs",
    (PairSpec,),
    _drafts,
    (("`[[features.pairs]]`", "earlier events with the same two entities", PairSpec(("card", "shop"), "count")),),
)
