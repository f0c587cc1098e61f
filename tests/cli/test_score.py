"""``score`` as a user runs it: files, streams and saved states give the same answers; what does not fit is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from command_line import Outcome, run_in
from polars.testing import assert_frame_equal

from fraudctl.errors import DataError
from fraudctl.project import load_project
from fraudctl.workflows.score import Model, open_model, score_files
from fraudctl.workflows.versions import open_bundle, write_noted

N_NEW = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """A folder with a history and the events after it."""
    folder = tmp_path_factory.mktemp("data")
    events = (
        pl.read_parquet(trained / "transactions.parquet").unique("transaction_id").sort("created_at", "transaction_id")
    )
    events.slice(15_000 - 1200, 1200).write_parquet(folder / "history.parquet")
    new = events.slice(15_000, N_NEW)
    new.write_parquet(folder / "new.parquet")
    new.drop("is_fraud", "label_available_at").write_csv(folder / "new.csv")
    new.drop("is_fraud", "label_available_at").write_ndjson(folder / "new.jsonl")
    return folder


def streamed(trained: Path, lines: bytes, *args: str) -> Outcome:
    return run_in(trained, "score", "-", "--quiet", *args, sent=lines)


@pytest.fixture(scope="module")
def batch(data: Path, trained: Path) -> pl.DataFrame:
    """What batch scoring says."""
    out = data / "batch.parquet"
    done = run_in(
        trained, "score", str(data / "new.parquet"), "--history", str(data / "history.parquet"), "-o", str(out),
        "--with-features", "--reasons", "all", "--json", "--quiet",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["rows"] == N_NEW
    assert sum(done.json["actions"].values()) == N_NEW
    return pl.read_parquet(out)


def test_batch_gives_what_an_evaluation_would_decide(batch: pl.DataFrame, data: Path, trained: Path) -> None:
    assert batch.columns[:7] == ["event_id", "probability", "action", "decided_by", "reasons", "policy", "model"]
    assert batch["probability"].is_between(0, 1).all()
    assert batch["model"].unique().to_list() == [path.name for path in (trained / "models").glob("2*")]
    assert batch["reasons"].list.len().max() == 4
    times = pl.read_parquet(data / "new.parquet").rename({"transaction_id": "event_id"})
    joined = batch.join(times, on="event_id", how="left", maintain_order="left")
    assert joined["created_at"].is_sorted()


def test_csv_gives_the_same(batch: pl.DataFrame, data: Path, trained: Path) -> None:
    out = data / "csv.parquet"
    done = run_in(
        trained, "score", str(data / "new.csv"), "--history", str(data / "history.parquet"), "-o", str(out),
        "--with-features", "--reasons", "all", "--quiet",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert_frame_equal(pl.read_parquet(out), batch)


def test_a_stream_gives_the_same_and_refuses_line_by_line(batch: pl.DataFrame, data: Path, trained: Path) -> None:
    lines = (data / "new.jsonl").read_bytes().splitlines()
    wrong = [b"{nonsense", b'{"amount": 3}', lines[0].replace(b'"amount":', b'"amout":'), b"[1, 2]", b""]
    sent = b"\n".join([*lines[:20], *wrong, lines[3], *lines[20:]])
    done = streamed(
        trained, sent, "--history", str(data / "history.parquet"), "--with-features", "--reasons", "all"
    )  # fmt: skip
    assert done.code == 3
    answers = [json.loads(line) for line in done.out.splitlines()]
    errors = [item for item in answers if "error" in item]
    assert [item["line"] for item in errors] == [21, 22, 23, 24]
    assert "did you mean 'amount'" in errors[2]["error"]
    good = [item for item in answers if "error" not in item]
    assert good.pop(20) == good[3], "an event that is sent again gets the answer that it got"
    expected = batch.to_dicts()
    names = batch.columns[7:]
    for found, row in zip(good, expected, strict=True):
        assert {key: found[key] for key in batch.columns[:7]} == {key: row[key] for key in batch.columns[:7]}
        for name in names:
            value = found["features"][name]
            assert value == pytest.approx(row[name], rel=1e-9) if isinstance(value, float) else value == row[name]


def test_outcomes_that_no_feature_counts_any_more_are_said(data: Path, trained: Path) -> None:
    first = json.loads((data / "new.jsonl").read_bytes().splitlines()[0])
    label, end = load_project(trained).data.label_delay.timedelta, datetime.fromisoformat(first["created_at"])
    late = end + max(3 * label, timedelta(days=30)) + timedelta(days=1)
    later = [
        {**first, "transaction_id": f"later {i}", "created_at": (late + timedelta(minutes=i)).isoformat()}
        for i in range(20)
    ]
    outcome = {"type": "label", "event_id": first["transaction_id"], "label": 1, "label_time": late.isoformat()}
    lines = [first, *later, outcome]
    sent = b"\n".join(json.dumps(line).encode() for line in lines)
    done = run_in(trained, "score", "-", sent=sent)
    assert done.code == 0, done.err
    assert "1 outcome without an event that is known" in done.err
    soon = {**outcome, "label_time": (end + label).isoformat()}
    sent = b"\n".join(json.dumps(line).encode() for line in (first, soon, *later))
    done = run_in(trained, "score", "-", sent=sent)
    assert done.code == 0, done.err
    assert "without an event" not in done.err


def test_a_state_goes_on_where_it_was_left(batch: pl.DataFrame, data: Path, trained: Path, tmp_path: Path) -> None:
    state, lines = tmp_path / "state", (data / "new.jsonl").read_bytes().splitlines()
    history = ("--history", str(data / "history.parquet"))
    built = run_in(trained, "state", "build", str(state), *history, "--json", "--quiet")
    assert built.code == 0, built.err
    parts = (lines[:15], lines[15:])
    out = [streamed(trained, b"\n".join(part), "--state", str(state), "--reasons", "all") for part in parts]
    assert [item.code for item in out] == [0, 0]
    answers = [json.loads(line) for item in out for line in item.out.splitlines()]
    assert answers == batch.select(batch.columns[:7]).to_dicts()
    shown = run_in(trained, "state", "show", str(state), "--json").json
    assert shown["counts"]["events"] == N_NEW
    logged = pl.read_parquet(state / "decisions" / "*.parquet")
    assert logged["action"].to_list() == batch["action"].to_list()
    again = run_in(trained, "score", str(data / "new.csv"), "--state", str(state), "-o", str(tmp_path / "x.parquet"))
    assert again.code == 0, again.err
    stored = pl.read_parquet(tmp_path / "x.parquet")
    assert_frame_equal(stored, batch.select(batch.columns[:7]))
    refused = run_in(
        trained, "score", str(data / "new.csv"), "--state", str(state), "-o", str(tmp_path / "x.parquet"), *history
    )
    assert refused.code == 2


def test_a_state_of_other_features_is_refused(data: Path, project: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    built = run_in(project, "state", "build", str(state), "--history", str(data / "history.parquet"), "--quiet")
    assert built.code == 0, built.err
    toml = project / "fraudctl.toml"
    toml.write_text(toml.read_text().replace('windows = ["1h"]', 'windows = ["2h"]', 1))
    assert run_in(project, "train", "--fast", "--as-of", "2025-12-09", "--quiet").code == 0
    refused = streamed(project, b"", "--state", str(state))
    assert refused.code == 4
    assert "other features" in refused.err
    snapshot = next(state.glob("snapshot-*.bin"))
    content = bytearray(snapshot.read_bytes())
    content[content.index(b'"definitions"')] ^= 1  # in the head, which is all that `state show` reads
    snapshot.write_bytes(content)
    assert run_in(project, "state", "show", str(state)).code == 4


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    return open_model(trained, "latest")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda frame: frame.drop("amount"), "no column 'amount'"),
        (lambda frame: frame.rename({"merchant_id": "merchant"}), "was it renamed to 'merchant'?"),
        (lambda frame: frame.with_columns(pl.lit("x").alias("amount")), "'amount' is String; expected a number"),
        (lambda frame: frame.with_columns(pl.lit(1.5).alias("card_id")), "'card_id' is Float64; expected text"),
    ],
)
def test_columns_that_do_not_fit(
    change: Callable[[pl.DataFrame], pl.DataFrame], told: str, data: Path, model: Model, tmp_path: Path
) -> None:
    change(pl.read_parquet(data / "new.parquet")).write_parquet(tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=re.escape(told)):
        score_files(model, [tmp_path / "odd.parquet"], output=tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_what_has_a_stated_treatment(data: Path, model: Model, tmp_path: Path) -> None:
    frame = pl.read_parquet(data / "new.parquet")
    odd = frame.with_columns(pl.col("amount").cast(pl.Float32).cast(pl.Float64), extra=1, category=pl.lit("never seen"))
    other = odd.with_columns(category=pl.lit("never seen either"))
    found = []
    for name, table in (("odd", odd), ("other", other)):
        table.write_parquet(tmp_path / f"{name}.parquet")
        result = score_files(model, [tmp_path / f"{name}.parquet"], output=tmp_path / "out.parquet", explained="none")
        assert result.extra == ("extra",)
        found.append(pl.read_parquet(tmp_path / "out.parquet"))
    assert_frame_equal(found[0], found[1])


def test_in_parts_gives_the_same(data: Path, model: Model, batch: pl.DataFrame, tmp_path: Path) -> None:
    score_files(
        model, [data / "new.parquet"], history=[data / "history.parquet"], output=tmp_path / "out.parquet",
        with_features=True, explained="all", memory=700_000_000,
    )  # fmt: skip
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet"), batch)


def test_a_bundle_of_a_newer_schema_with_a_changed_byte_or_a_pickle_is_refused(
    data: Path, project: Path, tmp_path: Path
) -> None:
    bundle = next((project / "models").glob("2*"))
    pickle = bundle / "extra.pkl"
    pickle.write_bytes(b"\x80\x04N.")
    command = ("score", str(data / "new.csv"), "-o", str(tmp_path / "out.parquet"))
    assert run_in(project, *command).code == 4
    pickle.unlink()
    model = (bundle / "model.cbm").read_bytes()
    (bundle / "model.cbm").write_bytes(model[:100] + bytes([model[100] ^ 1]) + model[101:])
    assert run_in(project, *command).code == 4
    (bundle / "model.cbm").write_bytes(model)
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "schema_version": manifest["schema_version"] + 1}))
    done = run_in(project, *command)
    assert done.code == 4
    assert "schema version" in done.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("score", "new.csv"), "needs a file to write to"),
        (("score", "-", "-o", "x.parquet"), "as JSON lines"),
        (("score", "x.csv", "-o", "x.parquet", "--reasons", "some"), "expected one of"),
        (("score", "x.csv", "-o", "x.parquet", "--source", "logins"), "NAME=FILE"),
        (("state", "build", "x"), "from history"),
    ],
)
def test_contradictions_are_usage_errors(args: tuple[str, ...], told: str, trained: Path) -> None:
    done = run_in(trained, *args)
    assert done.code == 2
    assert told in done.err


def test_logged_decisions_are_compared_as_they_were_made(trained: Path, tmp_path: Path) -> None:
    version = next((trained / "models").glob("2*")).name
    events = pl.read_parquet(trained / "transactions.parquet").unique("transaction_id").sort("created_at")
    events = events.slice(14_000, 2000)
    logged = events.select(
        event_id="transaction_id",
        event_time="created_at",
        model=pl.lit(version),
        probability=pl.when(pl.col("amount") > 200).then(0.5).otherwise(0.01),
        action=pl.when(pl.col("amount") > 200).then(pl.lit("review")).otherwise(pl.lit("allow")),
    )
    logged.write_parquet(tmp_path / "decisions.parquet")
    command = ("compare", version, "latest", "--decisions", str(tmp_path / "decisions.parquet"), "--json")
    done = run_in(trained, *command)
    assert done.code == 0, done.err
    assert done.json["agreed"] == done.json["rows"] == events["is_fraud"].drop_nulls().len()
    logged.with_columns(model=pl.lit("other")).write_parquet(tmp_path / "decisions.parquet")
    nothing = run_in(trained, *command)
    assert nothing.code == 3
    assert "there are decisions of: other" in nothing.err


SCARCE = 'capacity = { review = "4 per day", block = "9 per week" }'
BY_SIZE = """kind = "thresholds"
segments = "CASE WHEN amount > 60 THEN 'large' WHEN amount > 0 THEN 'small' END\""""


