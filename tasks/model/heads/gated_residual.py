"""A head whose pooled state goes through a gated residual network."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from tasks.model.heads.layers import Dense, Norm
from tasks.model.heads.pooled import PooledHead


class GatedResidualHead(PooledHead):
    """f(h) = LayerNorm(h + (V x) * sigmoid(G x)), x = dropout(W2 ELU(W1 h)) (Lim et al. 2021).

    Le et al. (2024) put it in last place. All four layers have biases; V starts at zero, so that f
    starts as the norm of h.
    """

    def __init__(
        self, hidden: int, labels: int, pool: str, bottleneck: int, dropout: float
    ) -> None:
        super().__init__(hidden, labels, pool)
        self.dropout = dropout
        self.first, self.second = Dense(hidden, bottleneck), Dense(bottleneck, bottleneck)
        self.value, self.gate = Dense(bottleneck, hidden), Dense(bottleneck, hidden)
        self.norm = Norm(hidden)
        nn.init.zeros_(self.value.weight)

    def mapped(self, states: Tensor) -> Tensor:
        inner = self.second(F.elu(self.first(states)))
        inner = F.dropout(inner, self.dropout, self.training)
        added = self.value(inner) * self.gate(inner).sigmoid()
        normed: Tensor = self.norm(states + added)
        return normed
