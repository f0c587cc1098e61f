"""Log records have kinds: one that is not known, or not of the form of its kind, is refused and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.errors import BundleError
from fraudctl.scoring.consumed import KINDS, Place
from fraudctl.scoring.live import LiveState

WRITTEN = {"event", "label", "source", "assigned", "batch", "sent", "experiment"}
"""Every kind that a version has written: none may ever mean something else."""

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def remembered(state: LiveState) -> dict[str, Any]:
    return {name: bytes(part) for name, part in state.to_parts().items() if isinstance(part, bytes)}


def test_every_kind_is_in_the_registry() -> None:
    assert LiveState([])._kinds.keys() == WRITTEN
    assert set(KINDS) <= WRITTEN


@given(values.filter(lambda found: not (isinstance(found, list) and found and found[0] in tuple(WRITTEN))))
def test_what_is_of_no_known_kind_is_refused_whatever_it_is(document: Any) -> None:
    state = LiveState([])
    before = remembered(state)
    with pytest.raises(BundleError, match="a record of a kind that this version of fraudctl does not know"):
        state.apply(json.dumps(document).encode())
    assert remembered(state) == before


@given(st.sampled_from(sorted(WRITTEN)), st.lists(values, max_size=9))
def test_a_known_kind_with_other_parts_is_refused(kind: str, parts: list[Any]) -> None:
    state = LiveState([])
    if len(parts) in state._kinds[kind][1]:
        return
    with pytest.raises(BundleError, match=f"a record of kind '{kind}' with {len(parts)} parts; expected"):
        state.apply(json.dumps([kind, *parts]).encode())


def test_records_of_a_stream_are_no_events() -> None:
    state = LiveState([])
    for record in (["assigned", True, [["e", 0, 3]]], ["batch", 1, [["e", 0, 9]], [["e", 0, 8, "T1"]]], ["sent", 1]):
        state.apply(json.dumps(record).encode())
    assert (state.consumed.offsets, state.consumed.unsent) == ({Place("e", 0): 9}, {})
    assert state.counts["events"] == 0
