"""The online implementation of each family: one entry per family in `ONLINE`.

A family that looks back requests key spaces and logs from the plan, and writes one line of the compiled program. A
family that needs one row only is a function of that row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fraudctl.features.batch import fading, recent, sphere
from fraudctl.features.meaning.definition import Feature
from fraudctl.features.meaning.families.base import Spec
from fraudctl.features.meaning.families.decay import DecaySpec
from fraudctl.features.meaning.families.geo import AXES, GeoSpec
from fraudctl.features.meaning.families.habits import AS_THEY_ARE, NUMERIC, HabitSpec
from fraudctl.features.meaning.families.hours import HourSpec
from fraudctl.features.meaning.families.labels import LabelSpec
from fraudctl.features.meaning.families.links import LinkSpec
from fraudctl.features.meaning.families.lookups import LookupSpec
from fraudctl.features.meaning.families.pairs import PairSpec
from fraudctl.features.meaning.families.recency import RecencySpec
from fraudctl.features.meaning.families.rows import RawSpec, RowSpec
from fraudctl.features.meaning.families.source_windows import SourceWindowSpec
from fraudctl.features.meaning.families.spacing import SpacingSpec
from fraudctl.features.meaning.families.trends import RatioSpec
from fraudctl.features.meaning.families.windows import WindowSpec
from fraudctl.features.online import answers, arena, hops, log_words, sorted_blocks
from fraudctl.features.online.tracks import COSINE, EVENT_TIME, EVERY_FRAUD, FRAUD_TIME, LABELS, MINUTE, SINE
from fraudctl.features.online.values import as_text
from fraudctl.features.rows.compile import compile_row

if TYPE_CHECKING:
    from fraudctl.features.online.plan import Plan
    from fraudctl.features.online.reading import Reader

Getter = Callable[[list[Any]], Any]
LinkFamily = tuple[tuple[str, str], int]
"""Two linked entities and the hub: what all links features of one component have in common."""
Line = list[int]

_OPERATIONS = {
    "count": answers.COUNTED, "nunique": answers.DISTINCT, "sum": answers.SUM, "mean": answers.MEAN,
    "std": answers.STD, "min": answers.MIN, "max": answers.MAX, "median": answers.MEDIAN, "mad": answers.MAD,
}  # fmt: skip
_OF_LABELS = {
    "known_count": answers.COUNTED, "fraud_count": answers.FRAUD_COUNT, "fraud_rate": answers.FRAUD_RATE,
    "smoothed_rate": answers.SMOOTHED, "seconds_since_first_fraud": answers.FIRST_FRAUD,
    "seconds_since_last_fraud": answers.LATEST_FRAUD,
}  # fmt: skip
_HOURS = {"hour_distance": answers.HOUR_DISTANCE, "hour_concentration": answers.HOUR_CONCENTRATION}
_RECENCIES = {
    "seconds_since_last": answers.SINCE_LAST, "seconds_since_first": answers.SINCE_FIRST,
    "seconds_since_last_known_fraud": answers.SINCE_FRAUD, "seconds_since_fraud_run_began": answers.SINCE_RUN,
}  # fmt: skip
_PAIRS = {
    "first_time": answers.PAIR_NEW, "count": answers.PAIR_COUNT, "seconds_since_last": answers.PAIR_SINCE,
}  # fmt: skip
_LINKS = {
    "component_size": answers.LINK_SIZE, "component_age_seconds": answers.LINK_AGE,
    "component_fraud_rate": answers.LINK_RATE, "degree": answers.LINK_DEGREE,
}  # fmt: skip
_SUMS = log_words.NUMBER | log_words.SUMS
_FLAGS = {
    "sum": _SUMS, "mean": _SUMS, "std": _SUMS | log_words.SQUARES, "max": log_words.LARGEST, "min": log_words.SMALLEST,
    "fraud_count": log_words.NUMBER, "fraud_rate": log_words.NUMBER, "smoothed_rate": log_words.NUMBER,
    "seconds_since_first_fraud": log_words.SMALLEST, "seconds_since_last_fraud": log_words.LARGEST,
}  # fmt: skip
"""Aggregate -> what is kept with the column of a log."""


def _nothing(_plan: Plan, _spec: Any) -> None:
    """Remember nothing."""


def _needs(spec: Spec) -> tuple[str, ...]:
    return spec.needs


def _nothing_now(_spec: Spec) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class OnlineHook:
    """How the state answers the features of one type of spec.

    Attributes
    ----------
    remember
        Requests the slots and logs of a feature from the plan.
    line
        Writes the line of the program that answers a feature; its last argument is the feature's place. None where one
        row, or the latest row of another table, is enough.
    row
        Makes the function of the row, for features of one row that are computed.
    needs_now
        What of the event itself has to be computed before the feature is.
    """

    remember: Callable[[Plan, Any], None] = _nothing
    line: Callable[[Plan, Any, int], Line] | None = None
    row: Callable[[Reader, Feature, Any], Getter] | None = None
    needs_now: Callable[[Any], tuple[str, ...]] = _needs


# ---------------------------------------------------------------- windows


def _remember_window(plan: Plan, spec: WindowSpec | SourceWindowSpec) -> None:
    track = plan.track(_table(spec), spec.entity, spec.where, spec.window_us)
    if spec.kind == "nunique" and spec.column is not None:
        track.codes.setdefault(spec.column, 0)
    elif spec.column is not None:
        sorted_window = spec.window_us if spec.kind in {"median", "mad"} else None
        track.column(spec.column, _FLAGS.get(spec.kind, 0), sorted_window)


def _window_line(plan: Plan, spec: WindowSpec | SourceWindowSpec, out: int) -> Line:
    table = _table(spec)
    track, inputs = plan.track(table, spec.entity, spec.where, 0), plan.inputs[table]
    current = int(isinstance(spec, WindowSpec) and spec.include_current)
    place, own, more = 0, -1, 0
    if spec.kind == "nunique" and spec.column is not None:
        place, own = track.codes[spec.column], inputs.code(spec.column)
    elif spec.column is not None:
        column = track.columns[spec.column]
        place, own = column.header, inputs.number(spec.column)
        if spec.kind in {"median", "mad"}:
            more = log_words.value_words(column.flags) + log_words.SORTED_WORDS * column.windows.index(spec.window_us)
    where, operation = inputs.where(spec.where), _OPERATIONS[spec.kind]
    return [operation, out, track.space, track.place, place, spec.window_us, current, own, where, more, 0]


def _table(spec: WindowSpec | SourceWindowSpec) -> str:
    return spec.source if isinstance(spec, SourceWindowSpec) else ""


def _window_needs_now(spec: WindowSpec) -> tuple[str, ...]:
    where = () if spec.where is None else (f"where {spec.where.sql}",)
    return (*spec.needs, *where) if spec.include_current else ()


# ---------------------------------------------------------------- outcomes, hours


def _remember_labels(plan: Plan, spec: LabelSpec) -> None:
    track = plan.track(LABELS, spec.entity, None, spec.window_us)
    track.column(FRAUD_TIME, _FLAGS.get(spec.kind, 0))
    track.column(EVENT_TIME)


def _label_line(plan: Plan, spec: LabelSpec, out: int) -> Line:
    track = plan.track(LABELS, spec.entity, None, 0)
    strength = int(np.float64(spec.prior_strength).view(np.int64))
    place, more = track.columns[FRAUD_TIME].header, track.columns[EVENT_TIME].header
    return [
        _OF_LABELS[spec.kind], out, track.space, track.place, place, spec.window_us, answers.OF_OUTCOMES, -1, -1,
        more, strength,
    ]  # fmt: skip


def _remember_hours(plan: Plan, spec: HourSpec) -> None:
    track = plan.track("", spec.entity, None, spec.window_us)
    for name in (COSINE, SINE):
        track.column(name, _FLAGS["sum"])


def _hour_line(plan: Plan, spec: HourSpec, out: int) -> Line:
    track = plan.track("", spec.entity, None, 0)
    place, more = track.columns[COSINE].header, track.columns[SINE].header
    own = plan.inputs[""].number(MINUTE)
    return [_HOURS[spec.kind], out, track.space, track.place, place, spec.window_us, 0, own, -1, more, 0]


# ---------------------------------------------------------------- latest and usual values, gaps


def _remember_habit(plan: Plan, spec: HabitSpec) -> None:
    track = plan.track("", spec.entity, None, spec.window_us)
    track.in_order = track.in_order or spec.kind not in {"share", "rank"}
    if _is_text(plan, spec):
        plan.texts[spec.column] = max(plan.texts.get(spec.column, 0), spec.window_us)
        track.codes.setdefault(spec.column, 0)
    elif spec.kind in NUMERIC:
        track.column(spec.column, sorted_blocks.SORTED if spec.kind == "rank" else 0)
    else:
        track.codes.setdefault(spec.column, 0)
        track.sorted_codes |= {spec.column} if spec.kind == "share" else set()


def _is_text(plan: Plan, spec: HabitSpec) -> bool:
    """Say whether the answer is a text: the program then gives its code, which `texts.Texts` knows the text of."""
    return spec.kind in AS_THEY_ARE and plan.features.is_text(spec.column)


def _habit_line(plan: Plan, spec: HabitSpec, out: int) -> Line:
    track, inputs = plan.track("", spec.entity, None, 0), plan.inputs[""]
    operation = answers.FIRST_HABIT + recent.HABITS.index(spec.kind)
    if _is_text(plan, spec):
        place = track.codes[spec.column]
        return [operation, out, track.space, track.place, place, spec.window_us, 0, -1, -1, 0, recent.OF_CODES]
    if spec.kind in NUMERIC:
        place, own = track.columns[spec.column].header, inputs.number(spec.column)
    else:
        place, own = track.codes[spec.column], inputs.code(spec.column)
    return [operation, out, track.space, track.place, place, spec.window_us, 1, own, -1, 0, 0]


def _remember_spacing(plan: Plan, spec: SpacingSpec) -> None:
    plan.track("", spec.entity, None, spec.window_us)


def _spacing_line(plan: Plan, spec: SpacingSpec, out: int) -> Line:
    track = plan.track("", spec.entity, None, 0)
    operation = answers.FIRST_SPACING + recent.SPACINGS.index(spec.kind)
    return [operation, out, track.space, track.place, 0, spec.window_us, 0, -1, -1, 0, spec.gaps]


def _remember_decay(plan: Plan, spec: DecaySpec) -> None:
    space = plan.spaces[plan.space(spec.entity)]
    if (spec.half_life_us, spec.column) not in space.decays:
        space.decays.append((spec.half_life_us, spec.column))
    if spec.column is not None:
        plan.inputs[""].number(spec.column)


def _decay_line(plan: Plan, spec: DecaySpec, out: int) -> Line:
    number = plan.space(spec.entity)
    space, operation = plan.spaces[number], answers.FIRST_OF_DECAY + fading.DECAYS.index(spec.kind)
    place = space.decay_at(space.decays.index((spec.half_life_us, spec.column)))
    return [operation, out, number, 0, 0, spec.half_life_us, 0, -1, -1, place, 0]


# ---------------------------------------------------------------- recency, pairs, links


def _remember_recency(plan: Plan, spec: RecencySpec) -> None:
    space = plan.spaces[plan.space(spec.entity)]
    if spec.of_frauds and plan.features.labels is not None and EVERY_FRAUD not in space.gaps:
        space.gaps.append(EVERY_FRAUD)
    if spec.kind == "seconds_since_fraud_run_began" and spec.gap_us not in space.gaps:
        space.gaps.append(spec.gap_us)


def _recency_line(plan: Plan, spec: RecencySpec, out: int) -> Line:
    number = plan.space(spec.entity)
    space, more = plan.spaces[number], 0
    if spec.kind == "seconds_since_fraud_run_began":
        more = space.runs_at + arena.RUN_WORDS * space.gaps.index(spec.gap_us)
    return [_RECENCIES[spec.kind], out, number, 0, 0, 0, 0, -1, -1, more, 0]


def _remember_pair(plan: Plan, spec: PairSpec | LinkSpec) -> None:
    for names in ((spec.entities[0],), (spec.entities[1],), spec.entities):
        plan.space(*names)


def _pair_line(plan: Plan, spec: PairSpec, out: int) -> Line:
    return [_PAIRS[spec.kind], out, plan.space(*spec.entities), 0, 0, 0, 0, -1, -1, 0, 0]


def _remember_links(plan: Plan, spec: LinkSpec) -> None:
    _remember_pair(plan, spec)
    family = spec.entities, spec.hub
    if family not in plan.link_families:
        number = len(plan.link_families)
        plan.link_families.append(family)
        for size, entity in ((1, spec.entities[0]), (0, spec.entities[1])):
            plan.spaces[plan.space(entity)].links.append((number, size))
    number = plan.link_families.index(family)
    if spec.kind in hops.HOPS and number not in plan.second_hops:
        plan.second_hops.append(number)
        for entity in spec.entities:
            plan.spaces[plan.space(entity)].hops.append(number)


def _link_line(plan: Plan, spec: LinkSpec, out: int) -> Line:
    first, second, pair, place_a, place_b, hub = plan.link_words((spec.entities, spec.hub))
    if spec.kind in hops.HOPS:
        operation, (*_, list_a, list_b, _) = hops.HOPS.index(spec.kind), plan.hop_words((spec.entities, spec.hub))
        nodes = place_a | place_b << 16
        return [answers.FIRST_OF_HOP + operation, out, first, list_a, list_b, hub, 0, second, -1, nodes, pair]
    return [_LINKS[spec.kind], out, first, 0, 0, hub, 0, second, -1, place_a | place_b << 16, pair]


# ---------------------------------------------------------------- one row, other tables


def _remember_lookup(plan: Plan, spec: LookupSpec) -> None:
    if (spec.source, spec.entity) not in plan.lookups:
        plan.lookups.append((spec.source, spec.entity))


def _row_level(reader: Reader, step: Feature, spec: RowSpec) -> Getter:
    function = compile_row(spec.expr, reader.types, reader.places)
    if step.dtype != "category":
        return function
    empty = pl.DataFrame(schema={name: reader.types[name] for name in spec.expr.columns})
    text = as_text(spec.expr.apply(empty).dtype)
    return lambda row: text(function(row))


def _ratio(reader: Reader, _step: Feature, spec: RatioSpec) -> Getter:
    upper, lower, factor = reader.places[spec.upper], reader.places[spec.lower], spec.factor

    def ratio(row: list[Any]) -> float | None:
        if row[upper] is None or not row[lower]:
            return None
        found: float = row[upper] / row[lower] * factor
        return found if math.isfinite(found) else None

    return ratio


def _place(reader: Reader, _step: Feature, spec: GeoSpec) -> Getter:
    kind, places = sphere.GEO.index(spec.kind), [reader.places[name] for name in spec.places]
    coordinates, seconds = spec.kind in AXES, (1.0,) * (7 - len(places))

    def place(row: list[Any]) -> float | None:
        values = [row[at] for at in places]
        if None in values:
            return None
        values = [float(value) for value in values]
        found = sphere.coordinate(kind, *values) if coordinates else sphere.apart(kind, *values, *seconds)
        return found if math.isfinite(found) else None

    return place


ONLINE: Mapping[type[Spec], OnlineHook] = {
    RawSpec: OnlineHook(),
    RowSpec: OnlineHook(row=_row_level),
    RatioSpec: OnlineHook(row=_ratio),
    WindowSpec: OnlineHook(_remember_window, _window_line, needs_now=_window_needs_now),
    SourceWindowSpec: OnlineHook(_remember_window, _window_line),
    LookupSpec: OnlineHook(_remember_lookup),
    LabelSpec: OnlineHook(_remember_labels, _label_line),
    RecencySpec: OnlineHook(_remember_recency, _recency_line),
    PairSpec: OnlineHook(_remember_pair, _pair_line),
    LinkSpec: OnlineHook(_remember_links, _link_line),
    HourSpec: OnlineHook(_remember_hours, _hour_line),
    HabitSpec: OnlineHook(_remember_habit, _habit_line),
    SpacingSpec: OnlineHook(_remember_spacing, _spacing_line),
    DecaySpec: OnlineHook(_remember_decay, _decay_line, needs_now=_nothing_now),
    GeoSpec: OnlineHook(row=_place),
}
"""Type of spec -> how the state remembers and answers it."""
