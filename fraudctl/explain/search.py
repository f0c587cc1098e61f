"""The arithmetic of the slice search: excess loss, its spread under equal chances, and permuted errors.

With error indicator ``y``, stake ``w`` (money) and the error rate ``e`` of its score stratum, a slice S has the
statistic ``sum_S w (y - e) / sqrt(sum_S w^2 e (1 - e) + s0^2)``; ``s0^2`` (two typical errors) keeps tiny slices from
winning by chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fraudctl.arrays import BoolArray, FloatArray, IntArray

MIN_IN_SLICE: Final = 5
BEAM: Final = 4
KEEP: Final = 8
SAMPLE: Final = 3_000
LOGIT_STEP: Final = 0.15
MIN_STRATUM: Final = 15


@dataclass(frozen=True)
class Errors:
    """A population in which some events are errors, shape ``(n_events,)`` each; no stake is negative."""

    error: BoolArray
    stake: FloatArray
    weight: FloatArray
    stratum: IntArray
    rate: FloatArray
    spread: FloatArray
    floor: float

    @classmethod
    def make(cls, error: BoolArray, stake: FloatArray, weight: FloatArray, stratum: IntArray) -> Errors:
        """Derive the rate of each event's stratum, the variance of its loss, and the floor of the spread."""
        size = int(stratum.max(initial=0)) + 1
        total = np.bincount(stratum, weight, minlength=size)
        hits = np.bincount(stratum[error], minlength=size)
        rate = np.minimum((hits / np.maximum(total, 1e-12))[stratum], 1.0)
        stake = stake / (float(np.abs(stake).max(initial=0.0)) or 1.0)  # the statistic has no unit; float32 holds it
        spread = weight * stake**2 * rate * (1.0 - rate)
        floor = 2.0 * float((stake[error] ** 2).mean()) if error.any() else 0.0
        return cls(error, stake, weight, stratum, rate, spread, floor or float(stake.max(initial=0.0) ** 2) or 1.0)


def strata_of(y_prob: FloatArray) -> IntArray:
    """Group events of nearly equal score: steps of 0.15 in log-odds, joined until each holds 15 events.

    The grouping looks at scores only. Returns codes from 0, shape ``(n_events,)``.
    """
    p = np.clip(y_prob, 1e-9, 1 - 1e-9)
    step = np.floor(np.log(p / (1 - p)) / LOGIT_STEP).astype(np.int64)
    levels, code, count = np.unique(step, return_inverse=True, return_counts=True)
    joined = np.zeros(len(levels), dtype=np.int64)
    held, group = 0, 0
    for i in range(len(levels)):
        joined[i] = group
        held += int(count[i])
        if held >= MIN_STRATUM:
            held, group = 0, group + 1
    if held and group:
        joined[joined == group] = group - 1
    return joined[code]


def draw_errors(errors: Errors, n: int, *, seed: list[int]) -> IntArray:
    """Draw, per permutation, as many events as there are errors from each stratum; shape ``(n, n_errors)``.

    Without replacement where errors are common in a stratum; with replacement, by weight, where they are rare.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(errors.stratum, kind="stable")
    bounds = np.searchsorted(errors.stratum[order], np.arange(int(errors.stratum.max(initial=0)) + 2))
    out: list[IntArray] = []
    for s in range(len(bounds) - 1):
        rows = order[bounds[s] : bounds[s + 1]]
        k = int(errors.error[rows].sum())
        if k == 0:
            continue
        if k * 20 < len(rows):
            total = np.cumsum(errors.weight[rows])
            picked = np.searchsorted(total, rng.random((n, k)) * total[-1], side="right")
            out.append(rows[np.minimum(picked, len(rows) - 1)])
        else:
            keys = rng.random((n, len(rows))) / errors.weight[rows]
            out.append(rows[np.argpartition(keys, k - 1, axis=1)[:, :k]] if k < len(rows) else np.tile(rows, (n, 1)))
    return np.concatenate(out, axis=1) if out else np.zeros((n, 0), dtype=np.int64)


def _standard(errors: Errors, hit: FloatArray, count: IntArray, mean: FloatArray, spread: FloatArray) -> FloatArray:
    z = (hit - mean) / np.sqrt(spread + errors.floor)
    return np.asarray(np.where(count >= MIN_IN_SLICE, z, -np.inf), dtype=np.float64)


def single_statistics(errors: Errors, held: BoolArray, drawn: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the statistics of the conditions, shape ``(n_conditions,)``; under permutation ``(n, n_conditions)``."""
    mean = held.T @ (errors.weight * errors.stake * errors.rate)
    spread = held.T @ errors.spread
    own = np.flatnonzero(errors.error)
    observed = _standard(errors, errors.stake[own] @ held[own], held[own].sum(axis=0), mean, spread)
    null = np.full((len(drawn), held.shape[1]), -np.inf)
    for i, rows in enumerate(drawn):
        null[i] = _standard(errors, errors.stake[rows] @ held[rows], held[rows].sum(axis=0), mean, spread)
    return observed, null


