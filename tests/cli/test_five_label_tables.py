"""The sample's five tables of labels from the first command to decisions: files, streams and states answer alike."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from command_line import run_in
from polars.testing import assert_frame_equal

from fraudctl.project import Project, load_project
from fraudctl.project.labels import VerdictSection
from fraudctl.sample.verdicts import LABEL_TABLES

N_NEW, N_PAST = 1_500, 3_000


def entries(project: Project, name: str) -> pl.DataFrame:
    """The entries of a table as messages have them; an outcome that is unknown is no message."""
    section = project.labels.tables[name]
    table = pl.read_parquet(project.root / str(section.events))
    if isinstance(section.label, VerdictSection):
        label = pl.col(section.label.column).replace_strict(section.label.values, return_dtype=pl.Int64)
    else:
        label = pl.lit(section.label, pl.Int64)
    found = table.select(event_id=str(section.event_id), label_time=section.time, label=label)
    return found.drop_nulls("label")


def test_init_and_check_name_each_table(five: Path) -> None:
    project = load_project(five)
    assert list(project.labels.tables) == list(LABEL_TABLES)
    found = json.loads(run_in(five, "check", "--json", "--quiet").out)
    assert found["verdict"] != "error"
    orphans = {item["where"] for item in found["findings"] if item["id"] == "labels-orphans"}
    assert {"labels.customer_reports", "labels.tc40"} >= orphans >= {"labels.tc40"}
    assert ("labels-silent", "labels.verdicts") in {(item["id"], item["where"]) for item in found["findings"]}


def test_what_was_changed_since_training_is_told_and_explained(five: Path, tmp_path: Path) -> None:
    done = run_in(five, "evaluate", "--no-gate", "--json", "--quiet")
    assert done.code == 0, done.err
    share = done.json["frauds"] / done.json["rows"]
    assert done.json["metrics"]["average_precision"]["value"] > 2 * share
    told = run_in(five, "evaluate", "--no-gate", "--no-progress")
    assert "have another label now" in told.err
    assert run_in(five, "explain", "--sample", "1000", "--no-progress").code == 0


def test_a_file_a_stream_and_a_state_decide_alike(five: Path, tmp_path: Path) -> None:
    project = load_project(five)
    payments = (
        pl.read_parquet(five / "transactions.parquet").unique("transaction_id").sort("created_at", "transaction_id")
    )
    past, new = payments[-N_NEW - N_PAST : -N_NEW], payments[-N_NEW:]
    past.write_parquet(tmp_path / "past.parquet")
    new.write_parquet(tmp_path / "new.parquet")
    history = ("--history", str(tmp_path / "past.parquet"))
    scored = run_in(
        five, "score", str(tmp_path / "new.parquet"), *history, "-o", str(tmp_path / "out.parquet"),
        "--with-features", "--quiet",
    )  # fmt: skip
    assert scored.code == 0, scored.err
    batch = pl.read_parquet(tmp_path / "out.parquet")

    said = pl.concat([entries(project, name) for name in project.labels.tables])
    said = said.filter(pl.col("label_time") >= new["created_at"][0])
    about_new = said.join(new.select(event_id="transaction_id"), on="event_id", how="semi")
    assert about_new.height > 10
    assert about_new["label"].n_unique() == 2
    labels = [
        (row["label_time"], 0, json.dumps({**row, "type": "label", "label_time": row["label_time"].isoformat()}))
        for row in about_new.iter_rows(named=True)
    ]
    events = zip(new["created_at"], new.write_ndjson().splitlines(), strict=True)
    lines = [line for *_, line in sorted([*labels, *((at, 1, line) for at, line in events)], key=lambda item: item[:2])]
    streamed = run_in(
        five, "score", "-", *history, "--with-features", "--quiet", sent="\n".join(lines).encode()
    )  # fmt: skip
    assert streamed.code == 0, streamed.err
    half = len(lines) // 2
    built = run_in(five, "state", "build", str(tmp_path / "state"), *history, "--quiet")
    assert built.code == 0, built.err
    parts = [
        run_in(five, "score", "-", "--state", str(tmp_path / "state"), "--with-features", "--quiet",
               sent="\n".join(part).encode())
        for part in (lines[:half], lines[half:])
    ]  # fmt: skip
    assert [part.code for part in parts] == [0, 0], [part.err for part in parts]
    for text in (streamed.out, "".join(part.out for part in parts)):
        answers = [found for line in text.splitlines() if "probability" in (found := json.loads(line))]
        single = pl.DataFrame(
            [
                {**item["features"], "event_id": item["event_id"], "probability": item["probability"]}
                for item in answers
            ],
            infer_schema_length=None,
        ).sort("event_id")
        of_labels = [name for name in single.columns if "fraud" in name or "known" in name]
        assert len(of_labels) > 5
        columns = ["event_id", "probability", *of_labels]
        assert_frame_equal(single.select(columns), batch.select(columns).sort("event_id"), check_dtypes=False)
    assert batch.select(pl.max_horizontal(pl.max(name) for name in batch.columns if "fraud_count" in name)).item() > 0
