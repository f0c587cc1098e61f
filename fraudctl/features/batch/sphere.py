"""Places on the Earth taken for a sphere: distances, and coordinates on the unit sphere; compiled.

Degrees are null (NaN) beyond 90 of latitude and 180 of longitude. The batch engine and the online state call the same
loops, so that they give the same bits.
"""

from __future__ import annotations

import math

from fraudctl.features.batch.jit import jit
from fraudctl.features.batch.kernels import Floats
from fraudctl.features.meaning.families.geo import EARTH_KM, GRID

GEO = ("x", "y", "z", "distance", "distance_from_last", "speed_from_last", "distance_from_usual")
X, Y, Z, DISTANCE, FROM_LAST, SPEED, FROM_USUAL = range(7)
_MILLIMETRE = 1e-6
_CANCELS_OUT = 1e-9


@jit
def is_place(lat: float, lon: float) -> bool:
    """Return whether these are degrees of a place; NaN are not."""
    return abs(lat) <= 90.0 and abs(lon) <= 180.0


@jit
def coordinate(axis: int, lat: float, lon: float) -> float:
    """Return a coordinate of a place on the unit sphere, to the nearest multiple of 1 / GRID."""
    if not is_place(lat, lon):
        return math.nan
    phi, lam = math.radians(lat), math.radians(lon)
    found = math.sin(phi) if axis == Z else math.cos(phi) * (math.cos(lam) if axis == X else math.sin(lam))
    return math.floor(found * GRID + 0.5) / GRID


@jit
def distance(lat: float, lon: float, lat2: float, lon2: float) -> float:
    """Return the great-circle distance in km (haversine: Sinnott, Virtues of the Haversine, 1984)."""
    if not (is_place(lat, lon) and is_place(lat2, lon2)):
        return math.nan
    phi, phi2 = math.radians(lat), math.radians(lat2)
    up, along = math.sin(0.5 * (phi2 - phi)), math.sin(0.5 * math.radians(lon2 - lon))
    half = math.sqrt(up * up + math.cos(phi) * math.cos(phi2) * (along * along))
    return 2.0 * EARTH_KM * math.asin(min(half, 1.0))


@jit
def from_usual(lat: float, lon: float, x: float, y: float, z: float) -> float:
    """Return the distance in km from the direction of a mean of places; below a millimetre it is 0."""
    length = math.sqrt(x * x + y * y + z * z)
    if not is_place(lat, lon) or not length >= _CANCELS_OUT:
        return math.nan
    dx = coordinate(X, lat, lon) - x / length
    dy = coordinate(Y, lat, lon) - y / length
    dz = coordinate(Z, lat, lon) - z / length
    found = 2.0 * EARTH_KM * math.asin(min(0.5 * math.sqrt(dx * dx + dy * dy + dz * dz), 1.0))
    return found if found >= _MILLIMETRE else 0.0


@jit
def geo(kind: int, row: Floats) -> float:
    """Compute one kind from the values that its spec needs, in their order; NaN is null."""
    if kind <= Z:
        return coordinate(kind, row[0], row[1])
    if kind == FROM_USUAL:
        return from_usual(row[0], row[1], row[2], row[3], row[4])
    apart = distance(row[0], row[1], row[2], row[3])
    if kind != SPEED:
        return apart
    return apart / (row[4] / 3600.0) if row[4] > 0.0 else math.nan


@jit
def geos(kind: int, rows: Floats, out: Floats, i0: int, i1: int) -> None:
    """Compute one kind for rows ``[i0, i1)``; shapes (n, n_needs) and (n,)."""
    for i in range(i0, i1):
        out[i] = geo(kind, rows[i])
