from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from training_data import START, project, table

from fraudctl.errors import DataError, UsageError
from fraudctl.maturity import block_since, immature, instant, known_blocked, mature, period_start
from fraudctl.project import Duration, Project
from fraudctl.split import Split, make_split, periods

DAY = timedelta(days=1)


def split_of(frame: pl.DataFrame, plan: Project, **kwargs: date) -> Split:
    return make_split(frame, plan, known_until=frame["event_time"].max(), **kwargs)  # type: ignore[arg-type]


def events(*rows: tuple[float, int | None, float | None, int | None]) -> pl.DataFrame:
    """Rows of (day of the event, label, day of the label, card)."""
    at = [START + r[0] * DAY for r in rows]
    known = [None if r[2] is None else START + r[2] * DAY for r in rows]
    kind = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "event_time": pl.Series(at, dtype=kind),
            "label": pl.Series([r[1] for r in rows], dtype=pl.Int8),
            "label_time": pl.Series(known, dtype=kind),
            "card": pl.Series([r[3] for r in rows], dtype=pl.Int64),
        }
    )


def test_training_and_test_periods_follow_as_of() -> None:
    frame = table()
    plan = project(split='as_of = 2026-02-15\ntest = "6d"\ntrain = "20d"\nfolds = 2')
    split = split_of(frame, plan)
    assert split.as_of == split.times.as_of == split.times.train_until + 5 * DAY == datetime(2026, 2, 15, tzinfo=UTC)
    assert split.times.test_until - split.times.as_of == 6 * DAY
    assert split.times.train_until == split.times.as_of - 5 * DAY
    assert split.times.train_from == split.times.train_until - 20 * DAY
    times = frame["event_time"].to_numpy()[split.train]
    assert times.min() >= np.datetime64(split.times.train_from.replace(tzinfo=None))
    assert times.max() < np.datetime64(split.times.train_until.replace(tzinfo=None))


def test_folds_are_the_last_periods_before_the_gap_each_with_its_own_gap() -> None:
    split = split_of(table(), project(split='as_of = 2026-02-20\ntest = "6d"\ntrain = "20d"\nfolds = 3'))
    assert [fold.number for fold in split.folds] == [1, 2, 3]
    for back, fold in zip((3, 2, 1), split.folds, strict=True):
        assert fold.times.valid_from == fold.as_of == split.times.as_of - 5 * DAY - back * 6 * DAY
        assert fold.times.valid_until == fold.times.valid_from + 6 * DAY
        assert fold.times.train_until == fold.times.as_of - 5 * DAY
        assert fold.times.train_from == fold.times.train_until - 20 * DAY
        assert not (fold.train & fold.valid).any()
    assert split.folds[-1].times.valid_until == split.times.train_until


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000), delay=st.integers(1, 8), test=st.integers(2, 9), folds=st.integers(1, 4),
    late=st.integers(0, 20),
)  # fmt: skip
def test_masks_equal_the_definition_row_by_row(seed: int, delay: int, test: int, folds: int, late: int) -> None:
    rng = np.random.default_rng(seed)
    frame = table(700, days=70, seed=seed, delay_days=delay, base=-2.0)
    extra = pl.Series(rng.integers(0, late + 1, frame.height)) * 86_400_000_000
    unknown = pl.Series(rng.random(frame.height) < 0.1)
    frame = frame.with_columns(
        label=pl.when(unknown).then(None).otherwise("label"),
        label_time=pl.when(unknown).then(None).otherwise(pl.col("label_time") + extra.cast(pl.Duration("us"))),
    )
    plan = project(delay=f"{delay}d", split=f'test = "{test}d"\nfolds = {folds}')
    try:
        split = split_of(frame, plan)
    except DataError:
        reject()
    gap = delay * DAY
    spans = [(split.train, split.times.train_from, split.times.train_until, split.as_of)]
    for fold in split.folds:
        spans.append((fold.train, fold.times.train_from, fold.times.train_until, fold.as_of))
        spans.append((fold.valid, fold.times.valid_from, fold.times.valid_until, split.as_of))
    for mask, start, end, known_at in spans:
        expected = [
            label is not None and start <= at < end and at + gap <= known_at and known <= known_at
            for at, label, known in frame.select("event_time", "label", "label_time").iter_rows()
        ]
        assert mask.tolist() == expected


