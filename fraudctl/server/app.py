"""The HTTP of scoring: what is let in, how it is answered.

Decisions take a lean way of their own: the application is a plain ASGI callable that hands every other route to
Starlette. What cannot be taken is answered with 4xx and a message that holds no value of the request; a body is never
read beyond its limit.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from fraudctl.documents.results import as_object
from fraudctl.errors import DataError, FraudctlError
from fraudctl.scoring import wire
from fraudctl.server.pages import WrittenPage
from fraudctl.server.places import DEADLINE
from fraudctl.server.service import BusyError, Service, error_document, status_of
from fraudctl.server.telemetry import Metrics

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_JSON: Final = (b"content-type", b"application/json")


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.document = {"error": {"message": message, "hint": hint}}


class App:
    """The ASGI application.

    Parameters
    ----------
    service
        What is done.
    token
        What clients have to bring as ``Authorization: Bearer ...``; None lets everyone in.
    access_log
        Whether every request gets a line in the log, not only those that were refused.
    dashboard
        The page of ``GET /dashboard``.
    """

    def __init__(
        self,
        service: Service,
        *,
        token: str | None = None,
        access_log: bool = False,
        dashboard: WrittenPage | None = None,
    ) -> None:
        self.service = service
        self._page = dashboard
        self.metrics = Metrics()
        self._bearer = None if token is None else f"Bearer {token}".encode()
        self._access_log = access_log
        self._rest = self._routes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        began, path = time.perf_counter(), scope["path"]
        if path == "/decisions" and scope["method"] == "POST":
            status = await self._decisions(scope, receive, send)
            self.metrics.took(time.perf_counter() - began)
        else:
            status = await self._other(scope, receive, send)
        route = path if path in _ROUTES else "/sources/{name}" if path.startswith("/sources/") else "other"
        self.metrics.count(route, status)
        if self._access_log or status >= 400:
            seconds = round(time.perf_counter() - began, 6)
            level = "info" if status < 400 else "warning" if status < 500 else "error"
            self.service.log.say("request", level, method=scope["method"], route=route, status=status, seconds=seconds)

    async def _decisions(self, scope: Scope, receive: Receive, send: Send) -> int:
        try:
            raw = await self._document(scope, receive)
            body = self.service.decide(raw)
            await self.service.committed()
        except Refused as refused:
            return await _refuse(send, refused)
        except FraudctlError as error:
            return await _refuse(send, _refusal(error))
        except Exception as error:  # noqa: BLE001 - answered with 500, counted and logged
            return await _refuse(send, self._bug(error))
        await send(
            {"type": "http.response.start", "status": 200, "headers": [_JSON, (b"content-length", b"%d" % len(body))]}
        )
        await send({"type": "http.response.body", "body": body})
        return 200

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Let Starlette answer, and note the status."""
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._rest(scope, receive, noting)
        except Exception as error:  # noqa: BLE001 - answered with 500, counted and logged
            refused = self._bug(error)
            return status or await _refuse(send, refused)
        return status or 500

    # ------------------------------------------------------------ what is let in

    def _authorise(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self._bearer is not None:
            given = next((value for name, value in headers if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self._bearer):
                raise Refused(401, "this needs a token", "send it as Authorization: Bearer TOKEN")

    async def _document(self, scope: Scope, receive: Receive) -> Any:
        """Read a body as JSON, within the limits on size, time and number.

        Raises
        ------
        Refused
            It is too large, too slow, no JSON, or holds too many items.
        """
        headers = scope["headers"]
        self._authorise(headers)
        limits = self.service.limits
        for name, value in headers:
            if name == b"content-length" and int(value) > limits.body:
                raise _too_large(limits.body)
            if name == b"content-encoding" and value != b"identity":
                raise Refused(415, "the body is encoded", "send it as it is, without Content-Encoding")
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                raise Refused(415, "the body is encoded for its transfer", "send it whole, or with chunked alone")
        deadline = scope.get(DEADLINE)
        if deadline is None:  # all of it is there
            body = await _body(receive, limits.body)
        else:
            try:
                async with asyncio.timeout_at(deadline):
                    body = await _body(receive, limits.body)
            except TimeoutError:
                raise Refused(408, f"the request did not arrive within {limits.seconds:g} seconds") from None
        try:
            raw = wire.parse(body)
        except DataError as error:
            raise Refused(400, error.message, error.hint) from None
        if type(raw) is list and not 0 < len(raw) <= limits.items:
            raise Refused(422, f"a list of {len(raw)} items; expected 1 to {limits.items}", "send several requests")
        self.service.admit(len(raw) if type(raw) is list else 1, time.monotonic())
        return raw

    # ------------------------------------------------------------ Starlette's routes

    def _routes(self) -> Starlette:
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.routing import Route

        rest = Starlette(
            routes=[
                Route("/decisions", _only_post, methods=["GET", "PUT", "PATCH", "DELETE", "OPTIONS"]),
                Route("/labels", self._labels, methods=["POST"]),
                Route("/sources/{name}", self._sources, methods=["POST"]),
                Route("/admin/reload", self._reload, methods=["POST"]),
                Route("/healthz", self._health),
                Route("/readyz", self._ready),
                Route("/metrics", self._metrics),
                Route("/version", self._version),
                Route("/dashboard", self._dashboard),
                Route("/openapi.json", self._openapi),
            ],
            exception_handlers={
                HTTPException: _http_error,
                Refused: _refused,
                FraudctlError: _fraudctl_error,
            },
        )
        rest.router.redirect_slashes = False  # such an answer would lead where the client's Host says
        return rest

    async def _labels(self, request: Request) -> Response:
        taken = self.service.labels(await self._document(request.scope, request.receive))
        await self.service.committed()
        return _response({"taken": taken}, 202)

    async def _sources(self, request: Request) -> Response:
        taken = self.service.rows(request.path_params["name"], await self._document(request.scope, request.receive))
        await self.service.committed()
        return _response({"taken": taken}, 202)

    async def _reload(self, request: Request) -> Response:
        self._authorise(request.scope["headers"])
        return _response(as_object(await self.service.reload()))

    async def _health(self, _: Request) -> Response:
        return _response({"status": "alive"})

    async def _ready(self, _: Request) -> Response:
        why = self.service.unready
        return _response({"status": why or "ready"}, 503 if why else 200)

    async def _metrics(self, request: Request) -> Response:
        from starlette.responses import PlainTextResponse

        self._authorise(request.scope["headers"])
        return PlainTextResponse(self.metrics.text(self.service.gauges()), media_type="text/plain; version=0.0.4")

    async def _version(self, request: Request) -> Response:
        self._authorise(request.scope["headers"])
        return _response(as_object(self.service.version()))

    async def _dashboard(self, request: Request) -> Response:
        from starlette.responses import Response

        self._authorise(request.scope["headers"])
        content = None if self._page is None else self._page.content()
        if content is None:
            raise Refused(
                404, "there is no dashboard", "`fraudctl dashboard` writes it; run it as often as it is wanted"
            )
        headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
        return Response(content, headers=headers, media_type="text/html; charset=utf-8")

    async def _openapi(self, request: Request) -> Response:
        from fraudctl.server.openapi import document

        self._authorise(request.scope["headers"])
        return _response(document(self.service, secured=self._bearer is not None))

    def _bug(self, error: Exception) -> Refused:
        self.service.log.say("bug", "error", **self.service.log.about(error))
        return Refused(500, "fraudctl has a bug")


_ROUTES: Final = frozenset(
    {
        "/decisions",
        "/labels",
        "/admin/reload",
        "/healthz",
        "/readyz",
        "/metrics",
        "/version",
        "/openapi.json",
        "/dashboard",
    }
)


def _too_large(limit: int) -> Refused:
    return Refused(413, f"the body is larger than {limit} bytes", "send fewer items at a time")


async def _body(receive: Receive, limit: int) -> bytes:
    message = await receive()
    body = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > limit:
            raise _too_large(limit)
        return bytes(body)
    parts, size = [body], len(body)
    while message.get("more_body"):
        if size > limit:
            raise _too_large(limit)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the client went away")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > limit:
        raise _too_large(limit)
    return b"".join(parts)


def _refusal(error: FraudctlError) -> Refused:
    refused = Refused(status_of(error), error.message)
    refused.document = {"error": error_document(error)}
    return refused


def _headers(status: int) -> list[tuple[bytes, bytes]]:
    """Return what goes with a refusal; a connection whose request was not read to its end is closed."""
    more = {401: [(b"www-authenticate", b"Bearer")], 429: [(b"retry-after", b"1")], 503: [(b"retry-after", b"1")]}
    closing = [(b"connection", b"close")] if status in {401, 408, 413, 415} else []
    return [_JSON, *more.get(status, []), *closing]


async def _refuse(send: Send, refused: Refused) -> int:
    body = wire.dumps(refused.document)
    headers = [*_headers(refused.status), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return refused.status


def _response(document: Any, status: int = 200) -> Response:
    from starlette.responses import Response

    headers = {name.decode(): value.decode() for name, value in _headers(status) if status >= 400}
    return Response(wire.dumps(document), status, headers, media_type="application/json")


async def _refused(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)  # noqa: S101 - by its registration
    return _response(refused.document, refused.status)


async def _fraudctl_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FraudctlError)  # noqa: S101 - by its registration
    status = 409 if request.url.path == "/admin/reload" and not isinstance(error, BusyError) else status_of(error)
    return _response({"error": error_document(error)}, status)


async def _http_error(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    response = _response({"error": {"message": str(getattr(error, "detail", error)), "hint": None}}, status)
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def _only_post(_: Request) -> Response:
    response = _response({"error": {"message": "Method Not Allowed", "hint": "use POST"}}, 405)
    response.headers["allow"] = "POST"
    return response
