"""Losses that treat cases and controls unlike, and the corrections that take that back.

With a case weighted w times, the likeliest log-odds are those of the data plus log(w) (King & Zeng,
Political Analysis 9:137-163, 2001); of classes weighted w_c times, the likeliest log-probabilities
are those plus log(w_c), but for a constant that the softmax takes out. Where a loss adds a to a
label's logits, they are those of the data minus a. So log(w) is taken off the head's bias before it
is saved, and a is added to it: the saved head predicts probabilities of the data, and every label
ranks its admissions as before.
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


def class_weights(
    config: MemberTraining, outcomes: Sequence[Outcome], rows: Rows
) -> dict[str, Tensor]:
    """By outcome the weight of each label's cases, [labels]; empty where none is weighted.

    Among the training admissions `rows`, controls over cases; of C classes, N / (C n_c), of which
    the mean over the admissions is 1 where each class has some. At most LARGEST_WEIGHT, and 1 for a
    label without cases or without controls.
    """
    if config.class_weight == "none":
        return {}
    return {outcome.name: torch.from_numpy(_balanced(outcome, rows)) for outcome in outcomes}


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


def corrections(
    config: MemberTraining, weights: Mapping[str, Tensor], shifts: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """By outcome what is added to the trained logits to make the member's, [labels].

    The logarithms of the weights are taken off, and the loss's shifts belong to the member's
    logits, too, unless its probabilities are to be balanced ones.
    """
    added = {outcome: -weight.log() for outcome, weight in weights.items()}
    match config.loss:
        case LogitAdjusted(probabilities="balanced"):
            return added
        case _:
            return added | {name: added.get(name, 0) + shift for name, shift in shifts.items()}


def prior_corrected(
    state: Mapping[str, Tensor], corrections: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The trained parameters by name, its correction [labels] added to the bias of each head."""
    corrected = dict(state)
    for outcome, correction in corrections.items():
        name = f"heads.{outcome}.bias"
        bias = corrected[name]
        corrected[name] = bias + correction.to(bias.device, bias.dtype)
    return corrected


def _balanced(outcome: Outcome, rows: Rows) -> NDArray[np.float32]:
    observed = outcome.observed(rows)
    cases = (outcome.positives(rows) & observed).sum(axis=0)
    admissions = observed.sum(axis=0)
    controls = admissions - cases
    weighed = admissions / len(cases) if outcome.one_of else controls
    balance = np.minimum(weighed / np.maximum(cases, 1), LARGEST_WEIGHT)
    return np.where((cases > 0) & (controls > 0), balance, 1.0).astype(np.float32)


def _log_prior(outcome: Outcome, rows: Rows) -> NDArray[np.float32]:
    observed = outcome.observed(rows)
    cases = (outcome.positives(rows) & observed).sum(axis=0)
    if outcome.one_of:
        prior = np.log((cases + 1) / (cases + 1).sum())
    else:
        prior = np.log((cases + 1) / (observed.sum(axis=0) - cases + 1))
    return prior.astype(np.float32)
