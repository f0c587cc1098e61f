from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from fraudctl.calibrate import (
    MAX_SLOPE,
    METHODS,
    USUAL,
    Calibrator,
    choose_calibrator,
    fit_calibrator,
    log_losses,
    log_odds,
    sigmoid,
    undo_sampling,
)
from fraudctl.errors import BundleError


def drawn(n: int = 4000, *, slope: float = 0.6, shift: float = -0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(-3, 2, n)
    return (rng.random(n) < sigmoid(slope * scores + shift)).astype(np.int8), scores


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(20, 400), ties=st.booleans())
def test_every_calibrator_keeps_the_ranking(method: str, seed: int, n: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, n)
    scores = np.round(scores) if ties else scores
    y_true = (rng.random(n) < sigmoid(scores)).astype(np.int8)
    fitted = fit_calibrator(y_true, scores, method=method)  # type: ignore[arg-type]
    if fitted is None:
        return
    points = np.unique(np.concatenate([scores, rng.normal(0, 4, 50), rng.normal(0, 40, 20)]))
    points = points[np.concatenate([[True], np.diff(points) > 1e-5])]
    y_prob = fitted.predict(points)
    assert (np.diff(y_prob) > 0).all()
    assert y_prob.min() >= 0
    assert y_prob.max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_a_calibrator_survives_json_and_gives_the_same_bits(method: str) -> None:
    y_true, scores = drawn()
    fitted = fit_calibrator(y_true, scores, method=method)  # type: ignore[arg-type]
    assert fitted is not None
    again = Calibrator.from_dict(fitted.to_dict())
    assert np.array_equal(again.predict(scores), fitted.predict(scores))
    assert again.predict(scores[:1])[0] == fitted.predict(scores)[0]


@pytest.mark.parametrize("method", METHODS)
def test_one_score_has_the_bits_of_many(method: str) -> None:
    y_true, scores = drawn()
    fitted = fit_calibrator(y_true, scores, method=method)  # type: ignore[arg-type]
    assert fitted is not None
    every = np.concatenate([scores, np.linspace(-80, 80, 999), [0.0, -0.0, -1e300, 1e300, 5e-324]])
    assert [fitted.predict_one(score) for score in every.tolist()] == fitted.predict(every).tolist()


def test_logistic_equals_scikit_learn_without_penalty() -> None:
    y_true, scores = drawn()
    fitted = fit_calibrator(y_true, scores, method="logistic")
    model = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(scores[:, None], y_true)
    assert fitted is not None
    assert fitted.parameters == pytest.approx((model.coef_[0, 0], model.intercept_[0]), rel=1e-4)


def test_beta_equals_scikit_learn_on_its_two_inputs() -> None:
    y_true, scores = drawn(slope=0.8)
    fitted = fit_calibrator(y_true, scores, method="beta")
    inputs = np.column_stack([np.log(sigmoid(scores)), -np.log(sigmoid(-scores))])
    model = LogisticRegression(C=1e9, tol=1e-10, max_iter=5000).fit(inputs, y_true)
    assert fitted is not None
    if (model.coef_ >= 0).all():
        assert fitted.parameters[:2] == pytest.approx(model.coef_[0], rel=2e-3)


def test_isotonic_blocks_are_those_of_scikit_learn() -> None:
    y_true, scores = drawn(800)
    fitted = fit_calibrator(y_true, scores, method="isotonic")
    model = IsotonicRegression(out_of_bounds="clip").fit(scores, y_true.astype(float))
    blocks = np.unique(model.predict(scores))
    assert fitted is not None
    assert len(fitted.parameters) // 2 <= len(blocks)
    assert np.abs(fitted.predict(scores) - model.predict(scores)).mean() < 0.02


def test_isotonic_by_hand() -> None:
    # Scores 1, 2, 3, 4 with labels 0, 1, 0, 1: 2 and 3 are pooled at rate 1/2 and mean score 2.5. The base rate is 1/2,
    # and one event of it is added to each block: (0 + .5) / 2, (1 + .5) / 3, (1 + .5) / 2.
    fitted = fit_calibrator(np.array([0, 1, 0, 1]), np.array([1.0, 2.0, 3.0, 4.0]), method="isotonic")
    assert fitted is not None
    assert fitted.predict(np.array([1.0, 2.5, 4.0])) == pytest.approx([0.25, 0.5, 0.75])


