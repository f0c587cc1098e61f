"""Decide a period, then judge a part of it.

A decision under a capacity depends on the events before it. So every event of a period is decided in time order, also
those without a label and the immature ones, and the slots that the local day or week had already given away when the
period began are taken off. Only then are the judged events counted. Whoever asks what would have happened under other
probabilities asks this module, so that nobody decides on a part of the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, CodeArray, FloatArray, IntArray
from fraudctl.costs import cost_matrix, taken_cost
from fraudctl.errors import DataError
from fraudctl.maturity import period_start
from fraudctl.policy.constant import ORDER, limits_of, with_order
from fraudctl.policy.crowd import Crowd
from fraudctl.policy.decide import Policy
from fraudctl.policy.places import CapacityUse, Served
from fraudctl.policy.provenance import DecidedBy
from fraudctl.project import Project

_UNDECIDED = -1


@dataclass(frozen=True)
class Stretch:
    """Events that one policy decides, in time order.

    Attributes
    ----------
    events
        Feature-table rows with what the policy, its rules and the costs need.
    y_prob
        Calibrated probabilities, shape ``(n_events,)``; NaN or outside [0, 1] where there is no usable score: such an
        event is not decided and takes no slot.
    policy
        Frozen with the model.
    lead
        Events before the period, in a local day or week that had begun: they take slots and are not counted.
    """

    events: pl.DataFrame
    y_prob: FloatArray
    policy: Policy
    lead: BoolArray

    @cached_property
    def usable(self) -> BoolArray:
        """Events that can be decided, shape ``(n_events,)``."""
        return np.asarray((self.y_prob >= 0) & (self.y_prob <= 1))

    @cached_property
    def crowd(self) -> Crowd:
        """The events that can be decided."""
        return Crowd.of(self.events.filter(self.usable), self.y_prob[self.usable], self.policy)

    def serve(self, y_prob: FloatArray, used: CapacityUse) -> _Decisions:
        """Decide all events, with other probabilities for those that have one; takes slots from ``used``."""
        served = self.crowd.seeing(y_prob[self.usable]).serve(self.policy, used=used)
        codes = np.full(len(y_prob), _UNDECIDED, dtype=np.int8)
        codes[self.usable] = served.codes
        left = np.zeros((len(served.left), len(y_prob)), dtype=np.int64)
        left[:, self.usable] = served.left
        return _Decisions(codes, left, self.crowd.seeing(y_prob[self.usable]), served, self.usable)

    def alone(self, rows: IntArray, y_prob: FloatArray, left: IntArray) -> CodeArray:
        """Decide some usable events, each by itself with the slots ``left`` at its moment."""
        place = np.cumsum(self.usable) - 1
        some = self.crowd.take(place[rows]).seeing(y_prob)
        return some.decide_alone(self.policy, left=left[:, rows])


@dataclass(frozen=True)
class _Decisions:
    """Action codes of a stretch, -1 where undecided, and the slots left when each event came."""

    codes: CodeArray
    left: IntArray
    crowd: Crowd
    served: Served
    usable: BoolArray

    def decided_by(self, policy: Policy) -> pl.Series:
        """Return by what each action was decided; null where undecided."""
        found = self.crowd.decided_by(policy, self.served)
        at = pl.Series(np.cumsum(self.usable) - 1).set(pl.Series(~self.usable), None)
        return found.gather(at)


@dataclass(frozen=True)
class Replay:
    """All events of a period, decided in time order, and those of them that may be judged.

    Attributes
    ----------
    stretches
        In time order. Slots of a local day or week that two of them share are given away once.
    judged
        Which events of the period may be judged, shape ``(n_events,)`` over the events of all stretches that are not
        lead.
    """

    stretches: tuple[Stretch, ...]
    judged: BoolArray

    @classmethod
    def of(cls, table: pl.DataFrame, y_prob: FloatArray, policy: Policy) -> Replay:
        """Return the replay of events that are all there is and may all be judged."""
        none = np.zeros(table.height, dtype=np.bool_)
        return cls((Stretch(table, y_prob, policy, none),), ~none)

    @property
    def y_prob(self) -> FloatArray:
        """Probabilities of the events of the period, shape ``(n_events,)``; NaN where there is none."""
        return np.concatenate([item.y_prob[~item.lead] for item in self.stretches])

    @cached_property
    def as_decided(self) -> list[_Decisions]:
        """What the policies decided, by stretch."""
        return self._serve(None)

    def decided(self, project: Project, *, y_prob: FloatArray | None = None) -> pl.DataFrame:
        """Return all events of the period with ``y_prob``, ``action``, ``decided_by`` and ``cost``.

        Parameters
        ----------
        project
            Its present costs price the actions.
        y_prob
            Other probabilities for the events of the period, shape ``(n_events,)``. The lead stays as it was decided.

        Returns
        -------
        DataFrame
            Columns that all stretches have, with ``y_prob`` (Float64), ``action`` (String) and ``cost`` (Float64: money
            of the action on the true outcome, null where the label is null) and ``decided_by``
            (`fraudctl.policy.provenance.DECIDED_BY`). All are null where there is no usable probability. Where the
            project has a capacity also the columns of `fraudctl.policy.constant.with_order`.
        """
        found = self.as_decided if y_prob is None else self._serve(y_prob)
        seen = self._split(self.y_prob if y_prob is None else y_prob)
        frames = [
            _with_actions(item, given, part) for item, given, part in zip(self.stretches, seen, found, strict=True)
        ]
        names = [name for name in frames[-1].columns if all(name in frame.columns for frame in frames)]
        return price_frame(self._ordered(pl.concat([frame.select(names) for frame in frames]), project), project)

    def _ordered(self, decided: pl.DataFrame, project: Project) -> pl.DataFrame:
        """Record each event's place in its day or week among all events, unless they carry it from a larger table."""
        names = list(dict.fromkeys(ORDER[limit.per] for limit in limits_of(project)))
        if all(name in decided.columns for name in names):
            return decided
        came = pl.concat([item.events.select("event_time", lead=pl.Series(item.lead)) for item in self.stretches])
        usable = np.concatenate([item.usable for item in self.stretches])
        order = with_order(came, project, takes=usable).filter(~pl.col("lead"))
        return decided.with_columns(order[name] for name in names)

    def judge(self, project: Project, *, y_prob: FloatArray | None = None) -> pl.DataFrame:
        """Return the judged events, decided among all others; parameters and columns as in `decided`."""
        return self.decided(project, y_prob=y_prob).filter(self.judged)

    def shuffled(self, rng: np.random.Generator) -> FloatArray:
        """Return the probabilities of the period in a random order; events without a usable one stay without."""
        y_prob = self.y_prob.copy()
        usable = np.concatenate([item.usable[~item.lead] for item in self.stretches])
        y_prob[usable] = rng.permutation(y_prob[usable])
        return y_prob

    def codes_at(self, y_prob: FloatArray, project: Project) -> CodeArray:
        """Return the judged events' positions in the project's present actions, under other probabilities of all."""
        parts = [
            _present(item.policy, project)[part.codes[~item.lead]]
            for item, part in zip(self.stretches, self._serve(y_prob), strict=True)
        ]
        return np.concatenate(parts)[self.judged]

    def codes_alone(self, rows: IntArray, y_prob: FloatArray, project: Project) -> CodeArray:
        """Return what judged events would get if each alone had another probability, in the state of its moment.

        Parameters
        ----------
        rows
            Positions among the judged events; each must have a usable probability.
        y_prob
            Their other probabilities, shape ``(n_rows,)``.

        Returns
        -------
        array of shape ``(n_rows,)``
            Positions in the project's present actions.
        """
        at = np.flatnonzero(self.judged)[rows]
        codes, start = np.empty(len(rows), dtype=np.int8), 0
        for item, part in zip(self.stretches, self.as_decided, strict=True):
            inside = np.flatnonzero(~item.lead)
            mine = (at >= start) & (at < start + len(inside))
            found = item.alone(inside[at[mine] - start], y_prob[mine], part.left)
            codes[mine] = _present(item.policy, project)[found]
            start += len(inside)
        return codes

    def _split(self, y_prob: FloatArray) -> list[FloatArray]:
        stops = np.cumsum([int((~item.lead).sum()) for item in self.stretches])
        return np.split(y_prob, stops[:-1])

    def _serve(self, y_prob: FloatArray | None) -> list[_Decisions]:
        """Decide all stretches in time order with one running use of slots."""
        used, found = CapacityUse(), []
        given = self._split(self.y_prob if y_prob is None else y_prob)
        for item, part in zip(self.stretches, given, strict=True):
            whole = item.y_prob.copy()
            whole[~item.lead] = part
            found.append(item.serve(whole, used))
        return found


