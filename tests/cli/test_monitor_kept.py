"""`monitor` with what earlier runs kept says what it says from raw, whatever happened to the files in the meantime."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_line import run_in
from worlds import digest

from fraudctl.bundle import load_bundle
from fraudctl.data.pieces import FilePiece
from fraudctl.monitor.outcome import MonitorResult
from fraudctl.project import load_project
from fraudctl.workflows import causes, monitor
from fraudctl.workflows.causes import score_causes
from fraudctl.workflows.watched import Watching

LIMITS = """
[monitor.harm]
recall = { at_least = 0.6 }
savings = { at_least = 0.2 }
alerts_per_day = { at_most = 900 }
"""


@dataclass
class World:
    """A project with a file for each day of events and of decisions, of which some are not there yet."""

    folder: Path
    days: list[str]
    later: Path
    read: list[str] = field(default_factory=list)

    def path(self, kind: str, day: str) -> Path:
        return self.folder / kind / f"{day}.parquet"

    def come(self, day: str) -> None:
        for kind in ("events", "decisions"):
            shutil.copy(self.later / kind / f"{day}.parquet", self.path(kind, day))

    def watch(self) -> MonitorResult:
        self.read.clear()
        project = load_project(self.folder / "fraudctl.toml")
        return monitor.monitor_model(project, [str(self.folder / "decisions" / "*.parquet")], record=False)

    @property
    def files(self) -> str:
        """A digest of all that `monitor` reads raw."""
        return digest(self.folder / "events") + digest(self.folder / "decisions")

    @property
    def kept(self) -> Path:
        return self.folder / ".fraudctl" / "monitor" / "kept"

    def from_raw(self) -> MonitorResult:
        """Watch with nothing kept, and leave what is kept as it is."""
        aside = self.folder / "aside"
        self.kept.rename(aside)
        try:
            return self.watch()
        finally:
            shutil.rmtree(self.kept)
            aside.rename(self.kept)


@pytest.fixture(scope="module")
def days(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its events and decisions after as_of by day; some decisions of early days come late."""
    folder = tmp_path_factory.mktemp("days") / "project"
    shutil.copytree(trained, folder)
    events = pl.read_parquet(folder / "transactions.parquet").unique("transaction_id").sort("created_at")
    as_of = load_bundle(next((folder / "models").glob("2*"))).as_of
    before, after = (events.filter(part) for part in (pl.col("created_at") < as_of, pl.col("created_at") >= as_of))
    for kind in ("events", "decisions"):
        (folder / "later" / kind).mkdir(parents=True)
        (folder / kind).mkdir()
    before.write_parquet(folder / "before.parquet")
    after.write_parquet(folder / "after.parquet")
    before.write_parquet(folder / "events" / "0.parquet")
    done = run_in(folder, "score", "after.parquet", "--history", "before.parquet", "-o", "all.parquet",
                  "--with-features", "--reasons", "none")  # fmt: skip
    assert done.code == 0, done.err
    day = after.select(event_id="transaction_id", day=pl.col("created_at").dt.date().cast(pl.String))
    decided = pl.read_parquet(folder / "all.parquet").join(day, on="event_id")
    decided = decided.with_columns(late=pl.int_range(pl.len()).over("day") % 50 == 7)
    for (name,), part in decided.filter(~pl.col("late")).partition_by("day", as_dict=True).items():
        part.drop("day", "late").write_parquet(folder / "later" / "decisions" / f"{name}.parquet")
    decided.filter("late").drop("day", "late").write_parquet(folder / "later" / "late.parquet")
    for (name,), part in after.with_columns(day=pl.col("created_at").dt.date().cast(pl.String)).partition_by(
        "day", as_dict=True
    ).items():  # fmt: skip
        part.drop("day").write_parquet(folder / "later" / "events" / f"{name}.parquet")
    (folder / "transactions.parquet").unlink()
    text = (folder / "fraudctl.toml").read_text()
    (folder / "fraudctl.toml").write_text(text.replace('"transactions.parquet"', '"events/*.parquet"') + LIMITS)
    return folder


