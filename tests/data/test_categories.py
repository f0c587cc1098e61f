"""Fraudctl's own words live outside the data: whatever a value is called, it is a category of its own everywhere."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.data.categories import Missing, Rest, Value, category, quoted_values, shown
from fraudctl.documents.results import as_object
from fraudctl.evaluate.segments import split_segments
from fraudctl.text.wording import level_text
from fraudctl.train.model import MISSING, OTHER, ModelColumns

OWN = ["rest", "(none)", "unknown", "all others", '"unknown"', '""unknown""', MISSING, OTHER, "((other)", "(", "",
       "all", "missing", "other", "null", "None", "nan", "yes", "common"]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(OWN), st.text(max_size=4))
VALUES = st.one_of(st.none(), TEXTS)


@given(values=st.lists(VALUES, min_size=1, max_size=40))
def test_text_for_people_and_json_tell_all_categories_apart(values: list[str | None]) -> None:
    every = {category(value) for value in values} | {Missing(), Rest()}
    assert len({shown(item) for item in every}) == len(every)
    assert len({tuple(as_object(item).items()) for item in every}) == len(every)
    series = pl.Series("x", values, dtype=pl.String)
    assert quoted_values(series).to_list() == [shown(category(value)) for value in values]
    assert level_text(series).n_unique() == series.n_unique()


@given(values=st.lists(VALUES, min_size=1, max_size=60), least=st.integers(1, 5), most=st.integers(1, 8))
def test_segments_are_a_partition_whatever_values_are_called(values: list[str | None], least: int, most: int) -> None:
    y_true = np.ones(len(values))
    found = split_segments(pl.Series(values, dtype=pl.String), y_true, min_frauds=least, most=most)
    assert np.sum([mask for _, mask in found], axis=0).tolist() == [1] * len(values)
    assert len({segment for segment, _ in found}) == len(found) <= most
    for segment, mask in found:
        inside = {value for value, held in zip(values, mask, strict=True) if held}
        assert segment == Rest() or inside == ({segment.text} if isinstance(segment, Value) else {None})


@given(
    values=st.lists(VALUES, min_size=1, max_size=40),
    known=st.sets(TEXTS),
)
@settings(deadline=None)
def test_a_model_spells_every_known_value_null_and_the_unseen_apart(values: list[str | None], known: set[str]) -> None:
    columns = ModelColumns(("x",), {"x": tuple(sorted(known))})
    assert len(set(columns.levels("x"))) == len(known) + 2
    spelled = columns.matrix(pl.DataFrame({"x": pl.Series(values, dtype=pl.String)}))["x"].to_list()
    wanted = [MISSING if v is None else columns.spelled(v) if v in known else OTHER for v in values]
    assert spelled == wanted


def test_a_bundle_of_an_older_version_keeps_its_spelling() -> None:
    old = ModelColumns.from_dict({"names": ["x"], "vocabularies": {"x": ["(a)", OTHER]}})
    assert old.matrix(pl.DataFrame({"x": ["(a)", OTHER, "b", None]}))["x"].to_list() == ["(a)", OTHER, OTHER, MISSING]
    assert ModelColumns.from_dict(old.to_dict()) == old
