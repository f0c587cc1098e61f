"""A cluster of its own for each module, and a state of the trained sample that has seen a history."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from kafka_cluster import Cluster

from fraudctl.workflows.consume import ConsumeResult, Consuming, consume_topics
from fraudctl.workflows.score import Model, open_model
from fraudctl.workflows.state import build_state, engine_on
from fraudctl.workflows.stream import score_stream

REAL = "FRAUDCTL_TEST_KAFKA"
N_EVENTS, N_OUTCOMES, N_ROWS = 120, 2, 30


@pytest.fixture(scope="session", params=["mock", "real"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The mock cluster in every run; a real one too where its address is given."""
    if request.param == "mock":
        return Cluster()
    servers = os.environ.get(REAL)
    if servers is None:
        pytest.skip(f"no real broker: {REAL}=host:port names one")
    return Cluster(servers)


@dataclass(frozen=True)
class Ground:
    """A model, a state that has seen a history, the lines after it in order of time, and what `score -` answers."""

    model: Model
    state: Path
    lines: tuple[bytes, ...]
    answers: dict[bytes, bytes]


@pytest.fixture(scope="session")
def ground(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("ground")
    table = pl.read_parquet(trained / "transactions.parquet").unique("transaction_id")
    events = table.sort("created_at", "transaction_id")
    events.slice(14_000, 1000).write_parquet(folder / "history.parquet")
    after = events.slice(15_000, N_EVENTS)
    model = open_model(trained)
    build_state([model], folder / "state", history=[folder / "history.parquet"])
    lines = in_order(after, pl.read_parquet(trained / "logins.parquet"))
    answers: list[bytes] = []
    shutil.copytree(folder / "state", folder / "scored")
    with engine_on(model, folder / "scored", explained="alerts") as engine:
        result = score_stream(engine, lines, answers.append)
    assert (result.events, result.labels, result.sources, result.refused) == (N_EVENTS, N_OUTCOMES, N_ROWS, 0)
    ids = [json.loads(line)["event_id"].encode() for line in answers]
    return Ground(model, folder / "state", tuple(lines), dict(zip(ids, answers, strict=True)))


def in_order(events: pl.DataFrame, rows: pl.DataFrame) -> list[bytes]:
    """Return events, outcomes of the first two and rows of another table of that time as lines, in order of time."""
    first, last = events["created_at"][0], events["created_at"][-1]
    arrived = (events["created_at"][60], last)
    messages = [(time, 0, outcome(name, time)) for name, time in zip(events["transaction_id"], arrived, strict=False)]
    near = rows.filter(pl.col("at").is_between(first, last, closed="none")).head(N_ROWS)
    messages += [
        (row["at"], 1, {"type": "source", "source": "logins", **row, "at": row["at"].isoformat()})
        for row in near.to_dicts()
    ]
    messages += [
        (row["created_at"], 2, {**row, "created_at": row["created_at"].isoformat()})
        for row in events.drop("is_fraud", "label_available_at").to_dicts()
    ]
    return [json.dumps(item[2]).encode() for item in sorted(messages, key=lambda item: item[:2])]


def outcome(event_id: str, time: datetime) -> dict[str, object]:
    return {"type": "label", "event_id": event_id, "label": 1, "label_time": time.isoformat()}


@dataclass(frozen=True)
class Stream:
    """A project with topics of its own, on a state of its own."""

    cluster: Cluster
    consuming: Consuming
    topics: dict[str, str]

    def run(self, **changes: object) -> ConsumeResult:
        return consume_topics(replace(self.consuming, **changes))

    @property
    def group(self) -> str:
        return f"group-of-{self.topics['events']}"

    def decisions(self) -> dict[bytes, bytes]:
        """Return what was decided by key; decisions of one key have to be equal."""
        found: dict[bytes, bytes] = {}
        for message in self.cluster.read(self.topics["decisions"]):
            assert found.setdefault(message.key(), message.value()) == message.value()
        return found


@pytest.fixture
def stream(cluster: Cluster, ground: Ground, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stream:
    topics = {name: cluster.topic(name) for name in ("events", "labels", "logins", "decisions", "dead")}
    shutil.copytree(ground.state, tmp_path / "state")
    section = (
        f'\n[stream]\nbrokers = "{cluster.servers}"\nevents = "{topics["events"]}"\nlabels = "{topics["labels"]}"\n'
        f'sources = {{ logins = "{topics["logins"]}" }}\ndecisions = "{topics["decisions"]}"\n'
        f'dead_letters = "{topics["dead"]}"\nwait_seconds = 60\n'
    )
    (tmp_path / "fraudctl.toml").write_text((trained / "fraudctl.toml").read_text() + section)
    monkeypatch.setattr("fraudctl.workflows.consume.open_model", lambda *_, **__: ground.model)
    consuming = Consuming(tmp_path, tmp_path / "state", until_end=True, ahead=None)
    return Stream(cluster, consuming, topics)
