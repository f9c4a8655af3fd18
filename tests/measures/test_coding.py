"""Measures of coding: by hand, against scikit-learn, and what ties and unknown labels do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures.coding import DEPTHS, coding
from tasks.measures.sample import Sample


def test_by_hand() -> None:
    scores = np.float32([[5, 4, 3, 2, 1, 0], [1, 2, 3, 4, 5, 6]])
    cases = np.array([[True, False, True, False, False, False], [True] + [False] * 5])
    found = coding(Sample.of(scores, cases))
    every = np.array([True, True])
    assert found.precision_at(5, every).value == pytest.approx((2 / 5 + 0) / 2)
    assert found.precision_at(8, every).value == pytest.approx((2 / 8 + 1 / 8) / 2)
    assert found.mean_r_precision(every).value == pytest.approx((1 / 2 + 0) / 2)
    of_first, of_second = (1 + 2 / 3) / 2, 1 / 6
    mean = found.mean_average_precision(every)
    assert mean.value == pytest.approx((of_first + of_second) / 2)
    assert mean.influence == pytest.approx([(of_first - of_second) / 4, (of_second - of_first) / 4])


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.integers(1, 30),
    st.sampled_from([2, 6, 10**6]),
)
def test_average_precision_is_scikit_learns_also_of_ties(
    seed: int, rows: int, labels: int, values: int
) -> None:
    from sklearn.metrics import average_precision_score

    random = np.random.default_rng(seed)
    scores = (random.integers(0, values, (rows, labels)) - values // 2).astype(np.float32)
    cases = random.random((rows, labels)) < 0.3
    observed = random.random((rows, labels)) < 0.7
    found = coding(Sample.of(scores, cases, observed))
    for row in range(rows):
        score, case = scores[row, observed[row]], cases[row, observed[row]]
        assert found.positives[row] == case.sum()
        if not case.any():
            assert np.isnan(found.average_precision[row])
            continue
        expected = average_precision_score(case, score)
        assert found.average_precision[row] == pytest.approx(expected, abs=1e-12)
        # of equal scores the cases come last: the worst order that the scores allow
        order = np.lexsort((case, -score))
        for depth, hits in zip(DEPTHS, found.hits[:, row], strict=True):
            last = order[min(depth, len(order)) - 1]
            cut = score[order[:depth]] > score[last]
            whole = (score == score[last]).sum() + cut.sum() <= depth
            assert hits == case[order[:depth]][cut | whole].sum()


def test_whoever_ranks_at_random_by_ties_gets_nothing_for_it() -> None:
    cases = np.zeros((4, 20), bool)
    cases[:, :3] = True
    found = coding(Sample.of(np.zeros((4, 20), np.float32), cases))
    every = np.ones(4, bool)
    assert found.precision_at(15, every).value == 0
    assert found.mean_r_precision(every).value == 0
    assert found.mean_average_precision(every).value == pytest.approx(3 / 20)


def test_an_admission_without_labels_counts_in_precision_and_in_nothing_else() -> None:
    scores = np.tile(np.arange(20, dtype=np.float32), (3, 1))
    cases = np.zeros((3, 20), bool)
    cases[0, 15:] = True
    cases[1, 19] = True
    found = coding(Sample.of(scores, cases))
    every = np.ones(3, bool)
    assert found.precision_at(5, every).value == pytest.approx((1 + 1 / 5 + 0) / 3)
    assert found.mean_r_precision(every).value == 1
    assert found.mean_average_precision(every).influence[2] == 0
    none = found.mean_r_precision(np.array([False, False, True]))
    assert np.isnan(none.value)


def test_labels_of_another_code_system_take_no_place() -> None:
    scores = np.float32([[9, 9, 9, 3, 2, 1]])
    cases = np.array([[False] * 3 + [True, False, False]])
    observed = np.array([[False] * 3 + [True] * 3])
    found = coding(Sample.of(scores, cases, observed))
    assert found.average_precision[0] == 1
    assert found.r_precision[0] == 1
