"""The plain words of features: what one means, which instants it takes in, when it is null."""

from __future__ import annotations

from fraudctl.features.specs import LabelSpec, RawSpec, RecencySpec, RowSpec, Spec, WindowSpec

_UNITS = ((86_400_000_000, "day"), (3_600_000_000, "hour"), (60_000_000, "minute"), (1_000_000, "second"))

_WINDOW = {
    "count": "number of earlier events of the {entity}",
    "nunique": "number of different values of {column} among earlier events of the {entity}",
    "sum": "sum of {column} over earlier events of the {entity}",
    "mean": "mean {column} of earlier events of the {entity}",
    "std": "standard deviation of {column} over earlier events of the {entity}",
    "min": "smallest {column} among earlier events of the {entity}",
    "max": "largest {column} among earlier events of the {entity}",
}
_LABELS = {
    "known_count": "number of outcomes of the {entity} that became known",
    "fraud_count": "number of frauds of the {entity} that became known",
    "fraud_rate": "share of frauds among the outcomes of the {entity} that became known",
}
_RECENCY = {
    "seconds_since_last": "seconds since the last earlier event of the {entity}",
    "seconds_since_first": "seconds since the first event of the {entity}",
    "seconds_since_last_known_fraud": "seconds since the latest fraud of the {entity} that was known by then",
}


def span(us: int) -> str:
    """Say a length of time.

    >>> span(7 * 86_400_000_000), span(3_600_000_000)
    ('7 days', '1 hour')
    """
    for unit, name in _UNITS:
        if us % unit == 0:
            return f"{us // unit} {name}" + ("" if us == unit else "s")
    return f"{us / 1_000_000:g} seconds"


def meaning(name: str, spec: Spec) -> str:
    """Say what a feature means."""
    if isinstance(spec, WindowSpec):
        text = _WINDOW[spec.kind].format(entity=spec.entity, column=spec.column)
        where = "" if spec.where is None else f", only those with {spec.where.text}"
        current = ", this event included" if spec.include_current else ""
        return f"{text} in the last {span(spec.window_us)}{where}{current}"
    if isinstance(spec, LabelSpec):
        return f"{_LABELS[spec.kind].format(entity=spec.entity)} in the last {span(spec.window_us)}"
    if isinstance(spec, RecencySpec):
        return _RECENCY[spec.kind].format(entity=spec.entity)
    if isinstance(spec, RowSpec):
        return f"{name.replace('_', ' ')} ({spec.expr.text})"
    return name.replace("_", " ")


def interval(spec: Spec) -> str:
    """Say which instants a feature takes in, t being the event's time."""
    if isinstance(spec, WindowSpec):
        own = " and the event itself" if spec.include_current else ""
        return f"event_time in (t - {span(spec.window_us)}, t){own}"
    if isinstance(spec, LabelSpec):
        return f"label_time in (t - {span(spec.window_us)}, t] of events before t"
    if isinstance(spec, RecencySpec):
        known = ", label_time <= t" if "fraud" in spec.kind else ""
        return f"event_time < t{known}"
    return "the event itself"


def nulls(spec: Spec) -> str:
    """Say when a feature is null."""
    if isinstance(spec, (WindowSpec, LabelSpec)):
        if spec.kind in {"count", "nunique", "known_count", "fraud_count"}:
            return "never null; 0 where nothing is in the window"
        if spec.kind == "std":
            return "null below two values in the window"
        if spec.kind == "fraud_rate":
            return "null where no outcome is in the window"
        return "null where no value is in the window"
    if isinstance(spec, RecencySpec):
        return "null where there is none"
    if isinstance(spec, RawSpec):
        return "null where the data is"
    return "null where the expression is null or not finite"
