"""The page of one event: each sentence is written from typed values, and each value is counted from the rows again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

import numpy as np
import polars as pl
import pytest
from recount import Ground, recount
from world import FEATURES, World, make_world

from fraudctl.explain.event import EventExplanation, explain_event
from fraudctl.policy.provenance import DecidedBy, Slot
from fraudctl.report.document import Document, ReportSection
from fraudctl.report.event import event_document
from fraudctl.text.sentences import Sentence


def explained(world: World, event_id: Any, by: DecidedBy | None = None) -> EventExplanation:
    decided_by = by or DecidedBy("expected_cost")
    return explain_event(
        event_id, world.history, project=world.project, features=FEATURES, contribute=world.contribute,
        score=world.score, decide=world.decide, decided_by=lambda _event, _y_prob: decided_by, model="v1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    found = make_world(3000, seed=4)
    y_prob = found.score(found.history)
    codes = found.decide(found.history, y_prob)
    actions = pl.Series(["allow" if code == 0 else "block" for code in codes])
    return replace(found, scored=found.scored.with_columns(y_prob=pl.Series(y_prob), action=actions))


def events(world: World) -> list[Any]:
    """Take events of every kind: missed, caught, false positives, allowed, and the first of all."""
    rng = np.random.default_rng(0)
    ids = [world.history["event_id"][0]]
    for label in (0, 1):
        for action in ("allow", "block"):
            rows = world.scored.filter(pl.col("label") == label, pl.col("action") == action)["event_id"].to_numpy()
            ids += rng.choice(rows, min(6, len(rows)), replace=False).tolist()
    return ids


def section(document: Document, name: str) -> ReportSection:
    return next(item for item in document.sections if item.name == name)


def test_every_sentence_of_an_event_is_counted_from_the_rows(world: World) -> None:
    ground = Ground.of(world, FEATURES)
    rows = {row["event_id"]: row for row in world.scored.to_dicts()}
    n_changes = 0
    for event_id in events(world):
        found = explained(world, event_id)
        row = rows[event_id]
        assert (found.event_time.astimezone(UTC), found.amount, found.label) == (
            row["event_time"], row["amount"], row["label"],
        )  # fmt: skip
        document = event_document(found)
        for text in document.sentences():
            assert isinstance(text, Sentence), text
            for source in text.sources:
                recount(source.values, ground)
        n_changes += found.change is not None
    assert n_changes > 5


def test_the_change_that_is_written_flips_the_decision_as_it_is_written(world: World) -> None:
    """Read the number out of the sentence, put it into the event, and decide again."""
    n_read = 0
    for event_id in events(world):
        found = explained(world, event_id)
        if found.change is None or not isinstance(found.change.needed, float):
            continue
        text = str(section(event_document(found), "change").lead)
        needed = float(text.split(": ", 1)[1].split(" instead of ", maxsplit=1)[0].replace(",", ""))
        event = world.history.filter(pl.col("event_id") == event_id)
        moved = event.with_columns(pl.lit(needed).alias(found.change.feature))
        before, after = (world.decide(item, world.score(item))[0] for item in (event, moved))
        assert (before == 0) != (after == 0), text
        n_read += 1
    assert n_read > 5


@pytest.mark.parametrize(
    ("by", "action_of_model"),
    [
        (DecidedBy("rule", rule="vip", instead_of="allow"), "allow"),
        (DecidedBy("capacity", instead_of="block", slot=Slot("block", "day", 0, 0.0)), "block"),
    ],
)
def test_what_did_not_decide_is_not_given_as_the_reason(world: World, by: DecidedBy, action_of_model: str) -> None:
    found = explained(world, events(world)[1], by)
    document = event_document(found)
    assert found.reasons == ()
    reasons = section(document, "reasons")
    assert reasons.title == "The model's view"
    assert reasons.lead.startswith(f"These did not decide: a {by.kind} did.")
    assert action_of_model in reasons.lead
    assert by.kind in str(section(document, "decided").lead) or "slot" in str(section(document, "decided").lead)
