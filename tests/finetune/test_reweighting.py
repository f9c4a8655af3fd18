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
    class_weights,
    corrections,
    logit_shifts,
    prior_corrected,
)
from tasks.model.heads.losses import masked_bce, masked_cross_entropy
from tests.finetune.conftest import config


def outcome(cases: list[int], *, one_of: bool = False) -> Outcome:
    """An outcome of 1,000 admissions, of which the first so many have each label.

    Of classes they have the first one alone.
    """
    has = np.arange(1000)[:, None] < np.array(cases)
    if one_of:
        has[:, 1:] &= ~has[:, :-1]
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
    known, balanced = outcome([200, 2, 0, 1000]), config(class_weight="balanced")
    weights = class_weights(balanced, [known], np.arange(1000))["outcome"]
    assert weights.tolist() == [4.0, LARGEST_WEIGHT, 1.0, 1.0]
    half = class_weights(balanced, [known], np.arange(400))["outcome"]
    assert half[0] == 1.0
    assert class_weights(config(), [known], np.arange(1000)) == {}


def test_classes_weigh_alike_by_those_of_the_training_admissions() -> None:
    """N / (C n_c), of 1,000 or 200 admissions of 4 classes, the last of which none has."""
    known, balanced = outcome([900, 998, 1000, 1000], one_of=True), config(class_weight="balanced")
    [weights] = class_weights(balanced, [known], np.arange(1000)).values()
    torch.testing.assert_close(weights, torch.tensor([250 / 900, 250 / 98, LARGEST_WEIGHT, 1]))
    [weights] = class_weights(balanced, [known], np.arange(800, 1000)).values()
    torch.testing.assert_close(weights, torch.tensor([50 / 100, 50 / 98, 50 / 2, 1]))


def test_what_the_loss_adds_to_logits() -> None:
    adjusted = config(loss={"kind": "logit_adjusted", "tau": 2.0})
    [shift] = logit_shifts(adjusted, [outcome([199, 0])], np.arange(998)).values()
    expected = [2 * math.log(200 / 800), 2 * math.log(1 / 999)]
    torch.testing.assert_close(shift, torch.tensor(expected))
    classes = outcome([500, 1000], one_of=True)  # the second half has the second class alone
    [shift] = logit_shifts(adjusted, [classes], np.arange(500, 1000)).values()
    torch.testing.assert_close(shift, 2 * torch.tensor([1 / 502, 501 / 502]).log())
    assert logit_shifts(config(loss="focal"), [classes], np.arange(10)) == {}
    torch.testing.assert_close(corrections(adjusted, {}, {"outcome": shift})["outcome"], shift)
    balanced = config(loss={"kind": "logit_adjusted", "probabilities": "balanced"})
    assert corrections(balanced, {}, {"outcome": shift}) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"class_weight": "balanced"},
        {"loss": "logit_adjusted"},
        {"loss": {"kind": "logit_adjusted", "tau": 0.5}, "class_weight": "balanced"},
    ],
    ids=str,
)
def test_the_optimum_of_the_loss_is_corrected_to_the_prevalence(settings: dict[str, Any]) -> None:
    """A bias alone, trained on 5% cases: balanced it says 50%, or more, and corrected 5%."""
    given, study = config(**settings), ([outcome([50])], np.arange(1000))
    weights, shifts = class_weights(given, *study), logit_shifts(given, *study)
    bias = optimum(weights.get("outcome"), shifts.get("outcome", torch.zeros(1)))
    assert bias.sigmoid().item() > 0.49
    state = {"heads.outcome.bias": bias, "heads.outcome.weight": torch.ones(1)}
    corrected = prior_corrected(state, corrections(given, weights, shifts))
    assert corrected["heads.outcome.bias"].sigmoid().item() == pytest.approx(0.05, abs=1e-3)
    assert corrected["heads.outcome.weight"] is state["heads.outcome.weight"]
    assert state["heads.outcome.bias"].sigmoid().item() > 0.49, "not in place"


