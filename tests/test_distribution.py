"""The wheel and the source distribution: both are built, hold the same package, and work where nothing else is."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import fraudctl

ROOT = Path(fraudctl.__file__).parents[1]


def build(source: Path, kind: str, target: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)], cwd=source, check=True,
        capture_output=True,
    )  # fmt: skip
    (made,) = target.iterdir()
    return made


def package(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("fraudctl/")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fraudctl").rglob("*") if path.is_file()}
    assert package(wheel) == {name for name in files if "__pycache__" not in name}
    assert "fraudctl/py.typed" in files
    with zipfile.ZipFile(wheel) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {
            "fraudctl", f"fraudctl-{fraudctl.__version__}.dist-info",
        }  # fmt: skip


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    source = build(ROOT, "sdist", tmp_path / "sdist")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (unpacked,) = (tmp_path / "source").iterdir()
    assert package(build(unpacked, "wheel", tmp_path / "again")) == package(wheel)


def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Install the wheel in an environment of its own, with the packages that it needs beside it, and use it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    (place,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    needed = [path for path in sys.path if path.endswith("site-packages")]
    (place / "needed.pth").write_text("\n".join(needed) + "\n", encoding="utf-8")

    def run(*words: str) -> str:
        done = subprocess.run([str(part) for part in words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command = str(tmp_path / "env" / "bin" / "fraudctl")
    assert run(command, "--version") == f"fraudctl {fraudctl.__version__}\n"
    assert run(str(python), "-c", "import fraudctl; print(fraudctl.__file__)").startswith(str(place))
    run(command, "sample", "payments", "--events", "2000")
    run(command, "init", "payments/transactions.parquet")
    assert "2,000 events: 0 errors" in run(command, "check")
