"""``ab``: what an experiment says so far, and how long one takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from fraudctl.ab.arms import ArmsCompared
from fraudctl.errors import DataError, UsageError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.text.figures import exact
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    import polars as pl

MARGIN: Final = 0.02
"""Savings that a challenger may lose where ``[gate]`` has no rule on the champion; as there by default."""
_DRAWN: Final = ("experiment", "arm", "arm_share")


@dataclass(frozen=True)
class AbResult:
    """What an experiment says at an instant."""

    SCHEMA_VERSION: ClassVar = 1
    JSON = ("experiment", "unit", "currency", "confidence", "margin", "exit_code", "*compared")

    experiment: str
    """Its name, the salt of its draw."""
    unit: str
    """Entity whose ids were drawn."""
    currency: str
    """Of all money."""
    confidence: float
    """Of the intervals, however often one looks."""
    margin: float
    """Savings that the challenger may lose."""
    compared: ArmsCompared
    """The arms."""

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return int(self.compared.exit_code)


@dataclass(frozen=True)
class AbPlan:
    """How long an experiment takes."""

    SCHEMA_VERSION: ClassVar = 1

    unit: str
    """Entity whose ids are drawn."""
    loss: float
    """Savings that the challenger is to lose."""
    share: float
    """Share of the units that the challenger answers."""
    confidence: float
    """Of the intervals."""
    days: float
    """Days of decisions with known outcomes after which the loss is found in half of all experiments."""
    label_delay_days: float
    """Days until every outcome is known."""
    history_days: float
    """Days of history that this rests on."""


def compare_experiment(
    project: Project,
    name: str,
    *,
    decisions: Sequence[str | Path],
    as_of: datetime | date | None = None,
    margin: float | None = None,
    confidence: float = 0.95,
    progress: Progress | None = None,
) -> AbResult:
    """Compare the arms of an experiment of ``serve --split``, as they were known at an instant.

    Parameters
    ----------
    name
        The salt.
    decisions
        Folder of a state, or Parquet files of decisions.
    as_of
        By default the latest event of data and decisions.
    margin
        Savings that the challenger may lose; by default ``no_worse_than`` of ``[gate] champion``, else 0.02.
    confidence
        In (0.5, 1).

    Raises
    ------
    DataError
        There are no decisions of the experiment, they are not of this project's data, or an event is in another arm
        than its unit was drawn for.
    UsageError
        Margin or confidence are out of range.
    """
    import polars as pl

    from fraudctl.ab.arms import compare_arms
    from fraudctl.maturity import instant

    progress = progress or Silent()
    margin = _margin(project) if margin is None else margin
    _require_between("--margin", margin, 0.0, 1.0)
    _require_between("--confidence", confidence, 0.5, 1.0)
    progress.stage("Reading decisions")
    raw, others, files = _of_experiment(name, decisions)
    unit = _unit_of(raw, project, name)
    frame, known_until = _answered(project, raw, files, unit)
    earlier = None if others.is_empty() else _answered(project, others, files, unit)[0]
    if earlier is not None:
        earlier = earlier.filter(pl.col("event_time") < frame["event_time"].min())
    drawn = raw.unique("event_id", keep="first").select("event_id", "arm", "arm_share")
    frame = frame.join(_same_ids(drawn, frame), on="event_id", how="left", maintain_order="left")
    frame = frame.with_columns(unit=pl.when(pl.col("arm").is_not_null()).then("unit"))
    _require_as_drawn(frame, name, unit)
    progress.stage("Comparing")
    until = known_until if as_of is None else instant(as_of, timezone=project.data.timezone)
    shadow = _shadow(project, raw, files, frame)
    compared = compare_arms(frame, project, until, margin=margin, confidence=confidence, shadow=shadow, earlier=earlier)
    return AbResult(name, unit, project.costs.currency, confidence, margin, compared)


def plan_experiment(
    project: Project,
    *,
    decisions: Sequence[str | Path],
    unit: str,
    split: str,
    loss: float = MARGIN,
    confidence: float = 0.95,
    progress: Progress | None = None,
) -> AbPlan:
    """Return how many days an experiment takes to find a loss, from the decisions of the past.

    Parameters
    ----------
    decisions
        Folder of a state, or Parquet files of decisions.
    unit
        Entity whose ids would be drawn.
    split
        Such as ``champion=90,challenger=10``.
    loss
        Savings that the challenger is to lose, in (0, 1).
    confidence
        In (0.5, 1).

    Raises
    ------
    DataError
        There are no decisions, or too few units with known outcomes.
    UsageError
        The split has one arm only, the unit is no entity, or loss or confidence are out of range.
    """
    from fraudctl.ab.arms import days_needed
    from fraudctl.scoring.experiment import BUCKETS, parse_split

    _require_between("--loss", loss, 0.0, 1.0)
    _require_between("--confidence", confidence, 0.5, 1.0)
    share = parse_split(split) / BUCKETS
    _require_between("--split: the challenger's share", share, 0.0, 1.0)
    _require_entity(project, unit)
    (progress or Silent()).stage("Reading decisions")
    from fraudctl.workflows.logged import raw_decisions

    raw, files = raw_decisions(decisions)
    frame, known_until = _answered(project, raw, files, unit)
    days, history = days_needed(frame, project, known_until, loss=loss, share=share, confidence=confidence)
    return AbPlan(unit, loss, share, confidence, days, project.data.label_delay.seconds / 86_400, history)


def _margin(project: Project) -> float:
    rule = None if project.gate is None else project.gate.champion
    return rule.no_worse_than if rule is not None and rule.metric == "savings" and rule.no_worse_than > 0 else MARGIN


def _require_between(what: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        msg = f"{what} {exact(value)}: expected a number above {exact(low)} and below {exact(high)}"
        raise UsageError(msg)


def _require_entity(project: Project, unit: str) -> None:
    if unit not in project.entities:
        msg = f"--unit {unit} is no entity of the project; it has {', '.join(project.entities) or 'none'}"
        raise UsageError(msg)


def _of_experiment(name: str, decisions: Sequence[str | Path]) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Return the rows of an experiment, of answers and shadows, and the answers to other events."""
    import polars as pl

    from fraudctl.workflows.logged import raw_decisions

    raw, files = raw_decisions(decisions)
    missing = [column for column in (*_DRAWN, "role", "event_id", "action") if column not in raw.columns]
    if missing:
        msg = f"{files[0]}: no column {', '.join(missing)}; expected decisions that `serve --split` logged"
        raise DataError(
            msg, hint="`fraudctl serve --split champion=90,challenger=10 --unit ENTITY --salt NAME` writes them"
        )
    mine = raw.filter(pl.col("experiment") == name)
    if mine.is_empty():
        known = sorted(raw["experiment"].drop_nulls().unique().to_list())
        msg = f"{files[0]}: no event of experiment {shown(name)}; there are {', '.join(map(shown, known)) or 'none'}"
        raise DataError(msg, hint="the name is what `serve --split` got as --salt")
    others = raw.filter(pl.col("experiment").ne_missing(pl.lit(name)), pl.col("role") != "challenger")
    return mine, others, files


