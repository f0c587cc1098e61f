from typing import Any

import numpy as np
from numpy.typing import NDArray

class DecisionTreeClassifier:
    tree_: Any
    def __init__(self, *, max_depth: int = ..., min_samples_leaf: int = ..., random_state: int = ...) -> None: ...
    def fit(self, X: Any, y: Any) -> DecisionTreeClassifier: ...
    def apply(self, X: Any) -> NDArray[np.int64]: ...
