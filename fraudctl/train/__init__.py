"""From a feature table to a trained, calibrated model: folds, search, fit, baselines, and what the run says of itself.

`fit` owns the order of the work, `challenging` that of a challenger's, `job` what both have in common; `tune` the
search, `objective` what it compares by, `baselines` what a model must beat, `report` how well probabilities keep their
word, `model` one CatBoost model and the columns it takes, and `partner` the LightGBM trees beside it.
"""

from fraudctl.train.challenging import fit_challenger
from fraudctl.train.fit import fast_project, fit_project
from fraudctl.train.job import ChampionModel, ModelFeatures, TrainedModel
from fraudctl.train.model import ModelColumns, Scorer, fit_model, learn_columns, make_pool, params_of, predict, quantize
from fraudctl.train.partner import Partner, partner_wanted

__all__ = [
    "ChampionModel",
    "ModelColumns",
    "ModelFeatures",
    "Partner",
    "Scorer",
    "TrainedModel",
    "fast_project",
    "fit_challenger",
    "fit_model",
    "fit_project",
    "learn_columns",
    "make_pool",
    "params_of",
    "partner_wanted",
    "predict",
    "quantize",
]
