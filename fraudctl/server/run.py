"""Sockets, signals and shutdown of a server: SIGTERM finishes open requests, SIGHUP reloads the bundles."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from fraudctl.errors import FraudctlError, UsageError
from fraudctl.server.app import App
from fraudctl.server.service import Service
from fraudctl.server.telemetry import Log

_GRACE_SECONDS: Final = 20
_OTHER_DESCRIPTORS: Final = 64
"""Files that a server has open in addition to its connections."""
_FOLLOW_SECONDS: Final = 5.0
"""Between two looks at which versions the registry names."""
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
    except (OSError, ValueError) as error:  # a ValueError is a name that cannot be one of a host
        opened.close()
        reason = getattr(error, "strerror", None) or "it is no address and no name of a host"
        msg = f"{host} port {port} cannot be listened on: {reason}"
        raise UsageError(msg, hint="choose another --port or --host; 0 takes any free port") from error
    return opened


def serve(
    app: App,
    service: Service,
    opened: socket.socket,
    *,
    finish: Callable[[], None],
    named: Callable[[], object] | None = None,
) -> None:
    """Answer requests until SIGTERM or SIGINT; then finish what has begun and call ``finish``.

    Parameters
    ----------
    named
        Returns what the models are called now; where it is given, the server reloads when that changes.
    """
    import uvicorn

    from fraudctl.server.protocol import Waits, limited

    limits = service.limits
    require_descriptors(limits.connections)

    class Server(uvicorn.Server):
        """A server whose signals are ours: the state is saved after the last answer."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """State that it listens once it does: whoever waits for that line may connect."""
            await super().startup(sockets)
            host, port, *_ = opened.getsockname()
            service.log.say("listening", host=host, port=port, **vars(service.version()))

    config = uvicorn.Config(
        app, loop="uvloop", http=limited(Waits(limits.seconds, limits.idle, limits.body), service.places),
        lifespan="off", log_config=None, access_log=False, server_header=False, date_header=False, proxy_headers=False,
        timeout_keep_alive=int(limits.idle) + 1, timeout_graceful_shutdown=_GRACE_SECONDS, ws="none",
    )  # fmt: skip
    speak_through(service.log)
    sys.setswitchinterval(_SWITCH_SECONDS)
    server = Server(config)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(server, service, opened, named))
    finish()
    service.log.say("stopped")


def require_descriptors(connections: int) -> None:
    """Raise this process's soft limit on open files, so that no connection takes a file's place.

    Raises
    ------
    UsageError
        The system's hard limit is lower than these connections need.
    """
    needed = connections + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        most = max(hard - _OTHER_DESCRIPTORS, 1)
        msg = f"--max-connections {connections}: the system allows {hard} open files; {needed} are needed"
        raise UsageError(msg, hint=f"--max-connections {most}, or raise the limit (ulimit -n)")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class _Speaker(logging.Handler):
    """Turns what uvicorn and asyncio log into lines of the server's log: no arguments, which may hold data."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; a traceback only where the log is verbose."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        error = record.exc_info[1] if record.exc_info else None
        text = record.msg.strip() if isinstance(record.msg, str) else type(record.msg).__name__
        if record.name == "asyncio":  # its texts hold the objects that they are about
            text = "an error in a callback"
        self._log.say("server", level, message=text, **self._log.about(error))


def speak_through(log: Log) -> None:
    """Let the libraries of the server write to its log alone."""
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Speaker(log)], False


async def _serve(server: Any, service: Service, opened: socket.socket, named: Callable[[], object] | None) -> None:
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
    following = None if named is None else loop.create_task(service.follow(named, every=_FOLLOW_SECONDS))
    await server.serve(sockets=[opened])
    if following is not None:
        following.cancel()
    service.log.say("draining")
    await service.settled()


async def _reload(service: Service) -> None:
    """Reload because of a signal: where it cannot be done, the log says why."""
    try:
        await service.reload()
    except FraudctlError as error:
        service.log.say("reload refused", "error", message=error.message)
