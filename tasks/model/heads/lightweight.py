"""A head whose pooled state goes through a bottleneck of two linear layers and a norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tasks.model.heads.layers import Dense, Norm
from tasks.model.heads.pooled import PooledHead


class LightweightHead(PooledHead):
    """f(h) = LayerNorm(Up(Down(h))), with no residual and nothing between (Le et al. 2024).

    Up starts as Down turned round, and Down with orthogonal rows, so that f starts by projecting h
    onto a random subspace, in which directions keep their meaning.
    """

    def __init__(self, hidden: int, labels: int, pool: str, bottleneck: int) -> None:
        super().__init__(hidden, labels, pool)
        self.down, self.up = Dense(hidden, bottleneck), Dense(bottleneck, hidden)
        self.norm = Norm(hidden)
        nn.init.orthogonal_(self.down.weight)
        with torch.no_grad():
            self.up.weight.copy_(self.down.weight.T)

    def mapped(self, states: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.up(self.down(states)))
        return normed
