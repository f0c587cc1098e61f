"""The gate: an evaluation and rules become pass, fail or inconclusive, each with its reason.

`judge` applies the rules on ends of intervals and the negative control, `data_rules` those that look at data and scores
rather than at decisions: checks of the data, drift of scores and of calibration.
"""

from fraudctl.gate.data_rules import Reference
from fraudctl.gate.judge import Champion, compare, holm, judge, put_beside

__all__ = ["Champion", "Reference", "compare", "holm", "judge", "put_beside"]
