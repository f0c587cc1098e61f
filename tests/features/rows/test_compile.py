"""Row-level SQL compiled for single events equals Polars, for every function, type and odd value."""

from __future__ import annotations

import math
from datetime import datetime

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fraudctl.errors import DataError
from fraudctl.features.rows.compile import compile_row, left_to_polars
from fraudctl.features.rows.read import FUNCTIONS, compile_row_sql

TYPES = {
    "i": pl.Int64(), "j": pl.Int64(), "x": pl.Float64(), "y": pl.Float64(), "s": pl.String(), "r": pl.String(),
    "b": pl.Boolean(), "c": pl.Boolean(), "event_time": pl.Datetime("us"),
}  # fmt: skip
PLACES = {name: i for i, name in enumerate(TYPES)}

TEXTS = [
    "i + j", "i - j", "i * j", "i / j", "i // j", "i % j", "mod(x, y)", "x + y", "x - i", "x * y", "x / y", "x % 2",
    "-i", "- x", "+i", "not b", "b and c", "b or c", "not (b and (c or i > 0))", "i = j", "i <> j", "i != x", "x < y",
    "x <= i", "i > 2.5", "x > 2.5", "x >= y", "s = r", "s < r", "b = c", "b is true", "b is not false", "i <=> j",
    "x is distinct from y", "i is not distinct from 3", "i is null", "s is not null", "i in (1, 2, 3)", "i not in (0)",
    "s in ('a', 'B c')", "i in (1, null)", "x in (1.5, 2.0)", "i between -1 and 3", "x between 0.5 and 2",
    "s like 'a%'", "s like '%b'", "s like '%a%'", "s like 'a_c%'", "s ilike 'A%'", "s rlike 'a+'", "s regexp '^a'",
    "case when b then 1 when c then 2 else 3 end", "case when x > 1 then i else x end", "case i when 1 then s end",
    "case when i > 0 then 0.7 else 1.2 end", "if(b, 1, 2)", "if(i > 1, 1, 2.5)", "nullif(i, 0)", "nullif(x, 0)",
    "i / nullif(j, 0)", "coalesce(i, 0)", "coalesce(x, i)", "ifnull(x, 0)", "coalesce(s, r, 'none')",
    "greatest(i, j)", "least(i, j, 1)", "greatest(x, y)", "least(x, i)", "cast(i as double)", "cast(b as int)",
    "cast(i as varchar)", "cast(x as varchar)", "cast(b as bigint) * 3", "try_cast(x as bigint)",
    "try_cast(s as double)", "try_cast(s as bigint)", "try_cast(i as int)", "i::double / 3",
    "cast(event_time as date) is null",
    "abs(i)", "abs(x)", "sign(i)", "sign(x)", "sqrt(x)", "cbrt(x)", "pow(x, 2)", "power(i, 3)", "pow(x, y)", "exp(x)",
    "ln(x)", "log2(x)", "log10(x)", "log1p(x)", "round(x)", "round(x, 2)", "round(i)", "floor(x)", "ceil(x)",
    "ceiling(i)", "sin(x)", "cos(x)", "tan(x)", "asin(x)", "acos(x)", "atan(x)", "atan2(x, y)", "radians(x)",
    "degrees(x)", "pi() * x", "hour(event_time)", "minute(event_time)", "second(event_time)", "day(event_time)",
    "month(event_time)", "year(event_time)", "week(event_time)", "quarter(event_time)",
    "extract(dow from event_time)", "extract(isodow from event_time)", "extract(doy from event_time)",
    "date_part('hour', event_time)", "hour(event_time) * 60 + minute(event_time)", "hour(event_time) <= 6",
    "event_time > timestamp '2024-01-01 00:00:00'", "length(s)", "char_length(s) - 2", "octet_length(s)", "upper(s)",
    "lower(s)", "left(s, 2)", "right(s, 2)", "substr(s, 2, 2)", "substring(s, 1)", "substr(s, 0, 2)",
    "substr(s, -1, 3)", "concat(s, r)", "concat_ws('-', s, r)", "starts_with(s, 'a')", "ends_with(s, 'c')",
    "strpos(s, 'b')", "replace(s, 'a', 'xy')", "split_part(s, 'b', 1)", "split_part(s, ' ', 2)", "ltrim(s)", "rtrim(s)",
    "trim(s)", "regexp_like(s, 'b')", "reverse(s)", "s || r", "s || '!'", "1.5", "'abc'", "true", "null", "7",
    "i * 0.5", "i + 0.1", "i * 0.1 = 0.3", "x * 1.4826 + 0.7", "(x - y) / (1.4826 * i + 0.7)", "4 * (1.4826 * x + 0.7)",
    "i * 30 / nullif(j, 0)", "x / 0 > 1", "coalesce(x / 0, 5)", "ln(0 * x) < 0", "i * 1000000000000 * j", "b + 1",
    "length(s) > 2 and s like 'a%' or i = 3", "extract(epoch from event_time)",
    "extract(epoch from event_time) - extract(epoch from timestamp '1969-06-01 00:00:01')",
    "extract(epoch from cast(event_time as timestamp))",
]  # fmt: skip

