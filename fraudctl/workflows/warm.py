"""``warm``: every compiled loop is compiled once, for an image or a machine on which nothing may wait for it.

Loops are compiled by being used: a project that asks for every aggregate of every family, in the batch engine, with a
history cut in time, with labels that change, and in the online state; trees as a partner has them; columns of every
type that are counted; and a small sample that is trained, evaluated and scored, on states too, by the command line
itself. What numba keeps of it is where it always is, or in ``NUMBA_CACHE_DIR``.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fraudctl.errors import UsageError
from fraudctl.progress import Progress, Silent, Steps

if TYPE_CHECKING:
    from fraudctl.features.meaning.definition import FeatureSet
    from fraudctl.project import Project

HOST = "that of this machine"
PROJECT = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_time = "known_at"
label_delay = "2d"
[entities]
card = "card"
shop = "shop"
[sources.logins]
events = "logins.parquet"
event_time = "at"
known_time = "seen_at"
entities = { card = "card", shop = "shop" }
[features]
raw = ["amount", "items", "status", "online"]
categorical = ["status"]
[features.columns]
large = "amount > 90 and online"
lat = "size * 80 - 40"
[[features.window]]
by = ["card", "shop"]
windows = ["1h", "1d"]
aggregates = ["count", "nunique(shop)", "nunique(status)", "sum(amount)", "mean(size)", "std(amount)", "min(size)",
  "max(amount)", "median(size)", "mad(amount)", "sum(items)", "max(items)"]
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count", "mean(amount)", "std(amount)", "max(amount)", "median(amount)", "nunique(shop)"]
where = "online"
name = "online"
include_current = true
[[features.window]]
by = "card"
windows = ["7d"]
aggregates = ["mean(large)"]
[[features.window]]
source = "logins"
by = ["card", "shop"]
windows = ["1d", "30d"]
aggregates = ["count", "nunique(city)", "sum(score)", "mean(score)", "std(score)", "min(score)", "max(score)",
  "median(score)", "mad(score)"]
[[features.labels]]
by = ["card", "shop"]
windows = ["1h", "3d"]
aggregates = ["known_count", "fraud_count", "fraud_rate", "smoothed_rate", "seconds_since_first_fraud",
  "seconds_since_last_fraud"]
[[features.recency]]
by = ["card", "shop"]
aggregates = ["seconds_since_last", "seconds_since_first", "seconds_since_last_known_fraud",
  "seconds_since_fraud_run_began"]
run_gap = "1d"
[[features.pairs]]
of = ["card", "shop"]
aggregates = ["first_time", "count", "seconds_since_last"]
[[features.links]]
of = ["card", "shop"]
aggregates = ["component_size", "component_age_seconds", "component_fraud_rate", "degree", "neighbours",
  "neighbour_frauds"]
[[features.trend]]
by = "card"
short = "1h"
long = "1d"
aggregates = ["count", "mean(amount)"]
[[features.hours]]
by = "card"
windows = ["30d"]
aggregates = ["hour_distance", "hour_concentration"]
[[features.habits]]
by = ["card", "shop"]
windows = ["1h", "3d"]
aggregates = ["last(amount)", "previous(size)", "last(online)", "changed(status)", "same(status)",
  "seconds_same(online)", "share(amount)", "share(status)", "share(shop)", "rank(amount)", "rank(items)",
  "previous(status)"]
[[features.spacing]]
by = ["card", "shop"]
windows = ["1h", "3d"]
last = 4
[[features.decay]]
by = ["card", "shop"]
half_lives = ["10m", "1d"]
aggregates = ["count", "sum(amount)", "mean(size)"]
[[features.geo]]
by = ["card", "shop"]
at = ["size", "items"]
to = ["lat", "amount"]
windows = ["1d", "30d"]
aggregates = ["distance_from_last", "speed_from_last", "distance_from_usual", "distance"]
[[features.lookup]]
source = "logins"
by = ["card", "shop"]
columns = ["city", "score", "born_on", "opened_at", "hour(opened_at)", "same_second(opened_at)"]
max_age = "9d"
"""
EDITS = (
    ("trials = 30", "trials = 0\niterations = 60"),
    ("folds = 3", "folds = 2"),
    ("min_frauds = 300", "min_frauds = 20"),
    ("[policy]\n", '[policy]\ncapacity = { review = "20 per day" }\n'),
)
"""What makes training on the small sample quick."""
COMMANDS = (
    ("train",),
    ("evaluate", "--no-gate"),
    ("score", "transactions.parquet", "-o", "decisions.parquet"),
    ("score", "transactions.parquet", "-o", "kept.parquet", "--state", "state", "--new"),
    ("state", "build", "built", "--history", "history.parquet"),
    ("score", "new.parquet", "-o", "later.parquet", "--state", "built"),
)
"""Commands on the sample, after which their loops are compiled."""


