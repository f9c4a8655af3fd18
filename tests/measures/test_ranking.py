"""AUROC by label against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures.ranking import auroc_by_label, class_scores, macro_auroc


@settings(deadline=None)  # the first example imports scikit-learn
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 5))
def test_equals_scikit_learn_on_ties_and_masked_cells(seed: int, rows: int, labels: int) -> None:
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 5, (rows, labels)).astype(np.float32)  # five values: many ties
    positives = draw.random((rows, labels)) < 0.4
    observed = draw.random((rows, labels)) < 0.7
    found = auroc_by_label(scores, positives, observed)
    for label in range(labels):
        seen = observed[:, label]
        truth = positives[seen, label]
        if len(set(truth)) < 2:
            assert np.isnan(found[label])
        else:
            expected = roc_auc_score(truth, scores[seen, label])
            assert found[label] == pytest.approx(expected, abs=1e-12)


def test_an_undefined_label_is_left_out_of_the_macro_average() -> None:
    scores = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], np.float32)
    positives = np.array([[False, True], [False, True], [True, True]])
    observed = np.ones_like(positives)
    assert macro_auroc(scores, positives, observed) == 1.0
    assert np.isnan(macro_auroc(scores, positives, ~observed))


def test_the_scores_of_classes_are_the_softmaxs_and_know_no_constant() -> None:
    draw = np.random.default_rng(5)
    logits = draw.normal(0, 4, (50, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(class_scores(logits), np.log(p / (1 - p)), atol=1e-9)
    shifted = logits + draw.normal(0, 100, (50, 1))
    np.testing.assert_allclose(class_scores(shifted), class_scores(logits), atol=1e-9)
