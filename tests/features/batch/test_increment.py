"""Features of new events from the kept past: the very bits of a full build, whatever is dropped."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from command_line import run_in
from features.proof.test_against_reference import EVERYTHING, ZONE, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fraudctl.disk.kept import verified, vouch
from fraudctl.errors import DataError
from fraudctl.features import build
from fraudctl.features.batch.engine import Dropped
from fraudctl.features.batch.increment import Past, engine_after, extend, kept, remembered
from fraudctl.progress import Silent
from fraudctl.project import load_project
from fraudctl.workflows.features import build_features
from fraudctl.workflows.increment import Increment, build_since

SPARING = EVERYTHING.replace('aggregates = ["first_time", "count", "seconds_since_last"]', "").replace(
    '[[features.links]]\nof = ["card", "shop"]\n[[features.links]]\nof = ["shop", "card"]\nhub = 2\n', ""
)


@settings(max_examples=25, deadline=None)
@given(columns=tables(30), data=st.data(), text=st.sampled_from([EVERYTHING, SPARING]))
def test_an_increment_equals_a_full_build(columns, data, text, events_of, features_of):
    features, events = features_of(text), events_of(text, **columns)
    whole = build(events, features, timezone=ZONE)
    times = events.frame["event_time"].dt.epoch("us").to_list()
    cuts = sorted({data.draw(st.sampled_from(times)) + data.draw(st.integers(0, 1)) for _ in range(2)})
    past = Past(events.frame.clear(), Dropped())
    us = pl.col("event_time").dt.epoch("us")
    after = -(2**62)
    for cut in [*cuts, None]:
        fresh = events.frame.filter((us >= after) & (us < cut if cut is not None else True))
        table = extend(engine_after(past, fresh, features, timezone=ZONE, sources={}), fresh)
        expected = whole.filter((us >= after) & (us < cut if cut is not None else True))
        assert_frame_equal(table.select(whole.columns), expected, check_exact=True)
        if cut is not None:
            held = table.select([*events.frame.columns, *remembered(features)])
            past = kept(
                Past(pl.concat([past.events, held], how="diagonal_relaxed"), past.dropped), features, before_us=cut
            )  # fmt: skip
            after = cut


TOML = """
[data]
events = "data/*.parquet"
event_id = "id"
event_time = "at"
amount = "eur"
label = "fraud"
label_delay = "1d"
[entities]
card = "card"
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count", "sum(amount)"]
[[features.labels]]
by = "card"
windows = ["2d"]
aggregates = ["smoothed_rate"]
[[features.recency]]
by = "card"
"""
DAY = 86_400


def day(number: int, *, first: int = 0, n: int = 400) -> pl.DataFrame:
    ids = pl.int_range(first, first + n, eager=True).alias("id")
    return pl.DataFrame({"id": ids}).with_columns(
        at=pl.datetime(2024, 1, 1) + pl.duration(seconds=number * DAY + (pl.col("id") * 7919) % DAY),
        eur=(pl.col("id") * 31 % 977) / 100, fraud=(pl.col("id") % 9 == 0).cast(pl.Int8), card=pl.col("id") % 83,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "fraudctl.toml").write_text(TOML)
    for number in range(5):
        day(number, first=1000 * number).write_parquet(tmp_path / "data" / f"{number}.parquet")
    return tmp_path


class Heard(Silent):
    """Progress that keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def since(project, date: int, heard: Heard | None = None) -> Increment:
    return build_since(load_project(project), datetime(2024, 1, date, tzinfo=UTC), progress=heard)


def full(project) -> pl.DataFrame:
    return build_features(load_project(project)).frame


def test_days_that_come_one_by_one(project):
    heard = Heard()
    assert since(project, 5, heard).built_anew == "none was kept for these definitions"
    assert "all features are built again" in heard.warnings[0]
    for number, date in ((5, 6), (6, 7)):
        day(number, first=1000 * number).write_parquet(project / "data" / f"{number}.parquet")
        done = since(project, date)
        assert done.built_anew is None
        assert done.frame.height == 400
        assert done.rows_kept < 400 * number
    again = since(project, 7)
    assert again.built_anew is None
    assert_frame_equal(done.frame, again.frame)
    assert_frame_equal(done.frame, full(project).tail(400), check_exact=True)


