"""Heads: from token states to one logit for each label of an outcome, and their loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HeadKind = Literal["label_attention", "linear"]
Pool = Literal["last", "mean", "max"]


@dataclass(frozen=True)
class HeadShape:
    """What a head is made from, and which label each of its logits stands for."""

    outcome: str
    kind: HeadKind
    pool: Pool  # of a linear head
    hidden: int
    labels: tuple[tuple[str, str], ...]  # (code_system, code) of each logit, in order

    def build(self) -> Head:
        """A new head of this shape, its weights not yet started."""
        match self.kind:
            case "label_attention":
                return LabelAttentionHead(self.hidden, len(self.labels))
            case "linear":
                return LinearHead(self.hidden, len(self.labels), self.pool)


class LabelAttentionHead(nn.Module):
    """Each label attends to the tokens that speak for it (Mullenbach et al. 2018).

    With token states h_t, a label's logit is w . sum_t a_t h_t + b, where a_t is the softmax over
    the present tokens of q . h_t / sqrt(hidden); q and w are the label's query and weight.
    """

    def __init__(self, hidden: int, labels: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(labels, hidden))
        self.weight = nn.Parameter(torch.randn(labels, hidden) / math.sqrt(hidden))
        self.bias = nn.Parameter(torch.zeros(labels))

    def start_from_titles(self, titles: Tensor, known: Tensor) -> None:
        """Start queries and weights in the direction of the labels' embedded titles.

        Args:
            titles: [labels, hidden], the embedded titles, with the mean over titles taken off.
            known: [labels] bool, whether the label has a title; the others keep a random start.
        """
        direction = F.normalize(titles.float(), dim=1)
        with torch.no_grad():
            size = math.sqrt(self.query.shape[1])
            self.query[known] = direction[known] * size
            self.weight[known] = direction[known]

    def forward(self, hidden: Tensor, present: Tensor) -> Tensor:
        """Map token states [batch, tokens, hidden] to logits [batch, labels], in float32.

        Args:
            present: [batch, tokens] bool, False at padding.
        """
        states = hidden.float()[:, None]  # one attention head for all labels
        queries = self.query.float().expand(len(hidden), 1, -1, -1)
        read = F.scaled_dot_product_attention(
            queries, states, states, attn_mask=present[:, None, None, :]
        )
        return (read[:, 0] * self.weight.float()).sum(-1) + self.bias.float()


class LinearHead(nn.Module):
    """One linear layer on one pooled state, as sequence classifiers have it."""

    def __init__(self, hidden: int, labels: int, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.weight = nn.Parameter(torch.randn(labels, hidden) * 0.02)
        self.bias = nn.Parameter(torch.zeros(labels))

    def start_from_titles(self, titles: Tensor, known: Tensor) -> None:
        """Start the weights in the direction of the embedded titles; see LabelAttentionHead."""
        with torch.no_grad():
            self.weight[known] = F.normalize(titles.float(), dim=1)[known]

    def forward(self, hidden: Tensor, present: Tensor) -> Tensor:
        """Map token states [batch, tokens, hidden] to logits [batch, labels], in float32."""
        pooled = _pooled(hidden.float(), present, self.pool)
        return F.linear(pooled, self.weight.float(), self.bias.float())


Head = LabelAttentionHead | LinearHead


def start_bias(head: Head, positives: Tensor, observed: Tensor) -> None:
    """Start the bias at each label's log-odds in training, one case and one control added.

    A network that starts at the base rates need not spend its first steps on learning them.

    Args:
        positives: [labels], observed training admissions with the label.
        observed: [labels], training admissions in which the label was observed.
    """
    with torch.no_grad():
        head.bias.copy_(torch.log((positives + 1) / (observed - positives + 1)))


def masked_bce(
    logits: Tensor, positives: Tensor, observed: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy summed over the observed cells.

    Args:
        logits, positives, observed: [batch, labels]; positives and observed are bool.
        weight: [labels], how much a positive cell counts; None: as much as a negative one.
    """
    by_cell = F.binary_cross_entropy_with_logits(
        logits, positives.float(), reduction="none", pos_weight=weight
    )
    # an unobserved cell is dropped, not multiplied by zero: infinity times zero is NaN
    return torch.where(observed, by_cell, 0.0).sum()


def masked_cross_entropy(logits: Tensor, positives: Tensor, observed: Tensor) -> Tensor:
    """Cross-entropy over classes, summed over the observed rows.

    Args:
        logits, positives, observed: [batch, classes]; an observed row has exactly one positive.
    """
    of_class = -torch.log_softmax(logits, dim=1)
    return torch.where(positives & observed, of_class, 0.0).sum()


def _pooled(hidden: Tensor, present: Tensor, pool: Pool) -> Tensor:
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
