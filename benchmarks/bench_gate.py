"""How often the gate is right: its operating characteristics on the handbook's simulated card payments.

For each of several weeks it trains the same recipe four times (two seeds, two subsamples of 90 %), once without the
terminals' label features of 1 and 7 days, and once with richer features; then lets the gate compare them pairwise, on
one week and pooled over three and six. It prints how often the gate passes, fails, or says that it cannot be known, and
whether it holds what it is held to.

    python benchmarks/bench_gate.py transactions.parquet --work /tmp/bench --minutes 7
    python benchmarks/bench_gate.py transactions.parquet --work /tmp/bench --out benchmarks/results/gate.json
    python benchmarks/bench_gate.py transactions.parquet --work /tmp/single --training single --out gate_single.json

The raw scores of every model are kept in the work folder: training goes on where it stopped after ``--minutes``, and a
further run only calibrates, decides and judges, in a few minutes.
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
from importlib.metadata import version
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from fraudctl.calibrate import choose_calibrator
from fraudctl.costs import BASE_RULE
from fraudctl.evaluate import EvaluatedEvents, decide_frame, pool, prepare
from fraudctl.evaluate.estimates import difference, estimate
from fraudctl.gate import compare
from fraudctl.maturity import known_blocked
from fraudctl.policy import Policy, choose_policy
from fraudctl.progress import Silent
from fraudctl.project import Project, parse_project
from fraudctl.split import Split, make_split
from fraudctl.train import fit_project, predict
from fraudctl.uncertainty import Estimate, RankingIntervals, normal_quantile
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
{windows}
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
{columns}
[split]
test = "7d"
train = "{train}"
folds = 2
[train]
trials = 0
threads = 2
{training}
[costs.actions]
{actions}
[policy]
kind = "{kind}"
"""
WINDOWS = """[[features.window]]
by = "customer"
windows = ["30d"]
aggregates = ["median(amount)", "mad(amount)"]
[[features.window]]
by = ["customer", "terminal"]
windows = ["7d", "14d"]
aggregates = ["mean(amount_is_high)", "sum(amount_is_high)"]"""
COLUMNS = '''amount_is_high = "amount > customer_median_amount_30d + 4 * (1.4826 * customer_mad_amount_30d + 0.9)"'''
_FEW_TREES = """fit_negatives = 0.2
iterations = 100
[train.params]
learning_rate = 0.16"""
TRAININGS = {"averaged": f"models = 8\n{_FEW_TREES}", "single": _FEW_TREES, "default": ""}
"""How a model is trained: eight fits averaged, one such fit, or as `fraudctl train` does unless told otherwise."""
WITH_REVIEW = """allow.fraud = { fixed = 100 }
review.fraud = { fixed = 5 }
review.legit = { fixed = 5 }
block.legit = { fixed = 25 }"""
FIXED = """allow.fraud = { fixed = 100 }
block.legit = { fixed = 10 }"""
BY_AMOUNT = """allow.fraud = { fixed = 15, rate = 1.0 }
review.fraud = { fixed = 4 }
review.legit = { fixed = 4, rate = 0.002 }
block.legit = { fixed = 8, rate = 0.15 }"""
QUESTIONS = {
    "expected cost": ("expected_cost", FIXED),
    "one threshold": ("thresholds", FIXED),
    "expected cost, with a review": ("expected_cost", WITH_REVIEW),
    "expected cost, costs by amount": ("expected_cost", BY_AMOUNT),
}
"""Kind of policy and costs of each question; the first is the usual one."""
LENGTHS = (1, 3, 6)
"""Weeks that are judged as one; six have some 2,300 frauds."""
COUNTS = (40, 100, 200, 400, 800, 1600)
"""Numbers of frauds; scores are shuffled for the first three, which every week has."""
LOSSES = (0.0, 0.01, 0.02, 0.03, 0.05)
BLOCK_DAYS = 14
"""Customers whose fraud fell in the last fourteen days before a week, and was known by its day, are left out, as in the
handbook's protocol."""

