"""A saved state is read by code that lays memory out as the code that wrote it did, and by no other."""

from __future__ import annotations

import pytest
from features.online.test_online import new_state
from features.proof.test_against_reference import EVERYTHING

from fraudctl.errors import BundleError
from fraudctl.features.online import from_bytes, layout, snapshot, to_bytes

CONSTANTS = [
    (next(module for module in reversed(modules) if name in vars(module)), name)
    for modules in layout.OWNERS.values()
    for name in layout.constants(*modules)
]


@pytest.fixture(scope="module")
def saved(features_of):
    features = features_of(EVERYTHING)
    state = new_state(features)
    state.observe({"event_id": 1, "event_time": 1_700_000_000_000_000, "amount": 12.5, "card": "a"})
    state.observe({"event_id": 2, "event_time": 1_700_000_060_000_000, "amount": 1e9, "card": "a"})
    return features, state, to_bytes(state)


def digest_of(state):
    return layout.digest(state, snapshot._document(state))


def test_a_state_is_read_where_the_layout_is_the_same(saved):
    features, state, content = saved
    again = from_bytes(content, features, timezone=state.timezone, label_delay_us=state.label_delay_us)
    assert to_bytes(again) == content
    assert digest_of(new_state(features)) == digest_of(state), "what a state has seen is no part of its layout"


def test_every_constant_of_the_layout_counts(saved, monkeypatch):
    state = saved[1]
    known = {digest_of(state)}
    monkeypatch.setattr(layout, "Plan", lambda *_, **__: state.plan)  # the constants alone change
    assert len(CONSTANTS) > 50
    for module, name in CONSTANTS:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, getattr(module, name) + 1)
            found = layout.digest(state, snapshot._document(state))
        assert found not in known, f"{module.__name__}.{name}"
        known.add(found)
    assert layout.digest(state, [*snapshot._document(state), "more"]) not in known


def test_one_more_word_in_the_header_of_a_log_refuses_older_states(saved, monkeypatch):
    features, state, content = saved
    monkeypatch.setattr("fraudctl.features.online.log_words.HEADER_WORDS", layout.log_words.HEADER_WORDS + 1)
    with pytest.raises(BundleError, match="laid out in another way") as caught:
        from_bytes(content, features, timezone=state.timezone, label_delay_us=state.label_delay_us)
    assert caught.value.hint is not None
    assert "build the state again" in caught.value.hint
