"""AUROC within groups: the engine's own on each group alone, and scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures import grouped
from tasks.measures.auroc import label_aurocs
from tasks.measures.grouped import grouped_aurocs
from tasks.measures.sample import Sample

FEWEST = 2
_Scored = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@st.composite
def _scored(draw: st.DrawFn) -> _Scored:
    """Scores with ties, signed zeros and far-out values, cases, observed, patients, groups."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, labels = draw(st.integers(2, 60)), draw(st.integers(1, 6))
    values = draw(st.sampled_from([2, 5, 10**6]))
    scores = ((random.integers(0, values, (rows, labels)) - values // 2) * -0.5).astype(np.float32)
    if draw(st.booleans()):
        scores[0], scores[-1] = -3e38, 3e38
    cases = random.random((rows, labels)) < draw(st.sampled_from([0.1, 0.3, 0.8]))
    observed = random.random((rows, labels)) < draw(st.sampled_from([0.6, 1.0]))
    patients = np.unique(random.integers(0, rows, rows), return_inverse=True)[1]
    group = np.unique(random.integers(0, draw(st.integers(1, 4)), rows), return_inverse=True)[1]
    return scores, cases, observed, patients, group


@settings(deadline=None, max_examples=200)
@given(_scored(), st.sampled_from([1, 100, 1 << 20]))
def test_a_group_is_ranked_as_it_would_be_alone(scored: _Scored, block: int) -> None:
    from sklearn.metrics import roc_auc_score

    scores, cases, observed, patients, group = scored
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouped, "BLOCK_CELLS", block)
        other = np.zeros(len(group), np.int64)  # a second partition, of one group
        found, _ = grouped_aurocs(
            Sample.of(scores, cases, observed, patients), [group, other], FEWEST
        )
    for one in range(group.max() + 1):
        rows = group == one
        owners = np.unique(patients[rows], return_inverse=True)[1]
        alone = label_aurocs(Sample.of(scores[rows], cases[rows], observed[rows], owners))
        counted = (alone.case_patients >= FEWEST) & (alone.control_patients >= FEWEST)
        np.testing.assert_array_equal(found.shared(one, one), counted)
        for label in np.flatnonzero(counted):
            seen = rows & observed[:, label]
            expected = roc_auc_score(cases[seen, label], scores[seen, label])
            assert found.auroc[one, label] == pytest.approx(expected, abs=1e-12)
        if counted.any():
            kept = label_aurocs(
                Sample.of(
                    scores[rows][:, counted],
                    cases[rows][:, counted],
                    observed[rows][:, counted],
                    owners,
                )
            ).macro()
            macro = found.macro(one)
            assert macro.value == pytest.approx(kept.value, abs=1e-12)
            np.testing.assert_allclose(macro.influence[rows], kept.influence, atol=1e-12)
            assert not macro.influence[~rows].any()
        else:
            assert np.isnan(found.macro(one).value)


@settings(deadline=None, max_examples=100)
@given(_scored())
def test_two_groups_are_compared_on_the_labels_that_both_have(scored: _Scored) -> None:
    scores, cases, observed, patients, group = scored
    found, _ = grouped_aurocs(
        Sample.of(scores, cases, observed, patients),
        [group, np.zeros(len(group), np.int64)],
        FEWEST,
    )
    first, second = 0, int(group.max())
    shared = found.shared(first, second)
    mean = found.macro(first, second)
    if shared.any():
        alone, _ = grouped_aurocs(
            Sample.of(scores[:, shared], cases[:, shared], observed[:, shared], patients),
            [group, np.zeros(len(group), np.int64)],
            FEWEST,
        )
        assert mean.value == pytest.approx(found.auroc[first, shared].mean(), abs=1e-12)
        np.testing.assert_allclose(mean.influence, alone.macro(first).influence, atol=1e-12)
    else:
        assert np.isnan(mean.value)
        assert not mean.influence.any()


def test_many_admissions_of_one_patient_are_one_case() -> None:
    random = np.random.default_rng(0)
    patients = np.concatenate([np.zeros(30, np.int64), np.arange(1, 41)])
    cases = np.zeros((70, 2), bool)
    cases[:30, 0] = True  # thirty admissions, one patient
    cases[30:45, 1] = True
    scores = random.normal(size=(70, 2)).astype(np.float32)
    found, *_ = grouped_aurocs(
        Sample.of(scores, cases, patients=patients), [np.zeros(70, np.int64)], 10
    )
    assert found.shared(0, 0).tolist() == [False, True]
