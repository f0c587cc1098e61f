"""The tables of docs/reference/life-figures.md, from the committed results of the benchmarks and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from figures import page_of

_HEAD = """# Figures of life after training

Made by `make docs` from `benchmarks/results/`. What is measured is told in [Monitoring](../monitoring.md) and
[The dashboard](../dashboard.md).
"""
_PLANTED = {
    "nulls": "1 % new nulls", "hour": "clocks an hour wrong", "amount": "amounts + 10 %",
    "fraud": "fraud × 2, without labels", "volume": "volume × 2", "growth": "growth of 0.5 % a day",
    "weekdays": "other weekdays",
}  # fmt: skip


def life_page() -> str:
    """Give the page: one section for each benchmark whose results are there."""
    makers = {"monitor": _monitor, "monitor_scale": _scale, "life_handbook": _handbook, "rhythm": _rhythm}
    return page_of(_HEAD, makers)


def _monitor(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## False alarms and delays"
    yield ""
    yield (
        f"`benchmarks/bench_monitor.py`, simulated payments with known truth, seed {found['seed']}, a reference of "
        f"{found['reference_days']} days. Unchanged worlds go on for {found['unchanged_days']} days; alarms per 30 "
        "days with exact 90 % intervals. Evidently and NannyML are their default rules, implemented from their "
        "documentation, on fewer of the same worlds."
    )
    yield ""
    yield "| unchanged | worlds | fraudctl | of these, ending with 1 | Evidently | NannyML |"
    yield "|---|---|---|---|---|---|"
    for item in found["results"]:
        if item["planted"] is None:
            ours, others = item["rules"]["fraudctl"], [item["rules"][name] for name in ("Evidently", "NannyML")]
            rates = " | ".join(f"{rule['episodes_per_30_days']} ({rule['worlds']} worlds)" for rule in others)
            yield (
                f"| {item['events_per_day']:,} a day, {item['world']} | {item['worlds']} | "
                f"{ours['episodes_per_30_days']} ({_ends(ours['interval'])}) | "
                f"{ours['acting_per_30_days']} ({_ends(ours['acting_interval'])}) | {rates} |"
            )
    yield ""
    yield from _head(
        "planted, 3,000 a day", "worlds", "days to the alarm: median, latest", "missed", "most warnings", "ended with 1"
    )
    for item in found["results"]:
        if item["planted"] is not None:
            ours = item["rules"]["fraudctl"]
            days = "none" if ours["median_days"] is None else f"{ours['median_days']:g}, {ours['latest_days']}"
            yield (
                f"| {_PLANTED[item['planted']]}, {item['world']} | {item['worlds']} | {days} | {ours['missed']:g} | "
                f"{ours['warnings_most']} | {ours['acting_mean']:g} a world |"
            )


def _head(*names: str) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield "|---" * len(names) + "|"


def _ends(interval: list[float]) -> str:
    return f"{interval[0]:g} to {interval[1]:g}"


def _scale(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## A year of decisions"
    yield ""
    yield (
        "`benchmarks/bench_monitor_scale.py`: `monitor` on a year of decisions with the values of all features, one "
        "file a day, each run in a process of its own; with limits, the outcome of every decision is needed. Seconds "
        "are those of the processors; what was measured under load took longer by the clock."
    )
    yield ""
    yield "| decisions | columns | run | seconds of CPU | largest memory, MB |"
    yield "|---|---|---|---|---|"
    for item in found["results"]:
        yield (
            f"| {item['decisions']:,} | {item['columns']} | {item['run']} | {item['cpu_seconds']:.1f} | "
            f"{item['peak_mb']:,.0f} |"
        )


def _handbook(found: Mapping[str, Any]) -> Iterator[str]:
    before, verdicts = found["before"], found["verdicts"]
    yield "## The handbook, week by week"
    yield ""
    yield (
        f"`benchmarks/bench_life_handbook.py`: trained as of {found['as_of']}, labels {found['label_delay_days']} days "
        f"late, {found['decisions']:,} decisions after it. Limits from what the latest fold predicted: recall at least "
        f"{before['recall_at_least']:g}, missed fraud money at most {before['missed_bps_at_most']:g} per 10,000. "
        f"{found['harm_alarms']} alarms on harm; weeks quiet {verdicts['quiet']}, with a warning {verdicts['warn']}, "
        f"with a reason to act {verdicts['act']}. Of {found['parity']['sampled']} decisions that were recomputed, "
        f"{found['parity']['differing']} differ."
    )
    yield ""
    yield "| week from | events | flagged | frauds | recall | missed per 10,000 | said at its end of recall | verdict |"
    yield "|---|---|---|---|---|---|---|---|"
    for week, run in zip(found["weeks"], found["runs"], strict=True):
        true = week["truth"]
        said = run["weeks"].get(week["first_day"], {}).get("recall", {})
        told = "" if said.get("value") is None else f"{said['value']:.3f} ({said['low']:.3f} to {said['high']:.3f})"
        yield (
            f"| {week['first_day']} | {true['events']:,} | {true['flagged']:,} | {true['frauds']:,} | "
            f"{true['recall']:.3f} | {true['missed_bps']:.1f} | {told} | {run['verdict']} |"
        )
    alarms = {alarm["what"].split(" since ")[0]: None for run in found["runs"] for alarm in run["alarms"]}
    yield ""
    yield "Alarms of any week:" if alarms else "No week had an alarm."
    for what in alarms:
        yield f"- {what}"


def _rhythm(found: Mapping[str, Any]) -> Iterator[str]:
    loading = found["cpu_seconds_of_import"]
    yield "## Weekdays and trend, beside MSTL"
    yield ""
    yield (
        f"`benchmarks/bench_rhythm.py`, statsmodels {found['versions']['statsmodels']}: mean absolute error of the "
        "factor of a weekday and of growth a week, ours and MSTL's, on simulated years. Loading takes "
        f"{loading['fraudctl.monitor.rhythm']:g} s and {loading['statsmodels.tsa.seasonal']:g} s of CPU."
    )
    yield ""
    yield from _head(
        "events a day", "incidents", "years", "factor: ours, MSTL", "growth: ours, MSTL", "worst growth", "ms a year",
        "our 90 % interval held",
    )  # fmt: skip
    for item in found["results"]:
        ours, theirs = item["rules"]["fraudctl"], item["rules"]["MSTL"]
        pairs = [
            f"{ours[key]:{form}}, {theirs[key]:{form}}"
            for key, form in (
                ("weekday_factor_mae", ".4f"), ("growth_a_week_mae", ".5f"), ("growth_a_week_worst", ".4f"),
                ("cpu_ms_a_year", ".1f"),
            )
        ]  # fmt: skip
        yield (
            f"| {item['per_day']:,.0f} | {'three' if item['incidents'] else 'none'} | {item['worlds']} | "
            f"{' | '.join(pairs)} | {item['growth_intervals_held']:.1%} |"
        )
