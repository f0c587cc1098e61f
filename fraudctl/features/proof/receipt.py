"""The receipt of an audit: what was recomputed, how much of it, and its digest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingAudit:
    """What was recomputed before training; nothing differed."""

    events: int
    """Events that were recomputed from what was known at their time."""
    features: int
    """Features of each of them."""
    future_events: int
    """Latest events whose future was altered."""
    passed_over: int
    """Values that were not recomputed because that would have read too many earlier events."""
    digest: str | None = None
    """SHA-256 of the recomputed values with event ids and names of features: the same data and definitions give the
    same; null where none was noted."""
