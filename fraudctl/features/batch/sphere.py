"""Places on the Earth taken for a sphere: coordinates on the unit sphere, distances and speeds; compiled.

Degrees are null (NaN) beyond 90 of latitude and 180 of longitude. The batch engine and the online state call the same
functions, so that they give the same bits.
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
def coordinate(axis: int, lat: float, lon: float) -> float:
    """Return a coordinate of a place on the unit sphere, to the nearest multiple of 1 / GRID."""
    if not (abs(lat) <= 90.0 and abs(lon) <= 180.0):
        return math.nan
    phi, lam = math.radians(lat), math.radians(lon)
    found = math.sin(phi) if axis == Z else math.cos(phi) * (math.cos(lam) if axis == X else math.sin(lam))
    return math.floor(found * GRID + 0.5) / GRID


@jit
def apart(kind: int, x: float, y: float, z: float, x2: float, y2: float, z2: float, seconds: float) -> float:
    """Return the great-circle distance in km of two places on the unit sphere, or the speed in km/h; NaN is null.

    The chord between the places is twice the root of the haversine of their angle (Sinnott, Virtues of the Haversine,
    1984). The second place may be a mean of places, which lies within the sphere; below a millimetre a distance is 0.
    """
    if kind == FROM_USUAL:
        length = math.sqrt(x2 * x2 + y2 * y2 + z2 * z2)
        if not length >= _CANCELS_OUT:
            return math.nan
        x2, y2, z2 = x2 / length, y2 / length, z2 / length
    chord = math.sqrt((x - x2) * (x - x2) + (y - y2) * (y - y2) + (z - z2) * (z - z2))
    if math.isnan(chord):
        return math.nan
    km = 2.0 * EARTH_KM * math.asin(min(0.5 * chord, 1.0))
    km = km if km >= _MILLIMETRE else 0.0
    if kind != SPEED:
        return km
    return km / (seconds / 3600.0) if seconds > 0.0 else math.nan


@jit
def coordinates(axis: int, lat: Floats, lon: Floats, out: Floats, i0: int, i1: int) -> None:
    """Write a coordinate of places ``[i0, i1)``; all arrays have shape (n,)."""
    for i in range(i0, i1):
        out[i] = coordinate(axis, lat[i], lon[i])


@jit
def distances(
    kind: int, x: Floats, y: Floats, z: Floats, x2: Floats, y2: Floats, z2: Floats, seconds: Floats, out: Floats,
    i0: int, i1: int,
) -> None:  # fmt: skip
    """Write what `apart` gives of rows ``[i0, i1)``; all arrays have shape (n,)."""
    for i in range(i0, i1):
        out[i] = apart(kind, x[i], y[i], z[i], x2[i], y2[i], z2[i], seconds[i])
