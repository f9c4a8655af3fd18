"""The cluster bootstrap: exact against repeated rows, and in accord with the influences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures import bootstrap
from tasks.measures.auroc import label_aurocs
from tasks.measures.bootstrap import cluster_bootstrap
from tasks.measures.intervals import interval, standard_error
from tasks.measures.sample import Sample
from tests.bench._hospital import Hospital

DRAWS = 5


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 10**6]), st.sampled_from([0.5, 1.0]))
def test_a_draw_is_the_macro_of_repeated_admissions(seed: int, values: int, share: float) -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(seed)
    rows, labels = int(random.integers(3, 40)), 6
    scores = random.integers(-values, values, (rows, labels)).astype(np.float32)
    cases = random.random((rows, labels)) < random.choice([0.1, 0.5], labels)
    observed = random.random((rows, labels)) < share
    patients = np.unique(random.integers(0, rows, rows), return_inverse=True)[1]
    group = np.arange(labels) % 2
    found = cluster_bootstrap(Sample.of(scores, cases, observed, patients, group), DRAWS, seed)
    people = int(patients.max()) + 1
    again = np.random.default_rng(seed)
    for draw in range(DRAWS):
        times = np.bincount(again.integers(0, people, people), minlength=people)
        drawn = np.repeat(np.arange(rows), times[patients])
        expected: list[list[float]] = [[], []]
        for label in range(labels):
            own = drawn[observed[drawn, label]]
            if len(set(cases[own, label])) == 2:
                value = roc_auc_score(cases[own, label], scores[own, label])
                expected[group[label]].append(value)
        for one in range(2):
            assert found.auroc[one, draw] == pytest.approx(sum(expected[one]), abs=1e-12)
            assert found.defined[one, draw] == len(expected[one])


def test_batches_of_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = _hospital().sample(150, np.random.default_rng(1))
    seen = np.ones_like(sample.cases)
    whole = cluster_bootstrap(Sample.of(sample.scores, sample.cases, seen, sample.patients), 30)
    monkeypatch.setattr(bootstrap, "BATCH_DRAWS", 16)
    monkeypatch.setattr(bootstrap, "BLOCK_DRAWS", 5)
    parts = cluster_bootstrap(Sample.of(sample.scores, sample.cases, seen, sample.patients), 30)
    np.testing.assert_allclose(parts.macro().values, whole.macro().values, atol=1e-14)


def test_its_standard_error_is_that_of_the_influences() -> None:
    """1,000 draws know a standard error to 2.2%; four times that, and 2% for linearization."""
    sample = _hospital().sample(3000, np.random.default_rng(2))
    seen = np.ones_like(sample.cases)
    drawn = cluster_bootstrap(
        Sample.of(sample.scores, sample.cases, seen, sample.patients), 1000
    ).macro()
    macro = label_aurocs(Sample.of(sample.scores, sample.cases, seen, sample.patients)).macro()
    analytic = interval(macro, sample.patients)
    expected = standard_error(macro.influence, sample.patients)
    assert drawn.standard_error == pytest.approx(expected, rel=0.11)
    low, high = drawn.bounds
    assert low == pytest.approx(analytic.low, abs=expected / 2)
    assert high == pytest.approx(analytic.high, abs=expected / 2)
    singly = np.arange(len(sample.patients))
    alone = label_aurocs(Sample.of(sample.scores, sample.cases, seen, singly)).macro()
    naive = standard_error(alone.influence, singly)
    assert naive < 0.89 * drawn.standard_error, "admissions drawn singly would be too narrow"


def test_the_method_says_how_many_labels_a_draw_has() -> None:
    sample = _hospital().sample(60, np.random.default_rng(3))
    seen = np.ones_like(sample.cases)
    drawn = cluster_bootstrap(
        Sample.of(sample.scores, sample.cases, seen, sample.patients), 50
    ).macro()
    assert drawn.labels.min() < 8
    assert f"({drawn.labels.min()} to {drawn.labels.max()})" in drawn.method
    assert "50 draws" in drawn.method


def _hospital() -> Hospital:
    return Hospital(np.geomspace(0.03, 0.3, 8), np.linspace(0.65, 0.9, 8))
