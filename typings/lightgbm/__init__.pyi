from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

class Dataset:
    def __init__(
        self,
        data: NDArray[Any],
        label: NDArray[Any] | None = ...,
        *,
        weight: NDArray[Any] | None = ...,
        feature_name: Sequence[str] = ...,
        categorical_feature: Sequence[int] = ...,
        params: Mapping[str, Any] | None = ...,
    ) -> None: ...

class Booster:
    def __init__(self, *, model_str: str = ...) -> None: ...
    def predict(
        self, data: NDArray[Any], *, raw_score: bool = ..., pred_contrib: bool = ..., num_threads: int = ...
    ) -> NDArray[Any]: ...
    def dump_model(self, num_iteration: int | None = ...) -> dict[str, Any]: ...
    def get_leaf_output(self, tree_id: int, leaf_id: int) -> float: ...
    def set_leaf_output(self, tree_id: int, leaf_id: int, value: float) -> Booster: ...
    def model_to_string(self, num_iteration: int | None = ...) -> str: ...

def train(
    params: Mapping[str, Any],
    train_set: Dataset,
    num_boost_round: int = ...,
    *,
    callbacks: Sequence[Callable[..., Any]] | None = ...,
) -> Booster: ...
