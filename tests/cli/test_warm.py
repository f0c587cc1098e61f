"""Before a server listens, every loop that a message may need is loaded: no request waits for one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl

CODE = """
import json, sys
from datetime import datetime, timedelta
from pathlib import Path
from fraudctl.scoring.engine import DecisionEngine
from fraudctl.workflows.score import open_model
from fraudctl.workflows.state import open_live

def loaded():
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("fraudctl")]
    found = [item for module in modules for item in vars(module).values() if hasattr(item, "nopython_signatures")]
    loops = {id(item): item for item in found}
    every = [(item.py_func.__name__, kinds.args) for item in loops.values() for kinds in item.nopython_signatures]
    return sorted(map(str, every))

model = open_model(Path(sys.argv[1]), "latest")
live = open_live(None, [model])
cold = loaded()
live.warm()
warm = loaded()
engine = DecisionEngine(model.decider, live)
events = [json.loads(line) for line in Path(sys.argv[2]).read_text().splitlines()]
for line in Path(sys.argv[3]).read_text().splitlines():
    engine.sources("logins", [json.loads(line)])
for event in events[:3]:
    engine.event(event)
    engine.labels([{"event_id": event["transaction_id"], "label": 1, "label_time": event["created_at"]}])
engine.event(events[3])
began = datetime.fromisoformat(events[3]["created_at"])
for number in range(40):
    later = {"transaction_id": f"{events[3]['transaction_id']}-{number}"}
    engine.event(events[3] | later | {"created_at": (began + timedelta(days=200 * number)).isoformat()})
engine.event(events[3] | {"transaction_id": events[3]["transaction_id"] + "-late"})
print(json.dumps([cold, warm, loaded()]))
"""


def test_no_event_waits_for_a_loop(tmp_path: Path, trained: Path) -> None:
    events = pl.read_parquet(trained / "transactions.parquet").unique("transaction_id").sort("created_at")
    new = events.tail(4).drop("is_fraud", "label_available_at")
    new.write_ndjson(tmp_path / "new.jsonl")
    pl.read_parquet(trained / "logins.parquet").head(3).write_ndjson(tmp_path / "logins.jsonl")
    command = [sys.executable, "-c", CODE, str(trained), str(tmp_path / "new.jsonl"), str(tmp_path / "logins.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cold, warm, later = json.loads(done.stdout)
    assert len(cold) < len(warm)
    assert later == warm
