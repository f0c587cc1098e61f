"""Results as tables for the terminal; the commands stay thin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from rich.table import Table

from fraudctl.text.figures import count as counted
from fraudctl.text.figures import length, number, percent, period, whole
from fraudctl.text.plain import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fraudctl.checks import CheckReport, Finding
    from fraudctl.compare import Comparison
    from fraudctl.evaluate import Estimate, Evaluation
    from fraudctl.features.meaning.describe import Description
    from fraudctl.features.proof.audit import AuditResult
    from fraudctl.propose import Proposal
    from fraudctl.train.summary import PartnerSummary, RowCounts, TrainingSummary
    from fraudctl.workflows.account import PapersResult
    from fraudctl.workflows.demo import DemoResult
    from fraudctl.workflows.models import ModelEntry, ModelsResult
    from fraudctl.workflows.train import TrainResult


def plain_table(
    title: str | None, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = ""
) -> RenderableType:
    """Return a table without frame; ``right`` names the columns that are aligned to the right, divided by spaces.

    The title stands above the table and is as wide as the terminal: a table's own title wraps at the table's width.
    """
    from rich.console import Group
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(
            _text(name), justify="right" if name in right.split() else "left", header_style="dim", overflow="fold"
        )
    for row in rows:
        table.add_row(*map(_text, row))
    return table if title is None else Group(Text(visible(title), style="bold"), table)


def _text(cell: str) -> Any:
    """Return text as one line of text: names in data may look like markup or hold control characters."""
    from rich.text import Text

    return Text(visible(cell))


def proposal_table(proposal: Proposal) -> RenderableType:
    """Return what ``init`` proposes and why."""
    rows = [(role, item.column, item.reason) for role, item in proposal.roles.items() if item is not None]
    rows += [(f"entity {item.name}", item.column, item.reason) for item in proposal.entities]
    rows += [(f"cost {cell}", item.column, item.reason) for cell, item in proposal.costs.items()]
    if proposal.labels is not None:
        for table in proposal.labels.tables:
            rows += [(f"{table.name}: {role}", item.column, item.reason) for role, item in table.roles.items()]
        declined = proposal.labels.declined
        rows += [("declined", declined[0].column, declined[1])] if declined else []
    rows += [
        (f"source {item.name}", ", ".join(item.entities.values()), f"at {item.event_time.column}")
        for item in proposal.sources
    ]
    rows += [("ignored", item.column, item.reason) for item in proposal.rest.ignored]
    rows += [("unused", item.column, item.reason) for item in proposal.rest.unused]
    return plain_table(None, ("role", "column", "why"), rows)


def feature_table(described: Description) -> RenderableType:
    """Return what each feature means and how it looks."""
    rows = []
    for item in described.features:
        found = item.distribution
        missing = "" if found is None else percent(found.missing_rate, 1)
        middle = [figure(value) for value in found.quantiles[::2]] if found and found.quantiles else ["", "", ""]
        rows.append((item.name, item.words, item.interval, missing, *middle))
    columns = ("feature", "meaning", "takes in", "missing", "p01", "median", "p99")
    return plain_table(None, columns, rows, right="missing p01 median p99")


def figure(value: Any) -> str:
    """Return a number with four significant digits; nothing for None."""
    return "" if value is None else number(value, 4)


_ALIKE = 4
"""Columns with one finding from which they share a line."""


def _finding_rows(findings: Sequence[Finding], *, verbose: bool) -> Iterator[tuple[str, str, str, str]]:
    """Yield a line for each finding, and one for all columns of which one check found the same."""
    by: dict[tuple[str, str], list[Finding]] = {}
    for item in findings:
        by.setdefault((item.severity, item.id), []).append(item)
    for (severity, _), items in by.items():
        first = items[0]
        if len(items) < _ALIKE or verbose:
            yield from ((severity, item.where, item.what, item.hint or "") for item in items)
            continue
        where = f"{', '.join(item.where for item in items[:3])} and {len(items) - 3} more"
        same = len({item.what for item in items}) == 1
        what = first.what if same else f"{first.where}: {first.what}; the others alike (--verbose lists them)"
        yield severity, where, what, first.hint or ""


def check_tables(report: CheckReport, *, verbose: bool) -> list[RenderableType]:
    """Return what ``check`` found: findings, then the weeks; with ``verbose`` every column too."""
    parts: list[RenderableType] = []
    rows = list(_finding_rows(report.findings, verbose=verbose))
    if rows:
        parts.append(plain_table("Findings", ("severity", "where", "what", "hint"), rows))
    weeks = [
        (
            week.start.isoformat(),
            whole(week.n_events),
            whole(week.n_mature),
            whole(week.n_frauds),
            "" if week.fraud_rate is None else percent(week.fraud_rate, 2),
        )
        for week in report.weeks
    ]
    columns = ("week of", "events", "mature", "frauds", "fraud rate")
    if weeks and (verbose or len(weeks) <= _WEEKS_SHOWN):
        parts.append(plain_table("Weeks", columns, weeks, right="events mature frauds"))
    elif weeks:
        parts.append(
            plain_table(f"The last {_WEEKS_SHOWN} weeks", columns, weeks[-_WEEKS_SHOWN:], right="events mature frauds")
        )
    if verbose:
        facts = [
            (item.name, item.dtype, item.role, whole(item.n_null), whole(item.n_unique)) for item in report.columns
        ]
        parts.append(plain_table("Columns", ("column", "type", "role", "nulls", "values"), facts, right="nulls values"))
    errors, warnings = counted(report.n_errors, "error"), counted(report.n_warnings, "warning")
    parts.append(f"{counted(report.n_events, 'event')}: {errors}, {warnings}")
    return parts


_WEEKS_SHOWN = 8


def _trees(summary: TrainingSummary) -> str:
    """Return the number of trees and models, and the share of legitimate rows they were fitted on, as text."""
    models, share = summary.models, summary.fit_negatives
    if summary.challenger is not None:
        return f"challenger {summary.challenger.name} ({summary.challenger.program})"
    many = f"{models} models of {summary.trees} trees, averaged" if models > 1 else f"{summary.trees} trees"
    return many if share == 1.0 else f"{many}, on {percent(share)} of the legitimate rows"


def _partner(partner: PartnerSummary, metric: str, timings: Mapping[str, float]) -> str:
    """Return whether a partner is used, what it gains on the folds, and what it cost."""
    used = f"LightGBM has {percent(partner.weight)} of the score" if partner.weight else "none, CatBoost scores alone"
    gain = "" if partner.gain is None else f", {metric} {partner.gain.words()}"
    cost = f"; it took {length(timings['partner'])} of {length(timings['training'])}" if "partner" in timings else ""
    return f"partner: {used} ({partner.reason}{gain}{cost})"


def _proved(summary: TrainingSummary) -> list[str]:
    """Return what was proved of a challenger's program."""
    challenger = summary.challenger
    if challenger is None:
        return []
    apart = [] if summary.as_of is None else ["scores do not change when earlier and later events are scored apart"]
    twice = {None: [], True: ["a second fit gave the same scores"], False: ["a second fit gave other scores"]}
    found = [*apart, *twice[challenger.repeated]]
    return [f"program: {'; '.join(found)} (on the latest fold)"] if found else []


