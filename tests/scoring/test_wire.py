"""The JSON of messages: one verdict with and without orjson; what is read can be written and read again."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fraudctl.errors import DataError
from fraudctl.scoring import wire

PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(codec="utf-8"))
DOCUMENTS = st.recursive(PLAIN | TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner))
PIECES = [
    b"{", b"}", b"[", b"]", b",", b":", b'"a"', b'"b"', b"1", b"-0.0", b"1e400", b"NaN", b"null", b'"\\ud800"', b" ",
    b"99999999999999999999", b"\xff", b"\xef\xbb\xbf", b"\x00", b'"\\u0000"', b"-Infinity", b"01",
]  # fmt: skip


def verdict(content: bytes) -> tuple[bool, Any]:
    try:
        return True, wire.parse(content)
    except DataError as error:
        return False, error.message


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


@given(st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join))
@example(b'{"a":' * 100_000)
@example(b"[" * 1_000_000)
@example(b"9" * 5000)
def test_any_bytes_get_one_verdict_with_and_without_orjson(content: bytes) -> None:
    found = verdict(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "orjson", None)
        assert verdict(content)[0] == found[0]
        assert same(verdict(content)[1], found[1])
        if found[0]:
            assert same(wire.loads(wire.dumps(found[1])), found[1])
    if found[0]:
        assert same(wire.loads(wire.dumps(found[1])), found[1])


@given(DOCUMENTS)
def test_a_document_is_taken_as_it_was_written(document: Any) -> None:
    deep = depth(document) > wire.DEEPEST
    found = verdict(json.dumps(document).encode())
    assert found[0] is not deep
    if not deep:
        assert same(found[1], document)
        assert same(wire.parse(wire.dumps(document)), document)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@pytest.mark.parametrize("levels", [wire.DEEPEST, wire.DEEPEST + 1, 253, 254, 255, 2000])
def test_nesting_has_one_limit(levels: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        text = opening * levels + ("" if opening == "[" else "1") + closing * levels
        assert verdict(text.encode())[0] is (levels <= wire.DEEPEST)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"amount": 1, "amount": 2}', "names a field twice"),
        ('[{"a": {"b": 1, "b": 1}}]', "names a field twice"),
        ('{"amount": NaN}', "not numbers of JSON"),
        ('{"amount": -Infinity}', "not numbers of JSON"),
        ('{"amount": 1e400}', "beyond 64 bits"),
        ('{"amount": 9223372036854775808}', "beyond 64 bits"),
        ('{"card": "\\ud800"}', "half a surrogate pair"),
        ('{"\\udc00": 1}', "half a surrogate pair"),
        ("\ufeff{}", "not valid JSON"),
        ('{"a": "\x00"}', "not valid JSON"),
        ("", "not valid JSON"),
    ],
)
def test_what_cannot_be_kept_exactly_is_refused_whole(content: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        wire.parse(content.encode())


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert wire.parse(b'"\\ud83d\\ude00 \\u0000"') == "\N{GRINNING FACE} \x00"


def test_numbers_that_json_lacks_are_written_as_null() -> None:
    with pytest.MonkeyPatch.context() as patch:
        written = wire.dumps({"a": [math.nan, math.inf, 1.5]})
        patch.setattr(wire, "orjson", None)
        assert wire.dumps({"a": [math.nan, math.inf, 1.5]}) == written == b'{"a":[null,null,1.5]}'


NUMBERS = [
    "-0", "0", "-0.0", "1E5", "1e-400", "1e22", "0.1", "123456789.123456789", "4611686018427387903",
    "4611686018427387904", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e400",
]  # fmt: skip
VALUES = st.sampled_from([*NUMBERS, "null", "true", '""', '"a"', '"ä"', '"a\\"b"', '"\\u0061"', "[]", '{"a":1}']) | (
    st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers(-(2**64), 2**64).map(str)
)
NAMES = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"a\\""', '""', '"ä"'])
GAPS = st.sampled_from(["", " ", "\n"])


@given(st.lists(st.tuples(NAMES, GAPS, GAPS, VALUES), max_size=5))
def test_an_object_is_read_alike_by_both_readers(fields: list[tuple[str, str, str, str]]) -> None:
    text = ",".join(f"{name}{before}:{after}{value}" for name, before, after, value in fields)
    content = f"{{{text}}}".encode()
    found = verdict(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "orjson", None)
        assert verdict(content)[0] == found[0]
        assert same(verdict(content)[1], found[1])


def test_a_field_that_is_named_twice_is_refused_by_the_quick_reader_too() -> None:
    for content in (b'{"a":1,"a":1}', b'{"a":"x","b":2,"a":"x"}', b'{"":null,"":null}'):
        with pytest.raises(DataError, match="twice"):
            wire.parse(content)
