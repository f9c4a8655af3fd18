"""What heads do without in training: a share of the tokens, and of the values of a state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_LEVELS = 256  # of a random byte


def thinned(states: Tensor, present: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """States [rows, tokens, hidden] without a random share of the tokens; each row keeps one.

    What is left moves to the front, so that no more is computed of the others. Returns the states
    [rows, most kept, hidden], and which of them are there.
    """
    draws = torch.rand(present.shape, device=present.device).masked_fill(~present, 2.0)
    kept = (draws >= share) & present
    lucky = torch.where(present, draws, -1.0).argmax(dim=1, keepdim=True)
    kept = kept.scatter(1, lucky, True)
    counts = kept.sum(dim=1)
    most = int(counts.max())
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    rows = torch.arange(len(order), device=order.device)[:, None]
    return states[rows, order], torch.arange(most, device=order.device) < counts[:, None]


def dropped(states: Tensor, share: float) -> Tensor:
    """States of which a random share of the values is 0 and the others are larger, as F.dropout.

    On a CPU a draw is a byte, so that the share is that of a 256th: half of a step of heads went
    into drawing whole numbers for it.
    """
    if states.device.type != "cpu" or not share:
        return F.dropout(states, share)
    level = min(round(share * _LEVELS), _LEVELS - 1)
    words = torch.empty(-(-states.numel() // 8), dtype=torch.int64)
    draws = words.random_(-(2**63), None).view(torch.uint8)[: states.numel()].view(states.shape)
    return states * (draws >= level) * (_LEVELS / (_LEVELS - level))
