"""Commands on an object store (S3 on loopback): what they read and write, how often they ask, and what goes wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest
from command_line import run_in
from lakes import TOML, delete_by_file, delete_by_vector, events, iceberg_catalog, iceberg_table, write_delta
from object_store import SECRETS, ObjectStore, running_store
from polars.testing import assert_frame_equal

from fraudctl.disk import stores
from fraudctl.errors import DataError, UsageError
from fraudctl.normal import files, lake

pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def _running() -> Iterator[ObjectStore]:
    with running_store() as found:
        yield found


@pytest.fixture
def store(_running: ObjectStore) -> Iterator[ObjectStore]:
    yield _running
    _running.empty()


def project(folder: Path, store: ObjectStore, events: str = "s3://fraud/tx", storage: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = TOML.format(more="").replace('events = "events"', f'events = "{events}"')
    (folder / "fraudctl.toml").write_text(f'{text}\n[storage]\nendpoint = "{store.endpoint}"\n{storage}')
    return folder


def put_frames(store: ObjectStore, frame: pl.DataFrame, *keys: str) -> None:
    size = -(-frame.height // len(keys))
    for number, key in enumerate(keys):
        out = BytesIO()
        part = frame[number * size : (number + 1) * size]
        part.write_csv(out) if key.endswith(".csv") else part.write_parquet(out)
        store.put(key, out.getvalue())


def built(folder: Path) -> pl.DataFrame:
    done = run_in(folder, "features", "-o", "out.parquet", "--quiet")
    assert done.code == 0, done.err
    return pl.read_parquet(folder / "out.parquet")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    folder = tmp_path_factory.mktemp("plain")
    (folder / "fraudctl.toml").write_text(TOML.format(more=""))
    (folder / "events").mkdir()
    events().write_parquet(folder / "events/a.parquet")
    return built(folder)


KEYS = ("tx/p=1/a b.parquet", "tx/p=1/ü.parquet", "tx/p=2/c.parquet")


@pytest.mark.parametrize(
    ("events_at", "keys"),
    [
        ("s3://fraud/tx", KEYS), ("s3://fraud/tx/", KEYS), ("s3://fraud/tx/**/*.parquet", KEYS),
        ("s3://fraud/tx/p=?/*.parquet", KEYS), ("s3://fraud/one.parquet", ("one.parquet",)),
        ("s3://fraud/tx", ("tx/a.csv", "tx/b.csv")), ("s3://fraud", ("a.parquet",)),
    ],
)  # fmt: skip
def test_features_of_objects_are_those_of_the_same_files(
    events_at: str, keys: tuple[str, ...], store: ObjectStore, tmp_path: Path, expected: pl.DataFrame
) -> None:
    put_frames(store, events(), *keys)
    folder = project(tmp_path, store, events_at)
    ids = pl.col("event_id").cast(pl.Int64)  # text in CSV
    assert_frame_equal(
        built(folder).select(expected.columns).with_columns(ids).sort("event_time", "event_id"), expected
    )
    memory = run_in(folder, "features", "--memory", "500MB", "-o", "m.parquet", "--quiet")
    assert memory.code == 0, memory.err
    found = pl.read_parquet(folder / "m.parquet").select(expected.columns)
    assert_frame_equal(found.with_columns(ids).sort("event_time", "event_id"), expected)


def test_requests_grow_with_what_is_new_and_not_with_what_is_there(
    store: ObjectStore, tmp_path: Path, expected: pl.DataFrame
) -> None:
    n = 12
    put_frames(store, events()[:500], *(f"tx/{i:02}.parquet" for i in range(n)))
    folder = project(tmp_path, store)
    with store.counted() as first:
        built(folder)
    gets = [path for method, path in first if method == "GET" and path.startswith("/fraud/tx/")]
    assert sorted(gets) == sorted(set(gets))
    assert len(gets) == n
    assert len(first) <= n + 4
    with store.counted() as again:
        built(folder)
    assert len(again) <= 4
    put_frames(store, events()[500:], "tx/99.parquet")
    with store.counted() as more:
        assert_frame_equal(built(folder), expected)
    assert [path for _, path in more if path.endswith(".parquet")] == ["/fraud/tx/99.parquet"]


def test_since_reads_only_new_objects(store: ObjectStore, tmp_path: Path) -> None:
    put_frames(store, events()[:500], "tx/0.parquet", "tx/1.parquet")
    folder = project(tmp_path, store)
    day = f"{events()['at'][500]:%Y-%m-%d}"
    run_in(folder, "features", "--since", day, "-o", "a.parquet")
    put_frames(store, events()[500:], "tx/2.parquet")
    with store.counted() as more:
        done = run_in(folder, "features", "--since", day, "-o", "b.parquet")
    assert done.code == 0, done.err
    assert "no state fits" not in done.err
    assert {path for _, path in more if path.endswith(".parquet")} == {"/fraud/tx/2.parquet"}
    whole = built(folder).filter(pl.col("event_time") >= pl.lit(day).str.to_datetime(time_zone="UTC"))
    assert_frame_equal(pl.read_parquet(folder / "b.parquet").select(whole.columns), whole)
    put_frames(store, events()[:250], "tx/0.parquet")
    store.put("tx/0.parquet", store.get("tx/1.parquet"))
    moved = run_in(folder, "features", "--since", day, "-o", "c.parquet")
    assert "0.parquet has changed" in moved.err


def test_outputs_go_to_the_store_whole_and_make_no_folder(
    store: ObjectStore, tmp_path: Path, expected: pl.DataFrame
) -> None:
    put_frames(store, events(), "tx/a.parquet")
    folder = project(tmp_path, store)
    done = run_in(folder, "features", "-o", "s3://fraud/out/f.parquet", "--json")
    assert done.code == 0, done.err
    assert done.json["output"] == "s3://fraud/out/f.parquet"
    assert_frame_equal(pl.read_parquet(BytesIO(store.get("out/f.parquet"))), expected)
    shown = run_in(folder, "features", "-o", "s3://fraud/out/f.parquet", "--memory", "500MB")
    assert "wrote s3://fraud/out/f.parquet" in shown.out
    assert sorted(path.name for path in folder.iterdir()) == [".fraudctl", "fraudctl.toml"]
    over = run_in(folder, "features", "-o", "s3://fraud/tx/a.parquet")
    assert over.code == 2
    assert "is a file that is read" in over.err


def test_a_write_that_fails_leaves_what_was_there(store: ObjectStore) -> None:
    stores.begin(stores.Settings(endpoint=store.endpoint), None)
    store.put("x.txt", b"old")

    def fail() -> None:
        with stores.whole_object("s3://fraud/x.txt") as path:
            path.write_bytes(b"new, and cut")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.get("x.txt") == b"old"
    with stores.whole_object("s3://fraud/x.txt") as path:
        path.write_bytes(b"new")
    assert store.get("x.txt") == b"new"
    with pytest.raises(UsageError, match="there is no bucket 'nowhere'"):
        stores.replace("s3://nowhere/x", b"new", seen=None)


def test_scores_are_read_from_and_written_to_a_store(store: ObjectStore, trained: Path, tmp_path: Path) -> None:
    new = pl.read_parquet(trained / "transactions.parquet").unique("transaction_id").sort("created_at")[-50:]
    put_frames(store, new, "new/a.parquet")
    done = run_in(trained, "score", "s3://fraud/new", "-o", "s3://fraud/scores.parquet", "--json",
                  env={"AWS_ENDPOINT_URL": store.endpoint})  # fmt: skip
    assert done.code == 0, done.err
    new.write_parquet(tmp_path / "new.parquet")
    local = run_in(trained, "score", str(tmp_path / "new.parquet"), "-o", str(tmp_path / "s.parquet"), "--json")
    assert local.code == 0
    assert done.json["output"] == "s3://fraud/scores.parquet"
    assert_frame_equal(pl.read_parquet(BytesIO(store.get("scores.parquet"))), pl.read_parquet(tmp_path / "s.parquet"))


def test_init_looks_at_objects(store: ObjectStore, tmp_path: Path) -> None:
    put_frames(store, events(), "tx/a.csv")
    done = run_in(tmp_path, "init", "s3://fraud/tx", "--label-delay", "5d", "--json", "--label-time", "known",
                  env={"AWS_ENDPOINT_URL": store.endpoint})  # fmt: skip
    assert done.code == 0, done.err
    assert 'events = "s3://fraud/tx"' in (tmp_path / "fraudctl.toml").read_text()


@pytest.mark.parametrize(
    ("at", "env", "words"),
    [
        ("s3://nowhere/tx", {}, "there is no bucket 'nowhere'"),
        ("s3://fraud/none", {}, "no Parquet, CSV or JSON lines object at s3://fraud/none"),
        ("s3://fraud/none.parquet", {}, "no Parquet, CSV or JSON lines object at s3://fraud/none.parquet"),
        ("s3://fraud/tx", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "the store cannot be reached"),
    ],
)
def test_what_is_wrong_is_named(at: str, env: dict[str, str], words: str, store: ObjectStore, tmp_path: Path) -> None:
    folder = project(tmp_path, store, at)
    if env:
        text = (folder / "fraudctl.toml").read_text()
        (folder / "fraudctl.toml").write_text(re.sub(r"endpoint = .*", "", text))
    done = run_in(folder, "features", env=env)
    assert done.code == 3
    assert words in done.err
    assert "hint:" in done.err
    assert "truncated" not in done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Client error with status 403 Forbidden: <Code>InvalidAccessKeyId</Code>", "the credentials were refused"),
        ("403 Forbidden: <Code>SignatureDoesNotMatch</Code>", "the credentials were refused"),
        ("403 Forbidden: <Code>AccessDenied</Code>", "may not do this in bucket 'b'"),
        ("400: <Code>AuthorizationHeaderMalformed</Code> expecting 'eu-west-1'", "is in another region"),
        ("Error performing PUT http://169.254.169.254/latest/api/token in 1ms", "no credentials were found"),
        ("HTTP error: error sending request", "the store cannot be reached"),
        ("something else", "the store answered with an error"),
    ],
)
def test_answers_of_stores_are_told_apart_and_never_shown(text: str, words: str) -> None:
    from obstore.exceptions import GenericError

    with pytest.raises(stores.DataError, match=re.escape(words)) as caught, stores.explained("s3://b/k"):
        raise GenericError(text + " for account 123456")
    assert "123456" not in caught.value.message
    assert caught.value.hint


def test_an_object_that_is_replaced_while_it_is_read_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    stores.begin(stores.Settings(endpoint=store.endpoint), tmp_path)
    store.put("a.parquet", b"one")
    (item,) = stores.found("s3://fraud/a.parquet")
    store.put("a.parquet", b"two")
    with pytest.raises(stores.DataError, match="was replaced while it was read"):
        stores.local(item.address)
    stores.begin(stores.Settings(endpoint=store.endpoint), tmp_path)
    assert stores.local(item.address).read_bytes() == b"two"
    assert len(list((tmp_path / "s3/fraud").iterdir())) == 1


def test_of_two_that_write_one_wins(store: ObjectStore, tmp_path: Path) -> None:
    stores.begin(stores.Settings(endpoint=store.endpoint), tmp_path)
    stores.replace("s3://fraud/log", b"1", seen=None)
    with pytest.raises(stores.RacedError):
        stores.replace("s3://fraud/log", b"other", seen=None)
    content, etag = stores.read("s3://fraud/log") or (b"", None)
    assert content == b"1"
    stores.replace("s3://fraud/log", b"2", seen=etag)
    with pytest.raises(stores.RacedError):
        stores.replace("s3://fraud/log", b"3", seen=etag)
    assert stores.read("s3://fraud/none") is None


@pytest.mark.parametrize("key", ["secret_access_key", "access_key_id", "token", "password", "key", "account_key"])
def test_secrets_in_the_project_file_are_refused(key: str, store: ObjectStore, tmp_path: Path) -> None:
    done = run_in(project(tmp_path, store, storage=f'{key} = "hunter2hunter2"\n'), "features")
    assert done.code == 2
    assert f"{key} is a secret" in done.err
    assert "hunter2" not in done.err


def test_an_endpoint_with_a_password_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    folder = project(tmp_path, store)
    text = (folder / "fraudctl.toml").read_text()
    (folder / "fraudctl.toml").write_text(text.replace("http://", "http://user:hunter2@"))
    done = run_in(folder, "features")
    assert done.code == 2
    assert "holds a user, a password or a token" in done.err
    assert "hunter2" not in done.err


def test_a_profile_gives_credentials(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_frames(store, events(), "tx/a.parquet")
    (tmp_path / "aws").write_text("[fraud]\naws_access_key_id = x\naws_secret_access_key = y\n")
    for name in SECRETS:
        if name != "AWS_REGION":
            monkeypatch.delenv(name)
    env = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws"), "AWS_CONFIG_FILE": str(tmp_path / "none")}
    folder = project(tmp_path / "p", store, storage='profile = "fraud"\n')
    assert run_in(folder, "features", env=env).code == 0
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        options = stores.options_of("s3://fraud/table")
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")
    assert [options[name] for name in names] == ["x", "y", store.endpoint]
    other = run_in(project(tmp_path / "q", store, storage='profile = "nobody"\n'), "features", env=env)
    assert other.code == 3
    assert "there is no profile 'nobody'" in other.err


def upload(store: ObjectStore, folder: Path, key: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            store.put(f"{key}/{path.relative_to(folder)}", path.read_bytes())


def test_a_delta_table_in_a_store_is_read_by_version(
    store: ObjectStore, tmp_path: Path, expected: pl.DataFrame
) -> None:
    parted = events().with_columns(part=pl.col("card").str.replace("c", "ü c/%"))
    write_delta(tmp_path / "t", parted, partition_by=["part"], configuration={"delta.enableDeletionVectors": "true"})
    gone = delete_first_rows(tmp_path / "t")
    upload(store, tmp_path / "t", "tx")
    folder = project(tmp_path / "p", store)
    with store.counted() as asked:
        left = built(folder)
    assert left["event_id"].to_list() == [i for i in expected["event_id"].to_list() if i not in gone]
    data = [path for method, path in asked if method == "GET" and path.endswith(".parquet")]
    assert len(data) == len(set(data)) == parted["part"].n_unique()
    with store.counted() as again:
        built(folder)
    assert not [path for _, path in again if path.endswith(".parquet")]
    text = (folder / "fraudctl.toml").read_text()
    (folder / "fraudctl.toml").write_text(text.replace('event_id = "id"', 'event_id = "id"\ntable_as_of = 0'))
    assert_frame_equal(built(folder), expected)
    inside = run_in(project(tmp_path / "q", store, "s3://fraud/*/**"), "features")
    assert inside.code == 3
    assert "holds files of a table of Delta" in inside.err


def delete_first_rows(path: Path) -> set[int]:
    """Delete the first row of three files by vectors; give the ids."""
    from deltalake import DeltaTable

    gone = set()
    for file in sorted(pl.DataFrame(DeltaTable(str(path)).get_add_actions())["path"])[:3]:
        gone.add(pl.read_parquet(path / unquote(file), glob=False, hive_partitioning=False)["id"][0])
        delete_by_vector(path, file, [0])
    return gone


def test_without_the_extra_the_hint_says_how_to_install_it(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in ("obstore", "obstore.store"):
        monkeypatch.setitem(sys.modules, name, None)
    done = run_in(project(tmp_path, store), "features")
    assert done.code == 3
    assert "obstore is not installed" in done.err
    assert "pip install 'fraudctl[cloud]'" in done.err


# Iceberg

ICE = "s3://fraud/ice/n/t"


@pytest.fixture
def ice(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A catalog whose tables are in the store; the store is read by the settings of a project."""
    pytest.importorskip("pyiceberg")
    monkeypatch.setenv("PYICEBERG_MAX_WORKERS", "2")
    lake.begin()
    stores.begin(stores.Settings(endpoint=store.endpoint), None)
    yield iceberg_catalog("s3://fraud/ice", **{
        "s3.endpoint": store.endpoint, "s3.access-key-id": "test", "s3.secret-access-key": "test",
        "s3.region": "us-east-1",
    })  # fmt: skip
    lake.begin()


