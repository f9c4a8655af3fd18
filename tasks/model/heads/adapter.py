"""A head whose pooled state is added to by a bottleneck, as AdaptFormer's adapters do."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from tasks.model.heads.layers import Dense
from tasks.model.heads.pooled import PooledHead


class AdapterHead(PooledHead):
    """f(h) = h + Up(dropout(ReLU(Down(h)))) (Chen et al. 2022; in last place by Le et al. 2024).

    Up starts at zero, so that f starts as h.
    """

    def __init__(
        self, hidden: int, labels: int, pool: str, bottleneck: int, dropout: float
    ) -> None:
        super().__init__(hidden, labels, pool)
        self.dropout = dropout
        self.down, self.up = Dense(hidden, bottleneck), Dense(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)

    def mapped(self, states: Tensor) -> Tensor:
        inner = F.dropout(self.down(states).relu(), self.dropout, self.training)
        return states + self.up(inner)
