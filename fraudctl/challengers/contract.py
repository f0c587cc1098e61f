"""What a challenger's program gets and what it has to return: tables, facts, and the checks of its answer.

Owns the one form of these: names of columns, the facts as JSON, and which answers are refused. It runs nothing. No
message holds a value of an event.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray, SingleArray
from fraudctl.documents.sealed import canonical
from fraudctl.errors import DataError
from fraudctl.text.figures import count
from fraudctl.text.plain import shown_all

CONTRACT: Final = 1
"""Version of the contract; it stands in the facts."""
Step = Literal["fit", "score"]

EVENT_ID, EVENT_TIME, LABEL, WEIGHT, SCORE = "event_id", "event_time", "label", "event_weight", "score"
FACTS, TRAIN, ROWS, CONTEXT, SCORES, VERSIONS, MODEL = (
    "facts.json", "train.parquet", "rows.parquet", "context.parquet", "scores.parquet", "versions.json", "model",
)  # fmt: skip
"""Files, and the folder of the fitted model, in the working folder of a step."""


@dataclass(frozen=True)
class ChallengerFeature:
    """A feature as a challenger sees it.

    Attributes
    ----------
    name
        Its column: Float32 with null where unknown, or text.
    levels
        All values of a category, its nulls and unseen values included; null for a number.
    """

    name: str
    levels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ChallengerFacts:
    """What a challenger is told besides its tables.

    Attributes
    ----------
    step
        ``fit`` or ``score``.
    challenger
        Its name in the project file.
    seed, threads
        For its draws, and the most threads that it may use.
    features
        The features in model order.
    entities
        Entity -> the column of the tables that holds its id.
    as_of
        What the model may know; None for a random split.
    history
        Seconds before an event within which other events may count for its score; None for none.
    params
        ``[challengers.NAME.params]``.
    """

    step: Step
    challenger: str
    seed: int
    threads: int
    features: tuple[ChallengerFeature, ...]
    entities: Mapping[str, str]
    as_of: datetime | None
    history: int | None = None
    params: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of all features."""
        return [item.name for item in self.features]

    @property
    def numbers(self) -> list[str]:
        """Names of the numeric features."""
        return [item.name for item in self.features if item.levels is None]

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """Categorical feature -> its levels."""
        return {item.name: item.levels for item in self.features if item.levels is not None}

    def to_json(self, folder: Path) -> bytes:
        """Return the facts as JSON, with the paths of a step's tables below ``folder``."""
        tables = {"train": TRAIN, "context": CONTEXT} if self.step == "fit" else {"rows": ROWS, "context": CONTEXT}
        document = {
            "contract": CONTRACT,
            "step": self.step,
            "challenger": self.challenger,
            "seed": self.seed,
            "threads": self.threads,
            "features": [
                {"name": item.name, "kind": "number"} if item.levels is None
                else {"name": item.name, "kind": "category", "levels": list(item.levels)}
                for item in self.features
            ],
            "entities": dict(self.entities),
            "columns": {"event_id": EVENT_ID, "event_time": EVENT_TIME, "label": LABEL, "weight": WEIGHT},
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
            "history_seconds": self.history,
            "params": dict(self.params),
            "tables": {name: str(folder / file) for name, file in tables.items()},
            "model": str(folder / MODEL),
            **({} if self.step == "fit" else {"output": str(folder / SCORES)}),
        }  # fmt: skip
        return canonical(document)

    @classmethod
    def read(cls, path: Path) -> tuple[ChallengerFacts, Mapping[str, Any]]:
        """Return the facts in a file and the whole of its document, for a program in Python."""
        found = json.loads(path.read_bytes())
        features = tuple(
            ChallengerFeature(item["name"], tuple(item["levels"]) if item["kind"] == "category" else None)
            for item in found["features"]
        )
        as_of = None if found["as_of"] is None else datetime.fromisoformat(found["as_of"])
        facts = cls(
            found["step"], found["challenger"], found["seed"], found["threads"], features, found["entities"], as_of,
            found["history_seconds"], found["params"],
        )  # fmt: skip
        return facts, found


