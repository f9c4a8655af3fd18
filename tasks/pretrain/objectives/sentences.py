"""One side of "X is a type of Y" must follow from the other: all its words, or its next tokens.

The targeted masking of Gurgurov et al. (arXiv 2407.01406), where the loss is on one side only. An
encoder sees masks for all words of that side, and for those that the other side shares with it:
they would be copied. A decoder sees what comes before; so the side that it predicts comes last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ConfigError
from tasks.pretrain.objectives.masked import Masked, Masks, mask_of, word_losses
from tasks.pretrain.relations import Relation, Relations
from tasks.training.lesson import Batch

_WORD = re.compile(r"\w+")
_LONGEST_FRAME = "A type of  is ."  # the longer of the two sentences, without its titles


@dataclass(frozen=True)
class Speaker:
    """Makes sentences of relations, and takes a side out of each."""

    tokenizer: LoadedTokenizer
    title_pieces: int
    causal: bool

    def check_length(self, longest: int | None) -> None:
        """Raise ConfigError where a sentence may have more tokens than the base reads at once."""
        frame = self.tokenizer.tokenizer.encode(_LONGEST_FRAME).ids
        length = len(frame) + 2 * self.title_pieces
        if longest is not None and length > longest:
            raise ConfigError(
                f"a sentence of the ontology adapter may have {length} tokens, but the base reads "
                f"at most {longest}; lower pretrain.ontology.title_pieces"
            )

    def masked(self, relation: Relation, generator: np.random.Generator) -> Masked:
        """The sentence of a relation, of which a side is to be predicted, either as often."""
        text, wanted, given = self._spoken(relation, broader=bool(generator.integers(2)))
        encoding = self.tokenizer.tokenizer.encode(text)
        ids = np.array(encoding.ids, np.int32)
        of_side = _overlap(encoding.offsets, [wanted])
        seen = ids.copy()
        if not self.causal:
            hidden = [wanted, *_shared(text, wanted, given)]
            seen[_overlap(encoding.offsets, hidden)] = mask_of(self.tokenizer)
        return Masked(ids, seen, of_side)

    def _spoken(self, relation: Relation, *, broader: bool) -> tuple[str, slice, slice]:
        """A sentence, and where the title that is to be predicted is in it, and the other one.

        Args:
            broader: whether the broader title is to be predicted.
        """
        narrower_title, broader_title = map(self._cut, (relation.narrower, relation.broader))
        first, second = narrower_title, broader_title
        before, between = "", " is a type of "
        if self.causal and not broader:
            first, second = broader_title, narrower_title
            before, between = "A type of ", " is "
        start = len(before) + len(first) + len(between)
        sides = (
            slice(len(before), len(before) + len(first)),
            slice(start, start + len(second)),
        )
        last_wanted = self.causal or broader
        wanted, given = sides[::-1] if last_wanted else sides
        return f"{before}{first}{between}{second}.", wanted, given

    def _cut(self, title: str) -> str:
        """The title's first words and pieces, as many as are allowed."""
        offsets = self.tokenizer.tokenizer.encode(title, add_special_tokens=False).offsets
        if len(offsets) <= self.title_pieces:
            return title
        return title[: offsets[self.title_pieces - 1][1]]


@dataclass
class SentenceLesson:
    """Sentences of random relations, of each code system in turn."""

    name: str
    speaker: Speaker
    systems: Sequence[Relations]
    steps: int
    batch_size: int  # sentences
    micro_batch_size: int  # sentences
    seed: int
    device: torch.device

    def batch(self, step: int) -> Batch:
        generator = np.random.default_rng([self.seed, step])
        size, number = self.batch_size, len(self.systems)
        relations = []
        for row in range(step * size, (step + 1) * size):
            learned = self.systems[row % number].learned
            relations.append(learned[int(generator.integers(len(learned)))])
        sentences = self._by_length(relations, generator)
        return Batch(
            micro=list(self._parts(sentences)),
            weight=float(max(1, sum(int(sentence.wanted.sum()) for sentence in sentences))),
            tokens=sum(len(sentence.ids) for sentence in sentences),
            examples=size,
            epoch=(step + 1) * size / sum(len(of.learned) for of in self.systems),
        )

    def prepared(self, micro: Sequence[Masked]) -> Masks:
        return Masks.of(micro)

    def loss(self, model: nn.Module, prepared: Masks) -> Tensor:
        return self._losses(model, prepared).sum()

    @torch.no_grad()
    def held_out_loss(self, model: nn.Module) -> float:
        """Nats a token on the relations that are not learned, by a model in evaluation mode."""
        relations = [relation for system in self.systems for relation in system.held_out]
        sentences = self._by_length(relations, np.random.default_rng(self.seed))
        total, tokens = 0.0, 0
        for part in self._parts(sentences):
            losses = self._losses(model, Masks.of(part)).double()
            total += losses.sum().item()
            tokens += len(losses)
        return total / max(1, tokens)

    def _losses(self, model: nn.Module, masks: Masks) -> Tensor:
        losses = next_losses if self.speaker.causal else word_losses
        return losses(model, masks.to(self.device))

    def _by_length(
        self, relations: Sequence[Relation], generator: np.random.Generator
    ) -> list[Masked]:
        sentences = [self.speaker.masked(relation, generator) for relation in relations]
        return sorted(sentences, key=lambda sentence: -len(sentence.ids))

    def _parts(self, sentences: Sequence[Masked]) -> Iterator[Sequence[Masked]]:
        for begin in range(0, len(sentences), self.micro_batch_size):
            yield sentences[begin : begin + self.micro_batch_size]


def next_losses(model: nn.Module, masks: Masks) -> Tensor:
    """The negative log-likelihood in nats of each wanted token, float32 [wanted tokens]."""
    logits: Tensor = model(input_ids=masks.seen, use_cache=False).logits
    wanted = masks.wanted[:, 1:]
    return functional.cross_entropy(
        logits[:, :-1][wanted].float(), masks.ids[:, 1:][wanted], reduction="none"
    )


def _overlap(offsets: Sequence[tuple[int, int]], spans: Sequence[slice]) -> NDArray[np.bool_]:
    """Which tokens have a character in one of the spans [tokens]; special tokens have none.

    >>> _overlap([(0, 0), (0, 3), (3, 6), (6, 9)], [slice(4, 6)]).tolist()
    [False, False, True, False]
    """
    begins, ends = np.array(offsets).reshape(-1, 2).T
    overlapping = np.zeros(len(begins), np.bool_)
    for span in spans:
        overlapping |= (begins < span.stop) & (ends > span.start)
    return overlapping


def _shared(text: str, wanted: slice, given: slice) -> list[slice]:
    """Where the given side has words of the wanted one; none if it has no others.

    >>> _shared("Acute pain is a type of pain.", slice(24, 28), slice(0, 10))
    [slice(6, 10, None)]
    >>> _shared("Acute pain is a type of pain.", slice(0, 10), slice(24, 28))
    []
    """
    words = {word[0].casefold() for word in _WORD.finditer(text, wanted.start, wanted.stop)}
    others = list(_WORD.finditer(text, given.start, given.stop))
    shared = [slice(*word.span()) for word in others if word[0].casefold() in words]
    return shared if len(shared) < len(others) else []
