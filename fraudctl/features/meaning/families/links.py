"""Links: entities joined by what they share, directly or through others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.base import NO_TABLES, Draft, Family, Kind, OfTwo
from fraudctl.features.meaning.lookback import Lookback

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

KINDS = {
    "component_size": Kind(
        "number of {first}s linked with this one by shared {second}s, itself included",
        "int",
        "null where the {first} is null",
    ),
    "component_age_seconds": Kind(
        "seconds since the first event of the {first}s linked with this one by shared {second}s",
        "float",
        "null where neither the {first} nor anything linked with it was seen before",
    ),
    "component_fraud_rate": Kind(
        "share of frauds among known outcomes of other {first}s linked by shared {second}s",
        "float",
        "null where no outcome of another linked {first} is known",
    ),
    "neighbours": Kind(
        "number of other {first}s seen before with the {second}s of this {first}",
        "int",
        "null where the {first} is null",
    ),
    "neighbour_frauds": Kind(
        "number of known frauds of other {first}s seen before with the {second}s of this {first}",
        "int",
        "null where the {first} is null",
    ),
    "degree": Kind("number of {first}s seen before with the same {second}", "int", "null where the {second} is null"),
}


@dataclass(frozen=True)
class LinkSpec(OfTwo):
    """What is known of the entities that this one is linked with.

    A value that has met more than ``hub`` partners joins no further ones.
    """

    title = "LinkSpec"
    always = ("entities", "kind", "hub")
    kinds = KINDS

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

    @property
    def interval(self) -> str:
        """By event_time; outcomes also by when they became known."""
        return "event_time < t" + (", label_time <= t" if "fraud" in self.kind else "")


def _drafts(reader: Reader) -> Iterator[Draft]:
    for place, section in reader.sections("links"):
        reader.check_two(section.of, f"{place}.of")
        for item in section.aggregates:
            reader.checked(item, KINDS, f"{place}.aggregates")
            spec = LinkSpec(section.of, item.kind, section.hub)
            yield Draft("_".join([*section.of, item.kind]), "links", section.of[0], spec)


LINKS = Family(
    "links",
    "linked entities",
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
