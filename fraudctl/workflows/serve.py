"""``serve``: decisions over HTTP."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import UsageError
from fraudctl.progress import Progress
from fraudctl.workflows.score import Model, open_model
from fraudctl.workflows.state import open_live, save_state

if TYPE_CHECKING:
    from fraudctl.scoring.decider import Decider, Explained
    from fraudctl.server.service import Limits

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
    token
        What clients have to bring.
    snapshot_every
        Log records between snapshots.
    """

    place: Path
    model: str = "latest"
    challenger: str | None = None
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

    def open(self) -> tuple[Model, Model | None]:
        """Open champion and challenger as they are called now."""
        challenger = None if self.challenger is None else open_model(self.place, self.challenger)
        return open_model(self.place, self.model), challenger


def serve_model(serving: Serving, limits: Limits, *, progress: Progress | None = None) -> None:
    """Serve decisions until SIGTERM or SIGINT.

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
    from fraudctl.scoring.engine import Engine
    from fraudctl.scoring.store import Store
    from fraudctl.server.app import App
    from fraudctl.server.run import listen, serve
    from fraudctl.server.service import Service
    from fraudctl.server.telemetry import Log

    opened = listen(serving.host, serving.port)
    try:
        champion, challenger = serving.open()
        store = None if serving.state is None else Store(serving.state, durable=serving.durable)
        try:
            models = [champion, *([challenger] if challenger else [])]
            live = open_live(store, models, history=serving.history, sources=serving.sources, progress=progress)
            engine = Engine(
                champion.decider, live, challenger=None if challenger is None else challenger.decider, store=store,
                explained=serving.explained, with_features=serving.with_features,
            )  # fmt: skip

            def load() -> tuple[Decider, Decider | None]:
                one, other = serving.open()
                return one.decider, None if other is None else other.decider

            def finish() -> None:
                if store is not None:
                    engine.flush()
                    save_state(store, live)

            every = serving.snapshot_every if store is not None else 0
            service = Service(engine, load=load, log=Log(), limits=limits, compact_every=every)
            app = App(service, token=serving.token, access_log=serving.access_log)
            serve(app, service, opened, finish=finish)
        finally:
            if store is not None:
                store.close()
    finally:
        opened.close()
