"""Intervals: DeLong's by formula, paired differences, and coverage over simulated hospitals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.measures.auroc import label_aurocs
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import (
    difference,
    interval,
    interval_of,
    label_interval,
    share_of_the_way,
    standard_error,
)
from tasks.measures.sample import Sample
from tasks.measures.small_samples import TOO_FEW
from tasks.measures.wilson import Z
from tests.bench.coverage import replicate, summarized

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
    found = label_aurocs(
        Sample.of(scores[:, None], cases[:, None], np.ones((120, 1), bool), np.arange(120))
    )
    assert found.auroc[0] == pytest.approx(by_case.mean(), abs=1e-12)
    assert found.standard_error[0] == pytest.approx(delong, rel=0.01)
    assert standard_error(found.macro().influence, np.arange(120)) == pytest.approx(
        delong, rel=0.01
    )


def test_identical_models_differ_by_nothing() -> None:
    scores, cases, observed, patients = _hospital(np.random.default_rng(2), 200)
    one = label_aurocs(Sample.of(scores, cases, observed, patients)).macro()
    two = label_aurocs(Sample.of(scores * 3 - 1, cases, observed, patients)).macro()
    found = difference(one, two, patients)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_better_model_is_told_apart_where_single_intervals_overlap() -> None:
    random = np.random.default_rng(3)
    scores, cases, observed, patients = _hospital(random, 400)
    worse = scores + 0.35 * random.normal(size=scores.shape).astype(np.float32)
    one = label_aurocs(Sample.of(scores, cases, observed, patients)).macro()
    two = label_aurocs(Sample.of(worse, cases, observed, patients)).macro()
    assert interval(one, patients).low < interval(two, patients).high
    found = difference(one, two, patients)
    back = difference(two, one, patients)
    assert found.low > 0
    assert found.p_value < 0.05
    assert (back.value, back.low, back.high) == (-found.value, -found.high, -found.low)


def test_repeated_admissions_do_not_narrow_the_interval() -> None:
    scores, cases, observed, patients = _hospital(np.random.default_rng(4), 300)
    once = label_aurocs(Sample.of(scores, cases, observed, patients)).macro()
    thrice = label_aurocs(
        Sample.of(
            np.tile(scores, (3, 1)),
            np.tile(cases, (3, 1)),
            np.tile(observed, (3, 1)),
            np.tile(patients, 3),
        )
    ).macro()
    assert thrice.value == pytest.approx(once.value, abs=1e-12)
    expected = standard_error(once.influence, patients)
    assert standard_error(thrice.influence, np.tile(patients, 3)) == pytest.approx(
        expected, rel=1e-9
    )


def test_the_whole_way_is_one_hundred_percent() -> None:
    scores, cases, observed, patients = _hospital(np.random.default_rng(5), 200)
    best = label_aurocs(Sample.of(scores, cases, observed, patients)).macro()
    found = share_of_the_way(best, best, patients)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_a_label_interval_stays_inside_and_is_withheld_when_it_cannot_be_known() -> None:
    found = label_interval(0.97, 0.05, 30, 300)
    assert 0.5 < found.low < 0.97 < found.high < 1
    for unknown, reason in (
        (label_interval(1.0, 0.0, 30, 300), "the estimate is 1 exactly"),
        (label_interval(0.8, math.nan, 1, 300), TOO_FEW),
        (label_interval(math.nan, math.nan, 0, 300), "undefined: no case or no control"),
        (label_interval(0.8, 0.05, 9, 300), TOO_FEW),
        (label_interval(0.8, 0.05, 300, 9), TOO_FEW),
    ):
        assert math.isnan(unknown.low)
        assert math.isnan(unknown.high)
        assert unknown.reason == reason


def test_the_macro_of_one_label_has_the_labels_interval() -> None:
    random = np.random.default_rng(8)
    cases = np.arange(150)[:, None] < 14
    scores = (random.normal(size=(150, 1)) + cases).astype(np.float32)
    patients = np.repeat(np.arange(75), 2)  # the label is of seven patients
    found = label_aurocs(Sample.of(scores, cases, patients=np.arange(150)))
    whole = interval(found.macro(), np.arange(150))
    auroc, error = float(found.auroc[0]), float(found.standard_error[0])
    alone = label_interval(auroc, error, 14, 136)
    assert (whole.low, whole.high) == pytest.approx((alone.low, alone.high), abs=1e-12)
    assert whole.degrees == pytest.approx(alone.degrees, rel=1e-9)
    normal = interval_of(auroc, error)
    assert alone.high - alone.low > 1.03 * (normal.high - normal.low), "14 cases are few"
    few = interval(label_aurocs(Sample.of(scores, cases, patients=patients)).macro(), patients)
    assert (math.isnan(few.low), few.reason) == (True, TOO_FEW)


def test_the_p_value_and_the_interval_of_a_difference_agree() -> None:
    """Just where the interval begins at 0, p is 0.05, however few patients carry it."""
    patients = np.arange(12)
    influence = np.array([0.03, -0.03, 0.02, -0.02, *[0.01, -0.01] * 4])
    nothing = Estimate(0.5, np.zeros(12))
    half = interval(Estimate(0.0, influence), patients, (-1.0, 1.0)).high
    found = difference(Estimate(0.5 + half, influence), nothing, patients)
    assert found.low == pytest.approx(0, abs=1e-12)
    assert found.p_value == pytest.approx(0.05, abs=1e-12)
    assert half > 1.1 * Z * standard_error(influence, patients)
    withheld = difference(Estimate(0.6, influence, "too few"), nothing, patients)
    assert math.isnan(withheld.low)
    assert math.isnan(withheld.p_value)
    assert withheld.reason == "too few"


@pytest.mark.parametrize("admissions", [200, 1000])
def test_intervals_hold_the_truth_as_often_as_they_say(admissions: int) -> None:
    """95% intervals hold a truth that is known exactly about 95% of times; four Monte Carlo errors.

    1 to 5 admissions a patient, 40 labels of 1% to 30%: at 200 admissions two or three labels are
    of one patient. `make bench NAME=coverage` is the same with more samples and a size more.
    """
    drawn = np.stack([replicate("coded", admissions, number) for number in range(REPLICATES)])
    found = summarized(drawn)
    slack = 4 * found[0].monte_carlo(REPLICATES)
    for one in found:
        assert one.held == pytest.approx(0.95, abs=slack)
        assert one.withheld == 0
        # what the intervals claim is what the estimate really varies by; 300 draws know it to 4%
        assert one.error == pytest.approx(one.deviation, rel=0.16)
        assert abs(one.bias) < 4 * one.deviation / math.sqrt(REPLICATES)
    macro, _, pooled, _ = found
    assert macro.naive < macro.held - 0.02, "ignoring patients should cover less"
    assert pooled.naive < pooled.held - 0.02
    if admissions == 200:
        assert macro.plain < macro.held - 0.03, "lone labels hide how much they vary"


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
