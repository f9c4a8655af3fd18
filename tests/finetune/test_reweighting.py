"""Weighted cases and shifted logits: by how much, and that the saved head takes it back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from tasks.data.outcomes import Outcome
from tasks.finetune.reweighting import (
    LARGEST_WEIGHT,
    kept_shifts,
    logit_shifts,
    positive_weights,
    prior_corrected,
)
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


def test_what_the_loss_adds_to_logits() -> None:
    adjusted = config(loss={"kind": "logit_adjusted", "tau": 2.0})
    [shift] = logit_shifts(adjusted, [outcome([199, 0])], np.arange(998)).values()
    expected = [2 * math.log(200 / 800), 2 * math.log(1 / 999)]
    torch.testing.assert_close(shift, torch.tensor(expected))
    classes = outcome([500, 1000], one_of=True)  # the second half has the second class alone
    [shift] = logit_shifts(adjusted, [classes], np.arange(500, 1000)).values()
    torch.testing.assert_close(shift, 2 * torch.tensor([1 / 502, 501 / 502]).log())
    assert logit_shifts(config(loss="focal"), [classes], np.arange(10)) == {}
    assert kept_shifts(adjusted, {"outcome": shift}) == {"outcome": shift}
    balanced = config(loss={"kind": "logit_adjusted", "probabilities": "balanced"})
    assert kept_shifts(balanced, {"outcome": shift}) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"positive_weight": "balanced"},
        {"loss": "logit_adjusted"},
        {"loss": {"kind": "logit_adjusted", "tau": 0.5}, "positive_weight": "balanced"},
    ],
    ids=str,
)
def test_the_optimum_of_the_loss_is_corrected_to_the_prevalence(settings: dict[str, Any]) -> None:
    """A bias alone, trained on 5% cases: balanced it says 50%, or more, and corrected 5%."""
    given, study = config(**settings), ([outcome([50])], np.arange(1000))
    weights, shifts = positive_weights(given, *study), logit_shifts(given, *study)
    bias = optimum(weights.get("outcome"), shifts.get("outcome", torch.zeros(1)))
    assert bias.sigmoid().item() > 0.49
    state = {"heads.outcome.bias": bias, "heads.outcome.weight": torch.ones(1)}
    corrected = prior_corrected(state, weights, kept_shifts(given, shifts))
    assert corrected["heads.outcome.bias"].sigmoid().item() == pytest.approx(0.05, abs=1e-3)
    assert corrected["heads.outcome.weight"] is state["heads.outcome.weight"]
    assert state["heads.outcome.bias"].sigmoid().item() > 0.49, "not in place"


def test_the_optimum_of_the_focal_loss_is_nearer_to_a_half() -> None:
    """Where the derivative by p of 0.05 (1 - p)^2 log p + 0.95 p^2 log(1 - p) is zero."""
    p = optimum(None, torch.zeros(1), gamma=2.0).sigmoid().item()
    of_cases = 0.05 * ((1 - p) ** 2 / p - 2 * (1 - p) * math.log(p))
    of_controls = 0.95 * (p**2 / (1 - p) - 2 * p * math.log(1 - p))
    assert of_cases == pytest.approx(of_controls, rel=1e-2)
    assert 0.1 < p < 0.4


def optimum(weight: torch.Tensor | None, shift: torch.Tensor, gamma: float = 0.0) -> torch.Tensor:
    """The best bias [1] for 1,000 admissions, of which 50 are cases."""
    cases = (torch.arange(1000) < 50)[:, None]
    observed = torch.ones_like(cases)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([bias], max_iter=100, tolerance_change=1e-12)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = (bias + shift).expand(1000, 1)
        found = masked_bce(logits, cases, observed, weight, gamma) / 1000
        found.backward()
        return found

    optimizer.step(loss)
    return bias.detach()


def test_a_weight_multiplies_the_loss_of_cases_alone() -> None:
    logits = torch.tensor([[0.0], [0.0]])
    cases, observed = torch.tensor([[True], [False]]), torch.ones(2, 1, dtype=torch.bool)
    plain = masked_bce(logits, cases, observed)
    weighted = masked_bce(logits, cases, observed, torch.tensor([3.0]))
    assert plain.item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert weighted.item() == pytest.approx(4 * math.log(2), rel=1e-6)