def train_tables(result: TrainResult, *, timezone: str) -> list[RenderableType]:
    """Return how a model came about: what was known, the folds, the search, the calibration; days are local ones."""
    summary = result.summary
    train, metric = summary.train, summary.metric
    known = "random split" if summary.as_of is None else f"as of {_day(summary.as_of, timezone)}"
    lines = [
        (
            f"{known}: trained on {counted(train.rows, 'event')} with {counted(train.frauds, 'fraud')}, "
            f"{_period(train, timezone, by_chance='drawn by chance')}; {summary.features} features, {_trees(summary)}"
        ),
        *([] if summary.partner is None else [_partner(summary.partner, summary.metric, result.timings)]),
        *_proved(summary),
        f"calibration: {summary.calibration.method} ({summary.calibration.reason})",
    ]
    if result.audit is not None:
        lines.append(
            f"audit: {result.audit.events} events recomputed from what was known then, and the future of "
            f"{whole(result.audit.future_events)} altered: none of {result.audit.features} features differs"
            + _passed_over(result.audit.passed_over)
        )
    rows = [
        (
            str(fold.fold),
            _period(fold.valid, timezone, by_chance="at random"),
            whole(fold.train.rows),
            whole(fold.valid.rows),
            whole(fold.valid.frauds),
            "-" if summary.challenger is not None else str(fold.best_trees),
            figure(fold.figures.get(metric)),
        )
        for fold in summary.folds
    ]
    columns = ("fold", "validated on", "train rows", "valid rows", "frauds", "trees", metric)
    base = summary.savings_base
    noted = [] if base is None else [f"savings are measured against the {base}"]
    return [*lines, plain_table("Folds", columns, rows, right=" ".join(columns[2:])), *noted]


