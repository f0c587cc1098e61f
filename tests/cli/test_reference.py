"""The reference that training freezes in a bundle: recounted from the data, and the same in every run."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.bundle import FILES, REFERENCE, load_bundle
from fraudctl.errors import BundleError
from fraudctl.monitor.reference import CALENDAR, FrozenReference
from fraudctl.project import load_project
from fraudctl.workflows.reference import borders, reference_with


def bundle_of(folder: Path) -> Path:
    return next((folder / "models").glob("2*"))


def test_counts_are_those_of_the_days_before_as_of(trained: Path) -> None:
    bundle = load_bundle(bundle_of(trained))
    found = FrozenReference.from_dict(bundle.reference)
    assert found.to_dict() == bundle.reference
    events = pl.read_parquet(trained / "transactions.parquet").unique("transaction_id")
    local = events["created_at"].dt.convert_time_zone(found.timezone).dt.date().cast(pl.Int32)
    by_day = dict(local.value_counts().rows())
    assert found.counts.days[-1] == (bundle.as_of.date() - timedelta(days=1)).toordinal() - 719_163
    assert found.counts.events.tolist() == [by_day.get(day, 0) for day in found.counts.days.tolist()]
    for item in found.watched:
        rows = found.counts.cells[item.name]
        known = rows[:, 0] >= 0
        assert np.array_equal(rows[known].sum(axis=1), found.counts.events[known]) or item.kind in {"score", "action"}
        assert rows.shape[1] == item.n
    amount = next(item for item in found.watched if item.name == "amount")
    inside = events.filter(pl.Series(local.is_in(found.counts.days.tolist())))["amount"]
    lowest = int((inside <= amount.edges[0]).sum())
    assert found.counts.cells["amount"][:, 0].sum() == lowest


def test_long_windows_are_watched_through_their_inputs_and_calendar_not_at_all(trained: Path) -> None:
    found = FrozenReference.from_dict(load_bundle(bundle_of(trained)).reference)
    names = {item.name for item in found.watched}
    assert not names & set(found.left_out)
    assert {"hour", "score", "action", "amount"} <= names
    long = {name: why for name, why in found.left_out.items() if why != CALENDAR}
    assert all("more than a quarter" in why for why in long.values())
    through = {name for item in found.watched for name in item.through}
    assert {name for name, why in long.items() if "watched through" in why} == through
    assert found.window_days <= len(found.counts.days) / 4


def test_a_bundle_without_a_reference_is_read(trained: Path, tmp_path: Path) -> None:
    """As versions before schema 4 wrote it: the manifest names no reference."""
    old = tmp_path / "old"
    old.mkdir()
    for name in FILES:
        if name != REFERENCE:
            (old / name).write_bytes((bundle_of(trained) / name).read_bytes())
    from fraudctl.documents.sealed import seal, unseal

    manifest = unseal((bundle_of(trained) / "manifest.json").read_bytes())
    del manifest["files"][REFERENCE]
    (old / "manifest.json").write_bytes(seal(manifest))
    with pytest.raises(BundleError, match="not a manifest"):
        load_bundle(old)
    (old / "manifest.json").write_bytes(seal({**manifest, "schema_version": 3}))
    assert load_bundle(old).reference == {}
    (old / REFERENCE).write_text(json.dumps({}))
    with pytest.raises(BundleError):
        load_bundle(old)


def test_another_policy_gets_its_own_scores_and_actions(trained: Path) -> None:
    from fraudctl.policy import Policy

    bundle, project = load_bundle(bundle_of(trained)), load_project(trained)
    policy = Policy.from_dict(dict(bundle.policy))
    found = FrozenReference.from_dict(reference_with(bundle, policy, project))
    old = FrozenReference.from_dict(bundle.reference)
    assert [item.name for item in found.watched] == [item.name for item in old.watched]
    assert np.array_equal(found.counts.cells["amount"], old.counts.cells["amount"])
    actions = found.counts.cells["action"]
    decided = found.counts.sums["decided"]
    assert np.array_equal(actions[actions[:, 0] >= 0].sum(axis=1), decided[np.isfinite(decided)])
    assert all(value > 0 for value in borders(policy))


def test_a_bundle_without_a_reference_is_watched_on_what_its_folds_predicted(trained: Path) -> None:
    from fraudctl.policy import Policy
    from fraudctl.workflows.watched import reference_of_folds

    bundle, project = load_bundle(bundle_of(trained)), load_project(trained)
    found = reference_of_folds(project, bundle, Policy.from_dict(dict(bundle.policy)))
    assert found is not None
    assert [item.name for item in found.watched] == ["amount", "hour", "score", "action"]
    folds = bundle.predictions().filter(pl.col("fold") > 0)
    inside = folds["event_time"].dt.date().cast(pl.Int32).is_in(found.counts.days.tolist())
    assert found.counts.events.sum() == inside.sum()
    assert found.counts.cells["score"][found.counts.events > 0].sum() == inside.sum()
