"""`monitor --parity` on the log of a state: values are those that the log gives when it is taken in again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from command_line import run_in

from fraudctl.bundle import load_bundle
from fraudctl.scoring.engine import DecisionEngine
from fraudctl.scoring.store import Store
from fraudctl.workflows.logged import replayed_values
from fraudctl.workflows.score import open_model
from fraudctl.workflows.state import build_state, open_live

N = 60


@pytest.fixture(scope="module")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a state that has answered some events and not been saved since, as while `serve` runs."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("served") / "project"))
    events = pl.read_parquet(folder / "transactions.parquet").unique("transaction_id").sort("created_at")
    as_of = load_bundle(next((folder / "models").glob("2*"))).as_of
    events.filter(pl.col("created_at") < as_of).write_parquet(folder / "before.parquet")
    new = events.filter(pl.col("created_at") >= as_of).drop("is_fraud", "label_available_at")
    new.head(N).write_ndjson(folder / "new.jsonl")
    new.slice(N, 10).write_ndjson(folder / "more.jsonl")
    model = open_model(folder, "latest")
    build_state([model], folder / "state", history=[folder / "before.parquet"])
    with Store(folder / "state") as store:
        engine = DecisionEngine(model.decider, open_live(store, [model]), store=store)
        for line in (folder / "new.jsonl").read_text().splitlines():
            engine.event(json.loads(line))
        engine.flush()
    return folder


def test_unchanged_data_give_the_same_values_and_answers(served: Path) -> None:
    done = run_in(served, "monitor", "state", "--json", "--parity", str(N))
    found = done.json["parity"]
    assert (found["sampled"], found["with_values"]) == (N, True)
    assert (found["differing"], found["features"]) == (0, [])
    bundle = load_bundle(next((served / "models").glob("2*")))
    values = replayed_values(served / "state", bundle.columns.names)
    assert values is not None
    assert set(values.columns) == {"event_id", *bundle.columns.names}
    assert values.height == N


def test_data_that_are_not_what_was_answered_on_name_the_feature(served: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(served, tmp_path / "project"))
    ids = [json.loads(line)["transaction_id"] for line in (folder / "new.jsonl").read_text().splitlines()]
    frame = pl.read_parquet(folder / "transactions.parquet")
    other = pl.col("transaction_id").is_in(ids)
    frame.with_columns(category=pl.when(other).then(pl.lit("electronics")).otherwise("category")).write_parquet(
        folder / "transactions.parquet"
    )
    changed = frame.filter(other & pl.col("category").ne_missing("electronics"))["transaction_id"].n_unique()
    done = run_in(folder, "monitor", "state", "--json", "--parity", str(N))
    found = done.json["parity"]
    assert [item["feature"] for item in found["features"]] == ["category"]
    assert found["features"][0]["differing"] == changed


def test_half_of_a_sample_is_of_decisions_whose_values_are_known(served: Path, tmp_path: Path) -> None:
    """Decisions that are in files already have no values; those in the log still have."""
    folder = Path(shutil.copytree(served, tmp_path / "project"))
    model = open_model(folder, "latest")
    with Store(folder / "state") as store:
        live = open_live(store, [model])
        store.save(live.to_parts())
        engine = DecisionEngine(model.decider, live, store=store)
        for line in (folder / "more.jsonl").read_text().splitlines():
            engine.event(json.loads(line))
        engine.flush()
    values = replayed_values(folder / "state", load_bundle(next((folder / "models").glob("2*"))).columns.names)
    assert values is not None
    assert values.height == 10
