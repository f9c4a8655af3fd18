"""Titles must find their texts, and texts their titles, by label attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional

from tasks.data.notes import padded
from tasks.model.bases.load import Base
from tasks.pretrain.planting import Draw, Planting
from tasks.training.lesson import Batch


@dataclass(frozen=True)
class Contrast:
    """Texts and queries as the model takes them."""

    texts: Tensor  # [texts, longest]
    texts_present: Tensor  # bool [texts, longest]: not padding
    queries: Tensor  # [queries, longest]
    queries_present: Tensor  # bool [queries, longest]: not padding
    queries_own: Tensor  # bool [queries, longest]: not a special token either
    matches: Tensor  # bool [texts, queries]

    @classmethod
    def of(cls, drawn: Draw, frame: tuple[list[int], list[int]], pad: int) -> Contrast:
        """Lay out what was drawn, shorter texts filled up on the right; on the CPU."""
        before, after = frame
        texts, texts_present = padded([[*before, *text, *after] for text in drawn.texts], pad)
        framed = [[*before, *query, *after] for query in drawn.queries]
        queries, queries_present = padded(framed, pad)
        own = queries_present.copy()
        own[:, : len(before)] = False
        for row, query in enumerate(drawn.queries):
            own[row, len(before) + len(query) :] = False
        arrays = (texts, texts_present, queries, queries_present, own, drawn.matches)
        return cls(*map(torch.from_numpy, arrays))

    def to(self, device: torch.device) -> Contrast:
        """The same on that device."""
        return Contrast(*(tensor.to(device) for tensor in vars(self).values()))


class Finder(nn.Module):
    """A base with an adapter, and label attention whose labels are given as texts."""

    def __init__(self, base: Base, backbone: PeftModel, scale: float) -> None:
        """Of a headless base, the adapter being on it already."""
        super().__init__()
        self.base, self.backbone = base, backbone
        # of the attention and of the logit; as logarithms they stay positive
        self.scales = nn.Parameter(torch.full((2,), math.log(scale)))

    def forward(self, contrast: Contrast) -> Tensor:
        """Logits [texts, queries] of each query in each text.

        With unit vectors h_t of a text's tokens and q of a query, both less their means over the
        step: s_w q . sum_t a_t h_t, where a_t is the softmax over the tokens of s_a q . h_t.
        """
        attention, weight = self.scales.float().exp()
        tokens = self._units(contrast.texts, contrast.texts_present)
        tokens = functional.normalize(tokens - tokens[contrast.texts_present].mean(0), dim=-1)
        words = self._units(contrast.queries, contrast.queries_present)
        own = contrast.queries_own[:, :, None]
        means = (words * own).sum(1) / own.sum(1).clamp(min=1)
        queries = functional.normalize(means - means.mean(0), dim=-1)
        cosines = torch.einsum("qd,btd->bqt", queries, tokens)
        absent = ~contrast.texts_present[:, None, :]
        shares = (attention * cosines).masked_fill(absent, -math.inf).softmax(-1)
        return weight * (shares * cosines).sum(-1)

    def _units(self, ids: Tensor, present: Tensor) -> Tensor:
        """Token states [batch, tokens, hidden], float32, of unit length."""
        return functional.normalize(self.base.states(ids, present).float(), dim=-1)


def retrieval_losses(logits: Tensor, matches: Tensor) -> tuple[Tensor, Tensor]:
    """How far texts [texts, queries] are from finding their queries, and queries their texts.

    Both are cross-entropies against the uniform distribution over what matches, which may be
    several (the multi-positive softmax of Khosla et al. 2020, their L_out): the logarithm of the
    number of candidates by chance, that of the number of matches at best. What nothing matches is
    left out.

    >>> texts, queries = retrieval_losses(torch.zeros(2, 4), torch.eye(2, 4, dtype=torch.bool))
    >>> round(texts.exp().item(), 4), round(queries.exp().item(), 4)
    (4.0, 2.0)
    """
    return _cross_entropy(logits, matches), _cross_entropy(logits.T, matches.T)


def _cross_entropy(logits: Tensor, matches: Tensor) -> Tensor:
    number = matches.sum(-1)
    likelihoods = logits.log_softmax(-1).masked_fill(~matches, 0.0).sum(-1)
    return -(likelihoods / number.clamp(min=1))[number > 0].mean()


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
        return sum(self.losses(model, prepared)) / 2  # type: ignore[return-value]

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
