"""F1 at thresholds of validation: the best of all by trying each, and scikit-learn's F1 on test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures.sample import Sample
from tasks.measures.thresholds import NEVER, best_thresholds, f1_at


def drawn(seed: int, rows: int, labels: int, values: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    scores = (random.integers(0, values, (rows, labels)) - values // 2).astype(np.float32)
    cases = random.random((rows, labels)) < 0.3
    return scores, cases, random.random((rows, labels)) < 0.8


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([2, 5, 10**6]))
def test_no_other_threshold_is_better(seed: int, rows: int, values: int) -> None:
    from sklearn.metrics import f1_score

    scores, cases, observed = drawn(seed, rows, 3, values)
    found = best_thresholds(Sample.of(scores, cases, observed))
    for label in range(3):
        score, case = scores[observed[:, label], label], cases[observed[:, label], label]
        if not case.any():
            assert found[label] == NEVER
            continue
        tried = {float(cut): f1_score(case, score >= cut) for cut in np.unique(score)}
        best = max(tried.values())
        assert tried[float(found[label])] == pytest.approx(best, abs=1e-12)
        assert found[label] == max(cut for cut, f1 in tried.items() if f1 > best - 1e-12)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from([2, 10**6]))
def test_f1_by_label_macro_and_micro_equal_scikit_learn(seed: int, rows: int, values: int) -> None:
    from sklearn.metrics import f1_score

    scores, cases, observed = drawn(seed, rows, 4, values)
    thresholds = np.array([-1, 0, np.inf, -np.inf], np.float32)
    chosen = np.array([True, True, True, False])
    found = f1_at(thresholds, Sample.of(scores, cases, observed), [chosen, ~chosen])
    of_labels, called = [], scores >= thresholds
    for label in range(4):
        seen = observed[:, label]
        if cases[seen, label].any():
            expected = f1_score(cases[seen, label], called[seen, label], zero_division=0)
            assert found.f1[label] == pytest.approx(expected, abs=1e-12)
            of_labels += [expected] if chosen[label] else []
        else:
            assert np.isnan(found.f1[label])
    macro, micro = found.macro[0], found.micro[0]
    mean = np.mean(of_labels) if of_labels else np.nan
    assert macro.value == pytest.approx(mean, abs=1e-12, nan_ok=True)
    cells = observed & chosen
    if (cases | called)[cells].any():
        expected = f1_score(cases[cells], called[cells], zero_division=0)
        assert micro.value == pytest.approx(expected, abs=1e-12)
    else:
        assert np.isnan(micro.value)
    assert macro.influence.sum() == pytest.approx(0, abs=1e-12)
    assert micro.influence.sum() == pytest.approx(0, abs=1e-12)


def test_influences_foretell_what_leaving_one_out_does() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(600, 3)).astype(np.float32)
    cases = random.random((600, 3)) < 1 / (1 + np.exp(1 - scores))
    observed, every = np.ones_like(cases), [np.ones(3, bool)]
    thresholds = np.float32([0.2, 0, 0.5])
    whole = f1_at(thresholds, Sample.of(scores, cases, observed), every)
    for row in range(0, 600, 53):
        observed[row] = False
        left = f1_at(thresholds, Sample.of(scores, cases, observed), every)
        observed[row] = True
        for mean, other in ((whole.macro[0], left.macro[0]), (whole.micro[0], left.micro[0])):
            assert mean.value - other.value == pytest.approx(mean.influence[row], abs=2e-5)


def test_by_hand() -> None:
    scores = np.float32([[3], [2], [2], [1], [0]])
    cases = np.array([[True], [True], [False], [False], [False]])
    every = np.ones_like(cases)
    # at 3: 2*1/(1+2) = .667; at 2: 2*2/(3+2) = .8
    assert best_thresholds(Sample.of(scores, cases, every)) == 2
    found = f1_at(np.float32([2]), Sample.of(scores, cases, every), [np.array([True])])
    assert found.f1[0] == pytest.approx(0.8)
    # A = 4, B = 5: a hit (2 - .8 * 2) / 5, a false alarm (0 - .8) / 5, a quiet one 0
    assert found.micro[0].influence == pytest.approx([0.08, 0.08, -0.16, 0, 0])
