"""The same tables from real engines: Sail everywhere, Apache Spark where all of it and Java are installed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from command_line import run_in
from polars.testing import assert_frame_equal

from fraudctl.cluster.session import _OWN_SETTINGS, _unsettled, open_engine
from fraudctl.errors import UsageError
from fraudctl.project import load_project
from fraudctl.workflows.cluster import build_on
from fraudctl.workflows.features import build_features

pytestmark = pytest.mark.filterwarnings("ignore")


def why_not_sail() -> str | None:
    if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("pysail") is None:
        return "the extra `spark` is not installed"
    import pyspark

    known = pyspark.__version__.startswith("4.1.")
    return None if known else f"Sail 0.7 knows PySpark 4.1, and {pyspark.__version__} is installed"


def why_not_spark() -> str | None:
    if importlib.util.find_spec("py4j") is None or importlib.util.find_spec("pyspark") is None:
        return "all of Apache Spark is not installed, only its client or nothing"
    if shutil.which("java") is None:
        return "there is no Java"
    asked = os.environ.get("FRAUDCTL_TEST_SPARK")
    return None if asked else "FRAUDCTL_TEST_SPARK is not set: starting Java executors takes a minute"


on_sail = pytest.mark.skipif(why_not_sail() is not None, reason=str(why_not_sail()))
on_spark = pytest.mark.skipif(why_not_spark() is not None, reason=str(why_not_spark()))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spark")
    assert run_in(folder, "sample", "s", "--events", "2000", "--days", "40").code == 0
    return folder / "s"


@pytest.fixture(scope="module")
def table(sample: Path) -> pl.DataFrame:
    return build_features(load_project(sample)).frame


def read(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.iterdir())])


@on_sail
def test_sail_makes_the_table_of_one_process(sample: Path, table: pl.DataFrame, tmp_path: Path) -> None:
    project = load_project(sample)
    with open_engine("sail", partitions=3) as engine:
        assert len(engine.keys) == 3
        found = build_on(project, engine, tmp_path / "three", task_rows=300, file_rows=700)
    assert (found.rows, found.n_duplicates, found.known_until) == (
        table.height,
        8,
        table["event_time"].max(),
    )
    assert_frame_equal(read(tmp_path / "three"), table, check_exact=True)


@on_sail
def test_the_command_writes_a_folder_and_says_so(sample: Path, table: pl.DataFrame) -> None:
    command = ["features", "--spark", "sail", "--partitions", "2", "-o", "out", "--json"]
    done = run_in(sample, *command)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["rows"], found["files"], found["output"]) == (table.height, 1, "out")
    assert_frame_equal(read(sample / "out"), table, check_exact=True)
    again = run_in(sample, "features", "--spark", "sail", "-o", ".")
    assert again.code == 2
    assert "other files" in again.err


@on_spark
def test_a_session_that_the_program_has_stays_as_it_is(
    sample: Path, table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark.sql import SparkSession

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    own = SparkSession.builder.master("local[1]").config("spark.sql.session.timeZone", "Asia/Tokyo").getOrCreate()
    try:
        own.range(3).createOrReplaceTempView("mine")
        with open_engine("local[1]", partitions=2) as engine:
            assert engine.spark.conf.get("spark.sql.session.timeZone") == "UTC"
            build_on(load_project(sample), engine, tmp_path / "out", task_rows=1000, file_rows=1000)
        assert_frame_equal(read(tmp_path / "out"), table, check_exact=True)
        assert own.conf.get("spark.sql.session.timeZone") == "Asia/Tokyo"
        assert own.sql("select count(*) from mine").toArrow().to_pylist() == [{"count(1)": 3}]
        with (
            pytest.raises(UsageError, match=r"has a session of Apache Spark on local\[1\]"),
            open_engine("local[2]", partitions=2),
        ):
            pass
        assert own.range(2).count() == 2
    finally:
        own.stop()


@on_spark
def test_an_executor_that_dies_changes_no_byte(sample: Path, table: pl.DataFrame, tmp_path: Path) -> None:
    project, marks = load_project(sample), []
    with open_engine("local-cluster[2,1,1024]", partitions=3) as engine:
        build_on(project, engine, tmp_path / "quiet", task_rows=300, file_rows=700)
        running = threading.Event()
        killer = threading.Thread(target=lambda: marks.append(kill_an_executor(running)))
        killer.start()
        build_on(project, engine, tmp_path / "killed", task_rows=300, file_rows=700)
        running.set()
        killer.join()
    assert marks[0] > 0
    assert_frame_equal(read(tmp_path / "killed"), table, check_exact=True)
    for path in sorted((tmp_path / "quiet").iterdir()):
        assert path.read_bytes() == (tmp_path / "killed" / path.name).read_bytes()


def kill_an_executor(over: threading.Event) -> int:
    """Kill one Java executor that a worker below this process has started, a moment after the work began."""
    time.sleep(2)
    while not over.is_set():
        for pid in executors():
            os.kill(pid, signal.SIGKILL)
            return pid
        time.sleep(0.1)
    return 0


def executors() -> list[int]:
    """Return the processes below this one that are executors of Spark."""
    lines = subprocess.run(["ps", "-eww", "-o", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in lines.splitlines()[1:]]
    below, parents = {os.getpid()}, {int(pid): int(parent) for pid, parent, *_ in rows}
    for _ in range(10):
        below |= {pid for pid, parent in parents.items() if parent in below}
    return [int(pid) for pid, _, *args in rows if int(pid) in below and "CoarseGrainedExecutorBackend" in str(args)]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("defaults", "options", "left"),
    [
        (None, "", set()),
        ("spark.executor.memory 2g\n", "", set()),
        ("spark.shuffle.compress true\n", "", {"spark.shuffle.compress"}),
        ("", "--conf spark.shuffle.compress=true pyspark-shell", {"spark.shuffle.compress"}),
        ("spark.driver.defaultJavaOptions -XX:+UseZGC\n", "", {name for name in _OWN_SETTINGS if "Java" in name}),
        (None, "--driver-java-options -Xss8m pyspark-shell", {name for name in _OWN_SETTINGS if "Java" in name}),
        (None, "--properties-file own.conf pyspark-shell", set(_OWN_SETTINGS)),
    ],
)
def test_what_the_user_has_settled_of_a_session_stays(
    defaults: str | None, options: str, left: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    if defaults is not None:
        (tmp_path / "conf" / "spark-defaults.conf").write_text(defaults)
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", options)
    for name, place in (("SPARK_HOME", tmp_path), ("SPARK_CONF_DIR", tmp_path / "conf")):
        monkeypatch.delenv("SPARK_CONF_DIR", raising=False)
        monkeypatch.delenv("SPARK_HOME", raising=False)
        monkeypatch.setenv(name, str(place))
        assert _unsettled(_OWN_SETTINGS).keys() == _OWN_SETTINGS.keys() - left


def test_options_that_exclude_each_other_are_refused(sample: Path) -> None:
    for more, words in (
        (["--spark", "sail"], "--spark needs --output"),
        (["--spark", "sail", "-o", "x", "--memory", "2GB"], "--spark and --memory exclude each other"),
        (["--spark", "sail", "-o", "x", "--describe"], "--spark and --describe exclude each other"),
        (["--partitions", "3"], "--partitions is for --spark"),
    ):
        done = run_in(sample, "features", *more)
        assert (done.code, words in done.err) == (2, True), done.err


@pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="the extra `spark` is not installed")
def test_an_address_where_nobody_listens_is_refused_at_once(sample: Path) -> None:
    done = run_in(sample, "features", "--spark", "sc://127.0.0.1:1", "-o", "nowhere")
    assert done.code == 2
    assert "no server of Spark Connect answers" in done.err
    assert not (sample / "nowhere").exists()


def test_without_the_extra_the_hint_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in {"pyspark", "pysail"}]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(UsageError) as caught, open_engine("sail", partitions=1):
        pass
    assert caught.value.hint == "install the extra: pip install 'fraudctl[spark]'"
