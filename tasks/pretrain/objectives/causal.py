"""Causal language modelling on a corpus: positions, targets, and the loss of each token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.model.bases.causal import call_packed, packed_logits
from tasks.model.bases.losses import UNSCORED, giving_losses
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.packing import PADDING, Packed, alone
from tasks.training.lesson import Batch, with_penalty


@dataclass(frozen=True)
class Packs:
    """Packed sequences as the model takes them."""

    input_ids: Tensor  # [sequences, longest]
    position_ids: Tensor  # [sequences, longest], from 0 in each piece
    scored: Tensor  # bool [sequences, longest]: not a piece's first token, and not padding

    @classmethod
    def of(cls, sequences: Sequence[Packed]) -> Packs:
        """Lay out the sequences, shorter ones filled up on the right; on the CPU.

        >>> packs = Packs.of([Packed(np.array([5, 6, 7, 0]), [0, 2, 3], [1, 2, -1])])
        >>> packs.position_ids.tolist(), packs.scored.tolist()
        ([[0, 1, 0, 0]], [[False, True, False, False]])
        """
        longest = max(len(packed.input_ids) for packed in sequences)
        ids = np.zeros((len(sequences), longest), np.int64)
        positions = np.zeros_like(ids)
        scored = np.zeros(ids.shape, dtype=bool)
        for row, packed in enumerate(sequences):
            length = len(packed.input_ids)
            ids[row, :length] = packed.input_ids
            ids[row, length:] = packed.input_ids[-1]  # some id that every base has a row for
            scored[row, :length] = True
            ends = [*packed.starts[1:], length]
            for start, end in zip(packed.starts, ends, strict=True):
                positions[row, start:end] = np.arange(end - start)
            scored[row, packed.starts] = False
            if packed.subject_ids[-1] == PADDING:
                scored[row, packed.starts[-1] :] = False
        return cls(*(torch.from_numpy(array) for array in (ids, positions, scored)))

    def to(self, device: torch.device) -> Packs:
        """The same on that device."""
        return Packs(*(tensor.to(device) for tensor in vars(self).values()))


def apart(sequences: Sequence[Packed], most_tokens: int) -> list[list[Packed]]:
    """Their pieces, each in a sequence of its own, in groups of similar length.

    Args:
        most_tokens: of a group, filled up to its longest piece.

    >>> sequences = [Packed(np.array([5, 6, 7, 8]), [0, 1], [1, 2])]
    >>> [[piece.input_ids.tolist() for piece in group] for group in apart(sequences, 4)]
    [[[6, 7, 8]], [[5]]]
    """
    rows = [piece for packed in sequences for piece in alone(packed)]
    groups: list[list[Packed]] = []
    for row in sorted(rows, key=lambda row: -len(row.input_ids)):
        if not groups or (len(groups[-1]) + 1) * len(groups[-1][0].input_ids) > most_tokens:
            groups.append([])
        groups[-1].append(row)
    return groups


def token_losses(model: nn.Module, packs: Packs, *, packed: bool = True) -> Tensor:
    """The negative log-likelihood in nats of each token's successor: float32 [sequences, longest].

    It is 0 where the successor is not scored.

    Args:
        packed: as `logits_of`.
    """
    logits = logits_of(model, packs, packed=packed)
    wanted = successors(packs)
    losses = functional.cross_entropy(
        logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=UNSCORED, reduction="none"
    )
    return losses.view_as(wanted)


def summed_loss(
    model: nn.Module, output: nn.Linear, packs: Packs, *, packed: bool = True
) -> Tensor:
    """The sum of `token_losses`, where the model's output layer can give it."""
    with giving_losses(output, successors(packs)):
        return _called(model, packs, packed=packed)


def successors(packs: Packs) -> Tensor:
    """The token after each, UNSCORED where that is not scored: [sequences, longest].

    These are shifted rather than the logits, which would be copied.
    """
    targets = packs.input_ids.masked_fill(~packs.scored, UNSCORED)
    return functional.pad(targets[:, 1:], (0, 1), value=UNSCORED)


def logits_of(model: nn.Module, packs: Packs, *, packed: bool = True) -> Tensor:
    """What the model makes of the sequences: logits [sequences, longest, vocabulary].

    Documents do not attend to one another.

    Args:
        packed: whether rows may hold several pieces. If not, no positions are given, which not
            every architecture takes, and each row is read from its beginning.
    """
    if packed:
        return packed_logits(model, packs.input_ids, packs.position_ids)
    logits = _called(model, packs, packed=packed)
    return logits[:, -packs.input_ids.shape[1] :]  # without those of virtual tokens before a text


def _called(model: nn.Module, packs: Packs, *, packed: bool) -> Tensor:
    if packed:
        return call_packed(model, packs.input_ids, packs.position_ids)
    given: Tensor = model(input_ids=packs.input_ids, use_cache=False).logits
    return given


@dataclass
class LanguageLesson:
    """Next-token prediction on a corpus, in the corpus's own (shuffled) order, again and again.

    A step learns from the same documents whether or not they stay packed.
    """

    name: str
    corpus: Corpus
    steps: int
    batch_size: int  # sequences
    micro_batch_size: int  # sequences, or as many tokens
    device: torch.device
    packed: bool = True  # False: one piece a row
    output: nn.Linear | None = None  # the model's output layer, where it can give the loss
    penalty: Callable[[], Tensor] | None = None  # of a token, as its loss is

    def batch(self, step: int) -> Batch:
        size, total = self.batch_size, len(self.corpus)
        rows = [row % total for row in range(step * size, (step + 1) * size)]
        sequences = [self.corpus[row] for row in rows]
        if self.packed:
            micro = [
                sequences[begin : begin + self.micro_batch_size]
                for begin in range(0, size, self.micro_batch_size)
            ]
        else:
            micro = apart(sequences, self.micro_batch_size * self.corpus.sequence_length)
        return Batch(
            micro=micro,
            weight=float(max(1, sum(scored_tokens(packed) for packed in sequences))),
            tokens=sum(_tokens(packed) for packed in sequences),
            examples=size,
            epoch=(step + 1) * size / total,
        )

    def prepared(self, micro: Sequence[Packed]) -> Packs:
        return Packs.of(micro)

    def loss(self, model: nn.Module, prepared: Packs) -> Tensor:
        packs = prepared.to(self.device)
        if self.output is not None:
            loss = summed_loss(model, self.output, packs, packed=self.packed)
        else:
            loss = token_losses(model, packs, packed=self.packed).sum()
        return with_penalty(loss, int(prepared.scored.sum()), self.penalty)


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
