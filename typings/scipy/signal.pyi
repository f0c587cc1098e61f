from typing import Any

import numpy as np
from numpy.typing import NDArray

def lfilter(
    b: Any, a: Any, x: Any, axis: int = ..., zi: Any = ...
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