def test_defaults_leave_a_fifth_of_the_mature_span_for_the_test() -> None:
    frame = table(days=60)
    split = split_of(frame, project())
    known_until = frame["event_time"].max()
    assert split.times.test_until - split.times.as_of == 10 * DAY  # a fifth of 54.99 days, in whole days
    assert split.times.test_until == known_until - 5 * DAY
    assert split.times.train_from == frame["event_time"].min()


def test_the_default_test_period_is_at_most_thirty_days() -> None:
    frame = table(days=400)
    split = split_of(frame, project())
    assert split.times.test_until - split.times.as_of == 30 * DAY


def test_an_as_of_given_beside_the_file_wins() -> None:
    plan = project(split='as_of = 2026-02-20\ntest = "6d"')
    assert split_of(table(), plan, as_of=date(2026, 2, 10)).as_of == datetime(2026, 2, 10, tzinfo=UTC)


def test_dates_and_naive_times_are_local() -> None:
    assert instant(date(2026, 1, 1), timezone="America/New_York") == datetime(2026, 1, 1, 5, tzinfo=UTC)
    assert instant(datetime(2026, 7, 1, 1), timezone="Europe/Berlin") == datetime(2026, 6, 30, 23, tzinfo=UTC)
    assert instant(datetime(2026, 7, 1, 1, tzinfo=UTC), timezone="Europe/Berlin") == datetime(2026, 7, 1, 1, tzinfo=UTC)


def test_too_little_history_means_fewer_folds_with_a_warning() -> None:
    split = split_of(table(), project(split='as_of = 2026-02-20\ntest = "12d"\nfolds = 4'))
    assert len(split.folds) == 2
    assert any("2 of the 4 folds" in text for text in split.warnings)
    assert any("is left out" in text for text in split.warnings)


def test_not_one_fold_is_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match="no fold is possible") as caught:
        split_of(table(), project(delay="20d", split='test = "15d"'))
    assert caught.value.exit_code == 3


def test_no_fold_names_the_cause_that_applies_and_a_remedy_that_works() -> None:
    long = project(delay="20d", split='test = "15d"')
    with pytest.raises(DataError, match="no fold is possible: the first event is of") as caught:
        split_of(table(), long)
    assert "no shorter test period does" in str(caught.value.hint)
    with pytest.raises(DataError, match="no fold is possible"):
        split_of(table(), project(delay="20d", split='test = "3d"'))
    plan = project(split='as_of = 2026-02-20\ntest = "6d"\nfolds = 2')
    late = pl.col("event_time") >= split_of(table(), plan).folds[-1].times.valid_from
    for only, missing in ((1, "legitimate events"), (0, "frauds")):
        early = table().with_columns(label=pl.when(late).then("label").otherwise(only).cast(pl.Int8))
        with pytest.raises(DataError) as caught:
            split_of(early.filter(late | (pl.col("label") == only)), plan)
        assert caught.value.message.startswith(f"no fold is possible: there are no {missing} with")
        assert f"are the {missing} of these days missing" in str(caught.value.hint) or "leaves a fold" in str(
            caught.value.hint
        )


def test_an_as_of_without_history_says_so_and_not_that_a_class_is_missing() -> None:
    with pytest.raises(DataError, match=r"no event is left to train on: as of .* and the first is at") as caught:
        split_of(table(), project(delay="35d"))
    assert str(caught.value.hint).startswith("more history is needed, or [data] label_delay, 35 days, is too long")
    with pytest.raises(DataError, match="no event is left to train on") as caught:
        split_of(table(), project(split="as_of = 2026-01-05"))
    assert str(caught.value.hint).startswith("a later as_of, or")


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_is_an_error_that_counts_both(only: int) -> None:
    frame = table().with_columns(label=pl.lit(only, pl.Int8))
    with pytest.raises(DataError, match=r"0 frauds and|and 0 legitimate"):
        split_of(frame, project())


