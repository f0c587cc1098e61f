"""Delta and Iceberg tables for tests, with deletes that libraries read and do not write."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_MAGIC = 1681511377


N = 600
TOML = """
[data]
events = "events"
event_id = "id"
event_time = "at"
amount = "amount"
label = "fraud"
label_time = "known"
label_delay = "5d"
{more}
[entities]
holder = "card"
[[features.window]]
by = "holder"
windows = ["1d", "7d"]
aggregates = ["count", "sum(amount)", "mean(amount)"]
[[features.labels]]
by = "holder"
windows = ["30d"]
aggregates = ["fraud_count"]
"""


def events() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    at = [datetime(2024, 1, 1) + timedelta(minutes=int(m)) for m in np.sort(rng.integers(0, 60 * 1440, N))]
    return pl.DataFrame({
        "id": range(N), "at": at, "amount": rng.gamma(2, 30, N).round(2),
        "card": [f"c{i}" for i in rng.integers(0, 40, N)], "fraud": rng.random(N) < 0.1,
        "known": [t + timedelta(days=3) for t in at],
    }).with_columns(pl.col("fraud").cast(pl.Int8))  # fmt: skip


def z85(content: bytes) -> str:
    out = []
    for (number,) in struct.iter_unpack(">I", content):
        digits = []
        for _ in range(5):
            number, digit = divmod(number, 85)
            digits.append(_Z85[digit])
        out += reversed(digits)
    return "".join(out)


def write_delta(path: Path, frame: pl.DataFrame, mode: Any = "error", **more: Any) -> None:
    from deltalake import write_deltalake

    write_deltalake(str(path), frame.to_arrow(), mode=mode, **more)


def delete_by_vector(path: Path, file: str, rows: Sequence[int]) -> None:
    """Commit a deletion vector: rows of a file are gone, and the file stays as it is."""
    import json

    from deltalake import DeltaTable
    from pyroaring import BitMap64

    version = DeltaTable(str(path)).version() + 1
    old = next(
        item["add"]
        for log in sorted((path / "_delta_log").glob("*.json"), reverse=True)
        for item in map(json.loads, log.read_text().splitlines())
        if "add" in item and item["add"]["path"] == file
    )
    data = struct.pack("<I", _MAGIC) + bytes(BitMap64(rows).serialize())
    vector = {
        "storageType": "i", "pathOrInlineDv": z85(data + b"\0" * (-len(data) % 4)), "sizeInBytes": len(data),
        "cardinality": len(rows),
    }  # fmt: skip
    actions = [
        {"commitInfo": {"timestamp": 0, "operation": "DELETE"}},
        {"remove": {"path": file, "deletionTimestamp": 0, "dataChange": True}},
        {"add": {**old, "deletionVector": vector}},
    ]
    (path / "_delta_log" / f"{version:020}.json").write_text("\n".join(map(json.dumps, actions)) + "\n")


def iceberg_catalog(place: Path | str, **properties: str) -> Any:
    """Return a catalog whose tables are below a folder or an address."""
    from pyiceberg.catalog.sql import SqlCatalog

    warehouse = f"file://{place}" if isinstance(place, Path) else place
    catalog = SqlCatalog("test", uri="sqlite:///:memory:", warehouse=warehouse, **properties)
    catalog.create_namespace("n")
    return catalog


def iceberg_table(catalog: Any, frame: pl.DataFrame, name: str = "t", partition_by: str | None = None) -> Any:
    table = catalog.create_table(f"n.{name}", schema=frame.to_arrow().schema)
    if partition_by is not None:
        with table.update_spec() as change:
            change.add_identity(partition_by)
        table.refresh()
    table.append(frame.to_arrow())
    return table


def delete_by_file(
    table: Any, deleted: pl.DataFrame, *, equality: bool, partition: Any = None, puffin: bool = False
) -> None:
    """Commit a delete file to an Iceberg table: positions (``file_path``, ``pos``), or values (``id``).

    With ``puffin`` the manifest calls it a file of deletion vectors, which it is not.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyiceberg.manifest import (
        DataFile,
        DataFileContent,
        FileFormat,
        ManifestContent,
        ManifestEntry,
        ManifestEntryStatus,
        ManifestWriterV2,
        write_manifest_list,
    )  # fmt: skip
    from pyiceberg.table.snapshots import Operation, Snapshot, Summary
    from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
    from pyiceberg.typedef import Record

    folder = table.location()
    ids = {"file_path": 2147483546, "pos": 2147483545, "id": 1}
    fields = [
        pa.field(name, pa.string() if name == "file_path" else pa.int64(), nullable=False,
                 metadata={"PARQUET:field_id": str(ids[name])})
        for name in deleted.columns
    ]  # fmt: skip
    place = f"{folder}/data/{uuid.uuid4()}-deletes.parquet"
    arrays = [
        pa.array(deleted[name].to_list(), field.type) for name, field in zip(deleted.columns, fields, strict=True)
    ]
    with table.io.new_output(place).create() as out:
        pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), out)

    class DeleteManifest(ManifestWriterV2):
        def content(self) -> ManifestContent:
            return ManifestContent.DELETES

        @property
        def _meta(self) -> dict[str, str]:
            return {**super()._meta, "content": "deletes"}

    parent, snapshot_id = table.current_snapshot(), int(uuid.uuid4()) >> 66
    content = DataFileContent.EQUALITY_DELETES if equality else DataFileContent.POSITION_DELETES
    file = DataFile.from_args(
        content=content, file_path=place, file_format=FileFormat.PUFFIN if puffin else FileFormat.PARQUET,
        partition=partition or Record(), record_count=deleted.height,
        file_size_in_bytes=len(table.io.new_input(place)), equality_ids=[1] if equality else None,
    )  # fmt: skip
    manifest = f"{folder}/metadata/{uuid.uuid4()}-m0.avro"
    sequence = table.metadata.last_sequence_number + 1
    with DeleteManifest(table.spec(), table.schema(), table.io.new_output(manifest), snapshot_id, "null") as writer:
        writer.add_entry(ManifestEntry.from_args(
            status=ManifestEntryStatus.ADDED, snapshot_id=snapshot_id, sequence_number=None,
            file_sequence_number=None, data_file=file,
        ))  # fmt: skip
    added = writer.to_manifest_file()
    listed = f"{folder}/metadata/snap-{snapshot_id}.avro"
    with write_manifest_list(2, table.io.new_output(listed), snapshot_id, parent.snapshot_id, sequence, "null") as out:
        out.add_manifests([added, *parent.manifests(table.io)])
    import time

    snapshot = Snapshot(
        snapshot_id=snapshot_id, parent_snapshot_id=parent.snapshot_id, sequence_number=sequence,
        timestamp_ms=int(time.time() * 1000), manifest_list=listed, summary=Summary(Operation.DELETE),
        schema_id=table.schema().schema_id,
    )  # fmt: skip
    with table.transaction() as change:
        change._apply((
            AddSnapshotUpdate(snapshot=snapshot),
            SetSnapshotRefUpdate(snapshot_id=snapshot_id, parent_snapshot_id=parent.snapshot_id, ref_name="main",
                                 type="branch"),
        ))  # fmt: skip
