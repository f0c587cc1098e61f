"""More features that fraud teams use: habits, gaps, fading sums, distances, and what strangers share.

Owns which of them the columns allow, and their lines in the project file. They are active only where a later period
says that they pay, which `fraudctl.workflows.measure` finds out; else they stand there as comments with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fraudctl.data import typed
from fraudctl.project.toml import quoted
from fraudctl.project.types import Aggregate
from fraudctl.propose import names
from fraudctl.propose.plan import HOLDERS, FeaturePlan, spoken
from fraudctl.propose.profile import Table
from fraudctl.propose.roles import Entity

if TYPE_CHECKING:
    from fraudctl.documents.types import JsonObject
    from fraudctl.propose.beside import Source

NOT_MEASURED: Final = "not measured: `fraudctl init --measure` holds it against later periods"
_SHARED: Final = frozenset({"device", "ip", "email", "phone", "address", "fingerprint", "wallet", "iban"})
_LATITUDE: Final = frozenset({"lat", "latitude"})
_LONGITUDE: Final = frozenset({"lon", "lng", "long", "longitude"})
_UNIT: Final = {"h": 3_600.0, "d": 86_400.0}
_MOST_COLUMNS: Final = 4
_GAPS: Final = ("median_gap", "min_gap", "equal_gaps")


Section = dict[str, str | int | tuple[str, ...]]
"""One table of the project file."""


@dataclass(frozen=True)
class Extra:
    """Features of one family that the columns allow.

    Attributes
    ----------
    family
        Key of the section, as in ``[[features.habits]]``; of the features of an entity ``entities.NAME``.
    words
        What they are.
    sections
        The tables, each after the key of its section: key -> value, texts and lists of texts or a whole number.
    n_features
        How many features they make.
    active
        Whether they are in the project.
    reason
        What a later period says, or that none was asked.
    entity
        The entity whose features they all are, which is in the project where they are; None of entities that are there.
    """

    family: str
    words: str
    sections: tuple[tuple[str, Section], ...]
    n_features: int
    active: bool = False
    reason: str = NOT_MEASURED
    entity: Entity | None = None

    def to_dict(self) -> JsonObject:
        """Give it as JSON values."""
        found: JsonObject = {"n_features": self.n_features, "active": self.active, "reason": self.reason}
        return found if self.entity is None else found | {"sql": self.entity.sql}

    def owns(self, family: str, entity: str | None) -> bool:
        """Say whether a feature of this family and entity is one of these."""
        return family == self.family if self.entity is None else entity == self.entity.name

    @property
    def lines(self) -> list[str]:
        """Its lines in the project file."""
        out = []
        for family, section in self.sections:
            out += [f"[[features.{family}]]", *(f"{key} = {_toml(value)}" for key, value in section.items())]
        return out


def _toml(value: str | int | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(quoted, value)) + "]"
    return quoted(value) if isinstance(value, str) else str(value)


def extras_of(
    table: Table, entities: Sequence[Entity], plan: FeaturePlan, taken: Iterable[str], *, has_amount: bool
) -> tuple[Extra, ...]:
    """Return what the columns and the histories of the entities allow; nothing where no entity has a history.

    Parameters
    ----------
    taken
        Columns that must not be a feature.
    """
    party = plan.payer
    if party is None:
        return ()
    others = [item.name for item in entities if item.name != party and item.name not in HOLDERS]
    longest = max(
        (window for group in plan.window if party in group.by and group.source is None for window in group.windows),
        key=_seconds,
    )
    found = [
        _habits(party, longest, plan.categorical, others, has_amount=has_amount),
        Extra(
            "spacing", f"the rhythm of the {spoken(party)}'s latest events: machines keep one",
            (("spacing", {"by": (party,), "last": 5, "windows": (longest,), "aggregates": _GAPS}),), 3,
        ),
        _decay(party, longest, has_amount=has_amount),
        *_geo(party, longest, table, set(taken)),
        *_links(party, others),
    ]  # fmt: skip
    return tuple(found)


def _seconds(window: str) -> float:
    return int(window[:-1]) * _UNIT[window[-1]]


def _habits(party: str, longest: str, columns: Sequence[str], others: Sequence[str], *, has_amount: bool) -> Extra:
    """Give how usual the event's values are for the payer."""
    compared = [name for name in columns if name not in others][:_MOST_COLUMNS]
    aggregates = ["rank(amount)", "last(amount)"] if has_amount else []
    aggregates += [str(Aggregate("share", name)) for name in (*compared, *others[:2])]
    aggregates += [str(Aggregate("changed", name)) for name in compared[:2]]
    words = f"how usual the event's values are for the {spoken(party)}"
    section: Section = {"by": (party,), "windows": (longest,), "aggregates": tuple(aggregates)}
    return Extra("habits", words, (("habits", section),), len(aggregates))


def _decay(party: str, longest: str, *, has_amount: bool) -> Extra:
    lives = tuple(text for text in ("1h", "1d", "7d") if _seconds(text) * 4 <= max(_seconds(longest), 4 * 3_600.0))
    aggregates = ("count", "sum(amount)") if has_amount else ("count",)
    words = f"events of the {spoken(party)}, the less the older they are"
    section: Section = {"by": (party,), "half_lives": lives, "aggregates": aggregates}
    return Extra("decay", words, (("decay", section),), len(lives) * len(aggregates))


