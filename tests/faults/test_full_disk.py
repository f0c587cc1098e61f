"""A file system that is really full: a log segment that cannot be begun, a bundle and a cache that do not fit.

The layer of faults decides which call fails; here the system does, at whatever call, byte and library it comes to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from faults.deaths import write_contents
from faults.disk import kept_table
from test_bundle import contents

from fraudctl import registry
from fraudctl.bundle import list_bundles, load_bundle
from fraudctl.errors import FraudctlError, UsageError
from fraudctl.progress import Silent
from fraudctl.scoring.store import Store, frame
from fraudctl.workflows import features
from fraudctl.workflows.features import FeatureTableFacts

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of 4 MiB; only root can make one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if (
        os.geteuid()
        or shutil.which("mount") is None
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("only root can mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def filled(disk: Path, *, left: int = 0) -> Iterator[None]:
    """Fill the disk up to some bytes that are left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass
    with filler.open("r+b") as file:
        file.truncate(max(filler.stat().st_size - left, 0))
    try:
        yield
    finally:
        filler.unlink()


def test_a_log_goes_on_where_no_segment_can_be_begun(disk: Path) -> None:
    told: list[str | None] = []
    with Store(disk / "state") as store:
        store.save({"about": b"{}"})
        store.on_problem = told.append
        store.append([frame(b"before")])
        taken = [b"before"]
        with filled(disk):
            number = store.segment
            with pytest.raises(UsageError, match="No space left"):
                store.rotate()
            assert store.segment == number
            with contextlib.suppress(UsageError):  # what still fits into the page of the log
                for at in range(10_000):
                    store.append([frame(b"%d" % at)])
                    taken.append(b"%d" % at)
            assert store.problem is not None
            assert len(taken) < 10_000
        store.probe()
        store.append([frame(b"after")])
        taken.append(b"after")
        store.rotate()
        assert store.problem is None
    assert told[0] is not None
    assert told[-1] is None
    with Store(disk / "state") as store:
        assert list(store.records()) == taken


@pytest.mark.parametrize("left", [0, 4096, 12_288])
def test_a_bundle_that_does_not_fit_is_not_there(disk: Path, left: int) -> None:
    made, models = contents(), disk / "models"
    with filled(disk, left=left), pytest.raises(FraudctlError, match="No space left") as caught:
        write_contents(models, made)
    assert caught.value.exit_code in {2, 4}
    assert not list_bundles(models) if models.is_dir() else True
    written = write_contents(models, made)
    load_bundle(written)
    assert registry.latest(registry.history(models), [written.name]) == written.name
    assert not list(models.glob(".writing-*"))


@pytest.mark.parametrize("left", [0, 4096, 65_536])
def test_a_cache_that_does_not_fit_is_built_again(disk: Path, left: int) -> None:
    place, old = disk / "features" / "table.parquet", pl.DataFrame({"a": [1, 2]})
    new = pl.select(a=pl.int_range(200_000).shuffle(seed=1))
    features._keep(old, FeatureTableFacts(None, 0, ()), place, Silent())
    with filled(disk, left=left), pytest.raises(UsageError, match="No space left"):
        features._keep(new, FeatureTableFacts(None, 0, ()), place, Silent())
    found = kept_table(place)
    assert found is None or found[0].equals(old)
    features._keep(new, FeatureTableFacts(None, 0, ()), place, Silent())
    found = kept_table(place)
    assert found is not None
    assert found[0].equals(new)
    assert not list(disk.rglob(".*.tmp"))