class _Search:
    """The search over up to three conditions, the same on real and on permuted errors.

    Products of a matrix with itself are symmetric and cost half of others, so money is spread over both factors as its
    root. What three conditions would come to depends on the first two alone, and is kept.
    """

    def __init__(self, errors: Errors, held: BoolArray) -> None:
        self.errors = errors
        self.matrix = np.ascontiguousarray(held, dtype=np.float32)  # `take` would copy all of another order
        self.root = np.sqrt(errors.stake).astype(np.float32)[:, None]
        loss = (errors.weight * errors.stake * errors.rate).astype(np.float32)
        mean = (self.matrix * loss[:, None]).T @ self.matrix
        spread = (self.matrix * errors.spread.astype(np.float32)[:, None]).T @ self.matrix
        able = np.triu((self.matrix.T @ self.matrix) > 0)
        self.mean = np.where(able, mean, np.float32(np.inf))  # no loss is more than that: the others are never best
        self.precision = (1.0 / np.sqrt(spread + np.float32(errors.floor))).astype(np.float32)
        self.pick, self.scale = self._importance(loss)
        self.picked = np.asfortranarray(held[self.pick])
        self.known: dict[tuple[int, int], tuple[FloatArray, FloatArray]] = {}

    def _importance(self, loss: Any) -> tuple[IntArray, tuple[FloatArray, FloatArray]]:
        """Choose rows by expected loss, by which the moments of three conditions are estimated."""
        total = float(loss.sum())
        n = len(loss)
        if n <= SAMPLE or total <= 0:
            return np.arange(n), (loss.astype(np.float64), self.errors.spread)
        places = (np.arange(SAMPLE) + 0.5) / SAMPLE * total
        rows = np.searchsorted(np.cumsum(loss.astype(np.float64)), places)
        rows = np.minimum(rows, n - 1)
        worth = np.full(SAMPLE, total / SAMPLE)
        return rows, (worth, worth * (self.errors.stake * (1.0 - self.errors.rate))[rows])

    def run(self, rows: IntArray, *, keep: int = KEEP) -> list[tuple[float, tuple[int, ...]]]:
        """Return the best slices for these errors, best first; of one and two conditions ``keep`` are looked at."""
        hit = self.matrix.take(rows, axis=0)
        paid = hit * self.root[rows]
        z = paid.T @ paid
        z -= self.mean
        z *= self.precision
        np.copyto(z, -np.inf, where=hit.T @ hit < MIN_IN_SLICE)
        best = _largest(z, keep)
        pairs = [members for _, members in best[:BEAM] if len(members) > 1]
        thirds = self._thirds(rows, hit, pairs) if pairs else []
        return sorted([*best, *thirds], key=lambda item: (-item[0], len(item[1])))[:KEEP]

    def _thirds(self, rows: IntArray, hit: Any, pairs: list[tuple[int, ...]]) -> list[tuple[float, tuple[int, ...]]]:
        """Add to each pair the condition that makes the largest statistic of it."""
        first, second = np.array(pairs).T
        both = hit[:, first] * hit[:, second]
        moments = [self._moments(a, b) for a, b in pairs]
        mean, spread = (np.stack(part) for part in zip(*moments, strict=True))
        stake = self.errors.stake[rows].astype(np.float32)[:, None]
        z = _standard(self.errors, (both * stake).T @ hit, both.T @ hit, mean, spread)
        each = np.arange(len(pairs))
        z[each, first] = z[each, second] = -np.inf
        found = zip(pairs, z.argmax(axis=1).tolist(), z.max(axis=1).tolist(), strict=True)
        return [(value, tuple(sorted((*pair, j)))) for pair, j, value in found if np.isfinite(value)]

    def _moments(self, a: int, b: int) -> tuple[FloatArray, FloatArray]:
        """Return the expected loss, and its variance, of two conditions with each third, shape ``(n_conditions,)``."""
        found = self.known.get((a, b))
        if found is None:
            inside = np.flatnonzero(self.picked[:, a] & self.picked[:, b])
            held = self.matrix[self.pick[inside]].astype(np.float64)
            found = self.known[a, b] = (self.scale[0][inside] @ held, self.scale[1][inside] @ held)
        return found


