"""What a state holds by the values of an entity does what a dictionary would, however often it was saved between."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from fraudctl.features.online.ledger import Ledger
from fraudctl.features.online.saved_keys import Hashed, LatestRows, SlotMap
from fraudctl.features.online.values import from_json, to_json


def drawn(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


def hashes(kind: str) -> Hashed:
    """The ledger's, or ones whose first words are few."""
    hashed = Ledger(1, [0], b"key").hashed
    return hashed if kind == "keyed" else lambda value: (hashed(value)[0] % 5 - 2, hashed(value)[1])


def value_of(rng: random.Random, *, texts: bool) -> int | str:
    number = rng.randrange(-60, 60)
    return f"v{number}\ud800" if texts else number


@pytest.mark.parametrize("kind", ["keyed", "few"])
@pytest.mark.parametrize(("texts", "kept"), [(True, True), (True, False), (False, False)])
def test_slots_are_found_as_in_a_dictionary(kind: str, texts: bool, kept: bool) -> None:
    rng, found = drawn(1), SlotMap(hashes(kind), kept=kept)
    known: dict[int | str, int] = {}
    free = [*range(1000, 1200)]
    for _ in range(6_000):
        value = value_of(rng, texts=texts)
        assert found.get(value) == known.get(value)
        assert (value in found) == (value in known)
        if value not in known:
            known[value] = free.pop(rng.randrange(len(free)))
            if rng.random() < 0.5:
                found.add(value, known[value])
            else:
                found.add_all([value], [known[value]])
        elif not kept and rng.random() < 0.8:
            free.append(slot := known.pop(value))
            found.forget(slot)
        assert len(found) == len(known)
        if rng.random() < 0.02:
            words = found.save().copy()
            if rng.random() < 0.7:
                found = SlotMap(hashes(kind), kept=kept)
                found.restore(words)
    assert {value: found[value] for value in known} == known
    with pytest.raises(KeyError):
        found["never"]


def written(row: Any) -> Any:
    return [to_json(row[0]), to_json(row[1])]


def read(saved: Any) -> Any:
    return from_json(saved[0]), from_json(saved[1])


@pytest.mark.parametrize("kind", ["keyed", "few"])
@pytest.mark.parametrize("texts", [True, False])
def test_rows_are_found_and_ordered_as_in_an_ordered_dictionary(kind: str, texts: bool) -> None:
    rng, found = drawn(2), LatestRows(hashes(kind), written, read)
    known: dict[int | str, Any] = {}
    for time in range(6_000):
        value = value_of(rng, texts=texts)
        assert found.get(value) == known.get(value)
        if rng.random() < 0.5:
            known.pop(value, None)
            known[value] = (time, True), (value, None, 0.1 * time)
            found.put(value, known[value])
        if known and rng.random() < 0.4:
            assert found.first() == next(iter(known.values()))
            del known[next(iter(known))]
            found.forget_first()
        assert len(found) == len(known)
        assert found.first() == next(iter(known.values()), None)
        if rng.random() < 0.02:
            words = found.save().copy()
            if rng.random() < 0.7:
                found = LatestRows(hashes(kind), written, read)
                found.restore(words)
                assert np.array_equal(found.save(), words)