@pytest.mark.parametrize("method", ["logistic", "beta", "isotonic"])
def test_fitted_probabilities_sum_to_the_frauds(method: str) -> None:
    y_true, scores = drawn()
    fitted = fit_calibrator(y_true, scores, method=method)  # type: ignore[arg-type]
    assert fitted is not None
    assert fitted.predict(scores).sum() == pytest.approx(y_true.sum(), rel=0.02)


@pytest.mark.parametrize("method", ["logistic", "beta"])
def test_a_weight_counts_as_that_many_copies(method: str) -> None:
    y_true, scores = drawn(300)
    weight = np.where(np.arange(300) % 3 == 0, 2.0, 1.0)
    copies = np.repeat(np.arange(300), weight.astype(int))
    weighted = fit_calibrator(y_true, scores, method=method, weight=weight)  # type: ignore[arg-type]
    copied = fit_calibrator(y_true[copies], scores[copies], method=method)  # type: ignore[arg-type]
    assert weighted is not None
    assert copied is not None
    assert weighted.predict(scores) == pytest.approx(copied.predict(scores), abs=1e-6)


def test_isotonic_has_the_blocks_of_copies_and_is_shrunk_by_one_event_of_mean_weight() -> None:
    # The unit of weights is free, so the prior is one event of mean weight: here 4/3, where copies have 1. The blocks
    # are those of copies; each rate (hits + base × prior) / (total + prior) is nearer to the base with a larger prior.
    y_true, scores = drawn(300)
    weight = np.where(np.arange(300) % 3 == 0, 2.0, 1.0)
    copies = np.repeat(np.arange(300), weight.astype(int))
    weighted = fit_calibrator(y_true, scores, method="isotonic", weight=weight)
    copied = fit_calibrator(y_true[copies], scores[copies], method="isotonic")
    assert weighted is not None
    assert copied is not None
    half = len(weighted.parameters) // 2
    assert weighted.parameters[:half] == pytest.approx(copied.parameters[:half])
    base = np.average(y_true, weights=weight)
    near, far = (sigmoid(np.array(item.parameters[half:])) - base for item in (weighted, copied))
    assert (np.sign(near) == np.sign(far)).all()
    assert (np.abs(near) < np.abs(far)).all()
    # near / far = (total + 1) / (total + 4/3), so each total is a number of copies
    totals = (near / far * 4 / 3 - 1) / (1 - near / far)
    assert totals == pytest.approx(np.round(totals), abs=1e-6)
    assert totals.sum() == pytest.approx(400)


def test_one_class_or_a_falling_score_cannot_be_fitted() -> None:
    y_true, scores = drawn()
    assert fit_calibrator(np.zeros(5, dtype=np.int8), np.arange(5.0), method="logistic") is None
    assert fit_calibrator(y_true, np.zeros(len(y_true)), method="beta") is None
    assert fit_calibrator(y_true, -scores, method="logistic") is None


def test_a_calibrated_score_gets_the_usual_calibrator_which_hardly_moves_it() -> None:
    y_true, scores = drawn(8000, slope=1.0, shift=0.0)
    choice = choose_calibrator(y_true, scores, np.repeat([1, 2, 3, 4], 2000))
    assert choice.calibrator.method == USUAL
    assert choice.calibrator.parameters == pytest.approx((1.0, 0.0), abs=0.15)
    assert "the usual one" in choice.reason


def test_another_calibrator_is_taken_only_beyond_two_standard_errors() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(-2, 2, 40_000)
    kinked = sigmoid(np.where(scores < -2, 0.2 * (scores + 2) - 2, 1.5 * (scores + 2) - 2))
    y_true = (rng.random(40_000) < kinked).astype(np.int8)
    fold = np.repeat([1, 2, 3, 4], 10_000)
    choice = choose_calibrator(y_true, scores, fold)
    assert choice.calibrator.method in {"beta", "isotonic"}
    assert "2 standard errors" in choice.reason
    choices = [choose_calibrator(*drawn(2000, seed=seed), np.repeat([1, 2], 1000)) for seed in range(10)]
    assert {item.calibrator.method for item in choices} == {USUAL}
    lowest = [min(item.log_loss, key=lambda name: item.log_loss[name] or 9.0) for item in choices]
    assert set(lowest) != {USUAL}


def test_a_tilted_score_is_straightened_and_the_choice_is_told() -> None:
    y_true, scores = drawn(8000, slope=0.4, shift=0.7)
    choice = choose_calibrator(y_true, scores, np.repeat([1, 2, 3, 4], 2000))
    assert choice.calibrator.method == "logistic"
    assert choice.calibrator.parameters == pytest.approx((0.4, 0.7), abs=0.1)
    assert choice.log_loss["logistic"] < choice.log_loss["none"]
    assert choice.reason.startswith("logistic")


