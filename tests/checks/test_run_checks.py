"""Every check of the data, shown to fire on a frame made for it, and silent on a healthy one."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.checks import CheckReport, run_checks
from fraudctl.documents.results import as_object
from fraudctl.errors import DataError, ProjectError
from fraudctl.project import Project, parse_project

START = datetime(2024, 1, 1)
N = 3_000
STEP = timedelta(minutes=30)
DATA = """
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_delay = "7d"
"""
HEALTHY_INFOS = {"time-zone", "label-immature", "test-few-frauds", "split-impossible"}
"""What 62 days with a test period of 45 are told; `train` needs more of them."""


def project(*, data: str = "", rest: str = "") -> Project:
    split = "" if "[split]" in rest else '[split]\ntest = "45d"\n'
    text = f'[data]\nevents = "x.parquet"{DATA}{data}\n[entities]\ncard = "card_id"\n{split}{rest}'
    return parse_project(text, path=Path("fraudctl.toml"))


def healthy() -> pl.DataFrame:
    """3,000 events of 100 cards over 62 days, every fiftieth a fraud, in order of time."""
    rng = np.random.default_rng(3)
    return pl.DataFrame(
        {
            "id": range(N),
            "at": [START + i * STEP for i in range(N)],
            "amount": rng.lognormal(3, 1, N),
            "fraud": [int(i % 50 == 7) for i in range(N)],
            "card_id": rng.integers(0, 100, N),
            "channel": rng.choice(["app", "pos", "web"], N),
            "age": rng.integers(18, 90, N),
        }
    )


RAW = '[features]\nraw = ["channel", "age"]\ncategorical = ["channel"]\n'


def check(frame: pl.DataFrame, *, data: str = "", rest: str = "", now: datetime | None = None) -> CheckReport:
    return run_checks(project(data=data, rest=rest), frame.lazy(), now=now)


def ids(report: CheckReport) -> set[str]:
    return {item.id for item in report.findings}


def severity(report: CheckReport, name: str) -> str:
    return next(item.severity for item in report.findings if item.id == name)


def test_a_healthy_table_is_clean() -> None:
    report = check(healthy(), rest=RAW)
    assert report.verdict == "clean"
    assert ids(report) == HEALTHY_INFOS
    assert (report.n_events, report.n_labelled, report.n_frauds) == (N, N, 60)
    # known_until is the last event; mature are events at least 7 days = 336 steps older: 3,000 - 336
    assert (report.n_mature, report.n_immature) == (2664, 336)
    assert report.first == START.replace(tzinfo=UTC)
    assert report.last == (START + (N - 1) * STEP).replace(tzinfo=UTC)


def set_at(name: str, rows: slice, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def change(frame: pl.DataFrame) -> pl.DataFrame:
        values = frame[name].to_list()
        values[rows] = [value] * len(values[rows])
        return frame.with_columns(pl.Series(name, values, dtype=frame.schema[name]))

    return change


def with_column(name: str, values: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.Series(name, values))


def far_away(n: int, **shift: int) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def change(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(
            at=pl.when(pl.col("id") < n).then(pl.col("at") + timedelta(**shift)).otherwise(pl.col("at"))
        )

    return change


def leak_in_amount(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(amount=pl.col("fraud") * 1e4 + pl.col("amount"))


def leak_by_value(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(channel=pl.when(pl.col("fraud") == 1).then(pl.lit("lost")).otherwise("channel"))


def leak_by_filling(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(case=pl.when(pl.col("fraud") == 1).then("age"))


CASES: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str, str]] = {
    "missing column": (lambda f: f.drop("amount"), "missing-column", "error"),
    "missing feature": (lambda f: f.drop("age"), "missing-column", "error"),
    "null id": (set_at("id", slice(0, 2), None), "event-id-null", "error"),
    "id twice": (set_at("id", slice(0, 2), 17), "event-id-conflict", "error"),
    "id a float": (lambda f: f.with_columns(pl.col("id") + 0.5), "event-id-type", "error"),
    "id a date": (lambda f: f.with_columns(id=pl.col("at")), "event-id-type", "error"),
    "few copies": (lambda f: pl.concat([f, f.head(5)]), "duplicate-rows", "info"),
    "many copies": (lambda f: pl.concat([f, f.head(500)]), "duplicate-rows", "warning"),
    "row number as time": (lambda f: f.with_columns(at=pl.col("id")), "time-unreadable", "error"),
    "null time": (set_at("at", slice(3, 6), None), "time-null", "error"),
    "all times null": (set_at("at", slice(None), None), "time-null", "error"),
    "1970": (set_at("at", slice(0, 40), datetime(1970, 1, 1)), "time-1970", "warning"),
    "stray after": (far_away(1, days=400), "time-stray", "warning"),
    "stray before": (far_away(1, days=-400), "time-stray", "warning"),
    "out of order": (lambda f: f.reverse(), "time-order", "info"),
    "dates only": (lambda f: f.with_columns(pl.col("at").dt.truncate("1d")), "time-resolution", "warning"),
    "days missing": (lambda f: f.filter(~pl.col("at").dt.date().is_between(date(2024, 1, 20), date(2024, 1, 23))),
                     "time-gap", "warning"),
    "label of 2": (set_at("fraud", slice(0, 5), 2), "label-values", "error"),
    "label in words": (lambda f: f.with_columns(fraud=pl.lit("no")), "label-values", "error"),
    "no fraud": (lambda f: f.with_columns(fraud=pl.lit(0)), "label-one-class", "error"),
    "only frauds": (lambda f: f.with_columns(fraud=pl.lit(1)), "label-one-class", "error"),
    "no outcome": (lambda f: f.with_columns(fraud=pl.lit(None, dtype=pl.Int8)), "label-one-class", "error"),
    "some unknown": (set_at("fraud", slice(100, 200), None), "label-unknown", "info"),
    "mostly unknown": (set_at("fraud", slice(100, 2000), None), "label-unknown", "warning"),
    "too short": (lambda f: f.head(300), "label-immature", "error"),
    "few frauds": (lambda f: f.filter((pl.col("fraud") == 0) | (pl.col("id") < 500)), "label-few-frauds", "warning"),
    "wave of fraud": (set_at("fraud", slice(1100, 1200), 1), "fraud-rate-break", "warning"),
    "weeks without labels": (set_at("fraud", slice(1000, 1700), None), "weeks-unlabelled", "warning"),
    "amounts null": (set_at("amount", slice(None), None), "amount-unreadable", "error"),
    "amount text": (lambda f: f.with_columns(pl.col("amount").cast(pl.String)), "amount-unreadable", "error"),
    "some amounts null": (set_at("amount", slice(0, 30), None), "amount-null", "info"),
    "many amounts null": (set_at("amount", slice(0, 900), None), "amount-null", "warning"),
    "amount infinite": (set_at("amount", slice(0, 3), float("inf")), "amount-not-finite", "warning"),
    "some refunds": (set_at("amount", slice(0, 30), -5.0), "amount-negative", "info"),
    "many refunds": (set_at("amount", slice(0, 900), -5.0), "amount-negative", "warning"),
    "entity unique": (lambda f: f.with_columns(card_id=pl.col("id")), "entity-unique", "warning"),
    "entity constant": (lambda f: f.with_columns(card_id=pl.lit(4)), "entity-constant", "warning"),
    "entity all null": (set_at("card_id", slice(None), None), "entity-constant", "warning"),
    "entity dominant": (set_at("card_id", slice(0, 900), -1), "entity-dominant", "warning"),
    "entity fractions": (lambda f: f.with_columns(card_id=pl.col("card_id") + 0.5), "entity-unreadable", "error"),
    "entity some null": (set_at("card_id", slice(0, 90), None), "entity-null", "info"),
    "entity mostly null": (set_at("card_id", slice(0, 2000), None), "entity-null", "warning"),
    "constant feature": (lambda f: f.with_columns(age=pl.lit(30)), "constant-column", "warning"),
    "null feature": (lambda f: f.with_columns(age=pl.lit(None, dtype=pl.Int64)), "constant-column", "warning"),
    "constant other": (with_column("version", ["v1"] * N), "constant-column", "info"),
    "feature mostly null": (set_at("age", slice(0, 2900), None), "mostly-null", "warning"),
    "feature some null": (set_at("age", slice(0, 100), None), "nulls", "info"),
    "feature a time": (lambda f: f.with_columns(age=pl.col("at")), "feature-type", "error"),
    "text not a category": (lambda f: f.with_columns(age=pl.col("channel")), "feature-type", "error"),
    "category too wide": (lambda f: f.with_columns(channel=pl.format("c{}", "id")), "many-categories", "warning"),
    "leak by order": (lambda f: f.with_columns(age=pl.col("fraud") * 100 + pl.col("age")), "leak-separates", "warning"),
    "leak elsewhere": (lambda f: f.with_columns(chargeback=pl.col("fraud") * 1.0), "leak-separates", "warning"),
    "leak in amount": (leak_in_amount, "leak-separates", "warning"),
    "leak by value": (leak_by_value, "leak-values", "warning"),
    "leak by filling": (leak_by_filling, "leak-filled", "warning"),
    "counts along": (lambda f: f.with_columns(age=pl.col("id")), "counts-along", "warning"),
    "counts along unused": (lambda f: f.with_columns(row=pl.col("id")), "counts-along", "info"),
    "written later": (lambda f: f.with_columns(closed=pl.col("at") + timedelta(days=3)), "later-than-event", "info"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_check_fires(name: str) -> None:
    change, expected, how = CASES[name]
    report = check(change(healthy()), rest=RAW)
    assert expected in ids(report)
    assert severity(report, expected) == how
    assert report.verdict == {"error": "errors", "warning": "warnings", "info": "clean"}[how] or how == "info"
    assert all(item.what and item.where for item in report.findings)


def test_labelled_only_columns_fire() -> None:
    frame = set_at("fraud", slice(100, 400), None)(healthy())
    later = frame.with_columns(reviewer=pl.when(pl.col("fraud").is_not_null()).then("age"))
    assert "leak-labelled" in ids(check(later, rest=RAW))
    assert "leak-labelled" not in ids(check(frame, rest=RAW))


def test_ignored_columns_are_not_suspects() -> None:
    frame = healthy().with_columns(chargeback=pl.col("fraud") * 1.0)
    assert "leak-separates" in ids(check(frame))
    assert "leak-separates" not in ids(check(frame, data='ignore = ["chargeback"]'))


def test_a_missing_ignored_column_is_only_mentioned() -> None:
    report = check(healthy(), data='ignore = ["gone"]')
    assert (severity(report, "missing-column"), report.verdict) == ("info", "clean")


def test_an_empty_table_is_one_error() -> None:
    report = check(healthy().head(0), rest=RAW)
    assert (ids(report), report.verdict, report.n_events) == ({"no-rows"}, "errors", 0)


def test_every_mistake_is_listed_at_once() -> None:
    frame = CASES["id twice"][0](CASES["label of 2"][0](CASES["amounts null"][0](healthy())))
    assert {"event-id-conflict", "label-values", "amount-unreadable"} <= ids(check(frame))


def test_times_later_than_now_are_found_only_when_now_is_known() -> None:
    now = datetime(2024, 2, 1, tzinfo=UTC)
    assert "time-future" not in ids(check(healthy()))
    assert "time-future" not in ids(check(healthy(), now=now + timedelta(days=60)))
    report = check(healthy(), now=now)
    found = next(item for item in report.findings if item.id == "time-future")
    assert found.counts == {"n_rows": N - 1 - 31 * 48}  # events after the 31 days of January and the instant itself


def test_closed_sundays_are_no_gap() -> None:
    frame = healthy().filter(pl.col("at").dt.weekday() != 7)
    assert "time-gap" not in ids(check(frame))


def test_a_clock_change_that_skips_an_hour_is_an_error() -> None:
    frame = healthy().with_columns(pl.col("at") + timedelta(days=60))
    assert check(frame, data='timezone = "Europe/Berlin"').verdict == "errors"  # 2024-03-31 02:30 never was
    assert check(frame).verdict == "clean"


def with_label_time(days: float, *, rows: int = N) -> pl.DataFrame:
    return healthy().with_columns(
        known=pl.when(pl.col("id") < rows).then(pl.col("at") + timedelta(days=days))
    )  # fmt: skip


LABEL_TIME = 'label_time = "known"'


def test_label_time_that_fits_is_clean() -> None:
    report = check(with_label_time(5), data=LABEL_TIME)
    assert report.verdict == "clean"
    assert report.label_delays == {"p50": 5.0, "p90": 5.0, "p95": 5.0, "p99": 5.0}


@pytest.mark.parametrize(
    ("frame", "expected", "how"),
    [
        (with_label_time(-1), "label-time-early", "error"),
        (with_label_time(12.5), "label-delay-short", "warning"),
        (with_label_time(0.5), "label-delay-long", "info"),
        (with_label_time(5, rows=2_000), "label-time-null", "info"),
        (with_label_time(5), "label-time-later", "info"),
        (set_at("fraud", slice(0, 9), None)(with_label_time(5)), "label-time-only", "info"),
        (with_label_time(5).with_columns(known=pl.lit(3)), "time-unreadable", "error"),
    ],
    ids=["early", "short", "long", "null", "later", "only", "unreadable"],
)
def test_label_time_checks_fire(frame: pl.DataFrame, expected: str, how: str) -> None:
    report = check(frame, data=LABEL_TIME)
    assert severity(report, expected) == how


def test_a_short_delay_is_told_the_right_one() -> None:
    report = check(with_label_time(12.5), data=LABEL_TIME)
    found = next(item for item in report.findings if item.id == "label-delay-short")
    assert found.hint is not None
    assert '"13d"' in found.hint


def test_maturity_needs_the_label_to_have_arrived() -> None:
    # the label of each event comes after 20 days, later than the 7 days of the horizon: mature are those 960 steps old
    assert check(with_label_time(20), data=LABEL_TIME).n_mature == N - 960


def test_weights() -> None:
    weighted = healthy().with_columns(w=pl.lit(2.0))
    assert check(weighted, data='weight = "w"').verdict == "clean"
    for bad in (0.0, -1.0, float("nan"), None):
        frame = weighted.with_columns(w=pl.when(pl.col("id") == 5).then(pl.lit(bad, dtype=pl.Float64)).otherwise("w"))
        assert severity(check(frame, data='weight = "w"'), "weight-unusable") == "error"
    assert severity(check(weighted.with_columns(w=pl.lit("x")), data='weight = "w"'), "weight-unusable") == "error"


def test_a_test_period_with_few_frauds_is_told_with_what_it_can_show() -> None:
    gate = "[gate]\nsavings = { at_least = 0.1 }\n"
    few = lambda **keys: next(item for item in check(**keys).findings if item.id == "test-few-frauds")  # noqa: E731
    found = few(frame=healthy())
    assert found.severity == "info"
    # known_until - 7 d - 45 d: 2,160 events, every fiftieth a fraud; 1.96 / (2 * sqrt(44 + 3.84)) = 0.142
    assert found.counts["n_frauds"] == 44
    assert "44 frauds: recall will be known to ± 14 percentage points (95 %); a gate asks for 300" in found.what
    assert few(frame=healthy(), rest=gate).severity == "warning"
    assert "the gate needs 300 (min_frauds)" in few(frame=healthy(), rest=gate).what
    assert few(frame=healthy(), rest='[split]\ntest = "9d"\n').severity == "warning"
    late = healthy().with_columns(fraud=pl.when(pl.col("id") < 2_000).then("fraud").otherwise(0))
    assert "has no fraud with a mature outcome" in few(frame=late, rest='[split]\ntest = "9d"\n').what
    alone = healthy().with_columns(fraud=pl.when(pl.col("id") < 2_000).then("fraud").otherwise(1))
    assert "has frauds only" in few(frame=alone, rest='[split]\ntest = "9d"\n').what


def test_the_frauds_of_the_test_period_are_those_that_are_left_when_repeated_rows_are_dropped() -> None:
    few = lambda frame: next(item for item in check(frame).findings if item.id == "test-few-frauds")  # noqa: E731
    again = pl.concat([healthy(), healthy().sample(400, seed=1)]).sort("at", "id")
    assert few(again).counts == few(healthy()).counts
    assert few(again).what == few(healthy()).what


def test_a_history_that_train_would_refuse_is_told() -> None:
    found = check(healthy(), rest='[split]\ntest = "25d"\n').findings
    (told,) = [item for item in found if item.id == "split-impossible"]
    assert told.severity == "info"
    assert told.what.startswith("`fraudctl train` would refuse: no fold is possible: the first event is of ")
    assert told.hint is not None
    length = told.hint.removeprefix('[split] test = "').removesuffix('" leaves a fold')
    shorter = check(healthy(), rest=f'[split]\ntest = "{length}"\n').findings
    assert not [item for item in shorter if item.id == "split-impossible"]
    fine = check(healthy(), rest='[split]\ntest = "9d"\n').findings
    assert not [item for item in fine if item.id == "split-impossible"]


SOURCES = '[sources.logins]\nevents = "l.parquet"\nevent_time = "at"\nentities = { card = "who" }\n'
LOGINS = pl.DataFrame({"at": [START + i * STEP for i in range(200)], "who": range(200), "ok": [True] * 200})


def beside(table: pl.DataFrame | Exception, **keys: object) -> dict[str, str]:
    raw = table.lazy() if isinstance(table, pl.DataFrame) else table
    used = keys.pop("used", {"logins": ["ok"]})
    report = run_checks(project(rest=SOURCES), healthy().lazy(), sources={"logins": raw}, used=used, **keys)
    return {item.id: item.severity for item in report.findings if item.where.startswith(("sources", "features"))}


def test_other_tables_are_checked() -> None:
    assert beside(LOGINS) == {}
    assert beside(LOGINS, used={}) == {"source-unused": "info"}
    assert beside(DataError("logins.parquet: cannot be read")) == {"source-unreadable": "error"}
    assert beside(LOGINS.drop("who")) == {"source-unreadable": "error"}
    assert beside(LOGINS.drop("ok")) == {"source-unreadable": "error"}
    assert beside(LOGINS.with_columns(at=pl.lit("no time"))) == {"source-unreadable": "error"}
    assert beside(LOGINS.head(0)) == {"source-empty": "warning"}
    assert beside(LOGINS.with_columns(who=pl.col("who").cast(pl.String))) == {"source-id-type": "error"}
    assert beside(LOGINS.with_columns(who=pl.col("who") + 10_000)) == {"source-no-match": "warning"}
    assert beside(LOGINS.with_columns(who=pl.lit(None, pl.Int64))) == {"source-id-null": "warning"}
    late = LOGINS.with_columns(pl.col("at") + timedelta(days=400))
    assert beside(late, now=datetime(2024, 6, 1, tzinfo=UTC)) == {
        "source-time-future": "warning", "source-times": "warning"
    }  # fmt: skip
    assert beside(LOGINS.with_columns(pl.col("at") - timedelta(days=400))) == {"source-times": "info"}


def test_features_that_cannot_be_defined_are_an_error_but_not_twice() -> None:
    wrong = ProjectError("features: two features are named 'a'")
    assert beside(LOGINS, features=wrong) == {"features-undefined": "error"}
    assert beside(LOGINS.drop("who"), features=wrong) == {"source-unreadable": "error"}


@pytest.mark.parametrize("ids", [["", "b"], ["\u3000 ", "b"], [None, "b"]])
def test_an_empty_event_id_is_none(ids: list[str | None]) -> None:
    frame = healthy().with_columns(id=pl.concat([pl.Series(ids), healthy()["id"].tail(-2).cast(pl.String)]))
    assert severity(check(frame), "event-id-null") == "error"


def test_weeks_count_mature_outcomes_only() -> None:
    weeks = check(healthy()).weeks
    assert weeks[0].start == date(2024, 1, 1)
    assert (weeks[0].n_events, weeks[0].n_mature, weeks[0].n_frauds) == (336, 336, 7)  # ids 7, 57, ..., 307
    assert weeks[0].fraud_rate == 7 / 336
    assert sum(week.n_events for week in weeks) == N
    assert sum(week.n_mature for week in weeks) == 2664
    assert weeks[-1].fraud_rate is None


def test_row_order_changes_nothing_but_the_note_on_order() -> None:
    frame = CASES["leak by filling"][0](CASES["wave of fraud"][0](healthy()))
    ordered, shuffled = check(frame, rest=RAW), check(frame.sample(fraction=1.0, shuffle=True, seed=4), rest=RAW)
    assert ids(shuffled) - {"time-order"} == ids(ordered)
    assert shuffled.weeks == ordered.weeks


def test_findings_come_worst_first_and_hold_no_cell_value() -> None:
    frame = healthy().with_columns(channel=pl.lit("secret-cell"), fraud=pl.lit("secret-cell"))
    report = check(frame, rest=RAW)
    order = {"error": 0, "warning": 1, "info": 2}
    ranks = [order[item.severity] for item in report.findings]
    assert ranks == sorted(ranks)
    assert "secret-cell" not in str(as_object(report))


def test_the_dictionary_holds_everything() -> None:
    report = check(CASES["id twice"][0](healthy()), rest=RAW)
    told = as_object(report)
    assert told["schema_version"] == 1
    assert told["verdict"] == "errors"
    assert [item["id"] for item in told["findings"]] == [item.id for item in report.findings]
    assert told["rows"] == N
    assert {item["name"]: item["role"] for item in told["columns"]} == {
        "id": "event_id", "at": "event_time", "amount": "amount", "fraud": "label", "card_id": "entity card",
        "channel": "raw", "age": "raw",
    }  # fmt: skip


def test_every_finding_is_documented_and_every_documented_one_exists() -> None:
    root = Path(__file__).parents[2]
    documented = set(
        re.findall(r"^\| `([a-z0-9-]+)` \|", (root / "docs" / "check.md").read_text("utf-8"), re.MULTILINE)
    )
    source = "".join(path.read_text("utf-8") for path in sorted((root / "fraudctl" / "checks").glob("*.py")))
    used = set(re.findall(r'Finding\(\s*"([a-z0-9-]+)"', source)) | set(re.findall(r'"(leak-[a-z]+)"', source))
    assert documented == used


def test_a_label_in_the_repeated_hour_is_not_earlier_than_its_event() -> None:
    """Clocks went back in Berlin on 27 October 2024: 02:10 came again, 20 minutes after 02:50."""
    begin = datetime(2024, 10, 1, tzinfo=UTC)
    zone = "Europe/Berlin"
    at = pl.Series([begin + i * STEP / 2 for i in range(N)])
    local = [
        (at + lag).dt.convert_time_zone(zone).dt.replace_time_zone(None) for lag in (timedelta(), timedelta(minutes=25))
    ]
    frame = healthy().with_columns(local[0].alias("at"), local[1].alias("known"))
    report = check(frame, data=f'timezone = "{zone}"\nlabel_time = "known"\n', rest=RAW)
    assert report.n_errors == 0
    early = check(
        frame.with_columns(pl.col("known") - timedelta(hours=3)), data=f'timezone = "{zone}"\nlabel_time = "known"\n'
    )
    assert early.n_errors > 0
