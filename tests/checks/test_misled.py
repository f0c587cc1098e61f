"""What makes a model wrong before it is trained: each is named, first where it matters most, and its repair is not."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.checks import CheckReport, run_checks
from fraudctl.checks.clock import one_class_periods
from fraudctl.checks.data import open_data
from fraudctl.checks.labels import weeks
from fraudctl.checks.leakage import suspects
from fraudctl.checks.sentinels import WORDS, sentinel
from fraudctl.checks.structure import _maybe_copies
from fraudctl.cli.render import _finding_rows
from fraudctl.metrics.tallies import count
from fraudctl.project import parse_project

N = 4000
START = datetime(2023, 1, 1)
TEXT = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "y"
label_delay = "7d"
[features]
raw = ["amount", "kind", "score", "old", "new"]
categorical = ["kind"]
"""
KINDS = np.array(["bread", "fuel", "gas", "milk", "pets", "shoes", "travel", "zoo"])


def world(seed: int) -> dict[str, np.ndarray]:
    """Columns of a year in which nothing misleads: kinds, a score, balances that no amount moves."""
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.integers(0, 365 * 86400, N))
    y = (rng.random(N) < 0.12).astype(int)
    return {
        "seconds": seconds, "y": y, "amount": rng.gamma(2, 30, N).round(2), "kind": rng.integers(0, len(KINDS), N),
        "score": rng.normal(0, 1, N) + y, "old": rng.gamma(2, 400, N).round(2), "new": rng.gamma(2, 400, N).round(2),
    }  # fmt: skip


def frame_of(columns: dict[str, np.ndarray], **more: object) -> pl.DataFrame:
    kinds = KINDS[columns["kind"]]
    held = {name: values for name, values in columns.items() if name not in {"seconds", "kind"}}
    times = [START + timedelta(seconds=int(s)) for s in columns["seconds"]]
    return pl.DataFrame({"id": np.arange(len(times)), "at": times, "kind": kinds, **held, **more})


def check(frame: pl.DataFrame) -> CheckReport:
    return run_checks(parse_project(TEXT, path=Path("fraudctl.toml")), frame.lazy())


