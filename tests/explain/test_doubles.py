"""Parts of an explanation against brute-force doubles: the same numbers, computed the long way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from world import FEATURES, World, explain_world, make_world

from fraudctl.documents.results import as_object
from fraudctl.explain import broken, clusters, contrast
from fraudctl.explain.broken import find_broken
from fraudctl.explain.campaigns import Around
from fraudctl.explain.decided import MODEL, find_decided
from fraudctl.explain.scene import make_scene
from fraudctl.policy.provenance import DECIDED_BY, FIELDS, MODEL_KINDS
from fraudctl.progress import unwatched


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(3000, broken_day=6)


def long_shares(values: list[float | None], code: list[int], n_days: int) -> np.ndarray[Any, Any]:
    """Count value by value: cells between deciles of what is known, and one for what is not."""
    known = np.array([value for value in values if value is not None and np.isfinite(value)])
    edges = np.unique(np.quantile(known, np.linspace(0, 1, broken.BINS + 1)[1:-1])) if len(known) else np.empty(0)
    there = [value is not None and bool(np.isfinite(value)) for value in values]
    level = [int((edges < value).sum()) if ok else len(edges) + 1 for value, ok in zip(values, there, strict=True)]
    table = np.zeros((n_days, max(level, default=0) + 1))
    for day, at in zip(code, level, strict=True):
        table[day, at] += 1
    return table / np.maximum(table.sum(axis=1, keepdims=True), 1.0)


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(-3, 3) | st.sampled_from([0.0, 1.0, float("nan"), float("inf")]), st.integers(0, 3)
        ),
        min_size=1,
        max_size=60,
    )
)
def test_shares_of_a_day_are_those_of_counting_value_by_value(rows: list[tuple[float | None, int]]) -> None:
    values, code = [value for value, _ in rows], [day for _, day in rows]
    series = pl.Series("x", values, dtype=pl.Float64, strict=False)
    found = broken._shares(series, np.array(code, dtype=np.int64), 4)
    assert found.tolist() == long_shares(values, code, 4).tolist()


def test_every_event_is_in_the_total_of_the_part_that_decided_it(world: World) -> None:
    rng = np.random.default_rng(1)
    kinds = ["expected_cost", "threshold", "constraint", "capacity", "rule"]
    by = [
        {**dict.fromkeys(FIELDS), "kind": kind, "rule": str(rng.choice(["a", "b"])) if kind == "rule" else None}
        for kind in rng.choice(kinds, world.scored.height)
    ]
    scored = world.scored.with_columns(pl.Series("decided_by", by, dtype=DECIDED_BY))
    scene = make_scene(scored, world.history, project=world.project, features=FEATURES)
    expected: dict[tuple[str, str | None], list[int]] = {}
    for row, item in enumerate(by):
        kind = str(item["kind"])
        expected.setdefault((MODEL if kind in MODEL_KINDS - {"constraint"} else kind, item["rule"]), []).append(row)
    found = {(item.kind, item.rule): item for item in find_decided(scene)}
    assert list(found) == [("rule", "a"), ("rule", "b"), ("capacity", None), ("constraint", None), (MODEL, None)]
    assert set(found) == set(expected)
    for key, rows in expected.items():
        assert found[key].n_events == len(rows)
        assert found[key].n_missed == int(scene.missed[rows].sum())
        assert found[key].cost == float(scene.cost[rows].sum())


def test_distances_that_are_shared_give_the_trees_of_the_points() -> None:
    points = np.random.default_rng(2).normal(size=(60, 7))
    distance = clusters._distances(points)
    for rows in (np.arange(60), np.array([3, 5, 8, 13, 21, 34, 55]), np.arange(0, 60, 2)):
        tree = clusters._ward_tree(distance[np.ix_(rows, rows)])
        assert tree.tolist() == linkage(points[rows], method="ward").tolist()


def test_means_over_drawn_clusters_are_those_of_their_rows() -> None:
    rng = np.random.default_rng(3)
    rows, group = rng.normal(size=(50, 4)), np.unique(rng.integers(0, 12, 50), return_inverse=True)[1]
    n_groups, again = int(group.max()) + 1, np.random.default_rng([7])
    found = contrast._draw(rows, group, seed=[7])
    assert found.shape == (contrast.REPLICATES, 4)
    for mean in found[:40]:
        drawn = again.integers(0, n_groups, n_groups)
        every = np.concatenate([rows[group == k] for k in drawn])
        assert mean == pytest.approx(every.mean(axis=0), abs=1e-12)


def test_features_that_are_read_by_name_say_the_same_and_are_read_one_at_a_time(world: World) -> None:
    names, read = ["event_id", "event_time", "label", "label_time", *world.project.entities], []

    def columns(wanted: Any) -> pl.DataFrame:
        read.append(list(wanted))
        return world.history.select(wanted)

    thin = World(world.project, world.scored, world.history.select(names))
    found = explain_world(thin, columns=columns)
    assert as_object(found) == as_object(explain_world(world))
    assert read
    assert all(len(item) == 1 for item in read)


def test_every_step_of_an_explanation_is_told_before_it_begins(world: World) -> None:
    seen: list[tuple[str, int]] = []
    explain_world(world, progress=lambda name, done, _: seen.append((name, done)))
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    told = " ".join(name for name, _ in seen)
    for step in (
        "threshold: all odds times",
        "money: ",
        "campaigns: frauds around each",
        "contrasts: drawn by",
        "totals: days of feature",
        "errors: earlier events",
        "errors: usual values",
    ):
        assert step in told
    steps: list[str] = []
    scene = make_scene(world.scored, world.history, project=world.project, features=FEATURES)
    assert find_broken(scene, watch=steps.append) == find_broken(scene, watch=unwatched)
    assert len(steps) == len(set(steps)) == len(FEATURES) - len(scene.clock_features)


@given(st.integers(0, 10_000))
def test_events_around_an_event_are_those_that_a_loop_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = np.array(["a", "b", "c", None], dtype=object)
    known = pl.DataFrame(
        {
            "event_id": rng.permutation(40),
            "event_time": pl.Series(rng.integers(0, 6, 40) * 86_400_000_000).cast(pl.Datetime("us", "UTC")),
            "label": pl.Series(rng.integers(0, 2, 40), dtype=pl.Int8),
            "card": pl.Series(rng.choice(names, 40).tolist(), dtype=pl.String),
        }
    )
    events, rows = known[rng.permutation(40)[:15]], known.rows(named=True)
    found = Around.of(events, known, "card")
    for days in (0.0, 1.0, 2.5):
        n, frauds = found.within(days)
        for at, event in enumerate(events.iter_rows(named=True)):
            near = [
                row
                for row in rows
                if row["card"] is not None
                and row["card"] == event["card"]
                and row["event_id"] != event["event_id"]
                and abs(row["event_time"] - event["event_time"]) <= timedelta(days=days)
            ]
            assert (n[at], frauds[at]) == (len(near), sum(row["label"] for row in near))
