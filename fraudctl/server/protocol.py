"""One connection: how long it may wait, how large a request's head may be, and how many connections a peer may hold.

Builds on uvicorn's protocol, which has no limit on headers, on the time of a request, or for one peer. A connection
always has a deadline unless its request was received whole and is being answered:

- `Waits.request` seconds from its first byte to its last, and the same from connecting to the first byte;
- `Waits.idle` seconds between an answer and the first byte of the next request, whatever else is sent;
- `Waits.request` seconds for a peer that does not read its answers;
- `LINGER` seconds to read and discard what is left of a request that was answered before it was received whole.

Where all places are taken, the connection that has waited longest for its peer gives way to the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fraudctl.server.places import DEADLINE, Places, peer_of

LARGEST_HEAD: Final = 32_768
"""Bytes of request line and headers; a head of half the size is never refused."""
MOST_HEADERS: Final = 100
"""Headers of a request, trailers included."""
MOST_QUEUED: Final = 64
"""Requests that a peer may send ahead without reading an answer."""
LINGER: Final = 1.0

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_STEP: Final = LARGEST_HEAD // 2
_LAST_LOOK: Final = 0.01
"""Seconds between a deadline and its consequence: what has arrived while the loop was busy is read first."""
_GRACE: Final = 0.5
"""Seconds after the deadline of a body: the application answers first, with 408."""


@dataclass
class Waits:
    """Seconds that a connection may wait for its peer, and the body's limit in bytes, which bounds its framing too."""

    request: float
    idle: float
    body: int


class Deadline:
    """A deadline that moves with every request and rarely expires.

    The timer is only replaced if it would fire too late; a timer that fires too early is set again for the rest.

    Parameters
    ----------
    loop
        Whose clock counts.
    late
        Called once when the time is over.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[], None]) -> None:
        self._loop, self._late = loop, late
        self._due: float | None = None
        self._seen: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings = 0.0

    def set(self, due: float | None) -> None:
        """Move it to a time of the loop; None ends the wait."""
        self._due = due
        if due is not None and (self._timer is None or due < self._rings):
            self._sleep(due)

    def close(self) -> None:
        """End the wait, and the timer with it."""
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sleep(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings = self._loop.call_at(until, self._look), until

    def _look(self) -> None:
        """Call `late` at the second look: timers run before sockets are read, and a busy loop is not the peer's."""
        self._timer = None
        if self._due is None:
            return
        now = self._loop.time()
        if now < self._due:
            self._sleep(self._due)
        elif self._seen != self._due:
            self._seen = self._due
            self._sleep(now + _LAST_LOOK)
        else:
            self._due = None
            self._late()


class _Answer:
    """The transport as a response sees it: head and body go out in one write, and its end is the connection's."""

    __slots__ = ("_connection", "_parts", "_transport", "is_closing")

    def __init__(self, connection: Connection, transport: Any) -> None:
        self._connection, self._transport = connection, transport
        self._parts: list[bytes] = []
        self.is_closing: Callable[[], bool] = transport.is_closing

    def write(self, data: bytes) -> None:
        """Keep a part of the answer; let a client that asks for it go on at once."""
        if data == _CONTINUE:
            self._transport.write(data)
        else:
            self._parts.append(data)

    def complete(self) -> None:
        """Send what was written, and go on with the connection."""
        self.flush()
        self._connection.on_response_complete()

    def flush(self) -> None:
        """Send what was written."""
        if self._parts and not self._transport.is_closing():
            self._transport.write(b"".join(self._parts))
        self._parts.clear()

    def close(self) -> None:
        """Send what was written, and end."""
        self.flush()
        self._connection.finish()