def _unit_of(raw: pl.DataFrame, project: Project, name: str) -> str:
    units = raw["unit"].drop_nulls().unique().to_list() if "unit" in raw.columns else []
    if len(units) != 1 or units[0] not in project.entities:
        found = ", ".join(map(shown, sorted(units))) or "none"
        msg = f"experiment {shown(name)}: its unit is {found}; expected one entity of the project"
        raise DataError(msg, hint="a salt belongs to one unit")
    return str(units[0])


def _answered(project: Project, raw: pl.DataFrame, files: Sequence[str], unit: str) -> tuple[pl.DataFrame, datetime]:
    """Return what was answered, with outcomes, the columns of costs and the unit as text."""
    import polars as pl

    from fraudctl.costs import cost_matrix
    from fraudctl.monitor.decisions import from_frame
    from fraudctl.workflows.logged import with_outcomes

    weight = [] if project.data.weight is None else [project.data.weight]
    columns = list(dict.fromkeys([*cost_matrix(project.costs).columns, *weight]))
    answered = from_frame(raw, project, files=files, first=True)
    found, known_until = with_outcomes(project, answered, columns=columns, entities=[unit])
    return found.frame.with_columns(pl.col(unit).cast(pl.String).alias("unit")), known_until


def _same_ids(other: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    from fraudctl.data.labels import same_ids

    return other.with_columns(same_ids(other["event_id"], frame.schema["event_id"]))


def _shadow(project: Project, raw: pl.DataFrame, files: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame | None:
    """Return what the model decided that did not answer; None where no model decided in the shadow."""
    from fraudctl.monitor.decisions import from_frame

    if "challenger" not in raw["role"]:
        return None
    found = from_frame(raw, project, files=files, role="challenger", first=True).frame
    return _same_ids(found.select("event_id", "action", "y_prob"), frame)


def _require_as_drawn(frame: pl.DataFrame, name: str, unit: str) -> None:
    """Draw every unit again, and refuse events that are in another arm."""
    import polars as pl

    from fraudctl.scoring.experiment import BUCKETS, bucket

    units = frame["unit"].drop_nulls().unique()
    drawn = pl.DataFrame({"unit": units, ".bucket": [bucket(name, value) for value in units.to_list()]})
    joined = frame.join(drawn, on="unit", how="inner")
    expected = (joined[".bucket"] < (joined["arm_share"] * BUCKETS).round()).to_numpy()
    wrong = int((expected != (joined["arm"] == "challenger").to_numpy()).sum())
    if wrong:
        msg = f"{wrong:,} of {frame.height:,} events are in another arm than their {unit} is drawn for by {shown(name)}"
        raise DataError(msg, hint="are the ids of the data those that came with the events?")
