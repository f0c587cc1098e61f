from typing import Any

import numpy as np
from numpy.typing import NDArray

def gammaln(x: Any) -> NDArray[np.float64]: ...
def stdtrit(df: float, p: float) -> float: ...
