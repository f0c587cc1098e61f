"""Costs from columns and no time: consumer credit (credit_gmsc_costs.parquet) through the commands, end to end.

`init --random-split` takes the costs of each row from ``fn_cost`` and ``fp_cost``; then `check`, `train --trials 0` and
`evaluate`. Savings come with their interval, and the split is called random wherever it is spoken of.

    python benchmarks/check_row_costs.py credit_gmsc_costs.parquet --out benchmarks/results/row_costs.json
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def run(folder: Path, *args: str) -> Any:
    """Run one command in the folder and give its JSON."""
    command = [sys.executable, "-m", "fraudctl", *args, "--json", "--quiet"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(args)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def main() -> None:
    """Run the four commands, print and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, "init", str(args.data.resolve()), "--random-split")
        lines = (folder / "fraudctl.toml").read_text(encoding="utf-8").splitlines()
        costs = [line for line in lines if "{ column" in line]
        verdict = run(folder, "check")["verdict"]
        run(folder, "train", "--trials", "0")
        found = run(folder, "evaluate")
    shown = ("roc_auc", "average_precision", "precision", "recall", "savings", "savings_of_perfect", "cost")
    out = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "costs": costs,
        "check": verdict,
        **{key: found[key] for key in ("split", "as_of", "period", "rows", "frauds", "money")},
        "metrics": {key: found["metrics"][key] for key in shown},
    }
    print(json.dumps(out, indent=2))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(out, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
