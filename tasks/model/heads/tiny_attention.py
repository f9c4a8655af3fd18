"""A head before whose pooling tokens attend to each other in very few dimensions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from tasks.model.heads.layers import Dense
from tasks.model.heads.linear import LinearHead


class TinyAttentionHead(LinearHead):
    """A linear head on h_t + O [sum_s a_ts V h_s], a the attention of `heads` heads of `size`.

    Zhao et al. (2022); in last place by Le et al. (2024). O starts at zero, so that the head starts
    as a linear one. Queries, keys and values have no biases: attention ignores a key's.
    """

    def __init__(self, hidden: int, labels: int, pool: str, heads: int, size: int) -> None:
        super().__init__(hidden, labels, pool)
        self.attending = heads
        self.query, self.key, self.value = (
            Dense(hidden, heads * size, bias=False) for _ in range(3)
        )
        self.out = Dense(heads * size, hidden)
        nn.init.zeros_(self.out.weight)

    def forward(self, hidden: Tensor, present: Tensor) -> Tensor:
        query, key, value = (
            part(hidden).unflatten(-1, (self.attending, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        # padding is attended to by none; what it attends to itself is never pooled
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=present[:, None, None, :]
        )
        added = self.out(mixed.transpose(1, 2).flatten(2))
        return super().forward(hidden + added, present)
