"""Net benefit: the definition by a loop, and what is known of it without computing."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.measures.decisions import THRESHOLDS, net_benefit
from tasks.measures.logistic import sigmoid
from tasks.measures.recalibration import Recalibration, unchanged
from tasks.measures.sample import Sample


def test_equals_its_definition_on_the_observed_cells() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(-1, 2, (300, 3)).astype(np.float32)
    cases = random.random((300, 3)) < 0.3
    observed = random.random((300, 3)) < 0.7
    line = Recalibration(np.array([1.0, 0.5, 2.0]), np.array([0.0, 1.0, -1.0]), np.ones(3, bool))
    labels = np.array([0, 2])
    found = net_benefit(Sample.of(scores, cases, observed), labels, line)
    for place, threshold in enumerate(THRESHOLDS):
        model, everybody = [], []
        for label in labels:
            seen = observed[:, label]
            case = cases[seen, label]
            score = scores[seen, label].astype(float)
            act = sigmoid(line.slope[label] * score + line.intercept[label]) >= threshold
            odds = threshold / (1 - threshold)
            model.append((act & case).mean() - (act & ~case).mean() * odds)
            everybody.append(case.mean() - (~case).mean() * odds)
        assert found.model[place] == pytest.approx(np.mean(model), abs=1e-12)
        assert found.all[place] == pytest.approx(np.mean(everybody), abs=1e-12)


@pytest.mark.parametrize("place", range(99))
def test_a_probability_at_the_threshold_acts(place: int) -> None:
    log_odds = np.log(THRESHOLDS[[place]] / (1 - THRESHOLDS[[place]]))
    line = Recalibration(np.ones(1), log_odds, np.ones(1, bool))
    cases = np.array([[True]])
    found = net_benefit(Sample.of(np.zeros((1, 1), np.float32), cases, cases), np.array([0]), line)
    assert found.model[place] == 1
    assert (found.model[place + 1 :] == 0).all()


def test_true_probabilities_are_worth_at_least_all_or_none() -> None:
    random = np.random.default_rng(2)
    logits = random.normal(-1, 1.5, (50_000, 1)).astype(np.float32)
    cases = random.random((50_000, 1)) < sigmoid(logits.astype(float))
    found = net_benefit(Sample.of(logits, cases), np.array([0]), unchanged(1))
    assert (found.model >= np.maximum(found.all, 0) - 0.002).all()
    assert found.model[20:60].min() > 0.02
    assert found.all[0] == pytest.approx(cases.mean() - (1 - cases.mean()) / 99, abs=1e-12)


def test_no_label_has_no_curve() -> None:
    nothing = np.ones((5, 1), bool)
    found = net_benefit(
        Sample.of(np.zeros((5, 1), np.float32), nothing, nothing),
        np.array([], np.int64),
        unchanged(1),
    )
    assert np.isnan(found.model).all()
