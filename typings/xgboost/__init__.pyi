from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

class DMatrix:
    def __init__(
        self,
        data: NDArray[Any],
        label: NDArray[Any] | None = ...,
        *,
        weight: NDArray[Any] | None = ...,
        feature_types: Sequence[str] = ...,
        enable_categorical: bool = ...,
    ) -> None: ...

class Booster:
    def __init__(self, params: Mapping[str, Any] | None = ..., *, model_file: str | Path | None = ...) -> None: ...
    def predict(self, data: DMatrix, *, output_margin: bool = ...) -> NDArray[Any]: ...
    def save_model(self, fname: str | Path) -> None: ...

def train(params: Mapping[str, Any], dtrain: DMatrix, num_boost_round: int = ...) -> Booster: ...
