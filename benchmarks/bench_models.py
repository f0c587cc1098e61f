"""Our model against the libraries that one might pick instead, on the same as-of features and the same rows.

Every set is trained as of the start of its test period, with `[train] trials = 0`, and judged by average precision on
the mature events of that period. Rivals are fitted on our training rows with the settings that their libraries come
with: CatBoost, LightGBM, XGBoost and HistGradientBoosting take all columns, categories as their own kind of category.
LightGBM with small leaves in small steps, at the best thresholds or at random ones, takes the numeric columns; these
are like the two forests of a partner of `train`. LightGBM, XGBoost, the logistic regression and the GRU are the shipped
challengers, in programs of their own. Each difference (the rival minus ours) has a 90 % interval from a jackknife over
groups of entities. Times are processor seconds in one thread: ours hold the folds that give trees, calibration, policy
scores and the partner's weight, those of the rivals are of one fit; a challenger's hold its start and its tables.

    python benchmarks/bench_models.py --seeds 0 1 --sffsd sffsd.parquet --handbook transactions.parquet \
        --claims fraud_oracle.csv --out benchmarks/results/models.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from bench_proposal import handbook_project, sffsd_project

from fraudctl import build_features, init_project, load_project, write_sample
from fraudctl.challengers.contract import training_rows
from fraudctl.challengers.fitted import nearby
from fraudctl.challengers.program import read_program
from fraudctl.documents.results import as_object
from fraudctl.maturity import mature
from fraudctl.progress import Silent
from fraudctl.project import Project
from fraudctl.project.challengers import ChallengerSection
from fraudctl.propose import Flags
from fraudctl.split import make_split
from fraudctl.train import fit_project, learn_columns, make_pool
from fraudctl.train.blending import Blending
from fraudctl.train.challenging import facts_of
from fraudctl.train.model import ModelColumns, challenger_rows, predict, raw_score
from fraudctl.train.objective import FoldRows, entity_groups, judge_rows, make_objective, paired_gain
from fraudctl.train.partner import numbers_of
from fraudctl.workflows.features import FeatureTable

Scores = npt.NDArray[np.float64]
OURS, ALONE = "ours", "ours without a partner"


@dataclass(frozen=True)
class Ground:
    """One set: its rows in training and test, as our columns and as plain numbers."""

    project: Project
    table: FeatureTable
    columns: ModelColumns
    train: pl.DataFrame
    test: pl.DataFrame
    judged: FoldRows

    @property
    def label(self) -> npt.NDArray[np.int8]:
        """Outcomes of the training rows."""
        return self.train["label"].to_numpy()

    def matrices(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Training and test rows with categories as pandas-like enums, for libraries with categories of their own."""
        return self._coded(self.train), self._coded(self.test)

    def _coded(self, frame: pl.DataFrame) -> pl.DataFrame:
        levels = {name: pl.Enum(self.columns.levels(name)) for name in self.columns.categorical}
        return self.columns.matrix(frame).with_columns(pl.col(name).cast(kind) for name, kind in levels.items())


def claims_project(place: Path, source: Path) -> Project:
    """Give every vehicle claim a day of its month and week, and let `init` propose."""
    place.mkdir(parents=True, exist_ok=True)
    frame = pl.read_csv(source, encoding="utf8-lossy")
    frame = frame.rename({frame.columns[0]: "Month"})
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    month = pl.col("Month").replace_strict({name: at + 1 for at, name in enumerate(months)}, return_dtype=pl.Int8)
    day = pl.date(pl.col("Year"), month, 1) + pl.duration(days=7 * (pl.col("WeekOfMonth") - 1))
    frame = frame.with_columns(at=day.cast(pl.Datetime("us", "UTC"))).drop("Training", strict=False)
    frame.write_parquet(place / "claims.parquet")
    flags = Flags(event_id="PolicyNumber", event_time="at", label="FraudFound_P", label_delay="30d")
    init_project([str(place / "claims.parquet")], place=place, flags=flags, force=True)
    return load_project(place)


def sample_of(place: Path, seed: int, events: int) -> Project:
    """Make a world; the project file beside it is what `init` proposes."""
    write_sample(place, n_events=events, seed=seed)
    return load_project(place)


def ground_of(project: Project) -> Ground:
    """Build the features and split; training rows are those of the final model, test rows are mature."""
    recipe = project.train.model_copy(update={"trials": 0, "threads": 1})
    project = project.model_copy(update={"train": recipe})
    table = build_features(project)
    frame, split = table.frame, make_split(table.frame, project, known_until=table.known_until)
    known = mature(frame, label_delay=project.data.label_delay, known_until=table.known_until)
    times = frame["event_time"]
    test = (
        (times >= split.times.as_of) & (times < split.times.test_until) & known & frame["label"].is_not_null()
    ).to_numpy()
    features = table.features
    columns = learn_columns(
        frame, names=features.names, categorical=features.categorical, rows=split.train,
        max_categories=project.train.max_categories,
    )  # fmt: skip
    group = entity_groups(frame, cluster=next(iter(project.entities), None))[test]
    objective = make_objective(project)
    judged = judge_rows(frame.filter(test), objective=objective, weight=np.ones(int(test.sum())), group=group)
    return Ground(project, table, columns, frame.filter(split.train), frame.filter(test), judged)


