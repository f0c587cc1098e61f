"""The plain words of features: what one means, which instants it takes in, when it is null."""

from __future__ import annotations

from fraudctl.features.meaning.specs import (
    HourSpec,
    LabelSpec,
    LinkSpec,
    LookupSpec,
    PairSpec,
    RatioSpec,
    RawSpec,
    RecencySpec,
    RowSpec,
    SourceWindowSpec,
    Spec,
    WindowSpec,
)

_UNITS = ((86_400_000_000, "day"), (3_600_000_000, "hour"), (60_000_000, "minute"), (1_000_000, "second"))

_WINDOW = {
    "count": "number of earlier events of the {entity}",
    "nunique": "number of different values of {column} among earlier events of the {entity}",
    "sum": "sum of {column} over earlier events of the {entity}",
    "mean": "mean {column} of earlier events of the {entity}",
    "std": "standard deviation of {column} over earlier events of the {entity}",
    "min": "smallest {column} among earlier events of the {entity}",
    "max": "largest {column} among earlier events of the {entity}",
    "median": "median {column} of earlier events of the {entity}",
    "mad": "median distance of {column} from its median over earlier events of the {entity}",
}
_LABELS = {
    "known_count": "number of outcomes of the {entity} that became known in the last {last}",
    "fraud_count": "number of frauds of the {entity} that became known in the last {last}",
    "fraud_rate": "share of frauds among outcomes of the {entity} that became known in the last {last}",
    "smoothed_rate": "share of frauds (drawn to the overall rate) in the outcomes of the {entity} of the last {last}",
    "seconds_since_first_fraud": "seconds since the earliest fraud of the {entity} known in the last {last}",
    "seconds_since_last_fraud": "seconds since the latest fraud of the {entity} known in the last {last}",
}
_RECENCY = {
    "seconds_since_last": "seconds since the last earlier event of the {entity}",
    "seconds_since_first": "seconds since the first event of the {entity}",
    "seconds_since_last_known_fraud": "seconds since the latest fraud of the {entity} that was known by then",
    "seconds_since_fraud_run_began": "seconds since the latest run of known frauds of the {entity} began",
}
_PAIRS = {
    "first_time": "whether the {first} meets the {second} for the first time",
    "count": "number of earlier events of the {first} with the same {second}",
    "seconds_since_last": "seconds since the last earlier event of the {first} with the same {second}",
}
_LINKS = {
    "component_size": "number of {first}s linked with this one by shared {second}s, itself included",
    "component_age_seconds": "seconds since the first event of the {first}s linked with this one by shared {second}s",
    "component_fraud_rate": "share of frauds among known outcomes of other {first}s linked by shared {second}s",
    "degree": "number of {first}s seen before with the same {second}",
}
_HOURS = {
    "hour_distance": "hours between the time of day and the usual one of the {entity}",
    "hour_concentration": "how much the {entity} kept to one time of day, from 0 to 1,",
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


def _last(us: int) -> str:
    """Say a length of time after "the last": "day" rather than "1 day"."""
    return span(us).removeprefix("1 ")


def meaning(name: str, spec: Spec) -> str:
    """Say what a feature means."""
    if isinstance(spec, WindowSpec):
        text = _WINDOW[spec.kind].format(entity=spec.entity, column=spec.column)
        where = "" if spec.where is None else f", only those with {spec.where.text}"
        current = ", this event included" if spec.include_current else ""
        return f"{text} in the last {_last(spec.window_us)}{where}{current}"
    if isinstance(spec, SourceWindowSpec):
        text = _WINDOW[spec.kind].format(entity=spec.entity, column=spec.column).replace("earlier events", spec.source)
        where = "" if spec.where is None else f", only those with {spec.where.text}"
        return f"{text} in the last {_last(spec.window_us)}{where}"
    if isinstance(spec, LookupSpec):
        return f"{spec.column.replace('_', ' ')} of the {spec.entity} in {spec.source}, as known at the time"
    if isinstance(spec, LabelSpec):
        return _LABELS[spec.kind].format(entity=spec.entity, last=_last(spec.window_us))
    if isinstance(spec, RecencySpec):
        return _RECENCY[spec.kind].format(entity=spec.entity)
    if isinstance(spec, PairSpec):
        return _PAIRS[spec.kind].format(first=spec.entities[0], second=spec.entities[1])
    if isinstance(spec, LinkSpec):
        return _LINKS[spec.kind].format(first=spec.entities[0], second=spec.entities[1])
    if isinstance(spec, HourSpec):
        return f"{_HOURS[spec.kind].format(entity=spec.entity)} over the last {_last(spec.window_us)}"
    if isinstance(spec, RowSpec):
        return f"{name.replace('_', ' ')} ({spec.expr.text})"
    return name.replace("_", " ")


def trend(short: WindowSpec, long: WindowSpec) -> str:
    """Say what a trend means."""
    text = _WINDOW[short.kind].format(entity=short.entity, column=short.column)
    per_time = " per unit of time" if short.kind in {"count", "sum"} else ""
    return f"{text} in the last {_last(short.window_us)} against the last {_last(long.window_us)}{per_time}"


def interval(spec: Spec) -> str:
    """Say which instants a feature takes in, t being the event's time."""
    if isinstance(spec, WindowSpec):
        own = " and the event itself" if spec.include_current else ""
        return f"event_time in (t - {span(spec.window_us)}, t){own}"
    if isinstance(spec, HourSpec):
        return f"event_time in (t - {span(spec.window_us)}, t)"
    if isinstance(spec, SourceWindowSpec):
        return f"{spec.source} known in (t - {span(spec.window_us)}, t)"
    if isinstance(spec, LookupSpec):
        age = "" if spec.max_age_us is None else f", valid since at most {span(spec.max_age_us)}"
        return f"{spec.source} known before t{age}"
    if isinstance(spec, LabelSpec):
        return f"label_time in (t - {span(spec.window_us)}, t] of events before t"
    if isinstance(spec, RecencySpec):
        return "event_time < t" + (", label_time <= t" if "fraud" in spec.kind else "")
    if isinstance(spec, (PairSpec, LinkSpec)):
        return "event_time < t" + (", label_time <= t" if "fraud" in spec.kind else "")
    return "that of the features it uses" if isinstance(spec, RatioSpec) else "the event itself"


_NEVER = "never null; 0 where nothing is in the window"
_WINDOW_NULLS = {
    **dict.fromkeys(("count", "nunique", "known_count", "fraud_count"), _NEVER),
    "std": "null below two values in the window",
    "fraud_rate": "null where no outcome is in the window",
    "smoothed_rate": "the overall rate where no outcome is in the window; null before any outcome is known",
    "seconds_since_first_fraud": "null where no known fraud is in the window",
    "seconds_since_last_fraud": "null where no known fraud is in the window",
}


_LINK_NULLS = {
    "component_size": "null where the {first} is null",
    "component_age_seconds": "null where neither the {first} nor anything linked with it was seen before",
    "component_fraud_rate": "null where no outcome of another linked {first} is known",
    "degree": "null where the {second} is null",
}


def nulls(spec: Spec) -> str:
    """Say when a feature is null."""
    if isinstance(spec, (WindowSpec, LabelSpec, SourceWindowSpec)):
        return _WINDOW_NULLS.get(spec.kind, "null where no value is in the window")
    if isinstance(spec, HourSpec):
        return "null where no event is in the window" + (
            " or its hours cancel out" if spec.kind == "hour_distance" else ""
        )
    if isinstance(spec, (RecencySpec, LookupSpec)):
        return "null where there is none"
    if isinstance(spec, PairSpec):
        none = "; null where there is none" if spec.kind == "seconds_since_last" else ""
        return f"null where either of the two is null{none}"
    if isinstance(spec, LinkSpec):
        return _LINK_NULLS[spec.kind].format(first=spec.entities[0], second=spec.entities[1])
    if isinstance(spec, RatioSpec):
        return "null where either window is null or the long one is 0"
    return "null where the data is" if isinstance(spec, RawSpec) else "null where the expression is null or not finite"
