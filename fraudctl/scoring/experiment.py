"""Experiments on decisions: which model answers an event, and which events are let through whatever a model says.

Owns the draw: a keyed hash of the unit (an entity's id) or of the event's id, modulo 10^6. The same unit meets the same
model for as long as the salt is the same, on every machine and after every restart, and a larger share only adds units.
The module decides on no event and remembers nothing but what the control group may still cost today.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fraudctl.documents.types import JsonObject
from fraudctl.errors import UsageError
from fraudctl.text.figures import exact

Arm = Literal["champion", "challenger"]
BUCKETS: Final = 1_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_DAY_US: Final = 86_400_000_000
RESERVED: Final = "plan"
"""A name that `fraudctl ab` takes for its own."""


def bucket(salt: str, value: int | str) -> int:
    """Return the bucket of a unit or an event, from 0 to 999,999.

    It is the BLAKE2b digest of 8 bytes of the value as text (whole numbers in decimal) in UTF-8, keyed by the salt,
    read as a whole number, most significant byte first, modulo 10^6.

    >>> bucket("exp7", "C1"), bucket("exp7", 42), bucket("exp8", "C1")
    (173665, 479181, 717307)
    """
    digest = hashlib.blake2b(str(value).encode(), digest_size=8, key=salt.encode()).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def parse_share(text: str, *, option: str) -> int:
    """Read a share such as ``0.5%`` in units of 10^-6.

    Raises
    ------
    UsageError
        It is no share, or finer than 0.0001 %.

    >>> parse_share("0.5%", option="--control")
    5000
    """
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,4})?)\s*%", text.strip())
    parts = None if found is None else round(float(found[1]) * BUCKETS / 100)
    if parts is None or not 0 <= parts <= BUCKETS:
        msg = f"{option} {text}: expected a share such as 0.5%"
        raise UsageError(msg)
    return parts


def parse_split(text: str) -> int:
    """Read ``champion=90,challenger=10``: the share of the challenger in units of 10^-6.

    Raises
    ------
    UsageError
        Another arm, or shares that are not 100 together.

    >>> parse_split("champion=90,challenger=10")
    100000
    """
    parts = dict(item.partition("=")[::2] for item in text.split(","))
    if set(parts) != {"champion", "challenger"} or len(text.split(",")) != 2:
        msg = f"--split {text}: expected both arms, such as champion=90,challenger=10"
        raise UsageError(msg)
    shares = [parse_share(f"{parts[name]}%", option=f"--split {text}") for name in ("champion", "challenger")]
    if sum(shares) != BUCKETS:
        msg = f"--split {text}: the shares are {exact(sum(shares) * 100 / BUCKETS)} together; expected 100"
        raise UsageError(msg)
    return shares[1]


def experiment_of(
    *, salt: str | None, split: str | None, unit: str | None, control: str | None, control_cap: float | None
) -> Experiment | None:
    """Return the experiment that options of a command ask for; None where they ask for none.

    Raises
    ------
    UsageError
        They contradict each other, or one is missing.
    """
    if split is None and control is None:
        given = {"--salt": salt, "--unit": unit, "--control-cap": control_cap}
        alone = [name for name, value in given.items() if value is not None]
        if alone:
            msg = f"{' and '.join(alone)} goes with --split or --control"
            raise UsageError(msg)
        return None
    if salt is None:
        msg = "an experiment needs --salt: its name, and the key of its draw"
        raise UsageError(msg, hint="such as --salt exp7; a new experiment gets a new one")
    if split is None and unit is not None:
        msg = "--unit goes with --split; the control group is drawn by event"
        raise UsageError(msg)
    share = 0 if split is None else parse_split(split)
    drawn = 0 if control is None else parse_share(control, option="--control")
    return Experiment(salt, unit, share, drawn, control_cap)


@dataclass(frozen=True)
class Experiment:
    """What is drawn, and by what.

    Attributes
    ----------
    salt
        Key of the draw, and name of the experiment.
    unit
        Entity whose id is drawn; None without a split.
    challenger
        Share of the units that the challenger answers, in units of 10^-6.
    control
        Share of the events that are let through if they would be blocked, in the same units.
    control_cap
        Most expected loss of the control group on a local day, in the project's currency; None for no limit.
    """

    salt: str
    unit: str | None = None
    challenger: int = 0
    control: int = 0
    control_cap: float | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.salt) or self.salt == RESERVED:
            msg = f"--salt {self.salt[:60]!r}: expected 1 to 40 letters, digits, dots, dashes or underscores"
            more = f"; {RESERVED!r} is taken" if self.salt == RESERVED else ""
            raise UsageError(msg + more, hint="it names the experiment, such as exp7")
        if self.challenger and self.unit is None:
            msg = "--split needs --unit: the entity whose ids are drawn"
            raise UsageError(msg, hint="an entity that a customer is met by, such as card")
        if self.control_cap is not None and (not self.control or not 0 < self.control_cap < float("inf")):
            msg = "--control-cap is an amount of money above 0 that goes with --control"
            raise UsageError(msg)

    def arm(self, unit: int | str | None) -> Arm:
        """Return the model that answers a unit; one that is null belongs to the champion.

        The challenger has the lowest buckets, so that a larger share moves nobody back.
        """
        if unit is None or not self.challenger:
            return "champion"
        return "challenger" if bucket(self.salt, unit) < self.challenger else "champion"

    def drawn(self, event_id: int | str) -> bool:
        """Return whether an event belongs to the control group; drawn apart from the arms."""
        return self.control > 0 and bucket(f"{self.salt}/control", event_id) < self.control

    @property
    def exposure(self) -> float:
        """Probability that an event which would be blocked is let through."""
        return self.control / BUCKETS

    def facts(self, arm: Arm | None) -> JsonObject:
        """Return what stands with each answer; the arm of an event without a unit is null."""
        return {"name": self.salt, "unit": self.unit, "arm": arm, "share": self.challenger / BUCKETS}


class ControlBudget:
    """Expected loss of the control group on the present local day.

    Parameters
    ----------
    day
        Number of the day.
    spent
        Money.
    """

    def __init__(self, day: int = 0, spent: float = 0.0) -> None:
        self.day, self.spent = day, spent

    def left(self, day: int, cap: float | None) -> float:
        """Return what may still be lost on a day."""
        if cap is None:
            return float("inf")
        return cap - (self.spent if day == self.day else 0.0)

    def add(self, day: int, loss: float) -> None:
        """Count a loss; a later day begins anew, and an event of an earlier one counts on the present day."""
        if day > self.day:
            self.day, self.spent = day, 0.0
        self.spent += loss

    def to_list(self) -> list[float]:
        """Return day and money."""
        return [self.day, self.spent]


def agreed(known: Mapping[str, Any], experiment: Experiment, *, champion: str, challenger: str) -> JsonObject:
    """Return what a state remembers of an experiment, or refuse a salt that was used for another one.

    Parameters
    ----------
    known
        Salt -> what was remembered.
    champion, challenger
        Their versions.

    Raises
    ------
    UsageError
        The salt stands for another unit or other models: the same units would meet the new model that met the old one.
    """
    now: JsonObject = {"unit": experiment.unit, "champion": champion, "challenger": challenger}
    before = known.get(experiment.salt)
    if before is not None and before != now:
        then, today = (f"{one['champion']} against {one['challenger']} by {one['unit']}" for one in (before, now))
        msg = (
            f"the salt {experiment.salt} was used for {then}; now it would be {today}, with the same units in each arm"
        )
        raise UsageError(msg, hint="give a new experiment a salt of its own")
    return now