def test_few_frauds_are_warned_about() -> None:
    frame = table(4000, base=-30.0).with_row_index()
    frame = frame.with_columns(label=(pl.col("index") % 200 == 0).cast(pl.Int8))
    split = split_of(frame, project())
    assert any("only" in text and "frauds" in text for text in split.warnings)


def test_a_fold_without_fraud_is_kept_for_calibration_and_said() -> None:
    plan = project(split='as_of = 2026-02-20\ntest = "6d"\nfolds = 2')
    last = split_of(table(), plan).folds[-1]
    inside = pl.col("event_time").is_between(last.times.valid_from, last.times.valid_until, closed="left")
    frame = table().with_columns(label=pl.when(inside).then(0).otherwise("label").cast(pl.Int8))
    split = split_of(frame, plan)
    assert len(split.folds) == 2
    assert any("no fraud to validate on" in text for text in split.warnings)


def test_folds_without_any_fraud_are_refused_and_periods_need_no_folds() -> None:
    plan = project(split='as_of = 2026-02-20\ntest = "6d"\nfolds = 2')
    first = split_of(table(), plan).folds[0]
    late = pl.col("event_time") >= first.times.valid_from
    frame = table().with_columns(label=pl.when(late).then(0).otherwise("label").cast(pl.Int8))
    with pytest.raises(DataError, match="no fold has a fraud to validate on: 2 folds of 6 days") as caught:
        split_of(frame, plan)
    assert caught.value.exit_code == 3
    found, split = periods(frame, plan, known_until=frame["event_time"].max()), split_of(table(), plan)
    assert (found.as_of, found.test_until) == (split.as_of, split.times.test_until)
    assert (found.train_from, found.train_until) == (split.times.train_from, split.times.train_until)


def test_no_events_and_no_mature_events_are_errors() -> None:
    with pytest.raises(DataError, match="no events"):
        make_split(table().clear(), project(), known_until=START)
    with pytest.raises(DataError, match="no event is mature"):
        split_of(table(days=4), project())


def test_an_as_of_after_the_data_is_refused() -> None:
    with pytest.raises(UsageError, match="after the latest event"):
        split_of(table(), project(split="as_of = 2027-01-01"))


def test_mature_and_immature_part_the_labelled_events() -> None:
    # known_until is day 10, the delay 3 days: day 7 is just old enough, its label arrives in time or on day 11.
    frame = events((7, 0, 10, 1), (7, 1, 11, 1), (7.5, 0, 8, 1), (6, None, None, 1), (8, None, None, 1))
    delay, known_until = Duration.parse("3d"), START + 10 * DAY
    assert mature(frame, label_delay=delay, known_until=known_until).to_list() == [True, False, False, False, False]
    assert immature(frame, label_delay=delay, known_until=known_until).to_list() == [False, True, True, False, True]


def test_known_blocked_by_hand() -> None:
    # Card 1 is defrauded at noon of day 1 (label at noon of day 3): blocked from the start of day 4.
    frame = events(
        (0.5, 0, 2.5, 1), (1.5, 1, 3.5, 1), (3.6, 0, 5.6, 1), (3.999, 0, 5.999, 1), (4, 0, 6, 1), (9, 0, 11, 1),
        (9, 0, 11, 2), (1.5, 1, 3.5, None), (9, 0, 11, None),
    )  # fmt: skip
    blocked = known_blocked(frame, entity="card", since=START, timezone="UTC")
    assert blocked.tolist() == [False, False, False, False, True, True, False, False, False]
    late = known_blocked(frame, entity="card", since=START + 1.6 * DAY, timezone="UTC")
    assert not late.any()
    # In Nouméa (UTC+11) the day of 3.6 began at 13:00 UTC, an hour after the label had arrived.
    there = known_blocked(frame, entity="card", since=START, timezone="Pacific/Noumea")
    assert there.tolist()[1:5] == [False, True, True, True]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_known_blocked_equals_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        (float(d), int(y) if y >= 0 else None, float(d + w) if y >= 0 else None, None if c == 0 else int(c))
        for d, y, w, c in zip(
            np.sort(rng.integers(0, 40, 30)) / 4, rng.integers(-1, 2, 30), rng.integers(0, 12, 30) / 4,
            rng.integers(0, 4, 30), strict=True,
        )
    ]  # fmt: skip
    frame, since = events(*rows), START + 2 * DAY
    expected = []
    for at, _, _, card in rows:
        midnight = float(np.floor(at))
        expected.append(
            card is not None
            and any(
                y == 1 and c == card and d >= 2 and known is not None and known < midnight for d, y, known, c in rows
            )
        )
    assert known_blocked(frame, entity="card", since=since, timezone="UTC").tolist() == expected


