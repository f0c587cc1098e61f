"""The row-level expressions of a policy, of rules and of segments: which there are, and what they may read."""

from __future__ import annotations

from typing import Final

import polars as pl

from fraudctl.project import Project
from fraudctl.weights import WEIGHT

SEGMENTS: Final = "policy.segments"
_UNREADABLE: Final = frozenset({"label", "label_time", "y_score", "y_prob", "fold", WEIGHT})


def expressions(project: Project) -> list[tuple[str, str]]:
    """Give the expressions of a project's policy: where each stands, and its text."""
    found = [(f"rules[{index}].when", rule.when) for index, rule in enumerate(project.rules)]
    return found if project.policy.segments is None else [*found, (SEGMENTS, project.policy.segments)]


def readable(frame: pl.DataFrame) -> list[str]:
    """Give the columns that an expression may read: nothing of the outcome, and nothing of the model."""
    return [name for name in frame.columns if name not in _UNREADABLE]
