"""One CatBoost model: its columns, its fit, and its raw scores.

Owns what stands between a feature table and CatBoost: the columns in their order with the vocabulary of each category,
the check of names and types before every prediction, and fits whose bytes depend on their inputs alone. It knows
nothing of folds, trials or costs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import polars as pl

from fraudctl.calibrate import Calibrator
from fraudctl.errors import BundleError, DataError, ProjectError
from fraudctl.progress import Watch, unwatched
from fraudctl.train.growing import Callback
from fraudctl.weights import in_events

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fraudctl.boosting import CatBoost, Pool
    from fraudctl.challengers import Challenger, ChallengerFacts
    from fraudctl.documents.types import JsonObject
    from fraudctl.project.training import ParamsSection, TrainSection
    from fraudctl.train.partner import Partner

MISSING: Final = "(missing)"
"""How a null category is spelled in the model; no value is, see `ModelColumns.spelled`."""
OTHER: Final = "(other)"
"""How a category outside the vocabulary is spelled in the model; no value is."""
_ESCAPED: Final = 2
"""Version of the spelling in which a value that begins with a parenthesis gets another one."""

BORDER_COUNT: Final = 128
"""Borders that a numeric feature is cut at; the same for all fits, so that a fold is quantised once for all trials."""

_CATEGORY_TYPES = (pl.String, pl.Categorical, pl.Enum, pl.Boolean)


@dataclass(frozen=True)
class ModelColumns:
    """The columns of a model in their order, and the categories that it tells apart.

    Attributes
    ----------
    names
        Feature names in the order in which the model was fitted.
    vocabularies
        Categorical feature -> its known values, as they are in the data.
    spelling
        How values are spelled for CatBoost: 1 as they are (bundles of older versions, in which a value "(other)" counts
        as unseen), 2 so that no value is spelled as `MISSING` or `OTHER`.
    """

    names: tuple[str, ...]
    vocabularies: Mapping[str, tuple[str, ...]]
    spelling: int = _ESCAPED

    def spelled(self, value: str) -> str:
        """Return how a known value is spelled in the model.

        >>> ModelColumns((), {}).spelled("web"), ModelColumns((), {}).spelled("(other)")
        ('web', '((other)')
        """
        return f"({value}" if self.spelling == _ESCAPED and value.startswith("(") else value

    def levels(self, name: str) -> list[str]:
        """Return all levels of a category as the model spells them: its known values, then null, then unseen."""
        return [*map(self.spelled, self.vocabularies[name]), MISSING, OTHER]

    @property
    def categorical(self) -> list[str]:
        """Names of the categorical features, in model order."""
        return [name for name in self.names if name in self.vocabularies]

    def matrix(self, table: pl.DataFrame, *, rows: NDArray[np.bool_] | None = None) -> pl.DataFrame:
        """Return the model's input: Float32 numbers (null where unknown) and String categories, in model order.

        ``rows``, a mask of shape ``(n_events,)``, takes out a part without a copy of the whole table.

        Raises
        ------
        DataError
            A column is missing or of a type that the model was not fitted on.
        """
        self.require(table)
        mask = None if rows is None else pl.lit(pl.Series(rows))
        return table.select(self._expression(name, mask) for name in self.names)

    def require(self, table: pl.DataFrame) -> None:
        """Refuse a table without the model's columns, or with other types; raises as `matrix` does."""
        schema = table.schema  # Polars makes it anew on every look
        problems = [text for name in self.names if (text := self._problem(name, schema))]
        if problems:
            msg = f"the table does not fit the model in {len(problems)} columns: {'; '.join(problems[:5])}"
            raise DataError(msg, hint="build the features with the project file that the model was trained with")

    def _problem(self, name: str, schema: Mapping[str, pl.DataType]) -> str | None:
        if name not in schema:
            return f"{name} is missing"
        dtype = schema[name]
        if name in self.vocabularies:
            sound = dtype in _CATEGORY_TYPES or dtype.is_integer() or dtype == pl.Null
            return None if sound else f"{name} is {dtype}, expected a category (text or whole numbers)"
        sound = dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)
        return None if sound else f"{name} is {dtype}, expected a number"

    def _expression(self, name: str, mask: pl.Expr | None) -> pl.Expr:
        values = pl.col(name) if mask is None else pl.col(name).filter(mask)
        if name not in self.vocabularies:
            return values.cast(pl.Float32).fill_nan(None)
        text = values.cast(pl.String)
        known = text.is_in(list(self.vocabularies[name]))
        if self.spelling == _ESCAPED:
            text = pl.when(text.str.starts_with("(")).then(pl.lit("(") + text).otherwise(text)
        return pl.when(text.is_null()).then(pl.lit(MISSING)).when(known).then(text).otherwise(pl.lit(OTHER)).alias(name)

    def to_dict(self) -> JsonObject:
        """Return the columns as JSON."""
        vocabularies = {name: list(values) for name, values in self.vocabularies.items()}
        return {"names": list(self.names), "vocabularies": vocabularies, "spelling": self.spelling}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ModelColumns:
        """Read what `to_dict` wrote.

        Raises
        ------
        BundleError
            The document is not of that form.
        """
        names, vocabularies = document.get("names"), document.get("vocabularies")
        if not isinstance(names, list) or not isinstance(vocabularies, dict):
            msg = "the bundle's columns cannot be read: names and vocabularies are expected"
            raise BundleError(msg)
        spelling = document.get("spelling", 1)
        if spelling not in (1, _ESCAPED):
            msg = f"the bundle spells categories in version {spelling!r}; expected 1 or {_ESCAPED}"
            raise BundleError(msg, hint="use the version of fraudctl that wrote it")
        return cls(tuple(names), {name: tuple(values) for name, values in vocabularies.items()}, spelling)


