"""A head of one linear layer on one pooled state, as sequence classifiers have it."""

from __future__ import annotations

from torch import Tensor

from tasks.model.heads.pooled import PooledHead


class LinearHead(PooledHead):
    """A label's logit is w . h + b."""

    def mapped(self, states: Tensor) -> Tensor:
        return states
