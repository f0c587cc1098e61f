"""Tables beside the events: found like the events' own roles, refused where in doubt."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl import build_features, load_project
from fraudctl.errors import ProjectError, UsageError
from fraudctl.propose import Flags, Proposal, parse_sources, propose, render_project
from fraudctl.workflows.init import init_project

START = datetime(2024, 1, 1)
N = 2_000


def events() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(N)],
            "created_at": [START + timedelta(hours=1.2 * i) for i in range(N)],
            "amount": rng.lognormal(3, 1, N),
            "customer_id": rng.integers(0, 200, N),
            "device_id": [f"d{i}" for i in rng.integers(0, 300, N)],
            "is_fraud": (rng.uniform(size=N) < 0.05).astype(np.int8),
        }
    )


def logins() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "at": [START + timedelta(hours=0.8 * i) for i in range(3 * N // 2)],
            "CustomerId": rng.integers(0, 200, 3 * N // 2),
            "device_id": [f"d{i}" for i in rng.integers(0, 300, 3 * N // 2)],
            "ok": rng.random(3 * N // 2) < 0.9,
        }
    )


def proposed(source: pl.DataFrame, **flags: object) -> Proposal:
    settled = Flags(label_delay="7d", **flags)  # type: ignore[arg-type]
    tables = {"logins": (source.lazy(), ["logins.parquet"])}
    return propose(events().lazy(), events=("events.parquet",), flags=settled, sources=tables)


def test_time_and_entities_are_found_and_every_entity_is_counted() -> None:
    proposal = proposed(logins())
    (source,) = proposal.sources
    assert source.event_time.column == "at"
    assert source.entities == {"customer": "CustomerId", "device": "device_id"}
    assert [(group.by, group.aggregates, group.windows) for group in source.groups] == [
        (("customer", "device"), ("count",), ("1h", "1d", "7d")),
        (("customer",), ("nunique(device)",), ("7d",)),
        (("device",), ("nunique(customer)",), ("7d",)),
        (("customer", "device"), ("mean(ok)",), ("1d", "7d")),
    ]
    assert proposal.to_dict()["sources"]["logins"]["entities"]["customer"] == "CustomerId"


def test_the_written_project_builds_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    events().write_parquet("events.parquet")
    logins().write_parquet("logins.parquet")
    flags = Flags(label_delay="7d", sources=("logins=logins.parquet",))
    result = init_project(["events.parquet"], place=tmp_path / "in", flags=flags)
    assert "../logins.parquet" in result.path.read_text(encoding="utf-8")
    table = build_features(load_project(result.path))
    last = table.frame.row(-1, named=True)
    mine = logins().filter(
        (pl.col("CustomerId") == last["customer"])
        & (pl.col("at") < last["event_time"].replace(tzinfo=None))
        & (pl.col("at") > last["event_time"].replace(tzinfo=None) - timedelta(days=7))
    )
    assert last["customer_logins_count_7d"] == mine.height
    assert last["customer_logins_nunique_device_7d"] == mine["device_id"].n_unique()


def test_what_is_in_doubt_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no column of logins\.parquet holds the ids of an entity") as caught:
        proposed(logins().select("at", "ok"))
    assert "[sources]" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="CustomerId, customer_ref could both be the entity 'customer'"):
        proposed(logins().with_columns(customer_ref="CustomerId"))
    with pytest.raises(UsageError, match=r"source 'logins': .*time"):
        proposed(logins().drop("at"))
    text_ids = proposed(logins().with_columns(pl.col("CustomerId").cast(pl.String)))
    assert text_ids.sources[0].entities == {"device": "device_id"}
    tables, timeless = {"logins": (logins().lazy(), ["logins.parquet"])}, events().drop("created_at").lazy()
    with pytest.raises(UsageError, match="these events have no time"):
        propose(timeless, events=("x.parquet",), flags=Flags(random_split=True), sources=tables)


def test_the_flag_is_read_strictly() -> None:
    assert parse_sources(["a=x.parquet", "b=y=z.csv"]) == {"a": "x.parquet", "b": "y=z.csv"}
    for bad in (["logins"], ["Logins=x"], ["a=x", "a=y"], ["a="]):
        with pytest.raises(UsageError, match="--source"):
            parse_sources(bad)


def test_without_a_source_nothing_is_said_of_one() -> None:
    proposal = propose(events().lazy(), events=("events.parquet",), flags=Flags(label_delay="7d"))
    assert proposal.sources == ()
    assert "sources" not in render_project(proposal)


def test_a_column_with_the_name_of_a_role_is_left_out_with_its_reason(tmp_path: Path) -> None:
    renamed = events().rename({"amount": "amount_eur"}).with_columns(amount=pl.lit(1.5) * pl.col("amount_eur"))
    renamed.write_parquet(tmp_path / "e.parquet")
    flags = Flags(label_delay="7d", amount="amount_eur")
    found = init_project([str(tmp_path / "e.parquet")], place=tmp_path, flags=flags).proposal
    assert "rename this one" in {item.column: item.reason for item in found.rest.ignored}["amount"]


def test_no_file_is_written_that_would_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    events().with_columns(channel=pl.Series(["web", "app"] * (N // 2))).write_parquet("events.parquet")
    flags = Flags(label_delay="7d", entities=("channel=customer_id",))
    with pytest.raises(ProjectError, match="no file is written") as caught:
        init_project(["events.parquet"], place=tmp_path, flags=flags)
    assert "--ignore channel leaves the column out" in (caught.value.hint or "")
    assert not (tmp_path / "fraudctl.toml").exists()
    assert (
        init_project(["events.parquet"], place=tmp_path, flags=replace(flags, ignore=("channel",))).power.n_frauds > 0
    )


def test_a_hash_of_64_bits_is_ignored_with_its_reason() -> None:
    hashed = events().with_columns(pl.Series("digest", [2**63 + 7919 * i for i in range(N)], dtype=pl.UInt64))
    found = propose(hashed.lazy(), events=("e.parquet",), flags=Flags(label_delay="7d"))
    assert {item.column: item.reason for item in found.rest.ignored}["digest"].startswith("whole numbers beyond 63")


def accounts(*, texts: bool) -> pl.DataFrame:
    """Return one row for each customer, with attributes of every kind."""
    opened = [START - timedelta(days=i % 90, hours=i % 5) for i in range(200)]
    return pl.DataFrame({
        "updated_at": [START + timedelta(days=i % 40) for i in range(200)],
        "customer_id": range(200),
        "opened_at": [str(item) for item in opened] if texts else opened,
        "segment": ["retail", "business"] * 100, "credit_limit": [i * 10.5 for i in range(200)],
        "vip": [i % 3 == 0 for i in range(200)],
        "fraud_status": [i % 7 for i in range(200)], "note": [f"n{i}" for i in range(200)], "one": [1] * 200,
        "device_ref": range(200),
    })  # fmt: skip


@pytest.mark.parametrize("texts", [False, True])
def test_attributes_and_ages_are_proposed_and_can_be_taken_in(tmp_path: Path, *, texts: bool) -> None:
    events().write_parquet(tmp_path / "events.parquet")
    frame = accounts(texts=texts)
    frame = frame.rename({"updated_at": "event_time"})  # what names the time of a row
    frame.write_parquet(tmp_path / "accounts.parquet")
    flags = Flags(label_delay="7d", sources=(f"accounts={tmp_path / 'accounts.parquet'}",))
    result = init_project([str(tmp_path / "events.parquet")], place=tmp_path / "fraudctl.toml", flags=flags)
    (extra,) = [item for item in result.proposal.extras if item.family == "lookup"]
    columns = ("opened_at", "segment", "credit_limit", "vip")
    assert extra.sections == (("lookup", {"source": "accounts", "by": ("customer",), "columns": columns}),)
    text = result.path.read_text(encoding="utf-8")
    before = load_project(result.path)
    assert not before.features.lookup
    result.path.write_text(
        text.replace("\n".join(f"# {line}" for line in extra.lines), "\n".join(extra.lines)), encoding="utf-8"
    )
    table = build_features(load_project(result.path)).frame
    last = table.row(-1, named=True)
    opened = START - timedelta(days=last["customer"] % 90, hours=last["customer"] % 5)
    seconds = (last["event_time"].replace(tzinfo=None) - opened).total_seconds()
    assert last["customer_accounts_seconds_since_opened_at"] == seconds
    assert last["customer_accounts_segment"] == ("retail", "business")[last["customer"] % 2]
    assert extra.n_features == sum(name.startswith("customer_accounts_") for name in table.columns) - sum(
        name.startswith(("customer_accounts_count", "customer_accounts_nunique", "customer_accounts_mean"))
        for name in table.columns
    )
