"""Evaluation: what a model and its policy did on events whose outcome is known, with honest uncertainty.

`run` evaluates, `judged` prepares the arrays, `estimates` gives each metric its interval, `tables` what reports draw,
`segments` splits, `result` holds the value objects. Reads no files and decides no verdict: that is `fraudctl.gate`.
"""

from fraudctl.evaluate.judged import Judged, prepare
from fraudctl.evaluate.result import Evaluation, Excluded, GateResult, Period, RuleResult
from fraudctl.evaluate.run import decide_frame, evaluate, pool, price_frame
from fraudctl.uncertainty import Estimate

__all__ = [
    "Estimate", "Evaluation", "Excluded", "GateResult", "Judged", "Period", "RuleResult", "decide_frame", "evaluate",
    "pool", "prepare", "price_frame",
]  # fmt: skip