def learn_columns(
    table: pl.DataFrame,
    *,
    names: Sequence[str],
    categorical: Collection[str],
    max_categories: int,
    rows: NDArray[np.bool_] | None = None,
) -> ModelColumns:
    """Learn the vocabulary of each categorical feature from training rows alone: the most frequent values.

    Values that are equally frequent are taken in the order of their text. ``rows`` is the mask of the training rows,
    shape ``(n_events,)``; by default they are the whole table.

    Raises
    ------
    DataError
        There is no feature, or one is missing or of a type that no model takes.
    """
    if not names:
        msg = "there are no features to train on"
        raise DataError(msg, hint="[features] must list windows, labels, recency, raw or columns")
    columns = ModelColumns(tuple(names), {name: () for name in names if name in set(categorical)})
    columns.matrix(table.clear())
    known = {name: table[name] if rows is None else table[name].filter(rows) for name in columns.categorical}
    vocabularies = {name: _most_frequent(values, max_categories) for name, values in known.items()}
    return ModelColumns(columns.names, vocabularies)


def _most_frequent(values: pl.Series, limit: int) -> tuple[str, ...]:
    counts = values.cast(pl.String).drop_nulls().rename("value").value_counts(name="n")
    ranked = counts.sort(["n", "value"], descending=[True, False]).head(limit)
    return tuple(sorted(ranked["value"].to_list()))


def make_pool(
    columns: ModelColumns,
    table: pl.DataFrame,
    *,
    rows: NDArray[np.bool_] | None = None,
    label: NDArray[Any] | None = None,
    weight: NDArray[np.float64] | None = None,
) -> Pool:
    """Return the checked rows as a CatBoost pool, its columns in model order (for SHAP values, use it too).

    ``label`` and ``weight`` are those of the rows that ``rows`` takes out. Weights are brought to a mean of 1:
    penalties of a fit are absolute numbers.
    """
    given = None if weight is None else in_events(weight)
    return _pool_of(columns, columns.matrix(table, rows=rows), label=label, weight=given)


def _pool_of(
    columns: ModelColumns,
    matrix: pl.DataFrame,
    *,
    label: NDArray[Any] | None = None,
    weight: NDArray[np.float64] | None = None,
) -> Pool:
    from fraudctl.boosting import Pool

    return Pool(matrix, label=label, weight=weight, cat_features=columns.categorical)


def quantize(pool: Pool, *, like: Pool | None = None) -> Pool:
    """Quantise a training pool in place, so that many fits share the work; at the borders of ``like`` where given."""
    if like is None:
        pool.quantize(border_count=BORDER_COUNT, random_seed=0)
        return pool
    with TemporaryDirectory() as folder:
        borders = str(Path(folder) / "borders.tsv")
        like.save_quantization_borders(borders)
        pool.quantize(input_borders=borders, random_seed=0)
    return pool


