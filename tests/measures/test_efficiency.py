"""Taylor's efficiency by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.measures.efficiency import efficiencies


def test_it_is_the_notebooks_formula() -> None:
    """F' = .75, 0, .25 and P' = .9, .4, 0: divided by the largest, not by the range."""
    found = efficiencies([4e15, 1e15, 2e15], [100, 50, 10])
    assert found == pytest.approx([1.0, 1.65 / 0.4, 1.65 / 0.25])


def test_its_unit_does_not_matter() -> None:
    draw = np.random.default_rng(0)
    flops, parameters = draw.random((2, 6))
    assert efficiencies(flops, parameters) == pytest.approx(
        efficiencies(1e18 * flops, 5 * parameters)
    )


def test_the_least_of_both_has_no_finite_one_and_equals_have_none() -> None:
    assert efficiencies([3, 1], [9, 2]).tolist() == [1.0, math.inf]
    assert np.isnan(efficiencies([3, 3], [9, 9])).all()
    assert np.isnan(efficiencies([3], [0])).all()
    assert len(efficiencies([], [])) == 0
