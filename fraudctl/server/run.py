"""Sockets, signals and the end of a server: SIGTERM finishes what has begun, SIGHUP opens the bundles anew."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from fraudctl.errors import FraudctlError, UsageError
from fraudctl.server.app import App
from fraudctl.server.service import Service

_GRACE_SECONDS: Final = 20
_IDLE_SECONDS: Final = 30
_SWITCH_SECONDS: Final = 0.0005
"""How long another thread may hold the interpreter before a decision gets its turn."""


def listen(host: str, port: int) -> socket.socket:
    """Open the socket of a server.

    Raises
    ------
    UsageError
        The address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
    except OSError as error:
        opened.close()
        msg = f"{host} port {port} cannot be listened on: {error.strerror or type(error).__name__}"
        raise UsageError(msg, hint="choose another --port or --host; 0 takes any free port") from error
    return opened


def serve(app: App, service: Service, opened: socket.socket, *, finish: Callable[[], None]) -> None:
    """Answer requests until SIGTERM or SIGINT; then finish what has begun and call ``finish``."""
    import uvicorn

    class Server(uvicorn.Server):
        """A server whose signals are ours: the state is saved after the last answer."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Say that it listens once it does: whoever waits for that line may connect."""
            await super().startup(sockets)
            host, port, *_ = opened.getsockname()
            service.log.say("listening", host=host, port=port, **service.version())

    config = uvicorn.Config(
        app, loop="uvloop", http=guarded(service.limits.seconds), lifespan="off", log_config=None, access_log=False,
        server_header=False, date_header=False, limit_concurrency=service.limits.connections,
        timeout_keep_alive=_IDLE_SECONDS, timeout_graceful_shutdown=_GRACE_SECONDS, ws="none",
    )  # fmt: skip
    sys.setswitchinterval(_SWITCH_SECONDS)
    server = Server(config)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(server, service, opened))
    finish()
    service.log.say("stopped")


async def _serve(server: Any, service: Service, opened: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    def leave() -> None:
        service.draining = True
        server.should_exit = True

    def reload() -> None:
        task = loop.create_task(_reload(service))
        running.add(task)
        task.add_done_callback(running.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await server.serve(sockets=[opened])
    service.log.say("draining")
    await service.settled()


async def _reload(service: Service) -> None:
    """Reload because of a signal: where it cannot be done, the log says why."""
    try:
        await service.reload()
    except FraudctlError as error:
        service.log.say("reload refused", "error", message=error.message)


def guarded(seconds: float) -> type[asyncio.Protocol]:
    """Give uvicorn's protocol with an end to waiting: a request whose headers come too slowly is cut off."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Guarded(HttpToolsProtocol):
        """Closes a connection whose headers have begun and do not end, or that says nothing at all."""

        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._late = self.loop.call_later(seconds, transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            if self._late is None:
                self._late = self.loop.call_later(seconds, self.transport.close)

        def on_headers_complete(self) -> None:
            self._in_time()
            super().on_headers_complete()

        def _in_time(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Guarded
