"""The score interval: Wilson's own, its limits, and what a model's expectation does to it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from tasks.measures.wilson import ONE_EVENT, ONE_PEAK, Spread, Z, score_interval


@pytest.mark.parametrize(("hits", "trials"), [(9, 10), (1, 20), (60, 100)])
def test_of_a_share_it_is_wilsons(hits: int, trials: int) -> None:
    share = hits / trials
    found = score_interval(share, Spread(math.sqrt(share * (1 - share) / trials), math.inf))
    wilson = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    assert found == pytest.approx((wilson.low, wilson.high), abs=1e-9)


def test_the_limits_are_what_they_are_said_to_be() -> None:
    none, one = stats.poisson.pmf([0, 1], ONE_EVENT)
    assert none + one / 2 == pytest.approx(0.025)
    assert pytest.approx(0.95) == 1 - 4 / (9 * ONE_PEAK**2)
    # one patient makes all the error: the standard error is the distance from the end
    low, high = score_interval(0.99, Spread(0.01, 9.0))
    assert low == pytest.approx(1 - ONE_EVENT * 0.01)
    assert 0.99 < high < 1
    # a model that expects far more than the sample has
    low, high = score_interval(0.9, Spread(0.01, 9.0), Spread(0.05, 11.0))
    assert high - low == pytest.approx(2 * ONE_PEAK / Z * stats.t.ppf(0.975, 11) * 0.01)


def test_what_a_model_expects_lengthens_the_side_towards_one_half_alone() -> None:
    for value, towards, away in ((0.9, 0, 1), (0.1, 1, 0)):
        bare = score_interval(value, Spread(0.03, 20.0))
        more = score_interval(value, Spread(0.03, 20.0), Spread(0.04, 22.0))
        assert abs(more[towards] - value) > abs(bare[towards] - value)
        assert more[away] == bare[away]


@given(
    some.floats(0.001, 0.999),
    some.floats(0, 0.7),
    some.floats(1, 1e6),
    some.none() | some.floats(0.5, 3),
)
def test_it_holds_the_value_inside_and_turns_round(
    value: float, error: float, degrees: float, times: float | None
) -> None:
    further = times and Spread(error * times, degrees)
    low, high = score_interval(value, Spread(error, degrees), further)
    assert 0 <= low <= value <= high <= 1
    if abs(value - 0.5) > 1e-9:  # whose nearer end is one by convention
        turned = score_interval(1 - value, Spread(error, degrees), further)
        assert turned == pytest.approx((1 - high, 1 - low), abs=1e-9)
    fewer = score_interval(value, Spread(error, max(1.0, degrees / 2)))
    same = score_interval(value, Spread(error, degrees))
    assert fewer[1] - fewer[0] >= same[1] - same[0] - 1e-9


def test_at_one_half_both_sides_are_alike_whatever_the_rounding() -> None:
    spreads = Spread(0.12, 18.0), Spread(0.13, 20.0)
    low, high = score_interval(0.5, *spreads)
    assert 0.5 - low == pytest.approx(high - 0.5, abs=1e-12)
    below = score_interval(math.nextafter(0.5, 0), *spreads)
    assert below == pytest.approx((low, high), abs=1e-12)
