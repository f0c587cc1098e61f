"""Two arms of an experiment as values: sample ratio, cost per event by unit, the difference, and the verdict.

Owns the comparison of decisions that were acted on. Outcomes are those known at one instant: an event counts with what
its action costs if it is legitimate, and what fraud adds is a rate per event in which it would be known by then, by one
delay curve for both arms (`fraudctl.ab.rates`). Units whose share was changed stand out of it, as do events whose
outcome cannot be seen. It reads no file and no clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
import polars as pl

from fraudctl.ab.paired import PairedEvents, swapped
from fraudctl.ab.rates import Delays, RateSum, UnitEvents, UnitRate
from fraudctl.arrays import FloatArray
from fraudctl.errors import DataError, ExitCode
from fraudctl.monitor.nowcast import HIDDEN
from fraudctl.monitor.seen import CONSTANTS, COST, LOSS, SeenEvents, see
from fraudctl.project import Project
from fraudctl.sequences import half_width, sample_ratio_evidence, target_of
from fraudctl.text.figures import count, number, percent

ARMS: Final = ("champion", "challenger")
RATIO_LIMIT: Final = math.log(1000.0)
"""Evidence against the planned shares from which no result is given: by chance once in a thousand experiments."""
FEW_UNITS: Final = 20
"""Units of an arm below which no uncertainty is known, as with clusters in the gate."""
CATCH_AIM: Final = 0.1
"""Relative loss of catches at which their interval is narrowest."""
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
class AbCatches:
    """Frauds that the challenger stops or reviews, against those of the champion, on the same events."""

    only_champion: int
    """Known frauds that only the champion stops or reviews."""
    only_challenger: int
    """Known frauds that only the challenger stops or reviews."""
    relative: float
    """Catches of the challenger over those of the champion, less 1: -0.1 is a tenth fewer."""
    low: float
    """Low end of an interval that holds however often one looks."""
    high: float
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
    catches: AbCatches | None
    """The frauds that only one of the models catches; null where ``paired`` is, or where nothing is caught yet."""
    verdict: Verdict
    """``fail``: surely worse, paired or by the arms; ``pass``: surely no worse than the margin, paired where there is
    such a comparison, else by the arms."""
    reason: str
    """Why this verdict."""
    null_units: int
    """Events without a unit: answered by the champion, and left out."""
    other_shares: int
    """Events that were answered under other shares."""
    unseen: int
    """Events whose outcome cannot be seen: blocked without a control group, or without a label."""
    too_young: int
    """Events at whose age less than 15 % of the frauds are known: they hardly count yet."""

    @property
    def exit_code(self) -> ExitCode:
        """3 where the sample ratio is not sound; otherwise as a gate."""
        if not self.sample_ratio.sound:
            return ExitCode.DATA
        return {"pass": ExitCode.OK, "fail": ExitCode.NO, "inconclusive": ExitCode.INCONCLUSIVE}[self.verdict]


def compare_arms(
    frame: pl.DataFrame,
    project: Project,
    as_of: datetime,
    *,
    margin: float,
    confidence: float,
    shadow: pl.DataFrame | None = None,
    earlier: pl.DataFrame | None = None,
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
    earlier
        Decisions before the experiment, as ``frame`` but without arms: how long outcomes take is learned from them too.

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
        raise DataError(msg, hint="`fraudctl serve --split champion=90,challenger=10` gives both models a share")
    changed = (frame["arm_share"] != share).arg_true()
    start = 0 if len(changed) == 0 else int(changed[-1]) + 1
    present = frame[start:]
    with_unit = present.filter(pl.col("unit").is_not_null())
    ratio = _ratio(with_unit, share)
    delays = _delays([frame, *([] if earlier is None else [earlier])], project, as_of)
    arms = _Arms.of(present, project, as_of, delays, shadow)
    aim = _Aim(margin, 1.0 - confidence)
    difference, lacking = arms.difference(ratio, aim)
    paired, catches = (
        (None, None) if shadow is None or not ratio.sound else _paired(present, shadow, project, as_of, delays, aim)
    )
    verdict, reason = _verdict(difference, paired, margin) if difference or paired else ("inconclusive", lacking)
    return ArmsCompared(
        as_of,
        present["event_time"][0],
        ratio,
        tuple(arms.outcome(arm, present) for arm in ARMS),
        difference,
        paired,
        catches,
        verdict,
        reason,
        null_units=present.height - with_unit.height,
        other_shares=start,
        unseen=int((~arms.seen.counted).sum()),
        too_young=arms.too_young(),
    )


def _ratio(frame: pl.DataFrame, share: float) -> SampleRatio:
    """Hold the units of the present shares against the plan."""
    arms = frame.group_by("unit").agg(pl.col("arm").last())["arm"]
    n = {arm: int((arms == arm).sum()) for arm in ARMS}
    evidence = sample_ratio_evidence(n["challenger"], n["champion"], share=share)
    return SampleRatio(share, n["champion"], n["challenger"], evidence)


@dataclass(frozen=True)
class _Aim:
    """What intervals are aimed at."""

    margin: float
    alpha: float

    def reach(self, se: float, effect: float) -> float:
        """Return half the width of the interval that is narrowest where it is as wide as an effect."""
        return 0.0 if se == 0.0 else half_width(se, target_se=target_of(effect, alpha=self.alpha), alpha=self.alpha)

    def difference(self, value: float, se: float, base: float) -> AbDifference:
        """Return a difference of cost with its interval, also as savings."""
        reach = self.reach(se, self.margin * base)
        low, high = value - reach, value + reach
        return AbDifference(value, low, high, se, -value / base, -high / base, -low / base)


@dataclass(frozen=True)
class _Arms:
    """Answered events by unit, and what is known of them."""

    seen: SeenEvents
    events: UnitEvents
    delays: Delays
    expected: FloatArray | None
    """Expected loss of each event by both models together; None where only one of them has a probability."""

    @classmethod
    def of(
        cls, frame: pl.DataFrame, project: Project, as_of: datetime, delays: Delays, shadow: pl.DataFrame | None = None
    ) -> _Arms:
        seen = see(frame, project, as_of)
        events = UnitEvents.of(frame, seen, delays)
        y_prob = None if shadow is None else _mean_probability(frame, shadow)
        expected = None if y_prob is None else y_prob[events.place] * seen.values[events.row, LOSS]
        return cls(seen, events, delays, expected)

    def too_young(self) -> int:
        """Return the counted events at whose age less than 15 % of the frauds are known."""
        share = self.delays.share(self.seen.events.age)
        return int((share[np.arange(len(share)), self.seen.events.stratum] < HIDDEN).sum())

    def base(self) -> float:
        """Return the cost per event of the cheapest constant action."""
        events, everything = self.events, np.ones(len(self.events.row), dtype=np.bool_)

        def always(position: int) -> float:
            legit = events.rate(self.seen.base[events.row, 2 + position], events.n)
            fraud = events.fraud_rates(self.seen.values[events.row, CONSTANTS + position], everything)
            return RateSum.of([legit, *fraud]).value

        n_actions = self.seen.base.shape[1] - 2
        return min(always(position) for position in range(n_actions))

    def rates(self, challenger: bool, *, coefficient: float = 1.0) -> list[UnitRate]:  # noqa: FBT001
        """Return the rates whose sum is the cost per event of an arm."""
        events, rows = self.events, self.events.row
        who = events.challenger == challenger
        legit = events.rate(self.seen.base[rows, 1], events.n, who, coefficient=coefficient)
        return [legit, *events.fraud_rates(self.seen.values[rows, COST], who, coefficient=coefficient)]

    def gap(self) -> RateSum:
        """Return the cost per event of the challenger's arm less that of the champion's."""
        gap = RateSum.of([*self.rates(challenger=True), *self.rates(challenger=False, coefficient=-1.0)])
        if self.expected is None:
            return gap
        events = self.events
        part = events.exposed.min(axis=1)  # as much of each event as is known of it, whatever was done
        share = np.divide(part, events.n, out=np.zeros_like(part), where=events.n > 0)
        sides = [
            events.rate(self.expected * share, part, events.challenger == flag, coefficient=sign)
            for flag, sign in ((True, 1.0), (False, -1.0))
        ]
        return gap.less(RateSum.of(sides))

    def difference(self, ratio: SampleRatio, aim: _Aim) -> tuple[AbDifference | None, str]:
        """Return the difference of the arms, or None and why there is none."""
        if not ratio.sound:
            planned = f"{percent(ratio.planned, 1)} of the units were to be the challenger's"
            n = ratio.champion_units + ratio.challenger_units
            seen = f"{count(ratio.challenger_units, 'of them is', 'of them are')} of {n:,}"
            return None, f"sample ratio: {planned}, {seen}: the arms cannot be compared"
        arm = self.events.arm_of_units()
        found = [int((arm == flag).sum()) for flag in (False, True)]
        if min(found) < FEW_UNITS:
            name, n = ARMS[int(np.argmin(found))], min(found)
            return None, f"the {name}'s arm has {count(n, 'unit')}; below {FEW_UNITS} nothing is known"
        base = self.base()
        if not base > 0.0:
            return None, "no fraud is known yet: the cheapest constant action costs nothing to compare with"
        gap = self.gap()
        return aim.difference(gap.value, gap.se(arm), base), ""

    def outcome(self, arm: str, frame: pl.DataFrame) -> ArmOutcome:
        """Return one arm by itself."""
        challenger = arm == "challenger"
        units = int((self.events.arm_of_units() == challenger).sum())
        mine = self.events.challenger == challenger
        models = frame.filter(pl.col("arm") == arm, pl.col("unit").is_not_null())["model"].unique().drop_nulls().sort()
        cost = RateSum.of(self.rates(challenger)).value if units else None
        return ArmOutcome(
            arm, tuple(models.to_list()), units, int(mine.sum()), int((self.events.fraud & mine).sum()), cost
        )


def _delays(frames: list[pl.DataFrame], project: Project, as_of: datetime) -> Delays:
    """RateSum delays from all decisions up to an instant."""
    seen = [see(frame, project, as_of) for frame in frames if not frame.is_empty()]
    return Delays.of(seen, float(project.data.label_delay.seconds))


def _mean_probability(frame: pl.DataFrame, shadow: pl.DataFrame) -> FloatArray | None:
    """Return the mean of both models' probabilities, ``(n_events,)``, the same whichever arm answered; None without."""
    if "y_prob" not in shadow.columns:
        return None
    other = frame.select("event_id", "y_prob").join(
        shadow.select("event_id", pl.col("y_prob").alias(".other")), on="event_id", how="left", maintain_order="left"
    )
    if other[".other"].null_count() or other["y_prob"].null_count():
        return None
    return np.asarray(0.5 * (other["y_prob"].to_numpy() + other[".other"].to_numpy()), dtype=np.float64)


