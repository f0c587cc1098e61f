"""The compiled loops: loaded while data are read, compiled once on a machine; and how many threads run them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from fraudctl.features.batch.groups import Workers

COMPILING = "compiling the feature loops (once on this machine)"
_MAX_THREADS = 8


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Load what the compiled loops need while the block runs, which reads data; it takes about 0.3 s."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(_load)
        yield
        done.result()


def _load() -> None:
    import pyarrow as pa

    from fraudctl.features.batch import exact, jit, kernels, sweep, wide

    del exact, kernels, pa, sweep, wide
    jit.load()


def default_workers(threads: int | None = None) -> Workers:
    """Return the threads that were asked for, at most 8; default: one for each processor."""
    return Workers(min(threads or os.cpu_count() or 1, _MAX_THREADS))


def compiled_before() -> bool:
    """Return whether the loops have been compiled on this machine."""
    from fraudctl.features.batch import kernels

    return kernels.compiled_before()