@dataclass(frozen=True)
class OneMoment:
    """The state in which one event was decided, for variants of it.

    Attributes
    ----------
    left
        Slots of each limited action that were left, shape ``(n_limited,)``.
    """

    policy: Policy
    project: Project
    left: IntArray

    @classmethod
    def free(cls, policy: Policy, project: Project) -> OneMoment:
        """Return the state in which no slot was taken."""
        return cls(policy, project, np.array([item.limit for item in policy.capacity], dtype=np.int64))

    @classmethod
    def after(cls, events: pl.DataFrame, y_prob: FloatArray, policy: Policy, project: Project) -> OneMoment:
        """Return the state when the last of some events came: the earlier ones of its local day or week are there."""
        whole = Stretch(events, y_prob, policy, np.zeros(events.height, dtype=np.bool_))
        return cls(policy, project, whole.serve(y_prob, CapacityUse()).left[:, -1])

    def decided_by(self, event: pl.DataFrame, y_prob: FloatArray) -> DecidedBy:
        """Return by what the action of one event was decided."""
        crowd = Crowd.of(event, y_prob, self.policy)
        served = crowd.serve_alone(self.policy, left=self.left[:, None])
        return DecidedBy.from_dict(crowd.decided_by(self.policy, served)[0])

    def decide(self, frame: pl.DataFrame, y_prob: FloatArray, /) -> CodeArray:
        """Return the action of each variant by itself, as a position in the project's present actions."""
        left = np.repeat(self.left[:, None], frame.height, axis=1)
        found = Crowd.of(frame, y_prob, self.policy).decide_alone(self.policy, left=left)
        return _present(self.policy, self.project)[found]