def ours(ground: Ground) -> tuple[dict[str, Scores], dict[str, float], dict[str, Any]]:
    """Train as `fraudctl train --trials 0` does; scores with and without the partner, seconds, and the summary."""
    frame, project = ground.table.frame, ground.project
    split = make_split(frame, project, known_until=ground.table.known_until)
    with _timed(Blending, "rehearse", "final") as partner:
        begun = _spent()
        made = fit_project(frame, ground.table.features, project, split, progress=Silent())
        seconds = _spent() - begun
    alone = raw_score(made.model, make_pool(made.columns, ground.test))
    told = made.summary.partner
    share = as_object(told) if told is not None else {}
    scores = {OURS: predict(made, ground.test)[0], ALONE: alone}
    return scores, {OURS: seconds, ALONE: seconds - sum(partner)}, {"trees": made.n_trees, "partner": share}


def _spent() -> float:
    """Return the processor seconds of this process and of the programs that it ran to their end."""
    return sum(os.times()[:4])


@contextlib.contextmanager
def _timed(kind: type, *names: str) -> Iterator[list[float]]:
    """Note the processor seconds of calls of some methods."""
    found: list[float] = []
    before = {name: getattr(kind, name) for name in names}

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            begun = _spent()
            try:
                return call(*arguments, **named)
            finally:
                found.append(_spent() - begun)

        return run

    for name, call in before.items():
        setattr(kind, name, timed(call))
    try:
        yield found
    finally:
        for name, call in before.items():
            setattr(kind, name, call)


def catboost_defaults(ground: Ground) -> Scores:
    """Fit CatBoost as it comes."""
    from catboost import CatBoost

    model = CatBoost({"loss_function": "Logloss", "thread_count": 1, "random_seed": 0, "allow_writing_files": False})
    model.fit(make_pool(ground.columns, ground.train, label=ground.label), verbose=False)
    return raw_score(model, make_pool(ground.columns, ground.test))


def challenged(entry: str, *, history: str | None = None, **params: float) -> Callable[[Ground], Scores]:
    """Return a fit of a shipped challenger by its contract: rows with labels in, files out, rows without labels in."""

    def fit(ground: Ground) -> Scores:
        given = {"entry": f"fraudctl.challengers.{entry}", "params": params, "history": history}
        program = read_program(entry, ChallengerSection.model_validate(given), Path())
        split = make_split(ground.table.frame, ground.project, known_until=ground.table.known_until)
        facts = facts_of(ground.columns, program, ground.project, step="fit", as_of=split.as_of)
        known = [nearby(ground.table.frame, part, program.section) for part in (ground.train, ground.test)]
        parts = (ground.train, known[0], ground.test, known[1])
        train, before, rows, context = (challenger_rows(ground.columns, part, facts) for part in parts)
        model = program.fit(training_rows(train, ground.label, None), before, facts, where="benchmark")
        return program.score(rows, context, model.files, replace(facts, step="score"), where="benchmark")

    return fit


def small_leaved(**given: float) -> Callable[[Ground], Scores]:
    """Return a fit of LightGBM with small leaves in small steps, on the numeric features."""

    def fit(ground: Ground) -> Scores:
        import lightgbm

        settings = {
            "objective": "binary", "num_leaves": 15, "min_data_in_leaf": 50, "lambda_l2": 5.0, "bagging_fraction": 0.8,
            "bagging_freq": 1, "seed": 0, "num_threads": 1, "deterministic": True, "verbosity": -1, **given,
        }  # fmt: skip
        train, test = (numbers_of(ground.columns, frame) for frame in ground.matrices())
        model = lightgbm.train(settings, lightgbm.Dataset(train, ground.label, params=settings), 150)
        return np.asarray(model.predict(test, raw_score=True, num_threads=1), dtype=np.float64)

    return fit