LEFT = {
    "i in (1, null)", "x in (1.5, 2.0)", "s like 'a_c%'", "s ilike 'A%'", "s rlike 'a+'", "s regexp '^a'",
    "power(i, 3)", "round(x, 2)", "substr(s, 0, 2)", "substr(s, -1, 3)", "strpos(s, 'b')",
}  # fmt: skip
"""Those of TEXTS of which a part is computed by Polars: patterns, lists with null or floats, rounding to decimals."""

rows = st.tuples(
    st.one_of(st.none(), st.integers(-4, 4), st.sampled_from([2**62, -(2**63), 2**63 - 1, 2**53 + 1])),
    st.one_of(st.none(), st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)),
    st.one_of(st.none(), st.sampled_from([0.0, -0.0, 0.5, 1.5, -2.5, 2.5, 1e308, 1e-300, 3.0]), st.floats(-1e6, 1e6)),
    st.one_of(st.none(), st.sampled_from([0.0, 2.0, -3.0, 0.5, 1e300]), st.floats(-1e3, 1e3)),
    st.one_of(st.none(), st.text("aAbBc 9.é\r\n\tß", max_size=5), st.sampled_from(["12", "-3.5", "1e3", " 7", "nan"])),
    st.one_of(st.none(), st.text("abc", max_size=3)),
    st.sampled_from([True, False, None]),
    st.sampled_from([True, False, None]),
    st.datetimes(datetime(1960, 12, 30), datetime(2027, 1, 5)),
)


def pair(text):
    expr = compile_row_sql(text, allowed=TYPES, where="here")
    return expr, compile_row(expr, TYPES, PLACES)


PAIRS = {text: pair(text) for text in TEXTS}


def outcome(compute):
    try:
        return compute()
    except DataError:
        return DataError


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(row=rows)
def test_compiled_equals_polars(row):
    frame = pl.DataFrame({name: pl.Series([value], dtype=TYPES[name]) for name, value in zip(TYPES, row, strict=True)})
    for text, (expr, function) in PAIRS.items():
        expected, got = outcome(lambda: expr.apply(frame)[0]), outcome(lambda: function(row))  # noqa: B023
        if isinstance(expected, float) and isinstance(got, float):
            assert math.isclose(got, expected, rel_tol=1e-12), (text, row, got, expected)
        else:
            assert (type(got), got) == (type(expected), expected), (text, row, got, expected)


def test_which_parts_polars_computes():
    assert {text for text, (expr, _) in PAIRS.items() if left_to_polars(expr, TYPES)} == LEFT


def test_every_allowed_function_is_among_the_texts():
    words = " ".join(TEXTS)
    assert [name for name in sorted(FUNCTIONS) if f"{name}(" not in words] == []


def test_a_strict_cast_names_no_value():
    _, function = pair("cast(s as double)")
    with pytest.raises(DataError, match="here: cannot be computed") as caught:
        function((None, None, None, None, "secret", None, None, None, None))
    assert "secret" not in caught.value.message
