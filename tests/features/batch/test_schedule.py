"""In which order features are computed, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from fraudctl.data.tables import Events
from fraudctl.features.batch import groups, schedule
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
    monkeypatch.setattr(groups, "_LEAST_SHARED", 10)
    after = build(events, features, timezone="UTC", threads=threads, progress=lambda *said: told.append(said))
    assert_frame_equal(after, beside)
    words = [word for word, _, _ in told]
    steps = [f"{step} shop" for step in ("ids of", "events by", "places of events by")]
    assert [word for word in words if word in steps] == steps
    assert {f"{n} rows, card_count_1d", f"{n} rows, shop_count_1d"} < set(words)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1:] == (len(features.steps),) * 2


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 7, 100])
def test_workers_do_all_rows_once_and_tell_how_many_are_done(
    monkeypatch: pytest.MonkeyPatch, threads: int, n: int
) -> None:
    monkeypatch.setattr(groups, "_LEAST_SHARED", 2)
    monkeypatch.setattr(groups, "_MOST_A_SHARE", 5)
    told: list[tuple[int, int]] = []
    workers = groups.Workers(threads, lambda *said: told.append(said))
    times = np.zeros(n, np.int64)

    def count(start: int, stop: int) -> None:
        times[start:stop] += 1

    workers.spread(n, count)
    workers.run(np.arange(n + 1), count)
    assert times.tolist() == [2] * n
    assert told == sorted(told[: len(told) // 2]) * 2
    assert (told[-1] == (n, n)) if n > 1 else not told
    assert len(told) >= 2 * (n // 5) or n < 5
