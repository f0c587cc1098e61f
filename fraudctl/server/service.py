"""What a server does, without HTTP: take, decide, acknowledge once it is in the log, reload, compact."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fraudctl.errors import DataError, FraudctlError, UsageError
from fraudctl.scoring import wire
from fraudctl.scoring.engine import each
from fraudctl.scoring.live import RepeatedEventError
from fraudctl.server.places import Places
from fraudctl.server.telemetry import labels, resident_bytes

if TYPE_CHECKING:
    from fraudctl.scoring.decider import Decider
    from fraudctl.scoring.engine import DecisionEngine
    from fraudctl.server.telemetry import Log

Load = Callable[[], "tuple[Decider, Decider | None]"]
"""Opens champion and challenger again, by the references given on the command line."""


_CENTURY = 100 * 365 * 86_400
_MOST = {
    "body": 1 << 40, "items": 10**9, "rate": 10**9, "seconds": 10**6, "idle": 10**6, "connections": 10**6,
    "peer_connections": 10**6, "ahead": _CENTURY, "wait": _CENTURY, "waiting": 10**12,
    "memory": 1 << 50,
}  # fmt: skip
"""Largest value of each limit: what is beyond could neither be counted in a clock nor held."""


@dataclass(frozen=True)
class Limits:
    """What a server lets in.

    Attributes
    ----------
    body
        Most bytes of a request's body.
    items
        Most events, labels or rows in one request.
    rate
        Most events, labels and rows per second together; None for no limit.
    seconds
        Longest time from the first byte of a request to its last, and for a peer to read an answer.
    idle
        Longest time between an answer and the next request of a connection.
    connections
        Most connections at once.
    peer_connections
        Most connections of one peer at once; None for four fifths of all.
    ahead
        Seconds that the time of an event may lie ahead of the clock.
    wait
        Seconds that the times of a label or a row of another table may lie ahead of the clock.
    waiting
        Most messages that wait in memory for the time at which they begin to count.
    memory
        Bytes of resident memory from which on nothing more is taken; None for no limit.
    """

    body: int = 1 << 20
    items: int = 1000
    rate: float | None = None
    seconds: float = 5.0
    idle: float = 30.0
    connections: int = 1000
    peer_connections: int | None = None
    ahead: float = 3600.0
    wait: float = 31 * 86_400.0
    waiting: int = 1_000_000
    memory: int | None = None

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:  # which NaN is not either
                msg = f"the limit {name} is {value:g}; expected 0 to {most:,}"
                raise UsageError(msg, hint="see `fraudctl serve --help` for the limits and their defaults")

    def places(self) -> Places:
        """Return the places for connections."""
        share = max(1, 4 * self.connections // 5)
        return Places(self.connections, min(self.peer_connections or share, self.connections))


_LOOK_SECONDS = 0.1
"""Between two looks at how much memory is taken."""
_PROBE_SECONDS = 1.0
"""Between two looks at whether a folder that could not be written can be written again."""


class BusyError(FraudctlError):
    """More is sent than a limit allows for now."""


@dataclass(frozen=True)
class ServedModels:
    """What decides: the version of fraudctl, and the models, policy, features and experiment in use."""

    JSON = ("fraudctl", "model", "policy", "challenger", "features", "experiment?")

    fraudctl: str
    model: str
    policy: str
    """Version of the policy."""
    challenger: str | None
    features: str
    """Digest of their definitions."""
    experiment: str | None = None
    """Salt of the experiment that splits events between the models."""


class Service:
    """An engine with a limit on its rate, that acknowledges in batches.

    Parameters
    ----------
    engine
        Decides; only ever touched from the event loop's thread.
    load
        For `reload`.
    compact_every
        Log records after which the state is brought forward by another process; 0 for never.
    """

    def __init__(self, engine: DecisionEngine, *, load: Load, log: Log, limits: Limits, compact_every: int = 0) -> None:
        self.engine = engine
        self.limits = limits
        self.log = log
        self.places = limits.places()
        self.draining = False
        self._unwritten = False
        self._probe_at = self._look_at = 0.0
        self._full = False
        self.reloads = 0
        self._load = load
        self._compact_every = self._compact_at = compact_every
        if engine.store is not None:
            engine.store.on_problem = self._say_problem
        self._compaction: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self._waiting: asyncio.Future[None] | None = None
        self._tokens, self._filled = float(limits.rate or 0), 0.0

    # ------------------------------------------------------------ taking

    def admit(self, n_items: int, now: float) -> None:
        """Count events, labels or rows against the rate, before any of them is looked at.

        Parameters
        ----------
        now
            Seconds of a clock that only goes forward.

        Raises
        ------
        BusyError
            The rate limit does not allow this number of events now.
        """
        rate = self.limits.rate
        if rate is None:
            return
        if n_items > rate:
            msg = f"{n_items} items in one request; the server takes {rate:g} per second"
            raise BusyError(msg, hint=f"send at most {int(rate)} at a time")
        self._tokens = min(rate, self._tokens + (now - self._filled) * rate)
        self._filled = now
        if n_items > self._tokens:
            msg = f"more than {rate:g} items per second are sent"
            raise BusyError(msg, hint="try again in a second")
        self._tokens -= n_items

    def require_log(self) -> None:
        """Refuse to take anything while the log cannot be written; what waits to be written is tried again.

        Raises
        ------
        UsageError
            The log cannot be written.
        """
        if self._unwritten:
            self.engine.flush()
            self._unwritten = False

    @property
    def full(self) -> bool:
        """Whether as much memory is taken as is allowed; looked at now and then."""
        most = self.limits.memory
        if most is None:
            return False
        now = time.monotonic()
        if now >= self._look_at:
            before, self._look_at, self._full = self._full, now + _LOOK_SECONDS, resident_bytes() >= most
            if self._full and not before:
                self.log.say("memory is full", "error", resident_bytes=resident_bytes(), allowed=most)
        return self._full

    def require_memory(self) -> None:
        """Refuse to take anything while as much memory is taken as is allowed.

        Raises
        ------
        UsageError
            It is.
        """
        if self.full:
            msg = "the server takes as much memory as --memory allows; nothing more is taken"
            raise UsageError(msg, hint="nothing that was answered is lost: start it again with more --memory")

    @property
    def unready(self) -> str | None:
        """Why no request is taken, or None."""
        if self.draining:
            return "draining"
        if self.full:
            return "the memory is full"
        try:
            self.require_log()
        except FraudctlError:
            return "the log cannot be written"
        store = self.engine.store
        if store is None or store.problem is None:
            return None
        if time.monotonic() >= self._probe_at:
            self._probe_at = time.monotonic() + _PROBE_SECONDS
            store.probe()
        return None if store.problem is None else "the state cannot be saved"

    def decide(self, raw: Any) -> bytes:
        """Decide on one event, or on a list of events; give the answer as JSON, which counts after `committed`.

        Raises
        ------
        DataError
            An event does not fit; nothing of the request was taken in. In a list, an event whose id was decided
            before with other values is answered with its error in its place.
        """
        self.require_log()
        self.require_memory()
        self.engine.not_after = int((time.time() + self.limits.ahead) * 1e6)
        if not isinstance(raw, list):
            return self.engine.event(raw)
        each(raw, self.engine.check)
        return b"[" + b",".join(self._decided(item) for item in raw) + b"]"

    def _decided(self, raw: Any) -> bytes:
        try:
            return self.engine.event(raw)
        except DataError as error:
            return wire.dumps({"error": error_document(error)})

    def labels(self, raw: Any) -> int:
        """Take in one label or a list of labels; give their number. None is taken where one does not fit."""
        items = raw if isinstance(raw, list) else [raw]
        self._require_room(len(items))
        latest = self._latest()

        def check(item: Any) -> None:
            _require_soon(self.engine.champion.reader.label(item)[2], latest, "label: label_time")

        each(items, check)
        self.engine.labels(items)
        return len(items)

    def rows(self, name: str, raw: Any) -> int:
        """Take in one row of another table or a list of rows; give their number. All of them, or none."""
        items = raw if isinstance(raw, list) else [raw]
        self._require_room(len(items))
        latest, readers = self._latest(), self.engine.live.definitions.values()
        using = [item.reader for item in readers if name in item.reader.source_names]

        def check(item: Any) -> None:
            for reader in using:  # the champion's and every other that the state serves
                _require_soon(reader.source(name, item, strict=True)["usable_time"], latest, "its time")

        each(items, check)
        self.engine.sources(name, items)
        return len(items)

    def _latest(self) -> int:
        """Return the latest time of a label or a row that is taken, in µs UTC."""
        return int((time.time() + self.limits.wait) * 1e6)

    def _require_room(self, n_items: int) -> None:
        """Refuse messages that might have to wait where too many wait already."""
        self.require_log()
        self.require_memory()
        if self.waiting + n_items > self.limits.waiting:
            msg = f"{self.waiting} messages wait for the time at which they begin to count; no more are taken"
            raise BusyError(msg, hint="they count when later events come; --max-waiting allows more")

    @property
    def waiting(self) -> int:
        """Number of messages that wait for the time at which they begin to count."""
        return sum(len(features.due) for features in self.engine.live.features.values())

    async def committed(self) -> None:
        """Wait until all that was taken so far is in the log; requests of one moment share one write.

        Raises
        ------
        UsageError
            The log cannot be written.
        """
        if self.engine.store is None:
            return
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            loop.call_soon(self._commit, self._waiting)
        await asyncio.shield(self._waiting)

    def _commit(self, waiting: asyncio.Future[None]) -> None:
        self._waiting = None
        try:
            self.engine.flush()
        except FraudctlError as error:
            self._unwritten = True
            waiting.set_exception(error)
            waiting.exception()
            return
        waiting.set_result(None)
        if self._compact_every and self.engine.logged >= self._compact_at and self._compaction is None:
            self._compaction = asyncio.get_running_loop().create_task(self._compact())

    # ------------------------------------------------------------ around it

    def _say_problem(self, problem: str | None) -> None:
        """Say once that the state cannot be written, and once that it can be again."""
        if problem is None:
            self.log.say("state can be written again")
        else:
            self.log.say("state cannot be written", "error", message=problem)

    async def _compact(self) -> None:
        """Begin a new log segment, and let another process bring the snapshot forward through the old ones."""
        store = self.engine.store
        if store is None:
            return
        try:
            store.rotate()
        except FraudctlError:  # `Store.on_problem` has reported it; the current log stays in use, with a retry later
            self._compact_at = self.engine.logged + max(1, self._compact_every // 10)
            self._compaction = None
            return
        self.engine.live.answers.rotated()
        self.engine.logged, self._compact_at = 0, self._compact_every
        command = [sys.executable, "-m", "fraudctl", "state", "compact", str(store.folder), "--quiet", "--json"]
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            _, told = await process.communicate()
            if process.returncode:
                self.log.say("compaction failed", "error", exit_code=process.returncode, told=told.decode()[-500:])
            else:
                self.engine.live.answers.exported()
                self.log.say("compacted", segment=store.segment)
        finally:
            self._compaction = None

    async def settled(self) -> None:
        """Wait for a compaction that runs."""
        if self._compaction is not None:
            await asyncio.shield(self._compaction)

    async def reload(self) -> ServedModels:
        """Load the bundles again and switch to them; until then decisions are made with the old ones.

        Raises
        ------
        FraudctlError
            A bundle cannot be used; the old ones stay.
        """
        async with self._reloading:
            champion, challenger = await asyncio.to_thread(self._load)
            self.engine.swap(champion, challenger)
            self.reloads += 1
            self.log.say("reloaded", **vars(self.version()))
            return self.version()

    async def follow(self, named: Callable[[], object], *, every: float) -> None:
        """Reload whenever the models are called otherwise than when last looked at; goes on until it is cancelled.

        A reload that is refused is logged once, and tried again when the names change again.

        Parameters
        ----------
        named
            Returns what the models are called now; may read files.
        every
            Seconds between two looks.
        """
        known, problem = await asyncio.to_thread(named), ""
        while True:
            await asyncio.sleep(every)
            try:
                now = await asyncio.to_thread(named)
                changed, known = now != known, now
                if changed:
                    await self.reload()
                problem = ""
            except FraudctlError as error:
                if error.message != problem:
                    self.log.say("reload refused", "error", message=error.message)
                problem = error.message

    def version(self) -> ServedModels:
        """Return what decides."""
        from fraudctl import __version__

        champion, challenger = self.engine.champion, self.engine.challenger
        experiment = self.engine.experiment
        return ServedModels(
            fraudctl=__version__,
            model=champion.model,
            policy=champion.policy_version,
            challenger=None if challenger is None else challenger.model,
            features=champion.features.digest,
            experiment=None if experiment is None else experiment.salt,
        )

    def gauges(self) -> dict[str, tuple[str, str, dict[str, float]]]:
        """Return the gauges for Prometheus (requests are counted elsewhere)."""
        engine = self.engine
        version = self.version()
        info = labels(model=version.model, policy=version.policy, challenger=version.challenger or "")
        actions = {labels(role="champion", action=key): float(n) for key, n in engine.actions.items()}
        actions |= {labels(role="challenger", action=key): float(n) for key, n in engine.shadow_actions.items()}
        odd = {
            labels(features=digest[:8], what=what): float(count)
            for digest, features in engine.live.features.items()
            for what, count in features.counters.items()
        }
        drawn = {labels(what=key): float(count) for key, count in engine.drawn.items()}
        taken = {labels(what=key): float(count) for key, count in engine.live.counts.items()}
        return {
            "fraudctl_info": ("gauge", "What decides.", {info: 1.0}),
            "fraudctl_decisions_total": ("counter", "Decisions by role and action.", actions),
            "fraudctl_drawn_total": ("counter", "Events by arm of the experiment, and control group.", drawn),
            "fraudctl_taken_total": ("counter", "What was taken in, since the state was built.", taken),
            "fraudctl_odd_events_total": ("counter", "Events that came late, twice, or too late to count.", odd),
            "fraudctl_log_records": ("gauge", "Log records since the last rotation.", {"": float(engine.logged)}),
            "fraudctl_waiting_messages": ("gauge", "Messages whose time has not come.", {"": float(self.waiting)}),
            "fraudctl_entities": (
                "gauge",
                "Entities and pairs of them that features remember.",
                {labels(features=key[:8]): float(item.n_entities) for key, item in engine.live.features.items()},
            ),
            "fraudctl_resident_bytes": ("gauge", "Memory that the process takes.", {"": float(resident_bytes())}),
            "fraudctl_connections": ("gauge", "Open connections.", {"": float(self.places.open)}),
            "fraudctl_connections_closed_total": (
                "counter",
                "Waiting connections that gave their place to new ones.",
                {"": float(self.places.evicted)},
            ),
            "fraudctl_log_writable": (
                "gauge",
                "1 if the last write to the log succeeded.",
                {"": float(not self._unwritten)},
            ),
            "fraudctl_reloads_total": ("counter", "Reloads that succeeded.", {"": float(self.reloads)}),
        }


def _require_soon(time_us: int, latest: int, what: str) -> None:
    if time_us > latest:
        msg = f"{what} lies ahead of the clock by more than is allowed"
        raise DataError(msg, hint="correct the clock that stamps it, or raise --max-wait")


def error_document(error: FraudctlError) -> dict[str, str | None]:
    """Return an error as JSON."""
    return {"message": error.message, "hint": error.hint}


def status_of(error: FraudctlError) -> int:
    """Return the HTTP status that an error of a request is answered with."""
    if isinstance(error, RepeatedEventError):
        return 409
    if isinstance(error, DataError):
        return 422
    return 429 if isinstance(error, BusyError) else 503
