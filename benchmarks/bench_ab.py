"""Experiments looked at every day: how often two equal models ever differ, and how soon a loss of catches is found.

Cards pay with rates of their own; a stolen card has several frauds. Both models score every event with calibrated
probabilities: part of the score is shared, and part is each model's own, so that they disagree on a part of what they
flag, frauds and false positives alike. The challenger does not see a part of the frauds at all. Flagged frauds are
confirmed within days, missed ones come back as chargebacks within weeks. Every day `fraudctl.ab` compares them by what
is known by then, delays also from the two months before; a comparison has found a difference on the first day on which
its interval leaves out 0. Beside it stands what a user would do instead: a t-test on the cost of events, and one on the
cost of cards, both at 95 %, on mature events, every day.

Usage: python benchmarks/bench_ab.py [--simulations 40] [--days 100] [--events 1000] [--loss 0.1] [--own 0.1]
       [--share 0.5] [--first 0] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

import fraudctl
from fraudctl.ab.arms import AbCatches, AbDifference, compare_arms
from fraudctl.arrays import FloatArray
from fraudctl.project import Project, parse_project
from fraudctl.scoring.experiment import Experiment

START = datetime(2026, 1, 1, tzinfo=UTC)
DELAY_DAYS, BEFORE_DAYS = 45, 60
TOML = f"""
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "is_fraud"
label_delay = "{DELAY_DAYS}d"
[entities]
card = "card_id"
[costs]
[costs.actions]
allow.fraud = {{ fixed = 15, rate = 1.0 }}
review.fraud = {{ fixed = 4 }}
review.legit = {{ fixed = 4 }}
block.legit = {{ fixed = 20 }}
"""
FRAUD_RATE, FALSE_POSITIVES, RECALL = 0.008, 0.01, 0.63
_NORMAL = NormalDist()
LIMIT = _NORMAL.inv_cdf(1.0 - FALSE_POSITIVES)
SHIFT = LIMIT - _NORMAL.inv_cdf(1.0 - RECALL)
"""Scores are normal with variance 1, about 0 for legitimate events and about `SHIFT` for frauds."""


def own_part(disagreement: float) -> float:
    """Return the correlation of two scores at which the other misses a share of the frauds that one flags."""
    rng = np.random.default_rng(0)
    shared, one, two = rng.normal(size=(3, 200_000))

    def missed(rho: float) -> float:
        a, b = (SHIFT + math.sqrt(rho) * shared + math.sqrt(1.0 - rho) * own >= LIMIT for own in (one, two))
        return 1.0 - float((a & b).sum() / a.sum())

    low, high = 0.0, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if missed(middle) > disagreement else (low, middle)
    return low


def probability(score: FloatArray) -> FloatArray:
    """Return the calibrated probability of a score."""
    odds = FRAUD_RATE / (1.0 - FRAUD_RATE) * np.exp(SHIFT * score - SHIFT**2 / 2.0)
    return odds / (1.0 + odds)


def simulate(
    rng: np.random.Generator, *, days: int, per_day: int, loss: float, rho: float, salt: str, share: int
) -> pl.DataFrame:
    """Return the champion's time before an experiment and all events of it, with both models' actions.

    Parameters
    ----------
    loss
        Share of the frauds that look legitimate to the challenger, and do not to the champion.
    rho
        Correlation of both models' scores beside that.
    """
    n_cards, days = per_day * 4, days + BEFORE_DAYS
    n = days * per_day
    rate = rng.gamma(1.0, 1.0, n_cards)
    card = rng.choice(n_cards, n, p=rate / rate.sum())
    second = np.sort(rng.integers(0, days * 86_400, n))
    n_stolen = int(n * FRAUD_RATE / 4)
    amount = rng.lognormal(3.5, 1.0, n)
    fraud = np.zeros(n, dtype=bool)
    for at in rng.integers(0, n, n_stolen):  # a burst within hours, four frauds on average
        mine = np.unique(at + rng.integers(0, per_day // 4, 1 + rng.poisson(3)))
        mine = mine[mine < n]
        fraud[mine], card[mine] = True, card[at]
    amount[fraud] *= 2.0
    shared, *own = rng.normal(size=(3, n))
    hidden = fraud & (rng.random(n) < loss)
    scores = [
        SHIFT * (fraud & ~unseen) + math.sqrt(rho) * shared + math.sqrt(1.0 - rho) * part
        for part, unseen in zip(own, (np.zeros(n, dtype=bool), hidden), strict=True)
    ]
    flagged = [score >= LIMIT for score in scores]
    arm = np.array([Experiment(salt, "card", share).arm(int(c)) == "challenger" for c in range(n_cards)])[card]
    arm &= second >= BEFORE_DAYS * 86_400
    acted, other = (np.where(arm, flagged[a], flagged[1 - a]) for a in (1, 0))
    delay = np.where(acted, rng.gamma(2.0, 1.5, n), rng.gamma(4.0, 5.0, n)).clip(0.01, DELAY_DAYS - 0.1)
    delay = np.where(fraud, delay, DELAY_DAYS)
    times = pl.Series(second).cast(pl.Int64) * 1_000_000
    event_time = (times + int((START.timestamp() - BEFORE_DAYS * 86_400) * 1e6)).cast(pl.Datetime("us", "UTC"))
    label_time = event_time + pl.Series((delay * 86_400e6).astype(np.int64)).cast(pl.Duration("us"))
    return pl.DataFrame(
        {
            "event_id": np.arange(n), "event_time": event_time, "amount": amount,
            "y_prob": probability(np.where(arm, scores[1], scores[0])), "action": np.where(acted, "review", "allow"),
            "model": np.where(arm, "B", "A"), "policy": "p", "decided_by": "expected_cost",
            "label": fraud.astype(np.int8), "label_time": label_time, "unit": card.astype(str),
            "arm": np.where(arm, "challenger", "champion"), "arm_share": share / 1e6,
            "other": np.where(other, "review", "allow"), "other_prob": probability(np.where(arm, scores[0], scores[1])),
        }
    ).with_columns(
        control_group=pl.lit(None, dtype=pl.Boolean), exposure_prob=pl.lit(None, dtype=pl.Float64)
    )  # fmt: skip


def differs(item: AbDifference | AbCatches | None) -> bool:
    """Return whether an interval leaves out 0."""
    return item is not None and (item.low > 0.0 or item.high < 0.0)


def naive(frame: pl.DataFrame, as_of: datetime, *, by: str) -> bool:
    """Return whether a t-test at 95 % on mature events, or on their cards, finds a difference."""
    old = frame.filter(pl.col("event_time") <= as_of - timedelta(days=DELAY_DAYS))
    fraud = old["label"] == 1
    review = old["action"] == "review"
    cost = pl.select(pl.when(review).then(4.0).when(fraud).then(15.0 + old["amount"]).otherwise(0.0)).to_series()
    table = old.select("unit", "arm", cost=cost)
    if by == "card":
        table = table.group_by("unit", "arm").agg(pl.col("cost").mean())
    sides = [table.filter(pl.col("arm") == arm)["cost"] for arm in ("champion", "challenger")]
    if min(len(side) for side in sides) < 20:
        return False
    se = math.sqrt(sum(float(side.var() or 0.0) / len(side) for side in sides))  # type: ignore[arg-type]
    gap = abs(float(sides[0].mean()) - float(sides[1].mean()))  # type: ignore[arg-type]
    return se > 0 and gap / se > 1.96


WAYS = ("arms", "paired", "catches", "verdict", "events t-test", "cards t-test")


def one(seed: int, project: Project, args: argparse.Namespace, loss: float, rho: float) -> dict[str, int | None]:
    """Return the first day on which each way finds a difference, None where it never does."""
    rng = np.random.default_rng(seed)
    frame = simulate(
        rng, days=args.days, per_day=args.events, loss=loss, rho=rho, salt=f"seed{seed}", share=round(args.share * 1e6)
    )
    before, frame = frame.filter(pl.col("event_time") < START), frame.filter(pl.col("event_time") >= START)
    shadow = frame.select("event_id", action="other", y_prob="other_prob")
    found: dict[str, int | None] = dict.fromkeys(WAYS)
    for day in range(3, args.days + 1):
        as_of = START + timedelta(days=day)
        so_far = frame.filter(pl.col("event_time") <= as_of)
        ours = compare_arms(
            so_far, project, as_of, margin=0.02, confidence=0.95, shadow=shadow[: so_far.height], earlier=before
        )
        seen = {
            "arms": differs(ours.difference), "paired": differs(ours.paired), "catches": differs(ours.catches),
            "verdict": ours.verdict == "fail",
            "events t-test": found["events t-test"] is None and naive(so_far, as_of, by="event"),
            "cards t-test": found["cards t-test"] is None and naive(so_far, as_of, by="card"),
        }  # fmt: skip
        for name, there in seen.items():
            if there and found[name] is None:
                found[name] = day
        if loss and all(found[name] is not None for name in ("arms", "paired", "catches")):
            break
    return found


def summary(days: list[dict[str, int | None]], last: int) -> dict[str, Any]:
    """Return how often each way ever found a difference, and the median day."""
    out: dict[str, Any] = {}
    for name in days[0]:
        first = [item[name] for item in days]
        ever = [day for day in first if day is not None]
        median = float(np.median([last + 1 if day is None else day for day in first]))
        out[name] = {"ever": round(len(ever) / len(days), 4), "median_day": None if median > last else median}
    return out


def main() -> None:
    """Run both experiments and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=40)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--loss", type=float, default=0.1)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--own", type=float, default=0.1, help="share of the catches that the other model misses")
    parser.add_argument("--first", type=int, default=0, help="seed of the first simulation")
    parser.add_argument("--only", choices=("equal", "loss"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    project = parse_project(TOML, path=Path("fraudctl.toml"))
    result: dict[str, Any] = {
        "simulations": args.simulations, "days": args.days, "events_per_day": args.events, "share": args.share,
        "first_seed": args.first, "disagreement": args.own,
        "loss_of_catches": args.loss, "fraudctl": fraudctl.__version__, "python": platform.python_version(),
        "polars": pl.__version__, "machine": platform.machine(),
    }  # fmt: skip
    began, rho = time.perf_counter(), own_part(args.own)
    for name, loss in (("equal", 0.0), ("loss", args.loss)):
        if args.only in (None, name):
            days = [one(args.first + seed, project, args, loss, rho) for seed in range(args.simulations)]
            result[name] = summary(days, args.days)
            sys.stdout.write(f"{name}: {json.dumps(result[name])}\n")
            sys.stdout.flush()
    result["seconds"] = round(time.perf_counter() - began)
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
