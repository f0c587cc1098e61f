"""Components of linked entities, as of the event, against the reference on small graphs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.errors import ProjectError
from fraudctl.features import build
from fraudctl.features.batch.links import hub_notes, hubs
from fraudctl.features.proof.reference import recompute

BASE = datetime(2024, 1, 1, tzinfo=UTC)
TEXT = """
[[features.links]]
of = ["card", "shop"]
hub = {}
aggregates = ["component_size", "component_age_seconds", "component_fraud_rate", "degree", "neighbours",
  "neighbour_frauds"]
"""

events_strategy = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.one_of(st.none(), st.integers(0, 7)),
        st.one_of(st.none(), st.integers(0, 5)),
        st.sampled_from([0, 1, None]),
        st.integers(0, 6),
    ),
    min_size=1,
    max_size=22,
)


def make(events_of, text, rows):
    at = [BASE + timedelta(seconds=row[0]) for row in rows]
    return events_of(
        text, id=range(len(rows)), at=at, eur=[1.0] * len(rows),
        card_id=[None if row[1] is None else f"c{row[1]}" for row in rows], shop_id=[row[2] for row in rows],
        fraud=[row[3] for row in rows],
        known_at=[t + timedelta(seconds=row[4]) for t, row in zip(at, rows, strict=True)],
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(rows=events_strategy, hub=st.sampled_from([2, 3, 50]))
def test_links_equal_the_reference(rows, hub, events_of, features_of):
    text = TEXT.format(hub)
    events, features = make(events_of, text, rows), features_of(text)
    table = build(events, features, timezone="UTC")
    for row in range(table.height):
        expected = recompute(events.frame, row, features, timezone="UTC")
        assert {name: table[name][row] for name in features.names} == expected


def test_a_ring_grows_and_its_fraud_rate_leaves_out_the_own_card(events_of, features_of):
    # Seconds, card, shop, label, delay: cards 0 and 1 share shop 0; card 2 joins by shop 1, which card 1 used.
    rows = [(0, 0, 0, 1, 1), (1, 1, 0, 0, 1), (2, 1, 1, 0, 1), (10, 2, 1, None, 0), (20, 0, 5, None, 0)]
    table = build(make(events_of, TEXT.format(50), rows), features_of(TEXT.format(50)), timezone="UTC")
    assert table["card_shop_component_size"].to_list() == [1, 2, 2, 3, 3]
    assert table["card_shop_component_age_seconds"].to_list() == [None, 1.0, 2.0, 10.0, 20.0]
    assert table["card_shop_component_fraud_rate"].to_list() == [None, 1.0, 1.0, pytest.approx(1 / 3), 0.0]
    assert table["card_shop_degree"].to_list() == [0, 1, 0, 1, 0]
    # shop 0 was used by cards 0 and 1, shop 1 by card 1; the fraud of card 0 was known after a second
    assert table["card_shop_neighbours"].to_list() == [0, 1, 1, 1, 1]
    assert table["card_shop_neighbour_frauds"].to_list() == [0, 1, 1, 0, 0]


def test_hubs_join_no_further_ones_and_are_counted(events_of, features_of):
    rows = [(i, i, 0, None, 0) for i in range(6)]
    events = make(events_of, TEXT.format(3), rows)
    table = build(events, features_of(TEXT.format(3)), timezone="UTC")
    assert table["card_shop_component_size"].to_list() == [1, 2, 3, 1, 1, 1]
    assert hubs(events.frame, ("card", "shop"), hub=3) == {"card": 0, "shop": 1}


def test_a_link_needs_two_entities(features_of):
    with pytest.raises(ProjectError, match="'card' twice; expected two entities"):
        features_of('[[features.links]]\nof = ["card", "card"]\n')


def test_an_own_value_that_is_a_hub_does_not_join_either(events_of, features_of):
    # Card 0 meets shops 0 to 2 and is a hub (more than 2 partners) from the third on; shop 3 is card 9's.
    rows = [(0, 9, 3, None, 0), (1, 0, 0, None, 0), (2, 0, 1, None, 0), (3, 0, 3, None, 0), (4, 0, 3, None, 0)]
    table = build(make(events_of, TEXT.format(2), rows), features_of(TEXT.format(2)), timezone="UTC")
    assert table["card_shop_component_size"].to_list() == [1, 1, 1, 1, 1]
    table = build(make(events_of, TEXT.format(3), rows), features_of(TEXT.format(3)), timezone="UTC")
    assert table["card_shop_component_size"].to_list() == [1, 1, 1, 2, 2]


def test_hubs_are_told(events_of, features_of):
    events = make(events_of, TEXT.format(3), [(i, i, 0, None, 0) for i in range(6)])
    (note,) = hub_notes(features_of(TEXT.format(3)).steps, events.frame.select)
    assert note == "links of card and shop: 1 value of shop met more than 3 of card; such hubs join no further ones"
    assert hub_notes(features_of(TEXT.format(6)).steps, events.frame.select) == []
