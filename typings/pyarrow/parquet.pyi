from pathlib import Path

class FileMetaData:
    num_rows: int

class ParquetFile:
    metadata: FileMetaData
    def __init__(self, source: Path | str) -> None: ...
