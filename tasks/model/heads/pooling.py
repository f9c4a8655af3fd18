"""One state of a note, from those of its tokens, of which none is padding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """The tokens' last, mean or max, or their mean weighted by attention.

    Attention has one query for all labels: a token weighs the softmax of q . h / sqrt(hidden). It
    starts at zero, as the mean.
    """

    def __init__(self, hidden: int, pool: str) -> None:
        super().__init__()
        self.pool = pool
        if pool == "attention":
            self.query = nn.Parameter(torch.zeros(hidden))

    def forward(self, hidden: Tensor, present: Tensor) -> Tensor:
        """Map float32 states [batch, tokens, hidden] to [batch, hidden]."""
        match self.pool:
            case "last":
                last = present.sum(dim=1) - 1  # padding is on the right
                return hidden[torch.arange(len(hidden), device=hidden.device), last]
            case "mean":
                shares = present.float() / present.sum(dim=1, keepdim=True)
                return (hidden * shares[:, :, None]).sum(dim=1)
            case "max":
                return hidden.masked_fill(~present[:, :, None], -torch.inf).amax(dim=1)
            case "attention":
                scores = hidden @ self.query.float() / math.sqrt(hidden.shape[-1])
                shares = scores.masked_fill(~present, -torch.inf).softmax(dim=1)
                return (hidden * shares[:, :, None]).sum(dim=1)
            case _:
                raise ValueError(f"there is no pooling '{self.pool}'")
