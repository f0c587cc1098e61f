"""How often the gate is right: its operating characteristics on the handbook's simulated card payments.

For each of several weeks it trains the same recipe four times (two seeds, two subsamples of 90 %), once without the
terminals' label features of 1 and 7 days, and once with richer features; then lets the gate compare them pairwise, on
one week and pooled over three. It prints how often the gate passes, fails, or says that it cannot be known.

    python benchmarks/bench_gate.py transactions.parquet --work /tmp/bench --minutes 7
    python benchmarks/bench_gate.py transactions.parquet --work /tmp/bench --out benchmarks/results/gate.json

The raw scores of every model are kept in the work folder: training goes on where it stopped after ``--minutes``, and a
further run only calibrates, decides and judges, in a minute.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fraudctl.calibrate import choose_calibrator
from fraudctl.evaluate import Judged, decide_frame, pool, prepare
from fraudctl.evaluate.estimates import difference, estimate
from fraudctl.gate import compare
from fraudctl.policy import Policy, choose_policy
from fraudctl.progress import Silent
from fraudctl.project import Project, parse_project
from fraudctl.split import Split, known_blocked, make_split
from fraudctl.train import fit_project, predict
from fraudctl.uncertainty import RankingIntervals
from fraudctl.workflows.features import FeatureTable, build_features

SETTINGS = RankingIntervals(200, 0, 0.90)
MIN_FRAUDS = 300
MARGIN = 0.02

PROJECT = """
[data]
events = "{events}"
event_id = "TRANSACTION_ID"
event_time = "TX_DATETIME"
amount = "TX_AMOUNT"
label = "TX_FRAUD"
label_delay = "7d"
ignore = ["TX_FRAUD_SCENARIO", "TX_TIME_SECONDS", "TX_TIME_DAYS"]
[entities]
customer = "CUSTOMER_ID"
terminal = "TERMINAL_ID"
[[features.window]]
by = "customer"
windows = ["1d", "7d", "30d"]
aggregates = ["count", "mean(amount)"]
include_current = true
[[features.labels]]
by = "terminal"
windows = ["1d", "7d", "30d"]
[[features.labels]]
by = "customer"
windows = ["7d", "30d"]
[[features.recency]]
by = ["customer", "terminal"]
aggregates = ["seconds_since_last", "seconds_since_last_known_fraud"]
[features]
raw = ["amount"]
[features.columns]
is_weekend = "extract(isodow FROM event_time) >= 6"
is_night = "hour(event_time) <= 6"
amount_to_mean_30d = "amount / customer_mean_amount_30d"
amount_to_mean_7d = "amount / customer_mean_amount_7d"
mean_7d_to_30d = "customer_mean_amount_7d / customer_mean_amount_30d"
[split]
test = "7d"
train = "{train}"
folds = 2
[train]
trials = 0
iterations = 250
threads = 2
[train.params]
depth = 5
learning_rate = 0.16
[costs.actions]
{actions}
[policy]
kind = "{kind}"
"""
FIXED = """allow.fraud = { fixed = 100 }
block.legit = { fixed = 10 }"""
BY_AMOUNT = """allow.fraud = { fixed = 15, rate = 1.0 }
review.fraud = { fixed = 4 }
review.legit = { fixed = 4, rate = 0.002 }
block.legit = { fixed = 8, rate = 0.15 }"""
BLOCK_DAYS = 14
"""Customers whose fraud fell in the last fourteen days before a week, and was known by its day, are left out, as in the
handbook's protocol."""

RICHER = ("customer_fraud", "customer_known", "customer_seconds", "terminal_seconds", "amount_to_", "mean_7d_to")
WEAK_SPOTS = tuple(
    f"terminal_{kind}_{w}" for kind in ("known_count", "fraud_count", "fraud_rate") for w in ("1d", "7d")
)


@dataclass(frozen=True)
class Names:
    """A choice of features, in the form that training takes."""

    names: list[str]
    categorical: list[str]


@dataclass(frozen=True)
class Recipe:
    """One model of a week."""

    name: str
    features: str
    seed: int
    share: float = 1.0


RECIPES = (
    Recipe("same-0", "base", 0),
    Recipe("same-1", "base", 1),
    Recipe("same-2", "base", 2, 0.9),
    Recipe("same-3", "base", 3, 0.9),
    Recipe("worse", "worse", 0),
    Recipe("richer", "richer", 0),
)
SAME = [recipe.name for recipe in RECIPES if recipe.features == "base"]


def project_of(events: Path, work: Path, *, kind: str, actions: str, train: str = "7d") -> Project:
    """Give the benchmark's project with one kind of policy."""
    text = PROJECT.format(events=events.resolve(), kind=kind, actions=actions, train=train)
    return parse_project(text, path=work / "fraudctl.toml")


