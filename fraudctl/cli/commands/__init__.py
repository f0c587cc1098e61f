"""One thin file per command; this is their list, in the order of the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fraudctl.cli.commands.ab import ab
from fraudctl.cli.commands.audit import audit
from fraudctl.cli.commands.check import check
from fraudctl.cli.commands.compare import compare
from fraudctl.cli.commands.consume import consume
from fraudctl.cli.commands.dashboard import dashboard
from fraudctl.cli.commands.demo import demo
from fraudctl.cli.commands.evaluate import evaluate
from fraudctl.cli.commands.explain import explain
from fraudctl.cli.commands.features import features
from fraudctl.cli.commands.init import init
from fraudctl.cli.commands.monitor import monitor
from fraudctl.cli.commands.retrain import retrain
from fraudctl.cli.commands.sample import sample
from fraudctl.cli.commands.schema import schema
from fraudctl.cli.commands.score import score
from fraudctl.cli.commands.serve import serve
from fraudctl.cli.commands.threshold import threshold
from fraudctl.cli.commands.train import train
from fraudctl.cli.commands.warm import warm

COMMANDS: dict[str, Callable[..., Any]] = {
    "init": init,
    "check": check,
    "features": features,
    "audit": audit,
    "train": train,
    "threshold": threshold,
    "evaluate": evaluate,
    "explain": explain,
    "compare": compare,
    "monitor": monitor,
    "retrain": retrain,
    "score": score,
    "serve": serve,
    "dashboard": dashboard,
    "consume": consume,
    "ab": ab,
    "sample": sample,
    "demo": demo,
    "warm": warm,
    "schema": schema,
}
