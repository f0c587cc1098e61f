"""A proposal as the text of a commented ``fraudctl.toml``.

Owns the words and the layout of the file. Every section has its say; what a team has to decide by itself stands there
as a comment with a sensible value.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping

from fraudctl.project.labels import LabelTableSection, VerdictSection
from fraudctl.project.reading import CsvSection, EventId, ReadingSection, TimeSection
from fraudctl.project.toml import key, quoted
from fraudctl.propose.extras import Extra
from fraudctl.propose.label_tables import LabelTable, ProposedLabels
from fraudctl.propose.plan import FeaturePlan, Group
from fraudctl.propose.proposal import Clock, Proposal
from fraudctl.propose.reading import Look
from fraudctl.propose.roles import Choice, Entity
from fraudctl.text.plain import visible

_WIDTH = 118
_HEAD = """Proposed by `fraudctl init` from the data; every line is yours to change. `fraudctl schema` gives all keys
with their meaning, `fraudctl check` looks for trouble in the data, `fraudctl train` and `fraudctl evaluate` do the
rest."""
_FEATURES = """A window holds what came strictly before the event; a label counts from when it arrived. Only the columns
listed in `raw` enter the model as they are."""
_LABELS = """Labels are in tables of their own: an event may have several entries, and the latest one that was known
at an instant counts then. Without an entry an event is legitimate once it is as old as label_delay (legit_after),
unless it was declined."""
_SOURCES = """Tables beside the events, used as of each event. Where a row becomes known later than it happened, name
the column with that time as `known_time`."""
_COLUMNS = """Row by row, in Polars SQL over data columns and other features; the same text runs in batch and for one
event."""
_PRIOR = "prior_strength = 5  # smoothed_rate starts from so many outcomes at the overall rate known by then"
_EXTRAS = """More that fraud teams use, active where later periods say that it pays. Take the signs of comment away to
have it; the features of an entity need its line in [entities], too."""
_SPLIT = """Training knows nothing after as_of, and the test period starts there. The defaults: as_of = the end of the
data less label_delay less test; test = a fifth of the mature data, at most 30 days; train = all before."""
_RANDOM = """The data have no time, so the test is drawn by chance: what is found says nothing about the future, and
every report says so. Write a time of the event into the table if there is one."""
_COSTS = """Money lost by each decision: fixed + rate × amount; a cell left out is 0. These numbers are examples: ask
finance for the chargeback fee and the share of fraud that is never recovered, operations for the price of a review, and
product for what a wrongly blocked customer costs. `at_least = 0` keeps a refund, whose amount is negative, from turning
a cost into a gain. The policy, savings and the gate hang on these numbers."""
_GATE = """What a model must show before it may ship; `fraudctl evaluate` exits 1 where it does not. Rules compare the
low (at_least) or high (at_most) end of the interval. Take the lines in, with floors a little below today's model."""


def render_project(proposal: Proposal) -> str:
    """Write a proposal as the text of a project file."""
    blocks = [
        _head(proposal), _data(proposal), *_labels(proposal.labels), _entities(proposal), *_sources(proposal),
        *_features(proposal.plan, proposal.rest.unused, proposal.n_features), *_extras(proposal.extras),
        _split(proposal), _train(), _costs(proposal), _policy(proposal.clock), _rules(proposal),
        _evaluate(proposal), _gate(),
    ]  # fmt: skip
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _list(items: Iterable[str]) -> str:
    return "[" + ", ".join(quoted(item) for item in items) + "]"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        visible(text.replace("\n", " ")), _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False
    )


def _with_reason(line: str, reason: str) -> list[str]:
    """Put a reason behind a line, or above it where it would be too long."""
    both = f"{line}  # {visible(reason)}"
    return [both] if len(both) <= _WIDTH else [*_comment(reason), line]


