"""Arrays in files hold what arrays in memory hold; sums of stretches and orders of parts are those of all at once."""

from __future__ import annotations

import errno
import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.monitor.cohort_source import in_order, rows_by_cohort
from fraudctl.monitor.delays import LabelArrivals, label_stops
from fraudctl.monitor.row_arrays import RowArrays
from fraudctl.policy.constant import PeriodOrder, with_order
from fraudctl.project import parse_project

from .conftest import MONDAY, TEXT

DAY = 86_400.0


@pytest.mark.parametrize("in_files", [False, True])
def test_what_was_let_go_is_there_when_it_is_looked_at(in_files: bool, tmp_path: Path) -> None:
    arrays = RowArrays(tmp_path if in_files else None)
    values, flags = arrays.empty((5_000, 3), np.float64), arrays.empty((5_000,), np.bool_)
    nothing = arrays.empty((0, 3), np.float64)
    numbers = np.random.default_rng(1).random((5_000, 3))
    for first in range(0, 5_000, 700):
        values[first : first + 700] = numbers[first : first + 700]
        flags[first : first + 700] = numbers[first : first + 700, 0] > 0.5
        arrays.let_go()
    assert (values == numbers).all()
    assert (flags == (numbers[:, 0] > 0.5)).all()
    assert nothing.shape == (0, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
        RowArrays(tmp_path).empty((5_000, 3), np.float64)
    assert RowArrays().empty((5_000, 3), np.float64).shape == (5_000, 3)


@pytest.mark.parametrize("missing", [True, False])
def test_room_is_taken_by_writing_where_it_cannot_be_reserved(
    missing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    if missing:
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", unable)
    values = RowArrays(tmp_path).empty((200_000, 3), np.float64)
    values[:] = np.arange(600_000).reshape(200_000, 3)
    assert values.sum() == 600_000 * 599_999 / 2


@pytest.mark.parametrize("per", ["day", "week"])
@pytest.mark.parametrize("size", [1, 7, 40, 1_000])
def test_orders_of_parts_are_those_of_all_events(per: str, size: int) -> None:
    project = parse_project(TEXT.replace("6 per day", f"6 per {per}"), path=Path("/nowhere/fraudctl.toml"))
    hours = np.sort(np.random.default_rng(2).integers(0, 24 * 20, 300)).tolist()
    frame = pl.DataFrame({"event_time": [MONDAY + timedelta(hours=hour) for hour in hours]})
    orders = PeriodOrder(project)
    parts = [orders.ordered(frame[start : start + size]) for start in range(0, frame.height, size)]
    assert pl.concat(parts).equals(with_order(frame, project))


@settings(deadline=None, max_examples=150)
@given(
    days=st.lists(st.sampled_from([0.0, 0.2, 0.6, 1.1, 1.6, 2.5, 4.0]), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    seed=st.integers(0, 5),
)
def test_stops_of_labels_that_come_in_parts_are_those_of_all(days: list[float], cuts: list[int], seed: int) -> None:
    times = np.cumsum(days) * DAY - 3 * DAY
    mixed = np.random.default_rng(seed).permutation(times)
    found = LabelArrivals()
    for part in np.split(mixed, sorted({cut for cut in cuts if cut < len(mixed)})):
        found.add(np.append(part, np.nan))
    at = float(times.max()) + 2 * DAY
    whole, apart = label_stops(times, at=at), found.stops(at)
    assert (found.n, found.last) == (len(times), times.max())
    assert whole.start.tolist() == apart.start.tolist()
    assert whole.end.tolist() == apart.end.tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=30), st.booleans())
def test_rows_of_cohorts_are_in_the_order_of_events(cohorts: list[int], in_time: bool) -> None:
    cohort = np.array(sorted(cohorts) if in_time else cohorts, dtype=np.int64)
    rows = np.arange(len(cohort))
    found = [rows[place].tolist() for place in rows_by_cohort(cohort, 5, RowArrays())]
    assert found == [np.flatnonzero(cohort == number).tolist() for number in range(5)]
    values = np.random.default_rng(len(cohort)).random(len(cohort))
    sums = np.bincount(cohort, weights=values, minlength=5)
    assert [in_order(values[place]) for place in found] == sums.tolist()
