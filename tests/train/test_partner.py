"""The partner: LightGBM's own scores to the last bit, the same text for any number of threads, and an honest weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from training_data import FEATURES, project, table

from fraudctl.costs import cost_matrix
from fraudctl.errors import BundleError, UsageError
from fraudctl.progress import Silent
from fraudctl.project import Project
from fraudctl.project.training import TrainSection
from fraudctl.split import make_split
from fraudctl.train import Partner, TrainedModel, fit_project, learn_columns, predict
from fraudctl.train.model import ModelColumns, make_pool, raw_score
from fraudctl.train.objective import FoldRows, Objective
from fraudctl.train.partner import (
    FORESTS,
    JUDGED,
    KINDS,
    WEIGHTS,
    choose_partner,
    fit_forests,
    mean_of,
    n_trees,
    numbers_of,
    partner_wanted,
)
from fraudctl.workflows.lineage import recipe_facts

lightgbm = pytest.importorskip("lightgbm")

SPLIT = 'test = "10d"\nfolds = 2'


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return table(3000)


@pytest.fixture(scope="module")
def columns(frame: pl.DataFrame) -> ModelColumns:
    return learn_columns(frame, names=FEATURES.names, categorical=FEATURES.categorical, max_categories=10)


@pytest.fixture(scope="module")
def rows(frame: pl.DataFrame, columns: ModelColumns) -> np.ndarray:
    return numbers_of(columns, columns.matrix(frame))


def forests(
    frame: pl.DataFrame, columns: ModelColumns, settings: TrainSection | None = None, shift: float = 0.0
) -> dict[str, str]:
    rows = numbers_of(columns, columns.matrix(frame))
    label, settings = frame["label"].to_numpy(), settings or TrainSection(threads=1)
    return fit_forests(
        rows, label, weight=None, columns=columns, settings=settings, seed=3, forests=KINDS[0], shift=shift
    )


def fitted(frame: pl.DataFrame, columns: ModelColumns, settings: TrainSection | None = None, shift: float = 0.0) -> str:
    return mean_of(list(forests(frame, columns, settings, shift).values()))


@pytest.fixture(scope="module")
def texts(frame: pl.DataFrame, columns: ModelColumns) -> dict[str, str]:
    return forests(frame, columns)


@pytest.fixture(scope="module")
def partner(texts: dict[str, str], columns: ModelColumns) -> Partner:
    return Partner(mean_of(list(texts.values())), 0.4, columns)


def test_it_takes_the_numbers_alone_and_nulls_as_nan(rows: np.ndarray, frame: pl.DataFrame) -> None:
    wanted = frame.select(pl.col("ratio", "velocity", "night").cast(pl.Float32)).to_numpy()
    assert np.array_equal(rows, wanted, equal_nan=True)
    assert np.isnan(rows).any()


def test_scores_are_lightgbms_to_the_last_bit(partner: Partner, rows: np.ndarray) -> None:
    booster = lightgbm.Booster(model_str=partner.text)
    assert len(partner.trees.trees) == booster.num_trees() == n_trees(KINDS[0]) == 250
    assert np.array_equal(partner.trees.score_rows(rows), booster.predict(rows, raw_score=True))
    odd = np.array([[np.inf, -np.inf, np.nan], [np.nan] * 3, [0, 1e30, 0.5]], dtype=np.float32)
    assert np.array_equal(partner.trees.score_rows(odd), booster.predict(odd, raw_score=True))


def test_it_scores_as_the_mean_of_its_forests_which_differ(
    texts: dict[str, str], partner: Partner, rows: np.ndarray
) -> None:
    best, random = (
        lightgbm.Booster(model_str=texts[name]).predict(rows, raw_score=True) for name in ("best", "random")
    )
    assert partner.trees.score_rows(rows) == pytest.approx((best + random) / 2, abs=1e-12)
    assert np.corrcoef(best, random)[0, 1] < 0.999
    alone = mean_of([texts["best"]])
    assert alone == texts["best"]
    assert np.array_equal(Partner(alone, 0.4, partner.columns).trees.score_rows(rows), best)


def test_it_says_each_tree_and_is_the_same_unheard(
    frame: pl.DataFrame, columns: ModelColumns, texts: dict[str, str]
) -> None:
    rows, heard = numbers_of(columns, columns.matrix(frame)), []
    settings, label = TrainSection(threads=1), frame["label"].to_numpy()
    found = fit_forests(
        rows, label, weight=None, columns=columns, settings=settings, seed=3, forests=KINDS[0], watch=heard.append
    )  # fmt: skip
    assert heard == list(range(1, n_trees(KINDS[0]) + 1))
    assert found == texts


def test_contributions_are_lightgbms(partner: Partner, rows: np.ndarray) -> None:
    native = lightgbm.Booster(model_str=partner.text).predict(rows[:200], pred_contrib=True)
    assert partner.trees.explain_rows(rows[:200]) == pytest.approx(native[:, :-1], abs=1e-10)
    assert partner.trees.base == pytest.approx(native[0, -1], abs=1e-10)


def test_the_text_does_not_depend_on_threads(
    frame: pl.DataFrame, columns: ModelColumns, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: (5, own) for name, (_, own) in FORESTS.items()}
    monkeypatch.setattr("fraudctl.train.partner.FORESTS", few)
    monkeypatch.setattr("fraudctl.train.partner._MANY_ROWS", 0)
    one, two = (fitted(frame.head(800), columns, TrainSection(threads=threads)) for threads in (1, 2))
    assert one == two
    assert "num_threads" not in one


def test_the_share_of_kept_rows_is_in_the_score(
    frame: pl.DataFrame, columns: ModelColumns, partner: Partner, rows: np.ndarray
) -> None:
    moved = Partner(fitted(frame, columns, shift=-1.5), 0.4, columns)
    assert moved.trees.score_rows(rows) == pytest.approx(partner.trees.score_rows(rows) - 1.5, abs=1e-12)


def test_constraints_hold(frame: pl.DataFrame, columns: ModelColumns, rows: np.ndarray) -> None:
    settings = TrainSection(threads=1, monotone={"velocity": "decreasing"})
    trees = Partner(fitted(frame, columns, settings), 0.4, columns).trees
    more = rows.copy()
    more[:, 1] += 3
    assert (trees.score_rows(more) <= trees.score_rows(rows)).all()


def test_a_partner_that_is_read_is_proven(partner: Partner) -> None:
    partner.prove()
    trees = partner.trees
    flipped = replace(trees.trees[0], null_left=tuple(not item for item in trees.trees[0].null_left))
    other = Partner(partner.text, 0.4, partner.columns)
    wrong = replace(trees, trees=(flipped, *trees.trees[1:]))
    wrong.__dict__["_row_tables"] = trees._row_tables
    other.__dict__["trees"] = wrong
    with pytest.raises(BundleError, match="read differently"):
        other.prove()


def judged(n: int, seed: int) -> tuple[FoldRows, np.ndarray, np.ndarray]:
    """A fold with two noisy views of one truth."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    y_true = (truth + rng.normal(0, 0.5, n) > 1.5).astype(np.int8)
    rows = FoldRows(y_true, np.ones(n), np.arange(n) % 20, None)
    return rows, truth + rng.normal(0, 1.0, n), truth + rng.normal(0, 1.0, n)