def fit_model(
    pool: Pool,
    params: Mapping[str, float],
    *,
    settings: TrainSection,
    iterations: int,
    seed: int,
    valid: Pool | None = None,
    watch: Callable[[int], object] | None = None,
) -> CatBoost:
    """Fit one model; with ``valid`` it stops early on its logarithmic loss (`best_trees` says where the best was).

    No class weights: they lower average precision and inflate probabilities. ``watch`` is called with the number of
    trees after each of them; it changes nothing.

    Returns
    -------
    CatBoost
        With what depends on chance, the clock or the number of threads taken out: same inputs, same bytes.
    """
    from fraudctl.boosting import CatBoost

    model = CatBoost(_catboost_params(params, settings, iterations=iterations, seed=seed))
    stopping = settings.early_stopping if valid is not None else None
    callbacks = None if watch is None else [Callback(watch)]
    model.fit(
        pool, eval_set=valid, early_stopping_rounds=stopping, use_best_model=False, verbose=False, callbacks=callbacks
    )
    return _normalised(model)


def _catboost_params(params: Mapping[str, float], settings: TrainSection, *, iterations: int, seed: int) -> JsonObject:
    given: JsonObject = {
        **params,
        "loss_function": "Logloss",
        "iterations": iterations,
        "random_seed": seed,
        "thread_count": settings.threads,
        "boosting_type": "Plain",
        "bootstrap_type": "Bernoulli" if params["subsample"] < 1.0 else "No",
        "border_count": BORDER_COUNT,
        "max_ctr_complexity": 1,
        "leaf_estimation_iterations": 1,
        "allow_writing_files": False,
    }
    if params["subsample"] >= 1.0:
        del given["subsample"]
    if settings.monotone:
        given["monotone_constraints"] = _monotone(settings)
    return given


def best_trees(model: CatBoost) -> int:
    """Return the number of trees with the lowest loss on the early-stopping rows, at least 1."""
    return int(model.best_iteration_ or 0) + 1


def _monotone(settings: TrainSection) -> dict[str, int]:
    return {name: 1 if way == "increasing" else -1 for name, way in settings.monotone.items()}


def check_monotone(settings: TrainSection, columns: ModelColumns) -> None:
    """Refuse constraints on features that the model does not have, or that have no order.

    Raises
    ------
    ProjectError
        ``[train.monotone]`` names an unknown or categorical feature.
    """
    for name in settings.monotone:
        if name not in columns.names or name in columns.vocabularies:
            kind = "is categorical and has no order" if name in columns.vocabularies else "is no feature of the model"
            msg = f"train.monotone.{name}: {name!r} {kind}"
            raise ProjectError(msg, hint="name a numeric feature; `fraudctl features` lists them")


def _normalised(model: CatBoost) -> CatBoost:
    """Take out what CatBoost draws, reads from the clock, or sums in an order that hangs on the number of threads.

    The trees do not depend on that number. The history of losses does, in its last digits.
    """
    metadata = model.get_metadata()
    params = json.loads(metadata["params"])
    for section in ("flat_params", "system_options"):
        params.get(section, {}).pop("thread_count", None)
        params.get(section, {}).pop("callbacks", None)
    metadata["params"] = json.dumps(params, sort_keys=True)
    metadata["train_finish_time"], metadata["training"] = "", "{}"
    metadata["model_guid"] = _digest(metadata["params"])
    return model


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def member_seeds(seed: int, n_models: int) -> list[int]:
    """Return the seeds of the averaged models: the first is ``seed`` itself, the others are derived from it.

    >>> member_seeds(7, 1)
    [7]
    """
    drawn = [np.random.SeedSequence([seed, i]).generate_state(1)[0] % 2**31 for i in range(1, n_models)]
    return [seed, *map(int, drawn)]


def average_models(models: Sequence[CatBoost]) -> CatBoost:
    """Make one model of several: its log-odds are the mean of theirs.

    The trees are kept side by side, their leaves divided by the number of models, so that scoring, contributions and
    the file of the model are those of any other.

    Parameters
    ----------
    models
        Fits of `fit_model` on the same columns, quantised alike, and with categories on the same rows: CatBoost keeps
        one table of target statistics per category. One model alone is given back as it is.
    """
    from fraudctl.boosting import sum_models

    if len(models) == 1:
        return models[0]
    merged = sum_models(list(models), weights=[1.0 / len(models)] * len(models))
    told, metadata = [dict(model.get_metadata()) for model in models], merged.get_metadata()
    for key in list(metadata.keys()):
        del metadata[key]
    for key in sorted(told[0]):
        metadata[key] = told[0][key]
    metadata["model_guid"] = _digest(*(item["model_guid"] for item in told))
    return merged