def entity_columns(entities: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return entity -> its column in the tables of a challenger.

    Raises
    ------
    DataError
        A feature has the name of such a column.
    """
    columns = {name: f"entity.{name}" for name in entities}
    taken = sorted({*columns.values(), EVENT_ID, EVENT_TIME, LABEL, WEIGHT} & set(names))
    if taken:
        msg = f"features called {shown_all(taken)} cannot be handed to a challenger: its tables have such columns"
        raise DataError(msg, hint="name these columns otherwise in the data")
    return columns


def plain_rows(frame: pl.DataFrame, matrix: pl.DataFrame, entities: Mapping[str, str]) -> pl.DataFrame:
    """Return events as a challenger sees them: id, time, entities and features; no label and nothing learned of one.

    Parameters
    ----------
    frame
        Rows of the feature table.
    matrix
        Their features (`ModelColumns.matrix`), in the same order.
    """
    roles = [EVENT_ID, *([EVENT_TIME] if EVENT_TIME in frame.columns else [])]
    ids = [pl.col(name).alias(column) for name, column in entities.items()]
    return frame.select(*roles, *ids).hstack(matrix)


def training_rows(
    rows: pl.DataFrame, label: Sequence[int] | FloatArray | pl.Series, weight: FloatArray | None
) -> pl.DataFrame:
    """Return `plain_rows` with the labels that may be known and the weights, 1 where the project has none."""
    heavy = np.ones(rows.height) if weight is None else weight
    return rows.with_columns(pl.Series(LABEL, label, dtype=pl.Int8), pl.Series(WEIGHT, heavy, dtype=pl.Float64))


def read_scores(path: Path, ids: pl.Series, *, who: str) -> FloatArray:
    """Return the scores that a challenger wrote, in the order of ``ids``, shape ``(n_rows,)``.

    Raises
    ------
    DataError
        There is no such table, it has other columns, a score is null or not finite, or not every event has one.
    """
    if not path.is_file():
        msg = f"{who} wrote no scores: {path.name} is missing"
        raise DataError(msg, hint="write event_id and score as Parquet to the path `output` of the facts")
    try:
        found = pl.read_parquet(path, use_statistics=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{who}: {path.name} cannot be read as Parquet"
        raise DataError(msg) from error
    if set(found.columns) != {EVENT_ID, SCORE}:
        msg = f"{who}: {path.name} has the columns {shown_all(found.columns)}; expected event_id and score"
        raise DataError(msg)
    if found[EVENT_ID].dtype != ids.dtype or not found[SCORE].dtype.is_numeric():
        msg = (
            f"{who}: event_id is {found[EVENT_ID].dtype} and score is {found[SCORE].dtype}; "
            f"expected {ids.dtype} and a number"
        )
        raise DataError(msg)
    scores = found.with_columns(pl.col(SCORE).cast(pl.Float64))
    n_bad = scores.height - int(scores[SCORE].is_finite().fill_null(value=False).sum())
    if n_bad:
        msg = f"{who}: {n_bad:,} of {count(scores.height, 'score')} are null, NaN or infinite"
        raise DataError(msg, hint="every event needs a number; decide in the program what it says of such rows")
    once = scores.unique(EVENT_ID, keep="any")
    n_double = scores.height - once.height
    joined = ids.to_frame(EVENT_ID).join(once, on=EVENT_ID, how="left", maintain_order="left")
    n_missing = joined[SCORE].null_count()
    n_strange = once.height - (len(ids) - n_missing)
    if n_double or n_missing or n_strange:
        msg = (
            f"{who}: of {count(len(ids), 'event')} to score, {n_missing:,} have no score; "
            f"{n_double:,} rows repeat an event, and {n_strange:,} are of events that it was not given"
        )
        raise DataError(msg, hint="return exactly one row per event of `rows`")
    return joined[SCORE].to_numpy()


def as_numbers(frame: pl.DataFrame, facts: ChallengerFacts) -> SingleArray:
    """Return the features as an array, shape ``(n_rows, n_features)``: NaN where null, a category as its level's place.

    For programs in Python whose library takes categories as whole numbers.
    """
    out = np.empty((frame.height, len(facts.features)), dtype=np.float32, order="F")
    for k, feature in enumerate(facts.features):
        values = frame[feature.name]
        if feature.levels is not None:
            values = values.cast(pl.Enum(feature.levels)).to_physical()
        out[:, k] = values.cast(pl.Float32).fill_null(float("nan")).to_numpy()
    return out
