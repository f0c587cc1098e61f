"""Few reviews a day: spent by expected benefit or on the highest probabilities, online and in hindsight.

On the handbook's week 2018-08-08 to 08-14 (without customers known to be defrauded) it trains one model on 35 days,
chooses the policy on its three folds for 20 and for 50 reviews a day, and compares what is saved, net of reviews:

- by expected benefit, running: the policy as it is shipped, a fixed price per review and a cap in time order;
- by probability, running: the threshold on the probability that saves most on the folds, with the same cap;
- both in hindsight: the best of each day, which no policy can take, as the upper bound.

    python benchmarks/bench_capacity.py transactions.parquet --work /tmp/bench --out benchmarks/results/capacity.json
"""

from __future__ import annotations

import argparse
import json
import platform
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from bench_gate import PROJECT, RECIPES, judged_of, scores_of

from fraudctl.calibrate import choose_calibrator
from fraudctl.costs import cost_matrix
from fraudctl.evaluate import Judged, prepare
from fraudctl.policy.decide import local_period
from fraudctl.project import Project, parse_project
from fraudctl.workflows.features import build_features

WEEK = date(2018, 8, 8)
LIMITS = (20, 50)
REVIEW = """allow.fraud = { fixed = 15, rate = 1.0 }
review.fraud = { fixed = 4 }
review.legit = { fixed = 4, rate = 0.002 }"""


def project_of(events: Path, work: Path, limit: int | None) -> Project:
    """Give the project with so many reviews a day, or as many as one likes."""
    text = PROJECT.format(events=events.resolve(), kind="expected_cost", actions=REVIEW, train="35d")
    text = text.replace("folds = 2", "folds = 3")
    if limit is not None:
        text = text.replace("[policy]", f'[policy]\ncapacity = {{ review = "{limit} per day" }}')
    return parse_project(text, path=work / "fraudctl.toml")


def gains(frame: pl.DataFrame, project: Project) -> Any:
    """Give what a review saves where the event is legitimate, and where it is fraud, shape ``(n_events, 2)``."""
    table = cost_matrix(project.costs).per_event(frame)
    return table[:, 0, :] - table[:, 1, :]


def first_of_day(wanted: Any, day: Any, limit: int) -> Any:
    """Give the rows of the first ``limit`` wanted events of each day, in time order."""
    rows = np.flatnonzero(wanted)
    starts = np.searchsorted(day[rows], day[rows], side="left")
    return rows[np.arange(len(rows)) - starts < limit]


def top_of_day(rank_by: Any, day: Any, limit: int) -> Any:
    """Give the rows of the ``limit`` highest of each day."""
    order = np.lexsort((-rank_by, day))
    starts = np.searchsorted(day[order], day[order], side="left")
    return order[np.arange(len(order)) - starts < limit]


def best_threshold(folds: pl.DataFrame, y_prob: Any, project: Project, limit: int) -> float:
    """Give the threshold on the probability that saves most on the folds under the running cap."""
    frame = folds.with_columns(pl.Series("p", y_prob)).sort("event_time", "event_id")
    gain, y_true, day = (
        gains(frame, project),
        frame["label"].to_numpy(),
        local_period(frame["event_time"], "day", "UTC"),
    )
    p = frame["p"].to_numpy()

    def saved(threshold: float) -> float:
        rows = first_of_day(p >= threshold, day, limit)
        return float(gain[rows, y_true[rows]].sum())

    ranks = np.unique(np.geomspace(10, 5000, 200).astype(int))
    return max(np.sort(p)[::-1][ranks].tolist(), key=saved)


def compare(place: Path, events: Path, work: Path, limit: int) -> dict[str, float]:
    """Give what each way of spending the reviews saves."""
    project = project_of(events, work, limit)
    scored, policy = judged_of(place, project)
    judged: Judged = prepare(scored, project)
    gain = gains(scored, project)
    benefit = judged.y_prob * gain[:, 1] + (1 - judged.y_prob) * gain[:, 0]
    folds = pl.read_parquet(place / "folds.parquet")
    choice = choose_calibrator(folds["label"].to_numpy(), folds["y_score"].to_numpy(), folds["fold"].to_numpy())
    threshold = best_threshold(folds, choice.y_prob, project, limit)

    def saved(rows: Any) -> float:
        return round(float(gain[rows, judged.y_true[rows]].sum()), 2)

    running = saved(np.flatnonzero(judged.alert))
    bound = saved(top_of_day(np.where(benefit > 0, benefit, -np.inf), judged.day, limit))
    return {
        "by benefit, running": running,
        "by probability, running": saved(first_of_day(judged.y_prob >= threshold, judged.day, limit)),
        "by benefit, hindsight": bound,
        "by probability, hindsight": saved(top_of_day(judged.y_prob, judged.day, limit)),
        "running share of the bound": round(running / bound, 4),
        "reviews": int(judged.alert.sum()),
        "price of a review": round(policy.prices.get("review", 0.0), 2),
    }


def main() -> None:
    """Train the model unless its scores are there, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    free = project_of(args.events, args.work, None)
    recipe = next(item for item in RECIPES if item.name == "richer")
    place = scores_of(recipe, WEEK, free, build_features(free), args.work)
    found = {str(limit): compare(place, args.events, args.work, limit) for limit in LIMITS}
    results = {"week": str(WEEK), "python": platform.python_version(), "machine": platform.machine(), "saved": found}
    print(json.dumps(results, indent=2))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
