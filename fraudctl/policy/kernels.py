"""The inner loops behind scarce actions, compiled: what a place is worth, and who gets one."""

from __future__ import annotations

import numpy as np

from fraudctl.arrays import AnyArray, FloatArray, IntArray
from fraudctl.features.batch.jit import jit


@jit
def place_values(
    gain: FloatArray, forced: AnyArray, chance: FloatArray, slot: IntArray, n_slots: int, n_places: int
) -> FloatArray:
    """Return what one more place is worth, shape ``(n_slots, n_places)``: column k - 1 with k places left.

    ``value[k]`` is the expected benefit of what is still to come with k places left, counted backwards from the end of
    the period: an event that comes with probability q and would gain g is served where g exceeds the value of the place
    that it takes, so ``value[k] += q max(g - (value[k] - value[k - 1]), 0)``; a ``forced`` one is served whatever it
    gains. Events come in falling time. A slot has the mean over its events, or, without any, the value at its end.
    """
    value = np.zeros(n_places + 1)
    found = np.zeros((n_slots, n_places))
    at = 0
    for number in range(n_slots - 1, -1, -1):
        first = at
        while at < len(gain) and slot[at] == number:
            below = value[0]
            for k in range(1, n_places + 1):
                here = value[k]
                worth = here - below
                below = here
                found[number, k - 1] += max(worth, 0.0)
                if forced[at] or gain[at] > worth:
                    value[k] = here + chance[at] * (gain[at] - worth)
            at += 1
        for k in range(n_places):
            if at > first:
                found[number, k] /= at - first
            else:
                found[number, k] = max(value[k + 1] - value[k], 0.0)
    return found


@jit
def cheapest(priced: FloatArray, room: AnyArray, first: int, last: int) -> int:
    """Return the cheapest action with room in ``[first, last)``, of equals the mildest; -1 where none has room."""
    code = -1
    for a in range(first, last):
        if room[a] and (code < 0 or priced[a] < priced[code]):
            code = a
    return code


@jit
def pick(priced: FloatArray, room: AnyArray, floor: int) -> int:
    """Return the action of one event; see `places.serve_in_turn`."""
    n_actions = len(priced)
    if floor > np.argmin(priced):
        for a in range(floor, n_actions):
            if room[a]:
                return a
    code = cheapest(priced, room, floor, n_actions)
    return code if code >= 0 else cheapest(priced, room, 0, floor)


@jit
def serve(
    cost: FloatArray,
    floor: AnyArray,
    limited: IntArray,
    period: IntArray,
    slot: IntArray,
    left: IntArray,
    limit: IntArray,
    level: IntArray,
    level_start: IntArray,
    price: FloatArray,
    price_start: IntArray,
    n_levels: IntArray,
) -> tuple[AnyArray, IntArray]:
    """Serve events one after the other; return the action of each, and the slots left when it came.

    Parameters
    ----------
    cost
        Expected cost of each action without the price of its place, ``(n_events, n_actions)``.
    floor
        Mildest action that a rule allows, ``(n_events,)``.
    limited
        Codes of the scarce actions, ``(n_limited,)``.
    period, slot
        Place of each event's period in ``left``, and its part of the period, ``(n_limited, n_events)``.
    left
        Places left in each period of each scarce action; counted down.
    limit, level, level_start
        Of each scarce action: its places, and at ``level[level_start + k]`` the level of its prices with k left.
    price, price_start, n_levels
        Of each scarce action: at ``price[price_start + slot * n_levels + level]`` the price of a place.
    """
    n_events, n_actions = cost.shape
    out = np.zeros(n_events, dtype=np.int8)
    room_left = np.zeros((len(limited), n_events), dtype=np.int64)
    priced = np.empty(n_actions)
    room = np.empty(n_actions, dtype=np.bool_)
    for i in range(n_events):
        room[:] = True
        priced[:] = cost[i]
        for j in range(len(limited)):
            have = left[period[j, i]]
            room_left[j, i] = have
            room[limited[j]] = have > 0
            at = level[level_start[j] + min(max(have, 0), limit[j])]
            priced[limited[j]] += price[price_start[j] + slot[j, i] * n_levels[j] + at]
        code = pick(priced, room, floor[i])
        for j in range(len(limited)):
            if limited[j] == code:
                left[period[j, i]] -= 1
        out[i] = code
    return out, room_left
