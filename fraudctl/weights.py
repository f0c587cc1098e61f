"""How much each event counts: sampled extracts, and outcomes that were only seen where an event was let through.

Owns the weight of an event, one for training, calibration, policies and metrics alike, and the control group. Outcomes
of declined events are never seen, so the labelled events are a biased part of all. An event that had the probability
`exposure_prob` to be let through stands for ``1 / exposure_prob`` events like it (inverse-probability weighting:
Horvitz and Thompson, *A Generalization of Sampling Without Replacement From a Finite Universe*, JASA 1952).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fraudctl.data.exposure import CONTROL, EXPOSURE, exposure_of
from fraudctl.errors import DataError
from fraudctl.money import LARGEST_WEIGHT
from fraudctl.text.figures import exact
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fraudctl.project import Project

EXPOSURE_FLOOR: Final = 0.05
"""Smaller probabilities count as this one, so that no event stands for more than 20: less variance, a little bias."""

WEIGHT: Final = "event_weight"
"""Name of the weight among fold predictions."""


def in_events(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights with a mean of 1 over the events that count, so that they sum to the number of these events.

    Whatever holds a weighted sum against an absolute number (a prior of one event, a ridge, a penalty) takes these: how
    many events a weight stands for is the user's unit, and another unit must not change what is learned.

    >>> in_events(np.array([2.0, 6.0, 0.0])).tolist()
    [0.5, 1.5, 0.0]
    """
    counts = weight > 0
    if not counts.any():
        return weight
    scaled = weight / weight.max()
    return np.asarray(scaled / scaled[counts].mean(), dtype=np.float64)


def weight_columns(project: Project) -> list[str]:
    """Return the data columns that weights and the control group are read from; decisions are no columns."""
    data = project.data
    return [name for name in (data.weight, data.exposure_prob, data.control_group) if name is not None]


def fit_weights(frame: pl.DataFrame, project: Project) -> NDArray[np.float64] | None:
    """Return the weights that a model is fitted with: `event_weights` with ``1 / exposure_prob`` cut off sooner.

    A few events of a control group that stand for twenty each lead a fit astray. Truncated weights have far less
    variance for some bias (Ionides, *Truncated Importance Sampling*, JCGS 2008). What a model is judged, calibrated and
    given a policy by is not cut off: see `event_weights`, whose arguments, value and errors these are.
    """
    return event_weights(frame, project, floor=max(EXPOSURE_FLOOR, 1.0 / project.train.weight_cap))


def event_weights(
    frame: pl.DataFrame, project: Project, *, floor: float = EXPOSURE_FLOOR
) -> NDArray[np.float64] | None:
    """Return ``weight / max(exposure_prob, 0.05)`` of each event, shape ``(n_events,)``; an undeclared column is 1.

    Parameters
    ----------
    frame
        The events with the named columns; where the project names decisions, with ``event_id``.
    floor
        Smaller probabilities of exposure count as this one.

    Returns
    -------
    numpy.ndarray or None
        None where the project names neither a column nor decisions: all events count alike.

    Raises
    ------
    DataError
        A named column is missing or no number; a weight is not positive or beyond `LARGEST_WEIGHT`; a
        probability is not in [0, 1]; decisions that cannot be read or contradict each other.
    """
    data = project.data
    if data.weight is None and data.exposure_prob is None and data.decisions is None:
        return None
    weight = np.ones(frame.height)
    if data.weight is not None:
        expected = f"a positive number from {exact(1 / LARGEST_WEIGHT)} to {exact(LARGEST_WEIGHT)}"
        weight = _numbers(frame, data.weight, "weight", expected, low=1 / LARGEST_WEIGHT, high=LARGEST_WEIGHT)
    if data.exposure_prob is not None:
        seen = _numbers(frame, data.exposure_prob, "exposure_prob", "in [0, 1]", low=0.0, high=1.0)
        weight = weight / np.maximum(seen, floor)
    if data.decisions is not None:
        weight = weight / np.maximum(exposure_of(frame["event_id"], project)[EXPOSURE].to_numpy(), floor)
    return weight


def with_exposure(frame: pl.DataFrame, project: Project) -> pl.DataFrame:
    """Return events with ``control_group`` (Boolean) and ``exposure_prob`` (Float64), each where the project says it.

    Raises
    ------
    DataError
        As `control_group` does; decisions that cannot be read or contradict each other.
    """
    if project.data.decisions is not None:
        return frame.with_columns(exposure_of(frame["event_id"], project).get_columns())
    control, exposure = control_group(frame, project), project.data.exposure_prob
    told = [] if control is None else [pl.Series(CONTROL, control)]
    told += [] if exposure is None else [frame[exposure].cast(pl.Float64).alias(EXPOSURE)]
    return frame.with_columns(told)


def _numbers(
    frame: pl.DataFrame, column: str, role: str, expected: str, *, low: float, high: float
) -> NDArray[np.float64]:
    dtype = frame.schema.get(column)
    if dtype is None or not dtype.is_numeric():
        msg = f"the {role} column {shown(column)} is {'missing' if dtype is None else dtype}; expected numbers"
        raise DataError(msg)
    values = np.asarray(frame[column].cast(pl.Float64).fill_null(np.nan).to_numpy(), dtype=np.float64)
    bad = int((~((values >= low) & (values <= high))).sum())
    if bad:
        msg = f"the {role} column {shown(column)} is null or not {expected} in {bad} of {frame.height} events"
        raise DataError(msg, hint="every event needs one, labelled or not; `fraudctl check` shows the column")
    return values


def control_group(frame: pl.DataFrame, project: Project) -> NDArray[np.bool_] | None:
    """Tell the events that were let through at random, whatever a model said of them; null is not one of them.

    Returns
    -------
    numpy.ndarray or None
        Shape ``(n_events,)``; None where the project names neither such a column nor decisions.

    Raises
    ------
    DataError
        The column is missing, or holds something else than true and false (or 1 and 0); decisions that cannot be read
        or contradict each other.
    """
    if project.data.decisions is not None:
        return exposure_of(frame["event_id"], project)[CONTROL].to_numpy()
    column = project.data.control_group
    if column is None:
        return None
    dtype = frame.schema.get(column)
    flags = dtype is not None and (dtype == pl.Boolean or (dtype.is_numeric() and _zero_or_one(frame[column])))
    if not flags:
        what = "missing" if dtype is None else f"{dtype} with other values" if dtype.is_numeric() else str(dtype)
        msg = f"the control_group column {shown(column)} is {what}; expected true and false, or 1 and 0"
        raise DataError(msg)
    return frame[column].cast(pl.Boolean).fill_null(value=False).to_numpy()


def _zero_or_one(values: pl.Series) -> bool:
    return bool(((values == 0) | (values == 1)).all())
