"""Labels in tables of their own: reading them, what follows from their changes, and the sample that has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.checks import run_checks
from fraudctl.data import tables
from fraudctl.data.entries import load_entries
from fraudctl.data.labels import CHANGES, as_known, known_labels
from fraudctl.errors import DataError, ProjectError
from fraudctl.features import define
from fraudctl.features.online import OnlineFeatures, from_bytes, from_history, to_bytes
from fraudctl.maturity import known_blocked
from fraudctl.overlap import Relabelled, relabelled
from fraudctl.project import parse_project
from fraudctl.sample.verdicts import LABEL_TABLES
from fraudctl.server import openapi
from fraudctl.split import make_split
from fraudctl.workflows.check import check_data
from fraudctl.workflows.features import build_features, build_features_file
from fraudctl.workflows.increment import build_since
from fraudctl.workflows.sample import write_sample

DAY0 = datetime(2026, 1, 1, tzinfo=UTC)
PROJECT = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
label_delay = "10d"
[entities]
card = "card"
[labels]
declined = { column = "status", values = ["declined"] }
[labels.chargebacks]
events = "chargebacks.parquet"
event_id = "payment"
time = "known"
label = 1
[labels.disputes]
events = "disputes.csv"
event_id = "payment"
time = "decided"
label = { column = "outcome", values = { won = 0, lost = 1, open = "unknown" } }
[labels.disputes.times]
decided = { format = "%d.%m.%Y %H:%M" }
[labels.disputes.csv]
separator = ";"
[[features.labels]]
by = "card"
windows = ["30d"]
aggregates = ["known_count", "fraud_count"]
[[features.recency]]
by = "card"
aggregates = ["seconds_since_last_known_fraud"]
"""


def day(number: float) -> datetime:
    return DAY0 + timedelta(days=number)


def write(folder: Path, *, text: str = PROJECT, ids: tuple[object, ...] = (1, 2, 3, 4, 5, 6)):
    """Write six payments of one card, one a day, with chargebacks of three and disputes of two of these."""
    events = pl.DataFrame(
        {"id": ids, "at": [day(i) for i in range(6)], "card": ["a"] * 6, "status": ["ok"] * 5 + ["declined"]}
    )
    events.write_parquet(folder / "events.parquet")
    known = [day(2), day(3), day(1), day(40), day(2)]
    pl.DataFrame({"payment": [1, 2, 3, 4, 99], "known": known}).write_parquet(folder / "chargebacks.parquet")
    lines = ["payment;decided;outcome", "1;05.01.2026 00:00;won", "2;04.01.2026 00:00;open", "007;04.01.2026 00:00;won"]
    (folder / "disputes.csv").write_text("\n".join(lines) + "\n")
    (folder / "fraudctl.toml").write_text(text)
    return parse_project(text, path=folder / "fraudctl.toml")


def load(project) -> pl.DataFrame:
    return tables.load_events(project, entries=load_entries(project)).frame


def test_entries_become_what_was_known_at_each_instant(tmp_path: Path) -> None:
    frame = load(write(tmp_path))
    # 1: reported on day 2, taken back on day 4. 2: reported. 3: reported a day before it happened, so from day 2 on.
    # 4: silence makes it legitimate on day 13, and on day 40 it is reported. 5: silence. 6: declined.
    at = {number: known_labels(frame, day(number)).tolist() for number in (1, 2, 3, 4, 12, 13, 14, 15, 40)}
    assert at[1] == [-1] * 6
    assert at[2] == [1, -1, 1, -1, -1, -1]
    assert at[3] == [1, 1, 1, -1, -1, -1]
    assert at[4] == [0, 1, 1, -1, -1, -1]
    assert at[12] == at[4]
    assert at[13] == [0, 1, 1, 0, -1, -1]
    assert at[14] == [0, 1, 1, 0, 0, -1]
    assert at[15] == at[14]
    assert at[40] == [0, 1, 1, 1, 0, -1]
    assert frame["label"].to_list() == [0, 1, 1, 0, 0, None]  # known on day 5, or the first that will be
    assert frame[CHANGES].is_not_null().to_list() == [True, False, False, True, False, False]
    assert as_known(frame, day(3))["label_time"][0] == day(2)


def test_ids_meet_as_they_are_written(tmp_path: Path) -> None:
    numbers = load(write(tmp_path))
    texts = load(write(tmp_path, ids=("1", "2", "3", "4", "5", "6")))
    assert texts["label"].equals(numbers["label"])
    assert texts[CHANGES].to_list() == numbers[CHANGES].to_list()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[labels.chargebacks]", '[data.label_values]\nx = 1\n[labels.chargebacks]', "no such column"),
        ('event_id = "id"', "event_id = { row_number = true }", "row number"),
        ('label = { column = "outcome", values = { won = 0, lost = 1, open = "unknown" } }', "label = 2", "0 or 1"),
        ('time = "known"', "", "labels.chargebacks.time: missing"),
        ("[labels]\n", '[labels]\nlegit_afer = "never"\n', "did you mean 'legit_after'"),
    ],
)  # fmt: skip
def test_mistakes_of_the_project_file_are_named(old: str, new: str, words: str) -> None:
    with pytest.raises(ProjectError, match=words.replace(".", r"\.")):
        parse_project(PROJECT.replace(old, new, 1), path=Path("fraudctl.toml"))


