"""A policy in words."""

from __future__ import annotations

from fraudctl.costs import CostCell, CostMatrix
from fraudctl.policy import CapacityLimit, Policy, PolicyRule
from fraudctl.policy.bids import BidPrices
from fraudctl.policy.segments import Segments
from fraudctl.text.wording import policy_words

MATRIX = CostMatrix(
    ("allow", "review", "block"),
    ((CostCell(), CostCell(9.0)), (CostCell(2.0), CostCell()), (CostCell(5.0), CostCell())),
)


def test_expected_cost_with_scarce_places_and_rules() -> None:
    prices = BidPrices("day", (1, 2), ((30.0, 12.0),) * 48)
    policy = Policy(
        "expected_cost", MATRIX, capacity=(CapacityLimit("review", 20, "day"), CapacityLimit("block", 5, "week")),
        bids={"review": prices}, rules=(PolicyRule("big", "amount > 9", "block"),), alert_price=3.0,
    )  # fmt: skip
    assert policy_words(policy) == (
        "The action with the lowest expected cost for each event.",
        "At most 20 review a day; a place is worth €12.00 as a day begins.",
        "At most 5 block a week.",
        "To hold the constraints, an alert must bring at least €3.00.",
        "Rule big: block where amount > 9.",
    )


def test_thresholds_by_segment() -> None:
    own = Segments("channel", {"web": {"review": 0.25, "block": None}})
    policy = Policy("thresholds", MATRIX, thresholds={"block": 0.5, "review": 0.1}, segments=own)
    assert policy_words(policy) == (
        "By probability: review from 0.1, block from 0.5.",
        "By channel: web: review from 0.25, block never; every other value as above.",
    )
    none = Policy("thresholds", MATRIX, thresholds={"review": 0.1}, segments=Segments("channel"))
    assert policy_words(none)[1] == "No value of channel has shown that thresholds of its own would save money."