def test_folds_leave_out_known_blocked_events_and_count_them() -> None:
    rest = '\n[evaluate]\nblock_known = { entity = "card" }\n'
    frame, split_text = table(), 'as_of = 2026-02-20\ntest = "6d"\ntrain = "12d"\nfolds = 2'
    plain = split_of(frame, project(split=split_text))
    split = split_of(frame, project(split=split_text, rest=rest))
    for fold, whole in zip(split.folds, plain.folds, strict=True):
        blocked = known_blocked(frame, entity="card", since=fold.times.train_from, timezone="UTC")
        assert fold.valid.tolist() == (whole.valid & ~blocked).tolist()
        assert fold.n_blocked == int((whole.valid & blocked).sum()) > 0
        assert fold.train.tolist() == whole.train.tolist()


def test_folds_count_the_events_whose_label_is_not_known() -> None:
    frame, plan = table(), project(split='as_of = 2026-02-20\ntest = "6d"\ntrain = "12d"\nfolds = 2')
    whole = split_of(frame, plan)
    every_third = pl.int_range(pl.len()) % 3 == 0
    fewer = split_of(frame.with_columns(label=pl.when(every_third).then(None).otherwise(pl.col("label"))), plan)
    for fold, all_known in zip(fewer.folds, whole.folds, strict=True):
        assert all_known.n_unknown == 0
        inside = frame["event_time"].is_between(fold.times.valid_from, fold.times.valid_until, closed="left").to_numpy()
        assert fold.n_unknown == int(inside.sum()) - int(fold.valid.sum()) > 0
        assert (fold.others | fold.valid).tolist() == inside.tolist()
    first, *rest = fewer.folds
    week = frame["event_time"].is_between(
        period_start(first.times.valid_from, "week", "UTC"), first.times.valid_from, closed="left"
    )  # fmt: skip
    assert first.lead is not None
    assert first.lead.tolist() == week.to_list()
    assert all(fold.lead is None for fold in rest)


def test_an_explicit_since_moves_back_with_the_fold() -> None:
    rest = '\n[evaluate]\nblock_known = { entity = "card", since = 2026-02-01 }\n'
    plan = project(split="as_of = 2026-02-20", rest=rest)
    as_of, train_from = datetime(2026, 2, 20, tzinfo=UTC), datetime(2026, 1, 5, tzinfo=UTC)
    test = block_since(plan, as_of=as_of, split_as_of=as_of, train_from=train_from)
    fold = block_since(plan, as_of=as_of - 9 * DAY, split_as_of=as_of, train_from=train_from)
    assert test == datetime(2026, 2, 1, tzinfo=UTC)
    assert test - fold == 9 * DAY
    without = project(rest='\n[evaluate]\nblock_known = { entity = "card" }\n')
    assert block_since(without, as_of=as_of, split_as_of=as_of, train_from=train_from) == train_from


def test_future_rows_change_no_mask() -> None:
    plan = project(split='as_of = 2026-02-10\ntest = "6d"\nfolds = 2')
    frame = table()
    known = make_split(frame, plan, known_until=frame["event_time"].max())
    past = frame.filter(pl.col("event_time") < datetime(2026, 2, 10, tzinfo=UTC))
    then = make_split(past, plan, known_until=datetime(2026, 2, 10, tzinfo=UTC))
    n = past.height
    assert known.train[:n].tolist() == then.train.tolist()
    assert not known.train[n:].any()
    for a, b in zip(known.folds, then.folds, strict=True):
        assert a.train[:n].tolist() == b.train.tolist()
        assert a.valid[:n].tolist() == b.valid.tolist()