def drifted(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sort the values of some rows, which lie in the order of time."""
    out = values.copy()
    out[rows] = np.sort(values[rows])
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "side"), [("kind", 0), ("score", 0), ("kind", None)])
def test_a_column_that_moves_with_time_is_named_first_and_its_repaired_twin_is_not(seed, name, side):
    columns = world(seed)
    rows = np.flatnonzero(columns["y"] == side) if side is not None else np.arange(N)
    good = check(frame_of(columns))
    assert "column-drift" not in {item.id for item in good.findings}
    assert not good.n_warnings
    moved = {**columns, name: drifted(columns[name], rows)}
    found = check(frame_of(moved)).findings[0]
    counts_along = name == "score" and side is None
    assert (found.id, found.where) == ("counts-along" if counts_along else "column-drift", name)


def test_hours_days_and_weeks_with_one_class_are_named_by_the_odd_side():
    columns = world(1)
    assert "one-class" not in {item.id for item in check(frame_of(columns)).findings}
    frame = frame_of(columns)
    kept = frame.filter((pl.col("y") == 1) | (pl.col("at") < START + timedelta(days=60)))
    report = check(kept)
    found = report.findings[0]
    assert found.id == "one-class"
    assert "frauds only" in found.what
    ripe = kept.filter(pl.col("at") <= kept["at"].max() - timedelta(days=7))
    unit = next(name for word, name in (("week", "1w"), ("day", "1d"), ("hour", "1h")) if f" {word}" in found.what)
    alone = ripe.group_by(pl.col("at").dt.truncate(unit)).agg(n=pl.len(), y=pl.col("y").min()).filter(pl.col("y") == 1)
    assert (found.counts["n_periods"], found.counts["n_rows"]) == (alone.height, alone["n"].sum())
    assert "fraud-rate-break" not in {item.id for item in report.findings}


def test_an_outcome_that_the_time_tells_is_named():
    frame = frame_of(world(2))
    even = frame.with_columns(at=pl.when(pl.col("y") == 1).then(pl.col("at").dt.truncate("1m")).otherwise(
        pl.col("at").dt.truncate("1m") + pl.duration(seconds=7)))  # fmt: skip
    assert check(even).findings[0].id == "time-tells"


@pytest.mark.parametrize("sign", [1, -1])
def test_a_balance_after_the_event_is_found_by_its_values(sign):
    columns = world(3)
    after = columns["old"] + sign * columns["amount"]
    fraud = columns["y"] == 1
    moved = np.where(fraud | (np.arange(N) % 4 == 0), after, columns["new"])
    found = check(frame_of({**columns, "new": moved})).findings[0]
    assert (found.id, found.where) == ("event-result", "new")
    assert found.counts["fraud_share"] == 1.0
    holds = np.isclose(moved, after)
    assert found.counts["share"] == pytest.approx(holds.mean(), abs=0.01)


def test_copies_under_new_ids_and_values_that_stand_for_missing_ones_are_named():
    frame = frame_of(world(4)).with_columns(
        score=pl.when(pl.int_range(N) % 5 == 0).then(-1.0).otherwise(pl.col("score").abs()),
        kind=pl.when(pl.int_range(N) % 3 == 0).then(pl.lit("?")).otherwise("kind"),
    )  # fmt: skip
    twice = pl.concat([frame, frame.head(500).with_columns(id=pl.col("id") + N), frame.head(7)])
    found = {item.id: item for item in check(twice).findings}
    assert found["copies"].counts["n_rows"] == 500
    odd = {item.where: item for item in check(twice).findings if item.id == "sentinel"}
    assert odd["score"].counts["n_rows"] == int((twice["score"] == -1).sum())
    assert odd["kind"].counts["share"] == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("base", [0.02, 0.5, 0.95])
def test_columns_of_chance_are_no_suspects_at_any_base_rate(base):
    rng = np.random.default_rng(7)
    label = pl.Series((rng.random(N) < base).astype(int))
    chance = {
        "code": pl.Series(rng.integers(0, 30, N)),
        "filled": pl.Series(np.where(rng.random(N) < 0.3, None, 1.0)),
        "kind": pl.Series(KINDS[rng.integers(0, 8, N)]),
    }  # fmt: skip
    assert [suspects(values.alias(name), label) for name, values in chance.items()] == [[], [], []]
    tells = pl.Series("tells", np.where((label == 1).to_numpy() & (rng.random(N) < 0.6), "x", "y"))
    assert suspects(tells, label)


@pytest.mark.parametrize("words", [["NA", "na", "x", "nA ", "Unknown"], ["a", "b"], ["?", None, "-", "?"]])
def test_words_for_missing_are_the_same_of_texts_that_are_counted_already(words):
    values = pl.Series("kind", np.random.default_rng(len(words)).choice(np.array(words, dtype=object), 500), pl.String)
    found = sentinel(values)
    assert found == sentinel(values, count(values, least_rows=1))
    lower = Counter(word.lower() for word in values.drop_nulls() if word.lower() in WORDS)
    most = max(lower.values(), default=0)
    assert (found is None) == (not lower)
    assert found is None or (found.n_rows, lower[found.value]) == (most, most)


def test_weeks_and_days_are_sums_of_local_hours():
    columns = world(11)
    text = TEXT.replace("[features]", 'timezone = "Asia/Kolkata"\n[features]')
    data = open_data(parse_project(text, path=Path("fraudctl.toml")), frame_of(columns).lazy(), place="data")
    local = data.event_time.dt.convert_time_zone("Asia/Kolkata").dt.replace_time_zone(None)
    all_rows = pl.DataFrame({"at": local.dt.truncate("1w").dt.date(), "ripe": data.mature, "label": data.label})
    known = all_rows.group_by("at").agg(
        n=pl.len(),
        labelled=pl.col("label").count(),
        ripe=pl.col("ripe").sum(),
        frauds=(pl.col("ripe") & (pl.col("label") == 1)).sum(),
    )
    assert [(w.start, w.n_events, w.n_labelled, w.n_mature, w.n_frauds) for w in weeks(data)] == known.sort("at").rows()
    rows = pl.DataFrame({"at": local, "label": data.label}).filter(data.mature)
    for unit in ("1h", "1d", "1w"):
        each = rows.group_by(pl.col("at").dt.truncate(unit)).agg(
            n=pl.len(), frauds=pl.col("label").cast(pl.Int64).sum()
        )
        found = one_class_periods(data.hours, unit).select("at", "n", "frauds")
        assert found.rows() == each.sort("at").rows()


def test_many_columns_with_one_finding_share_a_line():
    empty = {f"v{i}": np.full(N, np.nan) for i in range(30)}
    report = check(frame_of(world(5), **empty))
    lines = [row for row in _finding_rows(report.findings, verbose=False) if "v0" in row[1]]
    assert [row[1:3] for row in lines] == [("v0, v1, v2 and 27 more", "all null")]
    assert len(list(_finding_rows(report.findings, verbose=True))) == len(report.findings)


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_counted_exactly_from_rows_with_few_values(seed):
    columns = world(seed)
    few = {name: columns[name].astype(int) % 2 for name in ("score", "old", "new")}
    frame = frame_of({**columns, **few, "amount": columns["amount"].round(-2), "seconds": np.arange(N) // 50 * 86400})
    others = [name for name in frame.columns if name != "id"]
    n_copies = sum(n - 1 for n in Counter(frame.select(others).rows()).values())
    assert n_copies > 100
    for order in (others, others[::-1]):
        found = {item.id: item for item in check(frame.select(*order, "id")).findings}
        assert found["copies"].counts["n_rows"] == n_copies


@pytest.mark.parametrize("seed", range(4))
def test_no_alike_row_is_left_out_of_the_candidates(seed):
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame({f"c{i}": rng.integers(0, 4, 300) for i in range(4)})
    names = [f"c{i}" for i in rng.permutation(4)]
    data = open_data(parse_project(TEXT, path=Path("fraudctl.toml")), frame.lazy(), place="data")
    counts = Counter(frame.rows())
    assert _maybe_copies(data, names).to_list() == [i for i, row in enumerate(frame.rows()) if counts[row] > 1]
