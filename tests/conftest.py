"""Settings of all tests: property tests draw the same examples in CI every time, and never fail for being slow.

Tables that tests build come in chunks of 64 rows, for those of more than 16,384 events do so too. Products of matrices
are computed by one thread, in processes that tests start too: a worker of pytest-xdist has a core, and of threads that
wait for another one's core, each waits by working. Modules are compiled to bytecode once, for all workers and for the
processes that tests start, also where the environment says that none is to be written: each would spend seconds on it.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # is read when NumPy is loaded
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from hypothesis import settings

from fraudctl.features.batch import groups

settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
sys.dont_write_bytecode = False
groups._STRIP_BITS = 6
