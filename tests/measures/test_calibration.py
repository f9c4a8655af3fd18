"""Calibration, recalibration and reliability: against scikit-learn, by hand, and planted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures.auroc import label_aurocs
from tasks.measures.calibration import (
    ECE_BINS,
    Calibration,
    EqualMass,
    calibration,
)
from tasks.measures.logistic import fit_line, sigmoid
from tasks.measures.recalibration import Recalibration, recalibrate, unchanged
from tasks.measures.reliability import Reliability
from tasks.measures.sample import Sample
from tests.measures.test_logistic import cells


def hospital(
    seed: int, n: int = 4000, chances: tuple[float, ...] = (0.03, 0.1, 0.3)
) -> tuple[np.ndarray, np.ndarray]:
    """True log-odds of so many admissions, and cases drawn from them; [admissions, labels]."""
    random = np.random.default_rng(seed)
    chance = np.array(chances)
    logits = np.log(chance / (1 - chance)) + 1.2 * random.normal(size=(n, len(chances)))
    return logits, random.random(logits.shape) < sigmoid(logits)


def measured(
    scores: np.ndarray,
    cases: np.ndarray,
    observed: np.ndarray | None = None,
    patients: np.ndarray | None = None,
    line: Recalibration | None = None,
    group: np.ndarray | None = None,
) -> Calibration:
    sample = Sample.of(scores, cases, observed, patients, group)
    return calibration(
        sample,
        sample.labels_with(1, 1),
        [unchanged(sample.labels) if line is None else line],
    )[0]


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(2, 80), st.integers(1, 5), st.booleans())
def test_brier_slope_and_ece_of_any_label(seed: int, n: int, width: int, tied: bool) -> None:
    from sklearn.metrics import brier_score_loss

    random = np.random.default_rng(seed)
    scores = (3 * random.normal(size=(n, width))).astype(np.float32)
    scores = np.round(scores) if tied else scores
    cases = random.random((n, width)) < 0.4
    observed = random.random((n, width)) < 0.8
    found = measured(scores, cases, observed)
    for label in range(width):
        rows = observed[:, label]
        score, case = scores[rows, label].astype(float), cases[rows, label]
        if len(set(case)) < 2:
            assert np.isnan(found.brier[label])
            continue
        assert found.brier[label] == pytest.approx(
            brier_score_loss(case, sigmoid(score)), abs=1e-12
        )
        assert found.ece[label] == pytest.approx(_ece_by_loop(score, case), abs=1e-12)
        line = fit_line(cells(score, case))
        if not np.isnan(found.slope[label]):
            assert found.slope[label] == pytest.approx(line.slope[0], rel=1e-6, abs=1e-8)


def _ece_by_loop(score: np.ndarray, case: np.ndarray) -> float:
    order = np.argsort(score, kind="stable")
    score, case = score[order], case[order]
    bins: list[list[int]] = [[] for _ in range(ECE_BINS)]
    cuts = [k * len(score) // ECE_BINS for k in range(1, ECE_BINS)]
    for row, value in enumerate(score):
        # the bin of the last cut whose score is not above its own: ties stay with their first
        bins[sum(score[cut] <= value for cut in cuts)].append(row)
    return sum(abs(sigmoid(score[own]).sum() - case[own].sum()) for own in bins if own) / len(score)


def test_equal_predictions_are_one_bin() -> None:
    cases = np.arange(100) < 30
    found = EqualMass.of(np.zeros(100), cases).error()
    assert found == pytest.approx(0.2, abs=1e-12)


def test_planted_overconfidence_and_shift_are_found() -> None:
    logits, cases = hospital(1, 20_000)
    found = measured(logits, cases)
    assert found.slope == pytest.approx(np.ones(3), abs=0.1)
    assert found.intercept == pytest.approx(np.zeros(3), abs=0.1)
    over = measured(2.5 * logits, cases)
    assert over.slope == pytest.approx(found.slope / 2.5, rel=1e-4)
    shifted = measured(logits - 1.5, cases)
    assert shifted.intercept == pytest.approx(found.intercept + 1.5, abs=1e-4)
    assert (over.ece > 3 * found.ece).all()


def test_errors_are_the_spread_over_repeated_hospitals_of_patients() -> None:
    """Each patient has three admissions that end alike: unclustered errors are too small."""
    values, errors = [], []
    for seed in range(200):
        logits, cases = hospital(seed, 500, (0.2,))
        found = measured(
            np.repeat(logits, 3, axis=0), np.repeat(cases, 3, axis=0),
            patients=np.repeat(np.arange(500), 3),
        )  # fmt: skip
        values.append([found.brier[0], found.slope[0], found.intercept[0]])
        errors.append([found.brier_error[0], found.slope_error[0], found.intercept_error[0]])
    np.testing.assert_allclose(np.mean(errors, axis=0), np.std(values, axis=0), rtol=0.15)


def test_the_macro_influence_is_that_of_its_labels() -> None:
    logits, cases = hospital(3, 300)
    found = measured(logits, cases, group=np.array([0, 1, 0]))
    apart = np.square(sigmoid(logits.astype(np.float32).astype(float)) - cases)
    expected = (apart - apart.mean(0)) / 300
    np.testing.assert_allclose(found.influence[1], expected[:, 1], atol=1e-12)
    np.testing.assert_allclose(found.influence[0], expected[:, [0, 2]].sum(1), atol=1e-12)


def test_recalibration_learns_the_planted_line_and_mends_the_test() -> None:
    logits, cases = hospital(4, 20_000)
    wrong = (3 * logits + 1).astype(np.float32)
    line = recalibrate(Sample.of(wrong, cases))
    assert line.of_label.all()
    assert line.slope == pytest.approx(np.full(3, 1 / 3), rel=0.1)
    assert line.intercept == pytest.approx(np.full(3, -1 / 3), abs=0.2)
    fresh, outcome = hospital(5, 20_000)
    before, after = (measured(3 * fresh + 1, outcome, line=each) for each in (unchanged(3), line))
    assert after.slope == pytest.approx(np.ones(3), abs=0.15)
    assert (after.ece < before.ece / 4).all()
    assert (after.brier < before.brier).all()


def test_rare_labels_share_one_temperature() -> None:
    """Their scale is that which makes their cells likeliest, and it is no other label's."""
    logits, cases = hospital(6, 3000, (0.2, 0.002, 0.003, 0.001))
    assert (cases[:, 1:].sum(0) < 20).all()
    scores = (2 * logits).astype(np.float32)
    observed = np.ones_like(cases)
    observed[2000:, 2] = False
    line = recalibrate(Sample.of(scores, cases, observed))
    assert line.of_label.tolist() == [True, False, False, False]
    assert len(set(line.slope[1:])) == 1
    assert (line.intercept[1:] == 0).all()

    def loss(scale: float) -> float:
        logit = scale * scores[:, 1:].astype(float)
        by_cell = np.logaddexp(0, logit) - np.where(cases[:, 1:], logit, 0)
        return float(by_cell[observed[:, 1:]].sum())

    best = line.slope[1]
    assert loss(best) < min(loss(best * 0.995), loss(best * 1.005))


