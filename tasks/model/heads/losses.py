"""The losses of a head's logits, over what was observed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_bce(
    logits: Tensor,
    positives: Tensor,
    observed: Tensor,
    weight: Tensor | None = None,
    gamma: float = 0.0,
) -> Tensor:
    """Binary cross-entropy summed over the observed cells.

    Args:
        logits, positives, observed: [batch, labels]; positives and observed are bool.
        weight: [labels], how much a positive cell counts; None: as much as a negative one.
        gamma: a cell counts (1 - p)^gamma times, p the probability of what is true of it.
    """
    if gamma:  # below, a gradient of infinity would be multiplied by zero
        logits = torch.where(observed, logits, 0.0)
    by_cell = F.binary_cross_entropy_with_logits(
        logits, positives.float(), reduction="none", pos_weight=weight
    )
    if gamma:
        by_cell = by_cell * (gamma * F.logsigmoid(torch.where(positives, -logits, logits))).exp()
    # an unobserved cell is dropped, not multiplied by zero: infinity times zero is NaN
    return torch.where(observed, by_cell, 0.0).sum()


def masked_cross_entropy(
    logits: Tensor,
    positives: Tensor,
    observed: Tensor,
    weight: Tensor | None = None,
    gamma: float = 0.0,
) -> Tensor:
    """Cross-entropy over classes, summed over the observed rows.

    Args:
        logits, positives, observed: [batch, classes]; an observed row has exactly one positive.
        weight: [classes], how much a row of each class counts; None: all count the same.
        gamma: a row counts (1 - p)^gamma times, p the probability of its class.
    """
    of_class = -torch.log_softmax(logits, dim=1)
    if weight is not None:
        of_class = of_class * weight
    if gamma:
        others = torch.logsumexp(logits.masked_fill(positives, -torch.inf), dim=1, keepdim=True)
        of_others = others - torch.logsumexp(logits, dim=1, keepdim=True)  # log(1 - p)
        of_class = of_class * (gamma * of_others).exp()
    return torch.where(positives & observed, of_class, 0.0).sum()
