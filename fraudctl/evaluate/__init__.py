"""Evaluation: what a model and its policy did on events whose outcome is known, with honest uncertainty.

`replay` decides all events of a period and judges a part of them, `run` evaluates, `judged` prepares the arrays,
`estimates` gives each metric its interval, `tables` what reports draw, `segments` splits, `result` holds the value
objects. Reads no files and decides no verdict: that is `fraudctl.gate`.
"""

from fraudctl.evaluate.judged import EvaluatedEvents, prepare
from fraudctl.evaluate.replay import OneMoment, Replay, Stretch, chained, decide_frame, lead_from, price_frame
from fraudctl.evaluate.result import Evaluation, Excluded, GateResult, Period, RuleResult
from fraudctl.evaluate.run import evaluate, pool
from fraudctl.uncertainty import Estimate

__all__ = [
    "Estimate",
    "EvaluatedEvents",
    "Evaluation",
    "Excluded",
    "GateResult",
    "OneMoment",
    "Period",
    "Replay",
    "RuleResult",
    "Stretch",
    "chained",
    "decide_frame",
    "evaluate",
    "lead_from",
    "pool",
    "prepare",
    "price_frame",
]
