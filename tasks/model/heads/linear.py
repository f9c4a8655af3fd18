"""A head of one linear layer on one pooled state, as sequence classifiers have it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.model.heads.head import Head


class LinearHead(Head):
    """A label's logit is w . h + b, with h the token states pooled: their last, mean or max."""

    def __init__(self, hidden: int, labels: int, pool: str, bias: bool = True) -> None:
        """A head whose labels start in random directions.

        Args:
            bias: whether there is a b; without, it stays 0 and is not saved.
        """
        super().__init__()
        self.pool = pool
        self.weight = nn.Parameter(torch.randn(labels, hidden) * 0.02)
        if bias:
            self.bias = nn.Parameter(torch.zeros(labels))
        else:
            self.register_buffer("bias", torch.zeros(labels), persistent=False)

    def start_from_titles(self, titles: Tensor, known: Tensor) -> None:
        with torch.no_grad():
            self.weight[known] = F.normalize(titles.float(), dim=1)[known]

    def forward(self, hidden: Tensor, present: Tensor) -> Tensor:
        pooled = _pooled(hidden.float(), present, self.pool)
        return F.linear(pooled, self.weight.float(), self.bias.float())


def _pooled(hidden: Tensor, present: Tensor, pool: str) -> Tensor:
    """One state [batch, hidden] from the states of the present tokens."""
    match pool:
        case "last":
            last = present.sum(dim=1) - 1  # padding is on the right
            return hidden[torch.arange(len(hidden), device=hidden.device), last]
        case "mean":
            shares = present.float() / present.sum(dim=1, keepdim=True)
            return (hidden * shares[:, :, None]).sum(dim=1)
        case "max":
            return hidden.masked_fill(~present[:, :, None], -torch.inf).amax(dim=1)
        case _:
            raise ValueError(f"there is no pooling '{pool}'")
