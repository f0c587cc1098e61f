"""GET /dashboard sends the page as it was last written; the Grafana file names only metrics that there are."""

from __future__ import annotations

import asyncio
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from fraudctl.server.app import App
from fraudctl.server.pages import LARGEST, WrittenPage
from fraudctl.server.service import Limits, Service
from fraudctl.server.telemetry import BUCKETS, Log

GRAFANA = Path(__file__).parents[2] / "docs" / "grafana.json"


def service() -> Service:
    """A service whose engine has decided with three actions."""
    decider = SimpleNamespace(model="m", policy_version="p", features=SimpleNamespace(digest="d" * 64))
    features = SimpleNamespace(counters={"late": 1, "twice": 0}, n_entities=3, due=[])
    live = SimpleNamespace(features={"d" * 64: features}, counts={"events": 5, "labels": 1}, definitions={})
    engine = SimpleNamespace(
        champion=decider, challenger=decider, actions={"allow": 1, "review": 2, "block": 3},
        shadow_actions={"allow": 6}, live=live, logged=7, not_after=None, waiting=0,
        experiment=None, drawn={},
        store=SimpleNamespace(problem=None),
    )  # fmt: skip
    return Service(cast("Any", engine), load=cast("Any", None), log=Log(io.StringIO()), limits=Limits())


def get(app: App, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()], "root_path": "",
        "scheme": "http", "server": ("x", 80), "client": ("y", 1), "http_version": "1.1",
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    start = next(message for message in sent if message["type"] == "http.response.start")
    body = b"".join(message.get("body", b"") for message in sent)
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body


def test_the_page_is_sent_as_it_was_last_written(tmp_path: Path) -> None:
    file, now = tmp_path / "dashboard.html", [0.0]
    page = WrittenPage(file, clock=lambda: now[0])
    app = App(service(), token="".join(["s3", "cret"]), dashboard=page)
    bearer = {"Authorization": "Bearer s3cret"}
    assert get(app, "/dashboard")[0] == 401
    status, _, body = get(app, "/dashboard", **bearer)
    assert status == 404
    assert "fraudctl dashboard" in json.loads(body)["error"]["hint"]
    file.write_bytes(b"<p>one</p>")
    assert get(app, "/dashboard", **bearer)[0] == 404  # looked at a moment ago
    now[0] = 2.0
    status, headers, body = get(app, "/dashboard", **bearer)
    assert (status, body) == (200, b"<p>one</p>")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    new = tmp_path / "new"
    new.write_bytes(b"<p>two</p>")
    new.replace(file)
    assert get(app, "/dashboard", **bearer)[2] == b"<p>one</p>"
    now[0] = 4.0
    assert get(app, "/dashboard", **bearer)[2] == b"<p>two</p>"
    with file.open("wb") as stream:
        stream.truncate(LARGEST + 1)
    now[0] = 6.0
    assert get(app, "/dashboard", **bearer)[0] == 404
    assert get(App(service()), "/dashboard")[0] == 404
    assert 'route="/dashboard",status="200"' in get(app, "/metrics", **bearer)[2].decode()


def test_grafana_names_metrics_that_there_are() -> None:
    app = App(service())
    get(app, "/version")
    status, _, body = get(app, "/metrics")
    assert status == 200, body
    text = body.decode()
    there = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    document = json.loads(GRAFANA.read_text())
    expressions = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    named = {name for text in expressions for name in re.findall(r"fraudctl_\w+", text)}
    assert len(named) > 10
    assert named - there == set()
    shown = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in named}
    known = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in there}
    assert known - shown == {"fraudctl_connections_closed_total"}
    labels_used = {name for text in expressions for name in re.findall(r"by \(([^)]*)\)", text)}
    assert labels_used <= {"route", "route, status", "le", "role, action", "what"}


def test_the_series_of_metrics_are_few_and_have_no_ids() -> None:
    app = App(service())
    for path in ("/version", "/metrics", "/nothing/1234", "/nothing/5678", "/openapi.json", "/sources/a", "/sources/b"):
        get(app, path)
    text = get(app, "/metrics")[2].decode()
    series = [line for line in text.splitlines() if not line.startswith("#")]
    names = {name for line in series for name in re.findall(r'(\w+)="', line)}
    assert names <= {"route", "status", "le", "model", "policy", "challenger", "role", "action", "features", "what"}
    assert "1234" not in text  # a path that is no route is `other`
    # every route with every status that it can have, beside all that does not depend on requests
    routes = {line for line in series if line.startswith("fraudctl_requests_total")}
    others = len(series) - len(routes)
    assert others < 60
    assert len(BUCKETS) < 15
    assert others + 11 * 12 < 200
