"""By what an action was decided: the model and its costs, a threshold, a constraint, a capacity, or a rule.

Owns the typed answer that goes with every decision, for many events and for one. The parts of a policy act one after
the other: the cheapest action; the price of an alert that constraints set; slots and their prices; rules. An action is
decided by the last part that changed it, and ``instead_of`` is what it would have been without that part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import CodeArray, FloatArray, IntArray
from fraudctl.costs import expected_cost
from fraudctl.errors import DataError
from fraudctl.policy.bids import Moments, Per
from fraudctl.policy.places import Scarce, Served
from fraudctl.text.figures import number

if TYPE_CHECKING:
    from fraudctl.documents.types import JsonObject
    from fraudctl.policy.decide import Policy

Kind = Literal["expected_cost", "threshold", "constraint", "capacity", "rule", "control"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
MODEL_KINDS: Final[frozenset[Kind]] = frozenset({"expected_cost", "threshold", "constraint"})
"""Kinds in which the model's probability decided."""

SLOT_FIELDS: Final[dict[str, pl.DataType]] = {
    "action": pl.String(),
    "per": pl.String(),
    "left": pl.Int64(),
    "price": pl.Float64(),
}
FIELDS: Final[dict[str, pl.DataType]] = {
    "kind": pl.String(),
    "rule": pl.String(),
    "instead_of": pl.String(),
    "threshold": pl.Float64(),
    "segment": pl.String(),
    "slot": pl.Struct(SLOT_FIELDS),
}
DECIDED_BY: Final = pl.Struct(FIELDS)
"""How provenance stands in a table."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The slot that a decision turned on: the one it took, or the one it did not get.

    Attributes
    ----------
    left
        Slots of the action that were left in its local day or week when the event came.
    price
        Money that a slot was worth at that moment, added to the expected cost.
    """

    action: str
    """Action with a capacity."""
    per: Per
    """``day`` or ``week``."""
    left: int
    price: float

    def to_dict(self) -> JsonObject:
        """Return the slot as JSON."""
        return {"action": self.action, "per": self.per, "left": self.left, "price": self.price}


