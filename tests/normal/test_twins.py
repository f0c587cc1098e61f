"""Odd files and their normalised twins: equal events, features, bundles and scores, and equal messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from odd_forms import FORMS, N, Write, digits, epochs, joined, project, slashed, world, zones
from polars.testing import assert_frame_equal

from fraudctl.data import tables
from fraudctl.errors import DataError
from fraudctl.features.meaning.definition import define
from fraudctl.project import Project
from fraudctl.scoring.events import EventReader
from fraudctl.scoring.schema import data_schema
from fraudctl.workflows.features import build_features
from fraudctl.workflows.increment import build_since
from fraudctl.workflows.score import open_model, score_files
from fraudctl.workflows.state import build_state, engine_on
from fraudctl.workflows.stream import score_through
from fraudctl.workflows.train import train_model


@dataclass(frozen=True)
class Trained:
    """A project, its events, its feature table, and a model trained on it."""

    project: Project
    events: pl.DataFrame
    features: pl.DataFrame
    bundle: dict[str, bytes]
    scores: pl.DataFrame


def trained(found: Project) -> Trained:
    """Do with a project what a user does: build, train, and score its own files."""
    events = tables.load_events(found, columns=["mcc", "n"]).frame
    built = build_features(found).frame
    version = train_model(found).version
    root, out = found.root, found.root / "scores.parquet"
    names = ("model.cbm", "calibration.json", "policy.json", "predictions.parquet")
    bundle = {name: (root / "models" / version / name).read_bytes() for name in names}
    files = tables.find_files(found.data.events, root=root)
    score_files(open_model(root, version), files, output=out)
    return Trained(found, events, built, bundle, pl.read_parquet(out))


Twins = Callable[[str], Trained]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """The normalised twin by time zone: a policy and its folds' predictions know the days of their zone."""

    @cache
    def twin(zone: str) -> Trained:
        folder = tmp_path_factory.mktemp("twin")
        world().write_parquet(folder / "x.parquet")
        return trained(project(folder, "x.parquet", zone=zone))

    return twin


@pytest.mark.parametrize("write", FORMS)
def test_an_odd_file_gives_the_events_features_bundle_and_scores_of_its_twin(
    write: Write, tmp_path: Path, twins: Twins
) -> None:
    odd = trained(write(world(), tmp_path))
    twin = twins(odd.project.data.timezone)
    assert_frame_equal(odd.events, twin.events)
    assert_frame_equal(odd.features, twin.features)
    assert [name for name in twin.bundle if odd.bundle[name] != twin.bundle[name]] == []
    assert_frame_equal(odd.scores.drop("model"), twin.scores.drop("model"))
    assert odd.scores["probability"].n_unique() > 5