@dataclass(frozen=True)
class WarmResult:
    """Loops that are compiled.

    Attributes
    ----------
    loops
        Compiled versions of loops in the cache.
    cache
        The folder of the cache; None where each module has its own.
    cpu
        The processor that they are compiled for, as LLVM calls it.
    """

    loops: int
    cache: Path | None
    cpu: str
    host: bool
    """Whether it is that of this machine, and the loops may not be there for another one."""
    missing: tuple[str, ...] = ()
    """Loops of which no version is kept, as ``module.function``: they are compiled when they are first used."""


def warm_loops(*, progress: Progress | None = None) -> WarmResult:
    """Compile every loop, or load it where it was compiled before.

    Raises
    ------
    UsageError
        Nothing that is compiled can be kept; a command on the sample fails.
    """
    from fraudctl.disk.files import temporary_folder
    from fraudctl.features.batch import jit

    progress = progress or Silent()
    progress.stage("Compiling loops")
    steps = Steps(progress, 3 + len(COMMANDS))
    with temporary_folder(_temporary_place(), "fraudctl-warm") as folder:
        steps.begin("features of every family")
        every_family()
        steps.begin("trees and counts")
        partner_trees()
        counted_columns()
        steps.begin("a sample")
        _run(folder, "sample", ".", "--events", "20000")
        _edit(folder / "fraudctl.toml")
        _divide(folder)
        for command in COMMANDS:
            steps.begin(command[0])
            _run(folder, *command)
    import_loops()
    found = jit.kept()
    if not found.loops:
        msg = "nothing that is compiled can be kept: no folder for it can be written"
        raise UsageError(msg, hint="set NUMBA_CACHE_DIR to a folder that can be written")
    return WarmResult(found.loops, found.folder, found.cpu, found.host, tuple(jit.unkept()))


def import_loops() -> None:
    """Import every module that has loops."""
    import importlib

    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        if "\n@jit" in path.read_text(encoding="utf-8"):
            importlib.import_module(".".join((root.name, *path.relative_to(root).with_suffix("").parts)))


def _temporary_place() -> Path:
    import tempfile

    return Path(tempfile.gettempdir())


def _edit(path: Path) -> None:
    from fraudctl.data import outputs

    text = path.read_text(encoding="utf-8")
    for old, new in EDITS:
        text = text.replace(old, new, 1)
    outputs.write_text(text, path)


def _divide(folder: Path) -> None:
    """Write the sample's events as a history and what comes after it."""
    from fraudctl.data import outputs

    events = pl.read_parquet(folder / "transactions.parquet").unique("transaction_id").sort("created_at")
    outputs.write_parquet(events[:-100], folder / "history.parquet")
    outputs.write_parquet(events[-100:], folder / "new.parquet")