RICHER = (
    "customer_fraud", "customer_known", "customer_seconds", "terminal_seconds", "customer_median", "customer_mad",
    "customer_mean_amount_is_high", "customer_sum_amount_is_high", "terminal_mean_amount_is_high",
    "terminal_sum_amount_is_high", "amount_is_high",
)  # fmt: skip
"""What richer features have beside the base: labels and recency of customers, and the spread of their amounts."""
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


def project_of(args: argparse.Namespace, question: str) -> Project:
    """Give the benchmark's project with the kind of policy and the costs of a question."""
    kind, actions = QUESTIONS[question]
    names = {"events": args.events.resolve(), "kind": kind, "actions": actions, "train": args.train}
    text = PROJECT.format(**names, windows=WINDOWS, columns=COLUMNS, training=TRAININGS[args.training])
    return parse_project(text, path=args.work / "fraudctl.toml")


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
    started, work_before = time.perf_counter(), time.process_time()
    split = make_split(table.frame, project, known_until=table.known_until, as_of=as_of)
    features = choose_features(table, recipe.features)
    trained = fit_project(
        table.frame, features, project, thinned(split, recipe.share, recipe.seed), trials=0, seed=recipe.seed,
        progress=Silent(),
    )  # fmt: skip
    facts = {"trees": trained.model.tree_count_, "processor_seconds": time.process_time() - work_before}
    test = week(table, split.times.as_of, split.times.test_until)
    y_score, _y_prob = predict(trained, test)
    place.mkdir(parents=True, exist_ok=True)
    kept = [week(table, fold.times.valid_from, fold.times.valid_until).select("event_id") for fold in split.folds]
    folds = trained.predictions.join(pl.concat(kept), on="event_id", how="semi", maintain_order="left")
    folds.write_parquet(place / "folds.parquet")
    (place / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
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


def verdict(found: Estimate, n_frauds: int, *, margin: float = MARGIN, min_frauds: int = MIN_FRAUDS) -> str:
    """Give the verdict of the champion rule on a difference in savings."""
    result = compare("champion", "savings", found, -margin, "at_least", n_frauds=n_frauds, min_frauds=min_frauds,
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
    """Judge every pair on single weeks and on runs of three and of six."""
    out: dict[str, Any] = {}
    for length in LENGTHS:
        runs = [{name: prepare(frame, project) for name, frame in run.items()} for run in pools(weeks, length)]
        for kind in ("same", "worse", "richer"):
            found = [difference("savings", run[a], run[b], SETTINGS) for run in runs for a, b in pairs(kind)]
            frauds = [run[a].n_frauds for run in runs for a, _ in pairs(kind)]
            verdicts = [verdict(item, n) for item, n in zip(found, frauds, strict=True)]
            out[f"{kind}, {length} week{'s' if length > 1 else ''}"] = {**rates(verdicts), **spread(found, frauds)}
    return out


def spread(found: list[Estimate], frauds: list[int]) -> dict[str, float | None]:
    """Give how large the differences are, how much they vary, and how uncertain each says it is."""
    values = np.array([item.value for item in found], dtype=np.float64)
    errors = np.array([item.se for item in found], dtype=np.float64)
    return {
        "frauds": round(float(np.mean(frauds))) if frauds else None,
        "mean difference": float(values.mean()) if found else None,
        "standard deviation": float(values.std()) if found else None,
        "mean standard error": float(errors.mean()) if found else None,
    }


def by_true_loss(weeks: list[dict[str, pl.DataFrame]], project: Project) -> dict[str, dict[str, dict[str, float]]]:
    """Give how often a loss of so much would pass and fail, if differences vary as the intervals of equal models say.

    With the standard error ``SE`` of each pair: it passes with ``Phi((margin - loss) / SE - z)``, and fails with
    ``Phi((loss - margin) / SE - z)``.
    """
    z, phi = normal_quantile(SETTINGS.confidence), NormalDist().cdf
    out: dict[str, dict[str, dict[str, float]]] = {}
    for length in LENGTHS:
        runs = [{name: prepare(run[name], project) for name in SAME} for run in pools(weeks, length)]
        found = [difference("savings", run[a], run[b], SETTINGS).se for run in runs for a, b in pairs("same")]
        errors = [error for error in found if error]
        out[str(length)] = {
            str(loss): {
                "pass": float(np.mean([phi((MARGIN - loss) / error - z) for error in errors])),
                "fail": float(np.mean([phi((loss - MARGIN) / error - z) for error in errors])),
            }
            for loss in LOSSES
        }
    return out


def true_loss(weeks: list[dict[str, pl.DataFrame]], project: Project) -> dict[str, dict[str, float]]:
    """Judge the worse model at a margin equal to its true loss, that over all weeks, at several numbers of frauds."""
    whole = {name: prepare(pool([item[name] for item in weeks]), project) for name in ("worse", *SAME)}
    worse, rng = whole["worse"], np.random.default_rng(0)
    out = {}
    for n_frauds in COUNTS:
        verdicts = []
        for rival in (whole[name] for name in SAME):
            loss = -(difference("savings", worse, rival, SETTINGS).value or 0.0)
            for _draw in range(50):
                rows = some_customers(rival, n_frauds, rng)
                found = difference("savings", worse.take(rows), rival.take(rows), SETTINGS)
                verdicts.append(verdict(found, n_frauds, margin=loss, min_frauds=1))
        out[str(n_frauds)] = rates(verdicts)
    return out


def some_customers(
    judged: EvaluatedEvents, n_frauds: int, rng: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Draw customers without replacement until ``n_frauds`` frauds are among their events."""
    codes = judged.entity_codes["customer"]
    order = rng.permutation(int(codes.max()) + 1)
    frauds = np.bincount(codes, weights=judged.y_true == 1, minlength=len(order))[order]
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[order[: int(np.searchsorted(np.cumsum(frauds), n_frauds)) + 1]] = True
    return np.asarray(chosen[codes])


def shuffled(
    weeks: list[dict[str, pl.DataFrame]], policies: list[dict[str, Policy]], project: Project
) -> dict[str, dict[str, float]]:
    """Shuffle the scores of some customers of a week, and hold savings against a floor of 0.3."""
    rng = np.random.default_rng(1)
    out = {}
    for n_frauds in COUNTS[:3]:
        found = [
            shuffled_verdict(run[name], chosen[name], project, n_frauds, rng)
            for run, chosen in zip(weeks, policies, strict=True)
            for name in SAME
            for _draw in range(10)
        ]
        out[str(n_frauds)] = rates(found)
    return out


def shuffled_verdict(
    frame: pl.DataFrame, policy: Policy, project: Project, n_frauds: int, rng: np.random.Generator
) -> str:
    """Judge one shuffle."""
    judged = prepare(frame, project)
    part = frame.filter(some_customers(judged, n_frauds, rng)).drop("y_prob", "action", "cost")
    scores = rng.choice(judged.y_prob, part.height, replace=False)
    scored = prepare(decide_frame(part, scores, policy=policy, project=project), project)
    found = estimate("savings", scored, SETTINGS)
    return compare("savings", "savings", found, 0.3, "at_least", n_frauds=scored.n_frauds, min_frauds=1,
                   confidence=SETTINGS.confidence).verdict  # fmt: skip


def demands(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the gate is held to, with the figure that was found."""

    def held(what: str, figure: float, bound: float, *, least: bool) -> dict[str, Any]:
        holds = figure >= bound if least else figure <= bound
        return {"what": what, "figure": figure, "at_least" if least else "at_most": bound, "holds": bool(holds)}

    found = results["expected cost"]["verdicts"]
    single, noise = results["one threshold"]["verdicts"], results["expected cost"]["shuffled"]
    yield held("same recipe, 1 week, passes", found["same, 1 week"]["pass"], 0.90, least=True)
    yield held("same recipe, 1 week, fails", found["same, 1 week"]["fail"], 0.05, least=False)
    yield held("same recipe, 1 week, one threshold, passes", single["same, 1 week"]["pass"], 0.80, least=True)
    yield held("worse, 1 week, passes", found["worse, 1 week"]["pass"], 0.05, least=False)
    yield held("worse, 3 weeks, fails", found["worse, 3 weeks"]["fail"], 0.85, least=True)
    yield held("worse, 6 weeks, fails", found["worse, 6 weeks"]["fail"], 0.85, least=True)
    yield held("richer, 1 week, passes", found["richer, 1 week"]["pass"], 0.95, least=True)
    yield held("shuffled scores fail", min(item["fail"] for item in noise.values()), 1.0, least=True)
    at_margin = max(item["pass"] for n, item in results["margin = true loss"].items() if int(n) >= 100)
    yield held("margin = true loss, from 100 frauds, passes", at_margin, 0.10, least=False)


def train_all(args: argparse.Namespace, project: Project) -> dict[tuple[date, str], Path] | None:
    """Train what is missing; None where the time was up before all were trained."""
    table = build_features(project)
    started, places = time.monotonic(), {}
    for day, recipe in itertools.product(origins(args), RECIPES):
        if args.minutes is not None and time.monotonic() - started > 60 * args.minutes:
            return None
        places[day, recipe.name] = scores_of(recipe, day, project, table, args.work)
    return places


def origins(args: argparse.Namespace) -> list[date]:
    """Give the first day of every week."""
    return [args.first + timedelta(days=7 * i) for i in range(args.weeks)]


def judge_all(args: argparse.Namespace, places: dict[tuple[date, str], Path]) -> dict[str, Any]:
    """Calibrate, decide and judge all models under every question."""
    results: dict[str, Any] = {
        "train": args.train,
        "training": TRAININGS[args.training].splitlines(),
        "margin": MARGIN,
        "savings_base": BASE_RULE,
        "weeks": [str(day) for day in origins(args)],
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in ("fraudctl", "catboost", "polars", "numpy")},
    }
    for name, (kind, actions) in QUESTIONS.items():
        project = project_of(args, name)
        decided = [{r.name: judged_of(places[day, r.name], project) for r in RECIPES} for day in origins(args)]
        weeks = [{key: item[0] for key, item in found.items()} for found in decided]
        savings = {
            key: [estimate("savings", prepare(run[key], project), SETTINGS).value for run in weeks] for key in weeks[0]
        }
        base = [prepare(run["same-0"], project).base.chosen.words for run in weeks]
        results[name] = {"actions": actions.splitlines(), "policy": kind, "savings": savings, "savings_base": base}
        results[name]["verdicts"] = characteristics(weeks, project)
        if kind == "expected_cost":
            policies = [{key: item[1] for key, item in found.items()} for found in decided]
            results[name]["shuffled"] = shuffled(weeks, policies, project)
        if name == "expected cost":
            results["margin = true loss"] = true_loss(weeks, project)
            results["weeks, true loss"] = by_true_loss(weeks, project)
    return {**results, "held to": list(demands(results))}


def main() -> None:
    """Train what is missing, judge, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--first", type=date.fromisoformat, default=date(2018, 7, 11))
    parser.add_argument("--weeks", type=int, default=7, help="at least 6: they are also judged by six")
    parser.add_argument("--train", default="35d", help="length of history; needs its own work folder")
    parser.add_argument("--training", choices=TRAININGS, default="averaged", help="needs its own work folder too")
    parser.add_argument("--minutes", type=float, help="train for so long at most, and judge nothing")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    places = train_all(args, project_of(args, "expected cost"))
    if places is None or args.minutes is not None:
        print("time is up: run again to go on" if places is None else f"all {len(places)} models are trained")
        return
    results = judge_all(args, places)
    print(json.dumps(results, indent=2))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
