"""Geography: distances on a sphere, and speeds, from columns of latitude and longitude."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.families.base import NO_TABLES, Draft, Family, Kind, OfKind, Spec, Types
from fraudctl.features.meaning.families.habits import HabitSpec
from fraudctl.features.meaning.families.recency import RecencySpec
from fraudctl.features.meaning.families.windows import WindowSpec
from fraudctl.features.meaning.lookback import Lookback

if TYPE_CHECKING:
    from fraudctl.features.meaning.sections import Reader
    from fraudctl.project.features import GeoSection

EARTH_KM = 6371.0088
"""Mean radius of the Earth (IUGG): distances are those on a sphere of that radius."""
GRID = float(2**40)
"""Coordinates of places on the unit sphere are whole multiples of 1 / GRID, so that their sums are exact."""
AXES = ("x", "y", "z")
_NULL_PLACE = "null where a coordinate is null or out of range"
KINDS = {
    "distance_from_last": Kind(
        "distance in km from the latest earlier event of the {entity}",
        "float",
        _NULL_PLACE + " at one of the two events, or no event is in the window",
    ),
    "speed_from_last": Kind(
        "speed in km/h from the latest earlier event of the {entity} to this one",
        "float",
        _NULL_PLACE + " at one of the two events, or no event is in the window",
    ),
    "distance_from_usual": Kind(
        "distance in km from the usual place of the {entity}",
        "float",
        _NULL_PLACE + ", no earlier place is in the window, or its places cancel out",
    ),
    "distance": Kind("distance in km from {first} to {second}", "float", _NULL_PLACE),
}
ASKED = dict(KINDS)
"""Those that a project file may ask for."""
KINDS |= {axis: Kind(axis + " of {first} on the unit sphere", "float", _NULL_PLACE) for axis in AXES}


@dataclass(frozen=True)
class GeoSpec(OfKind):
    """A distance in km (haversine, on a sphere of `EARTH_KM`), a speed in km/h, or a coordinate, from one row.

    ``places`` are what it is computed from: latitude and longitude of a place for a coordinate; for all others the
    coordinates of two places, and the seconds between them for a speed.
    """

    title = "GeoSpec"
    always = ("kind", "places", "entity")
    kinds = KINDS

    kind: str
    places: tuple[str, ...]
    entity: str | None = None

    source_reads = NO_TABLES
    partitioned_by = None
    lookback = Lookback()
    interval = "that of the features it uses"

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """The entity whose other places are compared."""
        return () if self.entity is None else (self.entity,)

    @property
    def needs(self) -> tuple[str, ...]:
        """Both places."""
        return self.places

    @property
    def reads(self) -> tuple[str, ...]:
        """Both places."""
        return self.places

    @property
    def named(self) -> Mapping[str, str]:
        """The entity, and the first columns."""
        return {"entity": str(self.entity), "first": " and ".join(self.places[:2])}

    def meaning(self, name: str, others: Mapping[str, Spec]) -> str:
        """Return the words of the kind; a place is named by the columns of its coordinates."""
        if self.kind != "distance":
            return super().meaning(name, others)
        first, second = (" and ".join(others[self.places[i]].needs) for i in (0, 3))
        return self.kinds[self.kind].words.format(first=first, second=second)

    def dtype(self, name: str, types: Types) -> str:
        """Return float; raise unless all that it needs are numbers."""
        for column in self.needs:
            if not types.columns[column].is_numeric():
                msg = f"features: places need numbers of degrees, but the column {column!r} is {types.columns[column]}"
                raise ProjectError(msg)
        return super().dtype(name, types)


class _Steps:
    """Features that others are built on: those that are there already, and hidden ones where they are not."""

    def __init__(self, reader: Reader) -> None:
        self.there: dict[Spec, str] = {draft.spec: draft.name for draft in reader.found}
        self.new: list[Draft] = []

    def name(self, spec: Spec, words: str, family: str, entity: str | None) -> str:
        """Return the name of a feature, which is made under ``.words`` where there is none."""
        if spec not in self.there:
            self.there[spec] = f".{words}"
            self.new.append(Draft(f".{words}", family, entity, spec))
        return self.there[spec]

    def taken(self) -> list[Draft]:
        """Return the features that were made since the last time."""
        new, self.new = self.new, []
        return new


def _place(steps: _Steps, at: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the coordinates of a place of the event."""
    lat, lon = at
    return tuple(steps.name(GeoSpec(axis, (lat, lon)), f"{axis}_of_{lat}_{lon}", "geo", None) for axis in AXES)


def _other(steps: _Steps, kind: str, entity: str, here: tuple[str, ...], window: int) -> tuple[str, ...]:
    """Return the names of the coordinates of the place that the event's own is compared with, and of the seconds."""
    out = []
    for point in here:
        usual = kind == "distance_from_usual"
        spec = WindowSpec(entity, window, "mean", point) if usual else HabitSpec(entity, window, "last", point)
        family, what = ("window", "mean") if usual else ("habits", "last")
        out.append(steps.name(spec, f"{entity}_{what}_{point.removeprefix('.')}_{window}", family, entity))
    if kind == "speed_from_last":
        since = RecencySpec(entity, "seconds_since_last")
        out.append(steps.name(since, f"{entity}_seconds_since_last", "recency", entity))
    return tuple(out)


def _drafts(reader: Reader) -> Iterator[Draft]:
    steps = _Steps(reader)
    for place, section in reader.sections("geo"):
        at, to = _points(reader, section, place)
        tag = "" if section.name is None else f"_{section.name}"
        for item in section.aggregates:
            if item.kind == "distance":
                places = (*_place(steps, at), *_place(steps, to))
                yield from steps.taken()
                name = f"{section.name or at[0]}_distance" + (f"_{to[0]}" if section.name is None else "")
                yield Draft(name, "geo", None, GeoSpec("distance", places))
        for entity in section.by:
            for length in section.windows:
                for item in section.aggregates:
                    if item.kind != "distance":
                        here = _place(steps, at)
                        places = (*here, *_other(steps, item.kind, entity, here, length.us))
                        yield from steps.taken()
                        spec = GeoSpec(item.kind, places, entity)
                        yield Draft(f"{entity}{tag}_{item.kind}_{length}", "geo", entity, spec)


def _points(reader: Reader, section: GeoSection, place: str) -> tuple[tuple[str, str], tuple[str, ...]]:
    """Return the columns of the two places; raise where anything of the section is not there."""
    reader.check_section(section, ASKED, place)
    lat, lon = (reader.named(column, f"{place}.at:") for column in section.at)
    return (lat, lon), tuple(reader.named(column, f"{place}.to:") for column in section.to or ())


GEO = Family(
    "geo",
    "places",
    (GeoSpec,),
    _drafts,
    (
        (
            "`[[features.geo]]`",
            "the event's own place, and earlier ones of *v*",
            GeoSpec("distance", ("x", "y", "z", "x2", "y2", "z2")),
        ),
    ),
)
