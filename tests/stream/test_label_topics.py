"""The sample's five tables of labels, each by a topic of its own: features equal to the batch at every instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run_in
from kafka_cluster import Cluster
from polars.testing import assert_frame_equal

from fraudctl.errors import DataError, ProjectError, UsageError
from fraudctl.project import load_project, parse_project
from fraudctl.project.labels import VerdictSection
from fraudctl.stream.connect import _entries
from fraudctl.stream.entries import EntryReader
from fraudctl.workflows.consume import Consuming, consume_topics
from fraudctl.workflows.score import open_model
from fraudctl.workflows.state import build_state

N_NEW, N_PAST = 1_200, 3_000


def rows_since(project: Any, since: Any, about: pl.DataFrame) -> Iterator[tuple[str, list[bytes], int]]:
    """Yield each table of labels, its rows about some events since a time, and how many of them say something."""
    for name, section in project.labels.tables.items():
        table = pl.read_parquet(project.root / str(section.events))
        later = table.filter(pl.col(section.time) >= since).sort(section.time)
        own = later.join(about, left_on=str(section.event_id), right_on="transaction_id", how="semi")
        told = own.height
        if isinstance(section.label, VerdictSection):
            values = section.label.values
            told = own[section.label.column].replace_strict(values, return_dtype=pl.Int8).count()
        yield name, own.write_ndjson().encode().splitlines(), told


@dataclass(frozen=True)
class Laid:
    """A project with topics that hold what came after its history."""

    folder: Path
    topics: Mapping[str, str]
    batch: pl.DataFrame
    told: int
    cluster: Cluster


@pytest.fixture
def laid(five: Path, cluster: Cluster, tmp_path: Path) -> Laid:
    project = load_project(five)
    payments = pl.read_parquet(five / "transactions.parquet").unique("transaction_id")
    payments = payments.sort("created_at", "transaction_id")
    past, new = payments[-N_NEW - N_PAST : -N_NEW], payments[-N_NEW:]
    past.write_parquet(tmp_path / "past.parquet")
    new.write_parquet(tmp_path / "new.parquet")
    done = run_in(
        five, "score", str(tmp_path / "new.parquet"), "--history", str(tmp_path / "past.parquet"),
        "-o", str(tmp_path / "out.parquet"), "--with-features", "--quiet",
    )  # fmt: skip
    assert done.code == 0, done.err
    names = ("events", "decisions", "dead", *project.labels.tables)
    topics = {name: cluster.topic(name) for name in names}
    cluster.produce(topics["events"], new.write_ndjson().encode().splitlines(), partitions=(0, 1, 2))
    told = 0
    for name, rows, count in rows_since(project, new["created_at"][0], new.select("transaction_id")):
        cluster.produce(topics[name], rows, partitions=(0, 1))
        told += count
    labels = ", ".join(f'{name} = "{topics[name]}"' for name in project.labels.tables)
    section = (
        f'\n[stream]\nbrokers = "{cluster.servers}"\nevents = "{topics["events"]}"\nlabels = {{ {labels} }}\n'
        f'decisions = "{topics["decisions"]}"\ndead_letters = "{topics["dead"]}"\nwait_seconds = 60\n'
    )
    (tmp_path / "fraudctl.toml").write_text((five / "fraudctl.toml").read_text() + section)
    return Laid(tmp_path, topics, pl.read_parquet(tmp_path / "out.parquet"), told, cluster)


def test_five_topics_of_labels_are_the_batch_at_every_instant(
    laid: Laid, five: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(five)
    build_state([model], laid.folder / "state", history=[laid.folder / "past.parquet"])
    monkeypatch.setattr("fraudctl.workflows.consume.open_model", lambda *_, **__: model)
    consuming = Consuming(
        laid.folder, laid.folder / "state", until_end=True, ahead=None, with_features=True, explained="none"
    )
    result = consume_topics(consuming)
    assert (result.events, result.labels, result.dead_letters) == (N_NEW, laid.told, {})
    assert laid.told > 20
    answers = laid.cluster.answers(laid.topics["decisions"])
    single = pl.DataFrame(
        [{**item["features"], "event_id": item["event_id"], "probability": item["probability"]} for item in answers],
        infer_schema_length=None,
    ).sort("event_id")
    of_labels = [name for name in single.columns if "fraud" in name or "known" in name]
    assert len(of_labels) > 5
    columns = ["event_id", "probability", *of_labels]
    batch = laid.batch.sort("event_id")
    assert_frame_equal(single.select(columns), batch.select(columns), check_dtypes=False)
    counts = [name for name in of_labels if "fraud_count" in name]
    assert batch.select(pl.max_horizontal(pl.max(name) for name in counts)).item() > 0


PROJECT = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
label_delay = "10d"

[labels.disputes]
events = "disputes.csv"
event_id = "payment"
time = "decided"
label = { column = "outcome", values = { won = 0, lost = 1, open = "unknown" } }
missing = ["-"]
[labels.disputes.times]
decided = { format = "%d.%m.%Y %H:%M" }

[labels.claims]
events = "claims.csv"
event_id = "payment"
time = "at"
label = { column = "fraud" }

[labels.chargebacks]
events = "cb.csv"
event_id = "payment"
time = "at"
label = 1
"""


