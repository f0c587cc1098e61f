"""Two arms of an experiment as values: sample ratio, cost per event by unit, the difference, and the verdict.

Owns the comparison of decisions that were acted on. Outcomes are those known at one instant: an event counts with what
its action costs if it is legitimate, and each fraud that is known adds what fraud changes, divided by the share of such
frauds that is known at that age, by one delay curve for both arms. Units whose share was changed stand out of it, as do
events whose outcome cannot be seen. It reads no file and no clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.errors import DataError, ExitCode
from fraudctl.monitor.delays import DelayCurve, blended, delay_curve
from fraudctl.monitor.nowcast import HIDDEN
from fraudctl.monitor.seen import CONSTANTS, COST, SeenEvents, see
from fraudctl.project import Project
from fraudctl.sequences import half_width, ratio_of_units, sample_ratio_evidence, target_of
from fraudctl.text.figures import count, number, percent

ARMS: Final = ("champion", "challenger")
RATIO_LIMIT: Final = math.log(1000.0)
"""Evidence against the planned shares from which no result is given: by chance once in a thousand experiments."""
FEW_UNITS: Final = 20
"""Units of an arm below which no uncertainty is known, as with clusters in the gate."""
_OWN_CURVE: Final = 30.0
"""Arrivals of a stratum from which its own delays count as much as those of all."""
_FEW_ARRIVALS: Final = 20
Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class SampleRatio:
    """Whether the units that were seen are shared as planned."""

    planned: float
    """Share of the challenger."""
    champion_units: int
    """Units that the champion answered."""
    challenger_units: int
    """Units that the challenger answered."""
    evidence: float
    """Natural logarithm of the evidence against the plan; `limit` or more by chance once in 1,000 experiments."""
    limit: float = RATIO_LIMIT
    """Evidence from which there is no result."""

    @property
    def sound(self) -> bool:
        """Whether the shares may be as planned."""
        return self.evidence < self.limit


@dataclass(frozen=True)
class ArmOutcome:
    """One arm."""

    arm: str
    """``champion`` or ``challenger``."""
    models: tuple[str, ...]
    """Versions that answered its events."""
    units: int
    """Units with an event whose outcome counts."""
    events: int
    """Events whose outcome counts."""
    frauds: int
    """Known frauds among them."""
    cost_per_event: float | None
    """Money lost per event, in the project's currency; null in an empty arm."""


@dataclass(frozen=True)
class AbDifference:
    """Cost per event of the challenger less that of the champion; below 0 the challenger is better."""

    value: float
    """The difference, in the project's currency."""
    low: float
    """Low end of an interval that holds however often one looks."""
    high: float
    """High end."""
    se: float
    """Standard error, clustered by unit."""
    savings: float
    """The same as savings of the challenger less those of the champion, against the cheapest constant action."""
    savings_low: float
    """Low end."""
    savings_high: float
    """High end."""


@dataclass(frozen=True)
class ArmsCompared:
    """What the arms say at an instant."""

    as_of: datetime
    """Nothing later is known."""
    since: datetime
    """First event with the present shares; earlier ones are left out."""
    sample_ratio: SampleRatio
    """The check that comes before any result."""
    arms: tuple[ArmOutcome, ...]
    """Champion, then challenger."""
    difference: AbDifference | None
    """By the arms; null where the sample ratio is not sound, or an arm has too few units."""
    paired: AbDifference | None
    """By both models' decisions on all events; null where one is missing, or outcomes hang on who acted."""
    verdict: Verdict
    """``pass``: surely no worse than the margin; ``fail``: surely worse; by the arms."""
    reason: str
    """Why this verdict."""
    null_units: int
    """Events without a unit: answered by the champion, and left out."""
    other_shares: int
    """Events that were answered under other shares."""
    unseen: int
    """Events whose outcome cannot be seen: blocked without a control group, or without a label."""
    too_young: int
    """Events at whose age less than 15 % of the frauds are known."""

    @property
    def exit_code(self) -> ExitCode:
        """3 where the sample ratio is not sound; otherwise as a gate."""
        if not self.sample_ratio.sound:
            return ExitCode.DATA
        return {"pass": ExitCode.OK, "fail": ExitCode.NO, "inconclusive": ExitCode.INCONCLUSIVE}[self.verdict]


