"""Reasons of the gate: why a rule, and the gate as a whole, has its verdict.

Owns the sentences. Every number in them comes from the frozen value that the sentence keeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fraudctl.checks import Finding
from fraudctl.evaluate.result import Direction, Verdict
from fraudctl.metrics.drift import Drift, Effect
from fraudctl.text.figures import count, digits_apart, exact, number, percent, whole
from fraudctl.text.sentences import Sentence, fixed, joined, sentence
from fraudctl.uncertainty import Estimate


@dataclass(frozen=True)
class Frauds:
    """How many frauds were judged, and how many a pass needs."""

    n: int
    needed: int

    @property
    def too_few(self) -> bool:
        """Whether a pass needs more."""
        return self.n < self.needed


@dataclass(frozen=True)
class Held:
    """An interval held against a bound.

    Attributes
    ----------
    keeps
        Whether the whole interval keeps the bound.
    part
        Frauds among the events of the figure, where it is that of a segment.
    settle
        About how many frauds would settle an inconclusive rule; None where no number would.
    """

    metric: str
    found: Estimate
    bound: float
    direction: Direction
    verdict: Verdict
    frauds: Frauds
    keeps: bool = False
    part: int | None = None
    settle: int | None = None


@sentence
def held_reason(item: Held) -> str:
    """State on which side of the bound the interval lies, or why there is none."""
    found = item.found
    named = item.metric if found.base is None else f"{item.metric} against {found.base.words}:"
    asked = f"asked {item.direction.replace('_', ' ')} {exact(item.bound)}"
    if not found.known:
        if item.verdict == "fail":
            return f"{named} {number(found.value, 4)}, {asked}: far beyond the bound ({found.reason})"
        return f"{named} is not known: {found.reason or 'no finite interval'}"
    words = f"{named} {_figures(found, item.bound)}, {asked}"
    if item.keeps and item.verdict == "inconclusive":
        return f"{words}: it would pass, but {_too_few(item.frauds)}"
    if item.verdict == "inconclusive":
        here = "" if item.part is None else " in this segment"
        more = "no number of frauds" if item.settle is None else f"about {count(item.settle, 'fraud')}{here}"
        return f"{words}: the interval holds the bound, {more} would settle it"
    end = "low" if (item.direction == "at_least") == item.keeps else "high"
    counted = item.frauds.n if item.part is None else item.part
    return f"{words}: its {end} end {'keeps' if item.keeps else 'breaks'} the bound ({count(counted, 'fraud')})"


def _figures(found: Estimate, bound: float) -> str:
    """Write a value and its interval with as many digits as show on which side of the bound each of them lies."""
    ends = [item for item in (found.value, found.low, found.high) if item is not None]
    value, low, high = (number(item, digits_apart(tuple(ends), bound)) for item in ends)
    return f"{value} ({low} to {high})"


def _too_few(frauds: Frauds) -> str:
    are = "is" if frauds.n == 1 else "are"
    return f"{count(frauds.n, 'fraud')} {are} fewer than the {whole(frauds.needed)} that a pass needs"


@dataclass(frozen=True)
class TestFamily:
    """Segments that one rule judges together."""

    n_segments: int


@sentence
def after_holm(item: TestFamily) -> str:
    """State that a fail did not survive Holm's correction."""
    return f"no longer so after Holm's correction for {item.n_segments} segments"


def checks_reason(errors: tuple[Finding, ...], unread: str | None) -> Sentence:
    """Return what `fraudctl check` finds, or that it could know nothing."""
    if errors:
        return _errors(errors)
    return fixed("`fraudctl check` finds no error" if unread is None else f"nothing is known: {unread}")


@sentence
def _errors(errors: tuple[Finding, ...]) -> str:
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return f"`fraudctl check` finds {errors[0].where}: {errors[0].what}{more}"


@sentence
def drift_unknown(metric: str, missing: str) -> str:
    """Return why drift cannot be measured."""
    return f"{metric}: {missing}"


@sentence
def drift_reason(metric: str, found: Drift, frauds: Frauds) -> str:
    """Return how far a statistic is from what chance shows, and what the shift does."""
    figure = found.statistic
    digits = digits_apart((figure.value, figure.limit), figure.usual)
    value, usual, limit = (number(item, digits) for item in (figure.value, figure.usual, figure.limit))
    told = f"{metric} {value}; chance alone shows up to {usual}, seldom {limit}"
    if found.shown:
        return f"{told}: it has changed by more than chance, and {_effects(found, shown=True)}"
    if found.matters and figure.value > figure.usual:
        return f"{told}: it may have changed; {_effects(found, matters=True)}"
    if frauds.too_few:
        return f"{told}: it does not fail, but {_too_few(frauds)}"
    if figure.value > figure.usual:
        return f"{told}: if it has changed, it does not matter; {_effects(found)}"
    return f"{told}: nothing unusual"


def _effects(found: Drift, *, shown: bool = False, matters: bool = False) -> str:
    kept = [item for item in found.effects if (item.shown or not shown) and (item.matters or not matters)]
    return " and ".join(effect_words(item) for item in kept)


def effect_words(item: Effect) -> str:
    """Return what a shift does, with what counts and what chance shows, as part of a sentence."""
    change = percent(item.change, 1) if math.isfinite(item.change) else "all"
    seldom = percent(item.beyond, 1) if math.isfinite(item.beyond) else "that"
    return (
        f"the {item.name} per event is {number(item.now, 4)} where it was {number(item.before, 4)} (a change of "
        f"{change}; more than {percent(item.floor)} counts, chance seldom shows more than {seldom})"
    )


@dataclass(frozen=True)
class Deciding:
    """How many rules have the verdict of the gate, or were applied."""

    n_rules: int


@sentence
def all_kept(item: Deciding) -> str:
    """State that every rule passes."""
    if item.n_rules == 1:
        return "the one rule is kept by the end of its interval"
    return f"all {whole(item.n_rules)} rules are kept by the ends of their intervals"


@sentence
def _and_more(item: Deciding) -> str:
    return f"and {item.n_rules} more"


def because(reasons: tuple[Sentence, ...], *, most: int = 3) -> Sentence:
    """Return the reasons of the rules that decide, the first ``most`` of them."""
    rest = _and_more(Deciding(len(reasons) - most)) if len(reasons) > most else None
    return joined(*reasons[:most], rest, by="; ")


@dataclass(frozen=True)
class Noise:
    """What shuffled scores reach: the high end of their savings, and the floor on savings that they do not pass."""

    savings: float
    floor: float


@sentence
def missing_floor(item: Noise) -> str:
    """State that no rule asks that fraud is found, and which one to add."""
    return f"no rule asks that fraud is found; add savings = {{ at_least = {exact(item.floor)} }} to [gate]"


@sentence
def higher_floor(item: Noise) -> str:
    """State that the floors are too low, and which one to add."""
    return (
        f"the floors are too low; shuffled scores save up to {number(item.savings)}: "
        f"add savings = {{ at_least = {exact(item.floor)} }}"
    )