def _run(folder: Path, *command: str) -> None:
    """Run a command line in a process of its own, as a user would."""
    whole = [sys.executable, "-m", "fraudctl", *command, "--quiet"]
    done = subprocess.run(whole, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        msg = f"`fraudctl {command[0]}` on a sample ended with {done.returncode}"
        raise UsageError(msg, hint=f"it said: {done.stderr.strip()[-300:]}")


def partner_trees() -> None:
    """Score and explain by trees such as a partner's, one row and many."""
    from fraudctl.scoring.kernels import add_partner
    from fraudctl.train.leafwise import LeafwiseTrees, Tree

    for n in (15, 31):
        nodes = range(n - 1)
        tree = Tree(
            tuple(node % 2 for node in nodes), tuple(float(node) for node in nodes),
            tuple(node % 3 > 0 for node in nodes), tuple(~node for node in nodes), (*range(1, n - 1), ~(n - 1)),
            tuple(float(leaf) for leaf in range(n)), tuple(float(leaf + 1) for leaf in range(n)),
        )  # fmt: skip
        trees, rows = LeafwiseTrees((tree, tree), 2), np.ones((2, n), dtype=np.float32).T
        trees.score_rows(rows)
    trees.explain_rows(rows)
    trees.interactions(rows, [(0, 1)])
    _, turns = trees.score(np.ascontiguousarray(rows[0]))
    trees.score_into(turns, np.ones(2), np.arange(2))
    add_partner(np.ones(2), trees.explain(turns), np.arange(2), 0.5)


def counted_columns() -> None:
    """Count and number columns of every type, in one table and where it is too small; and draws of events."""
    from fraudctl.metrics import kernels, tallies

    numbers = pl.Series([float(i * 7_919 % 400) for i in range(600)])
    for kind in (pl.String, pl.Float64, pl.Float32, pl.Datetime("us")):
        values = numbers.cast(kind)
        for bits in (tallies.BITS, 1):
            tallies.count(values, least_rows=1, bits=bits)
        tallies.number_values(values, n_unique=400)
    kernels.cells_drawn(np.zeros(3, np.int64), np.zeros(3, np.int32), 2)


def every_family() -> None:
    """Compute all features of all families: at once, for a part that asks, and one event at a time."""
    from fraudctl.data.labels import LabelRule
    from fraudctl.data.tables import normalise
    from fraudctl.features.batch.build import build
    from fraudctl.features.batch.engine import Dropped
    from fraudctl.features.batch.increment import Past, engine_after, extend
    from fraudctl.project import parse_project

    project = parse_project(PROJECT, path=Path("fraudctl.toml"))
    raw, logins = raw_events(), raw_logins()
    features, sources = definitions(project, raw, logins)
    events = normalise(raw.lazy(), project=project, files=["events"], columns=features.carried)
    steps = replace(features, features=features.steps)  # those that others look back on, too
    whole = build(events, steps, timezone="UTC", sources=sources)
    half = events.frame.height // 2
    new, names = events.frame[half:], [n for n in whole.columns if n not in events.frame.columns]
    past = Past(pl.concat([events.frame, whole.select(names)], how="horizontal")[:half], Dropped())
    extend(engine_after(past, new, features, timezone="UTC", sources=sources), new)
    build(replace(events, frame=_changing(events.frame)), features, timezone="UTC", sources=sources)
    _between_workers(whole)
    _one_by_one(features, events.frame, sources["logins"])
    _one_by_one(replace(features, labels=LabelRule(by_silence=True, declined=False)), events.frame, sources["logins"])


def _changing(events: pl.DataFrame) -> pl.DataFrame:
    """Return events whose labels were taken back."""
    from fraudctl.data.labels import CHANGE_TYPE, CHANGES

    first, last = pl.struct(time="event_time", label=pl.lit(1)), pl.struct(time="label_time", label=pl.lit(0))
    changed = pl.concat_list(first, last).cast(CHANGE_TYPE)
    return events.with_columns(pl.when(pl.col("label") == 0).then(changed).alias(CHANGES))


def _between_workers(events: pl.DataFrame) -> None:
    """Pack rows as workers of a cluster do, and join values that met."""
    from fraudctl.cluster.linking import rooted
    from fraudctl.cluster.packed import to_blob
    from fraudctl.features.batch.groups import codes_of

    to_blob(events)
    both = events.drop_nulls(["card", "shop"])
    rooted(codes_of(both["card"]), codes_of(both["shop"]), np.ones(both.height, np.bool_))


def _one_by_one(features: FeatureSet, frame: pl.DataFrame, logins: pl.DataFrame) -> None:
    """Take events and rows in the order of time, outcomes as they arrive, one that comes late, and one taken back."""
    from fraudctl.features.online import OnlineFeatures

    online = OnlineFeatures(features, timezone="UTC", label_delay_us=172_800_000_000)
    moment = pl.col("event_time").dt.epoch("us")
    for row in logins.with_columns(moment).drop("usable_time").iter_rows(named=True):
        online.source("logins", row)
    before: int | None = None
    for row in frame.with_columns(moment).drop("label", "label_time").iter_rows(named=True):
        online.observe(row)
        online.label(row["event_id"], 1, row["event_time"])
        if before is not None:
            online.label(before, 0, row["event_time"])
        before = row["event_id"]
    online.observe(row | {"event_id": -1, "event_time": row["event_time"] - 1})


def definitions(
    project: Project, raw: pl.DataFrame, logins: pl.DataFrame
) -> tuple[FeatureSet, dict[str, pl.DataFrame]]:
    """Define the features of `PROJECT`; return them and the other table."""
    from fraudctl.features.batch.sources import normalise_source
    from fraudctl.features.meaning.definition import SourceTable, define

    section = project.sources["logins"]
    features = define(project, raw.schema, sources={"logins": SourceTable(section, logins.schema)})
    columns = features.sources["logins"]
    table = normalise_source(logins.lazy(), section, name="logins", timezone="UTC", columns=columns)
    return features, {"logins": table}


def raw_events(n: int = 200) -> pl.DataFrame:
    """Return made-up events that have everything that loops have a case for."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    at = [start + timedelta(seconds=i * i * 7_919 % 4_000_000) for i in range(n)]
    return pl.DataFrame(
        {
            "id": range(n), "at": at, "amount": [None if i % 13 == 5 else i * 271 % 997 / 4 for i in range(n)],
            "fraud": [(0, 0, 1, None)[i * i % 7 % 4] for i in range(n)],
            "known_at": [t + timedelta(seconds=i * 977 % 300_000) for i, t in enumerate(at)],
            "card": [("a", "b", "c", None, "a")[i * i % 11 % 5] for i in range(n)],
            "shop": [(1, 2, 3, None, 1, 4)[i * i * i % 17 % 6] for i in range(n)],
            "status": [("ok", "declined", None)[i % 3] for i in range(n)],
            "items": [None if i % 8 == 2 else i * 5 % 120 - 10 for i in range(n)],
            "size": [None if i % 11 == 3 else i * 31 % 17 / 10 for i in range(n)],
            "online": [(True, False, None)[i * 7 % 5 % 3] for i in range(n)],
        }
    )  # fmt: skip


def raw_logins(n: int = 60) -> pl.DataFrame:
    """Return rows of the other table."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    at = [start + timedelta(seconds=i * 9_973 % 3_000_000) for i in range(n)]
    return pl.DataFrame(
        {
            "at": at, "seen_at": [t + timedelta(seconds=i % 3 * 40) for i, t in enumerate(at)],
            "card": [("a", "b", None)[i % 3] for i in range(n)], "shop": [(1, 2, None)[i % 3] for i in range(n)],
            "born_on": [t.date() for t in at], "opened_at": at,
            "city": [("x", "y", None)[i * i % 5 % 3] for i in range(n)], "score": [i * 17 % 23 / 4 for i in range(n)],
        }
    )  # fmt: skip
