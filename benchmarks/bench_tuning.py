"""How long a search takes: 30 trials × 3 folds, 400,000 rows per training window before sampling, 40 features.

Makes its own events, splits and trains as `fraudctl train` does, and prints the seconds of each stage beside what
30 × 3 fits of CatBoost on the whole windows would take, estimated from one such fit in the same run.

    python benchmarks/bench_tuning.py --out benchmarks/results/tuning.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

from fraudctl.progress import Silent
from fraudctl.project import Project, parse_project
from fraudctl.split import Split, make_split
from fraudctl.train import fit_model, fit_project, learn_columns, make_pool, params_of, quantize

N_FEATURES, ROWS_PER_DAY, TRAIN_DAYS, TEST_DAYS, DELAY_DAYS = 40, 10_000, 40, 10, 5
START = datetime(2026, 1, 1, tzinfo=UTC)

PROJECT = f"""
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "is_fraud"
label_delay = "{DELAY_DAYS}d"
[entities]
card = "card_id"
[split]
as_of = "2026-03-22"
test = "{TEST_DAYS}d"
train = "{TRAIN_DAYS}d"
folds = 3
"""


@dataclass(frozen=True)
class Features:
    """The part of a feature set that training looks at."""

    names: list[str]
    categorical: list[str]


@dataclass
class Stages(Silent):
    """Progress that measures its stages."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: tuple[str, float] | None = None

    def stage(self, name: str) -> None:
        """Close the stage before, and begin one."""
        now = time.perf_counter()
        if self.last is not None:
            self.seconds[self.last[0]] = round(now - self.last[1], 1)
        self.last = (name, now)


def events(seed: int = 0) -> pl.DataFrame:
    """Make events at a steady pace, about 1 % of them fraud that shows in a dozen of the features."""
    days = TRAIN_DAYS + 3 * TEST_DAYS + 2 * DELAY_DAYS + TEST_DAYS
    n = days * ROWS_PER_DAY
    random = np.random.default_rng(seed)
    values = random.normal(size=(n, N_FEATURES)).astype(np.float32)
    values[:, ::4] = np.exp(values[:, ::4])
    logit = 0.9 * values[:, 0] + 0.7 * values[:, 1] + 0.8 * values[:, 2] * values[:, 3] + 0.5 * values[:, 4:12].sum(1)
    label = (random.random(n) < 1 / (1 + np.exp(9.6 - logit))).astype(np.int8)
    step = timedelta(days=1) / ROWS_PER_DAY
    times = pl.datetime_range(START, START + (n - 1) * step, step, eager=True, time_unit="us")
    roles = {
        "event_id": np.arange(n),
        "event_time": times,
        "amount": random.lognormal(3, 1, n),
        "label": label,
        "label_time": times + timedelta(days=DELAY_DAYS),
        "card": random.integers(0, 20_000, n),
    }
    return pl.DataFrame({**roles, **{f"f{i}": values[:, i] for i in range(N_FEATURES)}})


def whole_fit_seconds(table: pl.DataFrame, features: Features, project: Project, split: Split) -> float:
    """Time one fit on a whole training window, as 30 × 3 of them would be needed without sampling."""
    fold = split.folds[-1]
    train, valid = table.filter(fold.train), table.filter(fold.valid)
    columns = learn_columns(train, names=features.names, categorical=[], max_categories=1)
    start = time.perf_counter()
    pool = quantize(make_pool(columns, train, label=train["label"].to_numpy()))
    stop = make_pool(columns, valid, label=valid["label"].to_numpy())
    settings = project.train
    fit_model(pool, params_of(settings.params), settings=settings, iterations=settings.iterations, seed=0, valid=stop)
    return time.perf_counter() - start


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--out", type=Path, help="where the figures are written as JSON")
    options = parser.parse_args()
    project = parse_project(PROJECT, path=Path("fraudctl.toml"))
    table = events()
    features = Features([f"f{i}" for i in range(N_FEATURES)], [])
    split = make_split(table, project, known_until=table["event_time"].max())  # type: ignore[arg-type]
    stages = Stages()
    start = time.perf_counter()
    trained = fit_project(table, features, project, split, trials=options.trials, progress=stages)
    total = round(time.perf_counter() - start, 1)
    stages.stage("end")
    one = round(whole_fit_seconds(table, features, project, split), 1)
    tuning = trained.summary["tuning"]
    search = round(stages.seconds["preparing folds"] + stages.seconds["tuning"], 1)
    document = {
        "rows_per_window": [fold["train"]["rows"] for fold in trained.summary["folds"]],
        "frauds": [fold["train"]["frauds"] for fold in trained.summary["folds"]],
        "features": N_FEATURES,
        "trials": tuning["trials"],
        "pruned": tuning["pruned"],
        "best_trees": [fold["best_trees"] for fold in trained.summary["folds"]],
        "seconds": {"search": search, "all of training": total, **stages.seconds},
        "one_whole_fit_seconds": one,
        "search_without_sampling_seconds": round(one * 3 * options.trials, 0),
        "ratio": round(one * 3 * options.trials / search, 1),
        "machine": {"python": platform.python_version(), "system": platform.system(), "cpus": os.cpu_count()},
        "packages": {name: version(name) for name in ("fraudctl", "catboost", "optuna", "polars", "numpy")},
    }
    print(json.dumps(document, indent=1))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
