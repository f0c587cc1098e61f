"""From sections to features: names, words, types, order, and refusals."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from fraudctl.errors import DataError, ProjectError
from fraudctl.features import build, define
from fraudctl.features.meaning.graph import CycleError, stages

WINDOW = '[[features.window]]\nby = "card"\nwindows = ["1h"]\naggregates = ["{}"]\n'


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (WINDOW.format("count"), ["card_count_1h"]),
        (WINDOW.format("mean(amount)"), ["card_mean_amount_1h"]),
        (WINDOW.format("mean(eur)"), ["card_mean_amount_1h"]),
        (WINDOW.format("nunique(shop)"), ["card_nunique_shop_1h"]),
        (WINDOW.format("nunique(shop_id)"), ["card_nunique_shop_1h"]),
        (WINDOW.format("count") + 'name = "odd"\nwhere = "items > 1"\n', ["card_odd_count_1h"]),
        (
            '[[features.labels]]\nby = ["card", "shop"]\nwindows = ["7d"]\naggregates = ["known_count","fraud_rate"]\n',
            ["card_known_count_7d", "card_fraud_rate_7d", "shop_known_count_7d", "shop_fraud_rate_7d"],
        ),
        ('[[features.recency]]\nby = "card"\n', ["card_seconds_since_last"]),
        ('[[features.pairs]]\nof = ["card", "shop"]\n', ["card_shop_first_time"]),
        ('[[features.hours]]\nby = "card"\nwindows = ["30d"]\n', ["card_hour_distance_30d"]),
        ('[[features.trend]]\nby = "card"\nshort = "1d"\nlong = "30d"\n', ["card_trend_count_1d_30d"]),
        ('[features]\nraw = ["amount", "items"]\n', ["amount", "items"]),
        ('[features]\nraw = ["eur"]\n', ["amount"]),
    ],
)
def test_names(features_of, text, names):
    assert features_of(text).names == names


def test_words_types_and_order(features_of):
    text = (
        WINDOW.format("std(amount)")
        + '[features]\nraw = ["status"]\ncategorical = ["status"]\nhidden = ["half"]\n'
        + 'words = { late = "deep in the night" }\n'
        + '[features.columns]\nhalf = "amount / 2"\nlate = "hour(event_time) < half"\nwhole = "items + 1"\n'
    )
    features = features_of(text)
    assert features.names == ["status", "card_std_amount_1h", "late", "whole"]
    assert features.categorical == ["status"]
    assert features.carried == ["status", "items"]
    assert [feature.dtype for feature in features.features] == ["category", "float", "bool", "int"]
    assert features["late"].words == "deep in the night"
    assert features["half"].hidden
    assert features["card_std_amount_1h"].describe() == {
        "name": "card_std_amount_1h", "family": "window", "entity": "card", "dtype": "float",
        "words": "standard deviation of amount over earlier events of the card in the last hour",
        "interval": "event_time in (t - 1 hour, t)", "nulls": "null below two values in the window",
    }  # fmt: skip


def test_a_hidden_feature_is_not_in_the_table(features_of, events_of):
    text = '[features]\nhidden = ["half"]\n[features.columns]\nhalf = "amount / 2"\nquarter = "half / 2"\n'
    events = events_of(text, id=[1], at=[datetime(2024, 1, 1, tzinfo=UTC)], eur=[8.0])
    table = build(events, features_of(text), timezone="UTC")
    assert table["quarter"].to_list() == [2.0]
    assert "half" not in table.columns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WINDOW.format("total"), "no aggregate 'total'"),
        (WINDOW.format("sum"), "sum takes a column, such as sum\\(amount\\)"),
        (WINDOW.format("count(amount)"), "count takes no column"),
        (WINDOW.format("mean(status)"), "needs a number, but the column is String"),
        (WINDOW.format("mean(card)"), "needs a number, but the column is String"),
        (WINDOW.format("mean(amonut)"), "no column 'amonut' .*did you mean 'amount'"),
        (WINDOW.format("sum(fraud)"), "no column 'fraud' that a feature may use"),
        (WINDOW.format("sum(scenario)"), "no column 'scenario' that a feature may use"),
        (WINDOW.format("max(id)"), "no column 'id' that a feature may use"),
        (WINDOW.format("count") * 2, "two features are named 'card_count_1h'"),
        (WINDOW.format("count") + 'name = "x"\nwhere = "items"\n', "is no condition"),
        (WINDOW.format("count") + 'name = "x"\nwhere = "fraud = 1"\n', "no column 'fraud'"),
        ('[[features.pairs]]\nof = ["card", "card"]\n', "'card' twice"),
        ('[[features.pairs]]\nof = ["card", "device"]\n', "no entity 'device'"),
        ('[[features.hours]]\nby = "cart"\nwindows = ["1d"]\n', "no entity 'cart'; did you mean 'card'"),
        ('[features]\nraw = ["known"]\n', "no column 'known' that may be a feature"),
        ('[features]\nraw = ["status"]\n', "'status' is String; expected a number"),
        ('[features.columns]\nx = "fraud + 1"\n', "no column 'fraud'"),
        ('[features.columns]\nx = "card"\n', "is nothing but the id of entity 'card'"),
        ('[features.columns]\namount = "items"\n', "name of a feature and of a column"),
        ('[features.columns]\nx = "event_time"\n', "expected a number, a truth value or a category"),
        ('[features.columns]\nx = "y + 1"\ny = "x + 1"\n', "in a circle: x -> y -> x"),
        ('[features.columns]\nx = "x + 1"\n', "in a circle: x -> x"),
        (
            WINDOW.format("mean(x)") + '[features.columns]\nx = "amount / card_mean_x_1h"\n',
            "in a circle: card_mean_x_1h -> x -> card_mean_x_1h",
        ),
        ('[features]\nwords = { x = "nothing" }\n', "features.words: no feature 'x'"),
        ('[features]\nhidden = ["x"]\n', "features.hidden: no feature 'x'"),
    ],
)
def test_refusals(features_of, text, words):
    with pytest.raises(ProjectError, match=words):
        features_of(text)


@pytest.mark.parametrize(
    "text",
    [
        WINDOW.format("count").replace("1h", "0d"),
        WINDOW.format("count").replace("1h", "1mo"),
        WINDOW.format("count").replace("1h", "-1h"),
        WINDOW.format("count") + 'where = "items > 1"\n',
        '[[features.trend]]\nby = "card"\nshort = "30d"\nlong = "1d"\n',
    ],
)
def test_the_project_file_refuses(project_of, text):
    with pytest.raises(ProjectError, match=r"features\."):
        project_of(text)


def test_a_missing_entity_column_is_a_data_error(project_of):
    with pytest.raises(DataError, match="no column 'card_id' in the data"):
        define(project_of(""), {"shop_id": pl.Int64()})


def test_the_digest_follows_the_meaning(features_of):
    base = features_of(WINDOW.format("count")).digest
    assert base == features_of(WINDOW.format("count") + "\n").digest
    assert base != features_of(WINDOW.format("count").replace("1h", "2h")).digest
    assert base != features_of(WINDOW.format("count") + "include_current = true\n").digest


def test_trends_reuse_windows_that_are_there(features_of):
    trend = '[[features.trend]]\nby = "card"\nshort = "1h"\nlong = "1d"\n'
    assert [step.name for step in features_of(trend).steps] == [
        ".card_count_1h", ".card_count_1d", "card_trend_count_1h_1d",
    ]  # fmt: skip
    both = features_of(WINDOW.format("count") + trend)
    assert [step.name for step in both.steps] == ["card_count_1h", ".card_count_1d", "card_trend_count_1h_1d"]
    assert both["card_trend_count_1h_1d"].words.endswith("in the last hour against the last day per unit of time")


def test_stages_name_the_cycle():
    assert stages({"a": ("b",), "b": (), "c": ("a", "x")}) == (("b",), ("a",), ("c",))
    with pytest.raises(CycleError) as caught:
        stages({"a": ("b",), "b": ("c",), "c": ("b",)})
    assert caught.value.cycle == ("b", "c", "b")
