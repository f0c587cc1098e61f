"""``[split]`` and ``[train]``: what training may know, and how it searches."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import Field

from fraudctl.project.types import PositiveDuration, Section


class SplitSection(Section):
    """The known world of training and the periods of its folds."""

    as_of: datetime | date | None = None
    """Training knows nothing later; the test period starts here. Default: known_until - label_delay - test."""
    test: PositiveDuration | None = None
    """Length of the test period and of each fold's. Default: a fifth of the mature span, at most 30 days."""
    train: PositiveDuration | None = None
    """Length of history that the model is fitted on. Default: all there is."""
    folds: int = Field(default=3, ge=1, le=20)
    """Prequential folds before as_of, each with the label delay as its gap."""


class TrainSection(Section):
    """The search for a model."""

    trials: int = Field(default=30, ge=0, le=10_000)
    """Optuna trials; 0 keeps the defaults."""
    metric: str = "average_precision"
    """What the folds are compared by: average_precision, savings, or recall_at_fpr(0.01) and the like."""
    keep_negatives: float = Field(default=0.1, gt=0.0, le=1.0)
    """Share of legitimate rows kept while tuning; the final fit uses all, probabilities are corrected."""
    iterations: int = Field(default=1000, ge=10, le=20_000)
    """Most trees; early stopping on the folds finds how many."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of everything that is drawn."""
