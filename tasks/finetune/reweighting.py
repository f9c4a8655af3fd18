"""Losses that treat cases and controls unlike, and the corrections that take that back.

With a case weighted w times, the likeliest log-odds are those of the data plus log(w) (King & Zeng,
Political Analysis 9:137-163, 2001). Where a loss adds a to a label's logits, they are those of the
data minus a. So log(w) is taken off the head's bias before it is saved, and a is added to it: the
saved head predicts probabilities of the data, and every label ranks its admissions as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.data.outcomes import Outcome, Rows
from tasks.finetune.config import MemberTraining
from tasks.finetune.losses import LogitAdjusted

LARGEST_WEIGHT = 100.0  # of a case: beyond it a single rare case would rule its batch


def positive_weights(
    config: MemberTraining, outcomes: Sequence[Outcome], rows: Rows
) -> dict[str, Tensor]:
    """By outcome the weight of each label's cases, [labels]; empty where none is weighted.

    Controls over cases among the training admissions `rows`, at most LARGEST_WEIGHT, and 1 for a
    label without both. Classes are not weighted.
    """
    if config.positive_weight == "none":
        return {}
    return {
        outcome.name: torch.from_numpy(_balanced(outcome, rows))
        for outcome in outcomes
        if not outcome.one_of
    }


def logit_shifts(
    config: MemberTraining, outcomes: Sequence[Outcome], rows: Rows
) -> dict[str, Tensor]:
    """By outcome what the loss adds to each label's logits, [labels]; empty where it adds nothing.

    tau times the log-odds among the training admissions `rows`, one case and one control added; of
    classes, times the logarithms of their shares, one admission added to each.
    """
    match config.loss:
        case LogitAdjusted(tau=tau):
            shifts = {outcome.name: tau * _log_prior(outcome, rows) for outcome in outcomes}
            return {name: torch.from_numpy(shift) for name, shift in shifts.items()}
        case _:
            return {}


def kept_shifts(config: MemberTraining, shifts: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What of the loss's shifts belongs to the member's logits, too."""
    match config.loss:
        case LogitAdjusted(probabilities="balanced"):
            return {}
        case _:
            return shifts


def prior_corrected(
    state: Mapping[str, Tensor], weights: Mapping[str, Tensor], shifts: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The trained parameters by name, the bias of each head corrected.

    Args:
        weights: outcome -> [labels], of cases: their logarithms are taken off.
        shifts: outcome -> [labels], added.
    """
    corrected = dict(state)
    for outcome, weight in weights.items():
        name = f"heads.{outcome}.bias"
        bias = corrected[name]
        corrected[name] = bias - weight.log().to(bias.device, bias.dtype)
    for outcome, shift in shifts.items():
        name = f"heads.{outcome}.bias"
        bias = corrected[name]
        corrected[name] = bias + shift.to(bias.device, bias.dtype)
    return corrected


def _balanced(outcome: Outcome, rows: Rows) -> NDArray[np.float32]:
    observed = outcome.observed(rows)
    cases = (outcome.positives(rows) & observed).sum(axis=0)
    controls = observed.sum(axis=0) - cases
    balance = np.minimum(controls / np.maximum(cases, 1), LARGEST_WEIGHT)
    return np.where((cases > 0) & (controls > 0), balance, 1.0).astype(np.float32)


def _log_prior(outcome: Outcome, rows: Rows) -> NDArray[np.float32]:
    observed = outcome.observed(rows)
    cases = (outcome.positives(rows) & observed).sum(axis=0)
    if outcome.one_of:
        prior = np.log((cases + 1) / (cases + 1).sum())
    else:
        prior = np.log((cases + 1) / (observed.sum(axis=0) - cases + 1))
    return prior.astype(np.float32)
