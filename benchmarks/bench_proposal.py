"""What the proposed features bring: the set that `init` writes against the raw columns, with an interval.

Two worlds of `fraudctl sample`, and two data sets of others whose paths are arguments: the handbook's transactions, and
one that this project was not designed for: S-FFSD, a small semi-supervised set. It has no clock, so its rows get one of
three minutes each. Each set is trained as of the start of its folds and of its test period, on what was known, and
judged by average precision on the period after. Beside the raw columns stand two other questions: whether leaving out
every `seconds_since_last` is better, and whether the anomaly score of an isolation forest on the legitimate past,
fitted for each period apart, adds anything. At most 100,000 legitimate events are trained on.

    python benchmarks/bench_proposal.py --sffsd sffsd.parquet --handbook transactions.parquet \
        --out benchmarks/results/proposal.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl import build_features, init_project, load_project, write_sample
from fraudctl.documents.results import as_object
from fraudctl.maturity import mature
from fraudctl.project import Project
from fraudctl.propose import Flags
from fraudctl.split import make_split
from fraudctl.train import fit_model, learn_columns, make_pool, params_of, quantize
from fraudctl.train.model import raw_score
from fraudctl.train.objective import FoldRows, entity_groups, judge_rows, make_objective, paired_gain
from fraudctl.workflows.features import FeatureTable

TREES, FOREST, ANOMALY = 300, 200, "anomaly_score"
MOST_LEGITIMATE = 100_000
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Round:
    """One training period, known at its as_of, and the period after it."""

    train: Mask
    valid: Mask


def sample_project(place: Path, seed: int) -> Project:
    """Make a world; the project file beside it is what `init` proposes."""
    write_sample(place, seed=seed)
    return load_project(place)


def sffsd_project(place: Path, source: Path, *, minutes: float = 3) -> Project:
    """Give every row of S-FFSD a time of its own, so many minutes after the one before, and let `init` propose."""
    place.mkdir(parents=True, exist_ok=True)
    frame = pl.read_parquet(source)
    clock = pl.datetime(2025, 1, 1) + pl.duration(seconds=(60 * minutes * pl.col("Time")).round().cast(pl.Int64))
    frame.with_columns(id="Time", at=clock).drop("Time").write_parquet(place / "events.parquet")
    flags = Flags(event_id="id", event_time="at", label="Labels", label_delay="7d" if minutes >= 1 else "1h")
    init_project([str(place / "events.parquet")], place=place, flags=flags, force=True)
    return load_project(place)


def handbook_project(place: Path, source: Path) -> Project:
    """Let `init` propose for the handbook's events, as of the week that its authors test on."""
    place.mkdir(parents=True, exist_ok=True)
    flags = Flags(
        event_id="TRANSACTION_ID",
        event_time="TX_DATETIME",
        amount="TX_AMOUNT",
        label="TX_FRAUD",
        label_delay="7d",
        entities=("customer=CUSTOMER_ID", "terminal=TERMINAL_ID"),
        ignore=("TX_FRAUD_SCENARIO", "TX_TIME_SECONDS", "TX_TIME_DAYS"),
    )
    path = init_project([str(source.resolve())], place=place, flags=flags, force=True).path
    split = '[split]\nas_of = 2018-08-08\ntest = "7d"\ntrain = "82d"\n'
    path.write_text(path.read_text(encoding="utf-8").replace("[split]\n", split, 1), encoding="utf-8")
    return load_project(place)


def rounds_of(table: FeatureTable, project: Project) -> list[Round]:
    """Give the folds, and the training and test period at the end."""
    frame, split = table.frame, make_split(table.frame, project, known_until=table.known_until)
    times = frame["event_time"]
    judged = mature(frame, label_delay=project.data.label_delay, known_until=table.known_until)
    test = ((times >= split.times.as_of) & (times < split.times.test_until) & judged).to_numpy()
    label = frame["label"].fill_null(-1).to_numpy()
    pairs = [*((fold.train, fold.valid) for fold in split.folds), (split.train, test)]
    return [Round(thinned(train, label), valid) for train, valid in pairs]


def thinned(rows: Mask, label: npt.NDArray[np.int8]) -> Mask:
    """Keep all frauds of a training period, and of its legitimate events as many as are drawn at most."""
    legit = np.random.default_rng(0).permutation(np.flatnonzero(rows & (label == 0)))[:MOST_LEGITIMATE]
    kept = rows & (label == 1)
    kept[legit] = True
    return kept


def variants(table: FeatureTable) -> dict[str, list[str]]:
    """Give the sets of features to compare."""
    every = table.features.names
    raw = [item.name for item in table.features.features if item.family == "raw"]
    clock = [name for name in ("event_hour", "event_weekday") if name in every]
    return {
        "raw columns": [*raw, *clock],
        "proposed": every,
        "without seconds_since_last": [name for name in every if not name.endswith("_seconds_since_last")],
        "with an anomaly score": [*every, ANOMALY],
    }


