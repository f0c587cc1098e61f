from pathlib import Path

from pyarrow import Schema, Table

class FileMetaData:
    num_rows: int

class ParquetFile:
    metadata: FileMetaData
    def __init__(self, source: Path | str) -> None: ...

class ParquetWriter:
    def __init__(
        self, where: Path | str, schema: Schema, *, compression: str = "snappy", compression_level: int | None = None,
        store_schema: bool = True,
    ) -> None: ...
    def write_table(self, table: Table) -> None: ...
    def close(self) -> None: ...