def _head(proposal: Proposal) -> list[str]:
    clock = proposal.clock
    when = "" if clock is None else f" from {clock.first:%Y-%m-%d} to {clock.last:%Y-%m-%d}"
    facts = (
        f"{proposal.n_events:,} events{when}, "
        f"{proposal.n_labelled:,} with an outcome, {proposal.n_frauds:,} of them fraud."
    )
    lines = [*_comment(_HEAD), *_comment(facts)]
    for note in proposal.notes:
        lines += _comment(f"NOTE: {note}.")
    return [*lines, "", "[project]", f"name = {quoted(proposal.name)}"]


def _data(proposal: Proposal) -> list[str]:
    events = quoted(proposal.events[0]) if len(proposal.events) == 1 else _list(proposal.events)
    lines = ["[data]", f"events = {events}  # file, glob or folder, relative to this file"]
    roles: list[tuple[str, Choice | None]] = [
        ("event_id", proposal.event_id), ("event_time", proposal.event_time), ("amount", proposal.amount),
        ("label", proposal.label), ("label_time", proposal.label_time),
    ]  # fmt: skip
    for role, choice in roles:
        if choice is not None:
            lines += _with_reason(f"{role} = {_column(choice)}", choice.reason)
    lines += _reading_keys(proposal.reading)
    lines += _clock(proposal.clock)
    if proposal.rest.ignored:
        lines += [
            "# Known only after the outcome, or without meaning: never a feature. To use a column all the same, move",
            "# it from here to [features] raw, and to categorical where it is text.",
            "ignore = [",
        ]
        for reason, names in _by_reason(proposal.rest.ignored):
            lines += [f"  {line}" for line in _ignored(names, reason)]
        lines.append("]")
    if proposal.label_values:
        lines += ["", "[data.label_values]  # 1 fraud, 0 legitimate; unknown is never counted as legitimate"]
        shown = {None: '"unknown"', 0: "0", 1: "1"}
        lines += [f"{key(text)} = {shown[value]}" for text, value in proposal.label_values.items()]
    return [*lines, *_reading_tables(proposal.reading)]


def _by_reason(choices: Iterable[Choice]) -> list[tuple[str, list[str]]]:
    """Return columns by their reason, each reason once."""
    found: dict[str, list[str]] = {}
    for choice in choices:
        found.setdefault(choice.reason, []).append(choice.column)
    return list(found.items())


def _ignored(names: list[str], reason: str) -> list[str]:
    if len(names) == 1:
        return _with_reason(f"{quoted(names[0])},", reason)
    listed = textwrap.wrap(", ".join(map(quoted, names)) + ",", _WIDTH, break_long_words=False, break_on_hyphens=False)
    safe = all(" " not in name for name in names)
    return [*_comment(f"{len(names)} columns: {reason}"), *(listed if safe else [f"{quoted(name)}," for name in names])]


def _column(choice: Choice) -> str:
    made = isinstance(choice.column, EventId) and choice.column.row_number
    return "{ row_number = true }" if made else quoted(choice.column)


def _reading_keys(look: Look | None) -> list[str]:
    """Give the keys that say which values are missing, and what becomes of rows without a time."""
    if look is None:
        return []
    untimed = _with_reason('untimed = "leave out"', f"{look.n_untimed:,} of the rows have no time of the event")
    out = untimed if look.n_untimed else []
    if look.section.missing:
        out += _with_reason(f"missing = {_words(look.section.missing)}", look.reasons.get("missing", "read as null"))
    if look.section.missing_in:
        out += _with_reason(_missing_in(look.section), 'dates that stand for "never" or "unknown" are read as null')
    return out


def _words(values: Iterable[str | int | float]) -> str:
    return "[" + ", ".join(quoted(value) if isinstance(value, str) else str(value) for value in values) + "]"


def _missing_in(section: ReadingSection | LabelTableSection) -> str:
    pairs = ", ".join(f"{key(name)} = {_words(values)}" for name, values in section.missing_in.items())
    return f"missing_in = {{ {pairs} }}"


