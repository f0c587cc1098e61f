"""How the cost of every command grows: with events, columns, files, hubs and the budget of memory.

Each command is a process of its own in a pseudo-terminal. Wall seconds, user and system seconds, the peak of resident
memory (resource usage of the process), and the longest time in which the screen stood still are written as they come:
a run goes on where the last one stopped. Elapsed and remaining time and the drawn bar do not count as movement, for
they move whatever the command does.

    python benchmarks/bench_growth.py --work /tmp/growth --sizes 100000 1000000 --out benchmarks/results/growth.json
    python benchmarks/bench_growth.py --table --out benchmarks/results/growth.json

Exponents are those of processor time between two sizes, start-up (`fraudctl check` of 2,000 events, which loads the
libraries) taken off.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from bench_scoring import machine
from watched_run import RUN, Run

PORT = 18_733
BASE = 200_000
"""Events of the directions that are no size."""
"""Events of the world whose scoring says what start-up of scoring costs."""
AN_EVENT, SERVED = "score - --state, one event", "serve, until it answers"
NEW = ", new state"
"""Added to the names of commands on a state that holds nothing: what they cost is start-up."""
DIRECTIONS = ("columns", "files", "hub", "merchant", "budgets")
BUDGETS = ("500MB", "1GB", "2GB")


def make(work: Path, name: str, n_events: int, change: Callable[[pl.DataFrame], pl.DataFrame] | None = None) -> Path:
    """Make a project of so many events; ``change`` makes other events of those of the sample."""
    folder = work / name
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([*RUN, "sample", str(folder), "--events", str(n_events), "--quiet"], check=True)
        if change is not None:
            change(pl.read_parquet(folder / "transactions.parquet")).write_parquet(folder / "transactions.parquet")
        events = pl.scan_parquet(folder / "transactions.parquet")
        late = events.select("transaction_id", "created_at").collect().unique("transaction_id")
        late = late.sort("created_at").tail(1_001)["transaction_id"]
        chosen = events.filter(pl.col("transaction_id").is_in(late.implode())).collect().unique("transaction_id")
        chosen = chosen.drop("is_fraud", "label_available_at").sort("created_at")
        chosen.head(1_000).write_parquet(folder / "new.parquet")
        chosen.tail(1).write_ndjson(folder / "one.jsonl")
        history = events.filter(~pl.col("transaction_id").is_in(late.implode()))
        history.sink_parquet(folder / "history.parquet")
        (folder / "ready").touch()
    return folder


def world(work: Path, name: str, n_events: int, change: Callable[[pl.DataFrame], pl.DataFrame] | None = None) -> Path:
    """Make a project, see `make`, in a process of its own."""
    apart(make, work, name, n_events, change)
    return work / name


def apart(work: Callable[..., object], *args: object) -> None:
    """Call a function in a process of its own: memory that this one once held would count for those that it starts."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=args)
    process.start()
    process.join()
    if process.exitcode:
        msg = f"{work} ended with {process.exitcode}"
        raise RuntimeError(msg)


def with_hub(events: pl.DataFrame, *, share: float, column: str) -> pl.DataFrame:
    """Return the events with a share of them on one id."""
    chosen = pl.col("transaction_id").hash(seed=3) % 1_000 < round(1_000 * share)
    return events.with_columns(pl.when(chosen).then(pl.lit("HUB")).otherwise(pl.col(column)).alias(column))


def with_columns(events: pl.DataFrame, *, n: int) -> pl.DataFrame:
    """Return the events with random columns, half numbers and half categories; copies of rows stay copies."""
    more = []
    for i in range(n - events.width):
        values = events["transaction_id"].hash(seed=i)
        plain = (values % 40).cast(pl.String) if i % 2 else (values % 100_003).cast(pl.Float64)
        more.append(plain.alias(f"x{i}"))
    return events.with_columns(more)


