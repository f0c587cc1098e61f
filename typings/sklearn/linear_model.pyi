from typing import Any

from numpy.typing import NDArray

class LogisticRegression:
    coef_: NDArray[Any]
    intercept_: NDArray[Any]
    def __init__(self, *, C: float = ..., max_iter: int = ..., tol: float = ...) -> None: ...
    def fit(self, X: NDArray[Any], y: NDArray[Any], sample_weight: NDArray[Any] | None = ...) -> LogisticRegression: ...
    def decision_function(self, X: NDArray[Any]) -> NDArray[Any]: ...
