"""An S3 on loopback for tests: moto's server, its buckets, and every request that it got."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class ObjectStore:
    """A running store with one bucket, ``fraud``.

    Attributes
    ----------
    endpoint
        Its URL.
    requests
        Method and path of every request, oldest first.
    """

    endpoint: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    client: Any = None

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket="fraud", Key=key, Body=content)

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket="fraud", Key=key)["Body"].read())

    def listed(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket="fraud").get("Contents", [])
        return [item["Key"] for item in found]

    def empty(self) -> None:
        """Delete all objects, and forget what this process knows of stores."""
        from fraudctl.disk import stores

        for key in self.listed():
            self.client.delete_object(Bucket="fraud", Key=key)
        stores.begin(stores.Settings(), None)

    @contextmanager
    def counted(self) -> Iterator[list[tuple[str, str]]]:
        """Yield the list that requests within the block go to."""
        self.requests.clear()
        yield self.requests


SECRETS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@contextmanager
def running_store() -> Iterator[ObjectStore]:
    """Start a store on a free port of loopback; it ends with the block."""
    boto3, server = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    found = ObjectStore("")
    plain = DomainDispatcherApplication.__call__

    def noted(self: Any, environ: dict[str, Any], start: Any) -> Any:
        found.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        return plain(self, environ, start)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setattr(DomainDispatcherApplication, "__call__", noted)
        running.start()
        try:
            host, port = running.get_host_and_port()
            found.endpoint = f"http://{host}:{port}"
            found.client = boto3.client("s3", endpoint_url=found.endpoint, region_name="us-east-1")
            found.client.create_bucket(Bucket="fraud")
            yield found
        finally:
            running.stop()
