"""Who answers which event: the draw, its vectors, the control group, and what is logged of them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run_in
from hypothesis import given
from hypothesis import strategies as st
from worlds import built_once, rewrite

from fraudctl.errors import UsageError
from fraudctl.scoring.engine import DecisionEngine
from fraudctl.scoring.experiment import BUCKETS, ControlBudget, Experiment, bucket, experiment_of, parse_split
from fraudctl.scoring.store import Store
from fraudctl.workflows.logged import raw_decisions
from fraudctl.workflows.score import Model, open_model
from fraudctl.workflows.state import open_live, save_state

PAGE = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")
FIRST, N_EVENTS = 12_000, 600
CAP = 30.0


def test_the_vectors_of_the_docs() -> None:
    found = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| ([\d,]+) \|$", PAGE, re.MULTILINE)
    assert len(found) >= 5
    for salt, value, wanted in found:
        assert bucket(salt, value) == int(wanted.replace(",", "")), (salt, value)
    assert bucket("exp7", 42) == bucket("exp7", "42")


@given(st.integers(0, BUCKETS), st.integers(0, BUCKETS), st.text(max_size=20))
def test_a_larger_share_moves_nobody_back(one: int, other: int, unit: str) -> None:
    low, high = sorted((one, other))
    arms = [Experiment("exp7", "card", share).arm(unit) for share in (low, high)]
    assert arms != ["challenger", "champion"]
    assert Experiment("exp7", "card", BUCKETS).arm(unit) == "challenger"
    assert Experiment("exp7", "card", high).arm(None) == "champion"


def test_draws_of_units_and_of_the_control_group_are_apart_and_as_large_as_asked() -> None:
    experiment = Experiment("exp7", "card", 100_000, 50_000)
    arms = [experiment.arm(f"C{number}") == "challenger" for number in range(20_000)]
    drawn = [experiment.drawn(f"C{number}") for number in range(20_000)]
    assert abs(sum(arms) / 20_000 - 0.1) < 0.01
    assert abs(sum(drawn) / 20_000 - 0.05) < 0.01
    both = sum(a and d for a, d in zip(arms, drawn, strict=True))
    assert abs(both / 20_000 - 0.005) < 0.003


@pytest.mark.parametrize(("options", "told"), [
    ({"split": "champion=90"}, "expected both arms"),
    ({"split": "champion=90,challenger=20"}, "are 110 together"),
    ({"split": "champion=90,challenger=x"}, "expected a share"),
    ({"split": "champion=90,challenger=10", "salt": None}, "needs --salt"),
    ({"split": "champion=90,challenger=10", "unit": None}, "needs --unit"),
    ({"split": None, "control": "0.5%", "unit": "card"}, "--unit goes with --split"),
    ({"split": None, "control": "101%", "unit": None}, "expected a share"),
    ({"split": None, "control": None}, "goes with --split or --control"),
    ({"salt": "plan"}, "'plan' is taken"),
    ({"salt": "a b"}, "letters, digits"),
    ({"control_cap": 100.0}, "goes with --control"),
    ({"control": "1%", "control_cap": -1.0}, "an amount of money above 0"),
])  # fmt: skip
def test_options_that_make_no_experiment(options: dict[str, Any], told: str) -> None:
    asked: dict[str, Any] = {
        "salt": "exp7", "split": "champion=90,challenger=10", "unit": "card", "control": None, "control_cap": None,
    }  # fmt: skip
    with pytest.raises(UsageError, match=told):
        experiment_of(**{**asked, **options})
    nothing = experiment_of(salt=None, split=None, unit=None, control=None, control_cap=None)
    assert nothing is None
    assert parse_split("challenger=0.5,champion=99.5") == 5000


def test_the_budget_begins_anew_each_day() -> None:
    budget = ControlBudget()
    budget.add(5, 70.0)
    assert (budget.left(5, 100.0), budget.left(6, 100.0), budget.left(5, None)) == (30.0, 100.0, float("inf"))
    budget.add(6, 10.0)
    budget.add(5, 5.0)  # an event that came late
    assert budget.left(6, 100.0) == 85.0


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Iterator[Path]:
    """A project with a champion and a challenger whose reviews are dear, and events that neither has decided."""

    def build(folder: Path) -> None:
        shutil.copytree(trained, folder, dirs_exist_ok=True)
        assert run_in(folder, "models", "promote", "latest", "--force", "first").code == 0
        rewrite(folder, ("block.legit = { fixed = 8, rate = 0.15,", "block.legit = { fixed = 1, rate = 0.01,"))
        assert run_in(folder, "threshold", "--quiet").code == 0
        stream(folder)[:FIRST].write_parquet(folder / "history.parquet")

    with built_once(tmp_path_factory, "two-models", build) as folder:
        yield folder


def stream(folder: Path) -> pl.DataFrame:
    frame = pl.read_parquet(folder / "transactions.parquet")
    return frame.unique("transaction_id").sort("created_at", "transaction_id")


def events(folder: Path) -> list[dict[str, Any]]:
    """Return events as a stream would bring them; the first ten have no card."""
    frame = stream(folder)[FIRST : FIRST + N_EVENTS]
    drop = [name for name in ("is_fraud", "label_available_at") if name in frame.columns]
    rows = frame.drop(drop).with_columns(pl.col("created_at").dt.to_string("iso:strict")).to_dicts()
    return [{**row, "card_id": None if at < 10 else row["card_id"]} for at, row in enumerate(rows)]


def models(folder: Path) -> tuple[Model, Model]:
    return open_model(folder, "champion"), open_model(folder, "latest")


def opened(folder: Path, store: Store, experiment: Experiment | None, *, history: bool) -> DecisionEngine:
    champion, challenger = models(folder)
    past = [folder / "history.parquet"] if history else []
    live = open_live(store, [champion, challenger], history=past, sources={"logins": [str(folder / "logins.parquet")]})
    return DecisionEngine(
        champion.decider, live, challenger=challenger.decider, store=store, explained="alerts", experiment=experiment
    )


@pytest.fixture(scope="module")
def run(two: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A state on which an experiment ran, and its answers."""
    state = tmp_path_factory.mktemp("experiment") / "state"
    experiment = Experiment("exp7", "card", 500_000, 600_000, CAP)
    with Store(state) as store:
        engine = opened(two, store, experiment, history=True)
        answers = [json.loads(engine.event(event)) for event in events(two)]
        assert engine.drawn["null_unit"] == 10
        assert engine.drawn["champion"] + engine.drawn["challenger"] == N_EVENTS - 10
        engine.flush()
        save_state(store, engine.live)
    return state, answers


