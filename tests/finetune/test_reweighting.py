"""Weighted cases: by how much, of which labels, and that the saved head takes it back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tasks.data.outcomes import Outcome
from tasks.finetune.reweighting import LARGEST_WEIGHT, positive_weights, prior_corrected
from tasks.model.heads.losses import masked_bce
from tests.finetune.conftest import config


def outcome(cases: list[int], *, one_of: bool = False) -> Outcome:
    """An outcome of 1,000 admissions, of which the first so many have each label."""
    has = np.arange(1000)[:, None] < np.array(cases)
    owner, label = np.nonzero(has)
    return Outcome(
        name="outcome",
        labels=tuple(("system", str(each)) for each in cases),
        titles=(None,) * len(cases),
        label_system=np.zeros(len(cases), np.int64),
        admission_system=np.zeros(1000, np.int64),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=1000))]),
        values=label,
        one_of=one_of,
    )


def test_controls_over_cases_of_the_training_admissions_capped() -> None:
    known, balanced = outcome([200, 2, 0, 1000]), config(positive_weight="balanced")
    weights = positive_weights(balanced, [known], np.arange(1000))["outcome"]
    assert weights.tolist() == [4.0, LARGEST_WEIGHT, 1.0, 1.0]
    half = positive_weights(balanced, [known], np.arange(400))["outcome"]
    assert half[0] == 1.0
    assert positive_weights(config(), [known], np.arange(1000)) == {}
    assert positive_weights(balanced, [outcome([200], one_of=True)], np.arange(1000)) == {}


def test_the_optimum_of_the_weighted_loss_is_corrected_to_the_prevalence() -> None:
    """A bias alone, trained on 5% cases: balanced it says 50%, corrected 5%."""
    cases = (torch.arange(1000) < 50)[:, None]
    observed = torch.ones_like(cases)
    weights = positive_weights(config(positive_weight="balanced"), [outcome([50])], np.arange(1000))
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([bias], max_iter=50)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = masked_bce(bias.expand(1000, 1), cases, observed, weights["outcome"]) / 1000
        found.backward()
        return found

    optimizer.step(loss)
    assert bias.sigmoid().item() == pytest.approx(0.5, abs=1e-3)
    state = {"heads.outcome.bias": bias.detach(), "heads.outcome.weight": torch.ones(1)}
    corrected = prior_corrected(state, weights)
    assert corrected["heads.outcome.bias"].sigmoid().item() == pytest.approx(0.05, abs=1e-3)
    assert corrected["heads.outcome.weight"] is state["heads.outcome.weight"]
    assert state["heads.outcome.bias"].item() == pytest.approx(0.0, abs=1e-2), "not in place"


def test_a_weight_multiplies_the_loss_of_cases_alone() -> None:
    logits = torch.tensor([[0.0], [0.0]])
    cases, observed = torch.tensor([[True], [False]]), torch.ones(2, 1, dtype=torch.bool)
    plain = masked_bce(logits, cases, observed)
    weighted = masked_bce(logits, cases, observed, torch.tensor([3.0]))
    assert plain.item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert weighted.item() == pytest.approx(4 * math.log(2), rel=1e-6)