OBJECTIVE = Objective("average_precision", cost_matrix(project().costs))


def test_two_views_of_equal_worth_share_the_score() -> None:
    folds = [judged(4000, seed) for seed in range(3)]
    judged_rows, own, theirs = zip(*folds, strict=True)
    choice = choose_partner(OBJECTIVE, judged_rows, own, [theirs], learned=[10, 20, 30])
    assert choice.weight in (0.4, 0.5, 0.6)
    assert choice.gain is not None
    assert choice.gain.low > 0


def test_noise_gets_no_share() -> None:
    folds = [judged(2000, seed) for seed in range(3)]
    noise = [np.random.default_rng(100 + seed).normal(size=2000) for seed in range(3)]
    own = [fold[1] for fold in folds]
    choice = choose_partner(OBJECTIVE, [fold[0] for fold in folds], own, [noise, own], learned=[1] * 3)
    assert choice.weight == 0.0
    assert choice.gain is not None
    assert choice.gain.value < 0


def test_folds_count_by_what_their_models_learned_from() -> None:
    """By hand: a fold where the partner harms, with 1 fraud in training, and one where it helps, with 3."""
    good, bad = judged(4000, 1), judged(4000, 2)
    noise = np.random.default_rng(7).normal(size=4000)
    folds, own, theirs = [bad[0], good[0]], [bad[1], good[1]], [noise, good[2]]

    def figure(i: int, weight: float) -> float:
        return OBJECTIVE.value(folds[i], (1 - weight) * own[i] + weight * theirs[i])

    choice = choose_partner(OBJECTIVE, folds, own, [theirs], learned=[1, 3])
    gains = [figure(i, JUDGED) - figure(i, 0.0) for i in range(2)]
    assert gains[0] < 0 < gains[1]
    assert choice.gain is not None
    assert choice.gain.value == pytest.approx((gains[0] + 3 * gains[1]) / 4)
    assert choice.weight == max(WEIGHTS, key=lambda weight: figure(0, weight) + 9 * figure(1, weight))
    alone = choose_partner(OBJECTIVE, folds, own, [theirs], learned=[0, 1])
    assert alone.weight == max(WEIGHTS, key=lambda weight: figure(1, weight))


