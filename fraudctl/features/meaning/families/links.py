"""Links: entities joined by what they share, directly or through others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.base import NO_TABLES, Draft, Family, Spec, Types
from fraudctl.features.meaning.lookback import Lookback

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

_WORDS = {
    "component_size": "number of {first}s linked with this one by shared {second}s, itself included",
    "component_age_seconds": "seconds since the first event of the {first}s linked with this one by shared {second}s",
    "component_fraud_rate": "share of frauds among known outcomes of other {first}s linked by shared {second}s",
    "degree": "number of {first}s seen before with the same {second}",
}
_NULLS = {
    "component_size": "null where the {first} is null",
    "component_age_seconds": "null where neither the {first} nor anything linked with it was seen before",
    "component_fraud_rate": "null where no outcome of another linked {first} is known",
    "degree": "null where the {second} is null",
}


@dataclass(frozen=True)
class LinkSpec(Spec):
    """What is known of the entities that this one is linked with.

    A value that has met more than ``hub`` partners joins no further ones.
    """

    title = "LinkSpec"
    always = ("entities", "kind", "hub")

    entities: tuple[str, str]
    kind: str
    hub: int

    needs = ()
    source_reads = NO_TABLES
    grouped_by = ()
    partitioned_by = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The two entities, and the outcomes."""
        return (*self.entities, "label", "label_time")

    @property
    def lookback(self) -> Lookback:
        """Every event; outcomes only for the fraud rate."""
        return Lookback(everything=frozenset({self.entities}), outcomes="fraud" in self.kind)

    def meaning(self, _name: str, _others: Mapping[str, Spec]) -> str:
        """Return the aggregate and the two entities."""
        return _WORDS[self.kind].format(first=self.entities[0], second=self.entities[1])

    @property
    def interval(self) -> str:
        """By event_time; outcomes also by when they became known."""
        return "event_time < t" + (", label_time <= t" if "fraud" in self.kind else "")

    @property
    def nulls(self) -> str:
        """By aggregate."""
        return _NULLS[self.kind].format(first=self.entities[0], second=self.entities[1])

    def dtype(self, _name: str, _types: Types) -> str:
        """Return int for sizes, else float."""
        return "int" if self.kind in {"component_size", "degree"} else "float"


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("links"):
        reader.check_two(section.of, f"{place}.of")
        for item in section.aggregates:
            reader.checked(item, _WORDS, f"{place}.aggregates")
            spec = LinkSpec(section.of, item.kind, section.hub)
            yield Draft("_".join([*section.of, item.kind]), "links", section.of[0], spec)


LINKS = Family(
    "links",
    (LinkSpec,),
    _drafts,
    (
        (
            "`[[features.links]]`",
            "earlier events that share entities, directly or through others",
            LinkSpec(("card", "device"), "component_fraud_rate", 50),
        ),
    ),
)
