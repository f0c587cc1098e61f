"""Asks of a column whose definition nobody declares whether it knows what came later, beyond what was known.

An honest column is a function of what came before. It goes along with the future too, for busy entities stay busy and
bad ones stay bad; so the question is asked of what the past leaves open. For one event of each value of an entity (of
several where there are few values), column and future are both freed of what the entity's past explains, and of the
time; an honest column's rest has little to do with the rest of the future, a window that looks ahead has everything.
What is too little is decided by permuting the residuals within slices of time, and by the least share of a real gain.

The past: earlier events in several windows and their mean amounts, seconds since the last, outcomes and frauds that had
arrived, their rate, the amount. The future: later events in the same windows and seconds until the next; their mean
amounts; frauds among them; and the event's own outcome, which honest columns foretell as well, so that only an almost
certain rest counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from fraudctl.features.batch.groups import Array
from fraudctl.text.figures import percent

HORIZONS = (3_600, 86_400, 7 * 86_400, 30 * 86_400)
"""Seconds ahead and back."""
LEAST_SHARE = 0.5
"""Of what the past leaves open in a column, the least that the future has to explain before the column is suspected."""
LEAST_AUC = 0.98
N_PERMUTATIONS = 199
_LEAST_VALUES = 200
_LEAST_EVENTS = 1_000
_LEAST_OF_CLASS = 100
_MOST_EVENTS = 5_000
_N_SLICES = 10
_N_BINS = 6
_EXPLAINED = 1e-6
"""A column of which the past leaves open no more than this share is a function of the past."""


@dataclass(frozen=True)
class Foresight:
    """What a column knows of the future: of which part of it, the measure, and the same in words."""

    what: str
    value: float
    words: str


@dataclass(frozen=True)
class _View:
    """Some events of an entity: their rows, slices of time (n,), and what was known at each, (n, n_known)."""

    rows: Array
    slices: Array
    past: Array
    held: dict[tuple[str, bytes], Array] = field(default_factory=dict)

    def shared(self, what: str, usable: Array, make: Callable[[], Array]) -> Array:
        """Return what all columns with the same usable events have in common, made the first time."""
        key = what, usable.tobytes()
        if key not in self.held:
            self.held[key] = make()
        return self.held[key]

    def basis(self, usable: Array) -> Array:
        """Return an orthonormal basis of what past and time can explain of the usable events."""
        return self.shared("basis", usable, lambda: _basis(self.past[usable], self.slices[usable]))


@dataclass(frozen=True)
class Outlook:
    """What can be asked of columns for one entity: its future by kind, (n, n_numbers), and events of both outcomes."""

    entity: str
    one_each: _View
    futures: dict[str, Array]
    outcomes: _View
    is_fraud: Array
    seed: int

    def of(self, values: Array) -> list[Foresight]:
        """Return what a column, by row and NaN for null, knows of the entity's future."""
        found = [self._ahead(kind, values) for kind in self.futures]
        return [item for item in [*found, self._own_outcome(values)] if item is not None]

    def _ahead(self, kind: str, values: Array) -> Foresight | None:
        view, usable = self.one_each, ~np.isnan(values[self.one_each.rows])
        if usable.sum() < _LEAST_VALUES:
            return None
        column, basis = values[view.rows][usable], view.basis(usable)
        future, largest = self.futures[kind][usable], 0.0
        ahead = view.shared(kind, usable, lambda: _orthonormal(_rest(_scaled(future), basis)))
        for form in (_ranks(column), _clipped(column)):
            rest, spread = _rest(form, basis), float(((form - form.mean()) ** 2).sum())
            n_free = len(form) - basis.shape[1]
            if spread < _EXPLAINED or (rest**2).sum() <= _EXPLAINED * spread or n_free <= 2 * ahead.shape[1]:
                continue
            share = _share(rest, ahead, n_free)
            if share >= LEAST_SHARE and share > _null(rest, ahead, n_free, view.slices[usable], self.seed):
                largest = max(largest, share)
        if not largest:
            return None
        text = (
            f"{kind} of the same {self.entity} explain {percent(largest)} of what its past leaves open in this column"
        )
        return Foresight(kind, largest, text)

    def _own_outcome(self, values: Array) -> Foresight | None:
        view, usable = self.outcomes, ~np.isnan(values[self.outcomes.rows])
        fraud = self.is_fraud[usable]
        if min(fraud.sum(), (~fraud).sum()) < _LEAST_OF_CLASS:
            return None
        column, aucs = values[view.rows][usable], []
        basis, honest = view.basis(usable), ~fraud
        inner = view.shared("inner", usable, lambda: np.linalg.pinv(basis[honest].T @ basis[honest]))
        for form in (_ranks(column), _clipped(column)):
            rest = form - basis @ (inner @ (basis[honest].T @ form[honest]))
            auc = auc_of(fraud, rest.round(9))
            aucs.append(max(auc, 1 - auc))
        if max(aucs) < LEAST_AUC:
            return None
        text = (
            f"beyond what the past of the {self.entity} explains, this column alone nearly gives the event's own label"
        )
        return Foresight("own label", max(aucs), text)


