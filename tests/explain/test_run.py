"""A whole explanation: planted weaknesses are named first, none is made up, and the result is one JSON document."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import polars as pl
import pytest
from world import FEATURES, PROJECT, World, decided, explain_world, make_world, project, weighted

from fraudctl.cli.commands.explain import refuse_beside_event
from fraudctl.documents.results import as_object
from fraudctl.errors import DataError, ProjectError, UsageError
from fraudctl.explain.event import explain_event
from fraudctl.explain.result import SCHEMA_VERSION, Explanation
from fraudctl.explain.run import choose_rows
from fraudctl.explain.scene import make_scene
from fraudctl.explain.slices import find_slices
from fraudctl.policy.provenance import DecidedBy
from fraudctl.report.event import event_document


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        ({"missed_channel": "web"}, "channel is web"),
        ({"flagged_channel": "pos"}, "channel is pos"),
        ({"broken_day": 6}, "7 Mar 2026"),
    ],
)
def test_a_planted_weakness_is_among_the_first_three_findings(plant: dict[str, Any], said: str) -> None:
    found = explain_world(make_world(4500, **plant))
    assert any(said in item.head for item in found.findings[:3])


def test_labels_permuted_among_equal_scores_show_nothing() -> None:
    world = make_world(4000, seed=5)
    order = np.argsort(world.scored["y_prob"].to_numpy(), kind="stable")
    n_significant = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        label = world.scored["label"].to_numpy().copy()
        for start in range(0, len(order), 40):
            block = order[start : start + 40]
            label[block] = rng.permutation(label[block])
        again = decided(world, world.history.with_columns(label=pl.Series(label)), shift=1.2)
        scene = make_scene(again.scored, again.history, project=world.project, features=FEATURES)
        rows = np.arange(scene.scored.height)
        found = find_slices(scene, rows=rows, weight=np.ones(len(rows)), seed=seed, permutations=200)
        n_significant += any(item.significant for item in found.items)
    assert n_significant <= 1


def test_the_result_is_json_and_the_same_twice(world: World, explanation: Explanation) -> None:
    text = json.dumps(as_object(explanation), allow_nan=False)
    assert json.dumps(as_object(explain_world(world))) == text
    assert json.loads(text)["schema_version"] == SCHEMA_VERSION


def test_every_error_is_listed_once_with_what_a_reader_needs(world: World, explanation: Explanation) -> None:
    wrong = world.scored.filter((pl.col("label") == 1) == (pl.col("action") == "allow"))
    listed = {item["event_id"]: item for item in as_object(explanation)["errors"]}
    assert set(listed) == set(wrong["event_id"].to_list())
    assert len(listed) == len(explanation.errors)
    for event in wrong.iter_rows(named=True):
        item = listed[event["event_id"]]
        assert item["kind"] == ("false_negative" if event["label"] == 1 else "false_positive")
        assert item["cost"] == event["cost"]
        assert (item["cause"] is None) == (event["label"] == 0)
        assert {"campaign", "cluster", "reasons"} <= set(item)
        if item["campaign"] is not None:
            assert set(item["campaign"]) == {"entity", "value", "size"}
    caught = world.scored.filter(pl.col("label") == 1, pl.col("action") != "allow")["event_id"].to_list()
    assert sorted(item.event_id for item in explanation.caught) == sorted(caught)
    costs = [item.cost for item in explanation.errors]
    assert costs == sorted(costs, reverse=True)


def test_totals_are_those_of_the_decisions(world: World, explanation: Explanation) -> None:
    t = explanation.totals
    assert t.cost == pytest.approx(world.scored["cost"].sum())
    assert t.missed_cost + t.false_alarm_cost + t.caught_cost == pytest.approx(t.cost)
    fraud = world.scored["label"] == 1
    assert t.n_missed == int((fraud & (world.scored["action"] == "allow")).sum())
    assert t.saved == pytest.approx(t.base.cost - t.cost)


def test_money_counts_each_event_by_its_weight_and_numbers_do_not(world: World, explanation: Explanation) -> None:
    weight = np.random.default_rng(3).integers(1, 4, world.scored.height).astype(np.float64)
    found = explain_world(weighted(world, weight))
    cost, scored = weight * world.scored["cost"].to_numpy(), world.scored
    missed = ((scored["label"] == 1) & (scored["action"] == "allow")).to_numpy()
    assert found.totals.cost == pytest.approx(cost.sum())
    assert found.totals.missed_cost == pytest.approx(cost[missed].sum())
    assert sum(item.cost for item in found.causes) == pytest.approx(cost[missed].sum())
    assert found.sweep.today.cost == pytest.approx(cost.sum())
    assert sum(losses for _, losses, _ in found.days) == pytest.approx(cost[missed].sum())
    assert (found.totals.n_missed, found.totals.n_alerts) == (explanation.totals.n_missed, explanation.totals.n_alerts)
    assert {item.event_id: item.cost for item in found.errors} == {e.event_id: e.cost for e in explanation.errors}
    assert found.method.weighted
    assert not explanation.method.weighted


def test_events_that_all_count_twice_double_the_money_and_change_nothing_else(
    world: World, explanation: Explanation
) -> None:
    found = explain_world(weighted(world, np.full(world.scored.height, 2.0)))
    for twice, once in zip(found.campaigns, explanation.campaigns, strict=True):
        assert twice.cost == pytest.approx(2 * once.cost)
        assert twice.n_missed == once.n_missed
    for twice_of, once_of in zip(found.money.segments, explanation.money.segments, strict=True):
        assert [row.cost for row in twice_of.rows] == pytest.approx([2 * row.cost for row in once_of.rows])
    assert found.totals.base.cost == pytest.approx(2 * explanation.totals.base.cost)
    assert [item.kind for item in found.findings] == [item.kind for item in explanation.findings]


def test_parts_with_few_errors_say_so() -> None:
    found = explain_world(make_world(300))
    assert {"missed_contrast", "autopsy"} <= set(found.absent)
    assert "at least 30" in found.absent["autopsy"]
    assert found.autopsy is None
    assert not any(item.significant for item in found.findings)


def test_a_sample_keeps_frauds_and_alerts_and_weighs_the_rest(world: World) -> None:
    scene = make_scene(world.scored, world.history, project=world.project, features=FEATURES)
    rows, weight = choose_rows(scene, sample=500, seed=0)
    kept = np.zeros(scene.scored.height, dtype=bool)
    kept[rows] = True
    assert kept[scene.y_true | scene.alert].all()
    assert weight.sum() == pytest.approx(scene.scored.height)
    found = explain_world(world, sample=500)
    assert found.method.sampled
    assert found.method.n_searched == len(rows)
    assert found.autopsy is not None
    assert found.autopsy.n_passed == 500


def test_ignored_and_protected_columns_are_never_a_condition_or_a_reason(explanation: Explanation) -> None:
    text = json.dumps(as_object(explanation)["slices"]) + json.dumps(as_object(explanation)["errors"])
    assert "secret" not in text
    assert "age of the holder" not in text


def by_costs(_event: pl.DataFrame, _y_prob: Any) -> DecidedBy:
    return DecidedBy("expected_cost")


def test_one_event_shows_the_known_world_and_what_flips_it(world: World) -> None:
    missed = world.scored.filter(pl.col("label") == 1, pl.col("action") == "allow")
    event = missed.row(-1, named=True)
    found = explain_event(
        str(event["event_id"]), world.history, project=world.project, features=FEATURES, contribute=world.contribute,
        score=lambda frame: world.score(frame), decide=world.decide, decided_by=by_costs, model="v1",
    )  # fmt: skip
    card = found.known[0]
    past = world.history.filter(pl.col("card") == event["card"], pl.col("event_time") < event["event_time"])
    arrived = past.filter(pl.col("label_time") <= event["event_time"])
    assert (card.n_events, card.n_known_frauds) == (past.height, int((arrived["label"] == 1).sum()))
    assert card.n_pending == past.height - arrived.height
    assert all(item.event_time < event["event_time"] for item in card.recent)
    assert found.change is not None
    dtype = world.history.schema[found.change.feature]
    value = pl.lit(found.change.needed, dtype=dtype)
    flipped = world.history.filter(pl.col("event_id") == event["event_id"]).with_columns(
        value.alias(found.change.feature)
    )
    assert world.decide(flipped, world.score(flipped))[0] != 0
    assert found.change.feature != "age"
    json.dumps(as_object(found), allow_nan=False)


def test_the_number_that_is_read_flips_the_decision(world: World) -> None:
    """Twenty decisions of both kinds: the value in the sentence, put into the event, gives the action it names."""
    alert = pl.col("action") != "allow"
    some = pl.concat([world.scored.filter(alert).head(10), world.scored.filter(~alert, pl.col("label") == 1).head(10)])
    n_numbers = 0
    for event_id in some["event_id"]:
        found = explain_event(
            str(event_id), world.history, project=world.project, features=FEATURES, contribute=world.contribute,
            score=world.score, decide=world.decide, decided_by=by_costs, model="v1",
        )  # fmt: skip
        change = found.change
        if change is None or isinstance(change.needed, (str, bool)):
            continue
        n_numbers += 1
        document = event_document(found)
        lead = next(item.lead for item in document.sections if item.name == "change")
        said = re.search(r": (\S+) instead of (\S+) would have led to (\w+)", str(lead))
        assert said is not None, lead
        written = float(said[1].replace(",", ""))
        assert change.needed == written, "what is read is what was tried"
        variant = world.history.filter(pl.col("event_id") == event_id).with_columns(
            pl.lit(written).cast(world.history.schema[change.feature]).alias(change.feature)
        )
        actions = list(world.project.costs.actions)
        assert actions[int(world.decide(variant, world.score(variant))[0])] == said[3]
        assert said[1] != said[2]
    assert n_numbers >= 5


def test_an_unknown_event_is_a_data_error(world: World) -> None:
    with pytest.raises(DataError, match="no event has the id"):
        explain_event(
            "none", world.history, project=world.project, features=FEATURES, contribute=world.contribute,
            score=world.score, decide=world.decide, decided_by=by_costs, model="v1",
        )  # fmt: skip


@pytest.mark.parametrize("plant", [{"missed_channel": "web"}, {"flagged_channel": "pos"}, {"broken_day": 6}])
def test_findings_come_by_money_tested_and_untested_alike(plant: dict[str, Any]) -> None:
    found = explain_world(make_world(4500, **plant)).findings
    assert [item.cost for item in found] == sorted((item.cost for item in found), reverse=True)
    assert any(item.significant for item in found)
    assert not all(item.significant for item in found)


def test_interactions_are_there_on_request_only(world: World, explanation: Explanation) -> None:
    assert explanation.pairs is None
    assert "--interactions" in explanation.absent["pairs"]
    found = explain_world(world, interact=lambda frame: ([(0, 1)], np.ones((frame.height, 1))))
    assert found.pairs is not None
    assert (found.pairs.items[0].missed, found.pairs.items[0].false_alarms) == (1.0, 1.0)
    assert as_object(found)["pairs"]["items"][0]["features"] == ["amount", "velocity"]


def test_only_declared_signals_are_changed(world: World) -> None:
    missed = world.scored.filter(pl.col("label") == 1, pl.col("action") == "allow")

    def change(signals: str) -> Any:
        declared = project(PROJECT.replace("[features]\n", f"[features]\nsignals = {signals}\n"))
        return explain_event(
            missed["event_id"][-1], world.history, project=declared, features=FEATURES, contribute=world.contribute,
            score=world.score, decide=world.decide, decided_by=by_costs, model="v1",
        ).change  # fmt: skip

    assert change('["velocity"]').feature == "velocity"
    assert change('["age"]') is None  # protected
    with pytest.raises(ProjectError, match=r"names velocty.*no feature") as error:
        change('["velocty"]')
    assert "velocity" in (error.value.hint or "")


def test_options_of_a_period_are_refused_beside_one_event() -> None:
    refuse_beside_event(sample=None, interactions=False)
    with pytest.raises(UsageError, match="--sample and --interactions belong"):
        refuse_beside_event(from_=None, sample=5000, interactions=True)
