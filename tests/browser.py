"""A real headless Chromium for tests of pages: load one, run a script of the test in it, read the browser's log."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=3000",
)  # fmt: skip
DARK, LIGHT = (f"--blink-settings=preferredColorScheme={scheme}" for scheme in (0, 1))

needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


def run(page: str, folder: Path, *flags: str, dump: str = "--dump-dom") -> tuple[str, str]:
    """Load a page and give its DOM after loading, and the browser's log."""
    assert CHROMIUM is not None
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}", dump, file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def probed(page: str, script: str, folder: Path, *flags: str) -> Any:
    """Run a script of the test at the end of a page and give the JSON that it wrote; no other policy is relaxed."""
    page = re.sub(r"script-src '[^']+'", "script-src 'unsafe-inline'", page)
    dom, log = run(page.replace("</body>", f'<pre id="probe"></pre><script>{script}</script></body>'), folder, *flags)
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None, log
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def console(log: str) -> list[str]:
    """Give the messages of the page's console."""
    return [line for line in log.splitlines() if ":CONSOLE" in line]