@pytest.mark.parametrize("loss", ["cross_entropy", "logit_adjusted"])
def test_the_optimum_of_weighted_classes_is_corrected_to_their_shares(loss: str) -> None:
    """Biases alone: weighted, and unless the loss adds log-shares, all classes are as likely."""
    given, known = (
        config(class_weight="balanced", loss=loss),
        outcome([700, 950, 1000], one_of=True),
    )
    rows = np.arange(1000)
    weights, shifts = class_weights(given, [known], rows), logit_shifts(given, [known], rows)
    cells = torch.from_numpy(known.positives(rows)), torch.from_numpy(known.observed(rows))
    bias = optimum(weights["outcome"], shifts.get("outcome", torch.zeros(3)), cells)
    seen = (bias + shifts.get("outcome", 0)).softmax(dim=0)
    torch.testing.assert_close(seen, torch.full((3,), 1 / 3), atol=1e-3, rtol=0)
    state = {"heads.outcome.bias": bias}
    corrected = prior_corrected(state, corrections(given, weights, shifts))["heads.outcome.bias"]
    shares = torch.tensor([0.7, 0.25, 0.05])
    torch.testing.assert_close(corrected.softmax(dim=0), shares, atol=1e-3, rtol=0)


def test_the_optimum_of_the_focal_loss_is_nearer_to_a_half() -> None:
    """Where the derivative by p of 0.05 (1 - p)^2 log p + 0.95 p^2 log(1 - p) is zero."""
    p = optimum(None, torch.zeros(1), gamma=2.0).sigmoid().item()
    of_cases = 0.05 * ((1 - p) ** 2 / p - 2 * (1 - p) * math.log(p))
    of_controls = 0.95 * (p**2 / (1 - p) - 2 * p * math.log(1 - p))
    assert of_cases == pytest.approx(of_controls, rel=1e-2)
    assert 0.1 < p < 0.4


CASES = (torch.arange(1000) < 50)[:, None]


def optimum(
    weight: torch.Tensor | None,
    shift: torch.Tensor,
    cells: tuple[torch.Tensor, torch.Tensor] = (CASES, torch.ones_like(CASES)),
    gamma: float = 0.0,
) -> torch.Tensor:
    """The best bias [labels] for these admissions' positives and observed cells, [1000, labels]."""
    bias = torch.zeros(len(shift), requires_grad=True)
    of_cells = masked_bce if len(shift) == 1 else masked_cross_entropy
    optimizer = torch.optim.LBFGS([bias], max_iter=100, tolerance_change=1e-12)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = (bias + shift).expand(1000, -1)
        found = of_cells(logits, *cells, weight, gamma) / 1000
        found.backward()
        return found

    optimizer.step(loss)
    return bias.detach()


def test_a_weight_multiplies_the_loss_of_its_class() -> None:
    logits, observed = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.ones(2, 2, dtype=torch.bool)
    cells = torch.tensor([[True, False], [False, True]]), observed
    weight = torch.tensor([3.0, 0.5])
    expected = 3 * math.log(1 + math.e) + 0.5 * math.log(1 + math.e**2)
    assert masked_cross_entropy(logits, *cells, weight).item() == pytest.approx(expected, rel=1e-6)
    focal = masked_cross_entropy(logits, *cells, weight, 1.0).item()
    assert focal == pytest.approx(
        3 * math.log(1 + math.e) * math.e / (1 + math.e)
        + 0.5 * math.log(1 + math.e**2) * math.e**2 / (1 + math.e**2),
        rel=1e-6,
    )


def test_a_weight_multiplies_the_loss_of_cases_alone() -> None:
    logits = torch.tensor([[0.0], [0.0]])
    cases, observed = torch.tensor([[True], [False]]), torch.ones(2, 1, dtype=torch.bool)
    plain = masked_bce(logits, cases, observed)
    weighted = masked_bce(logits, cases, observed, torch.tensor([3.0]))
    assert plain.item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert weighted.item() == pytest.approx(4 * math.log(2), rel=1e-6)
