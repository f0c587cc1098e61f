"""How far estimates of young weeks are from what they become, and how often their intervals hold it.

Simulates payments with known outcomes: flagged frauds are confirmed in days, missed ones come back in weeks. Nowcasts
of every complete week are held against its final count, recall and fraud loss, at 30, 50, 70 and 90 % matured, beside
what a user would write instead: labels as they are, the pooled chain ladder, one chain ladder per stratum, and
probabilities alone. All methods see the same events at the same instants. Scenarios change what the history says: a new
pattern that the model misses, delays that double, a stop over holidays, a drifting calibration, reversed labels,
verdicts of both classes, little data, large losses that are reported sooner or later than small ones.

A world is looked at once a week, every other world half a week later: looks of one world share its weeks, and more
worlds say more. Standard errors are between worlds. With ``--only``, other scenarios of the file stay, where versions,
seed and number of worlds are the same; seconds are those of the last call.

    python benchmarks/bench_nowcast.py --replicates 20 --out benchmarks/results/nowcast.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fraudctl.monitor.cohort_source import CohortEvents
from fraudctl.monitor.delays import delay_curve
from fraudctl.monitor.nowcast import HIDDEN, Design, Nowcast, nowcast

DAY = 86_400.0
WEEK = 7 * DAY
N_WEEKS = 34
FIRST_AS_OF, AS_OF_STEP = 29.0, 1.0
"""Weeks after the first event of the first instant, and between instants; half a step later in every other world."""
CHANGE_AT = 25
"""Week from which a scenario differs from its past."""
LABEL_DELAY = 60 * DAY
MATURITIES = (0.3, 0.5, 0.7, 0.9)
WITHIN = 0.08
"""A week counts for a maturity where the true share of its frauds that is known is this near."""
THRESHOLD = 0.25
"""Probability from which an event is flagged."""


@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Attributes
    ----------
    frauds_per_week
        On average.
    missed_factor
        From the change on, so many times as many frauds where the model says no.
    delay_factor
        From the change on, delays are so many times as long.
    stop_days
        From the change on, no label arrives for so many days; the labels wait.
    drift
        Growth of the rate per week that probabilities do not know of.
    week_spread
        Standard deviation of the log rate and of the log delay between weeks.
    reversed_share
        Share of known frauds that turn out legitimate, some weeks later.
    verdicts
        Whether legitimate events get a verdict, as late as frauds of their stratum.
    money_power
        Delays are multiplied by the amount over its median to this power, at all times.
    """

    frauds_per_week: float = 300.0
    missed_factor: float = 1.0
    delay_factor: float = 1.0
    stop_days: float = 0.0
    drift: float = 0.0
    week_spread: float = 0.08
    reversed_share: float = 0.0
    verdicts: bool = False
    money_power: float = 0.0


SCENARIOS = {
    "steady": Scenario(),
    "50 a week": Scenario(frauds_per_week=50.0),
    "new pattern": Scenario(missed_factor=2.0),
    "delays shift hard": Scenario(delay_factor=2.0),
    "delays shift hard, 50 a week": Scenario(frauds_per_week=50.0, delay_factor=2.0),
    "holiday stop": Scenario(stop_days=10.0),
    "calibration drifts": Scenario(drift=0.015),
    "labels reversed": Scenario(reversed_share=0.1),
    "verdicts of both classes": Scenario(verdicts=True),
    "verdicts of both classes, delays shift hard": Scenario(verdicts=True, delay_factor=2.0),
    "large losses sooner": Scenario(money_power=-0.3),
    "large losses later": Scenario(money_power=0.2),
}


