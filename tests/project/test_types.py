"""Words of a project file with a grammar of their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.project.types import Aggregate

NAMES = st.text(min_size=1, max_size=8) | st.text('" ()ab\n', min_size=1, max_size=6)


@given(kind=st.sampled_from(["count", "mean", "share"]), column=st.none() | NAMES)
def test_an_aggregate_is_read_back_whatever_its_column_is_called(kind: str, column: str | None) -> None:
    aggregate = Aggregate(kind, column)
    assert Aggregate.parse(str(aggregate)) == aggregate


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("mean(amount)", "amount"),
        (" mean( Fee (EUR) ) ", "Fee (EUR)"),
        ('mean(" fee ")', " fee "),
        ("mean(a b)", "a b"),
    ],
)
def test_what_stands_in_brackets_is_any_name(text: str, column: str) -> None:
    assert Aggregate.parse(text) == Aggregate("mean", column)


@pytest.mark.parametrize(
    "text", ["", "mean()", "mean( )", "mean(amount", "Mean(amount)", "mean amount", "(amount)", 3, None]
)
def test_what_is_no_aggregate_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="aggregate"):
        Aggregate.parse(text)