def params_of(section: ParamsSection) -> dict[str, float]:
    """Return ``[train.params]`` as CatBoost takes them."""
    return dict(section.model_dump())


def feature_shares(model: CatBoost) -> NDArray[np.float64]:
    """Return the share of each column in the model's feature importance, shape ``(n_columns,)``."""
    return np.asarray(model.get_feature_importance(), dtype=np.float64) / 100.0


def raw_score(model: CatBoost, pool: Pool, *, trees: int = 0) -> NDArray[np.float64]:
    """Return the log-odds of each row, shape ``(n_events,)``, of the first ``trees`` trees (0 = all)."""
    scores = model.predict(pool, prediction_type="RawFormulaVal", ntree_end=trees)
    return np.asarray(scores, dtype=np.float64)


def mean_score(models: Sequence[CatBoost], pool: Pool, *, trees: int) -> NDArray[np.float64]:
    """Return the mean log-odds of the models, of at most ``trees`` trees each, shape ``(n_events,)``."""
    scores = [raw_score(model, pool, trees=min(trees, model.tree_count_)) for model in models]
    return np.asarray(np.mean(scores, axis=0), dtype=np.float64)


class Scorer(Protocol):
    """What can score: a trained model or a loaded bundle."""

    @property
    def columns(self) -> ModelColumns:
        """Columns that the model takes."""

    @property
    def model(self) -> CatBoost:
        """The CatBoost model."""

    @property
    def partner(self) -> Partner | None:
        """The LightGBM trees that have a share of the score; None where CatBoost scores alone."""

    @property
    def challenger(self) -> Challenger | None:
        """The challenger that scores instead of CatBoost; None where CatBoost does."""

    @property
    def calibrator(self) -> Calibrator:
        """From raw score to probability."""


def challenger_rows(columns: ModelColumns, table: pl.DataFrame, facts: ChallengerFacts) -> pl.DataFrame:
    """Return events of a feature table as a challenger sees them."""
    from fraudctl.challengers.contract import plain_rows

    return plain_rows(table, columns.matrix(table), facts.entities)


def predict(
    scorer: Scorer, table: pl.DataFrame, *, whole: pl.DataFrame | None = None, watch: Watch = unwatched
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score a feature table.

    Parameters
    ----------
    whole
        The feature table that the rows are a part of: what a challenger that looks back on earlier events finds them
        in. Others need none.
    watch
        Called with the name of each step before it begins.

    Returns
    -------
    y_score, y_prob
        Raw scores (log-odds) and calibrated probabilities, each of shape ``(n_events,)``.

    Raises
    ------
    DataError
        Names or types of columns are not those of the model. Their order in the table does not matter.
    BundleError
        A challenger looks back, and ``whole`` was not given; or its program is not the one that was fitted.
    """
    if table.is_empty():
        scorer.columns.matrix(table)
        return np.empty(0), np.empty(0)
    if scorer.challenger is not None:
        y_score = _challenged(scorer.challenger, scorer.columns, table, whole)
        return y_score, scorer.calibrator.predict(y_score)
    watch("columns of the model")
    matrix = scorer.columns.matrix(table)
    watch("trees")
    y_score = raw_score(scorer.model, _pool_of(scorer.columns, matrix))
    watch("probabilities")
    if scorer.partner is not None:
        y_score = scorer.partner.score(y_score, matrix)
    return y_score, scorer.calibrator.predict(y_score)


def _challenged(
    challenger: Challenger, columns: ModelColumns, table: pl.DataFrame, whole: pl.DataFrame | None
) -> NDArray[np.float64]:
    from fraudctl.challengers.fitted import nearby

    if whole is None and challenger.section.history is not None:
        msg = f"the challenger {challenger.name} looks back on earlier events, and none were given"
        raise BundleError(msg, hint="give the table that the rows are a part of")
    context = nearby(table.clear() if whole is None else whole, table, challenger.section)
    rows, others = (challenger_rows(columns, part, challenger.facts) for part in (table, context))
    return challenger.score(rows, others)