@pytest.fixture
def world(days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The first ten days have come; files count as settled at once, causes are of few events, and reads are noted."""
    folder = tmp_path / "project"
    shutil.copytree(days, folder)
    names = sorted(path.stem for path in (folder / "later" / "decisions").glob("*.parquet"))
    found = World(folder, names, folder / "later")
    monkeypatch.setattr(monitor, "time_ns", lambda: time.time_ns() + 10**10)
    monkeypatch.setattr(causes, "SAMPLE", 500)
    own = FilePiece.read

    def read(self: FilePiece, *args: object, **options: object) -> pl.DataFrame:
        found.read.append(str(Path(self.file).relative_to(folder)))
        return own(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FilePiece, "read", read)
    for day in names[:10]:
        found.come(day)
    return found


def test_a_new_day_reads_a_new_day_alone(world: World) -> None:
    world.watch()
    assert len(set(world.read)) > 20
    world.watch()
    assert world.read == []
    new = world.days[10]
    world.come(new)
    result = world.watch()
    assert set(world.read) <= {f"{kind}/{day}.parquet" for kind in ("events", "decisions") for day in world.days[9:11]}
    assert {f"events/{new}.parquet", f"decisions/{new}.parquet"} <= set(world.read)
    assert result == world.from_raw()
    assert len(set(world.read)) > 20


def change(world: World, step: str, rng: np.random.Generator) -> None:
    """Do something to the files, or to what was kept of them."""
    there = sorted(path.stem for path in (world.folder / "decisions").glob("2*.parquet"))
    day = str(rng.choice(there))
    if step == "new day":
        world.come(world.days[len(there)])
    elif step == "late decisions":
        shutil.copy(world.later / "late.parquet", world.path("decisions", "late"))
        late = pl.read_parquet(world.path("decisions", "late"))
        known = pl.concat([pl.read_parquet(world.path("events", name), columns=["transaction_id"]) for name in there])
        late.filter(pl.col("event_id").is_in(known["transaction_id"].implode())).write_parquet(
            world.path("decisions", "late")
        )
    elif step == "changed decisions":
        frame = pl.read_parquet(world.path("decisions", day))
        frame.with_columns(probability=pl.col("probability") / 2, card_count_1d=None).with_columns(
            pl.col("card_count_1d").cast(frame.schema["card_count_1d"])
        ).write_parquet(world.path("decisions", day))
    elif step == "changed events":
        frame = pl.read_parquet(world.path("events", day)).with_columns(amount=pl.col("amount") * 2)
        later = frame.with_columns(created_at=pl.col("created_at") + timedelta(minutes=1))
        later.write_parquet(world.path("events", day))
    elif step == "deleted decisions":
        world.path("decisions", day).unlink()
    elif step == "deleted cache":
        shutil.rmtree(world.kept)
    elif step == "damaged cache":
        for path in sorted(world.kept.rglob("*.arrow"))[:: int(rng.integers(1, 4))]:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0xFF
            path.write_bytes(content)
    elif step == "lost facts":
        for path in sorted(world.kept.rglob("*.json"))[::3]:
            path.unlink()


STEPS = ("new day", "new day", "late decisions", "changed decisions", "changed events", "deleted decisions",
         "deleted cache", "damaged cache", "lost facts")  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_what_was_kept_gives_the_same_report_as_raw_files(world: World, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw: dict[str, MonitorResult] = {}
    for step in rng.permutation(STEPS).tolist():
        change(world, step, rng)
        found, files = world.watch(), world.files
        if files not in raw:  # some steps change what was kept alone, or bring back what had been there
            raw[files] = world.from_raw()
        assert found == raw[files], step


def test_files_that_are_read_together_give_the_same_report(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of tables that have no pieces, such as those of a store, beside the way of pieces."""
    with monkeypatch.context() as patch:
        for name in ("fraudctl.monitor.taken", "fraudctl.data.kept_events"):
            patch.setattr(f"{name}.pieces_of", lambda *_, **__: None)
        together = world.watch()
    assert not list(world.kept.rglob("decisions-*"))
    assert len(together.limits) == 3
    assert any(limit.value is not None for limit in together.limits)
    assert world.watch() == together
    assert list(world.kept.rglob("decisions-*"))


def test_two_runs_at_once_do_not_disturb_each_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    own, alone = monitor.told_events, world.watch()
    began = []

    def told(*given: object) -> pl.DataFrame:
        if not began:
            began.append(world.days[0])
            project = load_project(world.folder / "fraudctl.toml")
            monitor.monitor_model(project, [world.path("decisions", began[0])], record=False)
        return own(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(monitor, "told_events", told)
    assert world.watch() == alone
    began.clear()
    shutil.rmtree(world.kept)
    assert world.watch() == alone
    assert began


def test_decisions_of_events_that_the_data_do_not_have_are_judged_a_piece_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in world.days[:10]:
        path, events = world.path("decisions", name), pl.read_parquet(world.path("events", name))
        times = events.select(event_id="transaction_id", created_at="created_at")
        pl.read_parquet(path).join(times, on="event_id", maintain_order="left").write_parquet(path)
    path = world.path("events", world.days[4])
    whole = pl.read_parquet(path)
    whole[5:].write_parquet(path)
    world.path("events", world.days[6]).unlink()
    with monkeypatch.context() as patch:
        for name in ("fraudctl.monitor.taken", "fraudctl.data.kept_events"):
            patch.setattr(f"{name}.pieces_of", lambda *_, **__: None)
        together = world.watch()
    with monkeypatch.context() as patch:
        patch.setattr("fraudctl.monitor.taken.TakenDecisions.in_memory", None)
        assert world.watch() == together
        assert world.watch() == together
        whole.write_parquet(path)  # the missing events come
        found = world.watch()
    assert found != together
    assert found == world.from_raw()


def test_a_file_that_changed_just_now_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        monitor, "time_ns", lambda: min(path.stat().st_mtime_ns for path in world.folder.rglob("*.parquet"))
    )
    first = world.watch()
    assert [path.name.split("-")[0] for path in world.kept.rglob("*.arrow")] == ["usual"]
    assert world.watch() == first


def test_days_that_are_explained_together_have_the_causes_of_each_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Watching] = []
    monkeypatch.setattr(monitor, "score_causes", lambda watched, days: [(seen.append(watched), ())[1] for _ in days])
    change(world, "changed decisions", np.random.default_rng(1))
    world.watch()
    last = date.fromisoformat(world.days[9])
    days = [last - timedelta(days=back) for back in (2, 5, 5, 8)]
    together = score_causes(seen[0], days)
    assert together == [score_causes(seen[0], [day])[0] for day in days]
    assert together[0] != together[1] == together[2]
    assert all(len(found) > 3 for found in together)
