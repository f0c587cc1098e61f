"""A running server against its own OpenAPI document, with schemathesis (which is no dependency of the project).

    python -m venv fuzz && fuzz/bin/pip install schemathesis
    fraudctl serve --port 8000 &
    python benchmarks/fuzz_serve.py http://127.0.0.1:8000 --schemathesis fuzz/bin/schemathesis

Valid requests may be refused (a time ahead of the clock cannot be said in a schema); everything else must hold: no
server error, answers as documented, nothing accepted that the document forbids.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import urllib.request
from pathlib import Path


def main() -> None:
    """Run schemathesis, and see whether the server is still there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--schemathesis", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=100)
    args = parser.parse_args()
    command = [str(args.schemathesis), "run", f"{args.url}/openapi.json", "--max-examples", str(args.examples)]
    command += ["--exclude-path", "/admin/reload", "--exclude-checks", "positive_data_acceptance", "--seed", "1"]
    done = subprocess.run(command, check=False)
    with urllib.request.urlopen(f"{args.url}/healthz", timeout=5) as response:  # noqa: S310
        alive = response.status == 200
    print("the server is still there" if alive else "the server is gone")
    sys.exit(done.returncode or not alive)


if __name__ == "__main__":
    main()
