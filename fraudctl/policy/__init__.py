"""From probabilities and costs to actions: the policy itself, and how it is chosen.

`rules` decides (`Policy`), `search` finds the cheapest thresholds exactly, `choose` picks the policy of a project on
fold predictions and says what each of its parts brings in money.
"""

from fraudctl.policy.choose import PolicyChoice, bare_policy, choose_policy
from fraudctl.policy.decide import CapacityLimit, CapacityUse, Policy, PolicyRule

__all__ = ["CapacityLimit", "CapacityUse", "Policy", "PolicyChoice", "PolicyRule", "bare_policy", "choose_policy"]
