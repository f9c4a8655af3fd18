"""The losses of a head's logits, over what was observed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_bce(
    logits: Tensor, positives: Tensor, observed: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy summed over the observed cells.

    Args:
        logits, positives, observed: [batch, labels]; positives and observed are bool.
        weight: [labels], how much a positive cell counts; None: as much as a negative one.
    """
    by_cell = F.binary_cross_entropy_with_logits(
        logits, positives.float(), reduction="none", pos_weight=weight
    )
    # an unobserved cell is dropped, not multiplied by zero: infinity times zero is NaN
    return torch.where(observed, by_cell, 0.0).sum()


def masked_cross_entropy(logits: Tensor, positives: Tensor, observed: Tensor) -> Tensor:
    """Cross-entropy over classes, summed over the observed rows.

    Args:
        logits, positives, observed: [batch, classes]; an observed row has exactly one positive.
    """
    of_class = -torch.log_softmax(logits, dim=1)
    return torch.where(positives & observed, of_class, 0.0).sum()