@dataclass(frozen=True, slots=True)
class DecidedBy:
    """By what one action was decided.

    Attributes
    ----------
    kind
        ``expected_cost``: the lowest expected cost. ``threshold``: the thresholds, of ``segment`` where it has its own.
        ``constraint``: the price of an alert. ``capacity``: no slot was left, or one was worth more than it would have
        gained here. ``rule``: a rule demanded more. ``control``: the event was drawn for the control group, and let
        through.
    rule
        The rule that decided; with ``capacity`` the rule that demanded more than the model and found no slot. The first
        in the project's order of those that demand the harshest action.
    instead_of
        The action without what decided; None where the model and its costs or thresholds did.
    threshold
        The threshold that was reached, or for ``allow`` the lowest one, which was not.
    """

    kind: Kind
    rule: str | None = None
    instead_of: str | None = None
    threshold: float | None = None
    segment: str | None = None
    """Segment whose own thresholds decided; null for the common ones."""
    slot: Slot | None = None
    """The slot that the decision turned on; null without a capacity."""

    @property
    def by_model(self) -> bool:
        """Whether the model's probability decided, so that its reasons explain the action."""
        return self.kind in MODEL_KINDS

    def to_dict(self) -> JsonObject:
        """Return the provenance as JSON."""
        return {
            "kind": self.kind,
            "rule": self.rule,
            "instead_of": self.instead_of,
            "threshold": self.threshold,
            "segment": self.segment,
            "slot": None if self.slot is None else self.slot.to_dict(),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> DecidedBy:
        """Return what `to_dict` wrote, or a row of a table holds."""
        slot = document["slot"]
        empty = slot is None or slot["action"] is None
        return cls(**{**document, "slot": None if empty else Slot(**slot)})


def chosen_by(code: int, floor: int, *, free: int, priced: int, cheapest: int) -> tuple[Kind, int | None]:
    """Return the kind of a decision by expected cost, and the action that it replaced.

    Parameters
    ----------
    code
        The action that was taken.
    floor
        What rules demand at least.
    free
        The action without rules, with the slots of its moment.
    priced
        The action without slots and their prices.
    cheapest
        The action without the price of an alert too.
    """
    if code < floor:
        return "capacity", max(floor, priced)
    if code != free:
        return "rule", free
    if free != priced:
        return "capacity", priced
    return ("constraint", cheapest) if priced != cheapest else ("expected_cost", None)


@dataclass(frozen=True)
class Stages:
    """What each part of a policy by expected cost would do, codes of shape ``(n_events,)``; see `chosen_by`.

    Attributes
    ----------
    price
        Money of a slot of each limited action, shape ``(n_limited, n_events)``.
    """

    free: CodeArray
    priced: CodeArray
    cheapest: CodeArray
    price: FloatArray


def stages(
    policy: Policy, y_prob: FloatArray, cost_table: FloatArray, when: Mapping[Per, Moments], left: IntArray
) -> Stages:
    """Return what the model and its costs alone, then with constraints, then with slots would do."""
    cost = expected_cost(cost_table, y_prob)
    alerts = cost + policy.price_row()
    whole, scarce = alerts.copy(), policy.scarce(when)
    price = np.zeros((len(scarce), len(y_prob)))
    for j, item in enumerate(scarce):
        price[j] = _prices(item, left[j])
        whole[:, item.code] += price[j]
        whole[left[j] <= 0, item.code] = np.inf
    first = [np.argmin(table, axis=1).astype(np.int8) for table in (whole, alerts, cost)]
    return Stages(first[0], first[1], first[2], price)


def _prices(item: Scarce, left: IntArray) -> FloatArray:
    if item.bids is None:
        return np.zeros(len(left))
    level = np.array(item.bids.level, dtype=np.int64)
    at = level[np.clip(left, 0, len(level) - 1)]
    return np.asarray(np.array(item.bids.prices, dtype=np.float64)[item.moments.slot, at], dtype=np.float64)


def provenance(
    policy: Policy,
    served: Served,
    y_prob: FloatArray,
    cost_table: FloatArray | None,
    *,
    rule_masks: list[npt.NDArray[np.bool_]],
    when: Mapping[Per, Moments],
    segment: IntArray | None,
) -> pl.Series:
    """Return by what each action was decided, as a column of `DECIDED_BY`.

    Parameters
    ----------
    served
        The actions, and the slots that were left when each event came.
    segment
        Position of each event's segment among those with thresholds of their own, -1 for the others.
    """
    if policy.kind == "thresholds":
        columns = _thresholds(policy, served, y_prob, rule_masks, segment)
    elif cost_table is None:
        msg = "a policy by expected cost needs the costs of each event"
        raise DataError(msg)
    else:
        columns = _expected(policy, served, rule_masks, stages(policy, y_prob, cost_table, when, served.left))
    n_events = len(served.codes)
    whole = [
        columns.get(name, pl.Series([None], dtype=dtype).new_from_index(0, n_events)).cast(dtype).alias(name)
        for name, dtype in FIELDS.items()
    ]
    return pl.DataFrame(whole).to_struct("decided_by")


def _expected(
    policy: Policy, served: Served, rule_masks: list[npt.NDArray[np.bool_]], found: Stages
) -> dict[str, pl.Series]:
    codes, floor = served.codes, policy.floor(rule_masks, len(served.codes))
    unmet, ruled = codes < floor, codes > found.free
    full, dear = ~unmet & ~ruled & (found.free != found.priced), found.priced != found.cheapest
    kinds = [KINDS.index("capacity"), KINDS.index("rule"), KINDS.index("constraint")]
    kind = np.select([unmet | full, ruled, dear], kinds, KINDS.index("expected_cost"))
    wished = np.maximum(floor, found.priced)
    other = np.select([unmet, ruled, full, dear], [wished, found.free, found.priced, found.cheapest], -1)
    return {
        "kind": _named(KINDS, kind),
        "rule": _rules(policy, rule_masks, floor, ruled | (unmet & (floor > found.priced))),
        "instead_of": _named(policy.actions, other),
        "slot": _slots(policy, served, np.where(unmet | full, other, -1), found.price),
    }


def _slots(policy: Policy, served: Served, wanted: IntArray, price: FloatArray) -> pl.Series:
    """Return the slot that was taken, or else the one of the action that was wanted."""
    limited = [policy.matrix.code(item.action) for item in policy.capacity]
    subject = np.where(np.isin(served.codes, limited), served.codes, wanted)
    which = np.full(len(subject), -1, dtype=np.int64)
    left, money = np.zeros(len(subject), dtype=np.int64), np.zeros(len(subject))
    for j, code in enumerate(limited):
        rows = subject == code
        which[rows], left[rows], money[rows] = j, served.left[j, rows], price[j, rows]
    frame = pl.DataFrame(
        {
            "action": _named([item.action for item in policy.capacity], which),
            "per": _named([item.per for item in policy.capacity], which),
            "left": left,
            "price": money,
        },
        schema=SLOT_FIELDS,
    )
    return frame.select(slot=pl.when(pl.Series(which >= 0)).then(pl.struct(*SLOT_FIELDS))).to_series()


def _thresholds(
    policy: Policy,
    served: Served,
    y_prob: FloatArray,
    rule_masks: list[npt.NDArray[np.bool_]],
    segment: IntArray | None,
) -> dict[str, pl.Series]:
    floor, cut = policy.floor(rule_masks, len(y_prob)), policy.cut(y_prob, segment)
    ruled = served.codes > cut
    places = np.full(len(y_prob), -1, dtype=np.int64) if segment is None else segment
    own = {} if policy.segments is None else policy.segments.thresholds
    table = [
        [decisive_threshold(policy, cuts, code) for code in range(len(policy.actions))]
        for cuts in (*own.values(), policy.thresholds)
    ]
    decisive = np.array(table, dtype=np.float64)[places, cut]
    known = pl.Series(~ruled & ~np.isnan(decisive))
    kind = np.where(ruled, KINDS.index("rule"), KINDS.index("threshold"))
    return {
        "kind": _named(KINDS, kind),
        "rule": _rules(policy, rule_masks, floor, ruled),
        "instead_of": _named(policy.actions, np.where(ruled, cut, -1)),
        "threshold": pl.Series(decisive).set(~known, None),
        "segment": _named(list(own), np.where(ruled, -1, places)),
    }


def decisive_threshold(policy: Policy, thresholds: Mapping[str, float | None], code: int) -> float | None:
    """Return the threshold that an action reached; for an action without one, the lowest, which was not reached."""
    known = {policy.matrix.code(name): value for name, value in thresholds.items() if value is not None}
    return known.get(code, min(known.values(), default=None))


def _rules(
    policy: Policy, rule_masks: list[npt.NDArray[np.bool_]], floor: CodeArray, decided: npt.NDArray[np.bool_]
) -> pl.Series:
    """Return the first rule that demands the floor, where rules decided."""
    first = np.full(len(floor), -1, dtype=np.int64)
    for at, (rule, mask) in reversed(list(enumerate(zip(policy.rules, rule_masks, strict=True)))):
        first[decided & mask & (floor == policy.matrix.code(rule.action))] = at
    return _named([rule.name for rule in policy.rules], first)


def _named(names: Sequence[str], codes: npt.NDArray[Any]) -> pl.Series:
    """Return the name of each code; null where it is negative."""
    if not names:
        return pl.Series([None], dtype=pl.String).new_from_index(0, len(codes))
    at = pl.Series(codes.astype(np.int64))
    return pl.Series(names, dtype=pl.String).gather(at.set(at < 0, None))


def by_model(decided_by: pl.Series) -> npt.NDArray[np.bool_]:
    """State for each row of a `DECIDED_BY` column whether the model's probability decided; null is not."""
    kinds = decided_by.struct.field("kind")
    return np.asarray(kinds.is_in(list(MODEL_KINDS)).fill_null(value=False).to_numpy(), dtype=np.bool_)


def decided_words(by: DecidedBy, action: str) -> str:
    """Return in a sentence by what an action was decided.

    >>> decided_words(DecidedBy("rule", rule="vip", instead_of="allow"), "block")
    "The rule 'vip' decided: block instead of allow."
    """
    against = f": {action} instead of {by.instead_of}" if by.instead_of not in (None, action) else f": {action}"
    if by.kind == "rule":
        return f"The rule {by.rule!r} decided{against}."
    if by.kind == "capacity":
        demand = f" The rule {by.rule!r} demanded it." if by.rule is not None else ""
        return f"{_slot_words(by.slot)}{against}.{demand}"
    if by.kind == "constraint":
        return f"The constraints on alerts decided{against}."
    if by.kind == "threshold":
        whose = "" if by.segment is None else f" of the segment {by.segment!r}"
        if by.threshold is None:
            return f"No threshold{whose} leads to another action: {action}."
        relation = "is below" if action == "allow" else "reaches"
        return f"The probability {relation} the threshold {number(by.threshold, 4)}{whose}: {action}."
    slot = by.slot
    taken = "" if slot is None else f" It took one of {slot.left:,} slots that were left of the {slot.per}."
    return f"The lowest expected loss decided: {action}.{taken}"


def _slot_words(slot: Slot | None) -> str:
    if slot is None:
        return "The capacity decided"
    if slot.left <= 0:
        return f"No slot for {slot.action} was left in the {slot.per}"
    return f"A slot for {slot.action} was worth more later in the {slot.per} ({slot.left:,} were left)"
