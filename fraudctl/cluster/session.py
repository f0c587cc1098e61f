"""Apache Spark, or Sail, as the engine that moves bytes between stages: its DataFrame API and nothing else.

Only what both have is used: `mapInArrow`, `repartition` by a column, and collecting a few rows. ``sail`` starts a
server of Sail inside this process (no Java); ``sc://host:port`` is any server of Spark Connect; all else is a master of
Apache Spark, such as ``local[4]``, ``spark://host:7077`` or ``yarn``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fraudctl.cluster.blobs import DDL, BlobRow, from_batches, to_batch
from fraudctl.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

    from fraudctl.cluster.task import ClusterStage, Work

SAIL = "sail"
_HINT = "install the extra: pip install 'fraudctl[spark]'"
_CANDIDATES = 64
"""Keys that are tried for each partition: that a hash leaves a partition without any is no practical matter."""
_BAR = "spark.ui.showConsoleProgress"
_PORT, _SECONDS = 15002, 15.0
"""Of Spark Connect; and how long a server may take to answer."""
_SETTINGS = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.orderIndependentChecksum.enabled": "false",
}
"""A row of the engine is a batch of its own, for a batch holds 2 GB at most; and no clock but UTC.

Plans are settled here, and stages give the same bytes each time: the engine need neither change a plan on the way nor
hash every row to find out.
"""
_FASTEST_START = "-XX:TieredStopAtLevel=1"
"""Java only moves bytes here: to compile its code well takes longer than that saves."""
_JAVA = ("JavaOptions", "--driver-java-options")
"""How options of Java are named."""
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MIMALLOC_PURGE_DELAY": "-1",
}
"""Variables by which workers keep the memory of one task for the next; the system gives fresh pages slowly."""
_OWN_SETTINGS = {
    "spark.shuffle.compress": "false",  # blobs are packed
    **{f"spark.executorEnv.{name}": value for name, value in KEPT_MEMORY.items()},
    "spark.driver.extraJavaOptions": _FASTEST_START,
    "spark.executor.extraJavaOptions": _FASTEST_START,
}
"""Of a session of Apache Spark that this command opens, where the user's own settings are silent."""
_SAIL_BATCH = ("SAIL_EXECUTION__BATCH_SIZE", "1")
"""The same for a server of Sail, which else puts the rows of a partition together: one more copy of all of them."""


class SparkEngine:
    """An open session; see `fraudctl.cluster.flow.Shuffles`."""

    def __init__(self, spark: SparkSession, partitions: int) -> None:
        self.spark = spark
        self.keys: Sequence[int] = _keys(spark, partitions)

    def run(self, rows: Sequence[BlobRow], stages: Sequence[ClusterStage]) -> Iterable[BlobRow]:
        """Run stages one after the other, each on partitions of rows by their place."""
        import pyarrow as pa

        frame = self.spark.createDataFrame(pa.Table.from_batches([to_batch(row) for row in rows]))
        for stage in stages:
            frame = frame.repartition(len(self.keys), "place").mapInArrow(_called(stage), DDL)
        return list(from_batches(frame.toArrow().to_batches()))


def _called(stage: ClusterStage) -> Work:
    """Return a stage as the function that engines want; workers import the stage, the function comes with its bytes."""

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return stage(batches)

    return work


