"""Places on the Earth taken for a sphere: coordinates on the unit sphere, distances and speeds; compiled.

Degrees are null (NaN) beyond 90 of latitude and 180 of longitude. The batch engine and the online state call the same
functions, so that they give the same bits.
"""

from __future__ import annotations

import math

import numpy as np

from fraudctl.features.batch.jit import jit
from fraudctl.features.batch.kernels import Array, Floats, Ints
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


@jit
def journeys(  # noqa: C901
    x: Floats, y: Floats, z: Floats, h_times: Ints, q_times: Ints, q_starts: Ints, at: Array, lo: Array, hi: Array,
    places: Array, slots: Ints, out: Floats, g0: int, g1: int,
) -> None:  # fmt: skip
    """Write the distance and the speed from the latest place of a range, and the distance from its mean.

    Parameters
    ----------
    x, y, z, h_times
        Shape (m,): coordinates (all NaN for null) and µs by position, in the order of entities and time.
    at, lo, hi
        Shape (n,): the position of each event, and the range that it sees.
    slots
        Shape (3,): columns of ``out``, or -1.
    out
        Shape (n, n_features): a block's floats, at the places of the events.
    g0, g1
        The groups to work on; none has 2^22 events.
    """
    from_last, speed, usual = slots[0], slots[1], slots[2]
    for g in range(g0, g1):
        if q_starts[g] == q_starts[g + 1]:
            continue
        left = seen = np.int64(lo[q_starts[g]])
        n, sum_x, sum_y, sum_z = 0, np.int64(0), np.int64(0), np.int64(0)
        for i in range(q_starts[g], q_starts[g + 1]):
            own, place = at[i], places[i]
            if from_last >= 0 or speed >= 0:
                last = hi[i] - 1
                there = last >= lo[i]
                before = (x[last], y[last], z[last]) if there else (math.nan, math.nan, math.nan)
                seconds = (q_times[i] - h_times[last]) / 1e6 if there else 0.0
                km = apart(FROM_LAST, x[own], y[own], z[own], before[0], before[1], before[2], 0.0)
                if from_last >= 0:
                    out[place, from_last] = km
                if speed >= 0:
                    out[place, speed] = km / (seconds / 3600.0) if seconds > 0.0 else math.nan
            if usual < 0:
                continue
            while seen < hi[i]:
                if not math.isnan(x[seen]):
                    n += 1
                    sum_x += np.int64(x[seen] * GRID)
                    sum_y += np.int64(y[seen] * GRID)
                    sum_z += np.int64(z[seen] * GRID)
                seen += 1
            while left < lo[i]:
                if not math.isnan(x[left]):
                    n -= 1
                    sum_x -= np.int64(x[left] * GRID)
                    sum_y -= np.int64(y[left] * GRID)
                    sum_z -= np.int64(z[left] * GRID)
                left += 1
            if n == 0:
                out[place, usual] = math.nan
                continue
            out[place, usual] = apart(
                FROM_USUAL, x[own], y[own], z[own], sum_x / GRID / n, sum_y / GRID / n, sum_z / GRID / n, 0.0
            )
