"""The AUROC engine against scikit-learn, the house's other AUROC, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluate.measures import placements as placements_module
from tasks.evaluate.measures.auroc import label_aurocs, micro
from tasks.evaluate.measures.curves import FALSE_POSITIVE_RATES, macro_roc, roc
from tasks.evaluate.measures.placements import placements
from tasks.ranking import auroc_by_label


@st.composite
def _scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties and signed zeros, cases, observed cells, patients."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, labels = draw(st.integers(2, 50)), draw(st.integers(1, 5))
    values = draw(st.sampled_from([2, 5, 10**6]))
    scores = ((random.integers(0, values, (rows, labels)) - values // 2) * -0.5).astype(np.float32)
    cases = random.random((rows, labels)) < draw(st.sampled_from([0.02, 0.3, 0.9]))
    observed = random.random((rows, labels)) < draw(st.sampled_from([0.5, 1.0]))
    patients = np.unique(random.integers(0, rows, rows), return_inverse=True)[1]
    return scores, cases, observed, patients


@settings(deadline=None, max_examples=150)
@given(_scored())
def test_labels_and_macro_equal_scikit_learn(scored: tuple[np.ndarray, ...]) -> None:
    from sklearn.metrics import roc_auc_score

    scores, cases, observed, patients = scored
    found = label_aurocs(scores, cases, observed, patients)
    expected = []
    for label in range(scores.shape[1]):
        truth = cases[observed[:, label], label]
        if len(set(truth)) == 2:
            expected.append(roc_auc_score(truth, scores[observed[:, label], label]))
            assert found.auroc[label] == pytest.approx(expected[-1], abs=1e-12)
        else:
            assert np.isnan(found.auroc[label])
    macro = found.macro()
    assert macro.value == pytest.approx(
        np.mean(expected) if expected else np.nan, abs=1e-12, nan_ok=True
    )
    assert found.defined().sum() == len(expected)


@settings(deadline=None, max_examples=150)
@given(_scored(), st.sampled_from([1, 7, 10**6]))
def test_micro_equals_scikit_learn_whatever_the_blocks(
    scored: tuple[np.ndarray, ...], block: int
) -> None:
    from sklearn.metrics import roc_auc_score

    scores, cases, observed, _ = scored
    before = placements_module.BLOCK_CELLS
    placements_module.BLOCK_CELLS = block
    try:
        found = micro(scores, cases, observed)
    finally:
        placements_module.BLOCK_CELLS = before
    if len(set(cases[observed])) == 2:
        expected = roc_auc_score(cases[observed], scores[observed])
        assert found.value == pytest.approx(expected, abs=1e-12)
        assert found.influence.sum() == pytest.approx(0, abs=1e-12)
    else:
        assert np.isnan(found.value)


@settings(deadline=None, max_examples=100)
@given(_scored())
def test_agrees_with_the_ranking_that_training_uses(scored: tuple[np.ndarray, ...]) -> None:
    scores, cases, observed, patients = scored
    np.testing.assert_allclose(
        label_aurocs(scores, cases, observed, patients).auroc,
        auroc_by_label(scores, cases, observed),
        atol=1e-12,
    )


def test_placements_by_hand() -> None:
    # controls 1 and 2, cases 2 and 3: the case at 2 beats one control and ties with the other
    found = placements(np.float32([1, 2, 2, 3]), np.array([False, True, False, True]))
    assert found.tolist() == [1.0, 0.75, 0.75, 1.0]


def test_a_label_of_one_class_is_left_out_and_counted() -> None:
    scores = np.float32([[1, 5, 0], [2, 4, 0], [3, 3, 0]])
    cases = np.array([[False, True, False], [True, True, False], [True, True, False]])
    found = label_aurocs(scores, cases, np.ones_like(cases), np.arange(3))
    assert found.auroc[0] == 1.0
    assert np.isnan(found.auroc[1:]).all()
    assert found.macro().value == 1.0
    assert found.defined().tolist() == [True, False, False]


def test_an_unobserved_admission_changes_nothing() -> None:
    random = np.random.default_rng(3)
    scores = random.normal(size=(40, 3)).astype(np.float32)
    cases = random.random((40, 3)) < 0.4
    observed = np.ones_like(cases)
    observed[30:] = False
    part = label_aurocs(scores[:30], cases[:30], observed[:30], np.arange(30))
    whole = label_aurocs(scores, cases, observed, np.arange(40))
    np.testing.assert_array_equal(part.auroc, whole.auroc)
    np.testing.assert_allclose(part.standard_error, whole.standard_error, rtol=1e-12)
    assert whole.macro().influence[30:].tolist() == [0.0] * 10
    assert micro(scores, cases, observed).influence[30:].tolist() == [0.0] * 10


def test_more_labels_than_a_block_stay_in_order() -> None:
    random = np.random.default_rng(4)
    scores = random.normal(size=(30, 200)).astype(np.float32)
    cases = random.random((30, 200)) < 0.5
    group = np.arange(200) % 3
    found = label_aurocs(scores, cases, np.ones_like(cases), np.arange(30), group)
    alone = label_aurocs(
        scores[:, group == 1], cases[:, group == 1], np.ones((30, 67), bool), np.arange(30)
    )
    np.testing.assert_allclose(found.auroc[group == 1], alone.auroc, atol=1e-15)
    np.testing.assert_allclose(found.macro([1]).influence, alone.macro().influence, atol=1e-15)
    mean = np.nanmean(found.auroc)
    assert found.macro().value == pytest.approx(mean, abs=1e-12)


def test_the_roc_curve_has_the_aurocs_area() -> None:
    random = np.random.default_rng(5)
    scores = random.integers(0, 6, (80, 4)).astype(np.float32)
    cases = random.random((80, 4)) < 0.4
    observed = np.ones_like(cases)
    areas = [np.trapezoid(*reversed(roc(scores[:, label], cases[:, label]))) for label in range(4)]
    np.testing.assert_allclose(areas, auroc_by_label(scores, cases, observed), atol=1e-12)
    curve = macro_roc(scores, cases, observed)
    assert np.trapezoid(curve, FALSE_POSITIVE_RATES) == pytest.approx(np.mean(areas), abs=2e-3)
    assert (np.diff(curve) >= 0).all()
