"""One event at a time gets the actions that all at once get, whatever the policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.costs import CostCell, CostMatrix
from fraudctl.errors import DataError
from fraudctl.policy import CapacityLimit, CapacityUse, Policy, PolicyRule
from fraudctl.policy.bids import SLOT_MINUTES, BidPrices, Per
from fraudctl.policy.crowd import Crowd
from fraudctl.policy.provenance import DecidedBy
from fraudctl.policy.segments import Segments
from fraudctl.policy.single import SinglePolicy

START = datetime(2026, 3, 27, 20, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ACTIONS = ("allow", "review", "block")
OWN = {"web": {"review": 0.05, "block": None}, "pos": {"review": 0.5, "block": 0.5}}
money = st.sampled_from([0.0, 1.0, 4.0, 15.0, -2.0])
cells = st.builds(
    CostCell, fixed=money, rate=st.sampled_from([0.0, 0.002, 0.15, 1.0]), column=st.sampled_from([None, "fee"]),
    at_least=st.sampled_from([None, 0.0]),
)  # fmt: skip


@st.composite
def bids(draw: st.DrawFn, per: Per, limit: int) -> BidPrices:
    """Prices of a place that change from slot to slot and with the places left, 0 and far too dear among them."""
    levels = tuple(range(1, limit + 1)) if draw(st.booleans()) else (1,)
    row = st.tuples(*(st.sampled_from([0.0, 0.5, 3.0, 40.0]) for _ in levels))
    few = draw(st.lists(row, min_size=1, max_size=5))
    n_slots = (1440 if per == "day" else 7 * 1440) // SLOT_MINUTES[per]
    return BidPrices(per, levels, tuple(few[slot % len(few)] for slot in range(n_slots)))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    kind = draw(st.sampled_from(["expected_cost", "thresholds"]))
    matrix = CostMatrix(ACTIONS, tuple((draw(cells), draw(cells)) for _ in ACTIONS))
    limits = [
        CapacityLimit(name, draw(st.integers(0, 3)), draw(st.sampled_from(["day", "week"]))) for name in ACTIONS[1:]
    ]
    rules = (PolicyRule("large", "amount > 50", "review"), PolicyRule("huge", "amount > 90", "block"))
    return Policy(
        kind=kind,
        matrix=matrix,
        thresholds={"review": draw(st.sampled_from([0.1, 0.5, None])), "block": draw(st.sampled_from([0.5, 0.9]))},
        segments=draw(st.sampled_from([None, Segments("shop"), Segments("shop", OWN)])),
        bids={item.action: draw(bids(item.per, max(item.limit, 1))) for item in limits if draw(st.booleans())},
        alert_price=draw(st.sampled_from([0.0, 1.5, -1.0])),
        capacity=tuple(item for item in limits if kind == "expected_cost" and draw(st.booleans())),
        rules=rules if draw(st.booleans()) else (),
        timezone="Europe/Berlin",
    )


def check_against_simpler_policies(
    policy: Policy, by: DecidedBy, code: int, event: dict[str, Any], p: float, holds: list[bool], shop: Any,
    used: CapacityUse,
) -> None:  # fmt: skip
    """What decided is what makes the difference: the policy without it gives `instead_of`."""

    def without(**changes: Any) -> str:
        simpler = replace(policy, **changes)
        held = holds if simpler.rules else []
        copy = CapacityUse.from_list(used.to_list())
        return ACTIONS[SinglePolicy(simpler).decide(event, p, holds=held, segment=shop, used=copy)[0]]

    action, limits = ACTIONS[code], {item.action for item in policy.capacity}
    no_slots: dict[str, Any] = {"capacity": (), "bids": {}}
    if by.kind == "rule":
        assert without(rules=()) == by.instead_of != action
        assert any(rule.name == by.rule and held for rule, held in zip(policy.rules, holds, strict=True))
    elif by.kind == "capacity":
        assert by.instead_of != action
        assert by.instead_of == (without(**no_slots) if by.rule else without(rules=(), **no_slots))
        assert by.slot is not None
    elif by.kind == "constraint":
        assert without(rules=(), alert_price=0.0, **no_slots) == by.instead_of != action
    else:
        assert by.instead_of is None
        assert without(rules=(), alert_price=0.0, **no_slots) == action
        assert (by.kind == "threshold") == (policy.kind == "thresholds")
    assert (by.slot is not None) == (action in limits or by.kind == "capacity")
    if by.segment is not None:
        assert by.segment == shop


@given(policy=policies(), seed=st.integers(0, 1000))
def test_one_by_one_decides_as_all_at_once(policy: Policy, seed: int) -> None:
    rng, n = np.random.default_rng(seed), 25
    frame = pl.DataFrame(
        {
            "event_time": [START + timedelta(hours=float(h)) for h in np.sort(rng.uniform(0, 80, n))],
            "amount": pl.Series(rng.uniform(-20, 100, n).round(2)).set(pl.Series(rng.random(n) < 0.2), None),
            "fee": rng.choice([0.0, 2.5], n),
            "shop": pl.Series(rng.choice(["web", "pos", "app", "never seen"], n)).set(
                pl.Series(rng.random(n) < 0.2), None
            ),
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    y_prob = rng.choice([0.0, 0.05, 0.1, 0.5, 0.9, 1.0, 0.3], n)
    used, ours = CapacityUse(), CapacityUse()
    crowd = Crowd.of(frame, y_prob, policy)
    served = crowd.serve(policy, used=used)
    expected = served.codes.tolist()
    reasons = crowd.decided_by(policy, served).to_list()
    single = SinglePolicy(policy)
    found, told = [], []
    for row, p in zip(frame.iter_rows(named=True), y_prob.tolist(), strict=True):
        event = {
            **row,
            "event_time": (row["event_time"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1),
        }
        holds = [(row["amount"] or 0) > limit for limit in (50, 90)][: len(policy.rules)]
        before = CapacityUse.from_list(ours.to_list())
        code, place, by = single.explained(event, p, holds=holds, segment=row["shop"], used=ours)
        told.append(by.to_dict())
        assert DecidedBy.from_dict(by.to_dict()) == by
        check_against_simpler_policies(policy, by, code, event, p, holds, row["shop"], before)
        limited = {item.action for item in policy.capacity}
        assert (place is not None) == (ACTIONS[code] in limited)
        found.append(code)
    assert found == expected
    assert told == reasons, "one by one is decided by what all at once is"
    assert ours.to_list() == used.to_list()
    assert CapacityUse.from_list(ours.to_list()).to_list() == ours.to_list()


def test_expected_cost_by_hand() -> None:
    """p = 0.1, amount 100: allow 0.1 * (15 + 100) = 11.5; review 4; block 0.9 * (8 + 15) = 20.7."""
    matrix = CostMatrix(
        ACTIONS, ((CostCell(), CostCell(15.0, 1.0)), (CostCell(4.0), CostCell(4.0)), (CostCell(8.0, 0.15), CostCell()))
    )
    single = SinglePolicy(Policy("expected_cost", matrix))
    assert single.decide({"amount": 100.0}, 0.1, holds=[]) == (1, None)
    assert single.decide({"amount": 100.0}, 0.01, holds=[]) == (0, None)
    assert single.decide({"amount": 100.0}, 0.9, holds=[]) == (2, None)


def test_a_null_cost_is_refused() -> None:
    matrix = CostMatrix(("allow", "block"), ((CostCell(), CostCell(column="fee")), (CostCell(1.0), CostCell())))
    event: dict[str, Any] = {"fee": None}
    with pytest.raises(DataError, match="'fee' is null"):
        SinglePolicy(Policy("expected_cost", matrix)).decide(event, 0.5, holds=[])
