"""Ten steps per leaf or one: what the folds of a training run would choose, and what it brings on the period after.

Each set is trained as `train` does it without a search: folds stop early, and the final model has the median of their
trees; once with one step per leaf and once with ten, CatBoost's default for this loss. The rule that is tried is that
of a partner: ten steps where the low end of the 90 % interval of the folds' paired gain lies above zero, the folds
weighted by the frauds that they learned from. Beside it stands the paired difference on the test period, which the
folds have not seen, and the processor time of the folds' fits.

    python benchmarks/bench_steps.py --claims fraud_oracle.csv --sffsd sffsd.parquet \
        --out benchmarks/results/steps.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bench_proposal import sample_project, sffsd_project
from bench_public import init
from catboost import CatBoost

from fraudctl import build_features, load_project
from fraudctl.documents.results import as_object
from fraudctl.maturity import mature
from fraudctl.project import Project
from fraudctl.split import make_split
from fraudctl.train import learn_columns, make_pool, params_of, quantize
from fraudctl.train.model import _catboost_params, best_trees, mean_score
from fraudctl.train.objective import FoldRows, entity_groups, gain_of, jackknifed, judge_rows, make_objective

STEPS = (1, 10)
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """Scores of the folds' later periods and of the test period with some steps per leaf, and the folds' CPU."""

    folds: list[Floats]
    test: Floats
    trees: list[int]
    seconds: float


def fit(pool: Any, project: Project, steps: int, *, iterations: int, valid: Any = None) -> CatBoost:
    """Fit as `train` does, but for the steps per leaf."""
    given = _catboost_params(params_of(project.train.params), project.train, iterations=iterations, seed=0)
    model = CatBoost({**given, "leaf_estimation_iterations": steps})
    stopping = None if valid is None else project.train.early_stopping
    model.fit(pool, eval_set=valid, early_stopping_rounds=stopping, use_best_model=False, verbose=False)
    return model


def trained(frame: Any, features: Any, project: Project, periods: Sequence[tuple[Mask, Mask]], steps: int) -> Found:
    """Fit all folds and the final model; the last period is the test."""
    models, pools, trees, seconds = [], [], [], 0.0
    for train, valid in periods:
        columns = learn_columns(
            frame, names=features.names, categorical=features.categorical, rows=train,
            max_categories=project.train.max_categories,
        )  # fmt: skip
        pool = quantize(make_pool(columns, frame, rows=train, label=frame["label"].filter(train).to_numpy()))
        after = make_pool(columns, frame, rows=valid, label=frame["label"].filter(valid).to_numpy())
        pools.append(after)
        begun = time.process_time()
        if len(models) < len(periods) - 1:
            models.append(fit(pool, project, steps, iterations=project.train.iterations, valid=after))
            trees.append(best_trees(models[-1]))
            seconds += time.process_time() - begun
        else:
            models.append(fit(pool, project, steps, iterations=max(1, int(np.median(trees)))))
    n_trees = max(1, int(np.median(trees)))
    scores = [mean_score([model], pool, trees=n_trees) for model, pool in zip(models, pools, strict=True)]
    return Found(scores[:-1], scores[-1], trees, seconds)


def compare(project: Project, name: str) -> dict[str, Any]:
    """Train with one step and with ten; give what the folds say, and what is true."""
    table = build_features(project)
    frame, objective = table.frame, make_objective(project)
    split = make_split(frame, project, known_until=table.known_until)
    times = frame["event_time"]
    judged = mature(frame, label_delay=project.data.label_delay, known_until=table.known_until)
    test = ((times >= split.times.as_of) & (times < split.times.test_until) & judged).to_numpy()
    periods = [*((fold.train, fold.valid) for fold in split.folds), (split.train, test)]
    group = entity_groups(frame, cluster=next(iter(project.entities), None))
    rows = [
        judge_rows(frame.filter(valid), objective=objective, weight=np.ones(int(valid.sum())), group=group[valid])
        for _, valid in periods
    ]
    one, ten = (trained(frame, table.features, project, periods, steps) for steps in STEPS)
    learned = [int((frame["label"].filter(train) == 1).sum()) for train, _ in periods[:-1]]
    out = {
        "average_precision": {
            str(steps): round(objective.value(rows[-1], item.test), 4)
            for steps, item in zip(STEPS, (one, ten), strict=True)
        },
        "folds": gain(objective, rows[:-1], ten.folds, one.folds, learned),
        "test": gain(objective, rows[-1:], [ten.test], [one.test], [1]),
        "frauds": [int(item.y_true.sum()) for item in rows],
        "trees": [one.trees, ten.trees],
        "times_the_seconds": round(ten.seconds / one.seconds, 2),
        "load_average": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(name, json.dumps(out))
    return out


def gain(objective: Any, rows: list[FoldRows], new: list[Floats], old: list[Floats], learned: list[int]) -> Any:
    """Give the paired gain over periods, each weighted by the frauds that were learned from."""
    usable = [i for i, item in enumerate(rows) if item.has_both_classes]
    weight = np.array([learned[i] for i in usable], dtype=np.float64)
    weight /= weight.mean()
    sides = (
        [w * jackknifed(objective, rows[i], side[i]) for w, i in zip(weight, usable, strict=True)]
        for side in (new, old)
    )
    found = gain_of(*sides)
    return None if found is None else as_object(found.rounded())


def main() -> None:
    """Compare on every set that is given."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--claims", type=Path, help="fraud_oracle.csv")
    parser.add_argument("--sffsd", type=Path, help="sffsd.parquet")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3], help="worlds of fraudctl sample")
    parser.add_argument("--minutes", type=float, nargs="*", default=[3.0, 1 / 60], help="minutes a row of S-FFSD")
    parser.add_argument("--out", type=Path, help="JSON to which the figures of each set are added")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.claims is not None:
            place = folder / "claims"
            place.mkdir()
            init(place, options.claims.resolve())
            found["vehicle claims"] = compare(load_project(place), "vehicle claims")
        for seed in options.seeds:
            found[f"sample, seed {seed}"] = compare(sample_project(folder / f"s{seed}", seed), f"sample, seed {seed}")
        if options.sffsd is not None:
            for minutes in options.minutes:
                name = f"S-FFSD, {60 * minutes:.0f} s a row"
                found[name] = compare(sffsd_project(folder / name, options.sffsd, minutes=minutes), name)
    before = json.loads(options.out.read_text(encoding="utf-8"))["sets"] if options.out and options.out.exists() else {}
    document = {
        "sets": before | found,
        "machine": {"python": platform.python_version(), "system": platform.system(), "cpus": os.cpu_count()},
        "packages": {key: version(key) for key in ("fraudctl", "catboost", "polars", "numpy")},
    }
    print(json.dumps(document, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
