"""When, and whether, the outcome of an event becomes known.

Owns label delays. Labels arrive in nightly files, so every label time is 04:00 UTC of some day. Fraud is reported after
about 6 days at the median and 14 at the 95th percentile; other events are taken to be legitimate two weeks later, or
earlier where somebody looked. A label that would arrive after the last second of the data is still unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraudctl.sample.calendar import DAY, Calendar
from fraudctl.sample.draws import Bools, Draws, Floats, Ints
from fraudctl.sample.rows import Rows

_NIGHTLY = 4 * 3600
_FRAUD_MEDIAN, _FRAUD_SIGMA = 5.4, 0.55
_NEVER_FRAUD, _NEVER_LEGIT = 0.08, 0.03
_UNKNOWN_WHEN_DECLINED = 0.75
_LOOKED_AT = 0.10
_CLOSED_AFTER = 13.0


@dataclass(frozen=True, eq=False)
class SampleLabels:
    """Outcomes as the data shows them, shape ``(n,)`` each.

    Attributes
    ----------
    is_known
        Whether the label had arrived by the end of the data.
    second
        Seconds since the start at which it arrived; meaningless where it is not known.
    is_fraud
        What it says; meaningless where it is not known.
    """

    is_known: Bools
    second: Ints
    is_fraud: Bools


def make_labels(
    calendar: Calendar, draws: Draws, rows: Rows, *, slower: Floats | float = 1.0, lies: Bools | None = None
) -> SampleLabels:
    """Draw for every event whether and when its label arrives; never before the event itself.

    ``slower`` multiplies the usual delay, one for all or shape ``(n,)``; the data end with ``calendar``. Labels of
    ``lies``, shape ``(n,)``, say the opposite of what is true, when a label that is true would say it.
    """
    n = len(rows)
    fraud = rows.is_fraud if lies is None else rows.is_fraud ^ lies
    reported = draws.lognormal(_FRAUD_MEDIAN, _FRAUD_SIGMA, n)
    looked_at = draws.chance(_LOOKED_AT, n)
    cleared = np.where(looked_at, draws.between(0.5, _CLOSED_AFTER, n), _CLOSED_AFTER)
    ready = rows.second + np.where(fraud, reported, cleared) * slower * DAY
    second = (np.ceil((ready - _NIGHTLY) / DAY) * DAY).astype(np.int64) + _NIGHTLY
    never = draws.chance(np.where(fraud, _NEVER_FRAUD, _NEVER_LEGIT), n)
    never |= rows.declined & draws.chance(_UNKNOWN_WHEN_DECLINED, n)
    return SampleLabels(is_known=~never & (second < calendar.seconds), second=second, is_fraud=fraud)
