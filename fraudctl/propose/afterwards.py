"""Whether a column was known at the time of the event: its name nominates, its values decide.

Owns the signs of columns that were written later: words of a decision, a flag under a name that is nothing but an
outcome, values that fresh events lack and older ones have. `fraudctl.checks.leakage` has the signs in the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import polars as pl

from fraudctl.propose import names
from fraudctl.propose.profile import ProfiledColumn
from fraudctl.text.figures import percent

_DECIDED: Final = frozenset(
    {
        "approved", "approve", "accepted", "accept", "declined", "decline", "denied", "rejected", "reject", "refused",
        "blocked", "block", "review", "reviewed", "allowed", "allow", "refunded", "reversed", "settled", "captured",
        "authorised", "authorized", "failed", "succeeded", "success", "completed", "cancelled", "canceled", "voided",
        "disputed", "chargeback", "chargedback", "fraud", "legit", "legitimate", "genuine", "confirmed", "cleared",
        "won", "lost",
    }
)  # fmt: skip
_ANSWERS: Final = frozenset({"y", "n", "yes", "no", "true", "false", "t", "f", "0", "1", "j", "ja", "nein"})
_MOST_VALUES: Final = 20
_LATER: Final = 0.3
"""How much more of the fresh events than of the older ones have to lack a value."""
_ENOUGH: Final = 100


@dataclass(frozen=True)
class Fresh:
    """Which events are younger than the label delay, and which lie two delays before them; shape ``(n_events,)``."""

    young: pl.Series
    old: pl.Series

    @classmethod
    def of(cls, times: pl.Series, delay: timedelta) -> Fresh | None:
        """Split events by age; None where either part is too small to say anything."""
        last = times.max()
        limit = times - pl.Series([last]).new_from_index(0, len(times)) if last is not None else None
        if limit is None or not delay:
            return None
        young, old = limit > -delay, (limit <= -delay) & (limit > -3 * delay)
        return cls(young, old) if min(int(young.sum()), int(old.sum())) >= _ENOUGH else None


def known_afterwards(column: ProfiledColumn, values: pl.Series, fresh: Fresh | None) -> str | None:
    """Return why a column was surely or most likely written after the event; None where nothing says so."""
    outcome, decision = names.tells_outcome(column.name), names.tells_decision(column.name)
    if (outcome or decision) and column.n_unique <= _MOST_VALUES:
        texts = {str(value).strip().lower() for value in values.drop_nulls().unique().to_list()}
        spoken = {part for text in texts for part in names.tokens(text.replace("0.0", "0").replace("1.0", "1"))}
        about = "outcome" if outcome else "decision"
        if spoken & _DECIDED:
            return f"its name and its values speak of the {about}, which a score has to come before"
        if names.only_tells_outcome(column.name) and texts and spoken <= _ANSWERS:
            return f"a flag that is named as the {about}, which a score has to come before"
    return None if fresh is None or not column.n_null else _filled_later(values, fresh)


def _filled_later(values: pl.Series, fresh: Fresh) -> str | None:
    missing = values.is_null()
    young = float(missing.filter(fresh.young).mean() or 0.0)  # type: ignore[arg-type]
    old = float(missing.filter(fresh.old).mean() or 0.0)  # type: ignore[arg-type]
    if young - old < _LATER:
        return None
    return f"written later: {percent(young)} of the events younger than the label delay lack it, {percent(old)} before"
