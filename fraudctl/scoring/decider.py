"""A bundle made ready to decide: features in; score, probability, action and reasons out, for one event or for many.

Costs, rules, policy, time zone, column roles and label encoding are the bundle's own, so that what was evaluated is
what decides. One event and many give the same answers bit by bit: the trees add in one order, and everything behind
them is computed by the same operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.bundle import understood
from fraudctl.data.own import outside
from fraudctl.dependence import Dependence, of_policy
from fraudctl.errors import BundleError, FraudctlError
from fraudctl.explain.reasons import FAINT, MOST, Reason, choose, reason_for, reason_text
from fraudctl.features.meaning.definition import FeatureSet, SourceTable, define
from fraudctl.policy import CapacityUse, Policy
from fraudctl.policy.crowd import Crowd
from fraudctl.policy.provenance import DECIDED_BY, DecidedBy, by_model
from fraudctl.policy.single import SinglePolicy
from fraudctl.project import Project, parse_project
from fraudctl.scoring import wire
from fraudctl.scoring.blend import Blend, read_trees
from fraudctl.scoring.conditions import Conditions, typed
from fraudctl.scoring.events import EventReader
from fraudctl.scoring.schema import DataSchema
from fraudctl.text.plain import shown
from fraudctl.train import predict

if TYPE_CHECKING:
    from datetime import timedelta

    from fraudctl.bundle import Bundle
    from fraudctl.documents.types import JsonObject
    from fraudctl.features.online import OnlineRow
    from fraudctl.scoring.trees import Forest


Explained = Literal["all", "alerts", "none"]
EXPLAINED: Final[tuple[Explained, ...]] = get_args(Explained)
"""Which decisions get reasons."""

REASON_FIELDS: Final[dict[str, pl.DataType]] = {
    "feature": pl.String(),
    "text": pl.String(),
    "contribution": pl.Float64(),
}
REASON_TYPE: Final = pl.List(pl.Struct(REASON_FIELDS))
"""How reasons stand in a table."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done about one event, and why.

    Attributes
    ----------
    y_score
        Raw score, log-odds.
    probability
        Calibrated probability of fraud.
    reasons
        Up to four, the strongest first.
    """

    event_id: int | str
    y_score: float
    probability: float
    action: str
    decided_by: DecidedBy
    reasons: tuple[Reason, ...]
    place: tuple[str, int] | None = None
    """The place of a limited action that it took: the action, and the day or week."""

    def to_dict(self, *, model: str, policy: str) -> JsonObject:
        """Return the decision as JSON."""
        return {
            "event_id": self.event_id,
            "probability": self.probability,
            "action": self.action,
            "decided_by": self.decided_by.to_dict(),
            "reasons": [
                {"feature": item.feature, "text": item.text, "contribution": item.contribution} for item in self.reasons
            ],
            "policy": policy,
            "model": model,
        }


class Decider:
    """Decides with one bundle.

    Parameters
    ----------
    bundle
        Checked by `fraudctl.bundle.load_bundle`.
    batch
        Whether it decides on tables alone, by `decide_frame`. Only then a challenger may decide: its program takes
        seconds to start, and there are no trees to give reasons.

    Raises
    ------
    BundleError
        Its features cannot be rebuilt from what it says, or its trees cannot be scored one by one.
    """

    def __init__(self, bundle: Bundle, *, batch: bool = False) -> None:
        self.bundle = bundle
        self.model = bundle.version
        self.policy_version = str(bundle.manifest["files"]["policy.json"])[:8]
        with understood(bundle.path):
            self.schema = DataSchema.from_dict(bundle.features.get("schema"))
            self.project = _project_of(bundle)
            self.features = _features_of(bundle, self.project, self.schema)
            self.policy = Policy.from_dict(dict(bundle.policy)).effective
            self.single = SinglePolicy(self.policy)
        self._forest = None if batch and bundle.challenger is not None else read_trees(bundle)
        self.conditions = Conditions(self.policy, self.features, self.schema)
        self.dependence = of_policy(self.project, self.features, self.policy, readable=self.conditions.readable)
        _require_described(self.dependence, self.schema, bundle)
        more, priced = self.dependence.beyond_features, self.policy.columns
        self.reader = EventReader(self.project, self.features, self.schema, more=more, priced=priced)
        by_name = {feature.name: feature for feature in self.features.features}
        names = bundle.columns.names
        self._positions = np.array([self.features.names.index(name) for name in names], dtype=np.int64)
        self._described = [by_name[name] for name in names]
        self._protected = self.project.features.protected
        self._closed = np.array([name in self._protected for name in names])
        self.warm()

    def warm(self) -> None:
        """Load the compiled loops, so that the first event does not wait for them."""
        if self._forest is None:
            return
        numbers = np.zeros(len(self.bundle.columns.names))
        values = self.forest.explain(self.forest.score(numbers, dict.fromkeys(self.forest.codes))[1])
        self._strongest(values, towards_alert=True)

    @property
    def forest(self) -> Forest | Blend:
        """The trees; a BundleError where a challenger decides."""
        return self._forest or read_trees(self.bundle)

    @property
    def looks_back(self) -> timedelta | None:
        """How far before an event `decide_frame` needs other events; None where it needs none."""
        challenger = self.bundle.challenger
        history = None if challenger is None else challenger.section.history
        return None if history is None else history.timedelta

    @cached_property
    def carried(self) -> list[str]:
        """Data columns that travel along: for the features, the costs, the rules and the segments."""
        return list(self.dependence.data)

    @cached_property
    def read_for(self) -> bytes:
        """What the log says an event was read for: the digest of the features, the other columns; parts of JSON."""
        return wire.dumps([self.features.digest, self.dependence.beyond_features])[1:-1]

    def decide(
        self, event: Mapping[str, Any], row: OnlineRow, *, used: CapacityUse | None = None, explained: Explained = "all"
    ) -> Decision:
        """Decide on one event.

        Parameters
        ----------
        event
            From `EventReader.event`.
        row
            Its features.
        used
            Places that limited actions have taken so far; that of this event is added.
        """
        y_score, places = self.forest.score(row.numbers[self._positions], row.categories)
        y_prob = self.bundle.calibrator.predict_one(y_score)
        holds = self.conditions.holds(event, row)
        segment = self.conditions.segment(event, row)
        code, place, by = self.single.explained(event, y_prob, holds=holds, segment=segment, used=used)
        alert = code != self.policy.matrix.pass_code
        wanted = by.by_model and (explained == "all" or (alert and explained == "alerts"))
        reasons = self._reasons(row, self.forest.explain(places), towards_alert=alert) if wanted else ()
        return Decision(event["event_id"], y_score, y_prob, self.single.actions[code], by, reasons, place)

    def _reasons(self, row: OnlineRow, values: FloatArray, *, towards_alert: bool) -> tuple[Reason, ...]:
        """Do what `reasons.choose` does for one row."""
        chosen = self._strongest(values, towards_alert=towards_alert)
        return tuple(reason_for(self._described[j], self.value(row, j), float(values[j])) for j in chosen)

    def _strongest(self, values: FloatArray, *, towards_alert: bool) -> list[int]:
        from fraudctl.scoring.kernels import strongest

        found = np.empty(MOST, dtype=np.int64)
        n = strongest(values, 1.0 if towards_alert else -1.0, self._closed, FAINT, found)
        return [int(at) for at in found[:n]]

    def value(self, row: OnlineRow, position: int) -> float | int | str | bool | None:
        """Return the value of a column of the model, by its position there, in its own type."""
        feature = self._described[position]
        return typed(row, feature.name, feature.dtype, int(self._positions[position]))

    def feature_values(self, row: OnlineRow) -> dict[str, float | int | str | bool | None]:
        """Return all features of an event by name, in their own types."""
        return {
            outside(feature.name): typed(row, feature.name, feature.dtype, at)
            for at, feature in enumerate(self.features.features)
        }

    def decide_frame(
        self,
        frame: pl.DataFrame,
        *,
        used: CapacityUse | None = None,
        explained: Explained = "all",
        answered: pl.Series | None = None,
        whole: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """Decide on many events.

        Parameters
        ----------
        frame
            Rows of the feature table in time order.
        used
            Slots taken before; those taken now are added.
        explained
            Which decisions get reasons.
        answered
            Which rows get an answer, shape ``(n_rows,)``; the others only take slots. Default: all.
        whole
            These rows and those up to `looks_back` before them.

        Returns
        -------
        DataFrame
            ``event_id``, ``probability``, ``action``, ``decided_by`` (`DECIDED_BY`), ``reasons`` (`REASON_TYPE`),
            ``policy``, ``model``. A decision that a rule or a capacity made has no reasons of the model's, and none
            of a challenger has any.
        """
        self.bundle.columns.require(frame)
        if self._forest is None:
            y_prob, explained = predict(self.bundle, frame, whole=whole)[1], "none"
        else:
            y_prob = self.bundle.calibrator.predict(self._forest.score_frame(frame))
        codes, by = self._decided(frame, y_prob, used)
        if answered is not None:
            frame, by, rows = frame.filter(answered), by.filter(answered), answered.to_numpy()
            y_prob, codes = y_prob[rows], codes[rows]
        alerts = codes != self.policy.matrix.pass_code
        wanted = alerts if explained == "alerts" else np.full(len(codes), explained == "all")
        rows = np.flatnonzero(wanted & by_model(by))
        return pl.DataFrame(
            {
                "event_id": frame["event_id"],
                "probability": y_prob,
                "action": pl.Series(self.policy.actions, dtype=pl.String).gather(codes.astype(np.int64)),
                "decided_by": by,
                "reasons": self._reasons_of(frame[rows], alerts[rows], rows, frame.height),
                "policy": pl.repeat(self.policy_version, frame.height, dtype=pl.String, eager=True),
                "model": pl.repeat(self.model, frame.height, dtype=pl.String, eager=True),
            }
        )

    def _decided(
        self, frame: pl.DataFrame, y_prob: FloatArray, used: CapacityUse | None
    ) -> tuple[npt.NDArray[np.int8], pl.Series]:
        crowd = Crowd.of(frame, y_prob, self.policy)
        served = crowd.serve(self.policy, used=used)
        return served.codes, crowd.decided_by(self.policy, served)

    def _reasons_of(
        self, frame: pl.DataFrame, alerts: npt.NDArray[np.bool_], rows: npt.NDArray[np.int64], n_rows: int
    ) -> pl.Series:
        """Return the reasons of some rows as a column of ``n_rows``; the other rows get an empty list.

        Parameters
        ----------
        frame, alerts
            The rows that get reasons, and whether each is an alert.
        rows
            Where they stand in the column.
        """
        values = np.empty((0, len(self._described))) if frame.is_empty() else self.forest.explain_frame(frame)
        chosen = choose(values, towards_alert=alerts, features=self._described, protected=self._protected)
        cells = {j: frame[self._described[j].name].to_list() for j in {j for row in chosen for j in row}}
        found = [
            (self._described[j].name, reason_text(self._described[j], cells[j][i]), float(values[i, j]))
            for i, row in enumerate(chosen)
            for j in row
        ]
        flat = pl.DataFrame(found, schema=REASON_FIELDS, orient="row").to_struct()
        lengths = np.zeros(n_rows, dtype=np.int64)
        lengths[rows] = [len(row) for row in chosen]
        return listed(flat, lengths).alias("reasons")


def listed(values: pl.Series, lengths: npt.NDArray[np.int64]) -> pl.Series:
    """Return a column of lists: the first ``lengths[0]`` values, then ``lengths[1]``, and so on.

    >>> listed(pl.Series([1, 2, 3]), np.array([2, 0, 1])).to_list()
    [[1, 2], [], [3]]
    """
    rows = pl.Series("row", np.repeat(np.arange(len(lengths)), lengths))
    held = pl.DataFrame({"row": rows, "value": values}).group_by("row", maintain_order=True).agg("value")
    every = pl.DataFrame({"row": np.arange(len(lengths))}).join(held, on="row", how="left", maintain_order="left")
    return every["value"].fill_null(pl.Series([[]], dtype=pl.List(values.dtype)))


def answer_schema(event_id: pl.DataType) -> dict[str, pl.DataType]:
    """Return the columns of decisions as a table."""
    text = pl.String()
    return {
        "event_id": pl.Int64() if event_id.is_numeric() else text, "probability": pl.Float64(), "action": text,
        "decided_by": DECIDED_BY, "reasons": REASON_TYPE, "policy": text, "model": text,
    }  # fmt: skip


def _require_described(dependence: Dependence, schema: DataSchema, bundle: Bundle) -> None:
    """Refuse a bundle whose data schema lacks a column that its decisions depend on."""
    lost = [name for name in map(outside, dependence.data) if name not in schema.events]
    if lost:
        msg = f"bundle {bundle.version} does not say what type {', '.join(map(shown, lost))} had, which it decides by"
        raise BundleError(msg, hint="train again with this version of fraudctl")


def _project_of(bundle: Bundle) -> Project:
    """Parse the project file in a bundle."""
    try:
        return parse_project(bundle.manifest["project_file"], path=bundle.path / "fraudctl.toml")
    except FraudctlError as error:
        msg = f"the project file in bundle {bundle.version} cannot be read by this version of fraudctl: {error.message}"
        raise BundleError(msg, hint="train again") from error


def _features_of(bundle: Bundle, project: Project, schema: DataSchema) -> FeatureSet:
    """Rebuild the features of a bundle, and refuse them where they are not the ones it was trained with."""
    missing = sorted(set(project.sources) - set(schema.sources))
    try:
        sources = {name: SourceTable(project.sources[name], schema.sources[name]) for name in project.sources}
        features = define(project, schema.events, sources=sources)
    except (FraudctlError, KeyError) as error:
        told = error.message if isinstance(error, FraudctlError) else f"sources {', '.join(missing)} are not described"
        msg = f"the features of bundle {bundle.version} cannot be rebuilt: {told}"
        raise BundleError(msg, hint="train again with this version of fraudctl") from error
    if features.digest != bundle.features.get("digest"):
        msg = f"the features of bundle {bundle.version} are not those of the project file in it"
        raise BundleError(msg, hint="they mean something else in this version, or the file changed before `threshold`")
    if not set(bundle.columns.names) <= set(features.names):
        msg = f"the model of bundle {bundle.version} takes columns that its features do not give"
        raise BundleError(msg, hint="train again")
    return features