OWN = {"large": {"review": 0.02, "block": 0.3}, "small": {"review": 0.5, "block": None}}


def give_thresholds(project: Path, own: dict[str, dict[str, float | None]]) -> None:
    """Write the latest bundle again with thresholds of their own for segments that have too few frauds for them."""
    bundle = open_bundle(load_project(project), "latest")
    policy = {**bundle.policy, "segments": {**bundle.policy["segments"], "thresholds": own}}
    contents = bundle.contents(policy=policy, project_file=bundle.manifest["project_file"], facts=dict(bundle.facts))
    write_noted(load_project(project), contents, event="threshold", parent=bundle.version)


@pytest.mark.parametrize("policy", [SCARCE, BY_SIZE], ids=["capacity", "segments"])
def test_what_was_evaluated_is_decided_online(policy: str, project: Path, tmp_path: Path) -> None:
    """Prices by time and places left, and thresholds by segment: evaluated, as a file, one by one over a restart."""
    toml = project / "fraudctl.toml"
    head, tail = toml.read_text().split('[policy]\nkind = "expected_cost"')
    toml.write_text(f"{head}[policy]\n{policy}\n{tail}")
    told = run_in(project, "threshold")
    assert told.code == 0, told.err
    if policy == BY_SIZE:
        give_thresholds(project, OWN)
    evaluated = tmp_path / "evaluated.parquet"
    found = run_in(project, "evaluate", "--no-gate", "--predictions", str(evaluated), "--json", "--quiet")
    assert found.code == 0, found.err
    chosen = found.json["policy"]
    if policy == SCARCE:
        assert "a place of review: worth" in told.out
        assert len({tuple(row) for row in chosen["bids"]["review"]["prices"]}) > 1
    else:
        assert "Segments by CASE WHEN" in told.out
        assert "common: " in told.out
        assert chosen["segments"]["thresholds"] == OWN
    expected = dict(pl.read_parquet(evaluated).select("event_id", "action").iter_rows())
    events = pl.read_parquet(project / "transactions.parquet").unique("transaction_id")
    start = pl.lit(found.json["period"]["from"]).str.to_datetime(time_zone="UTC")
    events.filter(pl.col("created_at") < start).write_parquet(tmp_path / "history.parquet")
    new = events.filter(pl.col("created_at") >= start).sort("created_at", "transaction_id")
    new.write_parquet(tmp_path / "new.parquet")
    history = ("--history", str(tmp_path / "history.parquet"))
    out = tmp_path / "batch.parquet"
    assert run_in(project, "score", str(tmp_path / "new.parquet"), *history, "-o", str(out), "--quiet").code == 0
    batch = dict(pl.read_parquet(out).select("event_id", "action").iter_rows())
    assert {key: batch[key] for key in expected} == expected
    assert set(batch.values()) >= {"allow", "review"}
    lines = tmp_path / "new.jsonl"
    new[:480].drop("is_fraud", "label_available_at").write_ndjson(lines)
    if policy == SCARCE:
        state = tmp_path / "state"
        assert run_in(project, "state", "build", str(state), *history, "--quiet").code == 0
        parts = [b"\n".join(lines.read_bytes().splitlines()[at : at + 240]) for at in (0, 240)]
        answers = [streamed(project, part, "--state", str(state), "--reasons", "none") for part in parts]
    else:
        answers = [streamed(project, lines.read_bytes(), *history, "--reasons", "none")]
    single = [json.loads(line) for item in answers for line in item.out.splitlines()]
    assert len(single) == 480
    assert all(item["action"] == batch[item["event_id"]] for item in single)
    assert any(item["action"] == "review" for item in single)
