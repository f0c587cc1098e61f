"""The rules of a gate as a value: their form in the registry, and where one set of rules is weaker than another."""

from __future__ import annotations

from collections.abc import Iterator

from fraudctl.documents.types import JsonObject
from fraudctl.project.decisions import LimitSection
from fraudctl.project.evaluation import GateSection, SegmentRuleSection


def gate_document(rules: GateSection) -> JsonObject:
    """Return the rules as JSON, in the form that ``[gate]`` has in the project file; what is null is left out."""
    document = rules.model_dump(mode="json", exclude_none=True)
    return {**document.pop("metrics"), **document}


def weaker(now: GateSection | None, before: GateSection | None) -> list[str]:
    """Return in what rules are weaker than those before, in words; empty where they ask for as much or more.

    >>> from fraudctl.project.evaluation import GateSection
    >>> strict = GateSection.model_validate({"savings": {"at_least": 0.3}, "min_frauds": 300})
    >>> lax = GateSection.model_validate({"savings": {"at_least": 0.1}, "min_frauds": 300})
    >>> weaker(lax, strict)
    ['savings at_least 0.3 -> 0.1']
    """
    if before is None:
        return []
    return ["[gate] is gone"] if now is None else list(_weaker(now, before))


def _weaker(now: GateSection, before: GateSection) -> Iterator[str]:
    for name, limit in before.metrics.items():
        yield from _limit(name, now.metrics.get(name), limit)
    if before.champion is not None:
        yield from _champion(now, before)
    found = {(rule.by, rule.metric): rule for rule in now.segments}
    for rule in before.segments:
        yield from _segment(found.get((rule.by, rule.metric)), rule)
    if before.checks and not now.checks:
        yield "checks true -> false"
    if before.drift is not None:
        yield from _drift(now, before)
    for name in ("confidence", "min_frauds", "pooled_folds"):
        if getattr(now, name) < getattr(before, name):
            yield _moved(name, getattr(before, name), getattr(now, name))


def _moved(name: str, before: object, now: object) -> str:
    return f"{name} {before} -> {'none' if now is None else now}"


def _limit(name: str, now: LimitSection | None, before: LimitSection) -> Iterator[str]:
    low, high = (None, None) if now is None else (now.at_least, now.at_most)
    if before.at_least is not None and (low is None or low < before.at_least):
        yield _moved(f"{name} at_least", before.at_least, low)
    if before.at_most is not None and (high is None or high > before.at_most):
        yield _moved(f"{name} at_most", before.at_most, high)


def _champion(now: GateSection, before: GateSection) -> Iterator[str]:
    old, new = before.champion, now.champion
    if old is None or new is None or new.metric != old.metric:
        yield _moved("champion", old and old.metric, new and new.metric)
        return
    if new.no_worse_than > old.no_worse_than:
        yield _moved("champion no_worse_than", old.no_worse_than, new.no_worse_than)
    if old.better_than is not None and (new.better_than is None or new.better_than < old.better_than):
        yield _moved("champion better_than", old.better_than, new.better_than)
    if (old.if_none, new.if_none) == ("inconclusive", "baseline"):
        yield _moved("champion if_none", old.if_none, new.if_none)


def _segment(now: SegmentRuleSection | None, before: SegmentRuleSection) -> Iterator[str]:
    name = f"segments {before.by} {before.metric}"
    if now is None:
        yield f"{name} is gone"
        return
    bounds = LimitSection.model_construct(at_least=before.at_least, at_most=before.at_most)
    yield from _limit(name, LimitSection.model_construct(at_least=now.at_least, at_most=now.at_most), bounds)
    if before.margin is not None and (now.margin is None or now.margin > before.margin):
        yield _moved(f"{name} no_worse_than", before.margin, now.margin)
    if now.min_frauds > before.min_frauds:
        yield _moved(f"{name} min_frauds", before.min_frauds, now.min_frauds)


def _drift(now: GateSection, before: GateSection) -> Iterator[str]:
    old, new = before.drift, now.drift
    if old is None or new is None:
        yield "drift is gone"
        return
    for name in ("scores", "calibration"):
        if getattr(old, name) and not getattr(new, name):
            yield f"drift {name} true -> false"
    if new.chance < old.chance:
        yield _moved("drift chance", old.chance, new.chance)