def test_a_unit_meets_one_model_and_the_other_decides_in_the_shadow(
    two: Path, run: tuple[Path, list[dict[str, Any]]]
) -> None:
    state, answers = run
    champion, challenger = (model.decider.model for model in models(two))
    names = {"champion": champion, "challenger": challenger}
    for event, answer in zip(events(two), answers, strict=True):
        card = event["card_id"]
        arm = "champion" if card is None or bucket("exp7", card) >= 500_000 else "challenger"
        told = None if card is None else arm
        assert answer["experiment"] == {"name": "exp7", "unit": "card", "arm": told, "share": 0.5}
        assert answer["model"] == names[arm]
    rows, _ = raw_decisions([state])
    assert rows.height == 2 * N_EVENTS
    answered, shadow = (rows.filter(pl.col("role") == role) for role in ("champion", "challenger"))
    assert answered["model"].to_list() == [answer["model"] for answer in answers]
    assert (answered["model"] != shadow["model"]).all()
    assert answered["arm"].to_list() == [answer["experiment"]["arm"] for answer in answers]


def test_the_control_group_is_let_through_within_its_daily_cap_and_says_how_likely_that_was(
    run: tuple[Path, list[dict[str, Any]]], two: Path
) -> None:
    state, answers = run
    experiment, spent = Experiment("exp7", "card", 500_000, 600_000, CAP), ControlBudget()
    decider = models(two)[0].decider
    n_through = n_capped = 0
    for event, answer in zip(events(two), answers, strict=True):
        drawn, by = experiment.drawn(answer["event_id"]), answer["decided_by"]
        would_block = answer["action"] == "block" or by["kind"] == "control"
        if not would_block:
            assert (answer["control_group"], answer["exposure_prob"]) == (drawn, 1.0)
            continue
        day = decider.single.local_day(decider.reader.event(event))
        loss = answer["probability"] * (15 + event["amount"])
        room = loss <= spent.left(day, CAP)
        through = drawn and room
        assert answer["exposure_prob"] == (0.6 if room else 0.0)
        assert answer["control_group"] == through
        assert (answer["action"], by["instead_of"]) == (("allow", "block") if through else ("block", by["instead_of"]))
        n_through, n_capped = n_through + through, n_capped + (drawn and not room)
        if through:
            spent.add(day, loss)
    assert n_through > 0
    assert n_capped > 0
    rows, _ = raw_decisions([state])
    told = rows.filter(pl.col("role") == "champion")
    assert int(told.filter(pl.col("exposure_prob") < 1)["control_group"].sum()) == n_through
    assert rows.filter(pl.col("role") == "challenger")["control_group"].null_count() == N_EVENTS