def lead_from(moment: datetime, policy: Policy, project: Project) -> datetime:
    """Return where the local days and weeks began in which a moment lies: those that have a capacity.

    The capacities of the policy and the present ones of the project count, so that two models on one period have the
    same lead for a constant action.
    """
    zone = project.data.timezone
    present = [period_start(moment, limit.per, zone) for limit in limits_of(project)]
    return min([policy.lead_from(moment), *present])


def chained(parts: Sequence[Replay]) -> Replay:
    """Return several periods as one, in time order: a local day or week that two of them share has its slots once.

    Lead that lies in an earlier period is dropped, because that period's own policy decided it.

    Raises
    ------
    DataError
        Two periods overlap.
    """
    ordered = sorted(parts, key=lambda part: part.stretches[0].events["event_time"][-1])
    stretches: list[Stretch] = []
    for part in ordered:
        for item in part.stretches:
            stretches.append(_after(item, stretches[-1]) if stretches else item)
    return Replay(tuple(stretches), np.concatenate([part.judged for part in ordered]))


def _after(item: Stretch, earlier: Stretch) -> Stretch:
    """Return a stretch without the lead that an earlier stretch has decided."""
    last = earlier.events["event_time"][-1]
    seen = np.asarray((item.events["event_time"] <= last).to_numpy(), dtype=np.bool_)
    if (seen & ~item.lead).any():
        msg = f"{int((seen & ~item.lead).sum())} events stand in more than one of the periods to pool"
        raise DataError(msg, hint="pool periods that do not overlap")
    return replace(item, events=item.events.filter(~seen), y_prob=item.y_prob[~seen], lead=item.lead[~seen])


def _with_actions(item: Stretch, y_prob: FloatArray, found: _Decisions) -> pl.DataFrame:
    counted = ~item.lead
    codes, by = found.codes[counted], found.decided_by(item.policy).filter(pl.Series(counted))
    missing = pl.Series(codes == _UNDECIDED)
    names = pl.Series("action", item.policy.actions, dtype=pl.String)
    action = names.gather(np.maximum(codes, 0).astype(np.int64)).set(missing, None)
    return item.events.filter(counted).with_columns(pl.Series("y_prob", y_prob).set(missing, None), action, by)


def _present(policy: Policy, project: Project) -> CodeArray:
    """Return the position in the project's present actions of each action of a policy; undecided stays the last."""
    matrix = cost_matrix(project.costs)
    return np.array([*(matrix.code(name) for name in policy.actions), _UNDECIDED], dtype=np.int8)


def decide_frame(table: pl.DataFrame, y_prob: FloatArray, *, policy: Policy, project: Project) -> pl.DataFrame:
    """Add ``y_prob``, ``action`` and ``cost`` to events that are all there is.

    Parameters
    ----------
    table
        Every event of the period in time order, with the columns that the policy, its rules and the costs need. Under a
        capacity a part of them would get other actions; see `Replay`.
    y_prob
        Calibrated probabilities, shape ``(n_events,)``; NaN where a score is missing.
    policy
        Frozen with the model.
    project
        Its present costs price the actions.

    Returns
    -------
    DataFrame
        As `Replay.decided`.
    """
    return Replay.of(table, y_prob, policy).decided(project)


def price_frame(decided: pl.DataFrame, project: Project) -> pl.DataFrame:
    """Add ``cost`` to decided events: money of the ``action`` on the true outcome, by the project's present costs.

    Returns
    -------
    DataFrame
        With ``cost`` (Float64), null where the action or the label is null.

    Raises
    ------
    ProjectError
        The costs know an action no more.
    """
    matrix = cost_matrix(project.costs)
    names = decided["action"].drop_nulls().unique(maintain_order=True).to_list()
    codes = decided["action"].replace_strict({name: matrix.code(name) for name in names}, return_dtype=pl.Int64)
    unknown = decided["label"].is_null() | codes.is_null()
    truth = decided["label"].fill_null(0).to_numpy()
    money = taken_cost(matrix.per_event(decided), codes.fill_null(0).to_numpy(), truth)
    return decided.with_columns(pl.Series("cost", money).set(unknown, None))