def _reading_tables(look: Look | None) -> list[str]:
    """Give the tables that say how files are written."""
    if look is None:
        return []
    section, lines = look.section, []
    if "csv" in look.reasons:
        lines += ["", f"[data.csv]  # {look.reasons['csv']}", f"separator = {quoted(section.csv.separator or ',')}"]
        lines.append(f"encoding = {quoted(section.csv.encoding)}")
    if section.time is not None:
        lines += [
            "",
            "[data.time]",
            *_with_reason(_time(section.time)[0], look.reasons["time"]),
            *_time(section.time)[1:],
        ]
    for name, form in section.times.items():
        lines += ["", f"[data.times.{key(name)}]", *_time(form)]
    for name, number in section.numbers.columns.items():
        if not lines or "[data.numbers.columns]" not in lines:
            lines += ["", "[data.numbers.columns]"]
        pairs = {item: value for item, value in number.model_dump().items() if value not in ("", False)}
        told = ", ".join(
            f"{item} = {quoted(value) if isinstance(value, str) else 'true'}" for item, value in pairs.items()
        )
        lines.append(f"{key(name)} = {{ {told} }}")
    if section.types:
        lines += ["", "[data.types]", *(f"{key(name)} = {quoted(kind)}" for name, kind in section.types.items())]
    return lines


def _labels(labels: ProposedLabels | None) -> Iterator[list[str]]:
    """Give ``[labels]`` and its tables."""
    if labels is None:
        return
    lines = [
        *_comment(_LABELS),
        "[labels]",
        *_with_reason(f"legit_after = {quoted(labels.silence.column)}", labels.silence.reason),
    ]
    if labels.declined is not None:
        section, reason = labels.declined
        values = ", ".join(quoted(v) if isinstance(v, str) else str(v).lower() for v in section.values)
        lines += _with_reason(f"declined = {{ column = {quoted(section.column)}, values = [{values}] }}", reason)
    yield lines
    for table in labels.tables:
        yield _label_table(table)


def _label_table(table: LabelTable) -> list[str]:
    section, place = table.section, f"labels.{key(table.name)}"
    events = quoted(section.events) if isinstance(section.events, str) else _list(section.events)
    if isinstance(section.label, VerdictSection):
        told = {None: '"unknown"', 0: "0", 1: "1"}
        values = ", ".join(f"{key(text)} = {told[value]}" for text, value in section.label.values.items())
        said = f"column = {quoted(section.label.column)}" + (f", values = {{ {values} }}" if values else "")
        label = f"label = {{ {said} }}"
    else:
        label = f"label = {section.label}"
    lines = [
        f"[{place}]",
        f"events = {events}",
        *_with_reason(f"event_id = {quoted(table.event_id.column)}", table.event_id.reason),
        *_with_reason(f"time = {quoted(table.time.column)}", table.time.reason),
        *_with_reason(label, table.label.reason),
    ]
    if section.missing:
        lines.append(f"missing = {_words(section.missing)}")
    if section.missing_in:
        lines.append(_missing_in(section))
    if section.csv != CsvSection():
        separator, encoding = quoted(section.csv.separator or ","), quoted(section.csv.encoding)
        lines.append(f"csv = {{ separator = {separator}, encoding = {encoding} }}")
    for name, form in section.times.items():
        lines += ["", f"[{place}.times.{key(name)}]", *_time(form)]
    return lines


def _time(form: TimeSection) -> list[str]:
    out = [f"columns = {_list(form.columns)}"] if form.columns else []
    if len(form.formats) == 1:
        out.append(f"format = {quoted(form.formats[0])}")
    elif form.formats:
        out.append(f"format = {_list(form.formats)}  # tried in order")
    if form.unit is not None:
        out.append(f"unit = {quoted(form.unit)}")
    for name in ("origin", "invented_origin"):
        value = getattr(form, name)
        if value is not None:
            out.append(f"{name} = {value.isoformat()}")
    return out


def _clock(clock: Clock | None) -> list[str]:
    if clock is None:
        return []
    return [
        "# The maturity horizon: an event counts, as fraud or as legitimate, once it is this old.",
        *_with_reason(f"label_delay = {quoted(str(clock.delay.duration))}", clock.delay.reason),
        *_with_reason(f"timezone = {quoted(clock.timezone.column)}", clock.timezone.reason),
    ]


