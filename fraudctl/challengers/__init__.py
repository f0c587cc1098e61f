"""Challengers: models from elsewhere that are trained on the same folds, and judged as the model is.

`contract` says what a program gets and must return, `program` runs it, `fitted` is what a bundle keeps of it. The other
modules are challengers in Python, each a page of code, to be named as the ``entry`` of one: `logistic`, `lightgbm`,
`xgboost` and `gru`. A program in Python imports this package in each of its runs, so what it does not need is loaded
when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fraudctl.challengers.contract import ChallengerFacts, ChallengerFeature

if TYPE_CHECKING:
    from fraudctl.challengers.fitted import Challenger

__all__ = ["Challenger", "ChallengerFacts", "ChallengerFeature"]


def __getattr__(name: str) -> Any:
    if name == "Challenger":
        from fraudctl.challengers.fitted import Challenger

        return Challenger
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
