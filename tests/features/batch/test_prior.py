"""The fraud rate of all events, added up part by part: the very values of the engine that has all rows at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from fraudctl.data.labels import CHANGE_TYPE, CHANGES, UTC_US
from fraudctl.features.batch.engine import PRIOR, Engine
from fraudctl.features.batch.groups import Workers
from fraudctl.features.batch.prior import write_prior

BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)


def world(random: np.random.Generator, *, changed: bool) -> pl.DataFrame:
    """Draw events of few instants, some without a label, some labels known at once, late, or twice."""

    def later(at: datetime, least: int, below: int) -> datetime:
        return at + timedelta(hours=int(random.integers(least, below)))

    times, labels, known, changes = [], [], [], []
    for hour in np.sort(random.integers(0, 20, random.integers(1, 30))).tolist():
        at = BEGINNING + timedelta(hours=hour)
        label, first = int(random.random() < 0.4), later(at, 0, 6)
        second = later(first, 1, 5) if changed and random.random() < 0.4 else None
        unlabelled = random.random() < 0.2
        times.append(at)
        labels.append(None if unlabelled else label)
        known.append(None if unlabelled else second or first)
        both = [{"time": first, "label": 1 - label}, {"time": second, "label": label}]
        changes.append(both if second and not unlabelled else None)
    frame = pl.DataFrame(
        {"event_time": times, "label": labels, "label_time": known},
        schema={"event_time": UTC_US, "label": pl.Int8, "label_time": UTC_US},
    )
    return frame.with_columns(pl.Series(CHANGES, changes, dtype=CHANGE_TYPE)) if changed else frame


@pytest.mark.parametrize("changed", [False, True])
def test_parts_add_up_to_the_rate_of_all(changed, tmp_path, features_of):
    features, random = features_of('[[features.labels]]\nby = "card"\nwindows = ["1d"]\n'), np.random.default_rng(3)
    for number in range(100):
        frame, size = world(random, changed=changed), int(random.integers(1, 8))
        parts = [frame[start : start + size] for start in range(0, frame.height, size)]
        folder, told = tmp_path / str(number), []
        folder.mkdir()
        found = write_prior(
            parts.__getitem__, lambda i, parts=parts: parts[i]["event_time"].dt.epoch("us").to_numpy(),
            [part.height for part in parts], folder, rows=int(random.integers(1, 12)), tell=told.append,
        )  # fmt: skip
        rates = np.concatenate([found.columns(i, [PRIOR])[PRIOR].to_numpy() for i in range(len(parts))])
        np.testing.assert_array_equal(rates, Engine(frame, features, "UTC", {}, Workers(1)).known_fraud_rate)
        assert not list(folder.glob("*.bin"))
        assert told == sorted(told)
        assert told[-1] == frame.height
