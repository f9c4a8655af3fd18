"""Masked language modelling with whole words: what an encoder learns from notes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tasks.data.notes import padded
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ModelError
from tasks.pretrain.config import MaskingConfig
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.packing import Packed, pieces
from tasks.training.lesson import Batch, with_penalty

# chunks of up to 256 tokens, of which a batch of 16 is 85% full, fill 98% of 4 such groups, and
# those of up to 512, 72%, fill 96% of 5. Packed under a block mask they could gain no more than the
# rest, and every token's scores would be computed against those of other chunks
SHORTEST_SHARE = 0.75


@dataclass(frozen=True)
class Masked:
    """A chunk of a note, and what a model sees of it."""

    ids: NDArray[np.int32]  # [tokens]
    seen: NDArray[np.int32]  # [tokens]
    wanted: NDArray[np.bool_]  # [tokens]: what is to be predicted


def mask_of(tokenizer: LoadedTokenizer) -> int:
    """The token that stands for one to be predicted. Raises ModelError where there is none."""
    if tokenizer.mask is None:
        raise ModelError(
            "the base's tokenizer has no mask_token; name it in tokenizer_config.json, or take "
            "a base that has one"
        )
    return tokenizer.mask


@dataclass(frozen=True)
class Masker:
    """Takes whole words out of chunks; which tokens are words is known of the vocabulary."""

    config: MaskingConfig
    mask: int
    special: NDArray[np.bool_]  # [vocabulary]
    continuing: NDArray[np.bool_]  # [vocabulary]: goes on with the word of the token before it

    @classmethod
    def of(cls, tokenizer: LoadedTokenizer, config: MaskingConfig) -> Masker:
        """Of a tokenizer. Raises ModelError where it has no token for a mask."""
        special = np.zeros(tokenizer.size, np.bool_)
        special[list(tokenizer.special)] = True
        return cls(config, mask_of(tokenizer), special, np.array(tokenizer.continuing(), np.bool_))

    def masked(self, ids: NDArray[np.int32], generator: np.random.Generator) -> Masked:
        """The chunk with some words to be predicted, at least one where there is any.

        All pieces of a word share its fate: to be masked, to be replaced by random pieces, or to
        be seen as they are.
        """
        seen, wanted = ids.copy(), np.zeros(len(ids), np.bool_)
        ordinary = ~self.special[ids]
        # a word begins with a piece that goes on with none, or after a special token
        follows_none = np.concatenate([[True], ~ordinary[:-1]])
        begins = ordinary & (~self.continuing[ids] | follows_none)
        words = np.where(ordinary, np.cumsum(begins) - 1, -1)
        number = int(begins.sum())
        if not number:
            return Masked(ids, seen, wanted)
        chosen = generator.permutation(number)[: max(1, round(self.config.share * number))]
        fates = generator.random(len(chosen))
        hidden = chosen[fates < self.config.masked]
        mixed = chosen[
            (fates >= self.config.masked) & (fates < self.config.masked + self.config.random)
        ]
        wanted[np.isin(words, chosen)] = True
        seen[np.isin(words, hidden)] = self.mask
        replaced = np.isin(words, mixed)
        seen[replaced] = generator.choice(np.flatnonzero(~self.special), int(replaced.sum()))
        return Masked(ids, seen, wanted)

    def held_out(self, ids: NDArray[np.int32]) -> Masked:
        """The chunk with words that follow from itself alone: the same in every measurement."""
        digest = hashlib.blake2b(ids.astype("<i4").tobytes(), digest_size=8, key=b"held-out")
        return self.masked(ids, np.random.default_rng(int.from_bytes(digest.digest())))


@dataclass(frozen=True)
class Masks:
    """Chunks as the model takes them."""

    ids: Tensor  # [chunks, longest]
    seen: Tensor  # [chunks, longest]
    present: Tensor  # bool [chunks, longest]: not padding
    wanted: Tensor  # bool [chunks, longest]

    @classmethod
    def of(cls, chunks: Sequence[Masked]) -> Masks:
        """Lay out the chunks, shorter ones filled up on the right; on the CPU."""
        ids, present = padded([chunk.ids for chunk in chunks], 0)
        seen, _ = padded([chunk.seen for chunk in chunks], 0)
        wanted = np.zeros(present.shape, np.bool_)
        for row, chunk in enumerate(chunks):
            wanted[row, : len(chunk.wanted)] = chunk.wanted
        return cls(*map(torch.from_numpy, (ids, seen, present, wanted)))

    def to(self, device: torch.device) -> Masks:
        """The same on that device."""
        return Masks(*(tensor.to(device) for tensor in vars(self).values()))


class MaskedModel(nn.Module):
    """An encoder with an adapter, and an output layer, which is no part of the adapter."""

    def __init__(self, backbone: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.backbone, self.output = backbone, output

    def forward(self, seen: Tensor, present: Tensor, wanted: Tensor) -> Tensor:
        """Logits [wanted tokens, vocabulary] of what a model sees [chunks, longest]."""
        states = self.backbone(
            input_ids=seen, attention_mask=present.to(torch.long)
        ).last_hidden_state
        states = states[:, -seen.shape[1] :]  # without those of virtual tokens before a text
        logits: Tensor = self.output(states[wanted])
        return logits


def word_losses(model: nn.Module, masks: Masks) -> Tensor:
    """The negative log-likelihood in nats of each wanted token, float32 [wanted tokens]."""
    logits = model(masks.seen, masks.present, masks.wanted)
    return functional.cross_entropy(logits.float(), masks.ids[masks.wanted], reduction="none")


@dataclass
class MaskedLesson:
    """Chunks in the corpus's own (shuffled) order, again and again, with other words masked."""

    name: str
    corpus: Corpus
    masker: Masker
    steps: int
    batch_size: int  # chunks
    micro_batch_size: int  # chunks
    seed: int
    device: torch.device
    penalty: Callable[[], Tensor] | None = None  # of a word, as its loss is

    def batch(self, step: int) -> Batch:
        size, total = self.batch_size, len(self.corpus)
        rows = range(step * size, (step + 1) * size)
        chunks = [
            self.masker.masked(ids, np.random.default_rng([self.seed, row]))
            for row in rows
            for ids in chunks_of(self.corpus[row % total])
        ]
        chunks.sort(key=lambda chunk: -len(chunk.ids))
        return Batch(
            micro=by_length(chunks, self.micro_batch_size, SHORTEST_SHARE),
            weight=float(max(1, sum(int(chunk.wanted.sum()) for chunk in chunks))),
            tokens=sum(len(chunk.ids) for chunk in chunks),
            examples=size,
            epoch=(step + 1) * size / total,
        )

    def prepared(self, micro: Sequence[Masked]) -> Masks:
        return Masks.of(micro)

    def loss(self, model: nn.Module, prepared: Masks) -> Tensor:
        losses = word_losses(model, prepared.to(self.device))
        return with_penalty(losses.sum(), len(losses), self.penalty)


def by_length(chunks: Sequence[Masked], most: int, shortest: float) -> list[list[Masked]]:
    """Cut chunks, the longest first, into groups of at most so many.

    Args:
        shortest: none is shorter than this share of the longest of its group.
    """
    groups: list[list[Masked]] = []
    for chunk in chunks:
        full = not groups or len(groups[-1]) == most
        if full or len(chunk.ids) < shortest * len(groups[-1][0].ids):
            groups.append([])
        groups[-1].append(chunk)
    return groups


def chunks_of(packed: Packed) -> list[NDArray[np.int32]]:
    """The one chunk of a sequence that is not packed, padding left out."""
    return [ids for _, ids in pieces(packed)]
