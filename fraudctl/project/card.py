"""``[card]``: what only the owner of a model can say about it."""

from __future__ import annotations

from pydantic import Field

from fraudctl.project.types import Section

_LONGEST = 4_000


class CardSection(Section):
    """The owner's words in a model card (``fraudctl models card``). They change no model and no decision."""

    owner: str | None = Field(default=None, min_length=1, max_length=_LONGEST)
    """Who answers for the model."""
    contact: str | None = Field(default=None, min_length=1, max_length=_LONGEST)
    """How to reach the owner."""
    purpose: str | None = Field(default=None, min_length=1, max_length=_LONGEST)
    """Which decisions the model is used for, and on which events."""
    not_for: str | None = Field(default=None, min_length=1, max_length=_LONGEST)
    """What the model must not be used for."""
    materiality: str | None = Field(default=None, min_length=1, max_length=_LONGEST)
    """How much depends on the model: volume, money, customers."""
    oversight: str | None = Field(default=None, min_length=1, max_length=_LONGEST)
    """Which people see its decisions, and how they can overrule them."""
    limits: str | None = Field(default=None, min_length=1, max_length=_LONGEST)
    """Limits and assumptions that the data do not show."""
    monitoring: str | None = Field(default=None, min_length=1, max_length=_LONGEST)
    """How the model is watched, how often, and who acts on an alarm."""
    next_review: str | None = Field(default=None, min_length=1, max_length=_LONGEST)
    """When the model is reviewed next."""