def anomaly(frame: pl.DataFrame, names: list[str], one: Round) -> pl.Series:
    """Fit a forest on the legitimate events of a training period and score both periods; higher is stranger."""
    from sklearn.ensemble import IsolationForest

    numbers = [name for name in names if frame.schema[name].is_numeric() or frame.schema[name] == pl.Boolean]
    values = frame.select(pl.col(numbers).cast(pl.Float32).fill_nan(None)).fill_null(-1.0).to_numpy()
    past = values[one.train & (frame["label"] == 0).fill_null(value=False).to_numpy()]
    forest = IsolationForest(n_estimators=FOREST, random_state=0, n_jobs=1).fit(past)
    used = one.train | one.valid
    out = np.full(len(values), np.nan)
    out[used] = -forest.score_samples(values[used])
    return pl.Series(ANOMALY, out)


def scores(frame: pl.DataFrame, names: list[str], project: Project, categorical: list[str], one: Round) -> Any:
    """Fit on a period and give the raw scores of the next."""
    kinds = [name for name in names if name in categorical]
    columns = learn_columns(frame, names=names, categorical=kinds, max_categories=200, rows=one.train)
    pool = make_pool(columns, frame, rows=one.train, label=frame["label"].filter(one.train).to_numpy())
    params = params_of(project.train.params)
    model = fit_model(quantize(pool), params, settings=project.train, iterations=TREES, seed=0)
    return raw_score(model, make_pool(columns, frame, rows=one.valid))


def compare(project: Project, name: str) -> dict[str, Any]:
    """Fit every variant in every round; give average precision, and differences with their 90 % interval."""
    table = build_features(project)
    objective, frame = make_objective(project), table.frame
    group = entity_groups(frame, cluster=next(iter(project.entities)))
    sets, categorical = variants(table), table.features.categorical
    found: dict[str, list[Any]] = {key: [] for key in sets}
    judged: list[FoldRows] = []
    for one in rounds_of(table, project):
        rows = frame.filter(one.valid)
        judged.append(judge_rows(rows, objective=objective, weight=np.ones(rows.height), group=group[one.valid]))
        wide = frame.with_columns(anomaly(frame, table.features.names, one))
        for key, names in sets.items():
            found[key].append(scores(wide, names, project, categorical, one))
        print(name, len(judged), {key: round(objective.value(judged[-1], item[-1]), 4) for key, item in found.items()})
    return {
        "frauds": [int(rows.y_true.sum()) for rows in judged],
        "features": {key: len(names) for key, names in sets.items()},
        "average_precision": {
            key: [round(objective.value(*pair), 4) for pair in zip(judged, item, strict=True)]
            for key, item in found.items()
        },
        "against_proposed": dict(differences(objective, judged, found)),
    }


def differences(objective: Any, judged: list[FoldRows], found: dict[str, list[Any]]) -> Iterator[tuple[str, Any]]:
    """Give what each variant has more than the proposed set, mean over the rounds."""
    for key, item in found.items():
        gain = paired_gain(objective, judged, item, found["proposed"]) if key != "proposed" else None
        if gain is not None:
            yield key, as_object(gain.rounded())


def on_every_set(compare: Callable[[Project, str], dict[str, Any]], title: str) -> dict[str, Any]:
    """Read the arguments, compare on each data set, print and write the document, and give its part by data set."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--sffsd", type=Path, help="sffsd.parquet")
    parser.add_argument("--handbook", type=Path, help="transactions.parquet of the handbook")
    parser.add_argument("--out", type=Path, help="where the figures are written as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sets = {f"sample, seed {seed}": sample_project(Path(folder) / f"s{seed}", seed) for seed in (0, 1)}
        if options.sffsd is not None:
            sets["S-FFSD"] = sffsd_project(Path(folder) / "sffsd", options.sffsd)
        if options.handbook is not None:
            sets["handbook, as of 2018-08-08"] = handbook_project(Path(folder) / "handbook", options.handbook)
        results = {name: compare(project, name) for name, project in sets.items()}
    document = {
        "trees": TREES,
        "sets": results,
        "machine": {"python": platform.python_version(), "system": platform.system(), "cpus": os.cpu_count()},
        "packages": {key: version(key) for key in ("fraudctl", "catboost", "scikit-learn", "polars", "numpy")},
    }
    print(json.dumps(document, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return results


def main() -> int:
    """Run the benchmark; 1 where the proposed features do not surely beat the raw columns."""
    results = on_every_set(compare, __doc__.split("\n", 1)[0])
    beaten = [item["against_proposed"]["raw columns"]["high"] < 0 for item in results.values()]
    return 0 if all(beaten) else 1


if __name__ == "__main__":
    sys.exit(main())