@dataclass(frozen=True)
class PricedEvents:
    """Events whose outcome counts, arrays of shape ``(n_counted,)``.

    Attributes
    ----------
    row
        Place in the frame.
    n
        How many events each stands for.
    cost, constant
        What its action costs as far as is known, and the same for each constant action, ``(n_counted, n_actions)``.
    fraud
        Whether it is known as fraud.
    """

    row: IntArray
    n: FloatArray
    cost: FloatArray
    constant: FloatArray
    fraud: BoolArray
    seen: SeenEvents
    too_young: int


def price(frame: pl.DataFrame, project: Project, as_of: datetime) -> PricedEvents:
    """Price decisions by what is known at an instant.

    Parameters
    ----------
    frame
        Of `fraudctl.monitor.decisions.with_events`, up to ``as_of``.
    """
    seen = see(frame, project, as_of)
    events, horizon = seen.events, float(project.data.label_delay.seconds)
    known = _known_share(seen, horizon)
    old = known >= HIDDEN
    fraud = events.known == 1
    weight = np.where(fraud, 1.0 / np.maximum(known, HIDDEN), 0.0)
    cost = seen.base[:, 1] + seen.values[:, COST] * weight
    constant = seen.base[:, 2:] + seen.values[:, CONSTANTS:] * weight[:, None]
    row = np.flatnonzero(seen.counted)
    return PricedEvents(row[old], seen.base[old, 0], cost[old], constant[old], fraud[old], seen, int((~old).sum()))


def _known_share(seen: SeenEvents, horizon: float) -> FloatArray:
    """Return the share of the frauds of each event's stratum that is known at its age; 1 from the label delay on."""
    events = seen.events
    arrived = ~np.isnan(events.fraud_after)
    if int(arrived.sum()) < _FEW_ARRIVALS:
        return np.where(events.age >= horizon, 1.0, 0.0)

    def curve(rows: BoolArray) -> DelayCurve:
        return delay_curve(events.fraud_after[rows], events.age[rows], horizon=horizon)

    pooled = curve(arrived)
    out = np.ones(len(events.age))
    for stratum in (0, 1):
        mine = events.stratum == stratum
        own = blended(curve(arrived & mine), pooled, enough=_OWN_CURVE)
        out[mine] = own.share(events.age[mine])
    return np.where(events.age >= horizon, 1.0, out)


def compare_arms(
    frame: pl.DataFrame,
    project: Project,
    as_of: datetime,
    *,
    margin: float,
    confidence: float,
    shadow: pl.DataFrame | None = None,
) -> ArmsCompared:
    """Compare the arms of an experiment as they were known at an instant.

    Parameters
    ----------
    frame
        Answered events (`fraudctl.monitor.decisions.with_events`) with ``unit`` (null or text), ``arm`` and
        ``arm_share``, sorted by time.
    as_of
        Later events are left out.
    margin
        Savings that the challenger may lose, against the cheapest constant action.
    confidence
        Of the confidence sequences, both ends together.
    shadow
        What the model that did not answer decided: ``event_id``, ``action``, ``y_prob``; None without.

    Raises
    ------
    DataError
        There is no event up to the instant, or no event with both arms' shares.
    """
    frame = frame.filter(pl.col("event_time") <= as_of)
    if frame.is_empty():
        msg = f"the experiment has no event up to {as_of:%Y-%m-%d %H:%M} UTC"
        raise DataError(msg, hint="name a later --as-of")
    share = float(frame["arm_share"][-1])
    if not 0.0 < share < 1.0:
        msg = f"the challenger's share is {percent(share)}: there is nothing to compare"
        raise DataError(msg)
    changed = (frame["arm_share"] != share).arg_true()
    start = 0 if len(changed) == 0 else int(changed[-1]) + 1
    present = frame[start:]
    with_unit = present.filter(pl.col("unit").is_not_null())
    ratio = _ratio(with_unit, share)
    priced = price(present, project, as_of)
    units = _Units.of(present, priced)
    difference, verdict, reason = _judged(units, ratio, margin=margin, confidence=confidence)
    paired = None if shadow is None else _paired(present, shadow, project, as_of, margin=margin, confidence=confidence)
    return ArmsCompared(
        as_of,
        present["event_time"][0],
        ratio,
        tuple(units.outcome(arm, present) for arm in ARMS),
        difference,
        paired,
        verdict,
        reason,
        null_units=present.height - with_unit.height,
        other_shares=start,
        unseen=int((~priced.seen.counted).sum()),
        too_young=priced.too_young,
    )