def small(ids: Sequence[int], **more: object) -> pl.DataFrame:
    return pl.DataFrame({"id": list(ids), "v": [i * 10 for i in ids], "p": [i % 2 for i in ids], **more})


def ice_rows(cache: Path, as_of: int | None = None, place: str = ICE) -> pl.DataFrame:
    stores.begin(stores._present.settings, cache)
    lake.begin()
    return lake.opened(files.find(place, root=cache, what="events", as_of=as_of).files[0]).collect().sort("id")


def test_every_snapshot_of_an_iceberg_table_in_a_store_has_the_rows_it_had(ice: Any, tmp_path: Path) -> None:
    table = iceberg_table(ice, small(range(8)), partition_by="p")
    assert table.location() == ICE
    table.append(small(range(8, 12)).to_arrow())
    truth = {table.current_snapshot().snapshot_id: list(range(12))}
    file = next(task.file for task in table.scan().plan_files() if 1 in read_back(table, task.file.file_path))
    places = pl.DataFrame({"file_path": [file.file_path], "pos": [0]})
    gone = read_back(table, file.file_path)[0]
    delete_by_file(table, places, equality=False, partition=file.partition)
    table.refresh()
    left = [i for i in range(12) if i != gone]
    truth[table.current_snapshot().snapshot_id] = left
    table.delete("id == 4")
    left = [i for i in left if i != 4]
    truth[table.current_snapshot().snapshot_id] = left
    columns = {item: ["id", "v", "p"] for item in truth}
    from pyiceberg.types import LongType

    with table.update_schema() as change:
        change.rename_column("v", "value")
    with table.update_schema() as change:
        change.add_column("w", LongType())
    assert ice_rows(tmp_path).columns == ["id", "value", "p", "w"]
    added = small(range(12, 14), w=[7, 8]).rename({"v": "value"})
    table.append(added.to_arrow())
    now = table.current_snapshot().snapshot_id
    truth[now], columns[now] = [*left, 12, 13], ["id", "value", "p", "w"]
    for snapshot, ids in truth.items():
        rows = ice_rows(tmp_path, snapshot)
        assert (rows["id"].to_list(), rows.columns) == (ids, columns[snapshot])
        assert rows.to_series(1).to_list() == [i * 10 for i in ids]
    got = ice_rows(tmp_path)
    assert got["id"].to_list() == truth[now]
    assert got["w"].to_list() == [None] * len(left) + [7, 8]
    assert len({lake.fingerprint(files.find(ICE, root=tmp_path, what="events", as_of=i).files[0]) for i in truth}) == 4


