"""Online features: one event at a time, with the same answers as the batch engine."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from fraudctl.errors import BundleError
from fraudctl.features.batch import build
from fraudctl.features.definition import FeatureSet
from fraudctl.features.groups import Array
from fraudctl.tables import UTC_US, Events

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAGIC = b"fraudctl online state 0\n"


@dataclass(frozen=True)
class OnlineRow:
    """The features of one event.

    Attributes
    ----------
    numbers
        Shape (n_features,), float64, in the order of `FeatureSet.names`; NaN is null, and stands for categories too.
    categories
        Category feature -> value.
    """

    numbers: Array
    categories: dict[str, str | None]


class OnlineFeatures:
    """The state that one event after another is answered from."""

    def __init__(self, features: FeatureSet, *, timezone: str, label_delay_us: int) -> None:
        self.features = features
        self.timezone = timezone
        self.label_delay_us = label_delay_us
        self.counters = {"late": 0, "duplicates": 0, "dropped": 0}
        types = features.types[""]
        self._schema = {
            "event_id": pl.Object(), "event_time": UTC_US, "label": pl.Int8(), "label_time": UTC_US,
            **{name: dtype for name, dtype in types.items() if name != "event_time"},
        }  # fmt: skip
        self._rows: dict[Any, dict[str, Any]] = {}
        self._labels: dict[Any, tuple[int | None, int]] = {}
        self._sources: dict[str, list[dict[str, Any]]] = {name: [] for name in features.sources}

    @classmethod
    def from_history(
        cls,
        events: Events,
        features: FeatureSet,
        *,
        timezone: str,
        label_delay_us: int,
        sources: Mapping[str, pl.DataFrame] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> OnlineFeatures:
        """Take in a whole history at once."""
        state = cls(features, timezone=timezone, label_delay_us=label_delay_us)
        frame = events.frame.with_columns(pl.col("event_time", "label_time").dt.epoch("us"))
        for row in frame.iter_rows(named=True):
            state._rows[row["event_id"]] = {name: row[name] for name in state._schema if "label" not in name}
            if row["label"] is not None:
                state._labels[row["event_id"]] = row["label"], row["label_time"]
        for name, table in (sources or {}).items():
            for row in table.iter_rows(named=True):
                state.source(name, row)
        if progress is not None:
            progress("history", events.frame.height, events.frame.height)
        return state

    @property
    def n_events(self) -> int:
        """Events taken in."""
        return len(self._rows)

    def observe(self, event: Mapping[str, Any]) -> OnlineRow:
        """Answer an event's features, then take it in."""
        out = self.peek(event)
        if event["event_id"] in self._rows:
            self.counters["duplicates"] += 1
        else:
            self._rows[event["event_id"]] = {name: event.get(name) for name in self._schema if "label" not in name}
        return out

    def peek(self, event: Mapping[str, Any]) -> OnlineRow:
        """Answer an event's features without taking it in."""
        earlier = [row for row in self._rows.values() if row["event_time"] < event["event_time"]]
        rows = [*earlier, {name: event.get(name) for name in self._schema}]
        columns = {name: [row.get(name) for row in rows] for name in self._schema}
        known = [self._labels.get(row["event_id"], (None, None)) for row in earlier]
        columns["label"] = [*(label for label, _ in known), None]
        columns["label_time"] = [*(_time(when) for _, when in known), None]
        columns["event_time"] = [_time(when) for when in columns["event_time"]]
        frame = pl.DataFrame([pl.Series(name, values, dtype=self._schema[name]) for name, values in columns.items()])
        frame = frame.with_columns(event_id=pl.int_range(frame.height)).sort("event_time", maintain_order=True)
        sources = {name: self._source(name) for name in self._sources}
        table = build(
            Events(frame, frame["event_time"][-1], 0, ""), self.features, timezone=self.timezone, sources=sources,
            threads=1,
        )[-1]  # fmt: skip
        numbers, categories = [], {}
        for feature in self.features.features:
            value = table[feature.name][0]
            if feature.dtype == "category":
                categories[feature.name] = None if value is None else str(value)
                value = None
            numbers.append(np.nan if value is None else float(value))
        return OnlineRow(np.array(numbers), categories)

    def label(self, event_id: Any, label: int | None, label_time_us: int) -> None:
        """Take in an outcome that has arrived."""
        if label is not None:
            self._labels[event_id] = label, label_time_us

    def source(self, name: str, row: Mapping[str, Any]) -> None:
        """Take in a row of another table: event_time, usable_time, entities and columns."""
        self._sources[name].append({key: _time(value) if "_time" in key else value for key, value in row.items()})

    def _source(self, name: str) -> pl.DataFrame:
        types = self.features.types[name]
        schema = {"event_time": UTC_US, "usable_time": UTC_US, **{key: types[key] for key in types}}
        frame = pl.DataFrame(
            {key: [row.get(key) for row in self._sources[name]] for key in schema}, schema=schema, strict=False
        )
        return frame.sort(frame.columns, nulls_last=False)

    def to_bytes(self) -> bytes:
        """Give the state as bytes."""
        content = json.dumps(
            [list(self._rows.values()), list(self._labels.items()), self._sources, self.counters], default=_json
        ).encode()
        head = [self.features.digest, hashlib.sha256(content).hexdigest()]
        return b"".join([_MAGIC, json.dumps(head).encode(), b"\n", content])

    @classmethod
    def from_bytes(cls, data: bytes, features: FeatureSet, *, timezone: str, label_delay_us: int) -> OnlineFeatures:
        """Bring a state back."""
        stream = io.BytesIO(data)
        if stream.readline() != _MAGIC:
            msg = "the saved state is not of this version"
            raise BundleError(msg)
        digest, checksum = json.loads(stream.readline())
        content = stream.read()
        if digest != features.digest or hashlib.sha256(content).hexdigest() != checksum:
            msg = "the saved state is damaged or belongs to other features"
            raise BundleError(msg)
        state = cls(features, timezone=timezone, label_delay_us=label_delay_us)
        rows, labels, sources, state.counters = json.loads(content)
        state._rows = {row["event_id"]: row for row in rows}
        state._labels = {key: (label, when) for key, (label, when) in labels}
        for name, found in sources.items():
            for row in found:
                state.source(name, row)
        return state


def _time(value: Any) -> Any:
    return _EPOCH + timedelta(microseconds=value) if isinstance(value, int) else value


def _json(value: Any) -> Any:
    return (value - _EPOCH) // timedelta(microseconds=1)
