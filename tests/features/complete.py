"""One small world in which every family of features has every aggregate.

``python tests/features/complete.py`` writes the golden files again. That is right only where a definition or the layout
of a state is meant to change: whoever has a bundle or a saved state of before has to build it again then.
"""

from __future__ import annotations

import json
import lzma
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
from features.batch.test_sources import SCHEMA as SOURCE_SCHEMA
from features.batch.test_sources import SECTION, TABLE, TEXT, normalised, source_frame
from features.conftest import SCHEMA as EVENTS_SCHEMA
from features.conftest import _events, _project
from features.online.test_online import messages_of, new_state, send
from features.proof.test_against_reference import BASE, EVERYTHING, ZONE

from fraudctl.features import FeatureSet, define
from fraudctl.features.meaning.definition import SourceTable
from fraudctl.features.online import to_bytes

GOLDEN = Path(__file__).parent / "golden"
COMPLETE = TABLE + TEXT.partition("[features.columns]")[0] + EVERYTHING
N, CUT = 60, 100
"""Events of the world, and messages after which its golden state was saved."""


def everything() -> FeatureSet:
    """Return the features of every family."""
    return define(_project(COMPLETE), EVENTS_SCHEMA, sources={"logins": SourceTable(SECTION, SOURCE_SCHEMA)})


def columns() -> dict[str, list[object]]:
    """Return raw columns of events with twins, null entities, refunds and late outcomes, in the order of time."""
    at, now = [], BASE
    for i in range(N):
        now += timedelta(seconds=0 if i % 7 == 3 else i * i * 7919 % 40_000)
        at.append(now)
    delays = [(60, 3_600, 200_000, None)[i * 3 % 4] for i in range(N)]
    return {
        "id": [i * 37 % 101 for i in range(N)],
        "at": at,
        "eur": [None if i % 13 == 5 else (i * 271 % 997 - 150) / 4 for i in range(N)],
        "size": [None if i % 11 == 3 else (i * 31 % 17) / 10 for i in range(N)],
        "fraud": [(0, 0, 1, None, 1)[i * i % 13 % 5] for i in range(N)],
        "known_at": [None if d is None else t + timedelta(seconds=d) for t, d in zip(at, delays, strict=True)],
        "card_id": [("a", "b", "c", None, "a")[i * i % 11 % 5] for i in range(N)],
        "shop_id": [(1, 2, 3, None, 1, 4)[i * i * i % 17 % 6] for i in range(N)],
        "status": [("ok", "declined", None)[i % 3] for i in range(N)],
        "items": [None if i % 8 == 2 else i * 5 % 120 - 10 for i in range(N)],
        "online": [(True, False, None)[i * 7 % 5 % 3] for i in range(N)],
    }


def events(raw: dict[str, list[object]] | None = None):
    """Return the events of the world, or of altered raw columns."""
    return _events(_project(COMPLETE), everything(), raw or columns())


def sources() -> dict[str, pl.DataFrame]:
    """Return the rows of the other table: some known late, some of no entity."""
    rows = [
        (
            i * 9_973 % 300_000 * 3, (None, 0, 40, 90_000)[i % 4], ("a", "b", None, "c")[i * i % 7 % 4],
            (1, 2, None)[i % 3], ("x", "y", None)[i * i % 5 % 3], None if i % 6 == 4 else i * 17 % 23 / 4,
            (True, False, None)[i % 3],
        )
        for i in range(40)
    ]  # fmt: skip
    return {"logins": normalised(source_frame(rows))}


TIMES = {"born_on": pl.Date(), "opened_at": pl.Datetime("us"), "renewed_at": pl.Datetime("ms", "America/New_York")}
"""Columns with dates, local times and instants of `sources_with_times`."""


def rows_with_times() -> pl.DataFrame:
    """Return such rows with dates and times: local hours that come twice or never, times after events or at them."""
    rows, at = [], columns()["at"]
    for i in range(40):
        near = at[i * 7 % N] - timedelta(seconds=(0, 1, 86_400, -3_600)[i % 4])
        local = near.astimezone(ZoneInfo(ZONE)).replace(tzinfo=None) + timedelta(milliseconds=i * 31 % 900)
        local = (local, datetime(2024, 3, 31, 2, 30), datetime(2023, 10, 29, 2, 15), None)[i * 3 % 8 % 4]
        started = i * 9_973 % 300_000 * 3
        rows.append(
            {
                "at": BASE + timedelta(seconds=started), "seen_at": None if i % 4 else BASE + timedelta(days=i % 3),
                "card_id": ("a", "b", None, "c")[i * i % 7 % 4], "shop_no": (1, 2, None)[i % 3],
                "city": ("x", "y", None)[i * i % 5 % 3], "score": float(i), "ok": (True, False, None)[i % 3],
                "born_on": None if i % 5 == 1 else datetime(1990, 1 + i % 12, 1).date(), "opened_at": local,
                "renewed_at": None if i % 6 == 2 else near,
            }
        )  # fmt: skip
    schema = {**SOURCE_SCHEMA, **{name: dtype for name, dtype in TIMES.items() if name != "renewed_at"}}
    frame = pl.DataFrame(rows, schema={**schema, "renewed_at": pl.Datetime("us", "UTC")})
    return frame.with_columns(pl.col("renewed_at").dt.convert_time_zone("America/New_York").cast(TIMES["renewed_at"]))


def sources_with_times() -> dict[str, pl.DataFrame]:
    """Return these rows as the engines take them."""
    from fraudctl.features.batch.sources import normalise_source

    names = sorted(["city", "ok", "score", *TIMES])
    return {"logins": normalise_source(rows_with_times().lazy(), SECTION, name="logins", timezone=ZONE, columns=names)}


def messages():
    """Return all messages of the world in the order of time."""
    return messages_of(events(), sources())


def state_after(n: int):
    """Return a new state that has taken in the first ``n`` messages."""
    state = new_state(everything(), ZONE)
    send(state, messages()[:n])
    return state


def write() -> None:
    """Write the golden files."""
    GOLDEN.mkdir(exist_ok=True)
    found = everything()
    lines = [json.dumps({"digest": found.digest})]
    lines += [
        json.dumps([s.name, s.family, s.entity, s.dtype, s.words, s.interval, s.nulls], ensure_ascii=False)
        for s in found.steps
    ]
    (GOLDEN / "definitions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (GOLDEN / "state.xz").write_bytes(lzma.compress(to_bytes(state_after(CUT)), preset=9))


if __name__ == "__main__":
    write()
