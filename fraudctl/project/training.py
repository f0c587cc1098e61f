"""``[split]`` and ``[train]``: what training may know, and how it searches."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Literal

from pydantic import Field, field_validator, model_validator

from fraudctl.data.own import DataColumn
from fraudctl.project.types import PositiveDuration, Section
from fraudctl.text.figures import exact

Parameter = Literal["depth", "learning_rate", "l2_leaf_reg", "random_strength", "subsample", "rsm"]

_RECALL_AT_FPR = re.compile(r"recall_at_fpr\(\s*(0?\.\d+|1e-\d+)\s*\)")


class SplitSection(Section):
    """The known world of training and the periods of its folds."""

    kind: Literal["time", "random"] = "time"
    """`time`: train before as_of, test after it. `random`: for data without an event_time, and only for those."""
    as_of: datetime | date | None = None
    """Training knows nothing later; the test period starts here. Default: known_until - label_delay - test."""
    test: PositiveDuration | None = None
    """Length of the test period and of each fold's. Default: a fifth of the mature span, at most 30 days."""
    train: PositiveDuration | None = None
    """Length of history that the model is fitted on. Default: all there is."""
    folds: int = Field(default=3, ge=1, le=20)
    """Prequential folds before as_of, each with the label delay as its gap; parts of the training rows if random."""
    test_share: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Share of the events that a random split keeps for the test. Default: 0.2."""

    @model_validator(mode="after")
    def _one_kind(self) -> SplitSection:
        timed = [key for key in ("as_of", "test", "train") if getattr(self, key) is not None]
        if self.kind == "random" and timed:
            msg = f"a random split has no {' and no '.join(timed)}: these are times"
            raise ValueError(msg)
        if self.kind == "random" and self.folds < 2:
            msg = "a random split needs at least 2 folds"
            raise ValueError(msg)
        if self.kind == "time" and self.test_share is not None:
            msg = 'test_share belongs to kind = "random"; a split by time has test = "30d" or the like'
            raise ValueError(msg)
        return self


class ParamsSection(Section):
    """Parameters of the fit: the defaults that the search has to beat, and what is not searched."""

    depth: int = Field(default=6, ge=1, le=12)
    """Depth of the trees."""
    learning_rate: float = Field(default=0.08, gt=0.0, le=1.0)
    """Step size; smaller steps need more trees."""
    l2_leaf_reg: float = Field(default=5.0, ge=0.0, le=1_000.0)
    """Pull of leaf values towards 0."""
    random_strength: float = Field(default=1.0, ge=0.0, le=100.0)
    """Noise on the scores of splits."""
    subsample: float = Field(default=0.8, gt=0.0, le=1.0)
    """Share of rows that each tree sees."""
    rsm: float = Field(default=0.6, gt=0.0, le=1.0)
    """Share of features that each split may choose from."""


class RangeSection(Section):
    """Where a parameter is searched."""

    low: float
    """Least value."""
    high: float
    """Greatest value, itself included."""
    log: bool = False
    """Search on a logarithmic scale."""

    @model_validator(mode="after")
    def _ordered(self) -> RangeSection:
        if not self.low < self.high:
            msg = f"low must be less than high; got {exact(self.low)} and {exact(self.high)}"
            raise ValueError(msg)
        if self.log and self.low <= 0:
            msg = f"a logarithmic scale needs low > 0; got {exact(self.low)}"
            raise ValueError(msg)
        return self


def default_search() -> dict[Parameter, RangeSection]:
    """Give the search space of a project without ``[train.search]``."""
    return {
        "depth": RangeSection(low=4, high=8),
        "learning_rate": RangeSection(low=0.02, high=0.2, log=True),
        "l2_leaf_reg": RangeSection(low=1, high=50, log=True),
        "random_strength": RangeSection(low=0.1, high=10, log=True),
        "subsample": RangeSection(low=0.5, high=1.0),
        "rsm": RangeSection(low=0.3, high=1.0),
    }


class TrainSection(Section):
    """The search for a model."""

    trials: int = Field(default=30, ge=0, le=10_000)
    """Trials of the search, the defaults being the first; 0 keeps the defaults without a search."""
    metric: str = "average_precision"
    """What the folds are compared by: average_precision, savings (against the cheapest constant action), or
    recall_at_fpr(0.01) and the like."""
    keep_negatives: float = Field(default=0.1, gt=0.0, le=1.0)
    """Share of legitimate rows kept while tuning, but at least 20,000."""
    fit_negatives: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of legitimate rows that folds and final model are fitted on, but at least 20,000, with all frauds."""
    weight_cap: float = Field(default=20.0, ge=1.0, le=20.0)
    """Most that an exposure_prob multiplies an event's weight by in a fit: 1 fits a control group like any event. Less
    is steadier, and further from the events that it stands for. Calibration, policy and metrics take up to 20."""
    iterations: int = Field(default=500, ge=10, le=20_000)
    """Most trees; early stopping on the folds finds how many."""
    search_iterations: int = Field(default=200, ge=10, le=20_000)
    """Most trees while searching, where iterations is more: steps are larger and patience less, in the same proportion.
    What the search bought is judged with as many trees as the model may have."""
    models: int = Field(default=1, ge=1, le=50)
    """Models of one recipe, each with a seed of its own, whose log-odds are averaged into one model."""
    early_stopping: int = Field(default=50, ge=1, le=1_000)
    """A fold's fit stops after this many trees without a lower logarithmic loss."""
    threads: int = Field(default=4, ge=1, le=64)
    """Threads of a fit. They change how long it takes, and no byte of the model."""
    partner: Literal["auto", "lightgbm", "none"] = "auto"
    """LightGBM trees that share the score with CatBoost's where the folds say that they help: `auto` tries them where
    LightGBM is installed, `lightgbm` needs it, `none` leaves them out."""
    max_categories: int = Field(default=200, ge=1, le=10_000)
    """Most values of a categorical feature told apart: the most frequent in training; the others are one."""
    params: ParamsSection = ParamsSection()
    """Parameters of the fit: the defaults of the search."""
    search: dict[Parameter, RangeSection] = Field(default_factory=default_search)
    """Parameter -> where it is searched. What is not named keeps its value in params."""
    monotone: dict[DataColumn, Literal["increasing", "decreasing"]] = Field(default_factory=dict)
    """Feature -> direction in which the score must not fall (increasing) or not rise (decreasing)."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of everything that is drawn."""

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value in {"average_precision", "savings"}:
            return value
        match = _RECALL_AT_FPR.fullmatch(value.strip())
        if match is None or not float(match[1]) > 0:
            msg = f"{value!r} is no objective; expected average_precision, savings or recall_at_fpr(x) with 0 < x < 1"
            raise ValueError(msg)
        return f"recall_at_fpr({float(match[1]):g})"

    @model_validator(mode="after")
    def _search_within_bounds(self) -> TrainSection:
        for name, span in self.search.items():
            for end in (span.low, span.high):
                value = int(end) if name == "depth" else end
                if value != end:
                    msg = f"search.{name}: whole numbers only; got {exact(end)}"
                    raise ValueError(msg)
                ParamsSection.model_validate({name: value})
        return self
