"""How often `monitor` cries wolf on unchanged payments, and how soon it sees what was planted.

Simulates payments with known truth: cards with habits of their own, weekdays, fraud at a steady rate, a model's score
and a policy of reviewing the top 1.5 %. *Plain* worlds are draws from one distribution; in *lively* ones volume,
amounts and fraud wander from day to day with memory, and small groups of cards burst for some days. After a
reference of 56 days the world goes on unchanged, or something is planted five days in: 1 % new nulls, clocks that go
an hour wrong, amounts 10 % higher, twice the fraud (seen without a label), twice the volume, growth, other weekdays.

Three rules see the same days. Ours is `fraudctl.monitor` at "1 per year". Evidently's and NannyML's defaults are
implemented from their documentation: a day against the reference, normed Wasserstein distance or Jensen-Shannon
distance over 0.1 (Evidently, nulls dropped); Jensen-Shannon distance of a day beyond the mean of the reference's days
plus three standard deviations (NannyML). Each is in alarm while any column is. Runs of alarmed days with fewer than 7
quiet days between them are one episode.

    python benchmarks/bench_monitor.py --out benchmarks/results/monitor.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.spatial.distance import jensenshannon
from scipy.stats import beta, gamma, wasserstein_distance

from fraudctl.monitor.alarms import EffectFloors, WatchedDays, moved_groups
from fraudctl.monitor.alarms import day_of as day_of_number
from fraudctl.monitor.counts import Cells, DayCounts, cells_of, count_days
from fraudctl.monitor.engine import WatchedPath, episodes, follow, learn
from fraudctl.monitor.reference import count_decided, score_cells
from fraudctl.monitor.series import VOLUME, figures, series_of

Array = npt.NDArray[np.float64]
FIRST_DAY = 20_003
REFERENCE, QUIET_DAYS, AFTER, CHANGE_AT = 56, 120, 40, 5
WEEKDAYS = np.array([1.0, 1.02, 1.05, 1.1, 1.2, 1.0, 0.8])
COLUMNS = {
    "amount": "float", "age": "float", "distance": "float", "gap": "float", "cards_1d": "int", "cards_7d": "int",
    "channel": "category", "country": "category", "merchant": "category", "device": "category", "new": "bool",
}  # fmt: skip
CHANGES = ("nulls", "hour", "amount", "fraud", "volume", "growth", "weekdays")
WARM_UP = 7
RIVALS = 3
"""Worlds of a kind that the other rules see too: they are clear on few."""


@dataclass(frozen=True)
class World:
    """Events of the reference and of the days after it."""

    frame: pl.DataFrame
    days: npt.NDArray[np.int64]


def world(rate: int, n_days: int, *, lively: bool, seed: int, change: str | None) -> World:
    """Simulate days; ``change`` begins `CHANGE_AT` days after the reference."""
    rng = np.random.default_rng(seed)
    n_all = WARM_UP + REFERENCE + n_days
    days = np.arange(n_all)
    at = WARM_UP + REFERENCE + CHANGE_AT
    volume = rate * WEEKDAYS[days % 7]
    if change == "volume":
        volume = np.where(days >= at, 2 * volume, volume)
    if change == "growth":
        volume = np.where(days >= at, volume * 1.005 ** (days - at), volume)
    if change == "weekdays":
        volume = np.where(days >= at, rate * np.roll(WEEKDAYS, 3)[days % 7], volume)
    wander = walk(n_all, 0.6, 0.04, rng) if lively else np.zeros(n_all)
    n_events = rng.poisson(volume * np.exp(wander))
    day = np.repeat(days, n_events)
    frame = events(day, rate, n_all, lively=lively, rng=rng, change=change, at=at)
    kept = frame.filter(pl.Series(day >= WARM_UP))
    return World(kept, FIRST_DAY + days[WARM_UP:] - WARM_UP)


def walk(n: int, memory: float, step: float, rng: np.random.Generator) -> Array:
    """Return a level that wanders with a memory."""
    out = np.zeros(n)
    for i in range(1, n):
        out[i] = memory * out[i - 1] + rng.normal(0, step)
    return out


def events(
    day: npt.NDArray[np.int64],
    rate: int,
    n_days: int,
    *,
    lively: bool,
    rng: np.random.Generator,
    change: str | None,
    at: int,
) -> pl.DataFrame:
    """Simulate the events of days."""
    n = len(day)
    n_cards = max(5 * rate, 500)
    habit = rng.normal(0, 0.6, n_cards)
    active = rng.gamma(0.5 if lively else 1.0, 1.0, n_cards)
    card = rng.choice(n_cards, n, p=active / active.sum())
    if lively:
        burst(card, day, n_days, n_cards, rng)
    level = walk(n_days, 0.7, 0.006, rng) if lively else np.zeros(n_days)
    share = np.full(n_days, 25 / 3000) * (np.exp(rng.normal(0, 0.15, n_days)) if lively else 1.0)
    late = day >= at
    if change == "fraud":
        share = np.where(np.arange(n_days) >= at, 2 * share, share)
    fraud = rng.random(n) < share[day]
    amount = np.exp(3.5 + habit[card] + rng.normal(0, 0.7, n) + level[day] + fraud * rng.normal(0.8, 0.4, n))
    if change == "amount":
        amount = np.where(late, 1.1 * amount, amount)
    peak = np.array([12.0, 18.0, 21.0])[rng.choice(3, n_cards, p=[0.5, 0.3, 0.2])[card]]
    hour = np.mod(peak + rng.normal(0, 3.5, n) + (late if change == "hour" else 0), 24)
    per_day, per_week = trailing(card, day)
    channel = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    odds = -5.5 + 1.3 * (rng.normal(0, 1, n) + 2.8 * fraud) + 0.25 * (np.log(amount) - 3.5) + 0.1 * (channel == 2)
    age = np.exp(0.3 * habit[card] + rng.normal(4, 0.8, n))
    lost = (rng.random(n) < 0.01) & late & (change == "nulls")
    time_us = (FIRST_DAY - WARM_UP + day) * 86_400_000_000 + (hour * 3.6e9).astype(np.int64)
    shares = np.array([40, 20, 12, 10, 8, 5, 3, 2]) / 100
    shops = np.array([20, 16, 13, 11, 9, 8, 7, 6, 4, 3, 2, 1]) / 100
    return pl.DataFrame(
        {
            "event_time": pl.Series(time_us).cast(pl.Datetime("us", "UTC")),
            "amount": amount,
            "age": pl.Series(np.where(lost, np.nan, age)).fill_nan(None),
            "distance": pl.Series(np.where(rng.random(n) < 0.03, np.nan, np.exp(rng.normal(2, 1, n)))).fill_nan(None),
            "gap": rng.exponential(1.0 / np.maximum(per_week, 1)),
            "cards_1d": per_day,
            "cards_7d": per_week,
            "channel": pl.Series(channel).cast(pl.String),
            "country": pl.Series(rng.choice(8, n_cards, p=shares)[card]).cast(pl.String),
            "merchant": pl.Series(rng.choice(12, n, p=shops)).cast(pl.String),
            "device": pl.Series(rng.choice(3, n, p=[0.7, 0.24, 0.06])).cast(pl.String),
            "new": rng.random(n) < 0.1,
            "y_prob": 1.0 / (1.0 + np.exp(-odds)),
        }
    )


def burst(
    card: npt.NDArray[np.int64], day: npt.NDArray[np.int64], n_days: int, n_cards: int, rng: np.random.Generator
) -> None:
    """Give a part of some days' events to small groups of cards."""
    for _ in range(n_days // 6):
        first = rng.integers(0, n_days)
        rows = np.flatnonzero((day >= first) & (day < first + rng.integers(1, 4)))
        n = int(len(rows) * rng.uniform(0.005, 0.03))
        if n:
            card[rng.choice(rows, n, replace=False)] = rng.choice(rng.choice(n_cards, max(n // 20, 1)), n)


def trailing(
    card: npt.NDArray[np.int64], day: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the card's events of the day, and of the seven days up to it."""
    key = card * 100_000 + day + 50
    order = np.sort(key)
    stop = np.searchsorted(order, key, side="right")
    return stop - np.searchsorted(order, key), stop - np.searchsorted(order, key - 6)


def decided(frame: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Decide by a threshold, and add what the decision is expected to cost."""
    review = frame["y_prob"] >= threshold
    cost = pl.when(pl.Series(review)).then(3.0).otherwise(pl.col("y_prob") * pl.col("amount"))
    action = pl.when(pl.Series(review)).then(pl.lit("review")).otherwise(pl.lit("allow"))
    return frame.with_columns(alert=review, expected_cost=cost, action=action)


@dataclass(frozen=True)
class Alarms:
    """Days in alarm of a rule, shape ``(n_days,)``: any alarm, and alarms that end with 1."""

    any: npt.NDArray[np.bool_]
    act: npt.NDArray[np.bool_]
    covered: bool | None = None
    """Whether the interval of the first day of the last alarm holds the true one; None without an alarm or a change."""


def ours(found: World) -> Alarms:
    """Run `monitor` as of every day."""
    start = int(found.days[0])
    reference = found.frame.filter(pl.Series(day_of(found.frame) < start + REFERENCE))
    threshold = float(np.quantile(reference["y_prob"].to_numpy(), 0.985))
    plain = [*(cells_of(name, reference[name], dtype) for name, dtype in COLUMNS.items()), Cells("hour", "hour")]
    scored = score_cells(reference["y_prob"].to_numpy(), [threshold], ["allow", "review"])
    frame = decided(found.frame, threshold)
    one = count_days(frame, plain, timezone="UTC", days=found.days)
    two = count_decided(frame, scored, timezone="UTC", days=found.days)
    counts = DayCounts(one.days, one.events, {**one.cells, **two.cells}, two.sums)
    before, now = counts.between(start, start + REFERENCE), counts.between(start + REFERENCE, 1 << 40)
    series = [s for item in (*plain, *scored) for s in series_of(item, before.cells[item.name].sum(axis=0))]
    series.append(VOLUME)
    watch = learn(figures(before, series), before.days, series, per_year=1.0, window_days=7.0, seed=0)
    path = follow(watch, figures(now, series), now.days)
    over = (path.height > watch.threshold).any(axis=1)
    any_, act = np.zeros(len(over), dtype=np.bool_), np.zeros(len(over), dtype=np.bool_)
    truth, covered = day_of_number(start + REFERENCE + CHANGE_AT), None
    for at in np.flatnonzero(over):
        seen = slice(0, int(at) + 1)
        until = now.between(int(now.days[0]), int(now.days[at]) + 1)
        so_far = WatchedPath(path.days[seen], path.z[seen], path.memories[:, seen])
        groups = moved_groups(WatchedDays(watch, before, until, figures(until, series), so_far), EffectFloors())
        any_[at] = any(item.counts for item in groups)
        act[at] = any(item.counts and item.tier == "data" for item in groups)
        first = next((item.leading for item in groups if item.counts), None)
        covered = covered if first is None else first.first_day_low <= truth <= first.first_day_high
    return Alarms(any_, act, covered)


def day_of(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Return day numbers."""
    return frame["event_time"].dt.date().cast(pl.Int32).cast(pl.Int64).to_numpy()


WATCHED = (*COLUMNS, "y_prob", "time of day")


def by_column(found: World) -> Iterator[tuple[str, list[npt.NDArray[np.generic]]]]:
    """Yield each column with its values by day, nulls dropped."""
    day = day_of(found.frame) - int(found.days[0])
    stops = np.searchsorted(np.sort(day), np.arange(len(found.days) + 1))
    order = np.argsort(day, kind="stable")
    frame = found.frame.with_columns(pl.col("event_time").dt.hour().cast(pl.Float64).alias("time of day"))[order]
    for name in WATCHED:
        column = frame[name]
        if COLUMNS.get(name) in ("category", "bool"):
            column = column.cast(pl.String).rank("dense").cast(pl.Int64) - 1
        yield name, [column[int(a) : int(b)].drop_nulls().to_numpy() for a, b in itertools.pairwise(stops)]


def numeric(name: str, values: npt.NDArray[np.generic]) -> bool:
    """Return whether a column is taken as continuous: a number with more than five values."""
    return COLUMNS.get(name, "float") in ("float", "int") and len(np.unique(values)) > 5


def evidently(found: World) -> npt.NDArray[np.bool_]:
    """Return days on which any column is drifted by Evidently's default for large data."""
    out = np.zeros(len(found.days) - REFERENCE, dtype=np.bool_)
    for name, by_day in by_column(found):
        reference = np.concatenate(by_day[:REFERENCE])
        if numeric(name, reference):
            base = np.quantile(reference.astype(np.float64), np.linspace(0, 1, 2001))
            scale = max(float(reference.astype(np.float64).std()), 0.001)
            distance = [wasserstein_distance(base, item.astype(np.float64)) / scale for item in by_day[REFERENCE:]]
        else:
            distance = [categorical(reference, item) for item in by_day[REFERENCE:]]
        out |= np.array(distance) >= 0.1
    return out


def nannyml(found: World) -> npt.NDArray[np.bool_]:
    """Return days on which any column is beyond three standard deviations of the reference's days."""
    out = np.zeros(len(found.days) - REFERENCE, dtype=np.bool_)
    for name, by_day in by_column(found):
        reference = np.concatenate(by_day[:REFERENCE])
        if numeric(name, reference):
            edges = np.histogram_bin_edges(reference.astype(np.float64), bins="doane")
            edges[0], edges[-1] = -np.inf, np.inf
            base = np.histogram(reference.astype(np.float64), edges)[0]
            distance = np.array(
                [jensenshannon(base, np.histogram(item.astype(np.float64), edges)[0], 2) for item in by_day]
            )
        else:
            distance = np.array([categorical(reference, item) for item in by_day])
        usual = distance[:REFERENCE]
        high, low = usual.mean() + 3 * usual.std(), max(usual.mean() - 3 * usual.std(), 0.0)
        out |= (distance[REFERENCE:] > high) | (distance[REFERENCE:] < low)
    return out


def categorical(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    """Return the Jensen-Shannon distance of two samples of codes."""
    n = int(max(a.max(initial=0), b.max(initial=0))) + 1
    return float(jensenshannon(*(np.bincount(side.astype(np.int64), minlength=n) for side in (a, b)), 2))


@dataclass(frozen=True)
class Kind:
    """Worlds of one kind."""

    rate: int
    lively: bool
    change: str | None
    worlds: int

    @property
    def days(self) -> int:
        """Days after the reference."""
        return QUIET_DAYS if self.change is None else AFTER


def watched(kind: Kind, seed: int, *, rivals: bool) -> dict[str, Alarms]:
    """Run the rules on one world."""
    found = world(kind.rate, kind.days, lively=kind.lively, seed=seed, change=kind.change)
    rules = {"fraudctl": ours(found)}
    return rules | {"Evidently": alike(evidently(found)), "NannyML": alike(nannyml(found))} if rivals else rules


def judged(kind: Kind, results: list[dict[str, Alarms]]) -> dict[str, object]:
    """Return what each rule did over all worlds of a kind."""
    names = ("fraudctl", "Evidently", "NannyML")
    return {name: summary(kind, [item[name] for item in results if name in item]) for name in names}


def alike(days: npt.NDArray[np.bool_]) -> Alarms:
    """Return alarms of a rule that has one kind of them."""
    return Alarms(days, days)


def summary(kind: Kind, found: list[Alarms]) -> dict[str, object]:
    """Return the figures of a rule."""
    if kind.change is None:
        days = kind.days * len(found)
        raised, acting = sum(episodes(item.any) for item in found), sum(episodes(item.act) for item in found)
        return {
            "worlds": len(found),
            "days": days,
            "episodes": raised,
            "episodes_per_30_days": round(30 * raised / days, 3),
            "interval": [round(30 * end / days, 3) for end in poisson_interval(raised)],
            "acting": acting,
            "acting_per_30_days": round(30 * acting / days, 3),
            "acting_interval": [round(30 * end / days, 3) for end in poisson_interval(acting)],
        }
    first = [np.flatnonzero(item.any[CHANGE_AT:]) for item in found]
    seen = [int(days[0]) + 1 for days in first if len(days)]
    warnings = [episodes(item.any[CHANGE_AT:]) for item in found]
    dated = [item.covered for item in found if item.covered is not None]
    return {
        "worlds": len(found),
        "median_days": float(np.median(seen)) if seen else None,
        "nine_in_ten_days": float(np.quantile(seen, 0.9, method="inverted_cdf")) if seen else None,
        "latest_days": max(seen, default=None),
        "missed": round(1 - len(seen) / len(found), 3),
        "missed_interval": binomial_interval(len(found) - len(seen), len(found)),
        "warnings_mean": round(float(np.mean(warnings)), 2),
        "warnings_most": max(warnings),
        "acting_mean": round(sum(episodes(item.act) for item in found) / len(found), 2),
        "first_day_covered": sum(dated) / len(dated) if dated else None,
        "first_day_covered_interval": binomial_interval(sum(dated), len(dated)),
    }


def binomial_interval(n_of: int, n: int) -> list[float] | None:
    """Return the exact 90 % interval of a share (Clopper and Pearson); None without a case."""
    if n == 0:
        return None
    low = 0.0 if n_of == 0 else float(beta.ppf(0.05, n_of, n - n_of + 1))
    high = 1.0 if n_of == n else float(beta.ppf(0.95, n_of + 1, n - n_of))
    return [round(low, 3), round(high, 3)]


def poisson_interval(n: int) -> tuple[float, float]:
    """Return the exact 90 % interval of a mean of which n were counted (Garwood)."""
    return float(gamma.ppf(0.05, n)) if n else 0.0, float(gamma.ppf(0.95, n + 1))


def main() -> None:
    """Run all worlds and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unchanged", type=int, nargs=3, default=[20, 20, 10], help="worlds of a kind, by rate")
    parser.add_argument("--changed", type=int, default=10, help="worlds of a kind, at 3,000 events a day")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--planted", nargs="+", choices=["nothing", *CHANGES], default=["nothing", *CHANGES])
    parser.add_argument("--rivals", type=int, default=RIVALS, help="worlds of a kind that the other rules see too")
    parser.add_argument("--jobs", type=int, default=1, help="worlds at a time")
    parser.add_argument("--join", type=Path, nargs="+", help="write parts that were run apart into one")
    parser.add_argument("--out", type=Path, help="JSON; written anew after each kind of world")
    options = parser.parse_args()
    started, results = time.time(), []
    if options.join:
        options.out.write_text(json.dumps(joined(options.join), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    everything = kinds(options.unchanged, options.changed)
    wanted = [kind for kind in everything if kind.worlds and (kind.change or "nothing") in options.planted]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        tasks = [
            [
                pool.submit(watched, kind, options.seed * 10_000 + number, rivals=number < options.rivals)
                for number in range(kind.worlds)
            ]
            for kind in wanted
        ]
        for kind, worlds in zip(wanted, tasks, strict=True):
            rules = judged(kind, [item.result() for item in worlds])
            about = {"events_per_day": kind.rate, "world": "lively" if kind.lively else "plain", "planted": kind.change}
            results.append({**about, "worlds": kind.worlds, "rules": rules})
            print(json.dumps(results[-1]), flush=True)
            if options.out is not None:
                found = document(results, time.time() - started, options.seed)
                options.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def joined(parts: list[Path]) -> dict[str, object]:
    """Return the results of parts of one seed and version as one document; of one kind, those of the last part."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in parts]
    if len({(str(item["versions"]), item["seed"]) for item in found}) > 1:
        msg = "parts of other seeds or versions cannot be joined"
        raise SystemExit(msg)
    seconds, load = sum(item["seconds"] for item in found), max(item["load"] for item in found)
    names = ("events_per_day", "world", "planted")
    by_kind = {tuple(kind[name] for name in names): kind for item in found for kind in item["results"]}
    return {**found[0], "date": found[-1]["date"], "seconds": seconds, "load": load, "results": list(by_kind.values())}


def kinds(unchanged: list[int], changed: int) -> Iterator[Kind]:
    """Yield the kinds of worlds; something is planted at 3,000 events a day."""
    for rate, worlds in zip((300, 3000, 10_000), unchanged, strict=True):
        for lively in (False, True):
            yield Kind(rate, lively, None, worlds)
    for lively in (False, True):
        for change in CHANGES:
            yield Kind(3000, lively, change, changed)


def document(results: list[dict[str, object]], seconds: float, seed: int) -> dict[str, object]:
    """Return the results with what they were measured on."""
    sd = "any column beyond 3 standard deviations of the reference's days"
    return {
        "date": str(date.today()),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {name: version(name) for name in ("numpy", "polars", "scipy")},
        "seconds": round(seconds),
        "load": round(os.getloadavg()[1], 1),
        "seed": seed,
        "reference_days": REFERENCE,
        "unchanged_days": QUIET_DAYS,
        "days_after_the_change": AFTER - CHANGE_AT,
        "rules": {
            "fraudctl": "monitor at 1 per year; data is acted on, drift warns",
            "Evidently": "defaults, implemented from their documentation: any column drifted on a day",
            "NannyML": f"defaults, implemented from their documentation: {sd}",
        },
        "results": results,
    }


if __name__ == "__main__":
    main()
