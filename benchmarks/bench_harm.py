"""How often a limit of harm is broken by chance where one looks again and again, and how soon where it is broken.

Simulates decisions of cards, some of which have many frauds at once, with labels that arrive days (flagged) and weeks
(allowed) later; what a figure is in the long run is known. *At the truth*, limits of four figures are set to just that:
any alarm in 100 days is a false one. *Worse*, from a day on a share of the catches is lost, and the limit lies a tenth
below what recall was, and 0.05 below the savings at promotion. Looks are three days apart (`--every`): a day of a first
alarm is known as exactly as that. Shares of worlds have exact 90 % intervals.

Two rules see the same looks: `fraudctl.monitor.harm` (a limit is broken by a confidence sequence, clustered by card),
and what one would write instead: the 90 % interval of the latest 28 days, by the same estimate, beyond the limit.

    python benchmarks/bench_harm.py --worlds 20 --changed 8 --out benchmarks/results/harm.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import beta

from fraudctl.monitor.harm import SHARE, LimitVerdict, PromisedSavings, limit_verdicts
from fraudctl.monitor.performance import judged_cohorts, performance_of
from fraudctl.project import Project, parse_project

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
HISTORY, DAYS = 12 * 7, 100
LOSSES = (0.1, 0.2, 0.4)
TEXT = """
[project]
name = "cards"
[data]
events = "events.parquet"
event_id = "event_id"
event_time = "event_time"
amount = "amount"
label = "label"
label_time = "label_time"
label_delay = "30d"
[entities]
card = "card"
[costs.actions]
allow.fraud = {{ fixed = 10.0, rate = 1.0 }}
review.fraud = {{ fixed = 4.0 }}
review.legit = {{ fixed = 4.0 }}
[monitor.harm]
{harm}
"""


def decisions(n_days: int, per_day: int, *, seed: int, lost: float, lost_from: int) -> pl.DataFrame:
    """Simulate decisions; from a day on a share of the flagged frauds is allowed."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(n_days * per_day)
    day = np.sort(rng.random(n) * n_days)
    y_prob = rng.beta(0.12, 3.0, n)
    card = rng.integers(0, max(n // 8, 1), n)
    # a tenth of the frauds come in runs of one card: events that follow each other share its card and its score
    runs = np.flatnonzero(rng.random(n) < 0.1 * y_prob.mean())
    for start in runs:
        rows = np.arange(start, min(start + int(rng.integers(2, 6)), n))
        card[rows], y_prob[rows] = card[start], y_prob[start]
    label = (rng.random(n) < y_prob).astype(np.int8)
    flagged = y_prob > 0.3
    flagged &= ~((label == 1) & (day >= lost_from) & (rng.random(n) < lost))
    delay = np.where(flagged, rng.gamma(2, 1, n), rng.gamma(4, 4, n)).clip(0, 29)
    delay = np.where(label == 1, delay, 30.0)
    when = pl.Series("event_time", [MONDAY] * n) + pl.Series((day * 86_400e6).astype(np.int64)).cast(pl.Duration("us"))
    return pl.DataFrame(
        {
            "event_id": np.arange(n),
            "event_time": when,
            "amount": rng.gamma(2, 30, n).round(2),
            "y_prob": y_prob,
            "action": np.where(flagged, "review", "allow"),
            "model": "m",
            "policy": "p",
            "control_group": False,
            "exposure_prob": pl.Series([None] * n, dtype=pl.Float64),
            "label": label,
            "label_time": when + pl.Series((delay * 86_400e6).astype(np.int64)).cast(pl.Duration("us")),
            "card": card,
        }
    )


def project_of(harm: str) -> Project:
    """Return the project with its limits."""
    return parse_project(TEXT.format(harm=harm), path=Path("/nowhere/fraudctl.toml"))


def look(frame: pl.DataFrame, project: Project, day: int, promised: PromisedSavings | None) -> dict[str, LimitVerdict]:
    """Judge the limits as of the end of a day."""
    judged = judged_cohorts(frame, project, MONDAY + timedelta(days=day), every="week")
    found = limit_verdicts(judged, performance_of(judged), project, promised=promised)
    return {item.figure: item for item in found}


def truth(per_day: int, seed: int) -> dict[str, float]:
    """Return what recall, precision, savings and loss are in the long run."""
    frame = decisions(2000, per_day, seed=seed, lost=0.0, lost_from=0)
    fraud, flag = frame["label"].to_numpy() == 1, (frame["action"] == "review").to_numpy()
    amount = frame["amount"].to_numpy()
    cost = (np.where(fraud & ~flag, 10.0 + amount, 0.0) + np.where(flag, 4.0, 0.0)).sum()
    constant = min((np.where(fraud, 10.0 + amount, 0.0)).sum(), 4.0 * len(fraud))
    return {
        "recall": float(flag[fraud].mean()),
        "precision": float(fraud[flag].mean()),
        "savings": 1.0 - float(cost / constant),
        "fraud_loss_bps": 1e4 * float(amount[fraud & ~flag].sum() / amount.sum()),
    }


def naive(item: LimitVerdict) -> bool:
    """Return what the 90 % interval alone would say."""
    below = item.at_least is not None and item.high is not None and item.high < item.at_least
    return below or (item.at_most is not None and item.low is not None and item.low > item.at_most)


def limits_of(loss: float, long_run: dict[str, float]) -> dict[str, str]:
    """Return the limits: at the truth where nothing is lost, else below it."""
    if loss > 0.0:
        return {"recall": f"at_least = {0.9 * long_run['recall']:.5f}", "savings": "no_worse_than = 0.05"}
    at_least = {name: f"at_least = {long_run[name]:.5f}" for name in ("recall", "precision", "savings")}
    return {**at_least, "fraud_loss_bps": f"at_most = {long_run['fraud_loss_bps']:.4f}"}


def first_alarms(
    frame: pl.DataFrame, project: Project, *, every: int, promised: PromisedSavings
) -> tuple[dict[str, dict[str, int]], set[str]]:
    """Look at a world; return by rule and limit the day of the first alarm, and which were by the estimate alone."""
    seen: dict[str, dict[str, int]] = {"sequence": {}, "interval": {}}
    alone: set[str] = set()
    for day in range(every, DAYS + 1, every):
        found = look(frame, project, HISTORY + day, promised)
        for name, item in found.items():
            if item.state == "broken" and name not in seen["sequence"]:
                seen["sequence"][name] = day
                alone |= {name} if item.estimate_alone else set()
            if naive(item):
                seen["interval"].setdefault(name, day)
        if all(len(by) == len(found) for by in seen.values()):
            break
    return seen, alone


def run(
    loss: float, *, per_day: int, worlds: int, seed: int, every: int, long_run: dict[str, float]
) -> dict[str, object]:
    """Look at worlds; return what both rules said."""
    bounds = limits_of(loss, long_run)
    project = project_of("\n".join(f"{name} = {{ {bound} }}" for name, bound in bounds.items()))
    promised = PromisedSavings("m", long_run["savings"], 0.01, None)
    found = []
    for number in range(worlds):
        frame = decisions(HISTORY + DAYS, per_day, seed=seed + number, lost=loss, lost_from=HISTORY)
        found.append(first_alarms(frame, project, every=every, promised=promised))
        print(loss, number, *found[-1], file=sys.stderr, flush=True)
    rules = {
        rule: {
            "any_limit": days([min(seen[rule].values()) for seen, _ in found if seen[rule]], worlds),
            **{name: days([seen[rule][name] for seen, _ in found if name in seen[rule]], worlds) for name in bounds},
        }
        for rule in ("sequence", "interval")
    }
    return {
        "catches_lost": loss,
        "worlds": worlds,
        "limits": bounds,
        "accepted": round(SHARE * project.monitor.alarms_per_year * DAYS / 365.25, 4) if loss == 0.0 else None,
        "by_the_estimate_alone": sum(len(alone) for _, alone in found),
        "rules": rules,
    }


def days(found: list[int], worlds: int) -> dict[str, object]:
    """Return how many worlds were ever in alarm, and the median day of the first over all worlds."""
    everyone = sorted([*found, *[DAYS + 1] * (worlds - len(found))])
    middle = float(np.median(everyone))
    return {
        "ever": len(found), "share_interval": binomial_interval(len(found), worlds),
        "median_day": None if middle > DAYS else middle, "latest_day": max(found, default=None),
    }  # fmt: skip


def binomial_interval(n_of: int, n: int) -> list[float]:
    """Return the exact 90 % interval of a share (Clopper and Pearson)."""
    low = 0.0 if n_of == 0 else float(beta.ppf(0.05, n_of, n - n_of + 1))
    high = 1.0 if n_of == n else float(beta.ppf(0.95, n_of + 1, n - n_of))
    return [round(low, 3), round(high, 3)]


def main() -> None:
    """Run all worlds and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20, help="with limits at the truth")
    parser.add_argument("--changed", type=int, default=8, help="worlds of each share of lost catches")
    parser.add_argument("--per-day", type=int, default=300, help="events a day; 3.8 %% of them are fraud")
    parser.add_argument("--every", type=int, default=3, help="days between looks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--losses", type=float, nargs="*", default=list(LOSSES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    started, results = time.time(), []
    long_run = truth(options.per_day, 77)
    for loss in (0.0, *options.losses):
        found = run(
            loss, per_day=options.per_day, worlds=options.changed if loss else options.worlds,
            seed=options.seed * 10_000, every=options.every, long_run=long_run,
        )  # fmt: skip
        results.append(found)
        print(json.dumps(found), flush=True)
    document = {
        "date": str(date.today()),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {name: version(name) for name in ("numpy", "polars", "scipy")},
        "seconds": round(time.time() - started),
        "cpu_seconds": round(time.process_time()),
        "seed": options.seed,
        "events_per_day": options.per_day,
        "days": DAYS,
        "days_between_looks": options.every,
        "in_the_long_run": {name: round(value, 4) for name, value in long_run.items()},
        "results": results,
    }
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
