"""What heads on one pooled state have in common: a weight and a bias for each label."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.model.heads.head import Head
from tasks.model.heads.pooling import Pooling


class PooledHead(Head):
    """A label's logit is w . f(h) + b, with h the token states pooled and f the head's own map."""

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
        self.pooling = Pooling(hidden, pool)

    def mapped(self, states: Tensor) -> Tensor:
        """f: float32 states [..., hidden] to states of the same shape."""
        raise NotImplementedError

    def start_from_titles(self, titles: Tensor, known: Tensor) -> None:
        with torch.no_grad():
            self.weight[known] = F.normalize(self.mapped(titles.float()), dim=1)[known]

    def forward(self, hidden: Tensor, present: Tensor) -> Tensor:
        pooled = self.mapped(self.pooling(hidden.float(), present))
        return F.linear(pooled, self.weight.float(), self.bias.float())