def _entities(proposal: Proposal) -> list[str]:
    lines = ["[entities]  # who has a history; their ids enter the model themselves only where raw names them"]
    if not proposal.entities:
        lines.append('# card = "card_id"')
    for item in proposal.entities:
        lines += _with_reason(f"{key(item.name)} = {_ids(item)}", item.reason)
    for extra in proposal.extras:
        if extra.entity is not None:
            line = f"{key(extra.entity.name)} = {_ids(extra.entity)}"
            lines += _with_reason(line if extra.active else f"# {line}", extra.entity.reason)
    return lines


def _ids(entity: Entity) -> str:
    if entity.sql:
        return f"{{ sql = {quoted(entity.sql)} }}"
    return f"{{ columns = {_list(entity.parts)} }}" if entity.parts else quoted(entity.column)


def _sources(proposal: Proposal) -> Iterator[list[str]]:
    for i, source in enumerate(proposal.sources):
        events = quoted(source.events[0]) if len(source.events) == 1 else _list(source.events)
        pairs = ", ".join(f"{key(entity)} = {quoted(column)}" for entity, column in source.entities.items())
        yield [
            *(_comment(_SOURCES) if i == 0 else []),
            f"[sources.{key(source.name)}]",
            f"events = {events}",
            *_with_reason(f"event_time = {quoted(source.event_time.column)}", source.event_time.reason),
            f"entities = {{ {pairs} }}",
            *([f"[sources.{key(source.name)}.types]"] if source.texts_of_times else []),
            *(f'{key(name)} = "time"' for name in source.texts_of_times),
        ]


def _features(plan: FeaturePlan, unused: tuple[Choice, ...], n_features: int) -> Iterator[list[str]]:
    lines = [
        *_comment(f"{n_features} features. {_FEATURES}"),
        "[features]",
        f"raw = {_list(plan.raw)}",
        f"categorical = {_list(plan.categorical)}",
    ]
    for reason, names in _by_reason(unused):
        lines += _comment(f"not used: {', '.join(names)}: {reason}")
    if unused:
        lines += _comment(
            "A column that is not used becomes a feature where it is added to raw (text: categorical, too)."
        )
    yield lines
    if plan.columns:
        yield [
            *_comment(_COLUMNS),
            "[features.columns]",
            *(f"{key(item.name)} = {quoted(item.sql)}" for item in plan.columns),
        ]
        yield [
            "[features.words]  # what reports and reasons call them",
            *(f"{key(item.name)} = {quoted(item.words)}" for item in plan.columns),
            *(f"{key(name)} = {quoted(words)}" for name, words in plan.words),
        ]
    yield from _groups("window", plan.window, "The past of each entity: how often, how much, with whom.")
    yield from _groups("labels", plan.labels, "Outcomes that were known by the time of the event.", _PRIOR)
    yield from _groups("recency", plan.recency, "Seconds since an entity was last seen, first seen, known for fraud.")
    yield from _groups("hours", plan.hours, "Hours between this event and the entity's usual time of the day.")
    for i, pair in enumerate(plan.pairs):
        words = _comment("Whether two parties meet for the first time.") if i == 0 else []
        yield [*words, "[[features.pairs]]", f"of = {_list(pair)}"]


def _extras(extras: tuple[Extra, ...]) -> Iterator[list[str]]:
    """Give further features: as they are where they pay, else as comments with the reason."""
    for i, item in enumerate(extras):
        head = _comment(_EXTRAS) if i == 0 else []
        about = _comment(f"{item.words[0].upper()}{item.words[1:]}: {item.reason}.")
        yield [*head, *about, *(item.lines if item.active else [f"# {line}" for line in item.lines])]


def _groups(kind: str, groups: tuple[Group, ...], words: str, *more: str) -> Iterator[list[str]]:
    for i, group in enumerate(groups):
        lines = [*(_comment(words) if i == 0 else []), f"[[features.{kind}]]"]
        if group.source is not None:
            lines.append(f"source = {quoted(group.source)}")
        lines.append(f"by = {_list(group.by)}")
        if group.windows:
            lines.append(f"windows = {_list(group.windows)}")
        lines.append(f"aggregates = {_list(group.aggregates)}")
        yield [*lines, *(more if "smoothed_rate" in group.aggregates else ())]