def in_files(folder: Path, n: int) -> None:
    """Part the events of a project into files."""
    parts = folder / "parts"
    if not parts.exists():
        events = pl.read_parquet(folder / "transactions.parquet")
        parts.mkdir()
        for i in range(n):
            start, stop = (events.height * at // n for at in (i, i + 1))
            events[start:stop].write_parquet(parts / f"{i:05}.parquet")
        toml = folder / "fraudctl.toml"
        toml.write_text(toml.read_text().replace('"transactions.parquet"', '"parts"', 1))


def in_process(code: str, *args: Path) -> dict[str, Any]:
    """Run Python that prints wall and processor seconds, in a process of its own, with its peak of memory."""
    code = (
        "import polars as pl, resource, sys, time, hashlib; from pathlib import Path; pl.DataFrame().height\n"
        "def cpu(): u = resource.getrusage(resource.RUSAGE_SELF); return u.ru_utime + u.ru_stime\n"
        f"{code}\nprint(wall, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], check=True, capture_output=True, text=True)
    wall, used, peak = map(float, done.stdout.split())
    return {"wall": round(wall, 2), "cpu": round(used, 2), "peak_gib": round(peak / (1 << 20), 3), "exit": 0}


def timed(act: str, *, before: str = "") -> str:
    """Return Python that does something, ``before`` untimed, and leaves its seconds in ``wall`` and ``used``."""
    return (
        f"{before}\nbegan, start = time.monotonic(), cpu()\n{act}\nwall, used = time.monotonic() - began, cpu() - start"
    )


def events_of(folder: Path) -> Path:
    """Return the place of the events of a project."""
    return folder / tomllib.loads((folder / "fraudctl.toml").read_text())["data"]["events"]


_FIND = "p = Path(sys.argv[1]); files = sorted(p.glob('*.parquet')) if p.is_dir() else p"


def reading(folder: Path) -> dict[str, Any]:
    """Measure one read of the events by Polars."""
    return in_process(timed("pl.read_parquet(files)", before=_FIND), events_of(folder))


def sorting(folder: Path) -> dict[str, Any]:
    """Measure what a feature table costs at least: one read of the events, a sort by time, and writing the table."""
    table = max((folder / ".fraudctl" / "features").glob("*.parquet"), key=lambda path: path.stat().st_size)
    act = "pl.read_parquet(files).sort('created_at'); table.write_parquet(sys.argv[3], compression='zstd')"
    before = f"{_FIND}; table = pl.read_parquet(sys.argv[2])"
    try:
        return in_process(timed(act, before=before), events_of(folder), table, folder / "written.parquet")
    finally:
        (folder / "written.parquet").unlink(missing_ok=True)


def hashing(folder: Path) -> dict[str, Any]:
    """Measure reading and hashing the files of a state once, by one thread."""
    act = "for p in Path(sys.argv[1]).glob('*.bin'): hashlib.sha256(p.read_bytes())"
    return in_process(timed(act), folder / "state")


def served() -> bool:
    """Say whether the server answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def fresh(folder: Path, *names: str) -> None:
    """Remove what earlier runs left."""
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)


def commands(folder: Path, n_events: int, limit: float) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield every command on one project, in an order in which each finds what it needs."""

    def run(*args: str, **more: Any) -> Callable[[], dict[str, Any]]:
        return lambda: Run(list(args), folder).measure(limit=limit, **more)

    def cold(*args: str) -> Callable[[], dict[str, Any]]:
        def start() -> dict[str, Any]:
            fresh(folder, ".fraudctl")
            return run(*args)()

        return start

    def with_state(*args: str, **more: Any) -> Callable[[], dict[str, Any]]:
        def start() -> dict[str, Any]:
            fresh(folder, "state-now")
            shutil.copytree(folder / "state", folder / "state-now")
            return run(*args, **more)()

        return start

    def with_facts(measure: Callable[[], dict[str, Any]], facts: Callable[[], dict[str, Any]]) -> Any:
        def start() -> dict[str, Any]:
            found = measure()
            return found | (facts() if ended_well(found) else {})

        return start

    def said() -> dict[str, Any]:
        return dict(json.loads((folder / "stdout").read_text()))

    yield "read", lambda: reading(folder)
    yield "sample", run("sample", "again", "--events", str(n_events), "--force")
    yield "init", run("init", "transactions.parquet", "-p", "proposed", "--force", "--source", "logins=logins.parquet")
    yield "check", run("check")
    yield "features --memory 1GB", cold("features", "--memory", "1GB")
    yield "features", cold("features")
    yield "features, cached", run("features")
    yield "audit", run("audit")
    yield "read, sort, write", lambda: sorting(folder)
    train = run("train", "--trials", "0", "--json")
    yield "train --trials 0", with_facts(train, lambda: {"audit": said()["timings"]["audit"]})
    yield "evaluate", with_facts(run("evaluate", "--json"), lambda: {"metrics": len(said()["metrics"])})
    yield "explain", run("explain")
    yield "explain --sample 5000", run("explain", "--sample", "5000")
    yield "score FILE", run("score", "new.parquet", "--history", "history.parquet", "-o", "decided.parquet")
    build = run("state", "build", "state", "--history", "history.parquet")
    size = lambda: {"bytes": sum(path.stat().st_size for path in (folder / "state").glob("*.bin"))}  # noqa: E731
    yield "state build", with_facts(lambda: (fresh(folder, "state"), build())[1], size)
    yield "state, read and hashed", lambda: hashing(folder)
    yield "state show", run("state", "show", "state")
    one = (folder / "one.jsonl").read_bytes()
    score = ["score", "-", "--state", "state-now"]
    yield AN_EVENT, with_state(*score, text=one)
    yield AN_EVENT + NEW, lambda: (fresh(folder, "state-now"), run(*score, "--new", text=one)())[1]
    serve = ["serve", "--state", "state-now", "--port", str(PORT), "--insecure"]
    yield SERVED, with_state(*serve, until=served)
    yield SERVED + NEW, lambda: (fresh(folder, "state-now"), run(*serve, "--new", until=served)())[1]


def directions(work: Path, name: str, limit: float) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield the commands of one direction on `BASE` events."""
    wanted = {"read", "init", "check", "features", "features, cached"}
    if name == "columns":
        folder = world(work, "columns", BASE, partial(with_columns, n=400))
    elif name == "files":
        folder = world(work, "files", BASE)
        apart(in_files, folder, 2_000)
    elif name == "hub":
        folder, wanted = (
            world(work, "hub", BASE, partial(with_hub, share=0.5, column="card_id")),
            wanted | {"audit", "train --trials 0"},
        )
    elif name == "merchant":
        folder = world(work, "merchant", BASE, partial(with_hub, share=0.1, column="merchant_id"))
        wanted |= {"audit", "train --trials 0"}
    else:
        folder = world(work, "budgets", BASE)
        for budget in BUDGETS:
            args = ["features", "--memory", budget]
            yield (
                f"features --memory {budget}",
                lambda args=args: (fresh(folder, ".fraudctl"), Run(args, folder).measure(limit=limit))[1],
            )
        return
    for command, measure in commands(folder, BASE, limit):
        if command == "init" and name == "files":
            args = ["init", "parts", "-p", "proposed", "--force"]
            yield command, lambda args=args: Run(args, folder).measure(limit=limit)
        elif command in wanted:
            yield command, measure


def ended_well(found: dict[str, Any] | None) -> bool:
    """Say whether a run came to its end; SIGTERM ends a server."""
    return found is not None and "timeout" not in found and found["exit"] in (0, 1, 5, -15)


class Results:
    """Measured runs by place (a size or a direction) and command, on disk after every one of them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.known: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {"runs": {}}

    def take(self, where: str, items: Iterator[tuple[str, Callable[[], dict[str, Any]]]], only: set[str]) -> None:
        """Measure what is not known yet, or did not end well."""
        runs = self.known["runs"].setdefault(where, {})
        for command, measure in items:
            if ended_well(runs.get(command)) or (only and command not in only):
                continue
            load = os.getloadavg()[0]
            try:
                runs[command] = {**measure(), "load": round(load, 1)}
            except FileNotFoundError as error:  # what an earlier command should have made
                print(where, command, error, flush=True)
                continue
            print(where, command, runs[command], flush=True)
            self.write()

    def write(self) -> None:
        """Write all that is known."""
        self.known["machine"] = machine()
        new = self.place.with_suffix(".new")
        new.write_text(json.dumps(self.known, indent=1, ensure_ascii=False) + "\n")
        new.replace(self.place)


Runs = dict[str, dict[str, dict[str, Any]]]


def exponent(runs: Runs, command: str, small: str, large: str) -> float | None:
    """Return by which power of the number of events the processor time grows, start-up taken off."""
    a, b = (runs.get(size, {}).get(command) for size in (small, large))
    if a is None or b is None or not ended_well(a) or not ended_well(b):
        return None
    start = runs.get("start", {}).get("check", {"cpu": 0.0})["cpu"]
    low, high = (max(item["cpu"] - start, 0.05) for item in (a, b))
    return math.log(high / low) / math.log(int(large) / int(small))


@dataclass(frozen=True)
class Goal:
    """One thing that must hold; ``value`` gives what was measured, None where it was not."""

    what: str
    limit: float
    unit: str
    value: Callable[[Runs], float | None]


def figure(where: str, command: str, key: str) -> Callable[[Runs], float | None]:
    """Return what gives one figure of one run; a run that failed has none."""

    def value(runs: Runs) -> float | None:
        found = runs.get(where, {}).get(command)
        return None if found is None else found.get(key) if ended_well(found) else math.inf

    return value


def ratio(
    where: str, command: str, base: str, key: str, *, other: str | None = None, plus: float = 0.0
) -> Callable[[Runs], float | None]:
    """Return what gives the ratio of two runs; ``plus`` is taken off the first."""

    def value(runs: Runs) -> float | None:
        a, b = figure(where, command, key)(runs), figure(other or where, base, key)(runs)
        return None if a is None or b is None else max(a - plus, 0.0) / max(b, 0.01)

    return value


def started(runs: Runs) -> float:
    """Return the processor time of start-up."""
    return float(runs.get("start", {}).get("check", {"cpu": 0.0})["cpu"])


def beyond_start(value: Callable[[Runs], float | None], scale: float = 1.0) -> Callable[[Runs], float | None]:
    """Take the start-up off a figure of processor time."""

    def less(runs: Runs) -> float | None:
        found = value(runs)
        return None if found is None else (found - started(runs)) / scale

    return less


def above_new(size: str, command: str) -> Callable[[Runs], float | None]:
    """Return what gives processor seconds beyond those of the same command, with the same model, on a new state."""

    def value(runs: Runs) -> float | None:
        a, b = figure(size, command, "cpu")(runs), figure(size, command + NEW, "cpu")(runs)
        return None if a is None or b is None else a - b

    return value


def restart(size: str) -> Callable[[Runs], float | None]:
    """Return what gives the processor time of a restart on a state, in readings and hashings of it."""

    def value(runs: Runs) -> float | None:
        a, b = above_new(size, SERVED)(runs), figure(size, "state, read and hashed", "cpu")(runs)
        return None if a is None or b is None else a / max(b, 0.01)

    return value


def peak_of_restart(size: str) -> Callable[[Runs], float | None]:
    """Return what gives the peak of a server's memory in terms of what it rests at once it answers."""

    def value(runs: Runs) -> float | None:
        found = runs.get(size, {}).get("serve, until it answers", {})
        return found["peak_gib"] / found["resting_gib"] if found.get("resting_gib") else None

    return value


def per_event(size: str, command: str, key: str) -> Callable[[Runs], float | None]:
    """Return what gives a figure divided by the number of events."""

    def value(runs: Runs) -> float | None:
        found = figure(size, command, key)(runs)
        return None if found is None else found / int(size)

    return value


def per_metric(size: str) -> Callable[[Runs], float | None]:
    """Return what gives the processor time of `evaluate` for each metric."""

    def value(runs: Runs) -> float | None:
        found, n = (figure(size, "evaluate", key)(runs) for key in ("cpu", "metrics"))
        return None if found is None or not n else (found - started(runs)) / n

    return value


def ratio_off_start(size: str) -> Callable[[Runs], float | None]:
    """Return what gives `features` in terms of one read, sort and write, start-up off."""
    return lambda runs: ratio(size, "features", "read, sort, write", "cpu", plus=started(runs))(runs)


def largest(runs: Runs) -> str | None:
    """Return the largest size that was measured."""
    sizes = [name for name in runs if name.isdigit()]
    return max(sizes, key=int, default=None)


def goals(runs: Runs) -> Iterator[Goal]:
    """Yield all that must hold, on the largest size that was measured where no size is named."""
    top = largest(runs) or "1000000"
    sizes = sorted((name for name in runs if name.isdigit()), key=int)
    yield Goal("audit, 200 events, 1,000,000 events", 20, "s", figure("1000000", "audit", "wall"))
    for size in sizes:
        yield Goal(
            f"features --memory 1GB / in memory, {int(size):,}",
            2,
            "× cpu",
            ratio(size, "features --memory 1GB", "features", "cpu"),
        )
        yield Goal(
            f"features --memory 1GB: peak, {int(size):,}",
            1e9 / (1 << 30),
            "GiB",
            figure(size, "features --memory 1GB", "peak_gib"),
        )
    for budget, limit in zip(BUDGETS, (0.5e9, 1e9, 2e9), strict=True):
        where = f"features --memory {budget}: peak, {BASE:,}"
        yield Goal(where, limit / (1 << 30), "GiB", figure("budgets", f"features --memory {budget}", "peak_gib"))
    for size in sizes:
        yield Goal(
            f"score - --state, one event, {int(size):,}: above a new state",
            0.5,
            "s cpu",
            above_new(size, AN_EVENT),
        )
        yield Goal(
            f"serve, restart, {int(size):,}: above a new state / reading and hashing",
            2,
            "× cpu",
            restart(size),
        )
        yield Goal(f"serve, restart, {int(size):,}: peak / resting", 1.2, "×", peak_of_restart(size))
        yield Goal(f"state, {int(size):,}: bytes an event", 300, "B", per_event(size, "state build", "bytes"))
        yield Goal(f"train, {int(size):,}: audit", 5, "s", figure(size, "train --trials 0", "audit"))
        yield Goal(f"evaluate, {int(size):,}: a metric, start-up off", 3, "s cpu", per_metric(size))
        yield Goal(f"features, {int(size):,}, start-up off / read, sort and write", 3, "× cpu", ratio_off_start(size))
        yield Goal(f"features, cached, {int(size):,}", 0.7, "s cpu", figure(size, "features, cached", "cpu"))
        yield Goal(f"features, cached, {int(size):,}: peak", 0.2, "GiB", figure(size, "features, cached", "peak_gib"))
    for command in ("init", "check"):
        for size in sizes:
            yield Goal(f"{command}, {int(size):,}, start-up off / one read", 4, "× cpu", _per_read(size, command))
        yield Goal(
            f"{command}, a column of {BASE:,} rows", 5, "ms cpu", beyond_start(figure("columns", command, "cpu"), 0.4)
        )
        yield Goal(f"{command}, 2,000 files, start-up off / one read", 4, "× cpu", _per_read("files", command))
    yield Goal("init, 10,000,000", 10, "s", figure("10000000", "init", "wall"))
    yield Goal("evaluate, 100,000", 3, "s cpu", beyond_start(figure("100000", "evaluate", "cpu")))
    sampled = beyond_start(figure("100000", "explain --sample 5000", "cpu"))
    yield Goal("explain --sample 5000, 100,000", 3, "s cpu", sampled)
    for where in ("hub", "merchant"):
        yield Goal(f"train, {where}, {BASE:,}: audit", 5, "s", figure(where, "train --trials 0", "audit"))
    for command in (
        "sample",
        "init",
        "check",
        "features",
        "audit",
        "train --trials 0",
        "evaluate",
        "explain",
        "score FILE",
        "state build",
    ):
        for small, large in itertools.pairwise(sizes):
            name = f"{command}: exponent, {int(small):,} to {int(large):,}"
            yield Goal(name, 1.05, "", lambda r, c=command, a=small, b=large: exponent(r, c, a, b))
    for command in runs.get(top, {}):
        if command != "read":
            yield Goal(f"{command}, {int(top):,}: longest stillness", 5, "s", figure(top, command, "still"))


def _per_read(where: str, command: str) -> Callable[[Runs], float | None]:
    def value(runs: Runs) -> float | None:
        return ratio(where, command, "read", "cpu", plus=started(runs))(runs)

    return value


def table(known: dict[str, Any]) -> str:
    """Return the measured runs and the goals as Markdown."""
    runs: Runs = known["runs"]
    sizes = sorted((name for name in runs if name.isdigit()), key=int)
    lines = ["| command | " + " | ".join(f"{int(size):,}" for size in sizes) + " | exponent |"]
    lines.append("|---" * (len(sizes) + 2) + "|")
    for command in dict.fromkeys(name for size in sizes for name in runs[size]):
        cells = [_cell(runs[size].get(command)) for size in sizes]
        powers = [exponent(runs, command, a, b) for a, b in itertools.pairwise(sizes)]
        cells.append(", ".join("" if power is None else f"{power:.2f}" for power in powers))
        lines.append(f"| `{command}` | " + " | ".join(cells) + " |")
    lines += ["", "| direction | command | |", "|---|---|---|"]
    for where in DIRECTIONS:
        lines += [f"| {where} | `{command}` | {_cell(found)} |" for command, found in runs.get(where, {}).items()]
    lines += ["", "| must hold | goal | measured | |", "|---|---|---|---|"]
    for goal in goals(runs):
        value = goal.value(runs)
        held = "not measured" if value is None else "holds" if value <= goal.limit else "**does not**"
        held = "below the noise" if value is not None and value < 0 else held
        shown = "" if value is None else "failed" if math.isinf(value) else f"{value:.2f}"
        lines.append(f"| {goal.what} | ≤ {goal.limit:.3g} {goal.unit} | {shown} | {held} |")
    return "\n".join(lines)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    if "timeout" in found:
        return f"not at its end after {found['timeout']:.0f} s"
    failed = "" if ended_well(found) else f" (exit {found['exit']})"
    still = f", still {found['still']:.0f} s" if "still" in found else ""
    return f"{found['wall']:.1f} s, cpu {found['cpu']:.1f} s, {found['peak_gib']:.2f} GiB{still}{failed}"


def main() -> None:
    """Measure what is asked for and not known yet, then print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("growth"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/growth.json"))
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--directions", nargs="*", choices=DIRECTIONS, default=[])
    parser.add_argument("--only", nargs="*", default=[], help="commands; default all")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds of one command")
    parser.add_argument("--table", action="store_true", help="only print what is known")
    asked = parser.parse_args()
    results, only = Results(asked.out), set(asked.only)
    if not asked.table:
        asked.work.mkdir(parents=True, exist_ok=True)
        work = asked.work.resolve()
        tiny = world(work, "tiny", 2_000)
        results.take("start", commands(tiny, 2_000, asked.limit), {"check"})
        for size in asked.sizes:
            results.take(str(size), commands(world(work, str(size), size), size, asked.limit), only)
        for name in asked.directions:
            results.take(name, directions(work, name, asked.limit), only)
    print(table(results.known))


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