def _keys(spark: SparkSession, partitions: int) -> list[int]:
    """Return one key for each partition that the engine's hash brings rows into.

    Hashes of a few task numbers leave partitions empty and fill others twice; keys that are known to go to different
    partitions make tasks as balanced as they were planned.
    """

    def first(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        found = [value for batch in batches for value in batch.column(0).to_pylist()]
        if found:
            yield pa.RecordBatch.from_arrays([pa.array([min(found)], pa.int64())], ["id"])

    frame = spark.range(_CANDIDATES * partitions).repartition(partitions, "id").mapInArrow(first, "id bigint")
    return sorted(frame.toArrow().column(0).to_pylist())


@contextlib.contextmanager
def open_engine(where: str, *, partitions: int) -> Iterator[SparkEngine]:
    """Open a session, and close it in the end.

    Where the program has a session of Apache Spark already, it stays as it is: a further one on the same context is
    opened, with settings of its own, and nothing is stopped.

    Parameters
    ----------
    where
        ``sail``, ``sc://host:port``, or a master of Apache Spark.
    partitions
        How many tasks can run at a time, or a few times as many.

    Raises
    ------
    UsageError
        The extra is not installed, the server cannot be reached or refuses this client, or the program has a session
        of Apache Spark with another master.
    """
    with _quiet(), _session(where) as spark:
        for name, value in _SETTINGS.items():
            with contextlib.suppress(Exception):  # an engine that does not know a setting has its own way
                spark.conf.set(name, value)
        with _explained(where):
            engine = SparkEngine(spark, partitions)
        with _explained(where):
            yield engine


@contextlib.contextmanager
def _session(where: str) -> Iterator[SparkSession]:
    builder = _builder()
    if where != SAIL and not where.startswith("sc://"):
        _require_java(where)
        if (active := _active(where)) is not None:
            yield active.newSession()
            return
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else workers take any python3 of the PATH
        with _explained(where):
            builder = builder.master(where).appName("fraudctl").config(_BAR, "false")
            spark = builder.config(map=_unsettled(_OWN_SETTINGS)).getOrCreate()
            spark.sparkContext.setLogLevel("ERROR")
        try:
            yield spark
        finally:
            spark.stop()
        return
    with contextlib.ExitStack() as stack:
        address = where if where != SAIL else stack.enter_context(_sail())
        _require_listening(address)
        with _explained(where):
            spark = builder.remote(address).create()
        try:
            yield spark
        finally:
            with contextlib.suppress(Exception):
                spark.stop()


def _active(where: str) -> SparkSession | None:
    """Return the session of Apache Spark that the program has; a UsageError where its master is another one."""
    from pyspark.sql import SparkSession

    with _explained(where):
        found = SparkSession.getActiveSession()
    if found is not None and found.sparkContext.master != where:
        msg = f"--spark {where}: this program has a session of Apache Spark on {found.sparkContext.master}"
        raise UsageError(msg, hint="name that master, or stop the session")
    return found


def _unsettled(settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings that the user has not made, in the file of defaults or in the options of submission.

    Options of Java may stand under several names, and some exclude others: with any of them, all are the user's. So is
    everything where another file of properties is named.
    """
    home = os.environ.get("SPARK_HOME") or Path(importlib.import_module("pyspark").__path__[0])
    defaults = Path(os.environ.get("SPARK_CONF_DIR") or Path(home) / "conf") / "spark-defaults.conf"
    said = os.environ.get("PYSPARK_SUBMIT_ARGS", "")
    if "--properties-file" in said:
        return {}
    with contextlib.suppress(OSError):
        said += defaults.read_text(encoding="utf-8", errors="replace")
    found = {name: value for name, value in settings.items() if name not in said}
    java = any(option in said for option in _JAVA)
    return {name: value for name, value in found.items() if not (java and name.endswith(_JAVA))}


def _builder() -> SparkSession.Builder:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        msg = "--spark needs PySpark, which is not installed"
        raise UsageError(msg, hint=_HINT) from error
    return SparkSession.builder


def _require_java(where: str) -> None:
    """Refuse a master where only the light client is installed, which has no Spark in it."""
    try:
        import py4j  # noqa: F401 - comes with all of Spark, and not with the client
    except ImportError as error:
        msg = f"--spark {where} needs all of Apache Spark; only its client is installed"
        hint = "pip install 'pyspark>=4.1,<5' in place of pyspark-client; or name a server, such as sc://host:15002"
        raise UsageError(msg, hint=hint) from error


def _require_listening(address: str) -> None:
    """Refuse an address where nothing listens; PySpark would try again for ten minutes."""
    found = urlsplit(address.partition(";")[0])
    try:
        port = found.port or _PORT
        with socket.create_connection((found.hostname or "", port), timeout=_SECONDS):
            return
    except (OSError, ValueError) as error:
        msg = f"--spark {found.scheme}://{found.hostname}: no server of Spark Connect answers at its port"
        raise UsageError(msg, hint="is it running, and is the address of the form sc://HOST:PORT?") from error


@contextlib.contextmanager
def _sail() -> Iterator[str]:
    """Start a server of Sail in this process, on loopback; return its address."""
    os.environ.setdefault("RUST_LOG", "error")
    os.environ.setdefault(*_SAIL_BATCH)
    try:
        from pysail.spark import SparkConnectServer
    except ImportError as error:
        msg = "--spark sail needs Sail, which is not installed"
        raise UsageError(msg, hint=_HINT) from error
    server = SparkConnectServer()
    server.start(background=True)
    try:
        yield f"sc://127.0.0.1:{server.listening_address[1]}"
    finally:
        server.stop()


@contextlib.contextmanager
def _explained(where: str) -> Iterator[None]:
    """Raise a UsageError for what an engine says of itself; its text may be pages long, and only the kind is shown."""
    from pyspark.errors import PySparkException, PythonException

    try:
        yield
    except PythonException:
        raise  # of our own code on a worker
    except PySparkException as error:
        text = str(error)
        kind = type(error).__name__
        if "unsupported PySpark version" in text:
            msg = f"--spark {where}: the server does not know this version of PySpark"
            raise UsageError(msg, hint="pip install 'pyspark-client>=4.1,<4.2', which Sail 0.7 knows") from error
        msg = f"--spark {where}: the engine failed: {kind}"
        raise UsageError(
            msg, hint="--verbose shows what it says; is the address right, and are its workers alive?"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what PySpark warns of about libraries that are not used here from the user."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pyspark")
        warnings.filterwarnings("ignore", message=".*PySpark.*")
        yield