def test_a_table_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    project = write(tmp_path)
    (tmp_path / "disputes.csv").write_text("payment;decided;outcome\n1;05.01.2026 00:00;undone\n")
    with pytest.raises(DataError, match=r"\[labels.disputes\] label.values"):
        load(project)
    assert [item.where for item in check_data(project).findings if item.id == "labels-unreadable"] == [
        "labels.disputes"
    ]
    (tmp_path / "disputes.csv").write_text("payment;decided;outcome\n1;;won\n")
    with pytest.raises(DataError, match="1 times are null"):
        load(project)


def test_check_counts_what_the_tables_say_against_each_other(tmp_path: Path) -> None:
    project = write(tmp_path)
    pl.DataFrame(
        {"payment": [1, 1, 2, 3, 99], "known": [day(2), day(2), day(3), day(1), day(2)]}
    ).write_parquet(tmp_path / "chargebacks.parquet")  # fmt: skip
    (tmp_path / "disputes.csv").write_text("payment;decided;outcome\n2;04.01.2026 00:00;won\n1;05.01.2026 00:00;won\n")
    counts = {item.id: item.counts for item in check_data(project).findings if item.id.startswith("labels-")}
    assert counts["labels-orphans"] == {"n_rows": 1}
    assert counts["labels-early"] == {"n_rows": 1}
    assert counts["labels-one-instant"] == {"n_instants": 2, "n_conflicts": 1}
    assert counts["labels-changed"] == {"n_rows": 1, "n_taken_back": 1}


def test_a_reversal_lifts_a_block_and_is_counted_since_training(tmp_path: Path) -> None:
    frame = load(write(tmp_path)).filter(pl.col("event_id") != 2, pl.col("event_id") != 3)
    blocked = known_blocked(frame, entity="card", since=day(-1), timezone="UTC")
    assert blocked.tolist() == [False, True, True, False]  # events of days 3, 4 and 5; taken back as day 4 began
    assert known_blocked(frame, entity="card", since=day(1), timezone="UTC").tolist() == [False] * 4
    assert relabelled(frame, as_of=day(3), known_until=day(50)) == Relabelled(rows=1, taken_back=1, reported=0)
    assert relabelled(frame, as_of=day(14), known_until=day(50)) == Relabelled(rows=3, taken_back=0, reported=1)
    assert relabelled(frame.drop(CHANGES), as_of=day(3), known_until=day(50)) is None


def test_training_takes_the_labels_of_its_date() -> None:
    rng, n = np.random.default_rng(5), 400
    at = [day(i / 4) for i in range(n)]
    text = PROJECT.partition("[[features.labels]]")[0].replace(
        'declined = { column = "status", values = ["declined"] }', ""
    )
    project = parse_project(text + '[split]\ntest = "10d"\nfolds = 2\n', path=Path("fraudctl.toml"))
    raw = pl.DataFrame({"id": range(n), "at": at, "card": ["a"] * n, "status": ["ok"] * n})
    chosen = np.flatnonzero(rng.random(n) < 0.4)
    entries = pl.DataFrame({
        "event_id": np.concatenate([chosen, chosen]),
        "time": [at[i] + timedelta(days=2) for i in chosen] + [at[i] + timedelta(days=20) for i in chosen],
        "label": pl.Series([1] * len(chosen) + [0] * len(chosen), dtype=pl.Int8),
    }).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))  # fmt: skip
    events = tables.normalise(raw.lazy(), project=project, files=["x"], columns=[], entries=entries)
    split = make_split(events.frame, project, known_until=events.known_until)
    for fold in split.folds:
        known = known_labels(events.frame, fold.as_of)[fold.train]
        wanted = [
            0 if at[i] + timedelta(days=20) <= fold.as_of else 1 for i in np.flatnonzero(fold.train) if i in chosen
        ]
        assert known[np.isin(np.flatnonzero(fold.train), chosen)].tolist() == wanted
        assert 0 < known.sum() < len(wanted)
        assert (known_labels(events.frame, split.as_of)[fold.valid] >= 0).all()


def new_state(project):
    schema = {"id": pl.Int64, "at": pl.Datetime("us", "UTC"), "card": pl.String, "status": pl.String}
    features = define(project, schema)
    return features, OnlineFeatures(features, timezone="UTC", label_delay_us=10 * 86_400_000_000)