def read_back(table: Any, address: str) -> list[int]:
    import pyarrow.parquet as pq

    with table.io.new_input(address).open() as file:
        return [int(value) for value in pq.read_table(file)["id"].to_pylist()]


def test_columns_rows_and_conditions_of_an_iceberg_table_in_a_store_are_those_of_its_frame(
    ice: Any, tmp_path: Path
) -> None:
    frame = small(range(200))
    table = iceberg_table(ice, frame[:100])
    table.append(frame[100:].to_arrow())
    whole = ice_rows(tmp_path)
    assert_frame_equal(whole, frame)
    stores.begin(stores._present.settings, tmp_path)
    lazy = lake.opened(files.find(ICE, root=tmp_path, what="events").files[0])
    assert lazy.collect_schema() == frame.schema
    assert_frame_equal(lazy.select("v").collect().sort("v"), frame.select("v").sort("v"))
    assert_frame_equal(lazy.filter(pl.col("id") > 150).select("v").collect().sort("v"), frame[151:].select("v"))
    assert lazy.head(130).collect().height == 130
    assert lazy.slice(90, 20).collect().height == 20
    assert lazy.select(pl.len()).collect().item() == 200


def test_features_of_an_iceberg_table_in_a_store_are_those_of_a_file_and_objects_are_fetched_once(
    ice: Any, store: ObjectStore, tmp_path: Path
) -> None:
    table = iceberg_table(ice, events()[:400])
    table.append(events()[400:].to_arrow())
    put_frames(store, events(), "tx/a.parquet")
    expected = built(project(tmp_path / "plain", store))
    folder = project(tmp_path / "ice", store, ICE)
    assert_frame_equal(built(folder), expected)
    with store.counted() as requests:
        assert_frame_equal(built(folder), expected)
    assert [path for method, path in requests if method == "GET" and path.count("/") > 2] == []
    table.delete("id < 100")
    assert built(folder).height == 500