def _ratio(frame: pl.DataFrame, share: float) -> SampleRatio:
    """Hold the units of the present shares against the plan."""
    arms = frame.group_by("unit").agg(pl.col("arm").last())["arm"]
    n = {arm: int((arms == arm).sum()) for arm in ARMS}
    evidence = sample_ratio_evidence(n["challenger"], n["champion"], share=share)
    return SampleRatio(share, n["champion"], n["challenger"], evidence)


@dataclass(frozen=True)
class _Units:
    """Totals by unit, shape ``(n_units,)`` each, and the priced events behind them."""

    challenger: BoolArray
    n: FloatArray
    cost: FloatArray
    constant: float
    """Cost per event of the cheapest constant action."""
    priced: PricedEvents
    event_arm: BoolArray
    """Whether each priced event with a unit was in the challenger's arm."""
    with_unit: BoolArray

    @classmethod
    def of(cls, frame: pl.DataFrame, priced: PricedEvents, cost: FloatArray | None = None) -> _Units:
        unit = frame["unit"].gather(priced.row)
        with_unit = unit.is_not_null().to_numpy()
        challenger = (frame["arm"].gather(priced.row) == "challenger").to_numpy()
        code = unit.filter(pl.Series(with_unit)).rank("dense").to_numpy().astype(np.int64) - 1
        n_units = int(code.max(initial=-1)) + 1
        money = priced.cost if cost is None else cost

        def total(values: FloatArray) -> FloatArray:
            return np.asarray(np.bincount(code, weights=values[with_unit], minlength=n_units), dtype=np.float64)

        arm = np.zeros(n_units, dtype=np.bool_)
        arm[code] = challenger[with_unit]
        n = total(priced.n)
        everything = priced.constant[with_unit].sum(axis=0)
        base = float(everything.min(initial=np.inf)) / max(float(n.sum()), 1e-300)
        return cls(arm, n, total(money), base, priced, challenger[with_unit], with_unit)

    def outcome(self, arm: str, frame: pl.DataFrame) -> ArmOutcome:
        mine = self.challenger == (arm == "challenger")
        events = self.event_arm == (arm == "challenger")
        models = frame.filter(pl.col("arm") == arm, pl.col("unit").is_not_null())["model"].unique().drop_nulls().sort()
        fraud = self.priced.fraud[self.with_unit]
        n = float(self.n[mine].sum())
        return ArmOutcome(
            arm, tuple(models.to_list()), int(mine.sum()), int(events.sum()), int((fraud & events).sum()),
            float(self.cost[mine].sum()) / n if n else None,
        )  # fmt: skip


def _judged(
    units: _Units, ratio: SampleRatio, *, margin: float, confidence: float
) -> tuple[AbDifference | None, Verdict, str]:
    if not ratio.sound:
        planned = f"{percent(ratio.planned, 1)} of the units were to be the challenger's"
        n = ratio.champion_units + ratio.challenger_units
        seen = f"{count(ratio.challenger_units, 'of them is', 'of them are')} of {n:,}"
        return None, "inconclusive", f"sample ratio: {planned}, {seen}: the arms cannot be compared"
    found = [int((units.challenger == flag).sum()) for flag in (False, True)]
    if min(found) < FEW_UNITS:
        name, n = ARMS[int(np.argmin(found))], min(found)
        return None, "inconclusive", f"the {name}'s arm has {count(n, 'unit')}; below {FEW_UNITS} nothing is known"
    if not units.constant > 0.0:
        return None, "inconclusive", "no fraud is known yet: the cheapest constant action costs nothing to compare with"
    rates = [
        ratio_of_units(units.cost[units.challenger == flag], units.n[units.challenger == flag])
        for flag in (False, True)
    ]
    value = rates[1][0] - rates[0][0]
    difference = _difference(
        value, math.hypot(rates[0][1], rates[1][1]), units.constant, margin=margin, confidence=confidence
    )
    return (difference, *_verdict(difference, margin))


def _difference(value: float, se: float, base: float, *, margin: float, confidence: float) -> AbDifference:
    alpha = 1.0 - confidence
    reach = 0.0 if se == 0.0 else half_width(se, target_se=target_of(margin * base, alpha=alpha), alpha=alpha)
    low, high = value - reach, value + reach
    return AbDifference(value, low, high, se, -value / base, -high / base, -low / base)


