"""From probabilities and costs to actions: the policy itself, and how it is chosen.

`decide` decides (`Policy`), `places` and `bids` ration scarce actions, `search` finds the cheapest thresholds exactly,
`choose` picks the policy of a project on fold predictions and says what each of its parts brings in money;
`expressions` and `segments` are what it asks of a single row.
"""

from fraudctl.policy.choose import PolicyChoice, bare_policy, check_expressions, choose_policy
from fraudctl.policy.decide import Policy, PolicyRule
from fraudctl.policy.places import CapacityLimit, CapacityUse

__all__ = [
    "CapacityLimit", "CapacityUse", "Policy", "PolicyChoice", "PolicyRule", "bare_policy", "check_expressions",
    "choose_policy",
]  # fmt: skip