def test_a_row_is_read_as_its_table_is_and_one_that_says_nothing_is_none(tmp_path: Path) -> None:
    project = parse_project(PROJECT, path=tmp_path / "fraudctl.toml")
    disputes, claims, charged = (EntryReader(project, name) for name in ("disputes", "claims", "chargebacks"))
    row = {"payment": "a", "decided": "03.02.2026 10:00", "outcome": "won", "clerk": "x"}
    found = disputes.outcome(row)
    assert found is not None
    assert (found["event_id"], found["label"]) == ("a", 0)
    assert found["label_time"].startswith("2026-02-03T10:00")
    assert disputes.outcome({**row, "outcome": "open"}) is None
    assert disputes.outcome({**row, "outcome": None}) is None
    assert disputes.outcome({**row, "payment": "-"}) is None
    assert charged.outcome({"payment": 7, "at": "2026-01-01"}) == {
        "event_id": 7, "label": 1, "label_time": "2026-01-01"
    }  # fmt: skip
    assert [claims.outcome({"payment": 7, "at": "x", "fraud": value}) for value in (None, False)] == [
        None, {"event_id": 7, "label": 0, "label_time": "x"},
    ]  # fmt: skip
    for reader, raw, words in (
        (disputes, {**row, "outcome": "secret"}, "'outcome' is none of the values of label.values"),
        (disputes, {"payment": "a"}, "labels.disputes: no field 'decided', 'outcome'"),
        (claims, {"payment": 7, "at": "x", "fraud": 2}, "'fraud' is none of 1, 0 and null"),
        (charged, [1], "labels.chargebacks: expected an object"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            reader.outcome(raw)
        assert "secret" not in str(caught.value)


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    stream = '\n[stream]\nevents = "e"\ndecisions = "d"\ndead_letters = "x"\nlabels = { %s = "l" }\n'
    with pytest.raises(ProjectError, match=r"stream\.labels\.dispute: no table \[labels\.dispute\]"):
        parse_project(PROJECT + stream % "dispute", path=tmp_path / "fraudctl.toml")
    now = parse_project(PROJECT + stream % "claims", path=tmp_path / "fraudctl.toml")
    then = parse_project(PROJECT.replace("[labels.claims]", "[labels.others]"), path=tmp_path / "fraudctl.toml")
    assert now.stream is not None
    assert list(_entries(now.stream, now)) == ["l"]
    with pytest.raises(UsageError, match=r"stream\.labels\.claims: the model was trained without that table"):
        _entries(now.stream, then)
