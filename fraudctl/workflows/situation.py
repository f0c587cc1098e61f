"""Where a project stands before it is trained again: its data as they are now, its champion, and what is due.

Owns the list of inputs of a retraining with their SHA-256, the newest as_of whose test period is mature, the conditions
of ``retrain --if``, and the rules of when a promotion may follow another. It trains nothing and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fraudctl.errors import BundleError, UsageError
from fraudctl.project import Project
from fraudctl.text.figures import count, length
from fraudctl.workflows.versions import CHAMPION, open_bundle

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.bundle import Bundle
    from fraudctl.documents.types import JsonObject
    from fraudctl.project import Duration
    from fraudctl.registry import Entry

_FORMS = "expected always, monitor, age=30d or frauds=300"


@dataclass(frozen=True)
class InputFile:
    """One file that a run is made of."""

    path: str
    """Its path, relative to the project where it lies below it."""
    bytes: int | None
    """Its size; null behind an address."""
    sha256: str
    """Digest of its content."""


@dataclass(frozen=True)
class DueRule:
    """When a model is trained again.

    Attributes
    ----------
    kind
        ``always``; ``monitor``: its last run has an alarm of harm or drift that nobody acknowledged; ``age``: the
        champion was trained on data that end so long before today's; ``frauds``: so many more frauds with a mature
        label can be trained on.
    age, frauds
        The limit of that kind.
    """

    kind: Literal["always", "monitor", "age", "frauds"]
    age: Duration | None = None
    frauds: int = 0

    @classmethod
    def parse(cls, text: str) -> DueRule:
        """Read ``always``, ``monitor``, ``age=30d`` or ``frauds=300``.

        Raises
        ------
        UsageError
            It is none of them.

        >>> DueRule.parse("frauds=300").frauds
        300
        """
        from fraudctl.project.types import PositiveDuration

        kind, _, limit = text.partition("=")
        try:
            if kind == "age":
                return cls("age", age=PositiveDuration.parse(limit))
            if kind == "frauds" and int(limit) > 0:
                return cls("frauds", frauds=int(limit))
        except ValueError as error:
            msg = f"--if {text}: {error}; {_FORMS}"
            raise UsageError(msg) from error
        if text in ("always", "monitor"):
            return cls("always" if text == "always" else "monitor")
        msg = f"--if {text}: {_FORMS}"
        raise UsageError(msg)

    def asked(self, situation: Situation) -> tuple[bool, str]:
        """Return whether it holds, and the sentence that says why."""
        champion = situation.champion
        if self.kind == "always":
            return True, "always"
        if self.kind == "monitor":
            return _asked_monitor(situation.monitor)
        if champion is None:
            return True, "there is no champion yet"
        if self.age is not None:
            age = situation.age or timedelta(0)
            return (
                age >= self.age.timedelta,
                f"age: the data go on {_long(age)} after those of the champion; asked {self.age}",
            )
        n = situation.new_frauds
        return (
            n >= self.frauds,
            f"frauds: {count(n, 'mature fraud')} that the champion did not learn; asked {self.frauds:,}",
        )


@dataclass(frozen=True)
class MonitorState:
    """What the last run of `monitor` said, less the alarms that were acknowledged.

    Attributes
    ----------
    as_of
        Of that run.
    harm, data, drift
        Each open alarm of the tier, in words.
    """

    as_of: datetime
    harm: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()


def _asked_monitor(state: MonitorState | None) -> tuple[bool, str]:
    if state is None:
        return False, "monitor: it has not run yet"
    found = [("harm", state.harm), ("drift", state.drift)]
    said = [f"{tier}: {texts[0]}" for tier, texts in found if texts]
    at = f"{state.as_of:%Y-%m-%d %H:%M}"
    return bool(said), f"monitor, as of {at}: {'; '.join(said) or 'no open alarm of harm or drift'}"


def monitor_state(project: Project) -> MonitorState | None:
    """Return what the last run of `monitor` said; None where it never ran.

    Raises
    ------
    BundleError
        Its log was changed.
    """
    from fraudctl.workflows.monitor_log import read_log

    entries = read_log(project)
    last = next((item for item in reversed(entries) if item["kind"] == "run"), None)
    if last is None:
        return None
    noted = {item["id"] for item in entries if item["kind"] == "note"}
    alarms = [item for item in last["alarms"] if not item["noted"] and item["id"] not in noted]
    tiers = {tier: tuple(item["what"] for item in alarms if item["tier"] == tier) for tier in ("harm", "data", "drift")}
    return MonitorState(datetime.fromisoformat(last["as_of"]), **tiers)


def _long(span: timedelta) -> str:
    return length(span / timedelta(seconds=1))


@dataclass(frozen=True)
class Situation:
    """Where a project stands.

    Attributes
    ----------
    known_until, as_of
        The latest event, and the newest as_of whose test period is mature by then.
    champion
        The champion's bundle; None without one.
    new_frauds
        Frauds that a model of ``as_of`` learns and the champion did not.
    files, fingerprint
        Every file of the data, and the fingerprint by which bundles know them all.
    monitor
        What the last run of `monitor` said; None where it never ran.
    labels
        What is wrong with the feed of labels, against the champion's training, and nobody acknowledged.
    """

    known_until: datetime
    as_of: datetime
    champion: Bundle | None
    new_frauds: int
    files: tuple[InputFile, ...]
    fingerprint: str
    monitor: MonitorState | None = None
    labels: tuple[str, ...] = ()

    @property
    def age(self) -> timedelta | None:
        """How far the data go beyond those that the champion was trained on; None without a champion."""
        then = None if self.champion is None else self.champion.facts.get("known_until")
        return None if then is None else self.known_until - datetime.fromisoformat(then)

    def nothing_new(self, project: Project) -> str | None:
        """Return why a model of ``as_of`` could not be held against the champion, or would be the same; else None."""
        champion = self.champion
        if champion is None or self.as_of > champion.knows_until:
            return None
        same = champion.facts.get("data_fingerprint") == self.fingerprint
        if self.as_of == champion.as_of and not (same and champion.manifest["project_file"] == project.text):
            return None
        then, now = (f"{item:%Y-%m-%d %H:%M}" for item in (champion.knows_until, self.as_of))
        if self.as_of == champion.as_of:
            return f"the champion {champion.version} was trained on these data, as of {then}"
        return (
            f"the champion {champion.version} knows what came until {then}, and the newest as_of with a mature test "
            f"period is {now}: the two could not be compared"
        )


def look(project: Project) -> Situation:
    """Read the events and the champion, and take the SHA-256 of all data.

    Raises
    ------
    UsageError
        The data have no time, or no instant after the champion's has a mature test period.
    BundleError
        The champion's folder is gone or damaged.
    DataError
        The data cannot be read.
    """
    from fraudctl.split import periods
    from fraudctl.workflows.definitions import load_definitions

    if not project.data.has_time:
        msg = "the data have no time, so there is no newer period to train on"
        raise UsageError(msg, hint="retraining needs [data] event_time; `fraudctl train` draws its test at random")
    found = load_definitions(project)
    groups = [found.files, *(found.beside[name] for name in sorted(found.beside))]
    groups += [found.verdicts[name] for name in sorted(found.verdicts)]
    files = [[_file(name, project.root) for name in group] for group in groups]
    frame, known_until = _events(project)
    free = project.model_copy(update={"split": project.split.model_copy(update={"as_of": None})})
    newest = periods(frame, free, known_until=known_until)
    champion = _champion(project)
    return Situation(
        known_until,
        newest.as_of,
        champion,
        _new_frauds(frame, champion, newest.train_until, newest.as_of),
        tuple(item for group in files for item in group),
        _joined(files),
        monitor_state(project),
        _label_faults(project, champion, frame, known_until),
    )


def _events(project: Project) -> tuple[pl.DataFrame, datetime]:
    """Return time and label of every event, and the latest time."""
    from fraudctl.data import tables
    from fraudctl.data.entries import load_entries

    events = tables.load_events(project, entries=load_entries(project))
    return events.frame, events.known_until


def _champion(project: Project) -> Bundle | None:
    from fraudctl import registry

    version = registry.champion(project.models_dir)
    if version is None:
        return None
    if not (project.models_dir / version).is_dir():
        msg = f"the folder of the champion {version} is gone, so that no model can be held against it"
        raise BundleError(msg, hint=f"restore {project.models_dir / version}, or promote another version by hand")
    return open_bundle(project, CHAMPION)


def _label_faults(
    project: Project, champion: Bundle | None, frame: pl.DataFrame, known_until: datetime
) -> tuple[str, ...]:
    """Return what is wrong with the feed of labels by what is known now, less what was acknowledged in `monitor`."""
    from fraudctl.workflows.label_feed import feed_alarms
    from fraudctl.workflows.monitor_log import HELD, notes_of

    if champion is None:
        return ()
    noted = {note.id for note in notes_of(project) if note.as_of + HELD >= known_until}
    found = feed_alarms(project, champion, frame, until=known_until)
    return tuple(alarm.what for alarm in found if alarm.id not in noted)


def _new_frauds(frame: pl.DataFrame, champion: Bundle | None, train_until: datetime, as_of: datetime) -> int:
    import polars as pl

    from fraudctl.data.labels import known_labels

    known = pl.Series(known_labels(frame, as_of) == 1)
    inside = frame["event_time"] < train_until
    if champion is not None:
        inside &= frame["event_time"] >= datetime.fromisoformat(champion.facts["train_until"])
    return int((known & inside).sum())


def _file(name: str, root: Path) -> InputFile:
    from fraudctl.data import tables

    if "://" in name:
        return InputFile(name, None, tables.fingerprint([name]))
    path = Path(name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    return InputFile(shown, path.stat().st_size, digest)


def _joined(groups: Sequence[Sequence[InputFile]]) -> str:
    """Return the fingerprint that `workflows.features.plan_features` takes of the same files."""
    prints = []
    for group in groups:
        digest = hashlib.sha256()
        for item in group:
            digest.update(bytes.fromhex(item.sha256))
        prints.append(digest.hexdigest())
    return prints[0] if len(prints) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest()


def frozen(project: Project, situation: Situation, *, refit: bool, promote: bool) -> JsonObject:
    """Return, as JSON, all that a run depends on: files, project file, packages, champion and what was asked."""
    from importlib.metadata import version

    from fraudctl.bundle import PACKAGES
    from fraudctl.documents.results import as_json
    from fraudctl.runs import key_of

    data: JsonObject = {
        "files": as_json(situation.files),
        "fingerprint": situation.fingerprint,
        "project_file": hashlib.sha256(project.text.encode()).hexdigest(),
        "packages": {name: version(name) for name in PACKAGES},
        "as_of": situation.as_of.isoformat(),
        "known_until": situation.known_until.isoformat(),
        "refit": refit,
        "promote": promote,
    }
    champion = None if situation.champion is None else situation.champion.version
    return {**data, "champion": champion, "same": key_of(data), "key": key_of({**data, "champion": champion})}


def too_soon(project: Project, entries: Sequence[Entry], known_until: datetime) -> str | None:
    """Return why no promotion may follow the last one yet, by the time of the data; None where one may."""
    last = next((item for item in reversed(entries) if item.event == "promote"), None)
    then = None if last is None else _known_at(project, last)
    delay = project.data.label_delay
    if last is None or then is None or known_until - then >= delay.timedelta:
        return None
    return (
        f"{last.version} was promoted when the data reached {then:%Y-%m-%d}, {_long(known_until - then)} before their "
        f"present end; one promotion per label delay ({delay}) at most"
    )


def _known_at(project: Project, entry: Entry) -> datetime | None:
    """Return how far the data reached at a promotion: by its entry, else by the bundle that was promoted."""
    from fraudctl.bundle import load_bundle

    said = (entry.evidence or {}).get("known_until")
    if said is None and (project.models_dir / entry.version).is_dir():
        said = load_bundle(project.models_dir / entry.version).facts.get("known_until")
    return None if said is None else datetime.fromisoformat(said)


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield in words what two frozen inputs do not have in common."""
    files = [{item["path"]: item["sha256"] for item in one["files"]} for one in (before, now)]
    changed = sorted(name for name in {*files[0], *files[1]} if files[0].get(name) != files[1].get(name))
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        yield f"{count(len(changed), 'file')} of the data ({', '.join(changed[:3])}{more})"
    for key, words in (("project_file", "the project file"), ("packages", "the installed packages")):
        if before[key] != now[key]:
            yield words
    if before["champion"] != now["champion"]:
        yield f"the champion ({before['champion']}, now {now['champion']})"
    asked = [" and ".join(name for name in ("refit", "promote") if one[name]) or "neither" for one in (before, now)]
    if asked[0] != asked[1]:
        yield f"what was asked ({asked[0]}, now {asked[1]})"