def test_a_restart_knows_answers_budget_and_salt(
    two: Path, run: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:

    state, answers = run
    copy = Path(shutil.copytree(state, tmp_path / "state"))
    with Store(copy) as store:
        engine = opened(two, store, Experiment("exp7", "card", 700_000), history=False)  # a larger share is the same
        assert json.loads(engine.event(events(two)[-1])) == answers[-1]
        assert engine.live.control.spent > 0
        assert engine.live.experiments["exp7"]["unit"] == "card"
        for other in (Experiment("exp7", "merchant", 500_000), Experiment("exp8", "nobody", 500_000)):
            with pytest.raises(UsageError, match=r"the salt exp7 was used for|is no entity"):
                DecisionEngine(engine.champion, engine.live, challenger=engine.challenger, experiment=other)
        with pytest.raises(UsageError, match="needs a challenger"):
            DecisionEngine(engine.champion, engine.live, experiment=Experiment("exp9", "card", 500_000))
        with pytest.raises(UsageError, match="the salt exp7 was used for"):
            engine.swap(engine.challenger or engine.champion, engine.champion)


def test_without_an_experiment_answers_are_as_ever(two: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "state") as store:
        engine = opened(two, store, None, history=True)
        answer = json.loads(engine.event(events(two)[20]))
    assert not {"experiment", "control_group", "exposure_prob"} & answer.keys()


def test_files_and_streams_on_a_state_have_a_control_group_too(two: Path, tmp_path: Path) -> None:
    drop = ("is_fraud", "label_available_at")
    stream(two)[FIRST : FIRST + N_EVENTS].drop(drop).write_parquet(tmp_path / "new.parquet")
    state, out = tmp_path / "state", tmp_path / "out.parquet"
    asked = ("--state", str(state), "--history", "history.parquet", "--control", "60%", "--salt", "exp9", "--quiet")
    done = run_in(two, "score", str(tmp_path / "new.parquet"), "-o", str(out), *asked)
    assert done.code == 0, done.err
    found, experiment = pl.read_parquet(out), Experiment("exp9", control=600_000)
    blocked = found.filter(pl.col("exposure_prob") < 1)
    assert blocked.height > 5
    for row in blocked.iter_rows(named=True):
        drawn = experiment.drawn(row["event_id"])
        assert (row["control_group"], row["action"]) == (drawn, "allow" if drawn else "block")
        assert row["exposure_prob"] == 0.6
    logged = raw_decisions([state])[0].select("event_id", "action", "control_group", "exposure_prob").sort("event_id")
    assert logged.equals(found.select(logged.columns).cast(dict(logged.schema)).sort("event_id"))
    line = json.dumps(events(two)[-1]).encode()
    again = run_in(two, "score", "-", *asked[:2], *asked[4:], sent=line)
    assert again.code == 0, again.err
    last = found.filter(pl.col("event_id") == json.loads(line)["transaction_id"])
    assert json.loads(again.out)["exposure_prob"] == last["exposure_prob"].item()
    alone = run_in(two, "score", str(tmp_path / "new.parquet"), "-o", str(out), "--control", "1%", "--salt", "exp9")
    assert (alone.code, "--state names none" in alone.err) == (2, True)
    assert run_in(two, "score", "-", "--control", "1%", "--state", str(state)).code == 2  # a draw has a key


def test_ab_counts_what_was_answered(two: Path, run: tuple[Path, list[dict[str, Any]]]) -> None:
    state, answers = run
    done = run_in(two, "ab", "exp7", "--decisions", str(state), "--json", "--quiet")
    document = done.json
    assert done.code == document["exit_code"] == {"pass": 0, "fail": 1, "inconclusive": 5}[document["verdict"]]
    assert document["null_units"] == 10  # though the data know their card
    buckets = {event["card_id"]: bucket("exp7", event["card_id"]) for event in events(two) if event["card_id"]}
    n_challenger = sum(found < 500_000 for found in buckets.values())
    ratio = document["sample_ratio"]
    assert (ratio["challenger_units"], ratio["champion_units"]) == (n_challenger, len(buckets) - n_challenger)
    in_arms = [sum(answer["experiment"]["arm"] == arm for answer in answers) for arm in ("champion", "challenger")]
    labelled = [arm["events"] for arm in document["arms"]]
    assert all(0.5 * total < n <= total for n, total in zip(labelled, in_arms, strict=True))
    shown = run_in(two, "ab", "exp7", "--decisions", str(state), "--quiet")
    assert "sample ratio:" in shown.out
    assert document["verdict"] in shown.out
    plan = run_in(
        two, "ab", "plan", "--decisions", str(state), "--unit", "card", "--split", "champion=80,challenger=20",
        "--loss", "0.1", "--json", "--quiet",
    )  # fmt: skip
    assert plan.code == 0, plan.err
    assert plan.json["days"] > 1
    unknown = run_in(two, "ab", "exp8", "--decisions", str(state), "--quiet")
    assert unknown.code == 3
    assert "there are 'exp7'" in unknown.err
    assert run_in(two, "ab", "exp7", "--decisions", str(state), "--unit", "card").code == 2
    assert run_in(two, "ab", "plan", "--decisions", str(state), "--unit", "card").code == 2


def test_the_control_group_of_a_state_reaches_training_and_evaluation_by_the_project_file(
    two: Path, run: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:

    state, answers = run
    folder = Path(shutil.copytree(two, tmp_path / "project"))
    shutil.copytree(state, folder / "state")
    week = (datetime(2025, 12, 28, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC))
    later = stream(folder).filter(pl.col("created_at").is_between(*week))
    through = later.select(event_id="transaction_id", exposure_prob=pl.lit(0.5), control_group=pl.lit(value=True))
    through.write_parquet(folder / "later.parquet")
    rewrite(folder, ("[data]\n", '[data]\ndecisions = ["state/decisions", "later.parquet"]\n'),
            ("[split]\n", "[split]\nas_of = 2025-12-28\n"))  # fmt: skip

    told = {item["id"]: item for item in run_in(folder, "check", "--json", "--quiet").json["findings"]}
    known = {row["transaction_id"]: row["is_fraud"] for row in stream(folder).to_dicts()}
    legit = [a for a in answers if a["exposure_prob"] < 1 and not a["control_group"] and known[a["event_id"]] == 0]
    assert told["blocked-legit"]["counts"]["n_events"] == len(legit) > 0
    assert not {"decisions-unusable", "decisions-unmatched"} & told.keys()

    trained = run_in(folder, "train", "--fast", "--json", "--quiet")
    assert trained.code == 0, trained.err
    rows = pl.read_parquet(Path(trained.json["path"]) / "predictions.parquet").filter(pl.col("fold") >= 0)
    weight = {answer["event_id"]: 1 / max(answer["exposure_prob"], 0.05) for answer in answers}
    assert rows["event_weight"].to_list() == pytest.approx([weight.get(name, 1.0) for name in rows["event_id"]])
    assert rows["event_weight"].n_unique() >= 2
    judged = run_in(folder, "evaluate", "--json", "--quiet")
    assert judged.code in {0, 1, 5}, judged.err  # what the gate says of so few frauds is not the point
    n_judged = later["is_fraud"].count()
    assert 0 < judged.json["control_group"]["rows"] <= n_judged

    through.with_columns(exposure_prob=pl.lit(0.4)).write_parquet(folder / "state" / "again.parquet")
    rewrite(folder, ('"later.parquet"]', '"later.parquet", "state/again.parquet"]'))
    refused = run_in(folder, "train", "--fast", "--quiet")
    assert refused.code == 3
    assert f"{through.height:,} events with decisions that differ" in refused.err
