"""Proposals: the only plausible column gets the role, two are refused with the flag that settles it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraudctl.data import tables, typed
from fraudctl.errors import DataError, FraudctlError, UsageError
from fraudctl.features.meaning.definition import define
from fraudctl.project import Project, parse_project
from fraudctl.project.entities import EntityKey
from fraudctl.propose import Flags, Proposal, propose, render_project

START = datetime(2024, 1, 1)
N = 4_000
DELAY = Flags(label_delay="7d")


def payments(n: int = N, *, days: float = 120.0) -> pl.DataFrame:
    """Card payments over 120 days: 200 cards, 60 merchants, two in a hundred fraud, labels one to ten days late."""
    rng = np.random.default_rng(11)
    at = [START + timedelta(days=days * i / n) for i in range(n)]
    late = rng.uniform(1, 10, n)
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(n)],
            "created_at": at,
            "amount": rng.lognormal(3, 1, n),
            "card_id": rng.integers(0, 200, n),
            "merchant_id": [f"m{i}" for i in rng.integers(0, 60, n)],
            "channel": rng.choice(["app", "pos", "web"], n),
            "age": rng.integers(18, 90, n),
            "is_fraud": (rng.uniform(size=n) < 0.02).astype(np.int8),
            "label_available_at": [when + timedelta(days=delay) for when, delay in zip(at, late, strict=True)],
        }
    )


def proposed(frame: pl.DataFrame, flags: Flags | None = None) -> Proposal:
    return propose(frame.lazy(), events=("payments.parquet",), name="payments", flags=flags)


def parsed(proposal: Proposal) -> Project:
    return parse_project(render_project(proposal), path=Path("fraudctl.toml"))


def refused(frame: pl.DataFrame, flags: Flags | None = None) -> FraudctlError:
    with pytest.raises((UsageError, DataError)) as caught:
        proposed(frame, flags)
    return caught.value


def test_roles_of_a_plain_table() -> None:
    proposal = proposed(payments())
    project = parsed(proposal)
    assert project.project.name == "payments"
    assert project.data.events == "payments.parquet"
    assert (project.data.event_id, project.data.event_time) == ("transaction_id", "created_at")
    assert (project.data.amount, project.data.label) == ("amount", "is_fraud")
    assert project.data.label_time == "label_available_at"
    assert {name: key.plain() for name, key in project.entities.items()} == {
        "card": "card_id", "merchant": "merchant_id",
    }  # fmt: skip
    assert project.features.raw == ("amount", "channel", "age")
    assert project.features.categorical == ("channel",)
    assert str(project.data.label_delay) == "10d"  # uniform on [1, 10] days: the 95th percentile is about 9.55
    assert proposal.notes == ("only 86 frauds: intervals will be wide, and a gate will rarely pass",)


@pytest.mark.parametrize(
    "flags", [None, DELAY, Flags(entities=("holder=card_id",)), Flags(ignore=("merchant_id", "age"))]
)
def test_the_proposed_features_are_defined_and_counted(flags: Flags | None) -> None:
    frame = payments()
    proposal = proposed(frame, flags)
    features = define(parsed(proposal), frame.schema)
    assert len(features.names) == proposal.plan.n_features
    assert 30 <= len(features.names) <= 90
    derived = [item.name for item in proposal.plan.columns]
    assert all(features[name].words == dict(parsed(proposal).features.words)[name] for name in derived)


def test_given_roles_are_taken() -> None:
    frame = payments().rename({"transaction_id": "a", "created_at": "b", "amount": "c", "is_fraud": "d"})
    frame = frame.drop("label_available_at")
    flags = Flags(event_id="a", event_time="b", amount="c", label="d", label_delay="3d", entities=("card=card_id",))
    proposal = proposed(frame, flags)
    data = parsed(proposal).data
    assert (data.event_id, data.event_time, data.amount, data.label, str(data.label_delay)) == (
        "a",
        "b",
        "c",
        "d",
        "3d",
    )
    assert parsed(proposal).entities == {"card": EntityKey("card_id")}
    assert proposal.event_id.reason == "given by --event-id"


def test_the_label_delay_is_never_guessed() -> None:
    error = refused(payments().drop("label_available_at"))
    assert isinstance(error, UsageError)
    assert "how late labels arrive" in error.message
    assert error.hint is not None
    assert "--label-delay" in error.hint


TWO: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str, str]] = {
    "event time": (lambda f: f.with_columns(event_time=pl.col("created_at")), "--event-time", "created_at, event_time"),
    "label": (lambda f: f.with_columns(fraud=pl.col("is_fraud")), "--label", "is_fraud, fraud"),
    "amount": (lambda f: f.rename({"amount": "amount_eur"}).with_columns(amount_usd=pl.col("age") * 1.1),
               "--amount", "amount_eur, amount_usd"),
    "event id": (lambda f: f.with_columns(payment_id=pl.col("transaction_id")), "--event-id",
                 "transaction_id, payment_id"),
    "label time": (lambda f: f.with_columns(chargeback_at=pl.col("label_available_at")), "--label-time",
                   "label_available_at, chargeback_at"),
}  # fmt: skip


@pytest.mark.parametrize("role", TWO)
def test_two_candidates_are_refused_with_the_flag(role: str) -> None:
    change, flag, both = TWO[role]
    error = refused(change(payments()))
    assert isinstance(error, UsageError)
    assert both in error.message
    assert error.hint is not None
    assert flag in error.hint


@pytest.mark.parametrize("role", TWO)
def test_ignoring_one_of_two_settles_it(role: str) -> None:
    change, _, both = TWO[role]
    first, second = both.split(", ")
    proposal = proposed(change(payments()), Flags(ignore=(second,)))
    told = proposal.to_dict()["roles"]
    assert first in {item["column"] for item in told.values() if item}


def test_two_columns_of_one_entity_are_refused() -> None:
    error = refused(payments().with_columns(card_number=pl.col("card_id")))
    assert "'card_id' and 'card_number' could both be the entity 'card'" in error.message
    assert error.hint is not None
    assert "--ignore card_number" in error.hint


def test_the_event_id_is_told_from_other_unique_columns_by_its_name() -> None:
    frame = payments().with_columns(reference=pl.format("r{}", "transaction_id"))
    assert proposed(frame).event_id.column == "transaction_id"


def test_exact_copies_do_not_hide_the_event_id_but_differing_ones_do() -> None:
    frame = payments()
    copied = pl.concat([frame, frame.head(7)])
    assert proposed(copied).event_id.column == "transaction_id"
    differing = pl.concat([frame, frame.head(7).with_columns(age=pl.lit(1, dtype=pl.Int64))])
    assert "no column names each event once" in refused(differing).message
    error = refused(differing, Flags(event_id="transaction_id"))
    assert isinstance(error, DataError)
    assert "expected each event to have its own" in error.message


def test_a_later_time_is_not_the_event_time() -> None:
    frame = payments().with_columns(updated_at=pl.col("created_at") + timedelta(days=1))
    proposal = proposed(frame)
    assert proposal.event_time.column == "created_at"
    assert "updated_at" in {item.column for item in proposal.rest.ignored}


CLOCKS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "row number": (lambda f: f.with_columns(created_at=pl.int_range(pl.len())), "a row number is no clock"),
    "epoch": (lambda f: f.with_columns(pl.col("created_at").dt.epoch("s")), "looks like seconds since 1970"),
    "epoch in ms": (
        lambda f: f.with_columns(pl.col("created_at").dt.epoch("ms")),
        "looks like milliseconds since 1970",
    ),
    "offset": (lambda f: f.with_columns(created_at=pl.int_range(pl.len()) * 7), "an offset without a date is no clock"),
    "nothing": (lambda f: f.drop("created_at"), "no column holds a time"),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_without_a_clock_there_is_no_project(name: str) -> None:
    change, expected = CLOCKS[name]
    frame = change(payments().drop("label_available_at"))
    error = refused(frame, DELAY)
    assert isinstance(error, UsageError)
    assert expected in error.message
    if name != "nothing":
        assert expected in refused(frame, Flags(label_delay="7d", event_time="created_at")).message


def test_times_with_nulls_are_refused_where_given_and_passed_over_where_not() -> None:
    frame = payments().with_columns(
        created_at=pl.when(pl.col("transaction_id") == "t5").then(None).otherwise("created_at")
    )
    assert "no column is surely the time" in refused(frame).message
    assert "1 of 4000 times are null" in refused(frame, Flags(event_time="created_at")).message


def test_iso_texts_are_times() -> None:
    frame = payments().with_columns(pl.col("created_at", "label_available_at").dt.to_string("%Y-%m-%dT%H:%M:%S"))
    assert proposed(frame).event_time.column == "created_at"
    assert str(proposed(frame).clock.delay.duration) == "10d"


ENCODINGS: dict[str, tuple[Callable[[pl.Expr], pl.Expr], dict[str, int | None]]] = {
    "boolean": (lambda x: x == 1, {}),
    "float": (lambda x: x.cast(pl.Float64), {}),
    "words": (lambda x: pl.when(x == 1).then(pl.lit("Fraud")).otherwise(pl.lit("legit")), {"Fraud": 1, "legit": 0}),
    "2 = unlabelled": (
        lambda x: pl.when(pl.int_range(pl.len()) % 3 == 0).then(2).otherwise(x),
        {"0": 0, "1": 1, "2": None},
    ),
    "words with unknown": (
        lambda x: pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("pending")).when(x == 1).then(pl.lit("yes"))
        .otherwise(pl.lit("no")),
        {"no": 0, "pending": None, "yes": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODINGS)
def test_label_encodings_are_mapped(name: str) -> None:
    change, expected = ENCODINGS[name]
    frame = payments().with_columns(change(pl.col("is_fraud")).alias("is_fraud"))
    proposal = proposed(frame)
    project = parsed(proposal)
    assert project.data.label_values == expected
    outcome = typed.to_label(frame["is_fraud"], mapping=project.data.label_values)
    assert int((outcome == 1).sum()) == proposal.n_frauds > 0
    assert (None in expected.values()) == any("read as unknown" in note for note in proposal.notes)


@pytest.mark.parametrize("values", [[1, 2], [-1, 1], [0, 1, 2, 3], [0, 1, 0.5], ["a", "b"], ["fraud", "maybe"]])
def test_unclear_labels_are_refused(values: list[Any]) -> None:
    frame = payments().with_columns(is_fraud=pl.Series([values[i % len(values)] for i in range(N)], strict=False))
    assert "no column is surely the outcome" in refused(frame).message
    error = refused(frame, Flags(label="is_fraud"))
    assert isinstance(error, UsageError)
    assert f"{len(values)} distinct values" in error.message


@pytest.mark.parametrize(("value", "found"), [(0, "only 0"), (1, "only 1")])
def test_a_label_of_one_class_is_refused(value: int, found: str) -> None:
    frame = payments().with_columns(is_fraud=pl.lit(value))
    error = refused(frame)
    assert isinstance(error, DataError)
    assert found in error.message


def test_an_empty_table_is_refused() -> None:
    error = refused(payments().head(0))
    assert isinstance(error, DataError)
    assert "no rows" in error.message


IGNORED: dict[str, tuple[Callable[[pl.DataFrame], pl.Expr], str]] = {
    "all null": (lambda f: pl.lit(None, dtype=pl.Float64), "all null"),
    "constant": (lambda f: pl.lit("v1"), "same value in every row"),
    "leak": (lambda f: pl.col("is_fraud") * 5 + pl.col("age") / 100, "known only after the outcome?"),
    "filled for frauds": (lambda f: pl.when(pl.col("is_fraud") == 1).then("age"), "known only after the outcome?"),
    "day number": (lambda f: pl.int_range(pl.len()) // 100, "counts along with time"),
    "unique text": (lambda f: pl.format("n{}", pl.int_range(pl.len())), "its own value"),
    "list": (lambda f: pl.concat_list("age", "age"), "no feature can use"),
    "is_disputed": (lambda f: pl.col("age") % 2, "a flag that is named as the outcome"),
    "auth_status": (
        lambda f: pl.when(pl.col("age") % 9 == 0).then(pl.lit("declined")).otherwise(pl.lit("approved")),
        "speak of the decision",
    ),
    "expiry_date": (lambda f: pl.col("created_at") + timedelta(days=900), "lie after the event"),
    "settled_amount": (lambda f: pl.when(pl.col("created_at") < START + timedelta(days=112)).then("age"), "lack it"),
    "closing": (lambda f: pl.col("amount") * 2, "equals 'opening' + 'amount'"),
}


@pytest.mark.parametrize("name", IGNORED)
def test_columns_that_must_not_be_features_are_ignored(name: str) -> None:
    make, reason = IGNORED[name]
    frame = payments()
    more = {"opening": pl.col("amount")} if name == "closing" else {}
    proposal = proposed(frame.with_columns(make(frame).alias(name), **more))
    told = {item.column: item.reason for item in proposal.rest.ignored}
    assert list(told) == [name]
    assert reason in told[name]
    project = parsed(proposal)
    assert project.data.ignore == (name,)
    assert name not in project.features.raw


def test_wide_categories_and_ids_without_entity_are_left_out_with_a_reason() -> None:
    rng = np.random.default_rng(2)
    frame = payments().with_columns(
        city=pl.Series([f"c{i}" for i in rng.integers(0, 300, N)]), seller_id=pl.Series(rng.integers(0, 3_900, N))
    )
    proposal = proposed(frame, Flags(entities=("card=card_id",)))
    assert {item.column for item in proposal.rest.unused} == {"city", "seller_id"}
    assert "merchant_id" in proposal.rest.categorical  # 60 values with 66 rows each
    assert "city" in render_project(proposal)


@pytest.mark.parametrize(("n_values", "used"), [(30, True), (90, True), (110, False)])
def test_text_is_a_category_where_values_have_rows_enough(n_values: int, used: bool) -> None:
    frame = payments().with_columns(city=pl.format("c{}", pl.int_range(pl.len()) * 7 % n_values))
    assert ("city" in proposed(frame).rest.categorical) is used  # 4,000 rows: 40 for each of 100 values


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (Flags(label="fraudd"), "--label: no column 'fraudd'"),
        (Flags(ignore=("nope",)), "--ignore: no column 'nope'"),
        (Flags(entities=("card=nope",)), "--entity card: no column 'nope'"),
        (Flags(entities=("card",)), "expected NAME=COLUMN"),
        (Flags(entities=("Card Holder=card_id",)), "expected NAME=COLUMN"),
        (Flags(entities=("amount=card_id",)), "already means something else"),
        (Flags(entities=("a=card_id", "a=merchant_id")), "is given twice"),
        (Flags(label="is_fraud", ignore=("is_fraud",)), "--label and --ignore both name"),
        (Flags(label_delay="soon"), "--label-delay: 'soon' is not a duration"),
        (Flags(label_time="age"), "--label-time: column 'age' is Int64"),
    ],
)
def test_bad_flags_are_explained(flags: Flags, expected: str) -> None:
    error = refused(payments(), flags)
    assert isinstance(error, UsageError)
    assert expected in error.message


def test_given_columns_must_bear_their_role() -> None:
    assert "expected a number" in refused(payments(), Flags(amount="channel")).message
    frame = payments().with_columns(broken=pl.col("age") + 0.5)
    assert "not whole numbers" in refused(frame, Flags(entities=("x=broken",))).message


def test_windows_fit_the_span_and_the_density() -> None:
    windows = {w for group in proposed(payments(days=20), DELAY).plan.window for w in group.windows}
    assert "30d" not in windows  # three times into 20 days it does not go
    assert "7d" not in windows
    rare = payments(500, days=400).with_columns(card_id=pl.int_range(pl.len()) % 200)
    by_card = proposed(rare, Flags(label_delay="7d", entities=("card=card_id",))).plan
    assert by_card.window == ()  # each card comes back after 160 days


def test_without_any_history_there_is_still_a_project() -> None:
    frame = payments().drop("card_id", "merchant_id")
    proposal = proposed(frame)
    assert parsed(proposal).entities == {}
    assert any("no entity was found" in note for note in proposal.notes)
    assert define(parsed(proposal), frame.schema).names


def test_without_an_amount_costs_are_fixed() -> None:
    frame = payments().drop("amount")
    proposal = proposed(frame)
    project = parsed(proposal)
    assert project.data.amount is None
    assert all(cell.rate == 0 for action in project.costs.actions.values() for cell in (action.fraud, action.legit))
    assert any("no amount" in note for note in proposal.notes)
    assert len(define(project, frame.schema).names) == proposal.plan.n_features


def test_a_zone_in_the_data_becomes_the_project_s() -> None:
    frame = payments().with_columns(pl.col("created_at", "label_available_at").dt.replace_time_zone("Asia/Tokyo"))
    proposal = proposed(frame)
    assert parsed(proposal).data.timezone == "Asia/Tokyo"
    assert proposal.clock.first == datetime(2023, 12, 31, 15, tzinfo=UTC)
    assert parsed(proposed(payments())).data.timezone == "UTC"


def test_many_entities_stay_in_bounds() -> None:
    rng = np.random.default_rng(6)
    frame = payments().with_columns(
        *(pl.Series(f"{name}_id", rng.integers(0, 150, N)) for name in ("customer", "device", "ip", "user", "phone"))
    )
    proposal = proposed(frame)
    assert len(proposal.entities) == 5
    assert proposal.plan.n_features <= 100
    assert len(define(parsed(proposal), frame.schema).names) == proposal.plan.n_features
    left = {"card", "merchant", "customer", "device", "ip", "user", "phone"} - set(parsed(proposal).entities)
    assert {item.column for item in proposal.rest.unused} >= {f"{name}_id" for name in left}


def test_columns_named_like_derived_ones_stand_for_them() -> None:
    frame = payments().with_columns(event_hour=pl.col("age") % 24)
    proposal = proposed(frame)
    assert "event_hour" in proposal.plan.raw
    assert "event_hour" not in {item.name for item in proposal.plan.columns}
    assert len(define(parsed(proposal), frame.schema).names) == proposal.plan.n_features


def test_names_that_need_quotes_survive() -> None:
    frame = payments().rename({"channel": 'sales "channel" \\ é', "is_fraud": "is fraud"})
    project = parsed(proposed(frame))
    assert project.data.label == "is fraud"
    assert 'sales "channel" \\ é' in project.features.raw


def test_the_proposal_does_not_depend_on_row_order() -> None:
    frame = payments()
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=9)
    assert render_project(proposed(frame)) == render_project(proposed(shuffled))


def test_the_file_says_why_in_comments() -> None:
    proposal = proposed(payments())
    text = render_project(proposal)
    assert tomllib.loads(text)
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) <= 120
    for reason in (proposal.event_id.reason, proposal.clock.delay.reason, *(item.reason for item in proposal.entities)):
        assert reason in text


def test_the_dictionary_gives_every_choice_with_its_reason() -> None:
    told = proposed(payments(), Flags(ignore=("age",))).to_dict()
    assert told["schema_version"] == 1
    assert told["roles"]["label"] == {
        "column": "is_fraud",
        "reason": "its name and its values are those of an outcome",
    }
    assert told["ignored"] == {"age": "given by --ignore"}
    assert told["label_delay"]["value"] == "10d"
    assert told["n_events"] == N


def test_csv_is_read_as_parquet_is(tmp_path: Path) -> None:
    frame = payments()
    frame.write_csv(tmp_path / "x.csv")
    frame.write_parquet(tmp_path / "x.parquet")
    texts = [
        render_project(propose(tables.scan([str(tmp_path / name)]), events=("x",))) for name in ("x.csv", "x.parquet")
    ]
    assert texts[0] == texts[1]


def test_the_sample_of_the_package_needs_no_flag() -> None:
    from fraudctl.sample import generate

    data = generate(n_events=6_000, days=60).transactions
    proposal = proposed(data)
    project = parsed(proposal)
    assert (project.data.event_id, project.data.label_time) == ("transaction_id", "label_available_at")
    assert list(project.entities) == ["card", "customer", "device", "ip", "merchant"]
    assert project.data.ignore == ("status",)
    assert set(project.features.categorical) == {"category", "country", "card_country", "channel"}
    assert len(define(project, data.schema).names) == proposal.plan.n_features


def test_columns_that_price_a_decision_become_costs_and_no_features() -> None:
    table = payments().with_columns(fn_cost=pl.col("amount") + 15, cost_false_positive=pl.lit(8.0) + pl.col("age"))
    proposal = propose(table.lazy(), events=("x.parquet",))
    assert {cell: item.column for cell, item in proposal.costs.items()} == {
        "allow.fraud": "fn_cost", "block.legit": "cost_false_positive",
    }  # fmt: skip
    assert not {"fn_cost", "cost_false_positive"} & set(proposal.plan.raw)
    project = parse_project(render_project(proposal), path=Path("fraudctl.toml"))
    assert project.costs.actions["allow"].fraud.column == "fn_cost"
    assert project.costs.actions["block"].legit.column == "cost_false_positive"
    assert "review" not in project.costs.actions
    assert "cost" in proposal.to_dict()["costs"]["allow.fraud"]["reason"]


def test_a_cell_that_two_columns_could_be_and_a_cost_with_gaps_are_left_to_the_user() -> None:
    table = payments().with_columns(
        fn_cost=pl.col("amount"), cost_fn=pl.col("amount") * 2, fp_cost=pl.lit(None, pl.Float64)
    )
    assert propose(table.lazy(), events=("x.parquet",)).costs == {}
    with_gaps = payments().with_columns(fp_cost=pl.when(pl.col("age") > 30).then(pl.col("age")))
    assert propose(with_gaps.lazy(), events=("x.parquet",)).costs == {}


def test_a_word_in_a_name_takes_no_column_out_where_its_values_are_harmless() -> None:
    rng = np.random.default_rng(4)
    harmless = {
        "marital_status": rng.choice(["single", "married", "widowed"], N),
        "claim_type": rng.choice(["auto", "home"], N),
        "days_since_last_chargeback": rng.integers(0, 900, N),
        "device": rng.choice(["mobile", "desktop", "tablet"], N),
        "response_time_ms": rng.gamma(2, 80, N), "previous_disputes": rng.integers(0, 4, N),
        "employment_status": rng.choice(["full", "part", "none_of_it"], N), "open_claims": rng.integers(0, 5, N),
    }  # fmt: skip
    proposal = proposed(payments().with_columns(**{name: pl.Series(values) for name, values in harmless.items()}))
    assert set(harmless) <= set(proposal.rest.raw)
    assert proposal.rest.ignored == proposal.rest.unused == ()
    assert {"marital_status", "device"} <= set(proposal.rest.categorical)


def test_entities_are_proposed_by_what_their_ids_do() -> None:
    rng = np.random.default_rng(8)
    first = np.arange(N) + 10_000
    rare = np.where(rng.random(N) < 0.04, first[0], first)  # one id of many events, all others are new
    again = np.where(rng.random(N) < 0.04, rng.permutation(first), first)
    half = np.where(rng.random(N) < 0.5, 7, rng.integers(100, 300, N))
    frame = payments().with_columns(
        cc_num=pl.col("card_id") + 4_000_000_000_000_000, device_id=pl.Series(again), wallet_id=pl.Series(half),
        phone_no=pl.Series(first), email=pl.Series(rare),
    ).drop("card_id")  # fmt: skip
    proposal = proposed(frame)
    found = {item.name: item for item in proposal.entities}
    assert {"card", "device", "merchant"} <= set(found)
    assert "come back" in found["device"].reason
    assert not {"wallet", "phone"} & set(found)
    assert len(define(parsed(proposal), frame.schema).names) == proposal.plan.n_features


def test_a_second_time_gives_its_age_and_its_hour() -> None:
    rng = np.random.default_rng(9)
    frame = payments().with_columns(
        signup_time=pl.col("created_at") - pl.Series(rng.integers(60, 9_000_000, N)) * timedelta(seconds=1),
        policy_start=pl.col("created_at").dt.date() - timedelta(days=30),
    )
    proposal = proposed(frame)
    columns = {item.name: item.sql for item in proposal.plan.columns}
    assert {"seconds_since_signup_time", "signup_time_hour", "seconds_since_policy_start"} <= set(columns)
    assert "policy_start_hour" not in columns
    features = define(parsed(proposal), frame.schema)
    assert features["seconds_since_signup_time"].dtype in {"int", "float"}
    assert len(features.names) == proposal.plan.n_features


def test_one_reason_is_given_once_for_a_group_of_columns() -> None:
    frame = payments().with_columns(**{f"empty_{i}": pl.lit(None, dtype=pl.Float64) for i in range(40)})
    text = render_project(proposed(frame))
    assert text.count("all null") == 1
    assert set(parsed(proposed(frame)).data.ignore) == {f"empty_{i}" for i in range(40)}


def test_words_of_another_language_are_asked_and_taken() -> None:
    words = pl.when(pl.col("is_fraud") == 1).then(pl.lit("Ja")).otherwise(pl.lit("Nein"))
    frame = payments().with_columns(is_fraud=pl.when(pl.int_range(N) % 7 == 0).then(pl.lit("offen")).otherwise(words))
    asked = refused(frame)
    assert "'is_fraud' is named as one, and holds words that are not known" in asked.message
    assert "--label-value WORD=1" in str(asked.hint)
    few = refused(frame, Flags(label_values=("ja=1", "nein=0")))
    assert "1 of its 3 values are not mapped" in few.message
    assert "offen" not in f"{asked.message}{asked.hint}{few.message}{few.hint}"
    proposal = proposed(frame, Flags(label_values=("ja=1", "nein=0", "offen=unknown")))
    assert parsed(proposal).data.label_values == {"Ja": 1, "Nein": 0, "offen": None}
    assert proposal.n_frauds == int((frame["is_fraud"] == "Ja").sum())
    assert "expected WORD=1" in refused(frame, Flags(label_values=("ja",))).message


def test_two_columns_name_a_payer_together_where_none_does_alone() -> None:
    rng = np.random.default_rng(4)
    who = rng.integers(0, 400, N)
    parts = payments().drop("card_id", "merchant_id").with_columns(
        card1=pl.Series(who % 150 + 1000), card2=pl.Series(who % 7).cast(pl.Float64), addr1=pl.Series(who // 40),
        R_addr2=pl.Series(["x"] * N),
    )  # fmt: skip
    proposal = proposed(parts)
    (payer,) = proposal.entities
    assert (payer.name, payer.parts) == ("payer", ("card1", "addr1"))
    project = parsed(proposal)
    assert project.entities["payer"].columns == ("card1", "addr1")
    assert {"card1", "addr1", "card2"} <= set(proposal.plan.raw)
    assert any("payer" in group.by for group in proposal.plan.window)
    events = tables.normalise(parts.lazy(), project=project, files=["x"], columns=()).frame
    assert events["payer"].n_unique() == pl.DataFrame({"c": who % 150, "a": who // 40}).n_unique()
    assert proposed(payments().with_columns(addr1=pl.Series(who // 40))).entities[0].parts == ()
    new = proposed(parts.with_columns(card1=pl.Series(range(N)) * 3))
    assert new.entities == ()