@dataclass(frozen=True)
class World:
    """Events with everything that will ever be known, arrays of shape ``(n_events,)``; times in seconds."""

    time: npt.NDArray[np.float64]
    y_prob: npt.NDArray[np.float64]
    fraud_at: npt.NDArray[np.float64]
    cleared_at: npt.NDArray[np.float64]
    amount: npt.NDArray[np.float64]

    @property
    def week(self) -> npt.NDArray[np.int64]:
        """Number of the week of each event."""
        return (self.time // WEEK).astype(np.int64)

    @property
    def fraud(self) -> npt.NDArray[np.bool_]:
        """Fraud at last."""
        return ~np.isnan(self.fraud_at) & ~(self.cleared_at > self.fraud_at)

    @property
    def flagged(self) -> npt.NDArray[np.int64]:
        """1 where the model flags the event, else 0."""
        return (self.y_prob >= THRESHOLD).astype(np.int64)


def simulate(scenario: Scenario, rng: np.random.Generator) -> World:
    """Draw a world."""
    per_week = int(20 * scenario.frauds_per_week)
    n = per_week * N_WEEKS
    when = np.sort(rng.random(n)) * N_WEEKS * WEEK
    week = (when // WEEK).astype(np.int64)
    y_prob = 1.0 / (1.0 + np.exp(-rng.normal(-5.2, 2.1, n)))
    y_prob = y_prob * (0.05 / y_prob.mean())
    y_prob = np.clip(y_prob, 1e-5, 0.97)
    after = week >= CHANGE_AT
    spread = np.exp(rng.normal(0.0, scenario.week_spread, (2, N_WEEKS)))
    rate = spread[0][week] * (1.0 + scenario.drift) ** week
    rate = rate * np.where(after & (y_prob < THRESHOLD), scenario.missed_factor, 1.0)
    fraud = rng.random(n) < np.minimum(rate * y_prob, 1.0)
    flagged = y_prob >= THRESHOLD
    median, sigma = np.where(flagged, 2.5 * DAY, 21 * DAY), np.where(flagged, 0.8, 0.5)
    delay = np.minimum(median * np.exp(sigma * rng.normal(size=n)), 55 * DAY)
    delay = delay * spread[1][week] * np.where(after, scenario.delay_factor, 1.0)
    known_at = when + delay
    stop = CHANGE_AT * WEEK + 14 * DAY
    waits = (known_at >= stop) & (known_at < stop + scenario.stop_days * DAY)
    known_at = np.where(waits, stop + scenario.stop_days * DAY + rng.random(n) * DAY, known_at)
    reversed_ = fraud & (rng.random(n) < scenario.reversed_share)
    cleared_at = np.where(reversed_, known_at + rng.exponential(14 * DAY, n), np.nan)
    if scenario.verdicts:
        cleared_at = np.where(~fraud, known_at, cleared_at)
    amount = np.exp(rng.normal(4.0, 1.0, n))
    if scenario.money_power:
        by_money = (known_at - when) * (amount / np.exp(4.0)) ** scenario.money_power
        known_at = when + np.minimum(by_money, LABEL_DELAY)
    return World(when, y_prob, np.where(fraud, known_at, np.nan), cleared_at, amount)


def as_known(world: World, at: float) -> tuple[CohortEvents, npt.NDArray[np.bool_]]:
    """Return events before an instant as they are known at it, and which they are."""
    seen = world.time < at
    when, fraud_at, cleared_at = world.time[seen], world.fraud_at[seen], world.cleared_at[seen]
    fraud_at = np.where(fraud_at <= at, fraud_at, np.nan)
    cleared_at = np.where(cleared_at <= at, cleared_at, np.nan)
    known = np.where(~np.isnan(cleared_at), 0, np.where(~np.isnan(fraud_at), 1, -1)).astype(np.int8)
    events = CohortEvents(
        world.week[seen],
        world.flagged[seen],
        at - when,
        world.y_prob[seen],
        known,
        fraud_at - when,
        cleared_at - when,
    )
    return events, seen


@dataclass(frozen=True)
class Row:
    """One week at one instant: by method, the error of count, recall and loss; and whether intervals held them."""

    world: int
    maturity: float
    errors: dict[str, dict[str, float]]
    covered: dict[str, bool]


def chain_ladder(events: CohortEvents, strata: npt.NDArray[np.int64], n_cohorts: int) -> npt.NDArray[np.float64]:
    """Return known frauds over the share that should be known, ``(n_cohorts, n_strata)``, from one curve a stratum."""
    out = np.zeros((n_cohorts, int(strata.max()) + 1))
    for number in range(out.shape[1]):
        rows = (strata == number) & (events.known == 1)
        curve = delay_curve(events.fraud_after[rows], events.age[rows], horizon=2 * LABEL_DELAY)
        known = np.bincount(events.cohort[rows], minlength=n_cohorts)
        every = strata == number
        weight = np.bincount(events.cohort[every], weights=events.y_prob[every], minlength=n_cohorts)
        share = np.bincount(
            events.cohort[every], weights=events.y_prob[every] * curve.share(events.age[every]), minlength=n_cohorts
        )
        arrived = np.divide(share, weight, out=np.ones(n_cohorts), where=weight > 0)
        out[:, number] = known / np.maximum(arrived, 0.02)
    return out


Period = dict[str, dict[str, bool]]
"""How draws of weeks were summed -> figure -> whether the interval of the sum over all open weeks held the truth."""


def judge(world: World, at: float, number: int) -> tuple[list[Row], Period]:
    """Estimate all complete weeks at an instant, by every method, and all open ones together."""
    events, seen = as_known(world, at)
    n_cohorts = int(at // WEEK)
    whole = events.cohort < n_cohorts
    events = events.take(whole)
    rows = np.flatnonzero(seen)[whole]
    fraud, amount = world.fraud[rows], world.amount[rows]
    design = Design(n_cohorts, 2, LABEL_DELAY, WEEK, seed=number, money=1)
    values = np.column_stack([np.ones(len(rows)), amount])
    result = nowcast(events, values, design)
    truth = np.zeros((n_cohorts, 2, 2))
    np.add.at(truth, (events.cohort[fraud], events.stratum[fraud]), values[fraud])
    known = result.known[:, :, 0]
    pooled = chain_ladder(events, np.zeros_like(events.stratum), n_cohorts)[:, 0]
    strata = chain_ladder(events, events.stratum, n_cohorts)
    expected = np.zeros((n_cohorts, 2))
    np.add.at(expected, (events.cohort, events.stratum), events.y_prob)
    guesses = {"nowcast": result.estimate[:, :, 0], "naive": known, "chain ladder": strata, "probabilities": expected}
    out = []
    arrived = ~np.isnan(events.fraud_after)
    for cohort in range(n_cohorts):
        here = (events.cohort == cohort) & (fraud | arrived)
        share = float(arrived[here].sum()) / max(int(here.sum()), 1)
        near = [level for level in MATURITIES if abs(share - level) <= WITHIN]
        if not near:
            continue
        out.append(_row(number, near[0], truth[cohort], {k: v[cohort] for k, v in guesses.items()}, pooled[cohort],
                        result.draws[:, cohort], result.estimate[cohort]))  # fmt: skip
    return out, period(result, truth, np.random.default_rng(number))


def period(result: Nowcast, truth: npt.NDArray[np.float64], rng: np.random.Generator) -> Period:
    """Return whether intervals of the total over all weeks that can be shown held it, draws summed in two ways."""
    shown = np.flatnonzero(result.matured >= HIDDEN)
    draws = result.draws[:, shown]
    apart = np.stack([rng.permutation(draws[:, at]) for at in range(len(shown))], axis=1)
    whole = truth[shown].sum(axis=0)
    return {
        name: covered_figures(sample.sum(axis=1), whole) for name, sample in (("together", draws), ("apart", apart))
    }


def covered_figures(draws: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> dict[str, bool]:
    """Return whether the 90 % interval of each figure holds the truth."""
    total, n = draws[:, :, 0].sum(axis=1), truth[:, 0].sum()
    figures = {
        "count": (total, n),
        "recall": (draws[:, 1, 0] / np.maximum(total, 1e-9), truth[1, 0] / n),
        "loss": (draws[:, :, 1].sum(axis=1), truth[:, 1].sum()),
        "missed loss": (draws[:, 0, 1], truth[0, 1]),
    }
    covered = {}
    for name, (sample, true) in figures.items():
        low, high = np.quantile(sample, 0.05, method="lower"), np.quantile(sample, 0.95, method="higher")
        covered[name] = bool(low - 1e-9 <= true <= high + 1e-9)
    return covered


def _row(
    world: int,
    maturity: float,
    truth: npt.NDArray[np.float64],
    guesses: dict[str, npt.NDArray[np.float64]],
    pooled: float,
    draws: npt.NDArray[np.float64],
    estimate: npt.NDArray[np.float64],
) -> Row:
    n, loss = truth[:, 0].sum(), truth[:, 1].sum()
    recall = truth[1, 0] / n
    errors = {
        name: {
            "count": float(guess.sum() / n - 1.0),
            "recall": float(guess[1] / max(guess.sum(), 1e-9) - recall),
        }
        for name, guess in guesses.items()
    }
    errors["pooled chain ladder"] = {"count": float(pooled / n - 1.0)}
    errors["nowcast"]["loss"] = float(estimate[:, 1].sum() / loss - 1.0)
    return Row(world, maturity, errors, covered_figures(draws, truth))


def summary(rows: list[Row], periods: list[Period]) -> dict[str, object]:
    """Return mean absolute errors, bias and coverage by maturity, and coverage of totals over all open weeks."""
    out: dict[str, object] = {}
    for level in MATURITIES:
        here = [row for row in rows if row.maturity == level]
        if not here:
            continue
        methods: dict[str, dict[str, float]] = {}
        for name in here[0].errors:
            methods[name] = {}
            for figure in here[0].errors[name]:
                errors = np.array([row.errors[name][figure] for row in here])
                methods[name][f"{figure}_mae"] = round(float(np.abs(errors).mean()), 4)
                methods[name][f"{figure}_bias"] = round(float(errors.mean()), 4)
        out[f"{level:.0%}"] = {
            "n": len(here), "methods": methods, "nowcast_se": errors_between_worlds(here), **coverage(here),
        }  # fmt: skip
    out["all"] = {"n": len(rows), **coverage(rows)}
    out["period"] = {
        "n": len(periods),
        "coverage": {
            how: {name: round(float(np.mean([item[how][name] for item in periods])), 3) for name in figures}
            for how, figures in periods[0].items()
        },
    }
    return out


def coverage(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Return the share of weeks whose interval held the truth, by figure, with its standard error."""
    held = {figure: np.array([row.covered[figure] for row in rows], dtype=float) for figure in rows[0].covered}
    worlds = np.array([row.world for row in rows])
    return {
        "coverage": {figure: round(float(values.mean()), 3) for figure, values in held.items()},
        "coverage_se": {figure: standard_error(values, worlds) for figure, values in held.items()},
    }


def errors_between_worlds(rows: list[Row]) -> dict[str, float]:
    """Return standard errors of the mean absolute error and the bias of the nowcast, by figure."""
    worlds, out = np.array([row.world for row in rows]), {}
    for figure in rows[0].errors["nowcast"]:
        errors = np.array([row.errors["nowcast"][figure] for row in rows])
        out[f"{figure}_mae"], out[f"{figure}_bias"] = (standard_error(of, worlds) for of in (np.abs(errors), errors))
    return out


def standard_error(values: npt.NDArray[np.float64], worlds: npt.NDArray[np.int64]) -> float:
    """Return the standard error of a mean whose values are independent between worlds alone."""
    sums = np.bincount(worlds, weights=values - values.mean())
    n_worlds = len(np.unique(worlds))
    return round(float(np.sqrt(np.square(sums).sum() * n_worlds / max(n_worlds - 1, 1))) / len(values), 4)


def run(name: str, scenario: Scenario, replicates: int, seed: int) -> dict[str, object]:
    """Simulate a scenario and judge all methods."""
    rows: list[Row] = []
    periods: list[Period] = []
    for replicate in range(replicates):
        rng = np.random.default_rng([seed, replicate, list(SCENARIOS).index(name)])
        world = simulate(scenario, rng)
        for at in np.arange(FIRST_AS_OF + (replicate % 2) * AS_OF_STEP / 2, N_WEEKS, AS_OF_STEP):
            found, total = judge(world, float(at) * WEEK, replicate)
            rows.extend(found)
            periods.append(total)
    return {"scenario": asdict(scenario), **summary(rows, periods)}


def show(name: str, result: dict[str, object]) -> None:
    """Print a scenario."""
    print(f"\n{name}")
    for level, part in result.items():
        if level == "scenario" or not isinstance(part, dict):
            continue
        print(f"  {level:>4} n={part['n']:<5} coverage {part['coverage']}")
        for method, figures in part.get("methods", {}).items():
            print(f"       {method:20s}", "  ".join(f"{k} {v:+.3f}" for k, v in figures.items()))


def measured_before(args: argparse.Namespace) -> dict[str, object]:
    """Return what the file holds of other scenarios, with as many worlds of the same seed by the same versions."""
    if args.out is None or not args.out.exists():
        return {}
    found = json.loads(args.out.read_text())
    same = found["versions"] == {package: version(package) for package in found["versions"]}
    same = same and (found["replicates"], found["seed"]) == (args.replicates, args.seed)
    return {name: item for name, item in found["results"].items() if same and name not in args.only}


def main() -> None:
    """Run all scenarios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(SCENARIOS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    started = time.perf_counter()
    results = {} if set(args.only) == set(SCENARIOS) else measured_before(args)
    for name in args.only:
        results[name] = run(name, SCENARIOS[name], args.replicates, args.seed)
        show(name, results[name])
    took, cpu = time.perf_counter() - started, time.process_time()
    print(f"\n{took:.0f} s, {cpu:.0f} s of CPU")
    if args.out:
        versions = {package: version(package) for package in ("fraudctl", "numpy", "scipy")}
        machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        document = {
            "benchmark": "nowcast", "replicates": args.replicates, "seed": args.seed, "seconds": round(took),
            "cpu_seconds": round(cpu),
            "versions": versions, "machine": machine, "results": results,
        }  # fmt: skip
        args.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