@pytest.mark.parametrize(("change", "words"), [
    ({"equality": True}, "equality deletes"), ({"equality": False, "puffin": True}, "vectors in Puffin files"),
])  # fmt: skip
def test_deletes_that_are_not_applied_are_refused_in_a_store(
    change: dict[str, bool], words: str, ice: Any, tmp_path: Path
) -> None:
    table = iceberg_table(ice, small(range(5)))
    before = table.current_snapshot().snapshot_id
    file = next(iter(table.scan().plan_files())).file.file_path
    named = {"id": [2]} if change["equality"] else {"file_path": [file], "pos": [2]}
    delete_by_file(table, pl.DataFrame(named), **change)
    with pytest.raises(DataError, match=words):
        ice_rows(tmp_path)
    assert ice_rows(tmp_path, before).height == 5


def test_an_iceberg_table_in_a_store_that_cannot_be_read_truly_is_refused(
    ice: Any, store: ObjectStore, tmp_path: Path
) -> None:
    table = iceberg_table(ice, small(range(5)))
    with pytest.raises(DataError, match="holds files of a table of Iceberg"):
        ice_rows(tmp_path, place="s3://fraud/ice")
    assert ice_rows(tmp_path, place=table.metadata_location).height == 5
    content = json.loads(store.get(table.metadata_location.removeprefix("s3://fraud/")))
    store.put("new/metadata/v1.metadata.json", json.dumps({**content, "format-version": 9}).encode())
    with pytest.raises(DataError, match="its log cannot be read"):
        ice_rows(tmp_path, place="s3://fraud/new")
    store.put("two/metadata/1-a.metadata.json", b"{}")
    store.put("two/metadata/1-b.metadata.json", b"{}")
    with pytest.raises(DataError, match="nothing says which is the newest"):
        ice_rows(tmp_path, place="s3://fraud/two")
    key = next(key for key in store.listed() if key.startswith("ice/n/t/data/"))
    store.client.delete_object(Bucket="fraud", Key=key)
    with pytest.raises(DataError, match=r"no object|cannot be read"):
        ice_rows(tmp_path / "empty")