def outlook(frame: pl.DataFrame, entity: str, *, seed: int) -> Outlook | None:
    """Look back and ahead from some events of each value of an entity; None where it has too few values.

    Parameters
    ----------
    frame
        As `tables.Events` has it.
    """
    codes = frame[entity].rank("dense").cast(pl.Int64).fill_null(0).to_numpy() - 1
    n_values = int(codes.max(initial=-1)) + 1
    if n_values < _LEAST_VALUES or frame["event_time"].n_unique() < _N_SLICES:
        return None
    random, line = np.random.default_rng(seed), _Line.of(frame, codes)
    shuffled = random.permutation(np.flatnonzero(codes >= 0))
    turn = pl.DataFrame({"value": codes[shuffled]}).select(pl.int_range(pl.len()).over("value")).to_series().to_numpy()
    chosen = shuffled[turn < max(1, -(-_LEAST_EVENTS // n_values))]
    rows = np.sort(random.permutation(chosen)[:_MOST_EVENTS])
    label = frame["label"].fill_null(-1).to_numpy()
    sides = [random.permutation(np.flatnonzero((label == side) & (codes >= 0)))[:_MOST_EVENTS] for side in (1, 0)]
    both = np.sort(np.concatenate([sides[0], sides[1][: max(len(sides[0]), _LEAST_OF_CLASS)]]))
    futures = {"later events": line.later_events(rows), "amounts of later events": line.later_amounts(rows)}
    futures["later frauds"] = line.later_frauds(rows)
    return Outlook(entity, line.view(rows), futures, line.view(both), label[both] == 1, seed)


@dataclass(frozen=True)
class _Line:
    """Events of all values of an entity on one line: each value has a stretch of its own, as long as the data last.

    ``at`` is where each row is (-1 where it has no value); ``events``, ``frauds``, ``arrived`` and ``known`` are
    sorted: all events, frauds by their event, and frauds and outcomes by their arrival. ``totals`` are running totals
    of the amounts of ``events``.
    """

    at: Array
    seconds: Array
    amounts: Array
    totals: Array
    events: Array
    frauds: Array
    arrived: Array
    known: Array
    stretch: int

    @classmethod
    def of(cls, frame: pl.DataFrame, codes: Array) -> _Line:
        """Lay out a frame, whose entity values are numbered from 0."""
        seconds = frame["event_time"].dt.epoch("s").to_numpy()
        arrival = frame["label_time"].dt.epoch("s").fill_null(0).to_numpy()
        first, last = int(seconds.min()), int(max(seconds.max(), arrival.max()))
        stretch = last - first + 3
        at = np.where(codes >= 0, codes * stretch + seconds - first + 1, -1)
        has, fraud = codes >= 0, (frame["label"] == 1).fill_null(value=False).to_numpy()
        labelled = has & frame["label_time"].is_not_null().to_numpy()
        arrived = codes * stretch + arrival - first + 1
        amounts = frame["amount"].fill_null(0.0).to_numpy() if "amount" in frame.columns else np.zeros(frame.height)
        order = np.flatnonzero(has)[np.argsort(at[has], kind="stable")]
        totals = np.concatenate([[0.0], np.cumsum(amounts[order])])
        return cls(
            at, seconds - first, amounts, totals, at[order], np.sort(at[has & fraud]),
            np.sort(arrived[labelled & fraud]), np.sort(arrived[labelled]), stretch,
        )  # fmt: skip

    def view(self, rows: Array) -> _View:
        """Return what was known at some events."""
        edges = np.quantile(self.seconds, np.linspace(0, 1, _N_SLICES + 1)[1:-1])
        return _View(rows, np.searchsorted(edges, self.seconds[rows], side="right"), self._past(rows))

    def _past(self, rows: Array) -> Array:
        at, start = self.at[rows], self.at[rows] // self.stretch * self.stretch
        last = np.searchsorted(self.events, at) - 1
        since = at - np.where(last >= 0, np.maximum(self.events[last], start), start)
        edges = [*(np.maximum(at - h, start) for h in HORIZONS), start]
        columns = [_between(self.events, edge + 1, at) for edge in edges]
        for sorted_at in (self.known, self.arrived):
            columns += [_between(sorted_at, edge + 1, at + 1) for edge in (edges[2], edges[3], start)]
        rates = [columns[-3 + k] / np.maximum(columns[-6 + k], 1) for k in range(3)]
        means = [self._mean(edge + 1, at) for edge in edges]
        return np.column_stack([*columns, *rates, *means, since, self.amounts[rows]]).astype(np.float64)

    def _mean(self, first: Array, stop: Array) -> Array:
        """Return the mean amount of the events in ``[first, stop)``; 0 where there is none."""
        low, high = np.searchsorted(self.events, first), np.searchsorted(self.events, stop)
        mean: Array = (self.totals[high] - self.totals[low]) / np.maximum(high - low, 1)
        return mean

    def later_events(self, rows: Array) -> Array:
        """Count the later events, and measure the seconds until the next (a stretch where there is none)."""
        at = self.at[rows]
        end = (at // self.stretch + 1) * self.stretch
        following = np.searchsorted(self.events, at, side="right")
        there = following < len(self.events)
        next_at = np.where(there, self.events[np.minimum(following, len(self.events) - 1)], end)
        counts = [_between(self.events, at + 1, np.minimum(at + h + 1, end)) for h in HORIZONS]
        total = _between(self.events, at + 1, end)
        return np.column_stack([*counts, total, np.minimum(next_at, end) - at]).astype(np.float64)

    def later_amounts(self, rows: Array) -> Array:
        """Return the mean amounts of later events."""
        at = self.at[rows]
        end = (at // self.stretch + 1) * self.stretch
        edges = [*(np.minimum(at + h + 1, end) for h in HORIZONS), end]
        return np.column_stack([self._mean(at + 1, edge) for edge in edges])

    def later_frauds(self, rows: Array) -> Array:
        """Count the frauds among later events, and those of earlier ones whether or not they were known."""
        at = self.at[rows]
        start, end = at // self.stretch * self.stretch, (at // self.stretch + 1) * self.stretch
        counts = [_between(self.frauds, at + 1, np.minimum(at + h + 1, end)) for h in HORIZONS[1:]]
        counts += [_between(self.frauds, np.maximum(at - h, start) + 1, at) for h in HORIZONS[1:]]
        counts += [_between(self.frauds, start, at), _between(self.frauds, at + 1, end)]
        return np.column_stack(counts).astype(np.float64)


def _between(sorted_at: Array, first: Array, stop: Array) -> Array:
    """Count what lies in ``[first, stop)``."""
    return np.searchsorted(sorted_at, stop) - np.searchsorted(sorted_at, first)


# ---------------------------------------------------------------- rests


def _basis(past: Array, slices: Array) -> Array:
    """Return an orthonormal basis of what the past and the time can explain: lines, ranks and steps at quantiles."""
    columns: list[Array] = [np.ones(len(past)), *((slices == k) * 1.0 for k in range(1, _N_SLICES))]
    for values in past.T:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _N_BINS + 1)[1:-1]))
        bins = np.searchsorted(edges, values, side="left")
        columns += [_clipped(values), _ranks(values), *((bins == k) * 1.0 for k in range(1, len(edges) + 1))]
    return _orthonormal(np.column_stack(columns))


def _orthonormal(columns: Array) -> Array:
    """Return an orthonormal basis of what columns span, but for directions in which they hardly differ."""
    columns = columns / np.maximum(np.sqrt((columns**2).sum(axis=0)), 1e-12)
    sizes, directions = np.linalg.eigh(columns.T @ columns)
    wide = sizes > 1e-9 * max(sizes.max(initial=0.0), 1e-12)
    found: Array = columns @ (directions[:, wide] / np.sqrt(sizes[wide]))
    return found


def _rest(values: Array, basis: Array) -> Array:
    """Return what a basis does not explain of values (n,) or (n, k)."""
    rest: Array = values - basis @ (basis.T @ values)
    return rest


def _share(rest: Array, ahead: Array, n_free: int) -> float:
    """Return the share of the residual variance that the future explains (adjusted R²)."""
    share = float(((ahead.T @ rest) ** 2).sum()) / float((rest**2).sum())
    return 1.0 - (1.0 - share) * n_free / (n_free - int(ahead.shape[1]))


def _null(rest: Array, ahead: Array, n_free: int, slices: Array, seed: int) -> float:
    """Return the largest share among permutations within slices of time (Freedman and Lane, 1983)."""
    largest, random = -math.inf, np.random.default_rng(seed)
    by_slice = np.argsort(slices, kind="stable")
    for _ in range(N_PERMUTATIONS):
        mixed = np.empty_like(rest)
        mixed[by_slice] = rest[np.lexsort((random.random(len(rest)), slices))]
        largest = max(largest, _share(mixed, ahead, n_free))
    return largest


def _ranks(values: Array) -> Array:
    """Return the mean ranks of values, from 0 to 1."""
    return pl.Series(values).rank("average").to_numpy() / len(values)


def _clipped(values: Array) -> Array:
    """Return values without their outermost hundredths, from 0 to 1."""
    low, high = np.quantile(values, [0.01, 0.99])
    clipped: Array = (np.clip(values, low, high) - low) / max(high - low, 1e-300)
    return clipped


def _scaled(columns: Array) -> Array:
    """Return each column as itself and as ranks."""
    return np.column_stack([form(values) for values in columns.T for form in (_clipped, _ranks)])


def auc_of(y_true: Array, values: Array) -> float:
    """Return the probability that a fraud has the larger value, ties counting half (Mann and Whitney, 1947)."""
    ranks = pl.Series(values).rank("average").to_numpy()
    n_fraud = int(y_true.sum())
    n_legit = len(y_true) - n_fraud
    return float((ranks[y_true == 1].sum() - n_fraud * (n_fraud + 1) / 2) / (n_fraud * n_legit))