@pytest.mark.parametrize("upside_down", [True, False])
def test_no_ranking_changes(upside_down: bool) -> None:
    """A label that is predicted upside down is not turned over: that would be a better model."""
    logits, cases = hospital(7)
    scores = (-logits if upside_down else logits).astype(np.float32)
    line = recalibrate(Sample.of(scores, cases))
    assert (line.slope > 0).all()
    assert line.of_label.any() != upside_down
    after = line.slope * scores + line.intercept
    owners = np.arange(len(cases))
    one, other = (
        label_aurocs(Sample.of(each.astype(np.float32), cases, patients=owners)).auroc
        for each in (scores, after)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_validation_that_says_nothing_leaves_logits_alone() -> None:
    empty = np.zeros((0, 3), bool)
    line = recalibrate(Sample.of(np.zeros((0, 3), np.float32), empty, empty))
    assert (line.slope == 1).all()
    scores = np.linspace(-1, 1, 30, dtype=np.float32)[:, None]
    without = np.zeros((30, 1), bool)
    assert (recalibrate(Sample.of(scores, without, ~without)).slope == 1).all()


def test_a_label_that_separates_its_validation_cases_still_gets_a_finite_line() -> None:
    cases = np.arange(200)[:, None] < 40
    scores = np.where(cases, 5.0, -5.0) + np.linspace(-1, 1, 200)[:, None]
    line = recalibrate(Sample.of(scores.astype(np.float32), cases))
    assert line.of_label[0]
    assert 0 < line.slope[0] < 10
    assert np.isnan(measured(scores, cases).slope[0]), "on test there is no slope to report"


def test_reliability_points_hold_every_cell_once_and_their_true_share() -> None:
    logits, cases = hospital(8, 10_000)
    found = measured(logits, cases)
    points = found.reliability.points(10)
    assert len(points) == 20
    assert sum(point.n for point in points) == cases.size
    assert sum(point.n * point.y for point in points) == pytest.approx(cases.sum())
    masses = [point.n for point in points]
    assert max(masses) < 1.1 * min(masses)
    assert (np.diff([point.x for point in points]) > 0).all()
    inside = [point.low <= point.x <= point.high for point in points]
    assert sum(inside) >= 17  # of 20 at 95%
    over = measured(3 * logits, cases).reliability.points(10)
    assert sum(point.low <= point.x <= point.high for point in over) < 8


def test_few_cells_make_few_points() -> None:
    curve = Reliability()
    curve.add(np.linspace(-3, 3, 25), sigmoid(np.linspace(-3, 3, 25)), np.arange(25) > 12)
    assert [point.n for point in curve.points(10)] in ([12, 13], [13, 12])
    assert curve.points(26) == []
    constant = Reliability()
    constant.add(np.zeros(40), np.full(40, 0.5), np.arange(40) < 10)
    (point,) = constant.points(10)
    assert (point.x, point.y, point.n) == (0.5, 0.25, 40)
    assert Reliability().points(10) == []
