"""Every sentence with a number is written from typed values, and each value is recounted from the rows."""

from __future__ import annotations

import ast
import dataclasses
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from recount import RECOUNT, Ground, numbers_that_exceed, recount
from recount_card import RECOUNT_CARD
from recount_dashboard import RECOUNT_DASHBOARD
from recount_life import RECOUNT_LIFE
from recount_monitor import RECOUNT_MONITOR
from source_code import modules, walk
from world import FEATURES, PROJECT, START, Described, World, decided, explain_world, make_world, project, weighted

from fraudctl.costs import ConstantAction, cost_matrix, minimum_risk, taken_cost
from fraudctl.documents.results import as_object
from fraudctl.evaluate import Period, decide_frame, evaluate
from fraudctl.evaluate.result import Evaluation
from fraudctl.explain.result import Totals
from fraudctl.explain.run import explain
from fraudctl.gate import Champion, judge
from fraudctl.policy import bare_policy
from fraudctl.report.document import Document
from fraudctl.report.evaluation import evaluation_document
from fraudctl.report.explanation import explanation_document
from fraudctl.report.explanation_sentences import verdict
from fraudctl.report.facts import Span
from fraudctl.sample import generate
from fraudctl.text.sentences import WRITERS, Sentence, fixed, joined, sentence

CONSTANTS = ("1 %", "60 %", "90 %", "0.9", "0.75", "14 days", "30 %", "15 points", "1 - cost", "95 %", "15 %",
             "28 days", "10,000")  # fmt: skip
"""Numbers of fixed texts: settings of the method, not figures of a result."""


def with_features(frame: pl.DataFrame, y_prob: Any, features: tuple[Described, ...], text: str) -> tuple[World, Any]:
    """Decide on any frame with given probabilities by the lowest expected cost."""
    parsed = project(text)
    matrix = cost_matrix(parsed.costs)
    codes = minimum_risk(matrix.per_event(frame), y_prob)
    cost = taken_cost(matrix.per_event(frame), codes, frame["label"].to_numpy())
    scored = frame.with_columns(
        y_prob=pl.Series(y_prob), action=pl.Series([matrix.actions[c] for c in codes]), cost=pl.Series(cost)
    )
    return World(parsed, scored, frame), features


BARE = """
[project]
name = "bare"
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
label = "label"
label_delay = "7d"
timezone = "Europe/Berlin"
[costs.actions]
allow.fraud = { fixed = 100 }
review.legit = { fixed = 4 }
review.fraud = { fixed = 4 }
block.legit = { fixed = 30 }
"""


