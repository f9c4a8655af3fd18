"""Intervals: DeLong's by formula, paired differences, and coverage over simulated hospitals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.evaluate.measures.auroc import label_aurocs, micro
from tasks.evaluate.measures.intervals import (
    Z,
    difference,
    interval,
    label_interval,
    share_of_the_way,
    standard_error,
)

PREVALENCES = (0.03, 0.08, 0.15, 0.3)
REPLICATES = 300


def test_one_label_one_admission_a_patient_is_delong() -> None:
    random = np.random.default_rng(1)
    cases = np.arange(120) < 6  # few: the denominator n - 1 shows
    scores = (random.normal(size=120) + cases).astype(np.float32)
    beats = (scores[cases][:, None] > scores[~cases][None, :]) + 0.0
    by_case, by_control = beats.mean(axis=1), beats.mean(axis=0)
    delong = math.sqrt(
        by_case.var(ddof=1) / len(by_case) + by_control.var(ddof=1) / len(by_control)
    )
    found = label_aurocs(scores[:, None], cases[:, None], np.ones((120, 1), bool), np.arange(120))
    assert found.auroc[0] == pytest.approx(by_case.mean(), abs=1e-12)
    assert found.standard_error[0] == pytest.approx(delong, rel=0.01)
    assert standard_error(found.macro().influence, np.arange(120)) == pytest.approx(
        delong, rel=0.01
    )


def test_identical_models_differ_by_nothing() -> None:
    scores, cases, observed, patients = _hospital(np.random.default_rng(2), 200)
    one = label_aurocs(scores, cases, observed, patients).macro()
    two = label_aurocs(scores * 3 - 1, cases, observed, patients).macro()
    found = difference(one, two, patients)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_better_model_is_told_apart_where_single_intervals_overlap() -> None:
    random = np.random.default_rng(3)
    scores, cases, observed, patients = _hospital(random, 400)
    worse = scores + 0.35 * random.normal(size=scores.shape).astype(np.float32)
    one = label_aurocs(scores, cases, observed, patients).macro()
    two = label_aurocs(worse, cases, observed, patients).macro()
    assert interval(one, patients).low < interval(two, patients).high
    found = difference(one, two, patients)
    back = difference(two, one, patients)
    assert found.low > 0
    assert found.p_value < 0.05
    assert (back.value, back.low, back.high) == (-found.value, -found.high, -found.low)


def test_repeated_admissions_do_not_narrow_the_interval() -> None:
    scores, cases, observed, patients = _hospital(np.random.default_rng(4), 300)
    once = label_aurocs(scores, cases, observed, patients).macro()
    thrice = label_aurocs(
        np.tile(scores, (3, 1)),
        np.tile(cases, (3, 1)),
        np.tile(observed, (3, 1)),
        np.tile(patients, 3),
    ).macro()
    assert thrice.value == pytest.approx(once.value, abs=1e-12)
    expected = standard_error(once.influence, patients)
    assert standard_error(thrice.influence, np.tile(patients, 3)) == pytest.approx(
        expected, rel=1e-9
    )


def test_the_whole_way_is_one_hundred_percent() -> None:
    scores, cases, observed, patients = _hospital(np.random.default_rng(5), 200)
    best = label_aurocs(scores, cases, observed, patients).macro()
    found = share_of_the_way(best, best, patients)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_a_label_interval_stays_inside_and_is_withheld_when_it_cannot_be_known() -> None:
    low, high = label_interval(0.97, 0.05)
    assert 0.5 < low < 0.97 < high < 1
    assert all(map(math.isnan, label_interval(1.0, 0.0)))
    assert all(map(math.isnan, label_interval(0.8, float("nan"))))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """95% intervals of macro, micro and the paired difference hold the truth about 95% of times.

    500 patients with 1 to 4 admissions that share an effect; the truth is from a sample 300 times
    as large. With 300 replicates the Monte Carlo error of a coverage of 95% is 1.3 points, so 4
    errors are 5 points.
    """
    truth = _measures(*_hospital(np.random.default_rng(6), 150_000), np.random.default_rng(7))
    held = np.zeros(3)
    naive_held = 0
    values, errors = [], []
    for replicate in range(REPLICATES):
        random = np.random.default_rng(100 + replicate)
        scores, cases, observed, patients = _hospital(random, 500)
        macro, pooled, second = _measures(scores, cases, observed, patients, random)
        found = (
            interval(macro, patients),
            interval(pooled, patients),
            difference(macro, second, patients),
        )
        true = (truth[0].value, truth[1].value, truth[0].value - truth[2].value)
        held += [one.low <= value <= one.high for one, value in zip(found, true, strict=True)]
        values.append(macro.value)
        errors.append(standard_error(macro.influence, patients))
        naive = Z * standard_error(macro.influence, np.arange(len(patients)))
        naive_held += abs(macro.value - true[0]) <= naive
    assert ((held / REPLICATES > 0.90) & (held / REPLICATES < 0.995)).all(), held / REPLICATES
    # what the intervals claim is what the estimate really varies by; 300 draws know it to 4%
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.13)
    assert naive_held < held[0], "ignoring patients should cover less"


def _measures(scores, cases, observed, patients, random):  # type: ignore[no-untyped-def]
    noisy = scores + 0.7 * random.normal(size=scores.shape).astype(np.float32)
    return (
        label_aurocs(scores, cases, observed, patients).macro(),
        micro(scores, cases, observed),
        label_aurocs(noisy, cases, observed, patients).macro(),
    )


def _hospital(
    random: np.random.Generator, patients: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, cases, observed cells and patients; admissions of a patient share an effect."""
    owner = np.repeat(np.arange(patients), random.integers(1, 5, patients))
    share = random.normal(size=(patients, len(PREVALENCES)))[owner]
    latent = 0.8 * share + 0.6 * random.normal(size=share.shape)
    noise = 0.8 * random.normal(size=(patients, len(PREVALENCES)))[owner]
    scores = latent + noise + 0.5 * random.normal(size=share.shape)
    cut = np.array([1.8808, 1.4051, 1.0364, 0.5244])  # the normal quantiles of 1 - PREVALENCES
    return (
        scores.astype(np.float32),
        latent > cut,
        random.random(share.shape) < 0.9,
        owner,
    )