def _verdict(difference: AbDifference | None, paired: AbDifference | None, margin: float) -> tuple[Verdict, str]:
    """Judge: worse by either comparison fails; no worse by the paired one passes, or by the arms without it."""
    both = [("both models on all events", paired), ("the arms", difference)]
    there = [(name, item) for name, item in both if item is not None]
    said = "; ".join(
        f"{name}: savings {number(item.savings)} ({number(item.savings_low)} to {number(item.savings_high)})"
        for name, item in there
    )
    worse = [name for name, item in there if item.savings_high < 0.0]
    if worse:
        return "fail", f"{said}: worse than the champion by {' and '.join(worse)}"
    if there[0][1].savings_low > -margin:
        return "pass", f"{said}: no worse than the champion by {number(margin)}"
    return "inconclusive", f"{said}: it may be worse by {number(margin)} or more"


def _paired(
    frame: pl.DataFrame, shadow: pl.DataFrame, project: Project, as_of: datetime, delays: Delays, aim: _Aim
) -> tuple[AbDifference | None, AbCatches | None]:
    """Compare both models' decisions on the same events; None where the outcomes hang on who acted."""
    both, *sides = swapped(frame, shadow)
    if both.is_empty():
        return None, None
    arms = _Arms.of(both, project, as_of, delays)
    decided = [see(side, project, as_of) for side in sides]
    if any(item.blocked not in ("labels", "none blocked") for item in (arms.seen, *decided)):
        return None, None
    pairs = PairedEvents.of(arms.events, (decided[0], decided[1]))
    base, weights = arms.base(), pairs.weights()
    if arms.events.n_units < FEW_UNITS or not base > 0.0 or weights is None:
        return None, None
    gap = pairs.cost_difference(weights)
    return aim.difference(gap.value, gap.se(), base), _catches(pairs, weights, aim)


