"""Trends: a short window over a long one of the same entity and aggregate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.features.meaning.families.aggregates import KINDS, window_name
from fraudctl.features.meaning.families.base import NO_TABLES, Draft, Family, Spec, Types, last
from fraudctl.features.meaning.families.windows import WindowSpec
from fraudctl.features.meaning.lookback import Lookback
from fraudctl.project.types import Aggregate

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader

_PER_TIME = frozenset({"count", "sum"})
"""Aggregates that are compared per unit of time."""


@dataclass(frozen=True)
class RatioSpec(Spec):
    """One feature over another, times a factor; null where the lower one is null or 0."""

    title = "RatioSpec"
    always = ("upper", "lower", "factor")

    upper: str
    lower: str
    factor: float

    source_reads = NO_TABLES
    grouped_by = ()
    partitioned_by = None
    lookback = Lookback()
    interval = "that of the features it uses"
    nulls = "null where either window is null or the long one is 0"

    @property
    def needs(self) -> tuple[str, ...]:
        """The two features."""
        return (self.upper, self.lower)

    @property
    def reads(self) -> tuple[str, ...]:
        """The two features."""
        return self.needs

    def meaning(self, name: str, others: Mapping[str, Spec]) -> str:
        """Return the aggregate and both windows."""
        short, long = others.get(self.upper), others.get(self.lower)
        if not isinstance(short, WindowSpec) or not isinstance(long, WindowSpec):
            return name.replace("_", " ")
        per_time = " per unit of time" if short.kind in _PER_TIME else ""
        windows = f"in the last {last(short.window_us)} against the last {last(long.window_us)}"
        return f"{short.aggregate_words} {windows}{per_time}"

    def dtype(self, _name: str, _types: Types) -> str:
        """Return float."""
        return "float"


def _drafts(reader: Reader) -> Iterator[Draft]:
    """Yield trends, after the windows that they need and the model does not have."""
    there: dict[Spec, str] = {draft.spec: draft.name for draft in reader.found}
    for place, section in reader.sections("trend"):
        reader.check_entities(section.by, f"{place}.by")
        for entity in section.by:
            for item in section.aggregates:
                column = reader.checked(item, KINDS, f"{place}.aggregates")
                full = Aggregate(item.kind, column)
                ends: list[str] = []
                for length in (section.short, section.long):
                    spec = WindowSpec(entity, length.us, item.kind, column)
                    if spec not in there:
                        there[spec] = f".{window_name(entity, full, str(length))}"
                        yield Draft(there[spec], "window", entity, spec)
                    ends.append(there[spec])
                factor = section.long.seconds / section.short.seconds if item.kind in _PER_TIME else 1.0
                name = window_name(f"{entity}_trend", full, f"{section.short}_{section.long}")
                yield Draft(name, "trend", entity, RatioSpec(ends[0], ends[1], factor))


TRENDS = Family(
    "trend",
    "short windows against long ones",
    (RatioSpec,),
    _drafts,
    (("`[[features.trend]]`", "a short and a long window of *v*", RatioSpec("short", "long", 1.0)),),
)
