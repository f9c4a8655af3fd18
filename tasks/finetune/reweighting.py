"""A loss that weights a label's cases up, and the correction that takes the weight back.

With a case weighted w times, the likeliest log-odds are those of the data plus log(w) (King & Zeng,
Political Analysis 9:137-163, 2001). So log(w) is taken off the head's bias before it is saved: the
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


def prior_corrected(
    state: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The trained parameters by name, log(weight) taken off the bias of each weighted head."""
    corrected = dict(state)
    for outcome, weight in weights.items():
        name = f"heads.{outcome}.bias"
        bias = state[name]
        corrected[name] = bias - weight.log().to(bias.device, bias.dtype)
    return corrected


def _balanced(outcome: Outcome, rows: Rows) -> NDArray[np.float32]:
    observed = outcome.observed(rows)
    cases = (outcome.positives(rows) & observed).sum(axis=0)
    controls = observed.sum(axis=0) - cases
    balance = np.minimum(controls / np.maximum(cases, 1), LARGEST_WEIGHT)
    return np.where((cases > 0) & (controls > 0), balance, 1.0).astype(np.float32)
