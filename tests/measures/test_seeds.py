"""Intervals over seeds: by hand, in their limits, and coverage where the truth is exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from tasks.measures.auroc import label_aurocs
from tasks.measures.estimates import Estimate
from tasks.measures.intervals import interval, standard_error
from tasks.measures.sample import Sample
from tasks.measures.seeds import Trained, difference_over_seeds, over_seeds
from tasks.measures.small_samples import TOO_FEW, satterthwaite
from tests.bench import seeds as simulated

PATIENTS = np.array([0, 0, 1, 2])
DEGREES = 2.0  # of three patients


def model(*values: float, scale: float = 1.0, deterministic: bool = False) -> Trained:
    """Estimates with these values; each seed's influences are a little different.

    They say how many degrees they have, so that three patients are not too few.
    """
    influences = [
        scale * np.array([0.02, 0.01, -0.02, -0.01]) + 0.001 * seed * np.array([1.0, -2, 2, -1])
        for seed in range(len(values))
    ]
    estimates = [
        Estimate(value, influence, degrees=DEGREES)
        for value, influence in zip(values, influences, strict=True)
    ]
    return Trained(tuple(estimates), deterministic)


def test_three_seeds_by_hand() -> None:
    found = over_seeds(model(0.70, 0.72, 0.76), PATIENTS)
    # influences averaged: seed 1's, (.021, .008, -.018, -.011); by patient .029, -.018, -.011
    patients = 3 / 2 * (0.029**2 + 0.018**2 + 0.011**2)
    seeds = (0.0266666667**2 + 0.0066666667**2 + 0.0333333333**2) / 2 / 3
    degrees = (patients + seeds) ** 2 / (patients**2 / 2 + seeds**2 / 2)
    value = 0.7266666667
    assert found.value == pytest.approx(value)
    for end in (found.low, found.high):  # as far off as a true value there would let it stray
        there = (patients + seeds) * end * (1 - end) / (value * (1 - value))
        distance = stats.t.ppf(0.975, degrees) * math.sqrt(there)
        assert abs(end - value) == pytest.approx(distance, rel=1e-6)
    assert found.method.startswith("mean of 3 seeds; influence function")


def test_a_difference_has_three_terms_by_hand() -> None:
    first, second = model(0.80, 0.82, 0.84), model(0.70, 0.78, scale=0.5)
    found = difference_over_seeds(first, second, PATIENTS)
    apart = first.mean.influence - second.mean.influence
    terms = [standard_error(apart, PATIENTS) ** 2, 0.02**2 / 3, 0.08**2 / 2 / 2]
    degrees = sum(terms) ** 2 / sum(
        term**2 / free for term, free in zip(terms, (2, 2, 1), strict=True)
    )
    assert found.value == pytest.approx(0.08)
    half = stats.t.ppf(0.975, degrees) * math.sqrt(sum(terms))
    assert found.high - found.low == pytest.approx(2 * half, rel=1e-9)
    t = 0.08 / math.sqrt(sum(terms))
    assert found.p_value == pytest.approx(2 * stats.t.sf(t, degrees), rel=1e-9)
    assert "mean of 3 seeds against mean of 2 seeds" in found.method


def test_one_seed_has_the_interval_of_a_runs_report_and_says_so() -> None:
    found, plain = over_seeds(model(0.7), PATIENTS), interval(model(0.7).mean, PATIENTS)
    assert found.method.startswith("this checkpoint only")
    assert (found.value, found.low, found.high) == (0.7, plain.low, plain.high)
    apart = difference_over_seeds(model(0.7), model(0.6, 0.65), PATIENTS)
    assert apart.method.startswith("this checkpoint only")


def test_a_deterministic_baseline_adds_nothing_and_is_not_marked() -> None:
    many, one = model(0.80, 0.82, 0.84), model(0.7, deterministic=True)
    found = difference_over_seeds(many, one, PATIENTS)
    terms = [
        standard_error(many.mean.influence - one.mean.influence, PATIENTS) ** 2,
        0.02**2 / 3,
    ]
    half = stats.t.ppf(0.975, satterthwaite(terms, (2, 2)))
    assert (found.high - found.low) / 2 == pytest.approx(half * math.sqrt(sum(terms)))
    assert "checkpoint" not in found.method + over_seeds(one, PATIENTS).method
    assert "deterministic" in found.method
    low, high = over_seeds(one, PATIENTS).low, interval(one.mean, PATIENTS).high
    assert (low, high) == (interval(one.mean, PATIENTS).low, over_seeds(one, PATIENTS).high)
    assert one.spread == 0


def test_a_model_against_itself_is_zero_with_p_one() -> None:
    found = difference_over_seeds(model(0.7, 0.8), model(0.7, 0.8), PATIENTS)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_what_is_undefined_stays_undefined() -> None:
    nothing = Trained((Estimate(math.nan, np.zeros(4)),) * 2)
    for found in (
        over_seeds(nothing, PATIENTS),
        difference_over_seeds(nothing, model(0.7), PATIENTS),
        difference_over_seeds(nothing, nothing, PATIENTS),
    ):
        assert all(map(math.isnan, (found.value, found.low, found.high, found.p_value)))


def test_many_patients_and_many_equal_seeds_give_the_plain_interval() -> None:
    influence = np.random.default_rng(0).normal(size=20_000) * 1e-5
    same = Trained((Estimate(0.7, influence),) * 50)
    found = over_seeds(same, np.arange(20_000))
    half = 1.959964 * standard_error(influence, np.arange(20_000))
    assert found.high - found.low == pytest.approx(2 * half, rel=1e-3)


def test_few_patients_withhold_an_interval_however_many_the_seeds() -> None:
    """By the rule of one run: a value and no bounds, the reason in place of the method."""
    random = np.random.default_rng(1)
    for count, withheld in ((9, True), (10, False)):
        cases = np.arange(60)[:, None] < count
        seeds = [
            label_aurocs(
                Sample.of(
                    (random.normal(size=(60, 1)) + cases).astype(np.float32),
                    cases,
                    patients=np.arange(60),
                )
            ).macro()
            for _ in range(4)
        ]
        one, two = Trained(tuple(seeds[:2])), Trained(tuple(seeds[2:]))
        for found in (
            over_seeds(one, np.arange(60)),
            over_seeds(Trained(tuple(seeds[:1])), np.arange(60)),
            difference_over_seeds(one, two, np.arange(60)),
        ):
            assert math.isfinite(found.value)
            assert math.isnan(found.low) == withheld
            assert (found.method == f"interval withheld: {TOO_FEW}") == withheld
        assert math.isnan(difference_over_seeds(one, two, np.arange(60)).p_value) == withheld


def test_what_withholds_one_seeds_interval_withholds_that_over_seeds() -> None:
    few = Trained(tuple(Estimate(value, np.zeros(4), "too few") for value in (0.7, 0.8)))
    for found in (
        over_seeds(few, PATIENTS),
        difference_over_seeds(few, model(0.7, 0.8), PATIENTS),
    ):
        assert math.isnan(found.low)
        assert found.method == "interval withheld: too few"


@given(
    some.lists(some.floats(0.3, 0.9), min_size=2, max_size=6),
    some.lists(some.floats(0.3, 0.9), min_size=2, max_size=6),
)
def test_satterthwaite_lies_between_its_terms_and_swapping_turns_the_sign(
    ours: list[float], theirs: list[float]
) -> None:
    first, second = model(*ours), model(*theirs, scale=0.3)
    there = difference_over_seeds(first, second, PATIENTS)
    back = difference_over_seeds(second, first, PATIENTS)
    assert back.value == -there.value
    assert back.low == pytest.approx(-there.high)
    assert back.p_value == pytest.approx(there.p_value)
    terms = [
        (0.001, 2.0),
        (first.spread**2, len(ours) - 1.0),
        (second.spread**2, len(theirs) - 1.0),
    ]
    variances, degrees = zip(*terms, strict=True)
    found = satterthwaite(variances, degrees)
    assert min(degrees) - 1e-9 <= found <= sum(degrees) + 1e-9


def test_intervals_over_seeds_hold_the_truth_and_those_without_do_not() -> None:
    """Of 300 replicates, 95% coverage has a Monte Carlo error of 1.3 points; 4 of them are 5."""
    found = simulated.coverage(300, 300, 3, start=10_000)
    for what, (ours, without) in found.items():
        assert 0.90 < ours < 0.995, (what, ours)
        assert without < ours - 0.01, (what, ours, without)
