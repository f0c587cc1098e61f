"""Challengers: models from elsewhere that are trained on the same folds, and judged as the model is.

`contract` says what a program gets and must return, `program` runs it, `fitted` is what a bundle keeps of it. The other
modules are challengers in Python, each a page of code, to be named as the ``entry`` of one: `logistic`, `lightgbm`,
`xgboost` and `gru`.
"""

from fraudctl.challengers.contract import ChallengerFacts, ChallengerFeature
from fraudctl.challengers.fitted import Challenger

__all__ = ["Challenger", "ChallengerFacts", "ChallengerFeature"]
