"""Few reviews a day: spent by expected benefit or on the highest probabilities, online and in hindsight.

On four weeks of the handbook (without customers known to be defrauded) and on the test period of a sample it trains one
model each, chooses the policy on its folds for 20 and for 50 reviews a day, and compares what is saved, net of reviews:

- by expected benefit, running: the policy as it is shipped, whose price follows the time of day and the places left;
- by expected benefit, running at one price all day: the price that saves most on the folds, with the same cap;
- by probability, running: the threshold on the probability that saves most on the folds, with the same cap;
- by benefit and by probability in hindsight: the best of each day, which no policy can take, as the upper bound.

    python benchmarks/bench_capacity.py transactions.parquet --sample sample_data --work /tmp/bench \
        --out benchmarks/results/capacity.json
"""

from __future__ import annotations

import argparse
import json
import platform
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from bench_gate import PROJECT, RECIPES, judged_of, scores_of

from fraudctl.calibrate import choose_calibrator
from fraudctl.costs import cost_matrix
from fraudctl.evaluate import EvaluatedEvents, prepare
from fraudctl.policy.bids import local_period
from fraudctl.progress import Silent
from fraudctl.project import Project, parse_project
from fraudctl.split import make_split
from fraudctl.train import fit_project, predict
from fraudctl.workflows.features import build_features

WEEKS = (date(2018, 8, 8), date(2018, 7, 11), date(2018, 7, 25), date(2018, 8, 22))
LIMITS = (20, 50)
REVIEW = """allow.fraud = { fixed = 15, rate = 1.0 }
review.fraud = { fixed = 4 }
review.legit = { fixed = 4, rate = 0.002 }"""

TRAINING = """iterations = 250
[train.params]
depth = 5
learning_rate = 0.16"""


def project_of(events: Path, work: Path, limit: int | None) -> Project:
    """Give the project with so many reviews a day, or as many as one likes."""
    names = {"events": events.resolve(), "kind": "expected_cost", "actions": REVIEW, "train": "35d"}
    text = PROJECT.format(**names, windows="", columns="", training=TRAINING)
    return limited(text.replace("folds = 2", "folds = 3"), work / "fraudctl.toml", limit)


def limited(text: str, path: Path, limit: int | None) -> Project:
    """Give a project whose file has an empty ``[policy]`` at its end, with so many reviews a day."""
    return parse_project(text if limit is None else f'{text}\ncapacity = {{ review = "{limit} per day" }}\n', path=path)


def sample_project(folder: Path, limit: int | None) -> Project:
    """Give the project of a sample with the costs of this benchmark instead of its own, and no search."""
    text = (folder / "fraudctl.toml").read_text(encoding="utf-8")
    kept = [part for part in re.split(r"(?m)^(?=\[)", text) if not part.startswith(REPLACED)]
    text = "".join(kept) + f"\n[train]\ntrials = 0\nthreads = 2\n[costs.actions]\n{REVIEW}\n[policy]\n"
    return limited(text, folder / "fraudctl.toml", limit)


REPLACED = ("[costs", "[policy", "[[rules", "[gate", "[[gate", "[train", "[evaluate")


def sample_scores(folder: Path, work: Path) -> Path:
    """Train on a sample, unless its scores are there; keep fold predictions and the scores of its test period."""
    place = work / "sample"
    if (place / "test.parquet").exists():
        return place
    project = sample_project(folder, None)
    table = build_features(project)
    split = make_split(table.frame, project, known_until=table.known_until)
    trained = fit_project(table.frame, table.features, project, split, trials=0, progress=Silent())
    inside = pl.col("event_time").is_between(split.times.as_of, split.times.test_until, closed="left")
    test = table.frame.filter(inside & pl.col("label").is_not_null())
    place.mkdir(parents=True, exist_ok=True)
    trained.predictions.write_parquet(place / "folds.parquet")
    names = ["event_id", "event_time", "amount", "label", *project.entities]
    test.select(names).with_columns(y_score=predict(trained, test)[0]).write_parquet(place / "test.parquet")
    return place


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
    """Give the rows of the ``limit`` highest of each day, of those above minus infinity."""
    rows = np.flatnonzero(rank_by > -np.inf)
    order = rows[np.lexsort((-rank_by[rows], day[rows]))]
    starts = np.searchsorted(day[order], day[order], side="left")
    return order[np.arange(len(order)) - starts < limit]


