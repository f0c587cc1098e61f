"""What two habits of fitting would bring: class weights, and ten steps per leaf (CatBoost's default for this loss).

On the sets and training periods of `bench_proposal.py`, with the proposed features: the fit as `train` does it, the
same with frauds weighted until both classes weigh the same, and the same with ten steps per leaf. Prints average
precision and ROC AUC on the period after, the differences with a 90 % interval, by what the sum of the probabilities
is multiplied, and the processor time of a fit, each against the fit as it is.

    python benchmarks/bench_fit.py --sffsd sffsd.parquet --handbook transactions.parquet \
        --out benchmarks/results/fit.json
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
from bench_proposal import TREES, Round, on_every_set, rounds_of
from catboost import CatBoost
from sklearn.metrics import roc_auc_score

from fraudctl import build_features
from fraudctl.documents.results import as_object
from fraudctl.project import Project
from fraudctl.train import fit_model, learn_columns, make_pool, params_of, quantize
from fraudctl.train.model import raw_score
from fraudctl.train.objective import FoldRows, entity_groups, judge_rows, make_objective, paired_gain
from fraudctl.workflows.features import FeatureTable

AS_IS, WEIGHTED, STEPS = "as train fits", "class weights", "ten steps per leaf"
Floats = npt.NDArray[np.float64]


def balanced(label: npt.NDArray[np.int8]) -> Floats:
    """Give weights with which frauds weigh as much as all the rest, shape ``(n_rows,)``."""
    return np.where(label == 1, (label == 0).sum() / max((label == 1).sum(), 1), 1.0)


def fits(table: FeatureTable, project: Project, one: Round) -> dict[str, tuple[Floats, float]]:
    """Fit each way on one training period; give the raw scores of the period after, and the processor seconds."""
    frame, names = table.frame, table.features.names
    columns = learn_columns(
        frame, names=names, categorical=table.features.categorical, max_categories=200, rows=one.train
    )
    label = frame["label"].filter(one.train).to_numpy()
    plain = quantize(make_pool(columns, frame, rows=one.train, label=label))
    heavy = quantize(make_pool(columns, frame, rows=one.train, label=label, weight=balanced(label)))
    after = make_pool(columns, frame, rows=one.valid)
    params, out = params_of(project.train.params), {}

    def steps() -> CatBoost:
        """Fit with the parameters of the plain model and ten steps per leaf."""
        model = CatBoost({**fit_model(plain, params, settings=project.train, iterations=1, seed=0).get_params(),
                          "iterations": TREES, "leaf_estimation_iterations": 10,
                          "thread_count": project.train.threads})  # fmt: skip
        return model.fit(plain, verbose=False)

    ways = {
        AS_IS: lambda: fit_model(plain, params, settings=project.train, iterations=TREES, seed=0),
        WEIGHTED: lambda: fit_model(heavy, params, settings=project.train, iterations=TREES, seed=0),
        STEPS: steps,
    }
    for name, way in ways.items():
        started = time.process_time()
        model = way()
        out[name] = raw_score(model, after), time.process_time() - started
    return out


def probability(raw: Floats) -> Floats:
    """Give the probabilities that raw scores stand for."""
    found: Floats = 1 / (1 + np.exp(-raw))
    return found


def compare(project: Project, name: str) -> dict[str, Any]:
    """Fit each way on each period; give the figures of one set."""
    table = build_features(project)
    objective, frame = make_objective(project), table.frame
    group = entity_groups(frame, cluster=next(iter(project.entities)))
    judged: list[FoldRows] = []
    found: list[dict[str, tuple[Floats, float]]] = []
    for one in rounds_of(table, project):
        rows = frame.filter(one.valid)
        judged.append(judge_rows(rows, objective=objective, weight=np.ones(rows.height), group=group[one.valid]))
        found.append(fits(table, project, one))
        print(
            name, len(judged), {way: round(objective.value(judged[-1], raw), 4) for way, (raw, _) in found[-1].items()}
        )
    return {way: figures(objective, judged, found, way) for way in (AS_IS, WEIGHTED, STEPS)}


def figures(objective: Any, judged: list[FoldRows], found: list[dict[str, Any]], way: str) -> dict[str, Any]:
    """Give the means over the periods of one way of fitting, and the differences from the fit as it is."""
    raw, usual = ([item[key][0] for item in found] for key in (way, AS_IS))
    gain = paired_gain(objective, judged, raw, usual) if way != AS_IS else None
    auc = [float(roc_auc_score(rows.y_true, item)) for rows, item in zip(judged, raw, strict=True)]
    sums = [probability(item).sum() / probability(base).sum() for item, base in zip(raw, usual, strict=True)]
    seconds = [item[way][1] / item[AS_IS][1] for item in found]
    return {
        "average_precision": float(np.mean([objective.value(*pair) for pair in zip(judged, raw, strict=True)])),
        "gain": None if gain is None else as_object(gain.rounded()),
        "roc_auc": float(np.mean(auc)),
        "times_the_probabilities": float(np.exp(np.mean(np.log(sums)))),
        "times_the_seconds": float(np.median(seconds)),
    }


if __name__ == "__main__":
    on_every_set(compare, __doc__.split("\n", 1)[0])
