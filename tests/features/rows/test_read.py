"""Row-level SQL: what it computes, and everything that it refuses."""

from __future__ import annotations

import polars as pl
import pytest

from fraudctl.errors import DataError, ProjectError
from fraudctl.features.rows.read import FUNCTIONS, compile_row_sql

FRAME = pl.DataFrame(
    {
        "amount": [1.5, 0.0, None],
        "status": ["ok", "declined", None],
        "items": pl.Series([100, -1, None], dtype=pl.Int8),
        "event_time": pl.Series(["2024-03-31T00:30:00", "2024-03-31T01:30:00", "2024-07-01T23:59:59"])
        .str.to_datetime(time_unit="us")
        .dt.replace_time_zone("UTC"),
    }
)


def compute(text: str) -> list[object]:
    return compile_row_sql(text, allowed=FRAME.columns, where="here").apply(FRAME, timezone="Europe/Berlin").to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hour(event_time)", [1, 3, 1]),
        ("hour(event_time) * 100 + minute(event_time)", [130, 330, 159]),
        ("extract(dow from event_time)", [0, 0, 2]),
        ("amount / 0", [None, None, None]),
        ("ln(amount)", [pytest.approx(0.405465108), None, None]),
        ("items * 1000000", [100_000_000, -1_000_000, None]),
        ("items / 2", [50.0, -0.5, None]),
        ("status = 'declined' or items > 50", [True, True, None]),
        ("case when amount > 1 then 'big' else status end", ["big", "declined", None]),
        ("coalesce(amount, -1)", [1.5, 0.0, -1.0]),
        ("amount is null", [False, False, True]),
        ("try_cast(status as double)", [None, None, None]),
        ('"amount" - -items', [101.5, -1.0, None]),
        ("status like 'dec%'", [False, True, None]),
        ("1", [1, 1, 1]),
        ("'a--b' || status", ["a--bok", "a--bdeclined", None]),
    ],
)
def test_what_is_computed(text, expected):
    assert compute(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "sum(amount)", "avg(amount) over (partition by status)", "amount over ()", "count(*)", "lag(amount)",
        "first_value(amount)", "row_number()", "(select 1)", "amount in (select amount from t)", "now()",
        "current_timestamp", "current_date", "random()", "label", "scenario", "date_part('hour', label)",
        "amount, items", "amount as items", "amount items", "amount; drop", "amount -- items", "amount /* x */", "*",
        "t.amount", "?", "", "   ", "amount +", "exists (select 1)", "max(amount)", "stddev(amount)", "columns('.*')",
    ],
)  # fmt: skip
def test_what_is_refused(text):
    with pytest.raises(ProjectError, match=r"^here: "):
        compute(text)


def test_a_refusal_names_the_nearest_column():
    with pytest.raises(ProjectError, match="no column 'amonut' that may be used here; did you mean 'amount'"):
        compute("amonut + 1")


def test_a_refusal_names_a_few_columns_where_none_is_near():
    with pytest.raises(ProjectError, match=r"it may use c00, .*, c11 and 28 more$"):
        compile_row_sql("xyz", allowed=[f"c{i:02}" for i in range(40)], where="rules[0].when")


@pytest.mark.parametrize("text", ["status > 3", "cast(status as double)", "amount = 'x'"])
def test_types_that_do_not_fit_are_named_without_values(text):
    with pytest.raises(DataError, match="here: cannot be computed") as caught:
        compute(text)
    assert "declined" not in caught.value.message
    assert caught.value.__cause__ is None


def test_no_allowed_function_looks_at_other_rows():
    one = ["hour", "minute", "second", "day", "month", "year", "week", "quarter", "extract", "date_part"]
    arguments = {"if": "amount > 0, 1, 2", "pi": "", "cast": "amount as double", "try_cast": "amount as double"}
    arguments |= dict.fromkeys(one, "event_time") | {
        "extract": "hour from event_time",
        "date_part": "'hour', event_time",
    }
    arguments |= dict.fromkeys(
        ("pow", "power", "mod", "atan2", "greatest", "least", "coalesce", "ifnull", "nullif"), "amount, 2"
    )
    texts = ["length", "char_length", "octet_length", "upper", "lower", "ltrim", "rtrim", "trim", "reverse", "concat"]
    arguments |= dict.fromkeys(texts, "status") | dict.fromkeys(("left", "right"), "status, 1")
    arguments |= dict.fromkeys(("starts_with", "ends_with", "strpos", "regexp_like"), "status, 'o'")
    arguments |= {"substr": "status, 1, 1", "substring": "status, 1, 1", "replace": "status, 'o', 'u'"}
    arguments |= {"split_part": "status, 'e', 1", "concat_ws": "'-', status, status"}
    for name in sorted(FUNCTIONS):
        text = f"{name}({arguments.get(name, 'amount')})"
        whole = compute(text)
        expr = compile_row_sql(text, allowed=FRAME.columns, where="here")
        alone = [expr.apply(FRAME[i : i + 1], timezone="Europe/Berlin")[0] for i in range(FRAME.height)]
        assert whole == alone, text


@pytest.mark.parametrize(
    "text",
    ["name" + " || name" * 600, "flag" + " and flag" * 600, "not " * 600 + "flag", "a" + "+a" * 600, "- " * 600 + "a",
     "a" + "::double" * 600, "case when flag then a else " * 200 + "a" + " end" * 200, "a in (" + "1," * 40_000 + "1)",
     "(" * 600 + "a" + ")" * 600, "abs(" * 600 + "a" + ")" * 600],
)  # fmt: skip
def test_what_would_end_the_process_is_refused(text: str) -> None:
    with pytest.raises(ProjectError, match=r"expected at most|not an expression"):
        compile_row_sql(text, allowed=["a", "flag", "name"], where="here")


def test_expressions_up_to_the_limit_are_computed() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0], "flag": [True, False], "name": ["x", "y"]})
    for text, last in (("name" + " || name" * 150, "y" * 151), ("flag" + " and flag" * 150, False)):
        assert compile_row_sql(text, allowed=frame.columns, where="here").apply(frame)[1] == last
    many = "a in (" + ",".join(map(str, range(5000))) + ")"
    assert compile_row_sql(many, allowed=["a"], where="here").apply(frame).to_list() == [True, True]