def _largest(z: Any, n: int) -> list[tuple[float, tuple[int, ...]]]:
    """Return the ``n`` largest finite values of a square matrix and their places, of equal ones the first.

    They lie in the ``n`` rows with the largest peaks. A place on the diagonal is one condition.
    """
    rows = np.sort(np.argsort(-z.max(axis=1), kind="stable")[:n])
    part = z[rows]
    out: list[tuple[float, tuple[int, ...]]] = []
    for _ in range(n):
        at = int(part.argmax())
        value = float(part.flat[at])
        if not np.isfinite(value):
            break
        a, b = int(rows[at // z.shape[1]]), at % z.shape[1]
        out.append((value, (a,) if a == b else (a, b)))
        part.flat[at] = -np.inf
    return out


def best_slices(
    errors: Errors, held: BoolArray, drawn: IntArray, *, watch: Callable[[str], object] = lambda _: None
) -> tuple[list[tuple[float, tuple[int, ...]]], FloatArray]:
    """Search for the best slices, and give the best statistic of the same search on each permutation.

    ``watch`` is called with the number of permutations that are done.
    """
    if held.shape[1] == 0 or not errors.error.any():
        return [], np.full(len(drawn), -np.inf)
    search = _Search(errors, held)
    top = search.run(np.flatnonzero(errors.error))
    null = np.empty(len(drawn))
    for i, rows in enumerate(drawn):
        null[i] = max((value for value, _ in search.run(rows, keep=BEAM)), default=-np.inf)
        watch(f"permutation {i + 1} of {len(drawn)}")
    return _simplest(top), null


def _simplest(top: list[tuple[float, tuple[int, ...]]]) -> list[tuple[float, tuple[int, ...]]]:
    """Drop a slice that a shorter one contains without being clearly weaker."""
    kept: list[tuple[float, tuple[int, ...]]] = []
    for value, members in sorted(top, key=lambda item: (len(item[1]), -item[0])):
        if not any(set(less) < set(members) and strong > value - 1.0 for strong, less in kept):
            kept.append((value, members))
    return sorted(kept, key=lambda item: -item[0])


def score_slice(errors: Errors, inside: BoolArray, *, seed: list[int], draws: int = 400) -> float:
    """Return the one-sided p-value of one slice by itself, on a part of the data it was not found on."""
    if not errors.error.any() or not inside.any():
        return 1.0
    observed = float(errors.stake[errors.error & inside].sum())
    rows = draw_errors(errors, draws, seed=seed)
    null = (errors.stake * inside)[rows].sum(axis=1)
    return float((1 + (null >= observed).sum()) / (1 + draws))
