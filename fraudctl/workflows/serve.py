"""``serve``: decisions over HTTP."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import UsageError
from fraudctl.progress import Progress
from fraudctl.project import load_project
from fraudctl.workflows.score import Model, open_model
from fraudctl.workflows.state import expect_state, open_live, save_state
from fraudctl.workflows.steady import short_pauses
from fraudctl.workflows.versions import CHAMPION, LATEST, version_of

if TYPE_CHECKING:
    from fraudctl.scoring.decider import Decider, Explained
    from fraudctl.scoring.experiment import Experiment
    from fraudctl.server.service import Limits, Service

_TOKEN = re.compile(r"[!-~]+")
_NEEDED = ("starlette", "uvicorn", "orjson", "uvloop", "httptools")


@dataclass(frozen=True)
class Serving:
    """What is served, and how.

    Attributes
    ----------
    place
        Project file or its folder.
    model, challenger
        Who answers, and who decides in the shadow.
    state
        Folder that remembers; None forgets with the process.
    new
        Whether a folder without a state begins empty.
    expect
        The only version of the champion that is served; None for any.
    token
        What clients have to send; None lets everyone in who reaches the address.
    insecure
        Whether an address beyond this machine may be served without a token.
    snapshot_every
        Log records between snapshots.
    experiment
        Which events the challenger answers, and which are let through; None: the champion answers all.
    follow
        Whether the models are loaded again when the registry calls others `latest` or `champion`.
    """

    place: Path
    model: str = "latest"
    expect: str | None = None
    challenger: str | None = None
    new: bool = False
    state: Path | None = None
    history: Sequence[str | Path] = ()
    sources: Mapping[str, Sequence[str | Path]] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8000
    explained: Explained = "all"
    with_features: bool = False
    durable: bool = False
    snapshot_every: int = 50_000
    access_log: bool = False
    token: str | None = None
    insecure: bool = False
    verbose: bool = False
    follow: bool = False
    experiment: Experiment | None = None

    def require_closed(self) -> None:
        """Refuse a server that would let everyone in by mistake.

        Raises
        ------
        UsageError
            The token is empty or cannot be sent in a header, or the address is not of this machine alone and there is
            no token.
        """
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            found = "empty" if not self.token.strip() else "not one word of visible ASCII characters"
            msg = f"FRAUDCTL_TOKEN is {found}"
            raise UsageError(msg, hint="set it to a long random word, or unset it to serve this machine without one")
        if self.token is None and not self.insecure and not _is_loopback(self.host):
            msg = f"--host {self.host}: others can reach this address, and FRAUDCTL_TOKEN is not set"
            raise UsageError(msg, hint="set FRAUDCTL_TOKEN, or let everyone in with --insecure")

    def require_followed(self) -> None:
        """Refuse to follow names that never change.

        Raises
        ------
        UsageError
            Both models are named by version or path, or only one version may be served.
        """
        if self.follow and not {self.model, self.challenger} & {LATEST, CHAMPION}:
            msg = "--follow: neither --model nor --challenger is `latest` or `champion`, so there is nothing to follow"
            raise UsageError(msg, hint="--model champion")
        if self.follow and self.expect is not None:
            msg = "--follow and --expect contradict each other: one version alone is expected"
            raise UsageError(msg)

    def named(self) -> tuple[str | None, str | None]:
        """Return the versions that champion and challenger are called now; no bundle is opened."""
        project = load_project(self.place)
        return version_of(project, self.model), self.challenger and version_of(project, self.challenger)

    def open(self, *, progress: Progress | None = None) -> tuple[Model, Model | None]:
        """Open champion and challenger as they are called now."""
        champion = open_model(self.place, self.model, expect=self.expect, progress=progress)
        if self.challenger is None:
            return champion, None
        return champion, open_model(self.place, self.challenger, progress=progress, role="challenger")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def say_memory(service: Service) -> None:
    """State at the start what memory grows with for ever, and refuse a limit that is passed already.

    Raises
    ------
    UsageError
        The process takes more than `Limits.memory` before the first request.
    """
    from fraudctl.server.telemetry import resident_bytes
    from fraudctl.text.figures import whole

    most, now = service.limits.memory, resident_bytes()
    if most is not None and now >= most:
        taken = f"{whole(now / 1e6)} MB are taken before the first request"
        msg = f"--memory: {whole(most / 1e6)} MB are allowed, and {taken}"
        raise UsageError(msg, hint="allow twice what is taken now; each new card, customer or device takes some more")
    features = service.engine.live.features.values()
    unbounded = {" and ".join(key) for item in features for key in item.plan.lookback.for_ever}
    if unbounded:
        service.log.say("memory grows with each new entity", entities=sorted(unbounded), allowed=most)


def serve_model(serving: Serving, limits: Limits, *, progress: Progress | None = None) -> None:
    """Serve decisions until SIGTERM or SIGINT.

    Parameters
    ----------
    serving
        What is served: the bundles, the state, the address.
    limits
        How much it takes at once, and for how long it waits.

    Raises
    ------
    UsageError
        The extra `serve` is not installed, the address or the folder of the state cannot be had.
    BundleError
        A bundle or the state cannot be used.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        msg = f"serving needs {', '.join(missing)}"
        raise UsageError(msg, hint="python -m pip install 'fraudctl[serve]'")
    from fraudctl.scoring.engine import DecisionEngine
    from fraudctl.scoring.store import Store
    from fraudctl.server.app import App
    from fraudctl.server.pages import WrittenPage
    from fraudctl.server.run import listen, serve
    from fraudctl.server.service import Service
    from fraudctl.server.telemetry import Log

    serving.require_closed()
    serving.require_followed()
    opened = listen(serving.host, serving.port)
    try:
        champion, challenger = serving.open(progress=progress)
        if serving.state is not None:
            expect_state(serving.state, new=serving.new or bool(serving.history))
        store = None if serving.state is None else Store(serving.state, durable=serving.durable)
        try:
            models = [champion, *([challenger] if challenger else [])]
            live = open_live(store, models, history=serving.history, sources=serving.sources, progress=progress)
            live.warm()
            live.index()
            engine = DecisionEngine(
                champion.decider,
                live,
                challenger=None if challenger is None else challenger.decider,
                store=store,
                explained=serving.explained,
                with_features=serving.with_features,
                experiment=serving.experiment,
            )

            def load() -> tuple[Decider, Decider | None]:
                one, other = serving.open()
                return one.decider, None if other is None else other.decider

            def finish() -> None:
                if store is not None:
                    engine.flush()
                    save_state(store, live)

            every = serving.snapshot_every if store is not None else 0
            service = Service(engine, load=load, log=Log(verbose=serving.verbose), limits=limits, compact_every=every)
            say_memory(service)
            page = WrittenPage(load_project(serving.place).reports_dir / "dashboard.html")
            app = App(service, token=serving.token, access_log=serving.access_log, dashboard=page)
            with short_pauses():
                serve(app, service, opened, finish=finish, named=serving.named if serving.follow else None)
        finally:
            if store is not None:
                store.close()
    finally:
        opened.close()