def best_cut(rank_by: Any, gain: Any, day: Any, limit: int) -> float:
    """Give the cut of a ranking that saves most on the folds under the running cap; ``gain`` is on the true outcome."""
    ranks = np.unique(np.geomspace(10, 5000, 200).astype(int)) - 1
    cuts = np.sort(rank_by)[::-1][ranks[ranks < len(rank_by)]].tolist()
    return max(cuts, key=lambda cut: float(gain[first_of_day(rank_by >= cut, day, limit)].sum()))


def in_time(frame: pl.DataFrame, y_prob: Any, project: Project) -> dict[str, Any]:
    """Give day, probability, expected benefit of a review and what it really saves, in time order."""
    frame = frame.with_columns(p=pl.Series(y_prob)).sort("event_time", "event_id")
    gain, p = gains(frame, project), frame["p"].to_numpy()
    label = frame["label"].cast(pl.Int64).to_numpy()
    return {
        "day": local_period(frame["event_time"], "day", project.data.timezone),
        "p": p,
        "benefit": p * gain[:, 1] + (1 - p) * gain[:, 0],
        "saves": gain[np.arange(len(p)), label],
    }


def compare(place: Path, project: Project, limit: int) -> dict[str, float]:
    """Give what each way of spending the reviews saves."""
    scored, policy = judged_of(place, project)
    judged: EvaluatedEvents = prepare(scored, project)
    now = in_time(scored, judged.y_prob, project)
    folds = pl.read_parquet(place / "folds.parquet")
    choice = choose_calibrator(folds["label"].to_numpy(), folds["y_score"].to_numpy(), folds["fold"].to_numpy())
    then = in_time(folds, choice.y_prob, project)
    cuts = {name: best_cut(then[name], then["saves"], then["day"], limit) for name in ("p", "benefit")}
    worth_it = np.where(now["benefit"] > 0, now["benefit"], -np.inf)
    rows = {
        "by benefit, running": np.flatnonzero(judged.alert),
        "by benefit, one price all day": first_of_day(now["benefit"] >= cuts["benefit"], now["day"], limit),
        "by probability, running": first_of_day(now["p"] >= cuts["p"], now["day"], limit),
        "by benefit, hindsight": top_of_day(worth_it, now["day"], limit),
        "by probability, hindsight": top_of_day(now["p"], now["day"], limit),
    }
    saved = {name: round(float(now["saves"][found].sum()), 2) for name, found in rows.items()}
    bound = saved["by benefit, hindsight"]
    return saved | {
        "running share of the bound": round(saved["by benefit, running"] / bound, 4),
        "one price's share of the bound": round(saved["by benefit, one price all day"] / bound, 4),
        "reviews": int(judged.alert.sum()),
        "days": len(np.unique(now["day"])),
        "price as a day begins": round(policy.bids["review"].opening, 2),
    }


def main() -> None:
    """Train the models whose scores are not there, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("--sample", type=Path, default=Path("sample_data"), help="folder that `fraudctl sample` wrote")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    free = project_of(args.events, args.work, None)
    recipe = next(item for item in RECIPES if item.name == "richer")
    table = build_features(free)
    places = {str(week): scores_of(recipe, week, free, table, args.work) for week in WEEKS}
    found = {
        name: {str(limit): compare(place, project_of(args.events, args.work, limit), limit) for limit in LIMITS}
        for name, place in places.items()
    }
    place = sample_scores(args.sample, args.work)
    found["sample"] = {str(limit): compare(place, sample_project(args.sample, limit), limit) for limit in LIMITS}
    results = {"python": platform.python_version(), "machine": platform.machine(), "saved": found}
    print(json.dumps(results, indent=2))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
