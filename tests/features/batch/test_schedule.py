"""In which order features are computed, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from fraudctl.data.tables import Events
from fraudctl.features.batch import schedule
from fraudctl.features.batch.build import build
from fraudctl.features.meaning.definition import FeatureSet

SECTIONS = """
[[features.window]]
by = ["card", "shop"]
windows = ["1d"]
aggregates = ["count", "mean(amount)"]
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_entities_one_after_the_other_give_the_same_and_tell_how_their_events_are_grouped(
    events_of: Callable[..., Events],
    features_of: Callable[[str], FeatureSet],
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
) -> None:
    n, begin = 60, datetime(2024, 1, 1, tzinfo=UTC)
    columns: dict[str, list[Any]] = {
        "id": list(range(n)), "at": [begin + timedelta(minutes=37 * k) for k in range(n)],
        "eur": [float(k % 7) for k in range(n)], "size": [1] * n, "fraud": [0] * n, "known_at": [None] * n,
        "card_id": [f"c{k % 5}" for k in range(n)], "shop_id": [k % 3 for k in range(n)], "status": ["ok"] * n,
        "items": [None] * n, "online": [True] * n,
    }  # fmt: skip
    events, features = events_of(SECTIONS, **columns), features_of(SECTIONS)
    beside = build(events, features, timezone="UTC", threads=threads)
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(schedule, "_MOST_SIDE_BY_SIDE", 0)
    after = build(events, features, timezone="UTC", threads=threads, progress=lambda *said: told.append(said))
    assert_frame_equal(after, beside)
    words = [word for word, _, _ in told]
    steps = [f"{step} shop" for step in ("ids of", "events by", "places of events by")]
    assert [word for word in words if word in steps] == steps
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1:] == (len(features.steps),) * 2