def _period(rows: RowCounts, timezone: str, *, by_chance: str) -> str:
    return by_chance if rows.from_time is None or rows.until is None else period(rows.from_time, rows.until, timezone)


def _day(moment: datetime, timezone: str) -> str:
    return moment.astimezone(ZoneInfo(timezone)).date().isoformat()


def evaluation_tables(evaluation: Evaluation) -> list[RenderableType]:
    """Return what an evaluation found: the events, the metrics with intervals, the actions, the gate."""
    excluded = asdict(evaluation.excluded)
    left_out = ", ".join(f"{whole(count)} {name.replace('_', ' ')}" for name, count in excluded.items() if count)
    judged = f"{counted(evaluation.rows, 'event')} with {counted(evaluation.frauds, 'fraud')}"
    head = f"{evaluation.model}: {judged}, {evaluation.when}"
    parts: list[RenderableType] = [head + (f"; left out: {left_out}" if left_out else "")]
    rows = [(name, *_metric_cells(item)) for name, item in evaluation.metrics.items()]
    parts.append(plain_table("Metrics", ("metric", "value", percent(evaluation.confidence)), rows, right="value"))
    parts += _base_line(evaluation.metrics["savings"], evaluation.money.currency)
    actions = [
        (name, whole(item.events), whole(item.frauds), whole(item.cost)) for name, item in evaluation.by_action.items()
    ]
    cost = f"cost {evaluation.money.currency}".strip()
    parts.append(plain_table("Actions", ("action", "events", "frauds", cost), actions, right="events frauds"))
    gate = evaluation.gate
    checked = [(rule.verdict, rule.name, rule.reason) for rule in gate.rules]
    if checked:
        parts.append(plain_table("Gate", ("verdict", "rule", "why"), checked))
    parts += [f"warning: {text}" for text in (*evaluation.warnings, *gate.warnings)]
    shifts = () if evaluation.champion is None else evaluation.champion.cost_sensitivity
    changed = [item for item in shifts if item.changes]
    if changed:
        costs = ", ".join(f"{item.cost} × {number(item.factor)}" for item in changed)
        parts.append(f"with other costs the other model would save more: {costs}")
    parts.append(f"gate: {gate.verdict}" + (f" - {gate.reason}" if gate.reason else ""))
    return parts


def gate_text(evaluation: Evaluation, form: str) -> str:
    """Return the verdict of a gate as ``junit``, ``github`` or ``markdown``."""
    from fraudctl.report import gate_formats

    forms = {"junit": gate_formats.junit, "github": gate_formats.github, "markdown": gate_formats.markdown}
    return forms[form](evaluation)


def audit_tables(result: AuditResult) -> list[RenderableType]:
    """Return what an audit found."""
    parts: list[RenderableType] = []
    differences = [
        (item.feature, item.check, f"{whole(item.n_differing)} of {whole(item.n_checked)}", figure(item.largest))
        for item in result.differences
    ]
    if differences:
        columns = ("feature", "check", "events", "largest")
        parts.append(plain_table("Differences", columns, differences, right="events largest"))
    suspects = [(item.column, item.check, figure(item.value), item.words) for item in result.suspects]
    if suspects:
        parts.append(plain_table("Suspects", ("column", "check", "value", "what"), suspects, right="value"))
    told = (
        f"{counted(result.n_features, 'feature')} of {counted(result.n_events, 'event')} recomputed from what was known"
    )
    told += (
        f", and rebuilt with another future from the latest {counted(result.n_future, 'event')}"
        if result.n_future
        else ""
    )
    told += _passed_over(result.n_passed_over)
    parts.append(f"{told}: {'nothing differs' if result.passed else 'differences or suspects found'}")
    return parts


