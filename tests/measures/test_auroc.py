"""The AUROC engine against scikit-learn, the house's other AUROC, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures import pool as pool_module
from tasks.measures.auroc import label_aurocs, one_vs_one
from tasks.measures.curves import FALSE_POSITIVE_RATES, roc_corners
from tasks.measures.pool import micro, micro_with_ranks
from tasks.measures.ranking import auroc_by_label, class_scores
from tasks.measures.ranks import ascending, ranked_labels, sortable
from tasks.measures.sample import Sample


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
    found = label_aurocs(Sample.of(scores, cases, observed, patients))
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

    scores, cases, observed, patients = scored
    before = pool_module.BLOCK_CELLS
    pool_module.BLOCK_CELLS = block
    try:
        found = micro(Sample.of(scores, cases, observed, patients))
    finally:
        pool_module.BLOCK_CELLS = before
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
        label_aurocs(Sample.of(scores, cases, observed, patients)).auroc,
        auroc_by_label(scores, cases, observed),
        atol=1e-12,
    )


@settings(deadline=None, max_examples=150)
@given(_scored(), st.integers(0, 2**32 - 1))
def test_weights_count_as_in_scikit_learn(scored: tuple[np.ndarray, ...], seed: int) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores, cases, observed, patients = scored
    weights = np.random.default_rng(seed).integers(0, 4, len(scores)) / 2.0
    found = label_aurocs(Sample.of(scores, cases, observed, patients, weights=weights))
    for label in range(scores.shape[1]):
        rows = observed[:, label]
        truth, score, weight = cases[rows, label], scores[rows, label], weights[rows]
        if weight[truth].sum() > 0 and weight[~truth].sum() > 0:
            expected = roc_auc_score(truth, score, sample_weight=weight)
            assert found.auroc[label] == pytest.approx(expected, abs=1e-12)
            expected = average_precision_score(truth, score, sample_weight=weight)
            assert found.average_precision[label] == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(found.auroc[label])
    pooled, ranks = micro_with_ranks(Sample.of(scores, cases, observed, patients, weights=weights))
    truth, score = cases[observed], scores[observed]
    weight = np.broadcast_to(weights[:, None], scores.shape)[observed]
    if weight[truth].sum() > 0 and weight[~truth].sum() > 0:
        expected = roc_auc_score(truth, score, sample_weight=weight)
        assert pooled.value == pytest.approx(expected, abs=1e-12)
        expected = average_precision_score(truth, score, sample_weight=weight)
        assert ranks.average_precision == pytest.approx(expected, abs=1e-12)
        assert pooled.influence.sum() == pytest.approx(0, abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(_scored())
def test_repeating_an_admission_is_a_weight_of_two(scored: tuple[np.ndarray, ...]) -> None:
    scores, cases, observed, patients = scored
    weights = 1.0 + (np.arange(len(scores)) % 2)
    twice = np.repeat(np.arange(len(scores)), weights.astype(int))
    weighted = label_aurocs(Sample.of(scores, cases, observed, patients, weights=weights))
    repeated = label_aurocs(
        Sample.of(scores[twice], cases[twice], observed[twice], patients[twice])
    )
    np.testing.assert_allclose(weighted.auroc, repeated.auroc, atol=1e-12)
    added = np.bincount(twice, repeated.macro().influence, minlength=len(scores))
    np.testing.assert_allclose(weighted.macro().influence, added, atol=1e-12)


@settings(deadline=None, max_examples=150)
@given(_scored())
def test_average_precision_equals_scikit_learn(scored: tuple[np.ndarray, ...]) -> None:
    from sklearn.metrics import average_precision_score

    scores, cases, observed, patients = scored
    found = label_aurocs(Sample.of(scores, cases, observed, patients)).average_precision
    for label in range(scores.shape[1]):
        truth = cases[observed[:, label], label]
        if len(set(truth)) == 2:
            expected = average_precision_score(truth, scores[observed[:, label], label])
            assert found[label] == pytest.approx(expected, abs=1e-12)
    pooled = micro_with_ranks(Sample.of(scores, cases, observed, patients))[1]
    if len(set(cases[observed])) == 2:
        expected = average_precision_score(cases[observed], scores[observed])
        assert pooled.average_precision == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(_scored())
def test_the_weighted_mean_equals_scikit_learn(scored: tuple[np.ndarray, ...]) -> None:
    from sklearn.metrics import roc_auc_score

    scores, cases, _, patients = scored
    both = cases.any(axis=0) & ~cases.all(axis=0)
    if both.any():
        found = label_aurocs(Sample.of(scores, cases, patients=patients)).weighted()
        expected = roc_auc_score(cases[:, both], scores[:, both], average="weighted")
        assert found.value == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(3, 5), st.integers(12, 60))
def test_one_vs_one_equals_scikit_learn(seed: int, classes: int, rows: int) -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), random.integers(0, classes, rows - classes)])
    logits = random.integers(-3, 4, (rows, classes)).astype(np.float32)
    scores = class_scores(logits).astype(np.float32)
    cases = truth[:, None] == np.arange(classes)
    found = one_vs_one(Sample.of(scores, cases, patients=np.arange(rows)))
    odds = np.exp(scores.astype(np.float64))
    # the same order as the rounded scores have; the peer wants rows that add up to one
    likely = odds / (1 + odds)
    likely /= likely.sum(axis=1, keepdims=True)
    ordered = all(
        np.array_equal(
            np.unique(likely[:, k], return_inverse=True)[1],
            np.unique(scores[:, k], return_inverse=True)[1],
        )
        for k in range(classes)
    )
    if ordered:
        expected = roc_auc_score(truth, likely, multi_class="ovo", labels=np.arange(classes))
        assert found.value == pytest.approx(expected, abs=1e-12)
    by_hand = [
        np.mean(
            (scores[truth == a, a][:, None] > scores[truth == b, a])
            + 0.5 * (scores[truth == a, a][:, None] == scores[truth == b, a])
        )
        for a in range(classes)
        for b in range(classes)
        if a != b
    ]
    assert found.value == pytest.approx(np.mean(by_hand), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(_scored())
def test_influences_are_derivatives_by_weight(scored: tuple[np.ndarray, ...]) -> None:
    """A little more weight on an admission moves each AUROC by its influence times as much.

    But for the factor of each side of few patients, which hide their own spread.
    """
    scores, cases, observed, _ = scored
    patients = np.arange(len(scores))
    whole = label_aurocs(Sample.of(scores, cases, observed, patients))
    defined = whole.defined()
    # a lone label is given the others' spread (small_samples.py)
    if not defined.any() or (whole.rarer[defined] == 1).any():
        return
    sides = np.stack([whole.control_patients, whole.case_patients])
    factors = np.sqrt(sides / np.maximum(sides - 1, 1))
    step = 1e-6
    for row in range(min(5, len(scores))):
        weights = np.ones(len(scores))
        weights[row] += step
        moved = label_aurocs(Sample.of(scores, cases, observed, patients, weights=weights))
        slopes = (moved.auroc - whole.auroc)[defined] / step
        side = cases[row, defined].astype(int)
        expected = (slopes * factors[:, defined][side, np.arange(len(side))]).mean()
        assert whole.macro().influence[row] == pytest.approx(expected, abs=1e-4)


def test_runs_of_equal_scores_by_hand() -> None:
    # controls 1 and 2, cases 2 and 3: the case at 2 beats one control and ties with the other
    scores, cases = np.float32([[1], [2], [2], [3]]), np.array([[False], [True], [False], [True]])
    (ranked,) = ranked_labels(Sample.of(scores, cases), np.array([0]))
    ranks = ranked.ranks()
    assert ranks.shares.tolist() == [0.75, 1.0]
    assert (ranks.below.tolist(), ranks.tied.tolist()) == ([1, 2], [1, 0])
    assert ranks.auroc == 0.875
    assert ranks.average_precision == pytest.approx((2 / 3 + 1) / 2)


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=30))
def test_sortable_integers_rise_with_the_scores(values: list[float]) -> None:
    scores = np.float32(values)
    keys = sortable(scores)
    assert ((scores[:, None] < scores) == (keys[:, None] < keys)).all()
    assert ((scores[:, None] == scores) == (keys[:, None] == keys)).all()
    np.testing.assert_array_equal(ascending(keys), np.argsort(scores, kind="stable"))


def test_a_label_of_one_class_is_left_out_and_counted() -> None:
    scores = np.float32([[1, 5, 0], [2, 4, 0], [3, 3, 0]])
    cases = np.array([[False, True, False], [True, True, False], [True, True, False]])
    found = label_aurocs(Sample.of(scores, cases, patients=np.arange(3)))
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
    part = label_aurocs(Sample.of(scores[:30], cases[:30], observed[:30], np.arange(30)))
    whole = label_aurocs(Sample.of(scores, cases, observed, np.arange(40)))
    np.testing.assert_array_equal(part.auroc, whole.auroc)
    np.testing.assert_allclose(part.standard_error, whole.standard_error, rtol=1e-12)
    assert whole.macro().influence[30:].tolist() == [0.0] * 10
    assert (
        micro(Sample.of(scores, cases, observed, np.arange(len(scores)))).influence[30:].tolist()
        == [0.0] * 10
    )


def test_more_labels_than_a_block_stay_in_order() -> None:
    random = np.random.default_rng(4)
    scores = random.normal(size=(30, 200)).astype(np.float32)
    cases = random.random((30, 200)) < 0.5
    group = np.arange(200) % 3
    found = label_aurocs(Sample.of(scores, cases, patients=np.arange(30), groups=group))
    alone = label_aurocs(
        Sample.of(
            scores[:, group == 1], cases[:, group == 1], np.ones((30, 67), bool), np.arange(30)
        )
    )
    np.testing.assert_allclose(found.auroc[group == 1], alone.auroc, atol=1e-15)
    np.testing.assert_allclose(found.macro([1]).influence, alone.macro().influence, atol=1e-15)
    mean = np.nanmean(found.auroc)
    assert found.macro().value == pytest.approx(mean, abs=1e-12)


def test_the_curves_have_the_areas_of_their_measures() -> None:
    random = np.random.default_rng(5)
    scores = random.integers(0, 6, (80, 4)).astype(np.float32)
    cases = random.random((80, 4)) < 0.4
    observed = np.ones_like(cases)
    found = label_aurocs(Sample.of(scores, cases, observed, np.arange(80)))
    for ranked in ranked_labels(Sample.of(scores, cases, observed)):
        area = np.trapezoid(*reversed(roc_corners(ranked.ranks())))
        assert area == pytest.approx(found.auroc[ranked.label], abs=1e-12)
    area = np.trapezoid(found.roc, FALSE_POSITIVE_RATES)
    assert area == pytest.approx(np.mean(found.auroc), abs=2e-3)
    assert (np.diff(found.roc) >= 0).all()
    assert np.mean(found.precision) == pytest.approx(np.mean(found.average_precision), abs=2e-2)


def test_the_roc_curve_equals_scikit_learn() -> None:
    from sklearn.metrics import roc_curve

    random = np.random.default_rng(6)
    scores = random.integers(0, 9, (60, 1)).astype(np.float32)
    cases = random.random((60, 1)) < 0.4
    (ranked,) = ranked_labels(Sample.of(scores, cases), np.array([0]))
    false, true, _ = roc_curve(cases[:, 0], scores[:, 0], drop_intermediate=False)
    mine = roc_corners(ranked.ranks())
    middles = (false[1:] + false[:-1]) / 2
    np.testing.assert_allclose(
        np.interp(middles, *mine), np.interp(middles, false, true), atol=1e-12
    )
