"""The page from a laptop to a cluster is true: its commands run in order on stand-ins, and print what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster.test_session import why_not_sail
from object_store import running_store
from sessions import blocks_of, printed_by, wrong_in

PAGE = (Path(__file__).parents[2] / "docs" / "places.md").read_text(encoding="utf-8")


@pytest.mark.skipif(why_not_sail() is not None, reason=str(why_not_sail()))
@pytest.mark.filterwarnings("ignore")
def test_every_command_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("confluent_kafka")
    pytest.importorskip("obstore")
    from confluent_kafka import Producer
    from kafka_cluster import Cluster

    cluster = Cluster()
    producer = Producer({"bootstrap.servers": cluster.servers, "log_level": 2})
    monkeypatch.setenv("BROKERS", cluster.servers)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    with running_store() as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
        for name in ("payments", "decisions", "decisions.dead"):
            producer.list_topics(name, timeout=30)  # the mock cluster makes a topic that is asked for
        blocks = blocks_of(PAGE)
        assert len(blocks) == 6
        assert wrong_in(blocks, printed_by(blocks, tmp_path)) == {}