def choose_features(table: FeatureTable, which: str) -> Names:
    """Give the names of the base, worse or richer feature set."""
    names = list(table.features.names)
    if which != "richer":
        names = [name for name in names if not name.startswith(RICHER)]
    if which == "worse":
        names = [name for name in names if name not in WEAK_SPOTS]
    return Names(names, [])


def thinned(split: Split, share: float, seed: int) -> Split:
    """Give the split with a random share of its training rows."""
    if share == 1.0:
        return split
    rng = np.random.default_rng(seed)
    folds = tuple(replace(fold, train=fold.train & (rng.random(len(fold.train)) < share)) for fold in split.folds)
    return replace(split, train=split.train & (rng.random(len(split.train)) < share), folds=folds)


def scores_of(recipe: Recipe, as_of: date, project: Project, table: FeatureTable, work: Path) -> Path:
    """Train one model, unless its scores are there; keep fold predictions and the test week's scores."""
    place = work / f"{as_of}-{recipe.name}"
    if (place / "test.parquet").exists():
        return place
    started = time.perf_counter()
    split = make_split(table.frame, project, known_until=table.known_until, as_of=as_of)
    features = choose_features(table, recipe.features)
    trained = fit_project(
        table.frame, features, project, thinned(split, recipe.share, recipe.seed), trials=0, seed=recipe.seed,
        progress=Silent(),
    )  # fmt: skip
    test = week(table, split.test_from, split.test_until)
    y_score, _y_prob = predict(trained, test)
    place.mkdir(parents=True, exist_ok=True)
    kept = [week(table, fold.valid_from, fold.valid_until).select("event_id") for fold in split.folds]
    folds = trained.predictions.join(pl.concat(kept), on="event_id", how="semi", maintain_order="left")
    folds.write_parquet(place / "folds.parquet")
    keep = ["event_id", "event_time", "amount", "label", "customer", "terminal"]
    test.select(keep).with_columns(pl.Series("y_score", y_score)).write_parquet(place / "test.parquet")
    print(f"trained {place.name} in {time.perf_counter() - started:.0f} s", flush=True)
    return place


def week(table: FeatureTable, start: datetime, end: datetime) -> pl.DataFrame:
    """Give a week without customers already known to be defrauded."""
    frame = table.frame
    blocked = known_blocked(frame, entity="customer", since=start - timedelta(days=BLOCK_DAYS), timezone="UTC")
    inside = frame["event_time"].is_between(start, end, closed="left").to_numpy()
    return frame.filter(inside & ~blocked)


def judged_of(place: Path, project: Project) -> tuple[pl.DataFrame, Policy]:
    """Calibrate and choose the policy on the fold predictions, and decide the test week."""
    folds, test = (pl.read_parquet(place / name) for name in ("folds.parquet", "test.parquet"))
    choice = choose_calibrator(folds["label"].to_numpy(), folds["y_score"].to_numpy(), folds["fold"].to_numpy())
    policy = choose_policy(project, folds, choice.y_prob).policy
    y_prob = choice.calibrator.predict(test["y_score"].to_numpy())
    return decide_frame(test.drop("y_score"), y_prob, policy=policy, project=project), policy


def verdict(ours: Judged, theirs: Judged, *, margin: float = MARGIN, min_frauds: int = MIN_FRAUDS) -> str:
    """Give the verdict of the champion rule on savings."""
    found = difference("savings", ours, theirs, SETTINGS)
    result = compare("champion", "savings", found, -margin, "at_least", n_frauds=ours.n_frauds, min_frauds=min_frauds,
                     confidence=SETTINGS.confidence)  # fmt: skip
    return result.verdict


def rates(verdicts: Iterable[str]) -> dict[str, float]:
    """Give how often each verdict came."""
    found = list(verdicts)
    return {
        "n": len(found),
        **{name: found.count(name) / max(len(found), 1) for name in ("pass", "fail", "inconclusive")},
    }


def pools(weeks: list[dict[str, pl.DataFrame]], length: int) -> Iterator[dict[str, pl.DataFrame]]:
    """Give every run of ``length`` weeks as one."""
    for start in range(len(weeks) - length + 1):
        chosen = weeks[start : start + length]
        yield {name: pool([item[name] for item in chosen]) for name in chosen[0]}


def pairs(kind: str) -> list[tuple[str, str]]:
    """Give challenger and champion names of one question."""
    if kind == "same":
        return list(itertools.permutations(SAME, 2))
    return [(kind, name) for name in SAME]


