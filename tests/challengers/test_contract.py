"""What a challenger is told, what it gets, and which answers are refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.challengers.contract import (
    ChallengerFacts,
    ChallengerFeature,
    as_numbers,
    entity_columns,
    plain_rows,
    read_scores,
    training_rows,
)
from fraudctl.challengers.fitted import ScoreScale, nearby
from fraudctl.errors import DataError, ProjectError
from fraudctl.project import parse_project
from fraudctl.project.challengers import ChallengerSection

FEATURES = (ChallengerFeature("x"), ChallengerFeature("kind", ("a", "(missing)", "(other)")))
IDS = pl.Series("event_id", [4, 1, 3])
FACTS = ChallengerFacts(
    "fit", "rival", 7, 2, FEATURES, {"card": "entity.card"},
    datetime(2026, 1, 1, tzinfo=UTC), 3600, {"trees": 3},
)  # fmt: skip


def answer(path: Path, **columns: object) -> Path:
    pl.DataFrame(columns).write_parquet(path / "scores.parquet")
    return path / "scores.parquet"


def test_scores_come_back_in_the_order_of_the_events(tmp_path: Path) -> None:
    found = read_scores(answer(tmp_path, event_id=[1, 3, 4], score=[1, 3, 4]), IDS, who="x")
    assert found.tolist() == [4.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"event_id": [1, 3], "score": [0.0, 0.0]}, "of 3 events to score, 1 have no score; 0 rows repeat"),
        ({"event_id": [1, 3, 4, 4], "score": [0.0] * 4}, "0 have no score; 1 rows repeat an event, and 0 are of"),
        ({"event_id": [1, 3, 4, 9], "score": [0.0] * 4}, "0 rows repeat an event, and 1 are of events"),
        ({"event_id": [1, 3, None], "score": [0.0] * 3}, "1 have no score; 0 rows repeat an event, and 1 are of"),
        ({"event_id": [1, 3, 4], "score": [0.0, None, 1.0]}, "1 of 3 scores are null, NaN or infinite"),
        ({"event_id": [1, 3, 4], "score": [0.0, float("nan"), float("inf")]}, "2 of 3 scores are null"),
        ({"event_id": [1, 3, 4], "score": ["a", "b", "c"]}, "score is String"),
        ({"event_id": ["1", "3", "4"], "score": [0.0] * 3}, "event_id is String"),
        ({"event_id": [1, 3, 4]}, "expected event_id and score"),
        ({"event_id": [1, 3, 4], "score": [0.0] * 3, "label": [0] * 3}, "expected event_id and score"),
    ],
)
def test_an_answer_that_is_not_one_score_per_event_is_refused(
    tmp_path: Path, columns: dict[str, object], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_scores(answer(tmp_path, **columns), IDS, who="challenger x")
    assert caught.value.message.startswith("challenger x")


def test_no_answer_and_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scores\.parquet is missing"):
        read_scores(tmp_path / "scores.parquet", IDS, who="x")
    (tmp_path / "scores.parquet").write_bytes(b"event_id,score\n1,2\n")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_scores(tmp_path / "scores.parquet", IDS, who="x")


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_bytes(FACTS.to_json(tmp_path))
    read, document = ChallengerFacts.read(tmp_path / "facts.json")
    assert read == FACTS
    assert (read.numbers, list(read.categories)) == (["x"], ["kind"])
    assert document["tables"] == {name: str(tmp_path / f"{name}.parquet") for name in ("train", "context")}
    assert "output" not in document
    scoring = json.loads(ChallengerFacts(**{**vars(FACTS), "step": "score"}).to_json(tmp_path))
    assert set(scoring["tables"]) == {"rows", "context"}


def frame() -> pl.DataFrame:
    times = pl.datetime_range(datetime(2026, 1, 1), datetime(2026, 1, 4), "1d", time_zone="UTC", eager=True)
    return pl.DataFrame(
        {
            "event_id": [1, 2, 3, 4], "event_time": times, "label": [0, 1, None, 0], "label_time": times,
            "amount": [1.0, 2, 3, 4], "card": ["a", None, "a", "b"], "x": [0.5, None, 1.5, 2.5],
            "kind": ["a", "(missing)", "(other)", "a"],
        }
    )  # fmt: skip


def test_scoring_rows_hold_ids_time_entities_and_features_and_nothing_else() -> None:
    rows = plain_rows(frame(), frame().select("x", "kind"), {"card": "entity.card"})
    assert rows.columns == ["event_id", "event_time", "entity.card", "x", "kind"]
    train = training_rows(rows, frame()["label"], None)
    assert train.columns == [*rows.columns, "label", "event_weight"]
    assert train["event_weight"].to_list() == [1.0] * 4


def test_a_feature_with_the_name_of_another_column_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be handed to a challenger"):
        entity_columns(["card"], ["x", "entity.card"])


def test_categories_are_places_of_levels_and_nulls_are_nan() -> None:
    found = as_numbers(frame(), FACTS)
    assert found[:, 1].tolist() == [0.0, 1.0, 2.0, 0.0]
    assert np.isnan(found[:, 0]).tolist() == [False, True, False, False]


def section(**given: object) -> ChallengerSection:
    return ChallengerSection.model_validate({"entry": "m", **given})


def test_other_events_are_those_of_the_history_up_to_the_last_row() -> None:
    rows = frame()[2:3]
    assert nearby(frame(), rows, section(history="1d"))["event_id"].to_list() == [2]
    assert nearby(frame(), rows, section(history="5d"))["event_id"].to_list() == [1, 2]
    assert nearby(frame(), frame()[1::2], section(history="1h"))["event_id"].to_list() == [3]
    assert nearby(frame(), rows, section()).is_empty()


scores = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20).filter(lambda values: np.std(values) > 1e-3)


@given(scores, st.floats(0.01, 1e6), st.floats(-1e6, 1e6))
def test_another_unit_of_raw_scores_changes_no_raw_score(values: list[float], slope: float, shift: float) -> None:
    plain = np.array(values)
    other = plain * slope + shift
    found = [ScoreScale.learn("raw", one).apply(one) for one in (plain, other)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    assert (np.diff(found[0][np.argsort(plain, kind="stable")]) >= 0).all()


def test_probabilities_become_log_odds_and_equal_scores_stay_equal() -> None:
    scale = ScoreScale.learn("probability", np.array([0.5, 0.9]))
    np.testing.assert_allclose(scale.apply(np.array([0.5, 0.9, 1.7])), [0.0, np.log(9), 30.0])
    assert ScoreScale.learn("raw", np.array([3.0, 3.0])).apply(np.array([3.0])).tolist() == [3.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "one of command and entry is needed"),
        ('command = ["python", "a.py"]\nentry = "a"', "one of command and entry is needed"),
        ('entry = "a b"', "expected"),
        ('entry = "a"\nfiles = ["../x"]', "stay below it"),
        ('entry = "a"\nfiles = ["/etc/x"]', "stay below it"),
        ('command = ["python", ""]', "an argument is empty"),
        ('entry = "a"\ntimeout = "0s"', "no length of time"),
        ('entry = "a"\nhistroy = "5d"', "unknown key; did you mean 'history'"),
    ],
)
def test_mistakes_of_the_section_are_named(text: str, said: str) -> None:
    with pytest.raises(ProjectError, match=said) as caught:
        parse_project(f'[data]\nevents = "e"\n[challengers.r]\n{text}\n', path=Path("fraudctl.toml"))
    assert "challengers.r" in caught.value.message
