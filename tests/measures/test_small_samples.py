"""Labels that one patient alone has, degrees of freedom, and what is too little for an interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.measures.auroc import label_aurocs
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import difference, interval, standard_error
from tasks.measures.sample import Sample
from tasks.measures.small_samples import (
    ALL_LONE,
    TOO_FEW,
    degrees_of_freedom,
    expected_variance,
    lone_influence,
    reason_to_withhold,
)


def test_a_lone_label_by_hand() -> None:
    # labels 0 and 1 are of several patients, 2 of one in two admissions, 3 is in no mean
    found = lone_influence(
        np.array([0.7, 0.8, 0.95, 0.9]),
        np.array([0.25, 0.25, 0.5, 0.0]),
        np.array([5, 4, 1, 1]),
        np.array([[2, 2, 3], [4, 1, 0], [0.5, 0.5, 1.0]]),
        6,
    )
    assert found.tolist() == pytest.approx([0, 0.05, 0, 0, 0.05, 0])  # .5 * (.95 - .75) / 2


def test_labels_of_one_patient_widen_the_macro() -> None:
    """The influences are those of the label alone; its one case adds what it differs by."""
    scores, cases, patients = _with_lone_labels(np.random.default_rng(1))
    found = label_aurocs(Sample.of(scores, cases, patients=patients))
    assert (found.case_patients == 1).sum() == 4
    macro, row = found.macro(), int(np.flatnonzero(cases[:, 0])[0])
    others = found.auroc[found.case_patients > 1].mean()
    bare = sum(
        label_aurocs(
            Sample.of(scores[:, [one]], cases[:, [one]], np.ones((120, 1), bool), patients)
        )
        .macro()
        .influence
        for one in range(10)
    )
    added = macro.influence - np.asarray(bare) / 10
    assert added[row] == pytest.approx((found.auroc[0] - others) / 10, abs=1e-12)
    assert np.count_nonzero(np.abs(added) > 1e-12) == 4
    assert standard_error(macro.influence, patients) > standard_error(
        np.asarray(bare) / 10, patients
    )


def test_a_group_without_the_lone_labels_is_as_before() -> None:
    scores, cases, patients = _with_lone_labels(np.random.default_rng(2))
    group = (np.arange(10) >= 4).astype(np.int64)
    seen = np.ones_like(cases)
    found = label_aurocs(Sample.of(scores, cases, seen, patients, group))
    rest = label_aurocs(Sample.of(scores[:, 4:], cases[:, 4:], seen[:, 4:], patients))
    np.testing.assert_allclose(found.macro([1]).influence, rest.macro().influence, atol=1e-15)
    np.testing.assert_allclose(found.weighted([1]).influence, rest.weighted().influence, atol=1e-15)
    assert interval(found.macro([0]), patients).reason == TOO_FEW


def test_identical_models_with_lone_labels_differ_by_nothing() -> None:
    scores, cases, patients = _with_lone_labels(np.random.default_rng(3))
    one = label_aurocs(Sample.of(scores, cases, patients=patients)).macro()
    two = label_aurocs(Sample.of(2 * scores + 1, cases, patients=patients)).macro()
    found = difference(one, two, patients)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_degrees_follow_from_how_many_there_are_and_not_from_what_they_add() -> None:
    # Welch's of equal variances
    assert degrees_of_freedom(12, 12) == pytest.approx(22)
    assert degrees_of_freedom(12, 10**9) == pytest.approx(11)
    assert degrees_of_freedom(10**9, 12) == pytest.approx(11)
    # labels add up by their shares of the mean; a lone one has a degree
    assert degrees_of_freedom([12, 12], [10**9] * 2, [0.5, 0.5]) == pytest.approx(22)
    assert degrees_of_freedom([12, 1], [10**9] * 2, [0.5, 0.5]) == pytest.approx(
        (13 / 12) ** 2 / (1 / 12**2 / 11 + 1)
    )


def test_what_hanley_and_mcneil_expect() -> None:
    """Their Q2 less the AUROC's square, of cases; its mirror image below 0.5."""
    for auroc in (0.6, 0.9):
        second = 2 * auroc**2 / (1 + auroc)
        expected = (second - auroc**2) * (1 / 20 + 1 / 50)
        assert expected_variance(auroc, 20, 50) == pytest.approx(expected)
        assert expected_variance(1 - auroc, 20, 50) == pytest.approx(expected)
    halves = expected_variance(0.8, [20, 30], [50, 60], [0.5, 0.5])
    apart = expected_variance(0.8, 20, 50) + expected_variance(0.8, 30, 60)
    assert halves == pytest.approx(apart / 4)


def test_too_little_for_an_interval_says_why() -> None:
    assert reason_to_withhold(9, [9]) == TOO_FEW
    assert reason_to_withhold(10, [10]) == ""
    assert reason_to_withhold(10, [6, 4]) == ""
    assert reason_to_withhold(12, [1] * 12) == ALL_LONE
    one = interval(Estimate(1.0, np.zeros(12)), np.arange(12))
    assert (one.reason, math.isnan(one.low)) == ("the estimate is 1 exactly", True)


def _with_lone_labels(
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten labels of 120 patients; the first four of one patient each."""
    cases = random.random((120, 10)) < 0.2
    cases[:, :4] = False
    cases[[10, 20, 30, 40], range(4)] = True
    scores = (random.normal(size=cases.shape) + cases).astype(np.float32)
    return scores, cases, np.arange(120)