def characteristics(weeks: list[dict[str, pl.DataFrame]], project: Project) -> dict[str, Any]:
    """Judge every pair on single weeks and on runs of three."""
    out: dict[str, Any] = {}
    for length in (1, 3):
        runs = [{name: prepare(frame, project) for name, frame in run.items()} for run in pools(weeks, length)]
        for kind in ("same", "worse", "richer"):
            found = [verdict(run[a], run[b]) for run in runs for a, b in pairs(kind)]
            out[f"{kind}, {length} week{'s' if length > 1 else ''}"] = rates(found)
    return out


def true_loss(
    weeks: list[dict[str, pl.DataFrame]], project: Project, policies: list[dict[str, Policy]]
) -> dict[str, Any]:
    """Judge at a margin equal to the true loss, at several numbers of frauds; and shuffled scores.

    The true loss is that over all weeks; customers are drawn until about n frauds are there.
    """
    whole = {name: prepare(pool([item[name] for item in weeks]), project) for name in ("worse", *SAME)}
    rng = np.random.default_rng(0)
    out: dict[str, Any] = {}
    for n_frauds in (40, 100, 200, 400, 800, 1600):
        at_margin = []
        for rival in SAME:
            loss = (
                estimate("savings", whole[rival], SETTINGS).value - estimate("savings", whole["worse"], SETTINGS).value
            )
            for _draw in range(50):
                rows = some_customers(whole[rival], n_frauds, rng)
                at_margin.append(verdict(whole["worse"].take(rows), whole[rival].take(rows), margin=loss, min_frauds=1))
        noise = [
            shuffled_verdict(run["same-0"], chosen["same-0"], project, n_frauds, rng)
            for run, chosen in zip(weeks, policies, strict=True)
            for _draw in range(10)
        ]
        out[str(n_frauds)] = {"margin = true loss": rates(at_margin), "shuffled, savings >= 0.3": rates(noise)}
    return out


def some_customers(judged: Judged, n_frauds: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Draw customers without replacement until about ``n_frauds`` frauds are among their events."""
    codes = judged.entity_codes["customer"]
    share = min(1.0, n_frauds / judged.n_frauds)
    return (rng.random(int(codes.max()) + 1) < share)[codes]


def shuffled_verdict(
    frame: pl.DataFrame, policy: Policy, project: Project, n_frauds: int, rng: np.random.Generator
) -> str:
    """Shuffle the scores of some customers of a week and hold savings against a floor of 0.3."""
    judged = prepare(frame, project)
    part = frame.filter(some_customers(judged, n_frauds, rng)).drop("y_prob", "action", "cost")
    scores = rng.choice(judged.y_prob, part.height, replace=False)
    scored = prepare(decide_frame(part, scores, policy=policy, project=project), project)
    found = estimate("savings", scored, SETTINGS)
    return compare("savings", "savings", found, 0.3, "at_least", n_frauds=scored.n_frauds, min_frauds=1,
                   confidence=SETTINGS.confidence).verdict  # fmt: skip


def main() -> None:
    """Train what is missing, judge, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--first", type=date.fromisoformat, default=date(2018, 7, 11))
    parser.add_argument("--weeks", type=int, default=7)
    parser.add_argument("--train", default="35d", help="length of history; needs its own work folder")
    parser.add_argument("--minutes", type=float, help="train for so long at most, and judge nothing")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    default = project_of(args.events, args.work, kind="expected_cost", actions=FIXED, train=args.train)
    table = build_features(default)
    origins = [args.first + timedelta(days=7 * i) for i in range(args.weeks)]
    places, started = {}, time.monotonic()
    for day, recipe in itertools.product(origins, RECIPES):
        if args.minutes is not None and time.monotonic() - started > 60 * args.minutes:
            print("time is up: run again to go on")
            return
        places[day, recipe.name] = scores_of(recipe, day, default, table, args.work)
    if args.minutes is not None:
        print(f"all {len(places)} models are trained")
        return
    questions = {
        "expected cost": default,
        "one threshold": project_of(args.events, args.work, kind="thresholds", actions=FIXED, train=args.train),
        "expected cost, costs by amount": project_of(
            args.events, args.work, kind="expected_cost", actions=BY_AMOUNT, train=args.train
        ),
    }
    results: dict[str, Any] = {
        "train": args.train,
        "weeks": args.weeks,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "margin": MARGIN,
    }
    for name, project in questions.items():
        decided = [{r.name: judged_of(places[day, r.name], project) for r in RECIPES} for day in origins]
        weeks = [{key: item[0] for key, item in found.items()} for found in decided]
        savings = {
            key: [estimate("savings", prepare(run[key], project), SETTINGS).value for run in weeks] for key in weeks[0]
        }
        results[name] = {"savings": savings, "verdicts": characteristics(weeks, project)}
        if name == "expected cost":
            policies = [{key: item[1] for key, item in found.items()} for found in decided]
            results["by number of frauds"] = true_loss(weeks, project, policies)
    print(json.dumps(results, indent=2))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
