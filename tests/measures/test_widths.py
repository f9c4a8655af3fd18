"""How long intervals of few patients are: no outlying case stretches one over all that can be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from tasks.measures.auroc import label_aurocs
from tasks.measures.intervals import difference, interval, label_interval
from tasks.measures.sample import Sample
from tasks.measures.wilson import Z
from tests.bench._score_shapes import SHAPES, Labels

Scored = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.mark.parametrize(
    ("patients", "placement", "auroc", "low"), [(26, 0.97, 0.936, 0.75), (12, 0.99, 0.915, 0.6)]
)
def test_one_outlying_case_does_not_stretch_the_interval(
    patients: int, placement: float, auroc: float, low: float
) -> None:
    """All cases but one stand above nearly all controls, and the one below nearly all.

    With degrees of freedom from fourth powers the intervals were of 0.006 to 1.000.
    """
    cases = np.arange(patients + 500) < patients
    scores = np.concatenate([np.full(patients, placement), np.linspace(0, 1, 500)])
    scores[0] = 0.0905  # the outlying case
    scores[1:patients] += np.linspace(-0.02, 0.02, patients - 1) / 3
    labels = Labels(scores[:, None].astype(np.float32), cases, np.arange(len(cases)))
    (found,) = labels.intervals()
    assert found.value == pytest.approx(auroc, abs=2e-3)
    assert low < found.low < found.value - 0.03
    assert found.value + 0.01 < found.high < 0.999
    assert labels.widths_over_bootstrap(1000, np.random.default_rng(1))[0] < 1.75


def test_widths_beside_the_cluster_bootstraps_over_shapes_of_scores() -> None:
    """`make bench NAME=coverage` says the same of more labels."""
    random = np.random.default_rng(2)
    ratios: list[float] = []
    for shape in SHAPES:
        for patients in (10, 14, 26, 50):
            labels = Labels.draw(shape, 0.85, patients, 5, random)
            ratios += labels.widths_over_bootstrap(1000, random)
            ratios += labels.with_an_outlier.widths_over_bootstrap(1000, random)
            ratios += labels.mirrored.widths_over_bootstrap(1000, random)
    assert len(ratios) > 400
    assert 1 < np.median(ratios) <= 1.25
    assert max(ratios) <= 2


@st.composite
def _few(draw: st.DrawFn) -> Scored:
    """A label of 10 to 40 patients: ties, heavy tails, outliers, patients of many admissions."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    patients, others = draw(st.integers(10, 40)), draw(st.integers(10, 80))
    most = draw(st.sampled_from([1, 3, 30]))
    owner = np.repeat(np.arange(patients + others), random.integers(1, most + 1, patients + others))
    cases = (owner < patients) & (random.random(len(owner)) < draw(st.sampled_from([0.5, 1.0])))
    cases[np.unique(owner, return_index=True)[1][:patients]] = True  # every one of them has it
    scores = random.standard_t(draw(st.sampled_from([1, 3, 30])), len(owner))
    scores += draw(st.sampled_from([0.0, 1.0, 3.0, 6.0])) * cases
    outliers = random.random(len(owner)) < draw(st.sampled_from([0.0, 0.02]))
    scores[outliers & cases] = -50
    step = draw(st.sampled_from([0.0, 0.5, 2.0]))
    scores = np.round(scores / step) * step if step else scores
    return scores.astype(np.float32)[:, None], cases[:, None], owner


@settings(deadline=None, max_examples=200)
@given(_few())
def test_no_interval_is_twice_as_long_as_delongs_on_the_logit_scale(scored: Scored) -> None:
    scores, cases, owner = scored
    found = label_aurocs(Sample.of(scores, cases, patients=owner))
    auroc, error = float(found.auroc[0]), float(found.standard_error[0])
    given = label_interval(
        auroc, error, int(found.case_patients[0]), int(found.control_patients[0])
    )
    assert given.reason in ("", f"the estimate is {auroc:g} exactly")
    if given.reason:
        return
    assert 0 <= given.low <= auroc <= given.high <= 1
    half = Z * error / (auroc * (1 - auroc))
    delong = expit(logit(auroc) + half) - expit(logit(auroc) - half)
    assert given.high - given.low <= 2 * delong


@settings(deadline=None, max_examples=200)
@given(_few())
def test_who_lack_a_label_count_as_who_have_it(scored: Scored) -> None:
    """Cases and controls exchanged and scores turned round: the same question, the same answer."""
    scores, cases, owner = scored
    here = label_aurocs(Sample.of(scores, cases, patients=owner))
    there = label_aurocs(Sample.of(-scores, ~cases, patients=owner))
    np.testing.assert_allclose(here.auroc, there.auroc, atol=1e-12)
    np.testing.assert_allclose(here.standard_error, there.standard_error, rtol=1e-9)
    assert here.case_patients.tolist() == there.control_patients.tolist()
    one, other = interval(here.macro(), owner), interval(there.macro(), owner)
    assert one.reason == other.reason
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-9, nan_ok=True)


def test_single_labels_hold_the_truth_as_often_as_they_say() -> None:
    """1,000 labels each; three Monte Carlo errors are 2 points."""
    for patients, auroc in ((10, 0.75), (20, 0.9), (50, 0.95)):
        random = np.random.default_rng(patients)
        held = []
        for _ in range(10):
            labels = Labels.draw(SHAPES[0], auroc, patients, 100, random)
            held += [one.low <= auroc <= one.high for one in labels.intervals()]
        assert np.mean(held) == pytest.approx(0.95, abs=0.025)


def test_a_difference_of_few_patients_is_tested_by_as_many_degrees() -> None:
    """One outlying case gave a difference one degree of freedom, too."""
    random = np.random.default_rng(3)
    cases = np.arange(312)[:, None] < 12
    scores = random.normal(size=(312, 1)) + 3 * cases
    scores[0] = -9
    other = scores + 0.3 * random.normal(size=scores.shape)
    other[0] = 2  # the second model has the outlying case right
    one, two = (
        label_aurocs(Sample.of(model.astype(np.float32), cases, patients=np.arange(312))).macro()
        for model in (scores, other)
    )
    found = difference(two, one, np.arange(312))
    assert found.degrees > 11
    assert found.high - found.low < 0.5
    assert math.isfinite(found.p_value)
