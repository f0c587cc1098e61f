"""Files as memory: what is written stays in this process, and arrays grow where they lie."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from fraudctl.disk import mapped as module
from fraudctl.disk.mapped import PAGE, lengthened, mapped


def written(tmp_path: Path, n_words: int, *, at: int = PAGE, after: bytes = b"behind") -> Path:
    path = tmp_path / "words.bin"
    path.write_bytes(bytes(at) + np.arange(n_words).tobytes() + after)
    return path


def taken(path: Path, n_words: int, *, at: int = PAGE) -> np.ndarray:
    with path.open("rb") as file:
        found = mapped(file.fileno(), at, 8 * n_words)
    assert found is not None
    return found


@pytest.mark.parametrize("n_words", [5, 2048, 5000, 100_000])
def test_an_array_grows_in_its_place_with_zeros_and_the_file_stays(tmp_path: Path, n_words: int) -> None:
    path = written(tmp_path, n_words)
    before, wanted = path.read_bytes(), np.arange(n_words)
    found = taken(path, n_words)
    assert np.array_equal(found, wanted)
    for more in (1, 700, 9000, 300_000):
        found[-1] = wanted[-1] = more
        longer = lengthened(found, len(found) + more)
        assert longer is not None
        assert longer.ctypes.data == found.ctypes.data
        wanted = np.concatenate([wanted, np.zeros(more, np.int64)])
        assert np.array_equal(longer, wanted), "what lay behind it in the file is not seen"
        found = longer
    assert path.read_bytes() == before


def test_memory_lasts_as_long_as_any_array_and_the_file_may_go(tmp_path: Path) -> None:
    path = written(tmp_path, 5000)
    part = taken(path, 5000)[100:200]
    path.unlink()
    gc.collect()
    assert part.tolist() == list(range(100, 200))


def test_a_file_that_is_replaced_is_another(tmp_path: Path) -> None:
    path = written(tmp_path, 5000)
    found = taken(path, 5000)
    other = tmp_path / "other"
    other.write_bytes(bytes(path.stat().st_size))
    other.replace(path)
    assert found.tolist() == list(range(5000))


def test_what_cannot_be_mapped_or_lengthened_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, 5000)
    with path.open("rb") as file:
        assert mapped(file.fileno(), PAGE, 8 * 6000) is None, "it would end behind the file"
        monkeypatch.setattr(module.mmap, "PAGESIZE", 3 * PAGE)
        assert mapped(file.fileno(), PAGE, 8 * 5000) is None, "pages of this system are larger"
        monkeypatch.undo()
        monkeypatch.setattr(module, "_FIXED", -1)
        assert mapped(file.fileno(), PAGE, 8 * 5000) is None, "the system refuses"
    monkeypatch.undo()
    assert lengthened(np.zeros(4, np.int64), 8) is None
    assert lengthened(taken(path, 5000), 1 << 33) is None, "there is no room"
