"""The audit passes on an honest table and finds each kind of dishonest one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from fraudctl.errors import DataError
from fraudctl.features import build
from fraudctl.features.proof.audit import _of_same_ids, _sample, audit

ZONE = "Europe/Berlin"
TEXT = """
[[features.window]]
by = "card"
windows = ["1h", "7d"]
aggregates = ["count", "mean(amount)", "std(amount)"]
[[features.labels]]
by = "card"
windows = ["30d"]
aggregates = ["fraud_count", "smoothed_rate"]
[features.columns]
ratio = "amount / card_mean_amount_7d"
"""


@pytest.fixture(scope="module")
def world(events_of, features_of):
    random = np.random.default_rng(7)
    n = 900
    start = datetime(2024, 1, 1, tzinfo=UTC)
    at = [start + timedelta(minutes=int(m)) for m in np.sort(random.integers(0, 60 * 24 * 60, n))]
    cards = random.integers(0, 40, n)
    bad = (cards < 12) & (random.random(n) < 0.4)
    events = events_of(
        TEXT, id=range(n), at=at, eur=random.gamma(2.0, 20.0, n), card_id=[f"c{c}" for c in cards],
        fraud=bad.astype(int), known_at=[t + timedelta(days=20) for t in at],
    )  # fmt: skip
    features = features_of(TEXT)
    return events, features, build(events, features, timezone=ZONE)


def run(world, table, **options):
    events, features, _ = world
    return audit(events, features, table, sample=40, seed=1, timezone=ZONE, **options)


def test_an_honest_table_passes(world):
    result = run(world, world[2])
    assert result.passed
    assert result.n_events == 40
    assert result.n_features == 9
    assert json.loads(json.dumps(result.to_dict()))["passed"] is True


def test_the_digest_is_that_of_the_values_of_the_table_at_the_recomputed_events(world):
    """An honest table holds what the reference recomputes, so the digest can be made again from it."""
    import hashlib

    events, features, table = world
    names = ["card_count_7d"]  # whole numbers: the same text whichever engine computes them
    few = table.select("event_id", *names)
    found = run(world, few)
    ids = sorted(_sample(events.frame, 40, 1))
    lines = [json.dumps([str(few["event_id"][row]), name, few[name][row]]) + "\n" for row in ids for name in names]
    assert found.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert run(world, few).digest == found.digest
    assert audit(events, features, few, sample=40, seed=2, timezone=ZONE).digest != found.digest


def test_progress_counts_the_sample(world):
    seen = []
    run(world, world[2], progress=lambda word, done, total: seen.append((word, done, total)))
    n = 2 * len(world[1].steps)
    assert [item for item in seen if item[0] == "recomputed"] == [("recomputed", done, 40) for done in range(1, 41)]
    assert sum(word.startswith("recomputed, ") for word, _, _ in seen) >= 40, "an event is told while it is recomputed"
    seen = seen[seen.index(("recomputed", 40, 40)) + 1 :]
    assert seen[0] == ("future altered", 0, n)
    assert seen[-1] == ("future altered", n, n)
    assert all(word.startswith("future altered") and of == n for word, _, of in seen)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert len({done for _, done, _ in seen}) > 4, "features that are built are counted"


def test_what_would_take_too_long_is_passed_over_and_counted(world, monkeypatch):
    monkeypatch.setattr("fraudctl.features.proof.audit.STEPS_EACH", 105)
    table = world[2].with_columns(pl.col("card_count_1h") + 1)
    result = run(world, table, steps=0)
    assert [item.feature for item in result.differences] == ["card_count_1h"]
    assert 0 < result.passed_over["card_mean_amount_7d"] < 40
    assert "card_count_1h" not in result.passed_over
    assert result.n_passed_over == sum(result.passed_over.values())
    assert run(world, table, steps=10**9).n_passed_over == 0


def test_a_feature_that_was_passed_over_everywhere_is_no_difference(world, monkeypatch):
    monkeypatch.setattr("fraudctl.features.proof.audit.STEPS_EACH", 0)
    result = run(world, world[2].with_columns(pl.col("card_mean_amount_7d") + 1), steps=0)
    assert "card_mean_amount_7d" not in [item.feature for item in result.differences if item.check == "recomputed"]
    assert result.passed_over["card_mean_amount_7d"] == 40


def test_a_wrong_value_is_found(world):
    table = world[2].with_columns(pl.col("card_count_7d") + 1)
    (difference,) = run(world, table).differences
    assert (difference.feature, difference.check, difference.n_differing) == ("card_count_7d", "recomputed", 40)
    assert len(difference.event_ids) == 5


def test_a_window_over_all_labels_is_found(world):
    events, _, table = world
    leaky = events.frame.select("event_id", pl.col("label").sum().over("card").cast(pl.Int64).alias("leak"))
    table = table.drop("card_fraud_count_30d").join(leaky, on="event_id").rename({"leak": "card_fraud_count_30d"})
    result = run(world, table)
    assert [item.feature for item in result.differences] == ["card_fraud_count_30d"]


def test_an_engine_that_sees_the_future_is_found(world, monkeypatch):
    from fraudctl.features.proof import audit as module

    def peeking(events, features, *, timezone, sources, progress):
        frame = build(events, features, timezone=timezone)
        return frame.with_columns(card_mean_amount_7d=pl.col("amount").mean().over("card"))

    monkeypatch.setattr(module, "build", peeking)
    result = run(world, world[2])
    assert [(item.feature, item.check) for item in result.differences] == [("card_mean_amount_7d", "future")]


def test_undeclared_columns_are_suspected_only_when_they_leak(world):
    events, _, table = world
    random = np.random.default_rng(3)
    label = events.frame["label"]
    so_far = pl.col("label").cast(pl.Int64)
    undelayed = events.frame.select((so_far.cum_sum().over("card") - so_far).alias("undelayed"))["undelayed"]
    foreign = table.select("event_id").with_columns(
        noise=pl.Series(random.normal(size=table.height)),
        text=pl.Series(random.choice(["a", "b"], table.height)),
        outcome=label * 5 + pl.Series(random.random(table.height)),
        reviewed=pl.when(label == 1).then(pl.lit("yes")),
        undelayed=undelayed,
    )
    result = run(world, foreign)
    assert result.n_features == 0
    assert result.undeclared == ("noise", "text", "outcome", "reviewed", "undelayed")
    found = {(item.column, item.check) for item in result.suspects}
    assert found == {("outcome", "single_column"), ("reviewed", "nulls"), ("undelayed", "pending_frauds")}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.drop("event_id"), "no column 'event_id'"),
        (lambda t: t.head(10), "lacks 890 of 900 events"),
        (lambda t: pl.concat([t, t.head(1)]), "2 event ids more than once"),
        (lambda t: t.select("event_id"), "neither a declared feature"),
    ],
)
def test_tables_that_cannot_be_audited(world, spoil, words):
    with pytest.raises(DataError, match=words):
        run(world, spoil(world[2]))


def test_row_order_of_the_audited_table_does_not_matter(world):
    assert run(world, world[2].sample(fraction=1.0, shuffle=True, seed=2)).passed


def test_values_that_changed_since_an_earlier_snapshot_are_found(world):
    early = world[2].head(600).with_columns(foreign=pl.lit(1.0), steady=pl.lit(2.0))
    late = world[2].with_columns(foreign=pl.lit(1.5), steady=pl.lit(2.0))
    result = run(world, late, snapshot=early)
    assert [(item.column, item.check, item.value) for item in result.suspects] == [("foreign", "snapshots", 1.0)]
    assert not result.passed
    assert run(world, world[2], snapshot=world[2].head(600)).passed
    with pytest.raises(DataError, match="the snapshot has no event"):
        run(world, late, snapshot=early.with_columns(event_id=pl.col("event_id") + 10_000))


def test_the_future_of_the_latest_events_only(world, monkeypatch):
    from fraudctl.features.proof import audit as module

    heights = []

    def counting(events, features, *, timezone, sources, progress):
        heights.append(events.frame.height)
        return build(events, features, timezone=timezone)

    monkeypatch.setattr(module, "build", counting)
    assert run(world, world[2], future_rows=300).passed
    assert heights == [300, 300]


def test_training_does_not_begin_on_a_table_that_is_not_what_was_known(world, tmp_path):
    from dataclasses import replace
    from pathlib import Path

    from fraudctl.progress import Silent
    from fraudctl.project import load_project
    from fraudctl.workflows.audit import TRAIN_SAMPLE, audit_before_training
    from fraudctl.workflows.features import build_features

    for name in ("fraudctl.toml", "transactions.parquet", "logins.parquet"):
        source = Path(__file__).parents[3] / "sample_data" / name
        (tmp_path / name).symlink_to(source)
    project = load_project(tmp_path)
    table = build_features(project)
    assert audit_before_training(project, table, progress=Silent()).events == TRAIN_SAMPLE
    name = next(item.name for item in table.features.features if item.dtype == "float" and item.family == "window")
    leaky = replace(table, loaded=table.frame.with_columns(pl.col(name).fill_null(0.0) + 1.0), path=None)
    with pytest.raises(DataError, match=f"could have been known at the event: .*{name}"):
        audit_before_training(project, leaky, progress=Silent())


def test_rows_of_other_tables_that_share_no_id_are_seen_by_no_event():
    frame = pl.DataFrame({"event_id": [1, 2], "card": ["a", None], "ip": ["x", "y"]})
    source = pl.DataFrame({"card": ["a", "b", None, "b", None], "ip": ["z", "z", "z", "y", None], "n": [1, 2, 3, 4, 5]})
    other = pl.DataFrame({"n": [1, 2]})
    found = _of_same_ids({"s": source, "t": other}, frame, ["card", "ip", "device"])
    assert found["s"]["n"].to_list() == [1, 4]
    assert found["t"].equals(other)
    numbers = source.with_columns(pl.lit(7).alias("ip"))
    assert _of_same_ids({"s": numbers}, frame, ["card", "ip"])["s"].equals(numbers), "ids of another type stay"