def asked(state, at: datetime) -> list[float]:
    return state.peek({"event_id": -1, "event_time": at, "card": "a"}).numbers.tolist()


def test_messages_come_in_any_order_twice_and_for_declined_events(tmp_path: Path) -> None:
    _, state = new_state(write(tmp_path))
    state.label(1, 1, day(2))  # before its event
    for number in range(1, 4):
        state.observe({"event_id": number, "event_time": day(number - 1), "card": "a"})
    assert asked(state, day(3))[:2] == [1, 1]
    state.label(1, 0, day(3))
    state.label(1, 0, day(3))
    assert state.counters["duplicates"] == 1
    assert asked(state, day(3.5))[:2] == [1, 0]
    assert np.isnan(asked(state, day(3.5))[2])
    state.label(1, 1, day(3))  # of two at one instant fraud counts
    assert asked(state, day(3.5))[:2] == [1, 1]
    state.label(2, None, day(4))  # declined: silence says nothing of it
    assert asked(state, day(20))[:2] == [2, 1]
    assert state.label(77, 1, day(4)) is None
    assert state.n_early == 1


def test_a_reversal_that_is_known_to_come_counts_when_it_does_however_old_its_event_is(tmp_path: Path) -> None:
    project = write(tmp_path)
    (tmp_path / "disputes.csv").write_text("payment;decided;outcome\n2;01.06.2026 00:00;won\n")
    features, _ = new_state(project)
    events = tables.load_events(project, entries=load_entries(project))
    settings = {"timezone": "UTC", "label_delay_us": 10 * 86_400_000_000}
    state = from_bytes(to_bytes(from_history(events, features, **settings)), features, **settings)
    for number in range(100):
        state.observe({"event_id": 1000 + number, "event_time": day(60 + number), "card": "b"})
    assert asked(state, day(150))[2] == (day(150) - day(3)).total_seconds()  # event 4, reported on day 40
    state.label(1, 1, day(152))
    assert state.n_early == 1  # its event is not known any more
    assert asked(state, day(159))[2] == (day(159) - day(3)).total_seconds()
    assert not state.verdicts.entries.keys() - {key for key in state.verdicts.entries if state.ledger.holds(key)}


def test_the_sample_has_its_labels_in_tables_in_every_engine(tmp_path: Path) -> None:
    made = write_sample(tmp_path / "one", n_events=1200, days=40, label_tables=True)
    same = write_sample(tmp_path / "two", n_events=1200, days=40)
    assert pl.read_parquet(made.transactions).equals(
        pl.read_parquet(same.transactions).drop("is_fraud", "label_available_at")
    )
    text = made.project_file.read_text()
    families = text[: text.index("\n[features.words]")].partition("\n[features.columns]")[0]
    families += '\n[[features.labels]]\nby = "card"\nwindows = ["7d"]\naggregates = ["known_count", "fraud_count"]\n'
    families += '\n[[features.recency]]\nby = "merchant"\naggregates = ["seconds_since_last_known_fraud"]\n'
    project = parse_project(families.replace("[features]\n", "[features]\n", 1), path=made.project_file)
    report = check_data(project)
    assert set(project.labels.tables) == set(LABEL_TABLES)
    assert {"labels-delay", "labels-changed", "labels-orphans"} <= {item.id for item in report.findings}
    assert report.verdict != "error"
    table = build_features(project)
    assert table.frame[CHANGES].count() > 0
    found = build_since(project, day(0) - timedelta(days=95))
    later = table.frame.filter(pl.col("event_time") >= found.since)
    assert 0 < found.rows < table.n_events
    assert found.frame.equals(later.drop(CHANGES).select(found.frame.columns))
    whole = table.frame
    (project.cache_dir / "features").rename(project.cache_dir / "before")
    parts = build_features_file(project, memory=600_000_000)
    assert pl.read_parquet(parts.path).equals(whole)


def test_checks_say_why_there_are_no_labels_where_a_table_is_missing(tmp_path: Path) -> None:
    project = write(tmp_path)
    raw = pl.scan_parquet(tmp_path / "events.parquet")
    report = run_checks(project, raw, verdicts={"chargebacks": DataError("no such file", hint="write it")})
    assert [(item.id, item.what) for item in report.findings if item.severity == "error"] == [
        ("labels-unreadable", "no such file")
    ]


def test_the_document_of_a_server_says_what_the_column_of_declined_means() -> None:
    project = parse_project(PROJECT, path=Path("fraudctl.toml"))
    columns = {"id": {"type": "string"}, "status": {"description": "Not looked at"}}
    (described,) = openapi._declined(columns, ["id"], project).items()
    assert described[0] == "status"
    told = described[1]["description"]
    assert told.startswith('["declined"] say that the event was declined')
    label = openapi._label({"type": "integer"}, {}, in_tables=True)["properties"]["label"]
    assert "null: the event was declined" in label["description"]
    assert None in label["enum"]
