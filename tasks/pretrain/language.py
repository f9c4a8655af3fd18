"""Causal language modelling on packed sequences: positions, targets, and the loss of each token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.pretrain.corpus import Corpus
from tasks.pretrain.packing import PADDING, Packed
from tasks.training.loop import Batch

_UNSCORED = -100


@dataclass(frozen=True)
class Packs:
    """Packed sequences as the model takes them."""

    input_ids: Tensor  # [sequences, length]
    position_ids: Tensor  # [sequences, length], from 0 in each piece
    scored: Tensor  # bool [sequences, length]: not a piece's first token, and not padding

    @classmethod
    def of(cls, sequences: Sequence[Packed], device: torch.device) -> Packs:
        """Lay out the sequences.

        >>> packs = Packs.of([Packed(np.array([5, 6, 7, 0]), [0, 2, 3], [1, 2, -1])], "cpu")
        >>> packs.position_ids.tolist(), packs.scored.tolist()
        ([[0, 1, 0, 0]], [[False, True, False, False]])
        """
        ids = np.stack([packed.input_ids for packed in sequences]).astype(np.int64)
        positions = np.empty_like(ids)
        scored = np.ones(ids.shape, dtype=bool)
        for row, packed in enumerate(sequences):
            ends = [*packed.starts[1:], ids.shape[1]]
            for start, end in zip(packed.starts, ends, strict=True):
                positions[row, start:end] = np.arange(end - start)
            scored[row, packed.starts] = False
            if packed.subject_ids[-1] == PADDING:
                scored[row, packed.starts[-1] :] = False
        arrays = (ids, positions, scored)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


def token_losses(model: nn.Module, packs: Packs) -> Tensor:
    """The negative log-likelihood in nats of each token's successor: float32 [sequences, length].

    It is 0 where the successor is not scored. Documents do not attend to one another: without an
    attention mask and without a cache, the model reads the borders from the positions, which start
    again at 0.
    """
    logits: Tensor = model(
        input_ids=packs.input_ids, position_ids=packs.position_ids, use_cache=False
    ).logits
    targets = packs.input_ids.masked_fill(~packs.scored, _UNSCORED)
    # the targets are shifted rather than the logits, which would be copied: they are the largest
    # tensor here, and more than half of the work of a small model
    successors = functional.pad(targets[:, 1:], (0, 1), value=_UNSCORED)
    losses = functional.cross_entropy(
        logits.flatten(0, 1).float(),
        successors.flatten(),
        ignore_index=_UNSCORED,
        reduction="none",
    )
    return losses.view_as(successors)


@dataclass
class LanguageLesson:
    """Next-token prediction on a corpus, in the corpus's own (shuffled) order, again and again."""

    arm: str
    corpus: Corpus
    steps: int
    batch_size: int
    micro_batch_size: int
    device: torch.device

    def batch(self, step: int) -> Batch:
        size, total = self.batch_size, len(self.corpus)
        rows = [row % total for row in range(step * size, (step + 1) * size)]
        sequences = [self.corpus[row] for row in rows]
        micro = [
            sequences[begin : begin + self.micro_batch_size]
            for begin in range(0, size, self.micro_batch_size)
        ]
        return Batch(
            micro=micro,
            weight=float(max(1, sum(scored_tokens(packed) for packed in sequences))),
            tokens=sum(_tokens(packed) for packed in sequences),
            examples=size,
            epoch=(step + 1) * size / total,
        )

    def loss(self, model: nn.Module, micro: Sequence[Packed]) -> Tensor:
        return token_losses(model, Packs.of(micro, self.device)).sum()


def steps_for(corpus: Corpus, epochs: float, max_tokens: int | None, batch_size: int) -> int:
    """How many batches make up so many passes over the corpus, or the tokens at most."""
    sequences = epochs * len(corpus)
    if max_tokens is not None:
        sequences = min(sequences, max_tokens / corpus.sequence_length)
    return max(1, math.ceil(sequences / batch_size))


def scored_tokens(packed: Packed) -> int:
    """How many of a sequence's tokens are targets."""
    documents = len(packed.starts) - (packed.subject_ids[-1] == PADDING)
    return _tokens(packed) - documents


def _tokens(packed: Packed) -> int:
    """A sequence's tokens, padding left out."""
    padded = packed.subject_ids[-1] == PADDING
    return packed.starts[-1] if padded else len(packed.input_ids)
