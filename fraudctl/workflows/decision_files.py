"""What a state answered, as files: the rows of closed log segments, for `monitor`, `ab` and whoever reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.documents.types import JsonObject
    from fraudctl.scoring.live import Definition, LiveState
    from fraudctl.scoring.store import Store


def export_decisions(folder: Path, segment: int, live: LiveState) -> None:
    """Write what a closed log segment answered: decisions, one row per event and model, and answers to be found again.

    The decisions come last: where they stand, so do the answers.
    """
    from fraudctl.data.outputs import ROW_GROUP
    from fraudctl.disk.kept import is_numbered, write_numbered
    from fraudctl.scoring.answers import write_answers
    from fraudctl.scoring.saved import DECISIONS, read_segment

    if is_numbered(folder / DECISIONS, segment):
        return
    records = list(read_segment(folder, segment, last=True))
    write_answers(live.answers_in(records), folder, segment)
    rows = decision_rows(records, live.definitions)
    if rows.height:
        write_numbered(rows, folder / DECISIONS, segment, row_group=ROW_GROUP)


def roll(store: Store, live: LiveState) -> None:
    """Close the log segment and write its answers, so that a long stream keeps no more than some in memory."""
    from fraudctl.scoring.saved import closed_segments

    store.rotate()
    live.answers.rotated()
    for segment in closed_segments(store.folder)[1]:
        export_decisions(store.folder, segment, live)
    live.answers.exported()
    with contextlib.suppress(UsageError, OSError):  # all rows are in files; the next time may make fewer of them
        live.answers.merge()
        merge_decisions(store.folder)


def merge_decisions(folder: Path) -> None:
    """Merge the newest files of decisions while they are small, in the order of the log."""
    import polars as pl

    from fraudctl.data.outputs import ROW_GROUP
    from fraudctl.disk.kept import merge_numbered
    from fraudctl.scoring.saved import DECISIONS

    merge_numbered(folder / DECISIONS, pl.DataFrame.vstack, row_group=ROW_GROUP)


def _drawn(answer: Mapping[str, Any] | None, *, own: bool) -> JsonObject:
    """Return what an experiment drew for an event; the control group stands with what was answered alone."""
    answer = answer or {}
    drawn = answer.get("experiment") or {}
    return {
        "experiment": drawn.get("name"), "unit": drawn.get("unit"), "arm": drawn.get("arm"),
        "arm_share": drawn.get("share"),
        "control_group": answer.get("control_group") if own else None,
        "exposure_prob": answer.get("exposure_prob") if own else None,
    }  # fmt: skip


def decision_rows(records: Iterable[bytes], definitions: Mapping[str, Definition]) -> pl.DataFrame:
    """Return what champion and challenger decided, as a table in the order of the log."""
    import polars as pl

    from fraudctl.data.tables import UTC_US
    from fraudctl.policy.provenance import DECIDED_BY
    from fraudctl.scoring import wire

    rows = []
    for record in records:
        kind, *rest = wire.loads(record)
        if kind == "event":
            raw, answer, shadow, _, digest, *_ = rest
            event = definitions[digest].reader.event(raw, strict=False)
            for role, found in (("champion", answer), ("challenger", shadow)):
                if found is not None:
                    rows.append(
                        {**{key: found[key] for key in ("event_id", "model", "policy", "probability", "action")},
                         "event_time": event["event_time"], "amount": event.get("amount"), "role": role,
                         "decided_by": found.get("decided_by"), **_drawn(answer, own=found is answer)}
                    )  # fmt: skip
    kind_of_id = pl.Int64() if rows and isinstance(rows[0]["event_id"], int) else pl.String()
    schema: dict[str, pl.DataType] = {
        "event_id": kind_of_id, "event_time": pl.Int64(), "amount": pl.Float64(), "role": pl.String(),
        "model": pl.String(), "policy": pl.String(), "probability": pl.Float64(), "action": pl.String(),
        "decided_by": DECIDED_BY, "experiment": pl.String(), "unit": pl.String(), "arm": pl.String(),
        "arm_share": pl.Float64(),
        "control_group": pl.Boolean(), "exposure_prob": pl.Float64(),
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema).with_columns(pl.col("event_time").cast(pl.Datetime("us")).cast(UTC_US))