@pytest.mark.parametrize("write", [joined, epochs])
def test_a_file_scored_within_some_memory_has_the_same_scores(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = write(world(), tmp_path)
    monkeypatch.chdir(tmp_path)
    model = open_model(tmp_path, train_model(found).version)
    files = tables.find_files(found.data.events, root=tmp_path)
    for name, memory in (("whole.parquet", None), ("parts.parquet", 600_000_000)):
        score_files(model, files[:1], output=Path(name), memory=memory)
    assert_frame_equal(pl.read_parquet("whole.parquet"), pl.read_parquet("parts.parquet"))


@pytest.mark.parametrize("write", [slashed, joined, epochs, zones, digits])
def test_a_message_in_the_odd_notation_is_the_row_of_the_file(write: Write, tmp_path: Path) -> None:
    found = write(world(), tmp_path)
    path = next(tmp_path.glob("x.*"))
    raw = tables.scan([str(path)], form=None if path.suffix == ".jsonl" else _dialect(found)).collect()
    schema = data_schema(found)
    reader = EventReader(found, define(found, tables.load_schema(found)), schema)
    rows = tables.load_events(found, columns=["mcc", "n"]).frame
    wanted = {row["event_id"]: row for row in rows.iter_rows(named=True)}
    for row in raw.iter_rows(named=True):
        event = reader.event({name: _typed(value, schema.events.get(name)) for name, value in row.items()})
        want = wanted[event["event_id"]]
        assert event["event_time"] == int(want["event_time"].timestamp()) * 1_000_000
        assert {name: event[name] for name in ("amount", "card", "mcc", "n")} == {
            name: want[name] for name in ("amount", "card", "mcc", "n")
        }


def _dialect(found: Project) -> Any:
    from fraudctl.normal.form import Form
    from fraudctl.project.reading import ReadingSection

    every = dict.fromkeys(["id", "t", "amount", "card", "mcc", "n", "y", "day", "time"])
    return Form(ReadingSection(csv=found.data.csv), ids=frozenset(every), text=frozenset(every))


def _typed(value: Any, kind: pl.DataType | None) -> Any:
    """Give a text of CSV as JSON would hold it where its notation is the usual one."""
    if isinstance(value, str) and kind is not None and kind.is_numeric():
        try:
            return json.loads(value)
        except ValueError:
            return value
    return float(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize("kind", [pl.UInt64, pl.Int128])
def test_ids_beyond_64_bits_are_text_in_every_table(kind: Any, tmp_path: Path) -> None:
    frame = world().with_columns(card=pl.Series([2**63 + i % 5 for i in range(N)], dtype=kind))
    frame.write_parquet(tmp_path / "x.parquet")
    frame.select("t", "card").write_csv(tmp_path / "logins.csv")
    found = project(
        tmp_path,
        "x.parquet",
        '[sources.logins]\nevents = "logins.csv"\nevent_time = "t"\nentities = { card = "card" }\n',
    )
    assert tables.load_events(found).frame["card"].to_list()[0] == str(2**63)
    schema = data_schema(found)
    assert schema.events["card"] == schema.sources["logins"]["card"] == pl.String


def test_an_id_is_text_where_it_is_text_in_another_table(tmp_path: Path) -> None:
    frame = world().with_columns(card=pl.Series([i % 5 for i in range(N)]))
    frame.write_parquet(tmp_path / "x.parquet")
    frame.select("t", pl.col("card").cast(pl.UInt64) + 2**63).write_parquet(tmp_path / "logins.parquet")
    found = project(
        tmp_path, "x.parquet",
        '[sources.logins]\nevents = "logins.parquet"\nevent_time = "t"\nentities = { card = "card" }\n',
    )  # fmt: skip
    assert data_schema(found).events["card"] == data_schema(found).sources["logins"]["card"] == pl.String
    assert tables.load_events(found).frame["card"].dtype == pl.String


@pytest.mark.parametrize("kind", [pl.Float64, pl.Float32])
def test_ids_of_floats_that_are_no_longer_exact_are_refused(kind: Any, tmp_path: Path) -> None:
    frame = world().with_columns(
        card=pl.Series([4_000_123_400_000_000_000 + i for i in range(N)], dtype=pl.Int64).cast(kind)
    )
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"ids are Float.* beyond .*neighbouring ids are one number"):
        tables.load_events(project(tmp_path, "x.parquet"))


def test_numbers_of_rows_go_on_over_files_and_after_a_history(tmp_path: Path) -> None:
    parts = dict(zip("abc", (world()[:200], world()[200:400], world()[400:]), strict=True))
    for name, part in parts.items():
        part.drop("id").write_csv(tmp_path / f"{name}.csv")
    files = [tmp_path / f"{name}.csv" for name in parts]
    found = project(tmp_path, '["a.csv", "b.csv"]', event_id="{ row_number = true }")
    model = open_model(tmp_path, train_model(found).version)
    score_files(model, files[2:], history=files[:2], output=tmp_path / "new.parquet")
    scores = pl.read_parquet(tmp_path / "new.parquet")
    assert scores["event_id"].to_list() == list(range(401, N + 1))
    score_files(model, files[2:], history=files[:2], output=tmp_path / "parts.parquet", memory=600_000_000)
    assert_frame_equal(scores, pl.read_parquet(tmp_path / "parts.parquet"))
    score_files(model, files, output=tmp_path / "all.parquet")
    assert_frame_equal(scores, pl.read_parquet(tmp_path / "all.parquet")[400:])

    t = world()["t"]
    build_since(found, t[250])
    more = project(tmp_path, '["a.csv", "b.csv", "c.csv"]', event_id="{ row_number = true }")
    new = build_since(more, t[410])
    assert new.built_anew is None
    whole = build_features(more).frame
    assert_frame_equal(new.frame, whole.filter(whole["event_time"] >= t[410]).select(new.frame.columns))
    other = project(tmp_path, '["c.csv", "a.csv", "b.csv"]', event_id="{ row_number = true }")
    assert "other numbers" in str(build_since(other, t[410]).built_anew)


def test_a_state_refuses_files_whose_rows_it_would_have_to_number(tmp_path: Path) -> None:
    frame = world().drop("id")
    frame[:400].write_parquet(tmp_path / "a.parquet")
    frame[400:].write_parquet(tmp_path / "b.parquet")
    named = frame[400:].with_columns(event_id=pl.int_range(1001, 1081, eager=True))
    named.write_parquet(tmp_path / "named.parquet")
    found = project(tmp_path, "a.parquet", event_id="{ row_number = true }")
    model, state, out = open_model(tmp_path, train_model(found).version), tmp_path / "state", tmp_path / "out.parquet"
    build_state([model], state, history=[tmp_path / "a.parquet"])
    with engine_on(model, state, explained="alerts") as engine:
        with pytest.raises(DataError, match="no column 'event_id', and a state cannot number rows"):
            score_through(engine, [tmp_path / "b.parquet"], output=out)
        score_through(engine, [tmp_path / "named.parquet"], output=out)
        message = {"t": "2024-05-01T00:00:00Z", "amount": 1.0, "card": "2", "mcc": "0100", "n": 1}
        with pytest.raises(DataError, match="no field 'event_id'") as caught:
            engine.take(message)
        assert "larger than" in str(caught.value.hint)
        answer = engine.take(message | {"event_id": 2000})
    assert answer is not None
    assert b'"event_id":2000' in answer
    assert pl.read_parquet(out)["event_id"].to_list() == list(range(1001, 1081))


def test_made_ids_name_rows_or_contents(tmp_path: Path) -> None:
    world().drop("id").write_parquet(tmp_path / "x.parquet")
    numbered = tables.load_events(project(tmp_path, "x.parquet", event_id="{ row_number = true }")).frame
    assert sorted(numbered["event_id"]) == list(range(1, N + 1))
    by_content = project(tmp_path, "x.parquet", event_id='{ columns = ["card", "n", "amount", "t"] }')
    frame = tables.load_events(by_content, columns=["mcc", "n"]).frame
    assert frame["event_id"].n_unique() == N
    reader = EventReader(by_content, define(by_content, tables.load_schema(by_content)), data_schema(by_content))
    for row in world().drop("id", "y").iter_rows(named=True):
        row["t"] = row["t"].isoformat()
        assert reader.event_id(row) in set(frame["event_id"])


@pytest.mark.parametrize(("place", "name"), [("_delta_log", "Delta"), ("metadata/v1.metadata.json", "Iceberg")])
def test_tables_of_a_lake_are_never_read_as_plain_parquet(place: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "ev" / place).mkdir(parents=True)
    world().write_parquet(tmp_path / "ev/part.parquet")
    with pytest.raises(DataError, match=f"{name}"):
        tables.load_events(project(tmp_path, "ev"))
    with pytest.raises(DataError, match=f"is a {name} table"):
        tables.load_events(project(tmp_path, "ev/*.parquet"))


def test_what_is_left_out_of_a_folder_is_named_and_kinds_are_not_mixed(tmp_path: Path) -> None:
    folder = tmp_path / "ev"
    folder.mkdir()
    world()[:30].write_parquet(folder / "a.parquet")
    world()[30:].write_parquet(folder / "B.PARQ")
    world().write_parquet(folder / ".b.parquet")
    (folder / "notes.xlsx").write_bytes(b"x")
    (folder / "_SUCCESS").touch()
    assert len(tables.find_files("ev", root=tmp_path)) == 2
    assert tables.left_behind("ev", root=tmp_path) == [".b.parquet", "notes.xlsx"]
    world().select("id").write_csv(folder / "c.csv")
    with pytest.raises(DataError, match="several kinds: 1 CSV, 2 Parquet"):
        tables.find_files("ev", root=tmp_path)


def test_a_label_in_the_repeated_hour_arrives_after_its_event(tmp_path: Path) -> None:
    # clocks in Berlin went back from 03:00 to 02:00 on 27 October 2024
    frame = world()[:2].with_columns(
        t=pl.Series([datetime(2024, 10, 27, 2, 50), datetime(2024, 10, 27, 2, 10)]),
        known=pl.Series([datetime(2024, 10, 27, 2, 10), datetime(2024, 10, 27, 2, 20)]),
    )
    frame.write_parquet(tmp_path / "x.parquet")
    found = tables.load_events(project(tmp_path, "x.parquet", 'label_time = "known"\n', zone="Europe/Berlin")).frame
    assert (found["label_time"] - found["event_time"]).dt.total_minutes().sort().to_list() == [10, 20]


@pytest.mark.parametrize("kind", [pl.UInt64, pl.Int128])
def test_wide_numbers_without_a_role_are_numbers_where_they_fit_and_text_where_not(kind: Any, tmp_path: Path) -> None:
    frame = world().with_columns(
        few=pl.Series(range(N), dtype=kind), hash=pl.Series([2**63 + i for i in range(N)], dtype=kind)
    )
    frame.write_parquet(tmp_path / "x.parquet")
    schema = tables.load_schema(project(tmp_path, "x.parquet"))
    assert (schema["few"], schema["hash"]) == (pl.Int64, pl.String)
