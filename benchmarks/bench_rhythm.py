"""Weekday factors and growth of daily figures: `fraudctl.monitor.rhythm` beside MSTL of statsmodels, on known truth.

Simulates years of daily counts: weekdays, growth from week to week, chance beyond that of counts, and in half of the
years three incidents of two to five days with two or three times as many, and a day without data. Both see the same
days; MSTL runs on logarithms with its robust loess, its growth is the slope of its trend by least squares.

    pip install statsmodels
    python benchmarks/bench_rhythm.py --worlds 60 --out benchmarks/results/rhythm.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fraudctl.monitor.rhythm import rhythm

Array = npt.NDArray[np.float64]
DAYS = 364
MONDAY = 20_458
GROWTH = (-0.01, 0.0, 0.01)


@dataclass(frozen=True)
class Year:
    """Daily counts, and what they were drawn from."""

    value: Array
    factors: Array
    per_week: float


def year(seed: int, *, incidents: bool, per_day: float) -> Year:
    """Draw a year."""
    rng = np.random.default_rng(seed)
    weekday = np.exp(rng.normal(0, 0.15, 7))
    factors = weekday / weekday.mean()
    growth = GROWTH[seed % 3]
    day = np.arange(DAYS)
    rate = per_day * factors[day % 7] * (1 + growth) ** (day / 7) * np.exp(rng.normal(0, 0.05, DAYS))
    if incidents:
        for start in rng.choice(DAYS - 10, 3, replace=False):
            rate[start : start + rng.integers(2, 6)] *= rng.uniform(2, 3)
        rate[rng.integers(10, DAYS - 10)] = 0.0
    return Year(rng.poisson(rate).astype(np.float64), factors, growth)


def ours(item: Year) -> tuple[Array, float, tuple[float, float]]:
    """Return factors, growth and its interval by `rhythm`."""
    found = rhythm("events", np.arange(MONDAY, MONDAY + DAYS), item.value)
    trend = found.trend
    if trend is None:
        msg = "a year has a trend"
        raise ValueError(msg)
    return np.array(found.weekdays, dtype=np.float64), trend.per_week, (trend.low, trend.high)


def mstl(item: Year) -> tuple[Array, float]:
    """Return factors and growth by MSTL on logarithms."""
    from statsmodels.tsa.seasonal import MSTL

    found = MSTL(np.log(np.maximum(item.value, 0.5)), periods=(7,), stl_kwargs={"robust": True}).fit()
    seasonal = np.asarray(found.seasonal, dtype=np.float64).ravel()
    factors = np.exp(np.array([seasonal[number::7].mean() for number in range(7)]))
    slope = np.polyfit(np.arange(DAYS) / 7, np.asarray(found.trend, dtype=np.float64), 1)[0]
    return factors / factors.mean(), float(np.expm1(slope))


def start_up(module: str) -> float:
    """Return seconds of CPU of a process that imports a module and nothing else."""
    code = f"import resource, {module}; found = resource.getrusage(0); print(found.ru_utime + found.ru_stime)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return round(float(said), 2)


def compared(worlds: int, *, incidents: bool, per_day: float, seed: int) -> dict[str, object]:
    """Compare both on years of one kind."""
    errors: dict[str, list[tuple[float, float]]] = {"fraudctl": [], "MSTL": []}
    seconds, held = dict.fromkeys(errors, 0.0), 0
    for number in range(worlds):
        item = year(seed + number, incidents=incidents, per_day=per_day)
        began = time.process_time()
        factors, growth, (low, high) = ours(item)
        seconds["fraudctl"] += time.process_time() - began
        held += low <= item.per_week <= high
        errors["fraudctl"].append((float(np.abs(factors - item.factors).mean()), abs(growth - item.per_week)))
        began = time.process_time()
        factors, growth = mstl(item)
        seconds["MSTL"] += time.process_time() - began
        errors["MSTL"].append((float(np.abs(factors - item.factors).mean()), abs(growth - item.per_week)))
    rows = {
        name: {
            "weekday_factor_mae": round(float(np.mean([one for one, _ in found])), 5),
            "growth_a_week_mae": round(float(np.mean([two for _, two in found])), 6),
            "growth_a_week_worst": round(float(np.max([two for _, two in found])), 6),
            "cpu_ms_a_year": round(1e3 * seconds[name] / worlds, 2),
        }
        for name, found in errors.items()
    }
    about = {"per_day": per_day, "incidents": incidents, "worlds": worlds}
    return {**about, "rules": rows, "growth_intervals_held": round(held / worlds, 3)}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    mstl(year(0, incidents=False, per_day=100.0))  # loads
    results = [
        compared(options.worlds, incidents=incidents, per_day=per_day, seed=1000 * options.seed)
        for per_day in (50.0, 3000.0)
        for incidents in (False, True)
    ]
    modules = ("numpy", "fraudctl.monitor.rhythm", "statsmodels.tsa.seasonal")
    document = {
        "date": str(date.today()),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {name: version(name) for name in ("fraudctl", "numpy", "statsmodels")},
        "cpu_seconds_of_import": {name: start_up(name) for name in modules},
        "results": results,
    }
    print(json.dumps(document, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