def _geo(party: str, longest: str, table: Table, taken: set[str]) -> Iterator[Extra]:
    """Give distances where columns are named as latitude and longitude, and hold degrees."""
    pairs = list(places(table, taken).values())
    if not pairs:
        return
    pairs.sort(key=lambda pair: -table.columns[pair[0]].n_unique)  # the event's own place takes the most values
    section: Section = {"at": pairs[0]}
    aggregates = ["distance_from_last", "speed_from_last", "distance_from_usual"]
    if len(pairs) > 1:
        section["to"] = pairs[1]
        aggregates.append("distance")
    section |= {"by": (party,), "windows": (longest,), "aggregates": tuple(aggregates)}
    words = f"how far the event is from where the {spoken(party)} was, and how fast it would have had to travel"
    yield Extra("geo", words, (("geo", section),), len(aggregates))


def places(table: Table, taken: set[str]) -> dict[tuple[str, ...], tuple[str, str]]:
    """Return pairs of columns with latitude and longitude in degrees, by the rest of their names.

    Names nominate: latitude and longitude, or short forms, with the same other words. Values decide: numbers within
    ±90 and ±180 degrees that are not all whole.
    """
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for item in table.columns.values():
        words = names.tokens(item.name)
        for axis, known, limit in (("lat", _LATITUDE, 90.0), ("lon", _LONGITUDE, 180.0)):
            if set(words) & known and item.kind in {"number", "whole"} and item.name not in taken and item.n_filled:
                values = typed.to_amount(table[item.name]).drop_nulls()
                inside = len(values) and bool((values.abs() <= limit).all())
                if inside and bool((values != values.round()).any()):
                    rest = tuple(word for word in words if word not in known)
                    found.setdefault(rest, {})[axis] = item.name
    return {rest: (pair["lat"], pair["lon"]) for rest, pair in found.items() if len(pair) == 2}


def _links(party: str, others: Sequence[str]) -> Iterator[Extra]:
    """Give what the payer shares with strangers: the first other entity that is not meant to be shared."""
    shared = [name for name in others if set(name.split("_")) & _SHARED and name != "ip"]
    if shared:
        section: Section = {"of": (party, shared[0]), "aggregates": ("neighbours", "neighbour_frauds")}
        words = (
            f"other {spoken(party)}s that used a {spoken(shared[0])} of this {spoken(party)}, and their known frauds"
        )
        yield Extra("links", words, (("links", section),), 2)


def of_sources(sources: Sequence[Source]) -> Iterator[Extra]:
    """Give the attributes of other tables, each of the first entity of its table, as they were known at the event."""
    found = [(item, next(iter(item.entities))) for item in sources if item.attributes]
    if found:
        sections: list[tuple[str, Section]] = [
            ("lookup", {"source": item.name, "by": (entity,), "columns": item.attributes}) for item, entity in found
        ]
        tables = ", ".join(f"{spoken(entity)} in {spoken(item.name)}" for item, entity in found)
        words = f"attributes of the {tables}, as known at the event; of dates and times their age"
        yield Extra("lookup", words, tuple(sections), sum(len(item.attributes) for item, _ in found))


def of_derived(entity: Entity, plan: FeaturePlan, payer: str | None) -> Extra | None:
    """Return the features of a derived entity that the plan for it alone has; None where it has no past.

    Parameters
    ----------
    plan
        From `plan_features` with this entity alone.
    payer
        The entity whose different ids are counted.
    """
    if not plan.window:
        return None
    windows = [
        group for group in plan.window if entity.name in group.by and "amount_is_high" not in group.aggregates[0]
    ]
    lengths = sorted({window for group in windows for window in group.windows}, key=_seconds)
    ends, by = tuple(dict.fromkeys((lengths[0], lengths[-1]))), (entity.name,)
    sections: list[tuple[str, Section]] = [("window", {"by": by, "windows": ends, "aggregates": ("count",)})]
    n_features = len(ends)
    if payer is not None:
        sections.append(("window", {"by": by, "windows": ends[-1:], "aggregates": (f"nunique({payer})",)}))
        n_features += 1
    known = sorted({window for group in plan.labels for window in group.windows}, key=_seconds)[-1:]
    if known:
        rates = ("fraud_count", "smoothed_rate")
        sections.append(("labels", {"by": by, "windows": tuple(known), "aggregates": rates, "prior_strength": 5}))
        n_features += len(rates)
    sections.append(("recency", {"by": by, "aggregates": ("seconds_since_last",)}))
    words = f"histories of {spoken(entity.name)} ({entity.reason})"
    return Extra(f"entities.{entity.name}", words, tuple(sections), n_features + 1, entity=entity)


def as_json(extras: Iterable[Extra]) -> Mapping[str, Any]:
    """Give extras as JSON values, by family."""
    return {item.family: item.to_dict() for item in extras}