def test_without_a_new_event_every_run_gives_an_empty_table(project):
    first, again = since(project, 9), since(project, 9)
    assert (first.built_anew, again.built_anew) == ("none was kept for these definitions", None)
    assert_frame_equal(first.frame, full(project).clear())
    assert_frame_equal(first.frame, again.frame)
    day(5, first=5000).write_parquet(project / "data" / "5.parquet")
    assert since(project, 9).built_anew is not None  # the new events lie before the date of the state
    for _ in range(2):
        done = run_in(project, "features", "--since", "2024-01-09", "-o", "new.parquet")
        assert done.code == 0
        assert "no event is at or after" in done.out


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: day(1, first=1000, n=399).write_parquet(data / "1.parquet"), "1.parquet has changed"),
        (lambda data: (data / "2.parquet").unlink(), "2.parquet is not there any more"),
        (lambda data: day(2, first=9000, n=7).write_parquet(data / "late.parquet"), "late.parquet holds 7 events"),
        (lambda data: next(data.parent.glob(".fraudctl/increments/*.arrow")).write_bytes(b"A" * 99), "is damaged"),
    ],
)
def test_a_state_that_does_not_fit_is_told_and_made_anew(project, spoil, words):
    since(project, 4)
    spoil(project / "data")
    done = since(project, 5)
    assert words in str(done.built_anew)
    assert_frame_equal(done.frame, full(project).tail(done.frame.height), check_exact=True)
    assert since(project, 5).built_anew is None


LOOKING_BACK_ON_LOGINS = (
    TOML.replace('card = "card"\n[[features', 'card = "card"\n[sources.logins]\nevents = "logins.parquet"\n'
    'event_time = "when"\nentities = { card = "card" }\n[[features', 1)
    + '[[features.window]]\nsource = "logins"\nby = "card"\nwindows = ["6h"]\naggregates = ["count"]\n'
    '[[features.window]]\nby = "card"\nwindows = ["2d"]\naggregates = ["mean(burst)"]\n'
    '[features.columns]\nburst = "card_logins_count_6h > 0"\n'
)  # fmt: skip


def test_rows_of_another_table_that_change_afterwards_make_the_state_unfit_and_new_ones_do_not(project):
    (project / "fraudctl.toml").write_text(LOOKING_BACK_ON_LOGINS)
    logins = pl.concat([day(number, first=500 * number, n=200) for number in range(6)]).select(when="at", card="card")
    logins.head(800).write_parquet(project / "logins.parquet")
    since(project, 5)
    day(5, first=5000).write_parquet(project / "data" / "5.parquet")
    logins.write_parquet(project / "logins.parquet")
    grown = since(project, 6)
    assert grown.built_anew is None
    assert_frame_equal(grown.frame, full(project).tail(400), check_exact=True)
    logins[300:].write_parquet(project / "logins.parquet")
    day(6, first=6000).write_parquet(project / "data" / "6.parquet")
    rewritten = since(project, 7)
    assert rewritten.built_anew == "rows of [sources.logins] that earlier events saw have changed"
    assert_frame_equal(rewritten.frame, full(project).tail(400), check_exact=True)


@pytest.mark.parametrize("kind", [pl.Int64, pl.String])
def test_a_new_event_with_the_id_of_a_kept_one_is_refused(project, kind):
    since(project, 5)
    (project / "data" / "4.parquet").rename(project / "4.parquet")
    day(5, first=3000).with_columns(pl.col("id").cast(kind)).write_parquet(project / "data" / "5.parquet")
    place = next(project.glob(".fraudctl/increments/*.arrow"))
    facts = verified(place)
    assert facts is not None
    facts["files"] = {name: noted for name, noted in facts["files"].items() if not name.endswith("4.parquet")}
    vouch(place, facts)  # so that only the new file is read beside the state
    with pytest.raises(DataError, match="new events have the id of an earlier one"):
        since(project, 6)


def test_options_that_contradict(project):
    assert run_in(project, "features", "--since", "2024-01-05").code == 2
    both = run_in(project, "features", "--since", "2024-01-05", "-o", "x.parquet", "--memory", "1GB")
    assert (both.code, "exclude each other" in both.err) == (2, True)
    done = run_in(project, "features", "--since", "2024-01-05", "-o", "x.parquet", "--json")
    assert (done.code, done.json["rows"], pl.read_parquet(project / "x.parquet").height) == (0, 400, 400)
