"""Titles must find their texts, and texts their titles, by label attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional

from tasks.data.notes import padded
from tasks.model.bases.load import Base
from tasks.pretrain.planting import Draw, Planting
from tasks.training.lesson import Batch

_NEVER = -1e9  # a logit of what is not to be chosen


@dataclass(frozen=True)
class Contrast:
    """Texts and queries as the model takes them."""

    texts: Tensor  # [texts, longest]
    texts_present: Tensor  # bool [texts, longest]: not padding
    texts_own: Tensor  # bool [texts, longest]: not a special token either
    queries: Tensor  # [queries, longest]
    queries_present: Tensor  # bool [queries, longest]: not padding
    queries_own: Tensor  # bool [queries, longest]: not a special token either
    matches: Tensor  # bool [texts, queries]

    @classmethod
    def of(cls, drawn: Draw, frame: tuple[list[int], list[int]], pad: int) -> Contrast:
        """Lay out what was drawn, shorter texts filled up on the right; on the CPU."""
        arrays = (*_framed(drawn.texts, frame, pad), *_framed(drawn.queries, frame, pad))
        return cls(*map(torch.from_numpy, (*arrays, drawn.matches)))

    def to(self, device: torch.device) -> Contrast:
        """The same on that device."""
        return Contrast(*(tensor.to(device) for tensor in vars(self).values()))


class Finder(nn.Module):
    """A base with an adapter, and label attention whose labels are given as texts."""

    def __init__(self, base: Base, backbone: PeftModel, scale: float) -> None:
        """Of a headless base, the adapter being on it already."""
        super().__init__()
        self.base, self.backbone = base, backbone
        self.scales = nn.Parameter(torch.full((2,), scale))  # of the attention and of the logit

    def forward(self, contrast: Contrast) -> Tensor:
        """Logits [texts, queries] of each query in each text.

        s_w q . sum_t a_t h_t, where a_t is the softmax over the text's tokens of s_a q . h_t. The
        h_t are the token states less their mean, of unit length on average; q is the mean state of
        a query's tokens, less its mean over the queries, to unit length. These means stay in the
        graph: without their gradient the loss rises above chance.
        """
        attention, weight = self.scales.float()
        own = contrast.texts_own
        states = self.base.states(contrast.texts, contrast.texts_present).float()
        variances, means = torch.var_mean(states[own], 0, correction=0)
        tokens = (states - means) / variances.sum().sqrt()
        words = self.base.states(contrast.queries, contrast.queries_present).float()
        of_query = contrast.queries_own[:, :, None]
        titles = (words * of_query).sum(1) / of_query.sum(1).clamp(min=1)
        queries = functional.normalize(titles - titles.mean(0), dim=-1)
        similar = torch.einsum("qd,btd->bqt", queries, tokens)
        # a text without a token of its own reads nothing: no infinity, which would become NaN
        shares = (attention * similar).masked_fill(~own[:, None, :], _NEVER).softmax(-1)
        return weight * (shares * similar).sum(-1)


def retrieval_losses(logits: Tensor, matches: Tensor) -> tuple[Tensor, Tensor]:
    """How far texts [texts, queries] are from finding their queries, and queries their texts.

    Both are cross-entropies. What is sought may be several (a text has all its planted titles):
    each match then has a softmax of its own with all that does not match, and the loss is the mean
    over the matches, 0 at best, and by chance ln(1 + how many do not match).

    >>> texts, queries = retrieval_losses(torch.zeros(2, 4), torch.eye(2, 4, dtype=torch.bool))
    >>> round(texts.exp().item(), 4), round(queries.exp().item(), 4)
    (4.0, 2.0)
    """
    return _cross_entropy(logits, matches), _cross_entropy(logits.T, matches.T)


def _cross_entropy(logits: Tensor, matches: Tensor) -> Tensor:
    others = logits.masked_fill(matches, _NEVER).logsumexp(-1, keepdim=True)
    return (torch.logaddexp(logits, others) - logits)[matches].mean()


def _framed(
    texts: Sequence[list[int]], frame: tuple[list[int], list[int]], pad: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Ids [texts, longest], where there is a token, and where there is one of the text itself."""
    before, after = frame
    ids, present = padded([[*before, *text, *after] for text in texts], pad)
    own = np.zeros_like(present)
    for row, text in enumerate(texts):
        own[row, len(before) : len(before) + len(text)] = True
    return ids, present, own


@dataclass
class OntologyLesson:
    """One contrast a step. It is not parted: with more ranks than one, the others repeat it."""

    name: str
    planting: Planting
    steps: int
    device: torch.device

    def batch(self, step: int) -> Batch:
        drawn, size = self.planting.draw(step), self.planting.config.training.batch_size
        return Batch(
            micro=[drawn],
            weight=1.0,
            tokens=drawn.tokens,
            examples=size,
            epoch=(step + 1) * size / len(self.planting.corpus),
        )

    def prepared(self, micro: Draw) -> Contrast:
        tokenizer = self.planting.tokenizer
        return Contrast.of(micro, tokenizer.frame, tokenizer.eos)

    def loss(self, model: nn.Module, prepared: Contrast) -> Tensor:
        of_texts, of_queries = self.losses(model, prepared)
        return of_texts + of_queries

    def losses(self, model: nn.Module, prepared: Contrast) -> tuple[Tensor, Tensor]:
        """Of texts that seek queries, and of queries that seek texts."""
        contrast = prepared.to(self.device)
        return retrieval_losses(model(contrast), contrast.matches)


@torch.no_grad()
def mean_losses(lesson: OntologyLesson, model: nn.Module, steps: Sequence[int]) -> list[float]:
    """The two losses over the draws of these steps, by a model in evaluation mode."""
    total = torch.zeros(2, dtype=torch.float64)
    for step in steps:
        contrast = lesson.prepared(lesson.planting.draw(step))
        total += torch.stack(lesson.losses(model, contrast)).double().cpu()
    return (total / len(steps)).tolist()
