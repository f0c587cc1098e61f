"""From raw scores to probabilities that mean what they say.

Owns four calibrators (none, logistic, isotonic, beta), all strictly increasing so that no ranking is lost, the choice
among them by time-ordered validation, cross-fitting, and the correction for negatives that were left out of a fit. A
raw score is always a log-odds (CatBoost's raw value). It knows nothing of models, costs or thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from fraudctl.arrays import FloatArray
from fraudctl.errors import BundleError
from fraudctl.text.figures import listed
from fraudctl.weights import in_events

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fraudctl.documents.types import JsonObject


Method = Literal["none", "logistic", "beta", "isotonic"]
METHODS: Final[tuple[Method, ...]] = ("none", "logistic", "beta", "isotonic")
"""From the plainest to the freest."""

USUAL: Final[Method] = "logistic"
"""Taken where no other is better beyond doubt: with two parameters it moves least from one model to the next."""

CLEARLY: Final = 2.0
"""How many standard errors of their paired difference another method must be better by."""

MAX_SLOPE: Final = 5.0
"""Most that a calibrated log-odds rises per unit of the score's: few separable rows would ask for any slope."""

_SCORE_LIMIT = 30.0
_SURE = 15.0
_TAIL_SLOPE = 1e-3
_RIDGE = 1e-6
_EQUAL = 1e-12
"""Relative difference of two rates that is rounding: it must not decide whether blocks are merged."""


def sigmoid(y_score: FloatArray) -> FloatArray:
    """Turn log-odds into probabilities without overflow, shape kept.

    >>> sigmoid(np.array([0.0, -1000.0])).tolist()
    [0.5, 0.0]
    """
    e = np.exp(-np.abs(y_score))
    return np.asarray(np.where(y_score >= 0, 1.0 / (1.0 + e), e / (1.0 + e)), dtype=np.float64)


def log_odds(y_prob: FloatArray) -> FloatArray:
    """Turn probabilities into log-odds, within ±30."""
    with np.errstate(divide="ignore"):
        odds = np.log(y_prob) - np.log1p(-y_prob)
    return np.asarray(np.clip(odds, -_SCORE_LIMIT, _SCORE_LIMIT), dtype=np.float64)


def log_losses(y_true: NDArray[Any], y_prob: FloatArray) -> FloatArray:
    """Return the logarithmic loss of each event, shape ``(n_events,)``; probabilities are held within 1e-12 of 0, 1."""
    p = np.clip(y_prob, 1e-12, 1.0 - 1e-12)
    return np.asarray(-np.where(y_true == 1, np.log(p), np.log1p(-p)), dtype=np.float64)


def undo_sampling(y_score: FloatArray, *, kept: float) -> FloatArray:
    """Correct log-odds of a model that saw only a share ``kept`` of the legitimate rows: add ``log(kept)``.

    Dal Pozzolo et al., *Calibrating Probability with Undersampling for Unbalanced Classification* (SSCI 2015).
    """
    return np.asarray(y_score + np.log(kept), dtype=np.float64)