def test_each_fold_is_calibrated_by_the_others_alone() -> None:
    y_true, scores = drawn(6000, slope=0.4, shift=0.7)
    fold = np.repeat([1, 2, 3], 2000)
    choice = choose_calibrator(y_true, scores, fold)
    method = choice.calibrator.method
    for number in (1, 2, 3):
        out = fold != number
        fitted = fit_calibrator(y_true[out], scores[out], method=method)
        assert fitted is not None
        assert np.array_equal(choice.y_prob[~out], fitted.predict(scores[~out]))


def test_the_losses_are_those_of_later_folds_only() -> None:
    y_true, scores = drawn(6000, slope=0.4, shift=0.7)
    fold = np.repeat([1, 2, 3], 2000)
    choice = choose_calibrator(y_true, scores, fold)
    losses = []
    for number in (2, 3):
        fitted = fit_calibrator(y_true[fold < number], scores[fold < number], method="logistic")
        assert fitted is not None
        losses.append(log_losses(y_true[fold == number], fitted.predict(scores[fold == number])))
    assert choice.log_loss["logistic"] == pytest.approx(np.concatenate(losses).mean())


def test_a_single_fold_is_halved_in_time() -> None:
    y_true, scores = drawn(4000, slope=0.4, shift=0.7)
    choice = choose_calibrator(y_true, scores, np.ones(4000))
    first = fit_calibrator(y_true[:2000], scores[:2000], method=choice.calibrator.method)
    assert first is not None
    assert np.array_equal(choice.y_prob[2000:], first.predict(scores[2000:]))


def test_without_fraud_in_earlier_folds_the_scores_stand() -> None:
    y_true, scores = drawn(400)
    y_true[:200] = 0
    choice = choose_calibrator(y_true, scores, np.repeat([1, 2], 200))
    assert choice.calibrator.method == "none"
    assert "no earlier fold" in choice.reason


def test_undoing_the_sampling_by_hand() -> None:
    # 10 frauds and 990 legitimate events: odds 1/99. Keeping a tenth of the legitimate gives odds 10/99.
    assert undo_sampling(np.log(np.array([10 / 99])), kept=0.1) == pytest.approx(np.log(1 / 99))


def test_log_odds_and_sigmoid_are_inverse_within_bounds() -> None:
    y_prob = np.array([1e-9, 0.2, 0.5, 1 - 1e-9])
    assert sigmoid(log_odds(y_prob)) == pytest.approx(y_prob)
    assert log_odds(np.array([0.0, 1.0])).tolist() == [-30.0, 30.0]


@pytest.mark.parametrize(
    "document",
    [
        {}, {"method": "spline", "parameters": []}, {"method": "logistic", "parameters": [1.0]},
        {"method": "isotonic", "parameters": [1.0, 2.0, 3.0]}, {"method": "none", "parameters": None},
        {"method": "logistic", "parameters": [1.0, "x"]}, {"method": "beta", "parameters": [1.0, 2.0, float("nan")]},
    ],
)  # fmt: skip
def test_an_unsound_calibration_file_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(BundleError, match=r"calibration\.json"):
        Calibrator.from_dict(document)


@pytest.mark.parametrize("method", METHODS)
def test_separable_rows_do_not_make_ties(method: str) -> None:
    # Ten legitimate rows below ten frauds: the likelihood rises with the slope for ever.
    scores = np.concatenate([np.linspace(-0.01, -0.001, 10), np.linspace(0.001, 0.01, 10)])
    fitted = fit_calibrator((scores > 0).astype(np.int8), scores, method=method)  # type: ignore[arg-type]
    assert fitted is not None
    assert (np.diff(fitted.predict(np.linspace(-100, 100, 2001))) > 0).all()
    if method in {"logistic", "beta"}:
        assert 0 <= min(fitted.parameters[:-1]) <= max(fitted.parameters[:-1]) == MAX_SLOPE


def test_a_slope_held_at_its_end_leaves_the_rest_fitted() -> None:
    # Held at 5, the intercept alone is left: the probabilities must still sum to the frauds.
    scores = np.linspace(-1, 1, 401)
    y_true = (scores > 0.25).astype(np.int8)
    fitted = fit_calibrator(y_true, scores, method="logistic")
    assert fitted is not None
    assert fitted.parameters[0] == MAX_SLOPE
    assert fitted.predict(scores).sum() == pytest.approx(y_true.sum(), rel=1e-4)