def test_the_kind_with_the_best_figure_is_taken_once_the_first_surely_gains() -> None:
    folds = [judged(4000, seed) for seed in range(3)]
    rows, own, theirs = zip(*folds, strict=True)
    noise = [np.random.default_rng(100 + seed).normal(size=4000) for seed in range(3)]
    better = [(a + b) / 2 for a, b in zip(theirs, (fold.y_true for fold in rows), strict=True)]
    kinds = [theirs, noise], [theirs, better], [noise, better]
    found = [choose_partner(OBJECTIVE, rows, own, kind, learned=[1, 2, 3]) for kind in kinds]
    assert [choice.kind for choice in found] == [0, 1, 0]
    assert [choice.weight > 0 for choice in found] == [True, True, False]


def test_the_library_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert partner_wanted(TrainSection()) is None
    assert 'partner = "none"' in str(partner_wanted(TrainSection(partner="none")))
    monkeypatch.setattr("fraudctl.train.partner.find_spec", lambda _: None)
    assert "not installed" in str(partner_wanted(TrainSection()))
    with pytest.raises(UsageError, match="LightGBM is not installed") as caught:
        partner_wanted(TrainSection(partner="lightgbm"))
    assert caught.value.hint == "python -m pip install 'fraudctl[blend]'"
    assert caught.value.exit_code == 2


def curved(n: int = 4000) -> pl.DataFrame:
    """Rows of which CatBoost with few trees of depth 1 learns less than a partner does."""
    frame = table(n)
    strong = (frame["ratio"].fill_null(0) * frame["velocity"] > 4) & (frame["velocity"] < 4)
    rng = np.random.default_rng(5)
    label = (rng.random(n) < np.where(strong, 0.6, 0.02)).astype(np.int8)
    return frame.with_columns(label=pl.Series(label))


def weak(train: str = "") -> Project:
    rest = "[train.params]\ndepth = 1\nlearning_rate = 0.02\n"
    return project(split=SPLIT, train=f"threads = 1\nfit_negatives = 0.9\n{train}", rest=rest)


def trained(frame: pl.DataFrame, plan: Project) -> TrainedModel:
    split = make_split(frame, plan, known_until=frame["event_time"].max())  # type: ignore[arg-type]
    return fit_project(frame, FEATURES, plan, split, progress=Silent())


def test_a_partner_that_helps_is_used_everywhere() -> None:
    frame = curved()
    made, alone = trained(frame, weak()), trained(frame, weak('partner = "none"'))
    told = made.summary.partner
    assert told is not None
    assert made.partner is not None
    assert told.gain is not None
    assert told.gain.low > 0
    assert told.weight == made.partner.weight in WEIGHTS
    assert told.forests in KINDS
    assert (told.trees, told.version) == (n_trees(told.forests), lightgbm.__version__)
    own = raw_score(made.model, make_pool(made.columns, frame))
    theirs = made.partner.trees.score_rows(numbers_of(made.columns, made.columns.matrix(frame)))
    assert np.array_equal(predict(made, frame)[0], (1.0 - told.weight) * own + told.weight * theirs)
    ours, before = ([fold.figures["average_precision"] for fold in one.summary.folds] for one in (made, alone))
    assert sum(filter(None, ours)) > sum(filter(None, before))
    assert alone.partner is None
    assert alone.summary.partner is not None
    assert alone.summary.partner.weight == 0.0
    assert alone.summary.partner.forests == ()
    assert not np.array_equal(made.predictions["y_score"], alone.predictions["y_score"])


def test_a_bundle_writes_down_whether_a_partner_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recipe_facts(project())["train"]["partner"] == "lightgbm"
    assert recipe_facts(project(train='partner = "none"'))["train"]["partner"] == "none"
    monkeypatch.setattr("fraudctl.train.partner.find_spec", lambda _: None)
    assert recipe_facts(project())["train"]["partner"] == "none"