def bare(n: int, days: int, rate: Callable[[Any], Any], seed: int, signal: float) -> tuple[World, Any]:
    """Draw events without entities: a share of fraud by day, and one number that tells fraud by ``signal``."""
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.integers(0, days * 86_400, n))
    label = (rng.random(n) < rate(seconds // 86_400)).astype(np.int8)
    hint = np.round(rng.normal(0, 1, n) + signal * label, 3)
    hour = (seconds // 3600 % 24).astype(np.int64)
    frame = pl.DataFrame(
        {
            "event_id": np.arange(n), "event_time": [START + timedelta(seconds=int(s)) for s in seconds],
            "label": label, "hint": hint, "hour_of_day": hour, "year": 2005 + rng.integers(0, 8, n),
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    ).with_columns(label_time=pl.col("event_time") + pl.duration(days=7))  # fmt: skip
    y_prob = 1 / (1 + np.exp(-(signal * hint - 3.2 + 0.08 * hour - 0.05 * (frame["year"].to_numpy() - 2005))))
    features = (
        Described("hint", words="hint"), Described("hour_of_day", words="hour of the day", dtype="int"),
        Described("year", words="auto year", dtype="int"),
    )  # fmt: skip
    return with_features(frame, y_prob, features, BARE)


def noise() -> tuple[World, Any]:
    return bare(6000, 100, lambda day: np.full(len(day), 0.05), 11, 0.0)


def slow() -> tuple[World, Any]:
    return bare(3000, 1095, lambda day: np.full(len(day), 0.05), 9, 1.2)


def rising() -> tuple[World, Any]:
    return bare(6000, 6, lambda day: np.where(day < 4, 0.02, 0.12), 5, 1.5)


def onesided() -> tuple[World, Any]:
    return bare(4000, 120, lambda day: np.where((day < 10) | (day >= 115), 0.05, 1.0), 4, 1.0)


def crossing() -> tuple[World, Any]:
    """Frauds of few cards at few merchants: every fraud lies in several campaigns at once."""
    world = make_world(4000, seed=3)
    rng = np.random.default_rng(8)
    fraud = (world.history["label"] == 1).to_numpy()
    card, merchant = (world.history[name].to_numpy().copy() for name in ("card", "merchant"))
    card[fraud], merchant[fraud] = rng.integers(0, 12, fraud.sum()), rng.integers(0, 6, fraud.sum())
    frame = world.history.with_columns(card=pl.Series(card), merchant=pl.Series(merchant))
    return decided(world, frame, shift=1.2), FEATURES


def sample() -> tuple[World, Any]:
    """Decide on the events of the sample project by a simple score of theirs."""
    found = generate(n_events=8_000, seed=7).transactions
    frame = found.rename(
        {"transaction_id": "event_id", "created_at": "event_time", "is_fraud": "label", "card_id": "card",
         "merchant_id": "merchant", "label_available_at": "label_time"}
    )  # fmt: skip
    frame = frame.filter(pl.col("label").is_not_null()).unique("event_id", maintain_order=True)
    frame = frame.sort("event_time", "event_id")
    size = (frame["amount"].fill_null(1.0).clip(0.01).log() - 4.0).to_numpy()
    return with_features(frame, 1 / (1 + np.exp(4.0 - 0.9 * size)), (Described("amount", words="amount"),), PROJECT)


def planted(**plant: Any) -> Callable[[], tuple[World, Any]]:
    return lambda: (make_world(3500, **plant), FEATURES)


def heavy() -> tuple[World, Any]:
    world = make_world(2500, seed=2)
    weight = np.random.default_rng(3).integers(1, 4, world.scored.height).astype(np.float64)
    return weighted(world, weight), FEATURES


def gappy() -> tuple[World, Any]:
    """Entities and a feature that are often unknown."""
    world = make_world(3000, seed=6)
    rng = np.random.default_rng(6)
    holes = {name: pl.Series(rng.random(world.scored.height) < 0.2) for name in ("card", "merchant", "velocity")}
    out = [pl.when(~holes[name]).then(pl.col(name)).alias(name) for name in holes]
    return replace(world, scored=world.scored.with_columns(out), history=world.history.with_columns(out)), FEATURES


WORLDS: dict[str, Callable[[], tuple[World, Any]]] = {
    "noise": noise, "slow": slow, "rising": rising, "onesided": onesided, "crossing": crossing, "sample": sample,
    "missed channel": planted(missed_channel="web"), "flagged channel": planted(flagged_channel="pos", seed=1),
    "broken day": planted(broken_day=6), "weighted": heavy, "unknown values": gappy,
}  # fmt: skip


def contribute_of(world: World, features: Any) -> Any:
    """Take the world's own contributions where it has its features, else the values themselves around their mean."""
    if features is FEATURES:
        return lambda frame: world.contribute(frame.with_columns(pl.col("velocity").fill_null(0.0)))

    def centred(frame: pl.DataFrame) -> Any:
        parts = [frame[item.name].fill_null(0.0).to_numpy().astype(np.float64) for item in features]
        table = np.column_stack([part - part.mean() for part in parts])
        return np.column_stack([table / np.maximum(table.std(axis=0), 1e-9), np.full(frame.height, -3.0)])

    return centred


@pytest.fixture(scope="module", params=list(WORLDS))
def told(request: pytest.FixtureRequest) -> tuple[Document, Ground]:
    world, features = WORLDS[request.param]()
    found = explain(
        world.scored, world.history, project=world.project, features=features,
        contribute=contribute_of(world, features), replay=world.replay, model="v1", permutations=200, threads=1,
        sample=700,
    )  # fmt: skip
    return explanation_document(found), Ground.of(world, features, explanation=found, sample=700)


def check(document: Document, ground: Ground) -> int:
    n = 0
    for text in document.sentences():
        assert isinstance(text, Sentence), text
        assert not numbers_that_exceed(text), text
        assert not re.search(r"\de\+\d", text), text
        n += sum(recount(value, ground) for source in text.sources for value in source.values)
    return n


def test_every_sentence_of_an_explanation_is_recounted_from_the_rows(told: tuple[Document, Ground]) -> None:
    document, ground = told
    assert check(document, ground) >= 20
    assert ground.explanation is not None
    for finding in ground.explanation.findings:
        assert finding.head.sources
        assert finding.text.sources
    costs = [finding.cost for finding in ground.explanation.findings]
    assert costs == sorted(costs, reverse=True)


def test_every_row_of_the_tables_of_an_explanation_is_recounted(told: tuple[Document, Ground]) -> None:
    _, ground = told
    e = ground.explanation
    assert e is not None
    n = sum(recount(item, ground) for item in (e.causes, e.clusters, e.campaigns[:40], e.slices.items, e.broken))
    assert n >= len(e.causes)


@pytest.mark.parametrize("seed", range(4))
def test_sentences_of_random_evaluations_are_recounted(seed: int) -> None:
    world = make_world(2500, seed=seed)
    gate = '\n[gate]\nrecall = { at_least = 0.5 }\nsavings = { at_least = 0.1 }\nchampion = { metric = "savings" }\n'
    text = PROJECT.replace("[features]", '[evaluate]\nreplicates = 100\nsegments = ["channel"]\n[features]') + gate
    parsed = project(text)
    policy = bare_policy(parsed)
    table, y_prob = world.scored.drop("y_prob", "action", "cost"), world.scored["y_prob"].to_numpy()
    scored = decide_frame(table, y_prob, policy=policy, project=parsed)
    rng = np.random.default_rng(seed)
    rival = decide_frame(table, np.clip(y_prob * rng.uniform(0.3, 1.0, len(y_prob)), 0, 1), policy=policy,
                         project=parsed)  # fmt: skip
    period = Period(START, START + timedelta(days=10))
    found = evaluate(scored, project=parsed, policy=policy, model="v2", as_of=START, period=period)
    judged = judge(found, scored, project=parsed, policy=policy, champion=Champion("v1", rival))
    ground = Ground.of(World(parsed, scored, world.history), FEATURES, evaluation=judged)
    assert check(evaluation_document(judged, project="p"), ground) >= 15


def types_of(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from types_of(part)


def test_each_writer_takes_frozen_values_that_have_a_recount() -> None:
    assert len(WRITERS) > 60
    known = {*RECOUNT, *RECOUNT_CARD, *RECOUNT_DASHBOARD, *RECOUNT_LIFE, *RECOUNT_MONITOR}
    for name, write in WRITERS.items():
        for hint in typing.get_type_hints(write.__wrapped__).values():  # type: ignore[attr-defined]
            assert not set(types_of(hint)) - known, name
            assert hint not in {int, float, dict, list}, name


def test_bare_numbers_are_refused() -> None:
    @sentence
    def say(n: Any) -> str:
        return f"{n} frauds"

    for value in (3, 2.5, [1], {"n": 1}, (3,)):
        with pytest.raises(TypeError, match="takes frozen dataclasses"):
            say(value)
    assert joined(fixed("a"), None, fixed("b")) == "a b"
    del WRITERS[f"{say.__wrapped__.__module__}.{say.__wrapped__.__qualname__}"]  # type: ignore[attr-defined]


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path, tree in modules():
        if path.parent.as_posix() in {"report", "explain"} or path.as_posix() == "cli/render.py":
            yield path, tree


def test_fixed_texts_are_literals_without_figures() -> None:
    n = 0
    for path, tree in trees():
        for node in walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fixed":
                (text,) = node.args
                assert isinstance(text, ast.Constant), f"{path.name}:{node.lineno}: fixed() takes a literal"
                rest = str(text.value)
                for known in CONSTANTS:
                    rest = rest.replace(known, "")
                assert not re.search(r"\d", rest), f"{path.name}:{node.lineno}: {text.value}"
                n += 1
    assert n > 20


def test_numbers_are_formatted_in_one_module() -> None:
    for path, tree in trees():
        for node in walk(tree):
            if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
                form = "".join(str(getattr(part, "value", "")) for part in getattr(node.format_spec, "values", []))
                assert not re.fullmatch(r"[+,]*\.?\d*[,]?[efg%dn]?", form), f"{path.name}:{node.lineno}: :{form}"


EXEMPT = {"telemetry.py", "bids.py", "plan.py", "training.py", "figures.py", "plain.py"}
"""Formats of machines, not for people: metrics, rounded prices, SQL and keys of the project file."""


def test_no_module_rounds_a_number_in_its_own_way() -> None:
    """Look for the formats that round: a message has its figures from `fraudctl.text.figures`, as reports do."""
    known = {("service.py", ":g"), ("app.py", ":g"), ("calibrate.py", ":g"), ("base.py", ":g"), ("trees.py", ":.2g"),
             ("summary.py", ":+.4f")}  # fmt: skip
    found = set()
    for path, tree in modules():
        for node in walk(tree):
            if path.name not in EXEMPT and isinstance(node, ast.FormattedValue) and node.format_spec is not None:
                form = "".join(str(getattr(part, "value", "")) for part in getattr(node.format_spec, "values", []))
                if re.fullmatch(r"[+,]*\.?\d*[,]?[efg%]", form):
                    found.add((path.name, f":{form}"))
    assert found <= known, found - known


def test_periods_are_named_alike_in_every_report() -> None:
    world = make_world(600)
    start, until = START - timedelta(hours=3), START + timedelta(days=10)
    explanation = explain_world(world, start=start, until=until)
    parsed = project()
    policy = bare_policy(parsed)
    scored = decide_frame(world.scored.drop("y_prob", "action", "cost"), world.scored["y_prob"].to_numpy(),
                          policy=policy, project=parsed)  # fmt: skip
    found: Evaluation = evaluate(
        scored, project=parsed, policy=policy, model="v", as_of=start, period=Period(start, until)
    )
    named = "28 Feb – 10 Mar 2026"
    assert named in explanation_document(explanation).subtitle[0]
    assert named in evaluation_document(found).subtitle[0]
    assert found.when == named
    assert datetime.fromisoformat(as_object(explanation)["until"]) == until


@pytest.mark.parametrize(
    ("cost", "errors", "base", "said"),
    [
        (0.0, 0.0, 50.0, "The model lost nothing in 10 days (3 frauds)"),
        (-158.7, 563.0, 361.0, "The model gained €159 in 10 days, after €563 lost on missed fraud and false positives"),
        (-20.0, -5.0, -30.0, "The model gained €20.00 in 10 days, €10.00 less than “allow all” would have gained"),
    ],
)
def test_a_gain_is_called_one(cost: float, errors: float, base: float, said: str) -> None:
    totals = Totals(
        n_events=9, n_frauds=3, n_alerts=2, n_missed=1, n_caught=1, n_false_alarms=1, cost=cost, missed_cost=errors,
        false_alarm_cost=0.0, caught_cost=cost - errors, base=ConstantAction("allow", base, 9), perfect_cost=0.0,
        fraud_amount=None,
    )  # fmt: skip
    assert verdict(totals, Span(START, START + timedelta(days=10), "UTC"), "EUR") == said
