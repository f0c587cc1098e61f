from typing import Any

import numpy as np
from numpy.typing import NDArray

class _Binomial:
    def logsf(self, k: Any, n: Any, p: Any) -> NDArray[np.float64]: ...

binom: _Binomial

def theilslopes(y: Any, x: Any, alpha: float) -> tuple[float, float, float, float]: ...

class _StudentT:
    def ppf(self, q: float, df: float) -> float: ...

t: _StudentT
