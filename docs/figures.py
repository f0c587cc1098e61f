"""The tables of docs/reference/training-figures.md, from the committed results of the benchmarks and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
_HEAD = """# Figures of training

Made by `make docs` from `benchmarks/results/`. What the steps are is told in [Training and tuning](../training.md).
"""


def training_page() -> str:
    """Give the page: one section for each benchmark whose results are there."""
    makers = {
        "public": _public, "handbook": _handbook, "proposal": _proposal, "fit": _fit, "steps": _steps,
        "tuning": _tuning,
    }  # fmt: skip
    return page_of(_HEAD, makers)


def page_of(head: str, makers: Mapping[str, Callable[[Any], Iterator[str]]]) -> str:
    """Give a page: its head, and a section for each benchmark whose results are there."""
    parts = [head]
    for name, maker in makers.items():
        file = RESULTS / f"{name}.json"
        if file.exists():
            parts.append("\n".join(maker(json.loads(file.read_text(encoding="utf-8")))) + "\n")
    return "\n".join(parts)


_FILES = {
    "Fraud_Data_ip.csv": "signups of a shop",
    "paysim_sample.csv": "mobile money, without balances after the event",
    "User0.csv": "card payments of one person",
    "fraud_oracle.csv": "vehicle claims",
    "ieee_head.csv": "card payments, the first 1,500 rows",
}


def _public(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Five public files, from raw to explained"
    yield ""
    yield (
        "Each file as it was found on the web, by the command line alone "
        "([how](../data.md#five-public-files-from-raw-to-explained)), beside CatBoost with its defaults on the raw "
        "columns (`benchmarks/bench_public.py`). Seconds are those of `init` (both calls), `check`, `train` and "
        "`evaluate` together, and of `explain`. Intervals of 90 % are those of 400 resamples of the test's "
        "events, the same for both models."
    )
    yield ""
    head = ("events tested, frauds", "refused", "seconds", "average precision", "CatBoost on raw columns", "difference")
    yield f"| file | {' | '.join(head)} |"
    yield f"|{'---|' * (len(head) + 1)}"
    for file, words in _FILES.items():
        item = found["files"][file]
        seconds = dict(item["seconds"])
        explain = seconds.pop("explain")
        ours, gain = item["average_precision"], item["difference"]
        yield (
            f"| {words} (`{file}`) | {item['n_test']:,}, {item['n_frauds']:,} | {item['refused']} | "
            f"{sum(seconds.values()):.0f}, {explain:.0f} | {ours['value']:.3f} ({ours['interval'][0]:.3f} to "
            f"{ours['interval'][1]:.3f}) | {item['catboost_raw']['value']:.3f} | {gain['value']:+.3f} "
            f"({gain['interval'][0]:+.3f} to {gain['interval'][1]:+.3f}) |"
        )


def _handbook(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## The handbook's weeks"
    yield ""
    yield (
        "`fraudctl init`, `train` and `evaluate` on the card-payment simulation of Le Borgne et al., *Reproducible "
        "Machine Learning for Credit Card Fraud Detection*, beside what its authors publish and an oracle that knows "
        "the generator (`benchmarks/bench_handbook.py`). "
        f"Trials of the search: {found['weeks'][0]['tuning']['trials']}."
    )
    for title, ours in found["ours"].items():
        rows = {**found["elsewhere"][title], "**fraudctl, init and train alone**": ours}
        yield ""
        yield from _table((title, "AUC ROC", "average precision", "card precision@100"), rows, digits=3)
    first, short = found["weeks"][0], found.get("short_history")
    if "log_loss" in first:
        yield ""
        yield f"Logarithmic loss on the week of {first['as_of']}: {first['log_loss']:.4f}."
    if short:
        gain = short["difference"]
        yield ""
        yield (
            f"Trained on {short['history'].removesuffix('d')} days instead of 82: average precision "
            f"{short['average_precision']['value']:.3f}; by the plain recipe (symmetric trees that may split by any "
            f"column, nothing searched, no partner) {short['plain']['average_precision']['value']:.3f}. The difference "
            f"on these events is {gain['value']:+.3f}, {100 * short['confidence']:.0f} % interval {gain['low']:+.3f} "
            f"to {gain['high']:+.3f}."
        )


def _proposal(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## What the proposed features bring"
    yield ""
    yield (
        f"Average precision with {found['trees']} trees on the periods after each of several as-of dates, and what is "
        "lost or won against the proposed set, mean over the periods with a 90 % interval "
        "(`benchmarks/bench_proposal.py`)."
    )
    for name, item in found["sets"].items():
        yield ""
        yield f"| {name} | features | average precision | against the proposed set |"
        yield "|---|---|---|---|"
        for key, values in item["average_precision"].items():
            mean = sum(values) / len(values)
            yield f"| {key} | {item['features'][key]} | {mean:.4f} | {_gain(item['against_proposed'].get(key))} |"


def _fit(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## What habits of fitting bring"
    yield ""
    yield (
        f"The same sets and periods, {found['trees']} trees, proposed features: as `train` fits, with frauds weighted "
        "until both classes weigh the same, and with ten steps per leaf (`benchmarks/bench_fit.py`). The last two "
        "columns are ratios to the fit as it is: of the sums of the probabilities, and of processor time."
    )
    head = ("average precision", "against the fit as it is", "ROC AUC", "probabilities", "time")
    for name, ways in found["sets"].items():
        yield ""
        yield f"| {name} | {' | '.join(head)} |"
        yield "|---" * (len(head) + 1) + "|"
        for way, item in ways.items():
            numbers = f"{item['roc_auc']:.3f} | {item['times_the_probabilities']:.1f} | {item['times_the_seconds']:.1f}"
            yield f"| {way} | {item['average_precision']:.4f} | {_gain(item['gain'])} | {numbers} |"


def _steps(found: Mapping[str, Any]) -> Iterator[str]:
    loads = [item["load_average"] for item in found["sets"].values()]
    yield "## Whether folds can choose the steps per leaf"
    yield ""
    yield (
        "Trained as `train` does it without a search, folds stopping early, once with one step per leaf and once with "
        "ten (`benchmarks/bench_steps.py`). Folds would choose ten where their 90 % interval lies above zero. The last "
        f"column is the processor time of the folds' fits, of ten to one; the load average was up to {max(loads):.0f}."
    )
    yield ""
    yield "| set | one step | ten steps | test period, ten less one | folds, ten less one | folds choose | time |"
    yield "|---|---|---|---|---|---|---|"
    for name, item in found["sets"].items():
        one, ten = (item["average_precision"][steps] for steps in ("1", "10"))
        chosen = "ten" if item["folds"]["low"] > 0 else "one"
        figures = f"{one:.4f} | {ten:.4f} | {_gain(item['test'])} | {_gain(item['folds'])}"
        yield f"| {name} | {figures} | {chosen} | {item['times_the_seconds']:.2f} |"


def _gain(gain: Mapping[str, float] | None) -> str:
    return "" if gain is None else f"{gain['value']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"


def _tuning(found: Mapping[str, Any]) -> Iterator[str]:
    seconds = found["seconds"]
    yield "## How long a search takes"
    yield ""
    yield (
        f"{found['trials']} trials on {len(found['rows_per_window'])} folds of {found['rows_per_window'][0]:,} rows "
        f"and {found['features']} features, on {found['machine']['cpus']} cores (`benchmarks/bench_tuning.py`):"
    )
    yield ""
    yield from _table(("stage", "seconds"), {name: (value,) for name, value in seconds.items()}, digits=1)
    yield ""
    yield (
        f"{found['pruned']} trials were pruned. As many fits on whole windows with all trees would take about "
        f"{found['search_without_sampling_seconds']:,.0f} s, {found['ratio']} times as long."
    )


def _table(head: Sequence[str], rows: Mapping[str, Sequence[float]], *, digits: int) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for name, values in rows.items():
        yield f"| {name} | {' | '.join(f'{value:.{digits}f}' for value in values)} |"
