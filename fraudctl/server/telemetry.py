"""What a server tells of itself: counters for Prometheus, and JSON lines for its log. Neither holds personal data."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
import traceback
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final

BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
"""Upper ends of the buckets of times, in seconds."""


def labels(**values: str) -> str:
    """Return labels as Prometheus reads them, whatever their values hold."""
    return ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in values.items())


_ESCAPED: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
"""What the text format escapes in a label's value."""


def resident_bytes() -> int:
    """Return the memory that this process takes now; where the system does not say, the most that it took."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - quicker, and often asked
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Histogram:
    """Times in the buckets of Prometheus.

    Parameters
    ----------
    name, words
        What Prometheus calls it, and what it is.
    """

    def __init__(self, name: str, words: str) -> None:
        self._name, self._words = name, words
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def took(self, seconds: float) -> None:
        """Record a time."""
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def lines(self) -> Iterator[str]:
        """Yield it in Prometheus' text format."""
        name, running = self._name, 0
        yield f"# HELP {name} {self._words}"
        yield f"# TYPE {name} histogram"
        for end, count in zip([*map(str, BUCKETS), "+Inf"], self._buckets, strict=True):
            running += count
            yield f'{name}_bucket{{le="{end}"}} {running}'
        yield f"{name}_sum {self._seconds:.6f}"
        yield f"{name}_count {running}"


class Metrics:
    """Requests by route and status, and how long those for decisions took."""

    def __init__(self) -> None:
        self.requests = Counter[tuple[str, int]]()
        self._decisions = Histogram("fraudctl_decision_seconds", "Time from a request to its answer.")

    def count(self, route: str, status: int) -> None:
        """Count a request."""
        self.requests[route, status] += 1

    def took(self, seconds: float) -> None:
        """Record how long a request for decisions took."""
        self._decisions.took(seconds)

    def text(self, gauges: Mapping[str, tuple[str, str, Mapping[str, float]]]) -> str:
        """Return everything in Prometheus' text format.

        Parameters
        ----------
        gauges
            Name -> its type, its meaning, and values by labels, which `labels` writes.
        """
        lines = list(series("fraudctl_requests_total", "counter", "Requests by route and status.", {
            labels(route=route, status=str(status)): count for (route, status), count in sorted(self.requests.items())
        }))  # fmt: skip
        lines += self._decisions.lines()
        for key, (kind, words, values) in gauges.items():
            lines += series(key, kind, words, values)
        return "\n".join(lines) + "\n"


def series(name: str, kind: str, words: str, values: Mapping[str, float]) -> Iterator[str]:
    """Yield values by labels in Prometheus' text format."""
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values.items():
        yield f"{name}{{{labels}}} {value:g}" if labels else f"{name} {value:g}"


class Log:
    """One JSON object a line, on stderr: what happened, never to whom."""

    def __init__(self, stream: IO[str] | None = None, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose

    def about(self, error: BaseException | None) -> dict[str, str]:
        """Return what the log says of an error: its kind, and its text and traceback only where it is verbose."""
        if error is None:
            return {}
        told = {"kind": type(error).__name__}
        return told | {"traceback": "".join(traceback.format_exception(error))} if self._verbose else told

    def say(self, event: str, level: str = "info", **facts: Any) -> None:
        """Write a line."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
        line = json.dumps({"time": stamp, "level": level, "event": event, **facts}, default=str)
        with contextlib.suppress(OSError, ValueError):  # a log that cannot be written stops no decision
            print(line, file=self._stream or sys.stderr, flush=True)
