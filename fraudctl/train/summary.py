"""What a training run says of itself, as values: folds, search, calibration, baselines.

Owns the form of the training summary that stands in bundles and in ``train --json``. Nothing in it depends on the clock
or the machine. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from fraudctl.costs import OLD_BASE_RULE
from fraudctl.documents.results import fields_from_json
from fraudctl.errors import BundleError


@dataclass(frozen=True)
class Gain:
    """A difference of two mean figures over the folds, and its 90 % interval."""

    value: float
    """The difference."""
    low: float
    """Low end of the interval."""
    high: float
    """High end of the interval."""

    def words(self) -> str:
        """Return the gain as text, such as ``+0.0123 (+0.0040 to +0.0206)``."""
        return f"{self.value:+.4f} ({self.low:+.4f} to {self.high:+.4f})"

    def rounded(self) -> Gain:
        """Return the gain to six digits."""
        return Gain(round(self.value, 6), round(self.low, 6), round(self.high, 6))


@dataclass(frozen=True)
class Range:
    """The 90 % range of a figure."""

    low: float
    """Low end."""
    high: float
    """High end."""


@dataclass(frozen=True)
class RowCounts:
    """Rows of one period; times are null for a random split."""

    JSON = ("from_time as from", "until", "rows", "frauds", "block_known?")

    from_time: datetime | None
    """Start of the period, itself included."""
    until: datetime | None
    """End of the period, itself excluded."""
    rows: int
    """Rows with a known label."""
    frauds: int
    """Frauds among them."""
    block_known: int | None = None
    """Rows of entities known to be defrauded, which are left out; absent for training periods."""


@dataclass(frozen=True)
class FoldSummary:
    """One fold: fitted on what was known at its ``as_of``, judged on the period after it."""

    JSON = ("fold", "as_of", "train", "valid", "best_trees", "*figures")

    fold: int
    """Number of the fold, 1 for the earliest."""
    as_of: datetime | None
    """What its model knew; null for a random split."""
    train: RowCounts
    """Rows that it was fitted on."""
    valid: RowCounts
    """Rows that it was judged on."""
    best_trees: int
    """Trees that early stopping kept; 0 for a challenger."""
    figures: dict[str, float | None] = field(default_factory=dict)
    """``[train] metric`` -> its value on the validation rows; null where it is undefined."""


@dataclass(frozen=True)
class NoSearch:
    """The defaults were kept without a search."""

    trials: Literal[0] = 0
    """Trials: none."""
    kept_defaults: Literal[True] = True
    """The parameters are the defaults."""


@dataclass(frozen=True)
class SearchSpan:
    """Where one parameter is searched."""

    low: float
    """Lowest value."""
    high: float
    """Highest value."""
    log: bool = False
    """Whether values are drawn by their logarithm."""


@dataclass(frozen=True)
class TreeLimits:
    """Most trees of a fit."""

    search: int
    """While searching."""
    gain: int
    """While judging what the search brought."""


@dataclass(frozen=True)
class SearchSummary:
    """A search over parameters, and what it brought."""

    JSON = (
        "trials", "complete", "pruned", "objective", "default_value", "best_value", "best_params", "gain",
        "gain_judged", "trees_at_most?", "kept_defaults", "search", "shared_study",
    )  # fmt: skip

    trials: int
    """Trials in all, the defaults being the first."""
    complete: int
    """Trials that were finished."""
    pruned: int
    """Trials that were given up early."""
    objective: str
    """What trials were compared by."""
    default_value: float | None
    """Mean over the folds of the defaults; null where they were pruned."""
    best_value: float
    """Mean over the folds of the best trial."""
    best_params: dict[str, float]
    """Parameters of the best trial."""
    gain: Gain | None
    """Objective of the searched parameters minus that of the defaults; null where no fold allows it."""
    gain_judged: str
    """On which folds the gain was judged."""
    kept_defaults: bool
    """Whether the defaults were kept because the search did not surely beat them."""
    search: dict[str, SearchSpan]
    """Parameter -> where it was searched."""
    shared_study: bool
    """Whether several processes worked on the search."""
    trees_at_most: TreeLimits | None = None
    """Most trees of a fit; absent in old bundles."""


@dataclass(frozen=True)
class FoldBin:
    """Fold predictions of similar probability."""

    rows: int
    """Rows in the bin."""
    mean_prob: float
    """Mean probability."""
    fraud_rate: float
    """Observed share of fraud."""
    if_perfect: Range
    """Range of the observed share if the probabilities were perfect."""


@dataclass(frozen=True)
class CalibrationReport:
    """How well the cross-fitted probabilities agree with outcomes."""

    ece: float
    """Expected calibration error."""
    ece_if_perfect: Range
    """Range of the error if the probabilities were perfect."""
    reliability: tuple[FoldBin, ...]
    """Bins of equal count, by rising probability."""


@dataclass(frozen=True)
class CalibrationSummary:
    """Which calibrator was chosen, and how well it does."""

    JSON = ("method", "log_loss", "reason", "*report")

    method: str
    """Method of the calibrator."""
    log_loss: dict[str, float | None]
    """Method -> cross-fitted logarithmic loss; null where the method cannot be fitted."""
    reason: str
    """Why this method."""
    report: CalibrationReport
    """How well it does."""


@dataclass(frozen=True)
class BaselineGain:
    """A baseline on the rows of the folds, and what the model gains over it."""

    value: float
    """Mean objective of the baseline over the folds."""
    gain: Gain
    """Objective of the model minus that of the baseline."""
    folds: int
    """Folds that were compared."""


@dataclass(frozen=True)
class OutOfRange:
    """A numeric feature whose values in the latest fold lie outside of all that the fold's model was fitted on."""

    feature: str
    """Name of the feature."""
    rows: float
    """Share of the validation rows below its least or above its greatest training value."""
    weight: float
    """Its share of the feature importance of the fold's model; of two tree families, their mean by their weights."""