def _catches(pairs: PairedEvents, weights: FloatArray, aim: _Aim) -> AbCatches | None:
    gap, champion = pairs.catch_difference(weights)
    if not champion > 0.0:
        return None
    reach = aim.reach(gap.se(), CATCH_AIM * champion)
    alone = pairs.known_alone()
    return AbCatches(*alone, gap.value / champion, (gap.value - reach) / champion, (gap.value + reach) / champion)


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
    arms = _Arms.of(frame, project, as_of, _delays([frame], project, as_of))
    base, n_units = arms.base(), arms.events.n_units
    if not base > 0.0:
        msg = "the history has no known fraud, so that no loss can be measured"
        raise DataError(msg, hint="name decisions whose outcomes have arrived")
    if n_units < FEW_UNITS:
        msg = f"the history has {count(n_units, 'unit')} with a known outcome; expected at least {FEW_UNITS}"
        raise DataError(msg, hint="name decisions of a longer time")
    times = frame["event_time"].gather(arms.events.place)
    days = max((times.max() - times.min()).total_seconds() / 86_400.0, 1.0)  # type: ignore[operator,union-attr]
    se = RateSum.of(arms.rates(challenger=False)).se()
    both = se * math.sqrt(1.0 / share + 1.0 / (1.0 - share))
    aim = target_of(loss * base, alpha=1.0 - confidence)
    return days * (both / aim) ** 2, days