def _passed_over(n_values: int) -> str:
    return f" ({counted(n_values, 'value')} passed over: too many earlier events to read)" if n_values else ""


def models_table(result: ModelsResult) -> RenderableType:
    """List the versions of a project."""
    rows = [
        (
            item.version,
            "random split" if item.as_of is None else item.as_of.isoformat()[:10],
            item.policy,
            _gate_of(item),
            item.parent or "",
            ", ".join(name for name in ("champion", "latest") if getattr(item, name)),
        )
        for item in result.models
    ]
    return plain_table(None, ("version", "as of", "policy", "gate", "parent", ""), rows)


def verified_table(result: PapersResult) -> RenderableType:
    """List what was verified."""
    rows = [(item.name, item.kind, item.found, item.reason or "") for item in result.items]
    return plain_table(f"{counted(result.entries, 'line')} in the log", ("file", "kind", "found", "why"), rows)


def _gate_of(item: ModelEntry) -> str:
    """Describe a model's latest gate: verdict, what was chosen by hand, and an outdated base of savings."""
    from fraudctl.costs import BASE_RULE

    if item.gate is None:
        return ""
    notes = [] if item.gate_counts else ["by hand"]
    notes += [] if item.savings_base == BASE_RULE else [f"savings against the {item.savings_base}"]
    return f"{item.gate} ({'; '.join(notes)})" if notes else item.gate


def comparison_tables(result: Comparison) -> list[RenderableType]:
    """Return how two models differ on the same events."""
    rows = []
    for name, difference in result.differences.items():
        low, high = difference.low, difference.high
        interval = "" if low is None or high is None else f"{figure(low)} to {figure(high)}"
        values = (
            figure(metrics[name].value) if name in metrics else "" for metrics in (result.metrics.a, result.metrics.b)
        )
        rows.append((name, *values, figure(difference.value), interval))
    judged = f"{counted(result.events, 'event')} with {counted(result.frauds, 'fraud')}"
    head = f"A = {result.a}, B = {result.b}: {judged}, {result.when}; same action on {whole(result.agreed)}"
    columns = ("metric", "A", "B", "A - B", percent(result.confidence))
    where = [
        (
            item.action_a,
            item.action_b,
            whole(item.events),
            whole(item.frauds),
            whole(item.cost_a),
            whole(item.cost_b),
        )
        for item in result.disagreements
    ]
    names = ("A does", "B does", "events", "frauds", f"cost A {result.currency}", f"cost B {result.currency}")
    return [
        head,
        plain_table("Metrics", columns, rows, right="A B"),
        *_base_line(result.metrics.a["savings"], result.currency),
        *([plain_table("Where they disagree", names, where, right="events frauds")] if where else []),
    ]


def demo_tables(result: DemoResult) -> list[RenderableType]:
    """Return what the demo found: the verdict in a sentence, the figures, where to look."""
    from fraudctl.report.gate_formats import sentence

    evaluation = result.evaluation.evaluation
    shown = ("savings", "recall", "value_recall", "precision", "false_positive_rate", "average_precision")
    rows = [(name, *_metric_cells(evaluation.metrics[name])) for name in shown]
    title = f"{counted(evaluation.rows, 'event')} of the test period, {whole(evaluation.frauds)} of them fraud"
    columns = ("metric", "value", percent(evaluation.confidence))
    return [
        sentence(evaluation.gate),
        plain_table(title, columns, rows, right="value"),
        *_base_line(evaluation.metrics["savings"], evaluation.money.currency),
        f"model:       {result.train.path}",
        f"evaluation:  {result.evaluation.report}",
        f"explanation: {result.explanation.report}",
    ]


def _base_line(savings: Estimate, currency: str) -> Iterator[str]:
    """Name the constant action that savings are measured against."""
    if savings.base is not None:
        yield f"savings are measured against {savings.base.words}: {whole(savings.base.cost)} {currency}".rstrip()


def _metric_cells(item: Estimate) -> tuple[str, str]:
    if item.low is None or item.high is None:
        return figure(item.value), item.reason or ""
    return figure(item.value), f"{figure(item.low)} to {figure(item.high)}"