@dataclass(frozen=True)
class Calibrator:
    """A strictly increasing map from raw scores to probabilities.

    Beyond ±15 (a probability of 3e-7, or as much short of 1) calibrated log-odds rise a thousand times slower: no
    sample speaks of such odds, and floats next to 1 would run out and make ties.

    Attributes
    ----------
    method
        ``none`` (the sigmoid alone), ``logistic``, ``beta`` or ``isotonic``.
    parameters
        logistic: slope and intercept on the log-odds. beta: a, b, c of ``a ln p - b ln(1 - p) + c``.
        isotonic: knots, first the raw scores, then as many log-odds.
    """

    method: Method
    parameters: tuple[float, ...] = ()

    def predict(self, y_score: FloatArray) -> FloatArray:
        """Return the probability of fraud for raw scores, both of shape ``(n_events,)``."""
        odds = self._log_odds(np.asarray(y_score, dtype=np.float64))
        within = np.clip(odds, -_SURE, _SURE)
        return sigmoid(np.asarray(within + _TAIL_SLOPE * (odds - within), dtype=np.float64))

    def predict_one(self, y_score: float) -> float:
        """Return the probability of fraud for one raw score, bit for bit that of `predict`."""
        if self.method == "logistic":
            slope, intercept = self.parameters
            odds = slope * y_score + intercept
        else:
            odds = float(self._log_odds(np.array([y_score], dtype=np.float64))[0])
        within = min(max(odds, -_SURE), _SURE)
        bent = within + _TAIL_SLOPE * (odds - within)
        e = float(np.exp(-abs(bent)))
        return 1.0 / (1.0 + e) if bent >= 0 else e / (1.0 + e)

    def _log_odds(self, scores: FloatArray) -> FloatArray:
        if self.method == "none":
            return scores
        if self.method == "logistic":
            slope, intercept = self.parameters
            return np.asarray(slope * scores + intercept, dtype=np.float64)
        if self.method == "beta":
            return _dot(_beta_inputs(scores), np.array(self.parameters))
        half = len(self.parameters) // 2
        return _along(scores, np.asarray(self.parameters[:half]), np.asarray(self.parameters[half:]))

    def to_dict(self) -> JsonObject:
        """Return the calibrator as JSON."""
        return {"method": self.method, "parameters": list(self.parameters)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Calibrator:
        """Read what `to_dict` wrote.

        Raises
        ------
        BundleError
            An unknown method, or parameters that are not what it needs.
        """
        method, parameters = document.get("method"), document.get("parameters")
        wanted = {"none": 0, "logistic": 2, "beta": 3}
        sound = method in METHODS and isinstance(parameters, list)
        sound = sound and all(isinstance(value, (int, float)) and np.isfinite(value) for value in parameters or ())
        count = len(parameters or ())
        if not sound or (count != wanted[method] if method in wanted else count < 2 or count % 2):
            msg = f"calibration.json holds no calibrator that this version knows: method {method!r}, {count} parameters"
            raise BundleError(msg, hint=f"expected one of {', '.join(METHODS)}")
        return cls(method, tuple(float(value) for value in parameters or ()))  # type: ignore[arg-type]


def _along(scores: FloatArray, knots: FloatArray, values: FloatArray) -> FloatArray:
    """Interpolate between knots; beyond them go on with a slope that is small but keeps the order."""
    inside = np.interp(scores, knots, values)
    return np.asarray(inside + _TAIL_SLOPE * (scores - np.clip(scores, knots[0], knots[-1])), dtype=np.float64)


def _beta_inputs(scores: FloatArray) -> FloatArray:
    """Return ``ln p``, ``-ln(1 - p)`` and 1 for the probabilities behind log-odds, shape ``(n_events, 3)``."""
    return np.column_stack([-np.logaddexp(0.0, -scores), np.logaddexp(0.0, scores), np.ones_like(scores)])


def fit_calibrator(
    y_true: NDArray[Any], y_score: FloatArray, *, method: Method, weight: FloatArray | None = None
) -> Calibrator | None:
    """Fit one calibrator.

    Parameters
    ----------
    y_true
        1 fraud, 0 legitimate, shape ``(n_events,)``; no nulls.
    y_score
        Raw scores (log-odds), shape ``(n_events,)``.
    method
        logistic: Platt, *Probabilistic Outputs for Support Vector Machines* (1999). beta: Kull et al., *Beta
        calibration* (AISTATS 2017). isotonic: pool-adjacent-violators with centred knots, after Oron and Flournoy,
        *Centered Isotonic Regression* (2017).
    weight
        Weight of each event; by default all 1. Only their ratios count, not their unit.

    Returns
    -------
    Calibrator or None
        None where the method cannot be fitted: one class only, or scores that do not rise with fraud.
    """
    weights = np.ones(len(y_true)) if weight is None else in_events(np.asarray(weight, dtype=np.float64))
    if method == "none":
        return Calibrator("none")
    present = weights > 0
    if len(np.unique(y_true[present])) < 2 or len(np.unique(y_score[present])) < 2:
        return None
    target = y_true.astype(np.float64)
    if method == "logistic":
        return _fit_slopes(method, np.column_stack([y_score, np.ones_like(y_score)]), target, weights)
    if method == "beta":
        return _fit_slopes(method, _beta_inputs(y_score), target, weights)
    return _fit_isotonic(y_score, target, weights)


def _fit_slopes(method: Method, inputs: FloatArray, target: FloatArray, weights: FloatArray) -> Calibrator | None:
    theta = _bounded(inputs, target, weights)
    rises = (theta[:-1] > _TAIL_SLOPE).any()
    return Calibrator(method, tuple(float(value) for value in theta)) if rises else None


def _bounded(inputs: FloatArray, target: FloatArray, weights: FloatArray) -> FloatArray:
    """Fit slopes in [0.001, 5] and an intercept: slopes beyond are held at the end, and the rest is fitted again."""
    theta, held = np.zeros(inputs.shape[1]), np.zeros(inputs.shape[1], dtype=np.bool_)
    while True:
        offset = _dot(inputs[:, held], theta[held])
        theta[~held] = _newton(inputs[:, ~held], target, weights, offset)
        inside = np.clip(theta[:-1], _TAIL_SLOPE, MAX_SLOPE)
        outside = np.append(inside != theta[:-1], False)
        theta[:-1], held = inside, held | outside
        if not outside.any():
            return theta


def _newton(inputs: FloatArray, target: FloatArray, weights: FloatArray, offset: FloatArray) -> FloatArray:
    """Fit a logistic regression by damped Newton steps, with a ridge too small to matter; ``offset`` stays as it is.

    Sums run over contiguous rows in one thread, so that the same numbers come out on every machine.
    """
    theta = np.zeros(inputs.shape[1])
    theta[-1] = log_odds(np.atleast_1d(np.average(target, weights=weights)))[0]
    loss = _penalised_loss(theta, inputs, target, weights, offset)
    for _ in range(100):
        p = sigmoid(_dot(inputs, theta) + offset)
        gradient = _sums(inputs, weights * (p - target)) + _RIDGE * theta
        curve = weights * p * (1.0 - p)
        hessian = np.array([_sums(inputs, curve * column) for column in inputs.T]) + _RIDGE * np.eye(len(theta))
        step, scale = np.linalg.solve(hessian, gradient), 1.0
        while (new := _penalised_loss(theta - scale * step, inputs, target, weights, offset)) > loss and scale > 1e-8:
            scale /= 2.0
        done = loss - new <= 1e-10 * max(1.0, abs(loss))
        if new <= loss:
            theta, loss = theta - scale * step, new
        if done:
            break
    return theta


def _dot(inputs: FloatArray, theta: FloatArray) -> FloatArray:
    return np.asarray((inputs * theta).sum(axis=1), dtype=np.float64)


def _sums(inputs: FloatArray, values: FloatArray) -> FloatArray:
    return np.array([float((column * values).sum()) for column in inputs.T])


def _penalised_loss(
    theta: FloatArray, inputs: FloatArray, target: FloatArray, weights: FloatArray, offset: FloatArray
) -> float:
    z = _dot(inputs, theta) + offset
    return float((weights * (np.logaddexp(0.0, z) - target * z)).sum() + _RIDGE / 2 * (theta * theta).sum())


def _fit_isotonic(y_score: FloatArray, target: FloatArray, weights: FloatArray) -> Calibrator:
    """Pool adjacent violators, then put each block's knot at its mean score and mean outcome.

    The mean outcome is shrunk by one event of mean weight towards the rate of all.
    """
    scores, inverse = np.unique(y_score, return_inverse=True)
    totals = np.bincount(inverse, weights).astype(np.float64)
    hits = np.bincount(inverse, weights * target).astype(np.float64)
    keep = totals > 0
    blocks = _pool_adjacent_violators(scores[keep], hits[keep], totals[keep])
    base = float(hits.sum() / totals.sum())
    centres = np.array([mean for mean, _, _ in blocks])
    rates = np.array([(hit + base) / (total + 1.0) for _, hit, total in blocks])
    values = log_odds(np.maximum.accumulate(rates))
    rising = np.concatenate([[True], np.diff(values) > 0])
    values, centres = values[rising], centres[rising]
    return Calibrator("isotonic", (*(float(x) for x in centres), *(float(x) for x in values)))


def _pool_adjacent_violators(
    scores: FloatArray, hits: FloatArray, totals: FloatArray
) -> list[tuple[float, float, float]]:
    """Merge neighbours until the rate ``hits / totals`` rises from block to block; gives (mean score, hits, total)."""
    blocks: list[tuple[float, float, float]] = []
    for score, hit, total in zip(scores.tolist(), hits.tolist(), totals.tolist(), strict=True):
        mean = score
        while blocks and blocks[-1][1] * total >= hit * blocks[-1][2] * (1.0 - _EQUAL):
            before_mean, before_hit, before_total = blocks.pop()
            mean = (mean * total + before_mean * before_total) / (total + before_total)
            hit, total = hit + before_hit, total + before_total  # noqa: PLW2901 - the block grows
        blocks.append((mean, hit, total))
    return blocks


@dataclass(frozen=True)
class PairedLoss:
    """The chosen method against another one, on the same rows.

    Attributes
    ----------
    gain
        Mean logarithmic loss of the other method minus that of the chosen one.
    error
        Standard error of that paired difference.
    """

    other: Method
    gain: float
    error: float

    @property
    def clearly_better(self) -> bool:
        """Whether the chosen method is better by more than `CLEARLY` standard errors."""
        return self.gain > CLEARLY * self.error

    @property
    def clearly_worse(self) -> bool:
        """Whether the other method is better by more than `CLEARLY` standard errors."""
        return -self.gain > CLEARLY * self.error


@dataclass(frozen=True)
class CalibratorReason:
    """Why a calibrator was chosen: its paired comparison with each other method.

    Attributes
    ----------
    pairs
        One per other method that could be fitted. None of them is `PairedLoss.clearly_worse`.
    usual_fitted
        Whether `USUAL` could be fitted.
    """

    chosen: Method
    pairs: tuple[PairedLoss, ...]
    usual_fitted: bool

    def text(self) -> str:
        """Return the reason as a sentence part that claims no more than the pairs show."""
        surely = f"by more than {CLEARLY:g} standard errors of their paired difference"
        start = "" if self.usual_fitted else f"{USUAL} could not be fitted; "
        beaten = [_NAMES[item.other] for item in self.pairs if item.clearly_better]
        if not beaten or self.chosen == USUAL:
            kept = "logistic is the usual one" if self.chosen == USUAL else f"{_NAMES[self.chosen]} are kept"
            return f"{start}{kept}, and no other method had a lower logarithmic loss on later folds {surely}"
        than = f"{listed(beaten)}, {surely}"
        text = f"{start}{_NAMES[self.chosen]} had a lower logarithmic loss on later folds than {than}"
        lower = [_NAMES[item.other] for item in self.pairs if item.gain < 0]
        return text + (f"; the loss of {listed(lower)} was lower still, but not by as much" if lower else "")


_NAMES: Final[dict[Method, str]] = {
    "none": "the scores as they are",
    "logistic": "logistic",
    "beta": "beta",
    "isotonic": "isotonic",
}


@dataclass(frozen=True)
class CalibrationChoice:
    """The calibrator that was chosen, and what it was chosen by.

    Attributes
    ----------
    calibrator
        The chosen method fitted on all fold predictions; this one is shipped.
    y_prob
        Cross-fitted probabilities, shape ``(n_events,)``: each fold by a calibrator fitted on the others.
    log_loss
        Method -> mean logarithmic loss in time-ordered validation; None where it could not be fitted.
    reason
        The choice in a sentence, written from ``compared``.
    compared
        The chosen method against each other one; None where there was no earlier fold to validate on.
    """

    calibrator: Calibrator
    y_prob: FloatArray
    log_loss: dict[str, float | None]
    reason: str
    compared: CalibratorReason | None


_UNJUDGED: Final = "no earlier fold with both classes to validate a calibrator on: the scores are used as they are"


def choose_calibrator(
    y_true: NDArray[Any], y_score: FloatArray, fold: NDArray[Any], *, weight: FloatArray | None = None
) -> CalibrationChoice:
    """Choose among `METHODS` by time-ordered validation, cross-fit the choice, and refit it on everything.

    Each method is fitted on the folds before a fold and judged on that fold. The usual one is `USUAL`; it gives way to
    the plainest method that is better by more than `CLEARLY` standard errors of their paired difference, and so on.
    With a single fold its earlier and later half stand in for two folds, so rows must be in the order of time.

    Parameters
    ----------
    y_true, y_score
        Outcomes and raw scores, shape ``(n_events,)``, in the order of event_time within each fold.
    fold
        Number of each row's fold, rising with time.
    weight
        Weight of each event.
    """
    weights = np.ones(len(y_true)) if weight is None else np.asarray(weight, dtype=np.float64)
    parts = _parts(fold)
    losses, judged = _validate(y_true, y_score, parts, weights)
    why = _choose(losses, weights[judged])
    method: Method = "none" if why is None else why.chosen
    y_prob = np.empty(len(y_score))
    for part in np.unique(parts):
        inside = parts == part
        fitted = fit_calibrator(y_true[~inside], y_score[~inside], method=method, weight=weights[~inside])
        y_prob[inside] = (fitted or Calibrator("none")).predict(y_score[inside])
    final = fit_calibrator(y_true, y_score, method=method, weight=weights) or Calibrator("none")
    means: dict[str, float | None] = {
        name: None if loss is None or not judged.any() else float(np.average(loss, weights=weights[judged]))
        for name, loss in losses.items()
    }
    return CalibrationChoice(final, y_prob, means, _UNJUDGED if why is None else why.text(), why)


def cross_calibrated(
    choice: CalibrationChoice,
    y_true: NDArray[Any],
    y_score: FloatArray,
    fold: NDArray[Any],
    *,
    other_score: FloatArray,
    like: NDArray[np.int64],
    weight: FloatArray | None = None,
) -> FloatArray:
    """Return the cross-fitted probabilities of events without an outcome, shape ``(n_others,)``.

    Parameters
    ----------
    choice, y_true, y_score, fold, weight
        As `choose_calibrator` took and gave them.
    other_score
        Raw scores of the events without an outcome.
    like
        For each of them a row with an outcome whose calibrator it gets.
    """
    weights = np.ones(len(y_true)) if weight is None else np.asarray(weight, dtype=np.float64)
    parts, found = _parts(fold), np.empty(len(other_score))
    mine = parts[like]
    for part in np.unique(mine):
        inside = parts == part
        method = choice.calibrator.method
        fitted = fit_calibrator(y_true[~inside], y_score[~inside], method=method, weight=weights[~inside])
        found[mine == part] = (fitted or Calibrator("none")).predict(other_score[mine == part])
    return found


def _parts(fold: NDArray[Any]) -> NDArray[np.int64]:
    numbers, parts = np.unique(fold, return_inverse=True)
    if len(numbers) > 1:
        return np.asarray(parts, dtype=np.int64)
    return (np.arange(len(fold)) >= len(fold) // 2).astype(np.int64)


def _validate(
    y_true: NDArray[Any], y_score: FloatArray, parts: NDArray[np.int64], weights: FloatArray
) -> tuple[dict[Method, FloatArray | None], NDArray[np.bool_]]:
    """Return each method's loss on every row that has an earlier part with both classes, and the mask of those rows."""
    usable = [part for part in np.unique(parts)[1:] if len(np.unique(y_true[(parts < part) & (weights > 0)])) == 2]
    judged = np.isin(parts, usable)
    losses: dict[Method, FloatArray | None] = {}
    for method in METHODS:
        y_prob: FloatArray | None = np.full(len(y_score), np.nan)
        for part in usable:
            past, now = parts < part, parts == part
            fitted = fit_calibrator(y_true[past], y_score[past], method=method, weight=weights[past])
            if fitted is None:
                y_prob = None
                break
            assert y_prob is not None  # noqa: S101 - for the type checker: the loop ends where it is None
            y_prob[now] = fitted.predict(y_score[now])
        losses[method] = None if y_prob is None else log_losses(y_true[judged], y_prob[judged])
    return losses, judged


def _choose(losses: dict[Method, FloatArray | None], weights: FloatArray) -> CalibratorReason | None:
    """Choose a method: the usual one, or the plainest that is clearly better, until no other is clearly better still.

    Each step lowers the mean loss, so the search ends. One that flipped by chance would move decisions.
    """
    usable: dict[Method, FloatArray] = {name: loss for name, loss in losses.items() if loss is not None and len(loss)}
    if not usable:
        return None
    best: Method = USUAL if USUAL in usable else "none"
    while True:
        pairs = tuple(_paired(best, name, usable, weights) for name in usable if name != best)
        better = next((item.other for item in pairs if item.clearly_worse), None)
        if better is None:
            return CalibratorReason(best, pairs, usual_fitted=USUAL in usable)
        best = better


def _paired(chosen: Method, other: Method, usable: dict[Method, FloatArray], weights: FloatArray) -> PairedLoss:
    gain, error = _paired_gain(usable[other], usable[chosen], weights)
    return PairedLoss(other, gain, error)


def _paired_gain(loss: FloatArray, other: FloatArray, weights: FloatArray) -> tuple[float, float]:
    """Return the weighted mean of ``loss - other`` and its standard error."""
    share = weights / weights.sum()
    difference = loss - other
    mean = float((share * difference).sum())
    return mean, float(np.sqrt((share**2 * (difference - mean) ** 2).sum()))