@dataclass(frozen=True)
class PartnerSummary:
    """A second family of trees beside CatBoost's: whether it is used, and what it gains on the folds."""

    library: str
    """Library of the partner's trees."""
    version: str | None
    """Its version; null where it was not tried."""
    weight: float
    """The partner's share of the log-odds; 0 where it is not used."""
    trees: int
    """Trees of the partner; 0 where it is not used."""
    gain: Gain | None
    """Objective with a small share of the partner minus that of CatBoost alone, folds averaged by the frauds that their
    models learned from; null where it was not tried or no fold can judge it."""
    reason: str
    """Why it is used or not."""
    forests: tuple[str, ...] = ()
    """What it is the mean of: ``best`` and ``random`` (small trees that split at the best thresholds, and at the best
    of random ones), or ``large`` (larger trees); none where it is not used, and in old bundles."""


@dataclass(frozen=True)
class ChallengerSummary:
    """A challenger that was trained instead of CatBoost: its program, and whether it repeats itself."""

    name: str
    """Its name in the project file."""
    program: str
    """Its command or its entry."""
    seed: int
    """Seed that it was given."""
    repeated: bool | None
    """Whether a second fit of the latest fold gave the same scores; null where none was asked for."""
    settings: dict[str, str] = field(default_factory=dict)
    """Setting that its program was given -> its value as JSON; ``history`` is how far it looks back."""
    files: dict[str, str] = field(default_factory=dict)
    """File of the program, or installed module -> its SHA-256."""
    versions: dict[str, str] = field(default_factory=dict)
    """What the program ran on -> its version, as far as it says so."""


@dataclass(frozen=True)
class TrainingSummary:
    """Folds, search, calibration and warnings of a training run; the same in every run on the same inputs."""

    JSON = (
        "as_of", "train", "folds", "savings_base", "tuning", "params", "models", "fit_negatives", "trees",
        "calibration", "features", "warnings", "baselines", "out_of_range", "partner?", "challenger?",
    )  # fmt: skip

    as_of: datetime | None
    """Training knew nothing later; null for a random split."""
    train: RowCounts
    """Rows that the final model was fitted on."""
    folds: tuple[FoldSummary, ...]
    """The folds, from the earliest."""
    tuning: NoSearch | SearchSummary
    """The search for parameters."""
    params: dict[str, float]
    """Parameters of the fit."""
    trees: int
    """Trees of the final model, of each where several are averaged; 0 for a challenger."""
    calibration: CalibrationSummary
    """The calibrator."""
    features: int
    """Number of features."""
    warnings: tuple[str, ...]
    """What the data did not allow, and what has no effect."""
    savings_base: str | None = None
    """What savings of the folds are measured against; null where they are compared by another metric."""
    models: int = 1
    """Models of one recipe that are averaged."""
    fit_negatives: float = 1.0
    """Share of the legitimate rows that the final model was fitted on."""
    baselines: dict[str, BaselineGain] = field(default_factory=dict)
    """Baseline -> what the model gains over it."""
    out_of_range: tuple[OutOfRange, ...] = ()
    """Features that leave their training range in the latest fold, the weightiest first."""
    partner: PartnerSummary | None = None
    """The partner that was tried or left out; absent in old bundles and for challengers."""
    challenger: ChallengerSummary | None = None
    """The challenger that was trained; absent where CatBoost was."""

    @property
    def metric(self) -> str:
        """Name of the figure that the folds were compared by."""
        return next((name for fold in self.folds for name in fold.figures), "")

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> TrainingSummary:
        """Return the summary that a bundle holds.

        Summaries that were written before the base of savings was noted are given the base of their time.

        Raises
        ------
        BundleError
            The document is no training summary.
        """
        try:
            return fields_from_json(cls, {**document, "savings_base": savings_base_of(document)}, where="training")
        except (AttributeError, TypeError, ValueError) as error:
            msg = f"the training summary of the bundle cannot be read: {error}"
            raise BundleError(msg, hint="`fraudctl train` writes a new bundle") from error


def savings_base_of(summary: Mapping[str, Any]) -> str | None:
    """Return what the savings in a training summary are measured against; None where it holds no savings.

    Summaries that were written before the base was noted had the better of allowing and blocking all events.
    """
    if "savings_base" in summary:
        base: str | None = summary["savings_base"]
        return base
    return OLD_BASE_RULE if any("savings" in fold for fold in summary.get("folds", ())) else None
