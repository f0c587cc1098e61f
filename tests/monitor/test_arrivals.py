"""Events that come late and labels of no event, against plain Python, and what is an alarm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from decisions_world import make_project
from recount_monitor import recount_late, recount_orphans

from fraudctl.monitor.arrivals import LabelOrphans, LateEvents, label_orphans, late_events, late_words, orphan_words
from fraudctl.monitor.taken import take_table
from fraudctl.workflows.monitor import _arrivals

START = datetime(2026, 1, 1, tzinfo=UTC)


def log(seed: int, *, late: float = 0.0, since: int = 0, days: int = 40, per_day: int = 60) -> pl.Series:
    """Times of events as they came: some hours late with a probability, from a day on."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, days, days * per_day))
    came = at + np.where((at >= since) & (rng.random(len(at)) < late), rng.uniform(0.1, 0.5, len(at)), 0.0)
    us = (at[np.argsort(came, kind="stable")] * 86_400e6).astype(np.int64)
    return pl.Series("event_time", us).cast(pl.Duration("us")) + START


@pytest.mark.parametrize(
    ("late", "since", "unusual"), [(0.0, 0, False), (0.1, 33, True), (0.1, 0, False), (0.004, 33, False)]
)
@pytest.mark.parametrize("seed", range(3))
def test_late_events_are_counted_and_an_alarm_where_they_are_new(
    seed: int, late: float, since: int, unusual: bool
) -> None:
    time, until = log(seed, late=late, since=since), START + timedelta(days=40)
    found = late_events(time, until=until)
    assert found is not None
    recount_late(found, time.to_list(), until)
    assert found.unusual == unusual


def test_what_came_after_an_instant_is_not_known_at_it() -> None:
    time = log(1, late=0.1, since=36)
    then = late_events(time, until=START + timedelta(days=35))
    assert then is not None
    assert then.late == 0
    assert late_events(time, until=START + timedelta(days=12)) is None  # less than a week before the latest one


def test_labels_of_no_event_are_counted_and_many_are_an_alarm() -> None:
    ids = pl.Series([f"e{n}" for n in range(1000)])
    until = START + timedelta(days=60)
    for strangers, unusual in ((10, False), (80, True)):
        names = [f"e{n}" for n in range(200)] + [f"E-{n}" for n in range(strangers)]
        time = [START + timedelta(days=20 + n % 50) for n in range(len(names))]
        entries = pl.DataFrame({"event_id": names, "time": time, "label": 1}, schema_overrides={"label": pl.Int8})
        found = label_orphans(entries, iter([ids[:300], ids[300:]]), until=until)
        recount_orphans(found, entries.rows(named=True), set(ids.to_list()), until)
        assert found.unusual == unusual


def test_ids_that_are_numbers_here_and_texts_there_are_the_same() -> None:
    entries = pl.DataFrame({"event_id": ["1", "2", "x"], "time": [START] * 3, "label": [1, 1, 1]})
    assert label_orphans(entries, iter([pl.Series([1, 2, 3])]), until=START) == LabelOrphans(1, 3)


def test_the_sentences_by_hand() -> None:
    assert str(late_words(LateEvents(30, 600, 4, 2000))) == (
        "30 events of the latest 7 days (5\u00a0%) came over an hour after later ones; in the four weeks before "
        "0.2\u00a0% did"
    )
    assert str(orphan_words(LabelOrphans(30, 90))) == (
        "30 of 90 labels that tables of labels have of the latest 28 days name no event of the data: they are left out"
    )


@pytest.mark.parametrize("faulty", [True, False])
def test_a_run_raises_them_as_alarms_of_the_data(
    *, faulty: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of a state says when events came; a file of decisions may be in any order, and says nothing of it."""
    time, until = log(3, late=0.1 if faulty else 0.0, since=33), START + timedelta(days=40)
    ids = pl.Series("event_id", range(len(time)))
    raw = pl.DataFrame([ids, time]).with_columns(probability=pl.lit(0.1), action=pl.lit("allow"))
    reported = ids[:100] + (10_000 if faulty else 0)
    entries = pl.DataFrame({"event_id": reported, "time": [until - timedelta(days=1)] * 100, "label": [1] * 100})
    monkeypatch.setattr("fraudctl.data.entries.load_entries", lambda project: entries)

    def alarms(place: Path) -> list[tuple[str, str]]:
        taken = take_table(raw.lazy(), make_project(), files=[str(place)])
        source: Any = lambda columns: iter([pl.DataFrame([ids[:500]]), pl.DataFrame([ids[500:]])])  # noqa: E731
        return [(item.tier, item.kind) for item in _arrivals(make_project(), taken, source, until=until)]

    assert alarms(tmp_path) == ([("data", "late"), ("data", "labels")] if faulty else [])
    assert ("data", "late") not in alarms(tmp_path / "decisions.parquet")