def _verdict(difference: AbDifference, margin: float) -> tuple[Verdict, str]:
    span = (
        f"savings {number(difference.savings)} ({number(difference.savings_low)} to {number(difference.savings_high)})"
    )
    if difference.savings_low > -margin:
        return "pass", f"{span}: no worse than the champion by {number(margin)}"
    if difference.savings_high < 0.0:
        return "fail", f"{span}: worse than the champion"
    return "inconclusive", f"{span}: it may be worse by {number(margin)} or more"


def _paired(
    frame: pl.DataFrame, shadow: pl.DataFrame, project: Project, as_of: datetime, *, margin: float, confidence: float
) -> AbDifference | None:
    """Compare both models' decisions on the same events; None where the outcomes hang on who acted."""
    other = shadow.select("event_id", pl.col("action").alias(".action"))
    both = frame.join(other, on="event_id", how="inner", maintain_order="left").filter(pl.col("unit").is_not_null())
    if both.is_empty():
        return None
    swap = pl.col("arm") == "challenger"
    sides = [pl.when(swap).then(".action").otherwise("action"), pl.when(swap).then("action").otherwise(".action")]
    priced = [price(both.with_columns(action=side), project, as_of) for side in sides]
    if any(item.seen.blocked not in ("labels", "none blocked") for item in priced):
        return None
    if len(priced[0].row) != len(priced[1].row) or (priced[0].row != priced[1].row).any():
        return _on_shared(both, priced, margin=margin, confidence=confidence)
    units = _Units.of(both, priced[0], cost=priced[1].cost - priced[0].cost)
    return _one_sample(units, margin=margin, confidence=confidence)


def _on_shared(
    both: pl.DataFrame, priced: list[PricedEvents], *, margin: float, confidence: float
) -> AbDifference | None:
    """Compare on the events that are old enough under both models' actions."""
    shared = np.intersect1d(priced[0].row, priced[1].row)
    cut = [_take(item, np.isin(item.row, shared)) for item in priced]
    units = _Units.of(both, cut[0], cost=cut[1].cost - cut[0].cost)
    return _one_sample(units, margin=margin, confidence=confidence)


def _take(priced: PricedEvents, rows: BoolArray) -> PricedEvents:
    return PricedEvents(
        priced.row[rows], priced.n[rows], priced.cost[rows], priced.constant[rows], priced.fraud[rows], priced.seen,
        priced.too_young,
    )  # fmt: skip


def _one_sample(units: _Units, *, margin: float, confidence: float) -> AbDifference | None:
    if len(units.n) < FEW_UNITS or not units.constant > 0.0:
        return None
    value, se = ratio_of_units(units.cost, units.n)
    return _difference(value, se, units.constant, margin=margin, confidence=confidence)


def days_needed(
    frame: pl.DataFrame, project: Project, as_of: datetime, *, loss: float, share: float, confidence: float
) -> tuple[float, float]:
    """Return after how many days a loss of savings is found in half of all experiments, and the days of history.

    The standard error of the cost per event, clustered by unit, is taken from history, for each arm as if it had its
    share of the units, and falls with the square root of the days; the interval is that of `compare_arms`.

    Parameters
    ----------
    frame
        Decisions of the past with ``unit``.
    loss
        Savings lost.
    share
        Of the challenger, in (0, 1).

    Raises
    ------
    DataError
        Fewer than 20 units have an event whose outcome is known.
    """
    frame = frame.filter(pl.col("unit").is_not_null()).with_columns(arm=pl.lit("champion"))
    priced = price(frame, project, as_of)
    units = _Units.of(frame, priced)
    if not units.constant > 0.0:
        msg = "the history has no known fraud, so that no loss can be measured"
        raise DataError(msg, hint="name decisions whose outcomes have arrived")
    if len(units.n) < FEW_UNITS:
        msg = f"the history has {count(len(units.n), 'unit')} with a known outcome; expected at least {FEW_UNITS}"
        raise DataError(msg, hint="name decisions of a longer time")
    times = frame["event_time"].gather(priced.row)
    days = max((times.max() - times.min()).total_seconds() / 86_400.0, 1.0)  # type: ignore[operator,union-attr]
    _, se = ratio_of_units(units.cost, units.n)
    both = se * math.sqrt(1.0 / share + 1.0 / (1.0 - share))
    aim = target_of(loss * units.constant, alpha=1.0 - confidence)
    return days * (both / aim) ** 2, days