class Connection(HttpToolsProtocol):
    """A connection with limits; see the module."""

    waits: Waits
    places: Places

    _slow_reader: asyncio.TimerHandle | None = None
    _peer: str | None = None
    _in_head = True
    _whole = True
    _discarding = False
    _refused = False
    _head = 0
    _bytes = 0
    _begun = _moved = False
    """Whether a request began, and whether it was received further, since the deadline was set."""
    _due = 0.0

    # ------------------------------------------------------------ places

    def connection_made(self, transport: Any) -> None:
        """Take a place, or answer 503."""
        super().connection_made(transport)
        self._deadline = Deadline(self.loop, self._too_late)
        peer = peer_of(self.client)
        if not self.places.enter(peer, self):
            self._reject(b"503 Service Unavailable")
            return
        self._peer = peer
        self._deadline.set(self.loop.time() + self.waits.request)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the connection's slot."""
        self._deadline.close()
        self._unset_slow_reader()
        self._leave()
        super().connection_lost(exc)

    def give_way(self) -> None:
        """End at once: the place is needed."""
        self._leave()
        self.transport.abort()

    def _leave(self) -> None:
        if self._peer is not None:
            self.places.leave(self._peer, self)
            self._peer = None

    def _waits_for_peer(self, until: float | None) -> None:
        """Record that the peer has to send something by a time of the loop; None while it has not."""
        self._deadline.set(until)
        if self._peer is not None:
            note = self.places.works if until is None else self.places.waits
            note(self._peer, self)

    def _set_deadline(self) -> None:
        """Set the deadline by how much of a request has been received: once for all that a read brought."""
        if not self._moved or self._discarding or self._refused:
            return
        self._moved = False
        if self._whole:
            self._waits_for_peer(None)
        elif self._begun:
            self._waits_for_peer(self._due if self._in_head else self._due + _GRACE)
        else:
            self._deadline.set(self._due + _GRACE)
        self._begun = False

    # ------------------------------------------------------------ time

    def _too_late(self) -> None:
        if self._in_head and not self._discarding:
            self._close()
        else:
            self.transport.abort()

    def _close(self) -> None:
        """Close once what was written is sent; a peer that does not read has no more time than any other."""
        self.transport.close()
        self._unset_slow_reader()
        self._slow_reader = self.loop.call_later(self.waits.request, self.transport.abort)

    def finish(self) -> None:
        """End after an answer: what is left of its request is read and discarded, for a moment."""
        if self._whole and not self.pipeline:
            self._close()
            return
        self._discarding = True
        self._deadline.set(self.loop.time() + LINGER)
        self.flow.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()

    def pause_writing(self) -> None:
        """Begin to wait for a peer that does not read."""
        super().pause_writing()
        self._unset_slow_reader()
        self._slow_reader = self.loop.call_later(self.waits.request, self.transport.abort)

    def resume_writing(self) -> None:
        """End that wait."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._unset_slow_reader()

    def _unset_slow_reader(self) -> None:
        if self._slow_reader is not None:
            self._slow_reader.cancel()
            self._slow_reader = None

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: a client may ask for what it likes, and is answered in HTTP/1.1."""

    # ------------------------------------------------------------ what comes

    def data_received(self, data: bytes) -> None:
        """Feed the parser in pieces, so that no limit is passed by more than one of them."""
        for at in range(0, len(data), _STEP):
            if self._discarding or self._refused or self.transport.is_closing():
                return
            piece = data[at : at + _STEP] if len(data) > _STEP else data
            super().data_received(piece)
            self._count(len(piece))
            self._set_deadline()

    def eof_received(self) -> None:
        """Close where nothing is being answered: a peer that has left holds no place."""
        if self._discarding:
            self.transport.abort()

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._in_head and not self._whole:
            self._head += size
        if self._refused or self._head > LARGEST_HEAD or (not self._whole and len(self.headers) > MOST_HEADERS):
            self._reject(b"431 Request Header Fields Too Large")
        elif (not self._whole and self._bytes > 8 * self.waits.body + 2 * LARGEST_HEAD) or (
            len(self.pipeline) > MOST_QUEUED
        ):
            self._reject(b"413 Content Too Large")

    def _reject(self, status: bytes) -> None:
        """Answer what no application has to see, and end."""
        self._refused, self._whole = True, False
        self.pipeline.clear()
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # its answer goes out first, and ends the connection
            return
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.finish()

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        super().on_message_begin()
        self._in_head, self._whole, self._head, self._bytes = True, False, 0, 0
        self._begun = self._moved = True
        self._due = self.loop.time() + self.waits.request
        self.scope[DEADLINE] = self._due  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """Hand the request over, unless its head is too large."""
        self._in_head = False
        self._refused = self._refused or len(self.headers) > MOST_HEADERS
        if self._refused:
            return
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope:
            answer = _Answer(self, self.transport)
            self.cycle.transport, self.cycle.on_response = answer, answer.complete  # type: ignore[assignment]
        self._moved = True

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, if its request was handed over."""
        if self.cycle is not None and self.cycle.scope is self.scope:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the clock of a request."""
        self._whole = self._moved = True
        self.scope[DEADLINE] = None  # type: ignore[typeddict-unknown-key]
        if self.cycle is not None and self.cycle.scope is self.scope:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request; end where the answered one was not received whole."""
        if not self.pipeline and not self._discarding and self.cycle.more_body:
            self.finish()
        self.server_state.total_requests += 1
        if self._discarding or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.cycle.response_complete and self._whole:
            self._waits_for_peer(self.loop.time() + self.waits.idle)


def limited(waits: Waits, places: Places) -> type[Connection]:
    """Return the protocol of a server with these limits."""

    class LimitedConnection(Connection):
        """A connection of this server."""

    LimitedConnection.waits, LimitedConnection.places = waits, places
    return LimitedConnection