def histogram_defaults(ground: Ground) -> Scores:
    """Fit scikit-learn's HistGradientBoostingClassifier as it comes, categories as its own."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    train, test = (_codes(frame).to_numpy() for frame in ground.matrices())
    kinds = [name in ground.columns.vocabularies for name in ground.columns.names]
    model = HistGradientBoostingClassifier(random_state=0, categorical_features=kinds)
    model.fit(train, ground.label)
    return np.asarray(model.decision_function(test), dtype=np.float64)


MOST_FOR_GRU = 200_000
"""Training rows with which the GRU is fitted: it takes hours with many more."""

RIVALS: dict[str, Callable[[Ground], Scores]] = {
    "CatBoost, defaults": catboost_defaults,
    "LightGBM, defaults": challenged("lightgbm"),
    "LightGBM, small leaves": small_leaved(learning_rate=0.05, feature_fraction=0.6),
    "LightGBM, random thresholds": small_leaved(learning_rate=0.08, feature_fraction=0.8, extra_trees=True),
    "XGBoost, defaults": challenged("xgboost"),
    "HistGradientBoosting, defaults": histogram_defaults,
    "logistic regression": challenged("logistic"),
    "GRU": challenged("gru", history="90d"),
}


def _codes(frame: pl.DataFrame) -> pl.DataFrame:
    """Return numbers, NaN where null, and categories as codes."""
    return frame.select(
        pl.col(name).to_physical().cast(pl.Float32) if isinstance(kind, pl.Enum) else pl.col(name).fill_null(np.nan)
        for name, kind in frame.schema.items()
    )


def compare(name: str, project: Project, rivals: Sequence[str]) -> dict[str, Any]:
    """Fit all models of a set; the figure of each, its difference from ours, and its seconds."""
    ground = ground_of(project)
    objective = make_objective(ground.project)
    scores, seconds, facts = ours(ground)
    for rival in rivals:
        if rival == "GRU" and (not ground.project.entities or ground.train.height > MOST_FOR_GRU):
            continue  # it reads the earlier events of an entity
        begun = _spent()
        scores[rival] = RIVALS[rival](ground)
        seconds[rival] = _spent() - begun
    found = {}
    for model, score in scores.items():
        gain = None if model == OURS else paired_gain(objective, [ground.judged], [score], [scores[OURS]])
        found[model] = {
            "average_precision": round(objective.value(ground.judged, score), 4),
            "against_ours": None if gain is None else as_object(gain.rounded()),
            "cpu_seconds": round(seconds[model], 1),
        }
        shown = "" if gain is None else gain.words()
        print(f"{name:28} {model:32} {found[model]['average_precision']:.4f} {shown:32} {seconds[model]:8.1f} s")
    y_true = ground.judged.y_true
    rows = {"train": ground.train.height, "test": len(y_true), "test_frauds": int(y_true.sum())}
    return {"rows": rows, "features": len(ground.columns.names), **facts, "models": found}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1], help="worlds of the sample")
    parser.add_argument("--events", type=int, default=80_000, help="their events")
    parser.add_argument("--sffsd", type=Path, help="S-FFSD as Parquet")
    parser.add_argument("--handbook", type=Path, help="the handbook's transactions as Parquet")
    parser.add_argument("--claims", type=Path, help="vehicle claims as CSV")
    parser.add_argument("--models", nargs="*", choices=list(RIVALS), help="rivals to fit; default: all")
    parser.add_argument("--out", type=Path, help="JSON, written after each set; sets that it holds are kept")
    return parser.parse_args()


def document_of(sets: dict[str, Any], load: float) -> dict[str, Any]:
    """Return the figures with the versions and the load of the machine before and after."""
    return {
        "sets": sets,
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "cpus": os.cpu_count(),
            "load": [round(one, 1) for one in (load, os.getloadavg()[0])],
        },
        "packages": {
            key: version(key)
            for key in ("fraudctl", "catboost", "lightgbm", "xgboost", "scikit-learn", "torch", "numpy")
        },
    }


def main() -> int:
    """Run the benchmark; 1 where a rival's interval lies wholly above ours."""
    options, load = _options(), os.getloadavg()[0]
    known = options.out is not None and options.out.exists()
    sets = json.loads(options.out.read_text(encoding="utf-8"))["sets"] if known else {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        makers: dict[str, Callable[[], Project]] = {
            f"sample, seed {seed}": lambda seed=seed: sample_of(place / f"s{seed}", seed, options.events)  # type: ignore[misc]
            for seed in options.seeds
        }
        given = {"S-FFSD": (sffsd_project, options.sffsd), "vehicle claims": (claims_project, options.claims)}
        given["handbook, as of 2018-08-08"] = (handbook_project, options.handbook)
        for name, (make, source) in given.items():
            if source is not None:
                makers[name] = lambda make=make, source=source, at=place / name: make(at, source)  # type: ignore[misc]
        for name in [name for name in makers if name not in sets]:
            sets[name] = compare(name, makers[name](), [item for item in RIVALS if item in (options.models or RIVALS)])
            if options.out is not None:
                options.out.write_text(json.dumps(document_of(sets, load), indent=1) + "\n", encoding="utf-8")
    ahead = [
        f"{rival} on {name}"
        for name, found in sets.items()
        for rival, item in found["models"].items()
        if item["against_ours"] is not None and item["against_ours"]["low"] > 0
    ]
    print("no rival is surely better" if not ahead else f"surely better than ours: {', '.join(ahead)}")
    return 1 if ahead else 0


if __name__ == "__main__":
    sys.exit(main())
