"""A head in which each label attends to the tokens that speak for it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.model.heads.head import Head


class LabelAttentionHead(Head):
    """Label-wise attention (Mullenbach et al. 2018).

    With token states h_t, a label's logit is w . sum_t a_t h_t + b, where a_t is the softmax over
    the present tokens of q . h_t / sqrt(hidden); q and w are the label's query and weight.
    """

    def __init__(
        self,
        hidden: int,
        labels: int,
        query_size: float | None = None,
        weight_size: float = 1.0,
        *,
        free: bool = False,
    ) -> None:
        """A head whose labels start in random directions.

        Args:
            query_size: length of a query at the start; None: sqrt(hidden).
            weight_size: length of a weight at the start.
            free: whether queries stay where they are when the head is started from titles.
        """
        super().__init__()
        self.query_size = math.sqrt(hidden) if query_size is None else query_size
        self.weight_size = weight_size
        self.free = free
        self._new_queries(hidden, labels)
        self.weight = nn.Parameter(torch.randn(labels, hidden) * weight_size / math.sqrt(hidden))
        self.bias = nn.Parameter(torch.zeros(labels))

    def queries(self) -> Tensor:
        """[labels, hidden]"""
        return self.query

    def start_from_titles(self, titles: Tensor, known: Tensor) -> None:
        direction = F.normalize(titles.float(), dim=1)
        with torch.no_grad():
            if not self.free:
                self._start_queries(direction, known)
            self.weight[known] = direction[known] * self.weight_size

    def forward(self, hidden: Tensor, present: Tensor) -> Tensor:
        queries = self.queries() / math.sqrt(hidden.shape[-1])
        both = torch.cat([queries, self.weight]).to(hidden.dtype)
        votes: Tensor = _Attended.apply(hidden, both, present)  # type: ignore[no-untyped-call]
        return votes + self.bias.float()

    def shares(self, hidden: Tensor, present: Tensor) -> Tensor:
        """The attention a_t that each label pays to each token, [batch, tokens, labels], float32.

        Of what `forward` takes; 0 at padding, and 1 over all tokens of a text.
        """
        queries = (self.queries() / math.sqrt(hidden.shape[-1])).to(hidden.dtype)
        scores = F.linear(hidden, queries).float()
        return scores.masked_fill(~present[:, :, None], -torch.inf).softmax(dim=1)

    def _new_queries(self, hidden: int, labels: int) -> None:
        size = self.query_size / math.sqrt(hidden)
        self.query = nn.Parameter(torch.randn(labels, hidden) * size)

    def _start_queries(self, direction: Tensor, known: Tensor) -> None:
        self.query[known] = direction[known] * self.query_size


class TiedLabelAttentionHead(LabelAttentionHead):
    """Label-wise attention whose queries are tied to titles: q = size P d.

    d is the direction of the label's title, which stays as it is, and P a matrix that all labels
    share and that starts as the identity: labels learn from each other where to look. A label
    without a title has a random direction.
    """

    directions: Tensor  # [labels, hidden]

    def queries(self) -> Tensor:
        directions = self.directions.to(self.projection.dtype)
        return self.query_size * F.linear(directions, self.projection)

    def _new_queries(self, hidden: int, labels: int) -> None:
        self.register_buffer("directions", F.normalize(torch.randn(labels, hidden), dim=1))
        self.projection = nn.Parameter(torch.eye(hidden))

    def _start_queries(self, direction: Tensor, known: Tensor) -> None:
        self.directions[known] = direction[known]


class _Attended(torch.autograd.Function):
    """What each label's query finds, seen by its weight: sum_t a_t (w . h_t), [batch, labels].

    One product gives what queries and weights need of each token, and the gradients are written
    in place: these matrices, [batch, tokens, labels], are the largest of a step, and autograd
    would pass over them four times as often.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, both: Tensor, present: Tensor) -> Tensor:
        """Of hidden [batch, tokens, hidden] and both [queries, then weights; hidden]."""
        scores, votes = F.linear(hidden, both).float().chunk(2, dim=-1)  # [batch, tokens, labels]
        shares = scores.masked_fill_(~present[:, :, None], -torch.inf).softmax(dim=1)
        attended = torch.mul(shares, votes, out=scores).sum(dim=1)
        ctx.save_for_backward(hidden, both, shares, votes, attended)
        return attended

    @staticmethod
    def backward(ctx: Any, *of_attended: Tensor) -> tuple[Tensor | None, ...]:
        hidden, both, shares, votes, attended = ctx.saved_tensors
        gradient = shares.new_empty(*shares.shape[:2], len(both))
        of_scores, of_votes = gradient.chunk(2, dim=-1)
        torch.mul(shares, of_attended[0][:, None], out=of_votes)
        torch.sub(votes, attended[:, None], out=of_scores).mul_(of_votes)
        gradient = gradient.to(hidden.dtype)
        of_hidden = gradient @ both if ctx.needs_input_grad[0] else None
        return of_hidden, gradient.flatten(0, 1).T @ hidden.flatten(0, 1), None
