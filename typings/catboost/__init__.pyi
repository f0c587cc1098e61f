from collections.abc import Mapping, MutableMapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

class CatBoostError(Exception): ...

class Pool:
    def __init__(
        self,
        data: pl.DataFrame | NDArray[Any],
        label: NDArray[Any] | None = ...,
        cat_features: Sequence[str | int] | None = ...,
        *,
        weight: NDArray[Any] | None = ...,
        feature_names: Sequence[str] | None = ...,
    ) -> None: ...
    def quantize(self, *, border_count: int = ..., random_seed: int = ...) -> None: ...
    def num_row(self) -> int: ...
    def get_feature_names(self) -> list[str]: ...

class CatBoost:
    def __init__(self, params: Mapping[str, Any] | None = ...) -> None: ...
    def fit(
        self,
        X: Pool | NDArray[Any],
        *,
        eval_set: Pool | None = ...,
        early_stopping_rounds: int | None = ...,
        use_best_model: bool | None = ...,
        verbose: bool = ...,
    ) -> CatBoost: ...
    def predict(
        self,
        data: Pool | NDArray[Any],
        prediction_type: str = ...,
        ntree_start: int = ...,
        ntree_end: int = ...,
        thread_count: int = ...,
    ) -> NDArray[np.float64]: ...
    def get_feature_importance(
        self, data: Pool | None = ..., type: str = ..., thread_count: int = ...
    ) -> NDArray[np.float64]: ...
    def get_metadata(self) -> MutableMapping[str, str]: ...
    def save_model(self, fname: str | PathLike[str], format: str = ...) -> None: ...
    def load_model(self, fname: str | PathLike[str] = ..., *, blob: bytes = ...) -> CatBoost: ...
    @property
    def tree_count_(self) -> int: ...
    @property
    def best_iteration_(self) -> int | None: ...
    @property
    def feature_names_(self) -> list[str]: ...

class CatBoostClassifier(CatBoost): ...
