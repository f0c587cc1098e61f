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
GRID = float(2**48)
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

    ``places`` are the columns that it is computed from, in the order that the kind asks for: latitude and longitude;
    then those of the other place, its x, y and z, or its latitude, longitude and the seconds since.
    """

    title = "GeoSpec"
    always = ("kind", "places", "entity")
    kinds = KINDS

    kind: str
    places: tuple[str, ...]
    entity: str | None = None

    source_reads = NO_TABLES
    grouped_by = ()
    partitioned_by = None
    lookback = Lookback()
    interval = "that of the features it uses"

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
        """The entity, or the two places."""
        first, second = (" and ".join(self.places[i : i + 2]) for i in (0, 2))
        return {"entity": str(self.entity), "first": first, "second": second}

    def dtype(self, name: str, types: Types) -> str:
        """Return float; raise unless all that it needs are numbers."""
        for column in self.needs:
            if not types.columns[column].is_numeric():
                msg = f"features: {name}: {column!r} is {types.columns[column]}; expected degrees as a number"
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


def _last(steps: _Steps, entity: str, at: tuple[str, str], window: int) -> tuple[str, ...]:
    specs = [HabitSpec(entity, window, "last", column) for column in at]
    return tuple(steps.name(spec, f"{entity}_last_{spec.column}_{window}", "habits", entity) for spec in specs)


def _usual(steps: _Steps, entity: str, at: tuple[str, str], window: int) -> tuple[str, ...]:
    out = []
    for axis in AXES:
        words = f"{axis}_of_{at[0]}_{at[1]}"
        point = steps.name(GeoSpec(axis, at), words, "geo", None)
        mean = WindowSpec(entity, window, "mean", point)
        out.append(steps.name(mean, f"{entity}_mean_{words}_{window}", "window", entity))
    return tuple(out)


def _needed(steps: _Steps, kind: str, entity: str, at: tuple[str, str], window: int) -> tuple[str, ...]:
    if kind == "distance_from_usual":
        return _usual(steps, entity, at, window)
    found = _last(steps, entity, at, window)
    if kind == "distance_from_last":
        return found
    since = RecencySpec(entity, "seconds_since_last")
    return (*found, steps.name(since, f"{entity}_seconds_since_last", "recency", entity))


def _drafts(reader: Reader) -> Iterator[Draft]:
    steps = _Steps(reader)
    for place, section in reader.sections("geo"):
        at, to = _points(reader, section, place)
        tag = "" if section.name is None else f"_{section.name}"
        for item in section.aggregates:
            if item.kind == "distance":
                name = f"{section.name or at[0]}_distance" + (f"_{to[0]}" if section.name is None else "")
                yield Draft(name, "geo", None, GeoSpec("distance", (*at, *to)))
        for entity in section.by:
            for length in section.windows:
                for item in section.aggregates:
                    if item.kind != "distance":
                        places = (*at, *_needed(steps, item.kind, entity, at, length.us))
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
            GeoSpec("distance", ("lat", "lon", "shop_lat", "shop_lon")),
        ),
    ),
)
