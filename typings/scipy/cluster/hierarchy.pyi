from typing import Any

import numpy as np
from numpy.typing import NDArray

def linkage(y: NDArray[np.float64], method: str = ...) -> NDArray[np.float64]: ...
def fcluster(Z: NDArray[np.float64], t: float, criterion: str = ...) -> NDArray[np.int32]: ...
