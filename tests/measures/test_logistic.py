"""Logistic regressions by label: the score equations hold, and scikit-learn finds the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.measures.label_lines import offset_influence, slope_influence
from tasks.measures.logistic import Cells, binned, fit_line, fit_offset, overlaps, sigmoid


def cells(scores: np.ndarray, cases: np.ndarray) -> Cells:
    total, of_cases = np.array([cases.sum() * 1.0]), np.array([scores[cases].sum()])
    return Cells(scores[None, :], None, total, of_cases)


@settings(deadline=None, max_examples=150)
@example(314458016, 263, 0.0, 13.25, 0.6875, False)  # Newton's steps went to and fro
@given(
    st.integers(0, 2**32 - 1),
    st.integers(4, 300),
    st.floats(-3, 3),
    st.floats(0.01, 30),
    st.floats(0.02, 0.98),
    st.booleans(),
)
def test_the_score_equations_hold_wherever_cases_and_controls_overlap(
    seed: int, n: int, middle: float, spread: float, share: float, tied: bool
) -> None:
    random = np.random.default_rng(seed)
    scores = middle + spread * random.standard_t(3, n)
    scores = np.round(scores) if tied else scores
    cases = random.random(n) < share
    if not overlaps(scores, cases):
        return
    line = fit_line(cells(scores, cases))
    apart = cases - sigmoid(line.slope[0] * scores + line.intercept[0])
    assert abs(apart.sum()) < 1e-7 * n
    assert abs(apart @ scores) < 1e-7 * n * np.abs(scores).max()
    offset = fit_offset(cells(scores, cases))
    assert abs((cases - sigmoid(scores + offset[0])).sum()) < 1e-7 * n


def test_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(1)
    scores = random.normal(-4, 3, 2000)
    cases = random.random(2000) < sigmoid(0.5 * scores + 0.3)
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(scores[:, None], cases)
    line = fit_line(cells(scores, cases))
    assert line.slope[0] == pytest.approx(model.coef_[0, 0], rel=1e-6)
    assert line.intercept[0] == pytest.approx(model.intercept_[0], rel=1e-6)


def test_bins_are_a_close_start_and_many_labels_are_solved_apart() -> None:
    random = np.random.default_rng(2)
    labels = 600  # more than are solved at once
    scores = random.normal(-3, 2, (labels, 800))
    cases = random.random((labels, 800)) < sigmoid(0.7 * scores + 0.5)
    gathered = [binned(row) for row in scores]
    many = Cells(
        np.array([mean for mean, _ in gathered]),
        np.array([count for _, count in gathered]),
        cases.sum(1) * 1.0,
        (scores * cases).sum(1),
    )
    line, offset = fit_line(many), fit_offset(many)
    for label in (0, 511, 512, 599):
        exact = fit_line(cells(scores[label], cases[label]))
        assert line.slope[label] == pytest.approx(exact.slope[0], rel=2e-3)
        again = fit_offset(cells(scores[label], cases[label]))[0]
        assert offset[label] == pytest.approx(again, abs=2e-3)


def test_labels_that_take_long_keep_no_other_from_its_end() -> None:
    """Heavy tails take many steps, in which those that have arrived may not leave again."""
    random = np.random.default_rng(1)
    scores = np.concatenate([random.normal(size=(50, 500)), random.standard_cauchy(size=(50, 500))])
    strength = random.uniform(0, 8, (100, 1))
    cases = random.random(scores.shape) < sigmoid(strength * scores - 3)
    line = fit_line(Cells(scores, None, cases.sum(1) * 1.0, (scores * cases).sum(1)))
    for label in range(100):
        if overlaps(scores[label], cases[label]):
            alone = fit_line(cells(scores[label], cases[label])).slope[0]
            assert line.slope[label] == pytest.approx(alone, rel=1e-6)


def test_a_slope_without_bound_and_a_constant_score_have_none() -> None:
    assert not overlaps(np.array([0.0, 1, 2, 3]), np.array([False, False, True, True]))
    assert not overlaps(np.array([0.0, 1, 1, 3]), np.array([False, False, True, True]))
    assert not overlaps(np.array([0.0, 1, 2, 3]), np.array([True, True, False, False]))
    assert not overlaps(np.array([0.0, 1]), np.array([True, True]))
    assert overlaps(np.array([0.0, 1, 2, 3]), np.array([False, True, False, True]))
    constant = fit_line(cells(np.ones(9), np.arange(9) < 4))
    assert np.isnan(constant.slope[0])


def test_influences_foretell_what_leaving_one_out_does() -> None:
    random = np.random.default_rng(3)
    scores = random.normal(-1, 2, 400)
    cases = random.random(400) < sigmoid(0.8 * scores)
    line = fit_line(cells(scores, cases))
    offset = fit_offset(cells(scores, cases))[0]
    of_slope = slope_influence(scores, cases, (line.slope[0], line.intercept[0]))
    of_offset = offset_influence(scores, cases, offset)
    assert of_slope.sum() == pytest.approx(0, abs=1e-9)
    for row in range(0, 400, 37):
        rest = np.arange(400) != row
        left = fit_line(cells(scores[rest], cases[rest])).slope[0]
        assert line.slope[0] - left == pytest.approx(of_slope[row], rel=0.1, abs=1e-4)
        left = fit_offset(cells(scores[rest], cases[rest]))[0]
        assert offset - left == pytest.approx(of_offset[row], rel=0.1, abs=1e-4)