def _split(proposal: Proposal) -> list[str]:
    if proposal.clock is None:
        return [
            *_comment(_RANDOM),
            "[split]",
            'kind = "random"',
            "# test_share = 0.2",
            f"folds = {proposal.folds}  # parts of the rest that settings, calibration and policy are chosen on",
        ]
    return [
        *_comment(_SPLIT),
        "[split]",
        '# as_of = "2026-06-01"',
        '# test = "30d"' if proposal.test is None else f"test = {quoted(proposal.test)}  # {proposal.test_reason}",
        '# train = "180d"',
        f"folds = {proposal.folds}  # periods before as_of that settings, calibration and policy are chosen on",
    ]


def _train() -> list[str]:
    return [
        "[train]",
        "trials = 30  # settings tried; 0 keeps the defaults",
        'metric = "average_precision"  # or "savings", or "recall_at_fpr(0.01)"',
    ]


def _costs(proposal: Proposal) -> list[str]:
    lines = [
        *_comment(_COSTS),
        "[costs]",
        'currency = "EUR"',
        "",
        "[costs.actions]",
    ]
    if proposal.costs:
        return [*lines, *_cost_columns(proposal.costs)]
    if proposal.amount is None:
        return [*lines, "allow.fraud = { fixed = 100 }", "review.fraud = { fixed = 4 }", "review.legit = { fixed = 4 }",
                "block.legit = { fixed = 15 }"]  # fmt: skip
    return [
        *lines,
        "allow.fraud = { fixed = 15, rate = 1.0, at_least = 0 }  # the amount and a chargeback fee",
        "review.fraud = { fixed = 4 }  # an analyst's time",
        "review.legit = { fixed = 4, rate = 0.002, at_least = 0 }  # and a customer who waits",
        "block.legit = { fixed = 8, rate = 0.15, at_least = 0 }  # insult and lost margin",
    ]


def _cost_columns(costs: Mapping[str, Choice]) -> list[str]:
    """Give the cells that columns hold, a plain figure where one of the two that matter is missing, and review."""
    cells = {"allow.fraud": "{ fixed = 100 }", "block.legit": "{ fixed = 15 }"}
    cells |= {cell: f"{{ column = {quoted(item.column)} }}" for cell, item in costs.items()}
    review = ["# review.fraud = { fixed = 4 }  # an analyst's time, in the currency of these columns",
              "# review.legit = { fixed = 4 }"]  # fmt: skip
    return [*(f"{cell} = {text}" for cell, text in sorted(cells.items())), *review]


def _policy(clock: Clock | None) -> list[str]:
    return [
        "[policy]",
        'kind = "expected_cost"  # the cheapest action for each event; or "thresholds"',
        *([] if clock is None else ['# capacity = { review = "200 per day" }']),
        "# constraints = { false_positive_rate = { at_most = 0.02 } }",
    ]


def _rules(proposal: Proposal) -> list[str]:
    if proposal.amount is None:
        return []
    return [
        "# Rules beside the model; the harsher of rule and model wins.",
        "# [[rules]]",
        '# when = "amount > 5000"',
        '# action = "review"',
    ]


def _evaluate(proposal: Proposal) -> list[str]:
    entity = proposal.entities[0].name if proposal.entities else None
    if entity is None or proposal.clock is None:
        return []
    return [
        "[evaluate]",
        "# Leaves out, and counts, the events of an id whose fraud was known by the day before.",
        f"# block_known = {{ entity = {quoted(entity)} }}",
    ]


def _gate() -> list[str]:
    return [
        *_comment(_GATE),
        "# [gate]",
        "# savings = { at_least = 0.30 }",
        "# recall = { at_least = 0.40 }",
        "# false_positive_rate = { at_most = 0.02 }",
        '# champion = { metric = "savings", no_worse_than = 0.02 }',
        "# confidence = 0.90",
    ]
